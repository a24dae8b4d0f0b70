"""Files out of archives: exactly those that are named, and nothing that reaches outside."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vemctl.errors import WeightsError
from vemctl.weights import archives
from vemctl.weights.archives import unpack_members

FA, G = b"features" * 100, b"fusion" * 1000
MEMBERS = ("net_FA.pth", "net_G.pth")
Maker = Callable[[Path, dict[str, bytes]], None]


def make_zip(path: Path, files: dict[str, bytes]) -> None:
    """Write a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def make_tar(path: Path, files: dict[str, bytes]) -> None:
    """Write a compressed tar archive."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


both = pytest.mark.parametrize("make", [make_zip, make_tar])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where files go."""
    path = tmp_path / "out" / "here"
    path.mkdir(parents=True)
    return path


@both
@pytest.mark.parametrize("home", ["", "F-actin/", "pretrained/F-actin/iteration17600/"])
def test_members_are_found_wherever_they_lie_together(
    make: Maker, home: str, tmp_path: Path, folder: Path
) -> None:
    """Other files, and names that merely begin alike, stay where they are."""
    files = {f"{home}net_FA.pth": FA, f"{home}net_G.pth": G, f"{home}net_G.pth.old": b"no",
             f"{home}netD_A.pth": b"D", "README": b"", "__MACOSX/net_FA.pth": b"junk"}  # fmt: skip
    make(tmp_path / "a", files)
    names = unpack_members(tmp_path / "a", folder, MEMBERS, ("netD_A.pth", "netD_B.pth"))
    assert names == ["net_FA.pth", "net_G.pth", "netD_A.pth"]
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {"net_FA.pth": FA, "net_G.pth": G, "netD_A.pth": b"D"}


@both
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a/net_FA.pth": FA, "b/net_G.pth": G}, "no folder in it holds net_FA.pth, net_G.pth"),
        ({}, "no folder in it holds .* it holds nothing"),
        (
            {"a/net_FA.pth": FA, "a/net_G.pth": G, "b/net_FA.pth": FA, "b/net_G.pth": G},
            "several folders: a, b; unpack it",
        ),
        ({"net_FA.pth": FA, "net_G.pth": G, "../evil": b""}, "outside the archive; do not trust"),
        ({"net_FA.pth": FA, "net_G.pth": G, "a/../../evil": b""}, "outside the archive"),
        ({"net_FA.pth": FA, "net_G.pth": G, "/etc/evil": b""}, "outside the archive"),
        ({"net_FA.pth": FA, "net_G.pth": G, "c:\\evil": b""}, "outside the archive"),
    ],
)
def test_archives_that_do_not_fit_or_reach_outside_are_refused(
    make: Maker, files: dict[str, bytes], words: str, tmp_path: Path, folder: Path
) -> None:
    """Nothing is written, inside or outside."""
    make(tmp_path / "a", files)
    with pytest.raises(WeightsError, match=words) as raised:
        unpack_members(tmp_path / "a", folder, MEMBERS)
    assert "\n" not in str(raised.value)
    assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.rglob("evil")] == []


def test_a_link_in_a_tar_file_is_refused(tmp_path: Path, folder: Path) -> None:
    """It could stand for any file of the machine."""
    with tarfile.open(tmp_path / "a", "w") as archive:
        info = tarfile.TarInfo("net_FA.pth")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(WeightsError, match=r"net_FA\.pth is a link"):
        unpack_members(tmp_path / "a", folder, ("net_FA.pth",))


def test_a_link_in_a_zip_file_is_refused(tmp_path: Path, folder: Path) -> None:
    """Zip keeps links too, as the kind of a file."""
    info = zipfile.ZipInfo("net_FA.pth")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(WeightsError, match=r"net_FA\.pth is a link"):
        unpack_members(tmp_path / "a", folder, ("net_FA.pth",))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, folder: Path) -> None:
    """Readers disagree on which of them counts."""
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("net_FA.pth", FA)
        archive.writestr("net_FA.pth", G)
    with pytest.raises(WeightsError, match="names a file twice"):
        unpack_members(tmp_path / "a", folder, ("net_FA.pth",))


@both
def test_more_bytes_than_the_limit_are_refused_before_any_is_written(
    make: Maker, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What compresses a thousandfold is no weights."""
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    make(tmp_path / "a", {"net_FA.pth": bytes(2000)})
    with pytest.raises(WeightsError, match="announces 2000 bytes, expected at most 1000"):
        unpack_members(tmp_path / "a", folder, ("net_FA.pth",))
    assert list(folder.iterdir()) == []


def test_a_member_that_holds_more_than_it_announces_is_refused(
    tmp_path: Path, folder: Path
) -> None:
    """The announced size is what the limit was checked against."""
    make_zip(tmp_path / "a", {"net_FA.pth": bytes(5000)})
    content = bytearray((tmp_path / "a").read_bytes())
    for start in (content.find(b"PK\x03\x04") + 22, content.find(b"PK\x01\x02") + 24):
        content[start : start + 4] = (100).to_bytes(4, "little")
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(WeightsError):
        unpack_members(tmp_path / "a", folder, ("net_FA.pth",))
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 100


@both
def test_damaged_archives_are_one_line(make: Maker, tmp_path: Path, folder: Path) -> None:
    """Cut off, or with a changed byte in the middle."""
    make(tmp_path / "a", {"net_FA.pth": FA * 50, "net_G.pth": G})
    whole = (tmp_path / "a").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:60] + b"\xff\xfe" + whole[62:], b"", b"PK"):
        (tmp_path / "a").write_bytes(content)
        for path in folder.iterdir():
            path.unlink()
        with pytest.raises(WeightsError) as raised:
            unpack_members(tmp_path / "a", folder, MEMBERS)
        assert "\n" not in str(raised.value)
