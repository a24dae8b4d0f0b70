"""Where files lie, in the words of the catalogue and of --weights."""

from __future__ import annotations

import pytest

from vemctl.errors import WeightsError
from vemctl.weights.digests import Digest
from vemctl.weights.locations import (
    AtUrl,
    InPackage,
    InRepository,
    OnGitHub,
    is_address,
    parse_location,
)

COMMIT = "ae8d75d227184d574137ae2aa5037cf5a6b37701"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "package:vemctl_denoise/demo.safetensors",
            InPackage("vemctl_denoise", "demo.safetensors"),
        ),
        (f"github:a-b/c.d@{COMMIT}/x/y z.pth", OnGitHub("a-b/c.d", COMMIT, "x/y z.pth")),
        (
            "doi:10.5281/zenodo.13486221/a.zip",
            InRepository("10.5281/zenodo.13486221", "a.zip"),
        ),
        ("doi:10.18738/T8/YLCK5A/a.pkl", InRepository("10.18738/T8/YLCK5A", "a.pkl")),
        ("doi:10.5281/zenodo.1/a%20b.pth", InRepository("10.5281/zenodo.1", "a b.pth")),
        ("https://host/w.pth", AtUrl("https://host/w.pth")),
        (
            f"https://host/w.pth#sha256={'0' * 64}",
            AtUrl("https://host/w.pth", Digest("sha256", "0" * 64)),
        ),
    ],
)
def test_every_form_is_read(text: str, expected: object) -> None:
    """Each stands for one kind of place."""
    assert expected == parse_location(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "w.pth",
        "github:a/b@main/w.pth",
        f"github:a@{COMMIT}/w.pth",
        "doi:10.5281",
        "doi:10.5281/zenodo.1",
        "doi:zenodo.1/w.pth",
        "https:///w.pth",
        "https://host/w.pth#sha256=12",
        "https://host/w.pth#main",
        "ftp://host/w.pth",
        "package:alone",
    ],
)
def test_what_is_no_place_is_refused_in_one_line(text: str) -> None:
    """A branch is no commit, a record is no file, and half a digest is none."""
    with pytest.raises(WeightsError, match="expected") as raised:
        parse_location(text)
    assert "\n" not in str(raised.value)


def test_a_file_of_a_commit_has_an_address_and_so_has_the_file_behind_its_pointer() -> None:
    """Odd characters are quoted."""
    place = OnGitHub("owner/repo", COMMIT, "a b/w.pth")
    assert place.url == f"https://raw.githubusercontent.com/owner/repo/{COMMIT}/a%20b/w.pth"
    assert place.large_file_url == (
        f"https://media.githubusercontent.com/media/owner/repo/{COMMIT}/a%20b/w.pth"
    )


def test_the_file_of_an_address_is_its_last_part() -> None:
    """What follows a question mark is no name."""
    assert AtUrl("https://host/a/w%20x.pth?download=1").file == "w x.pth"
    assert AtUrl("https://host/").file == "weights"


def test_an_address_is_told_from_names_and_paths() -> None:
    """Without asking the disk."""
    assert is_address("doi:10.1/x/w.pth")
    assert is_address("https://host/w.pth")
    assert not is_address("denoise/supervised")
    assert not is_address("./doi:x")
