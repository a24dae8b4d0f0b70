"""From a name or a path to a file of weights whose digest is the one that was published."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from vemctl.errors import WeightsError
from vemctl.plugin import Method, Request, Restorer, Weights
from vemctl.weights import Resolved, digest, resolve

CONTENT = b"tensors by name"
SHA = hashlib.sha256(CONTENT).hexdigest()


class Probe(Method):
    """A method with the weights that are given."""

    name = "probe"
    summary = "For tests."

    def __init__(self, weights: tuple[Weights, ...] = (), *, takes_weights: bool = True) -> None:
        self.weights = weights
        self.takes_weights = takes_weights

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        raise NotImplementedError


def published(name: str, file: str = "small.pth", sha256: str = SHA) -> Weights:
    """Describe a file in the package of the test."""
    return Weights(name, f"weights_of_probe:{file}", sha256, "MIT", "For tests.")


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


METHOD = Probe((published("probe/small"), published("probe/large", "large.pth")))


def test_a_name_of_the_catalogue_is_a_file_of_the_package(package: Path) -> None:
    """It is found where the package is installed, and its digest is checked."""
    expected = Resolved("probe/small", package / "small.pth", SHA)
    assert expected == resolve("probe/small", METHOD)


def test_a_path_is_taken_as_it_is(package: Path, tmp_path: Path) -> None:
    """Relative or absolute, with the digest of what lies there."""
    (tmp_path / "mine.pth").write_bytes(b"other")
    for asked in ("mine.pth", str(tmp_path / "mine.pth")):
        expected = Resolved(asked, Path(asked), hashlib.sha256(b"other").hexdigest())
        assert expected == resolve(asked, METHOD)


def test_the_catalogue_comes_before_a_file_of_that_name(package: Path, tmp_path: Path) -> None:
    """What a recorded name means does not depend on the folder in which one is."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "small").write_bytes(b"other")
    found = resolve("probe/small", METHOD)
    assert found is not None
    assert found.path == package / "small.pth"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("probe/smal", r"Did you mean 'probe/small'\? Names: probe/small, probe/large"),
        ("absent.pth", "absent.pth: no such file, and no weights of that name for probe"),
        ("site", "site: a folder; expected a file"),
        (None, "probe needs weights: pass -w FILE, or a name: probe/small, probe/large"),
    ],
)
def test_what_is_not_there_is_refused_with_the_names(
    package: Path, asked: str | None, words: str
) -> None:
    """The line names the nearest, and all that there are."""
    with pytest.raises(WeightsError, match=words) as raised:
        resolve(asked, METHOD)
    assert "\n" not in str(raised.value)


def test_a_method_without_a_catalogue_says_so(package: Path) -> None:
    """It needs a file, and knows no names."""
    with pytest.raises(WeightsError, match=r"^probe needs weights: pass -w FILE$"):
        resolve(None, Probe())
    with pytest.raises(WeightsError, match="Names: none"):
        resolve("probe/small", Probe())


def test_a_method_that_takes_no_weights_gets_none(package: Path) -> None:
    """Weights that are given to it are refused rather than ignored."""
    without = Probe(takes_weights=False)
    assert resolve(None, without) is None
    with pytest.raises(WeightsError, match="probe takes no weights; leave out --weights"):
        resolve("mine.pth", without)


def test_a_file_of_another_digest_is_refused(package: Path) -> None:
    """A changed file in a package is never loaded; the line gives both digests."""
    (package / "small.pth").write_bytes(b"changed")
    with pytest.raises(WeightsError, match=f"expected {SHA}; install weights_of_probe") as raised:
        resolve("probe/small", METHOD)
    assert hashlib.sha256(b"changed").hexdigest() in str(raised.value)


def test_a_file_that_the_package_lacks_is_named(package: Path) -> None:
    """A broken installation is one line."""
    with pytest.raises(WeightsError, match=r"large.pth is missing from package weights_of_probe"):
        resolve("probe/large", METHOD)


def test_a_package_that_is_not_there_is_named() -> None:
    """Weights may lie in a package of their own, which may not be installed."""
    elsewhere = Weights("probe/far", "no_such_package_of_weights:w.pth", SHA, "MIT", "")
    with pytest.raises(WeightsError, match="no_such_package_of_weights"):
        resolve("probe/far", Probe((elsewhere,)))


def test_the_digest_is_sha256_of_the_whole_file(tmp_path: Path) -> None:
    """Also of one that is larger than a buffer."""
    content = bytes(range(256)) * 5000
    (tmp_path / "w.pth").write_bytes(content)
    assert hashlib.sha256(content).hexdigest() == digest(tmp_path / "w.pth")
