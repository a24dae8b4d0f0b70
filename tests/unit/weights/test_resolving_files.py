"""From what an option names to files beside the weights; only the last opens a connection."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from webworld import World

from vemctl.errors import WeightsError
from vemctl.plugin import Method, PublishedFile, Request, Restorer, Weights
from vemctl.weights import Access, Resolved, resolve_file
from vemctl.weights.record import Record, stored_files
from vemctl.weights.store import Store

CONTENT = b"a transfer function"
SHA = hashlib.sha256(CONTENT).hexdigest()
ADDRESS = "https://microscope.org"


class Probe(Method):
    """A method of no use."""

    name = "probe"
    summary = "For tests."

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        raise NotImplementedError


def entry(name: str, *files: str, **facts: Any) -> Weights:
    """Describe files on a server."""
    parts = tuple(PublishedFile(f, (f"{ADDRESS}/{f}",), f"sha256:{SHA}") for f in files)
    return Weights(name, parts, "MIT", "", **facts)


CATALOGUE = {
    "probe/488": entry("probe/488", "otf.tif", kind="optics"),
    "probe/560": entry("probe/560", "otf.tif", "apo.tif", kind="optics"),
    "probe/net": entry("probe/net", "net.pth", default=True),
}


@pytest.fixture
def access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    """Return access to an empty store, without a network."""
    monkeypatch.chdir(tmp_path)
    return Access(Store(tmp_path / "cache"), offline=True)


def refused(asked: str, access: Access, catalogue: dict[str, Weights] = CATALOGUE) -> str:
    """Return the line with which a name is refused."""
    with pytest.raises(WeightsError) as raised:
        resolve_file(asked, Probe(), catalogue, access)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_is_known_by_its_absolute_path_and_its_digest(
    tmp_path: Path, access: Access
) -> None:
    """What is recorded does not depend on the folder in which one was."""
    (tmp_path / "mine.tif").write_bytes(CONTENT)
    for asked in ("mine.tif", str(tmp_path / "mine.tif")):
        found = resolve_file(asked, Probe(), CATALOGUE, access)
        assert found == Resolved(str(tmp_path / "mine.tif"), Path(asked), SHA)


def test_the_digest_of_a_folder_is_that_of_names_and_contents(
    tmp_path: Path, access: Access
) -> None:
    """Folders in it do not count, nor do hidden files."""
    folder = tmp_path / "bench"
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        (folder / name).write_bytes(name.encode())

    def digest() -> str:
        found = resolve_file("bench", Probe(), CATALOGUE, access)
        assert (found.name, found.path) == (str(folder), Path("bench"))
        return found.sha256

    first = digest()
    (folder / "inner").mkdir()
    (folder / "inner" / "c.tif").write_bytes(CONTENT)
    (folder / ".DS_Store").write_bytes(CONTENT)
    assert digest() == first
    (folder / "b.tif").rename(folder / "c.tif")
    assert digest() != first
    (folder / "c.tif").rename(folder / "b.tif")
    assert digest() == first
    (folder / "b.tif").write_bytes(CONTENT)
    assert digest() != first


def test_the_catalogue_comes_before_a_file_of_that_name(tmp_path: Path, access: Access) -> None:
    """For what is kept here no connection is needed."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "488").write_bytes(b"other")
    with access.own.filling() as folder:
        (folder / "otf.tif").write_bytes(CONTENT)
        record = Record("probe/488", "published", stored_files(folder), ADDRESS, "MIT", "today")
        access.own.keep(record, folder)
    found = resolve_file("probe/488", Probe(), CATALOGUE, access)
    assert found == Resolved("probe/488", access.own.folder_of(record) / "otf.tif", SHA)


def test_what_is_not_there_is_refused_with_the_names(access: Access) -> None:
    """Of files of a microscope; networks are none."""
    assert refused("probe/48", access) == (
        "probe/48: no such file or folder, and probe has none of that name. Did you mean "
        "'probe/488'? Names: probe/488, probe/560"
    )
    assert "probe/net: no such file or folder" in refused("probe/net", access)
    assert "probe/net" not in refused("probe/nets", access).partition(" Names: ")[2]
    assert refused("absent.tif", access, {}).endswith("has none of that name. Names: none")
    assert "forbids to fetch it" in refused("probe/488", access)


def test_files_are_fetched_and_come_as_a_folder_where_they_are_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a server of the test's own, each once; what is not what was published is refused."""
    access = Access(Store(tmp_path / "cache"))
    with World() as world:
        world.enter(monkeypatch)
        for name in ("otf.tif", "apo.tif"):
            world.serve(f"{ADDRESS}/{name}", CONTENT)
        for _ in range(2):
            one = resolve_file("probe/488", Probe(), CATALOGUE, access)
            several = resolve_file("probe/560", Probe(), CATALOGUE, access)
        assert (one.name, one.sha256, one.path.read_bytes()) == ("probe/488", SHA, CONTENT)
        assert sorted(path.name for path in several.path.iterdir()) == ["apo.tif", "otf.tif"]
        assert several.sha256 != one.sha256
        assert sorted(world.log) == sorted(
            f"GET microscope.org /{name}" for name in ("otf.tif", "otf.tif", "apo.tif")
        )
        world.serve(f"{ADDRESS}/otf.tif", b"another")
        assert SHA in refused("probe/488", Access(Store(tmp_path / "empty")))
