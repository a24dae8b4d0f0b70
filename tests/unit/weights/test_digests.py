"""Digests: of files, of commits, and of the pointers that commits hold in the place of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vemctl.errors import WeightsError
from vemctl.weights.digests import Digest, large_file_pointer, measure, sha256_of

CONTENT = bytes(range(256)) * 9000
KNOWN_BLOB = "8ab686eafeb1f44702738c8b0f24f2567c36da6d"  # of "Hello, World!\n", by git itself


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make a file of several chunks."""
    path = tmp_path / "w.pth"
    path.write_bytes(CONTENT)
    return path


def test_all_digests_come_from_one_pass_and_agree_with_hashlib(file: Path) -> None:
    """SHA-256 is always among them."""
    found = measure(file, ["md5", "sha1", "sha512"])
    expected = {
        name: hashlib.new(name, CONTENT).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")
    }
    assert expected == found
    assert sha256_of(file) == expected["sha256"]


def test_a_git_blob_id_is_what_git_says(tmp_path: Path) -> None:
    """The id of a file that everybody knows."""
    (tmp_path / "hello").write_bytes(b"Hello, World!\n")
    assert measure(tmp_path / "hello", ["git-blob"])["git-blob"] == KNOWN_BLOB
    assert Digest("git-blob", KNOWN_BLOB).contradiction(tmp_path / "hello") is None


def test_a_contradiction_is_the_digest_that_was_found(file: Path) -> None:
    """It can be shown beside the expected one."""
    expected = Digest("sha256", "0" * 64)
    found = expected.contradiction(file)
    assert found == Digest("sha256", hashlib.sha256(CONTENT).hexdigest())
    assert str(found) == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def test_a_blob_id_also_fits_the_file_behind_a_git_lfs_pointer(file: Path) -> None:
    """The commit pins the pointer, the pointer pins the file."""
    pointer = large_file_pointer(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    blob = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
    assert Digest("git-blob", blob).contradiction(file) is None
    file.write_bytes(CONTENT + b"!")
    assert Digest("git-blob", blob).contradiction(file) is not None


def test_digests_are_read_in_any_case() -> None:
    """Repositories write both."""
    assert Digest.parse("md5:" + "AB" * 16, "x") == Digest("md5", "ab" * 16)


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:", "sha256:12", "crc32:12345678", "md5:" + "g" * 32, ":" * 40]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    """The line names the form."""
    with pytest.raises(WeightsError, match=r"weights.pth: .* is no digest; expected sha256:"):
        Digest.parse(text, "weights.pth")
