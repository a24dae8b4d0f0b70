"""From what the user asks for to a file whose digest is known; nothing here opens a connection."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from vemctl.errors import WeightsError
from vemctl.events import Noted
from vemctl.plugin import Method, PublishedFile, Request, Restorer, Weights, packaged
from vemctl.weights import Access, Resolved, absolute, resolve
from vemctl.weights.record import Record, stored_files
from vemctl.weights.store import Store

CONTENT = b"tensors by name"
SHA = hashlib.sha256(CONTENT).hexdigest()


class Probe(Method):
    """A method of no use."""

    name = "probe"
    summary = "For tests."

    def __init__(self, *, takes_weights: bool = True) -> None:
        self.takes_weights = takes_weights

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        raise NotImplementedError


def in_package(name: str, file: str = "small.pth", sha256: str = SHA, **facts: Any) -> Weights:
    """Describe a file in the package of the test."""
    return Weights(name, packaged(f"weights_of_probe/{file}", sha256), "MIT", "", **facts)


CATALOGUE = {
    "probe/small": in_package("probe/small", default=True),
    "probe/large": in_package("probe/large", "large.pth"),
    "probe/otf": in_package("probe/otf", kind="optics"),
    "probe/far": Weights(
        "probe/far", (PublishedFile("w.pth", ("https://host/w.pth",), f"sha256:{SHA}"),), "MIT", ""
    ),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a package with a file of weights importable; return its folder."""
    folder = tmp_path / "site" / "weights_of_probe"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "small.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.delitem(sys.modules, "weights_of_probe", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """Return access to an empty store, without a network."""
    return Access(Store(tmp_path / "cache"), offline=True)


def keep(store: Store, name: str, content: bytes = CONTENT, kind: Any = "published") -> Record:
    """Put weights into a store."""
    with store.filling() as folder:
        (folder / "w.pth").write_bytes(content)
        record = Record(name, kind, stored_files(folder), "https://host/w.pth", "MIT", "today")
        store.keep(record, folder)
    return record


class Several(Probe):
    """A method whose published program has folders of files."""

    takes_folders = True

    def original_files(self, folder: Path, choice: str | None) -> dict[str, Path]:
        place = folder / f"iteration{choice or 2}"
        if not place.is_dir():
            raise WeightsError(f"{place}: no such iteration")
        return {"g.": place / "net_G.pth", "f.": place / "net_F.pth"}


def test_a_published_folder_is_known_by_what_belongs_together(
    package: Path, access: Access, tmp_path: Path
) -> None:
    """By the digests of these files alone; of other methods a folder is refused."""
    for number in (1, 2):
        place = tmp_path / "run" / f"iteration{number}"
        place.mkdir(parents=True)
        for name in ("net_G.pth", "net_F.pth", "notes.txt"):
            (place / name).write_text(f"{name} of {number}")
    found = resolve("run", Several(), {}, access)
    assert found is not None
    assert (found.name, found.path) == ("run", Path("run/iteration2"))
    (tmp_path / "run" / "iteration2" / "notes.txt").write_text("other notes")
    assert resolve("run@2", Several(), {}, access) == Resolved("run@2", found.path, found.sha256)
    other = resolve("run@1", Several(), {}, access)
    assert other is not None
    assert (other.path, other.sha256 == found.sha256) == (Path("run/iteration1"), False)
    (tmp_path / "run" / "iteration2" / "net_G.pth").write_text("other weights")
    again = resolve("run", Several(), {}, access)
    assert again is not None
    assert again.sha256 != found.sha256
    with pytest.raises(WeightsError, match="no such iteration"):
        resolve("run@3", Several(), {}, access)
    with pytest.raises(WeightsError, match="a folder, but no training run"):
        resolve("run", Probe(), {}, access)


def test_weights_that_are_not_needed_may_be_left_out(package: Path, access: Access) -> None:
    """No default stands for them then; those that are named are found all the same."""
    assert resolve(None, Probe(), CATALOGUE, access, needed=False) is None
    named = resolve("probe/small", Probe(), CATALOGUE, access, needed=False)
    assert named is not None
    assert named.sha256 == SHA


def test_a_name_of_the_catalogue_is_a_file_of_the_package(package: Path, access: Access) -> None:
    """It is found where the package is installed, and its digest is checked."""
    expected = Resolved("probe/small", package / "small.pth", SHA)
    assert expected == resolve("probe/small", Probe(), CATALOGUE, access)


def test_without_a_name_the_default_is_taken(package: Path, access: Access) -> None:
    """The one that the catalogue marks."""
    found = resolve(None, Probe(), CATALOGUE, access)
    assert found == Resolved("probe/small", package / "small.pth", SHA)


def test_a_path_is_taken_as_it_is(package: Path, tmp_path: Path, access: Access) -> None:
    """Relative or absolute, with the digest of what lies there."""
    (tmp_path / "mine.pth").write_bytes(b"other")
    for asked in ("mine.pth", str(tmp_path / "mine.pth")):
        expected = Resolved(asked, Path(asked), hashlib.sha256(b"other").hexdigest())
        assert expected == resolve(asked, Probe(), CATALOGUE, access)


def test_the_catalogue_comes_before_a_file_of_that_name(
    package: Path, tmp_path: Path, access: Access
) -> None:
    """What a recorded name means does not depend on the folder in which one is."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "small").write_bytes(b"other")
    found = resolve("probe/small", Probe(), CATALOGUE, access)
    assert found is not None
    assert found.path == package / "small.pth"
    assert absolute("probe/small", CATALOGUE) == "probe/small"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("probe/smal", r"Did you mean 'probe/small'\? Names: probe/small, probe/large"),
        ("absent.pth", r"absent\.pth: no such file, and no weights of that name for probe"),
        ("site", "site: a folder, but no training run; expected a file"),
        ("site@last", "site: a folder, but no training run"),
        ("probe/otf", "no weights of a network but files of a microscope"),
        ("probe/far", "probe/far is not on this machine"),
        ("doi:10.5281/zenodo.1/w.pth", "is not on this machine"),
        ("doi:10.5281", "no address of a file; expected doi:"),
    ],
)
def test_what_is_not_there_is_refused_with_the_names(
    package: Path, asked: str, words: str, access: Access
) -> None:
    """One line that says what there is."""
    with pytest.raises(WeightsError, match=words) as raised:
        resolve(asked, Probe(), CATALOGUE, access)
    assert "\n" not in str(raised.value)


def test_a_method_for_which_nothing_is_published_says_so(package: Path, access: Access) -> None:
    """And how to come by weights."""
    with pytest.raises(WeightsError, match="none are published for it: train some, or name a file"):
        resolve(None, Probe(), {}, access)
    with pytest.raises(WeightsError, match="has no default: choose one of probe/large, or"):
        resolve(None, Probe(), {"probe/large": CATALOGUE["probe/large"]}, access)


def test_a_method_that_takes_no_weights_gets_none(package: Path, access: Access) -> None:
    """Weights that are given to it are refused rather than ignored."""
    without = Probe(takes_weights=False)
    assert resolve(None, without, {}, access) is None
    with pytest.raises(WeightsError, match="probe takes no weights; leave out --weights"):
        resolve("mine.pth", without, {}, access)


def test_a_broken_package_is_one_line(package: Path, access: Access) -> None:
    """Its file is missing or another, or it is not there itself."""
    with pytest.raises(WeightsError, match=r"large.pth is missing from package weights_of_probe"):
        resolve("probe/large", Probe(), CATALOGUE, access)
    (package / "small.pth").write_bytes(b"changed")
    with pytest.raises(WeightsError, match=f"expected {SHA}; install weights_of_probe") as raised:
        resolve("probe/small", Probe(), CATALOGUE, access)
    assert hashlib.sha256(b"changed").hexdigest() in str(raised.value)
    gone = Weights("probe/x", packaged("no_such_package_of_weights/w.pth", SHA), "MIT", "")
    with pytest.raises(WeightsError, match="no_such_package_of_weights"):
        resolve("probe/x", Probe(), {"probe/x": gone}, access)


def test_what_the_store_holds_needs_no_network(access: Access) -> None:
    """It was fetched before."""
    record = keep(access.own, "probe/far")
    found = resolve("probe/far", Probe(), CATALOGUE, access)
    assert found == Resolved("probe/far", access.own.folder_of(record) / "w.pth", SHA)


def test_a_damaged_file_of_the_store_is_not_used(tmp_path: Path) -> None:
    """Against its record, and a forged record against the catalogue."""
    told: list[Any] = []
    access = Access(Store(tmp_path / "cache"), offline=True, listen=told.append)
    record = keep(access.own, "probe/far")
    (access.own.folder_of(record) / "w.pth").write_bytes(b"flipped")
    with pytest.raises(WeightsError, match="is not on this machine"):
        resolve("probe/far", Probe(), CATALOGUE, access)
    keep(access.own, "probe/far", b"forged, with a record that fits")
    with pytest.raises(WeightsError, match="is not on this machine"):
        resolve("probe/far", Probe(), CATALOGUE, access)
    assert [event.level for event in told if isinstance(event, Noted)] == ["warning"] * 2


def test_a_shared_store_comes_first_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    """The user's own store is still there."""
    shared, own = Store(tmp_path / "shared"), Store(tmp_path / "own")
    access = Access(own, (shared,), offline=True)
    mine, theirs = keep(own, "probe/far"), keep(shared, "probe/far")
    found = resolve("probe/far", Probe(), CATALOGUE, access)
    assert found is not None
    assert found.path.parent == shared.folder_of(theirs)
    (shared.folder_of(theirs) / "w.pth").write_bytes(b"flipped")
    found = resolve("probe/far", Probe(), CATALOGUE, access)
    assert found is not None
    assert found.path.parent == own.folder_of(mine)


def test_a_shared_store_cannot_replace_what_was_pinned_here(tmp_path: Path) -> None:
    """Where only the first fetch pins a file, another store's word does not count."""
    shared, own = Store(tmp_path / "shared"), Store(tmp_path / "own")
    unpinned = Weights("probe/doi", (PublishedFile("w.pth", ("doi:10.1234/x/w.pth",)),), "", "")
    keep(own, "probe/doi")
    own.remove("probe/doi", forget=False)
    keep(shared, "probe/doi", b"another file")
    told: list[Any] = []
    access = Access(own, (shared,), offline=True, listen=told.append)
    with pytest.raises(WeightsError, match="is not on this machine"):
        resolve("probe/doi", Probe(), {"probe/doi": unpinned}, access)
    assert "changed since it was first fetched" in told[0].text


def test_own_weights_are_found_by_their_name_for_their_method(access: Access) -> None:
    """Those of another method are refused, damaged ones too."""
    record = keep(access.own, "probe/liver", kind="local")
    found = resolve("probe/liver", Probe(), CATALOGUE, access)
    assert found is not None
    assert found.sha256 == SHA
    keep(access.own, "other/liver", kind="local")
    with pytest.raises(WeightsError, match="weights for other; expected some for probe"):
        resolve("other/liver", Probe(), CATALOGUE, access)
    (access.own.folder_of(record) / "w.pth").unlink()
    with pytest.raises(WeightsError, match="is missing; register it again"):
        resolve("probe/liver", Probe(), CATALOGUE, access)


def test_a_run_is_weights(tmp_path: Path, access: Access) -> None:
    """By its folder, with or without a choice."""
    run = tmp_path / "d1"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"method": "probe", "default_weights": "last"}))
    (run / "checkpoints" / "last.safetensors").write_bytes(CONTENT)
    for asked in (str(run), f"{run}@last"):
        found = resolve(asked, Probe(), CATALOGUE, access)
        assert found == Resolved(asked, run / "checkpoints" / "last.safetensors", SHA)
