"""Which views a training of rldfn pairs, by the names of files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from vemctl_rldfn.data import (
    MAXIMUM,
    MINIMUM,
    ROLES,
    VIEW_A,
    VIEW_B,
    maximum_of,
    training_data,
    training_statistics,
)
from vemctl_rldfn.train_options import FinetuneOptions, TrainOptions

from vemctl.errors import OptionError
from vemctl.plugin import VolumeFacts

A, B = Path("a.tif"), Path("b.tif")


def folder(path: Path, *names: str) -> Path:
    """Return a folder with empty files of these names."""
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


@pytest.mark.parametrize("kind", [TrainOptions, FinetuneOptions])
def test_views_are_paired_in_order(kind) -> None:
    """The first of one with the first of the other; names of files do not matter."""
    data = training_data(kind(view_a=(A, Path("x.zarr")), view_b=(B, Path("y.zarr"))), ())
    assert data.volumes == {VIEW_A: (A, Path("x.zarr")), VIEW_B: (B, Path("y.zarr"))}
    assert data.paired == (ROLES,)


def test_the_same_volumes_are_validated_on() -> None:
    """Without others nothing is kept from the training, least of all the slices at the mirror."""
    data = training_data(TrainOptions(view_a=(A,), view_b=(B,)), ())
    assert data.validation == data.volumes


def test_own_volumes_to_validate_on() -> None:
    """Those that are named, of both views."""
    own = {"validation_a": (Path("c.tif"),), "validation_b": (Path("d.tif"),)}
    data = training_data(TrainOptions(view_a=(A,), view_b=(B,), **own), ())
    assert data.validation == {VIEW_A: (Path("c.tif"),), VIEW_B: (Path("d.tif"),)}
    assert data.volumes == {VIEW_A: (A,), VIEW_B: (B,)}


@pytest.mark.parametrize("suffixes", [("", ""), ("_A", "_B"), ("-viewA", "-viewB")])
@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".npy"])
def test_folders_are_paired_by_names(suffixes: tuple[str, str], ending: str, tmp_path) -> None:
    """Which are the same, or end in the letter of their view."""
    of_a, of_b = suffixes
    views = (
        folder(tmp_path / "A", f"nucleus{of_a}{ending}", f"actin{of_a}{ending}", "notes.txt"),
        folder(tmp_path / "B", f"nucleus{of_b}{ending}", f"actin{of_b}{ending}"),
    )
    data = training_data(TrainOptions(view_a=(views[0],), view_b=(views[1],)), ())
    for role, view, suffix in zip(ROLES, views, suffixes, strict=True):
        expected = [view / f"{name}{suffix}{ending}" for name in ("actin", "nucleus")]
        assert list(data.volumes[role]) == expected


def test_folders_of_time_points_are_a_volume(tmp_path) -> None:
    """Stacks whose names differ in numbers alone are left to those who open them."""
    names = [f"tp{n:03}.tif" for n in range(3)]
    views = folder(tmp_path / "A", *names), folder(tmp_path / "B", *names)
    data = training_data(TrainOptions(view_a=views[:1], view_b=views[1:]), ())
    assert data.volumes == {VIEW_A: views[:1], VIEW_B: views[1:]}


@pytest.mark.parametrize(
    ("of_a", "of_b", "odd"),
    [
        (["actin.tif", "actin_b.tif"], ["actin.tif", "nucleus.tif"], "A/actin_b.tif"),
        (["x.tif"], ["x.tif", "y.tif"], "B/y.tif"),
        (["tp001.tif", "tp002.tif"], ["tp001.tif", "tp003.tif"], "A/tp002.tif"),
    ],
)
def test_the_odd_one_out_is_named(of_a, of_b, odd: str, tmp_path) -> None:
    """A file in one folder that has no partner in the other."""
    views = folder(tmp_path / "A", *of_a), folder(tmp_path / "B", *of_b)
    with pytest.raises(OptionError, match=f"{odd}: no file of this name in {tmp_path}") as error:
        training_data(TrainOptions(view_a=views[:1], view_b=views[1:]), ())
    assert "\n" not in str(error.value)


def test_what_does_not_pair_is_refused(tmp_path) -> None:
    """In one line, which says what was expected."""
    inside = folder(tmp_path / "A", "x.tif")
    for options, volumes, words in (
        ({}, (A,), "of which view is it"),
        ({}, (), "no volumes: rldfn learns from pairs"),
        ({"view_a": (A,)}, (), "--view-a 1 times and --view-b 0 times"),
        ({"view_a": (A,), "view_b": (B, B)}, (), "--view-a 1 times and --view-b 2 times"),
        ({"view_a": (A,), "view_b": (A,)}, (), "given as view A too"),
        ({"view_a": (inside,), "view_b": (B,)}, (), "is a folder of volumes, b.tif is a volume"),
        ({"view_a": (A,), "view_b": (inside,)}, (), "is a folder of volumes, a.tif is a volume"),
        (
            {"view_a": (A,), "view_b": (B,), "validation_a": (A,)},
            (),
            "--validation-a 1 times and --validation-b 0 times",
        ),
    ):
        with pytest.raises(OptionError, match=words) as error:
            training_data(TrainOptions(**options), volumes)
        assert "\n" not in str(error.value)


def test_every_volume_is_divided_by_its_own_maximum() -> None:
    """That of each time point by itself, as the published program has a file for each."""
    facts = VolumeFacts((4, 4, 4), "uint16", each_series={MAXIMUM: [51.0]})
    assert training_statistics() == (MAXIMUM, MINIMUM) == ("series:max", "series:min")
    assert maximum_of(facts) == 51.0


def test_what_the_command_line_imports_needs_no_torch() -> None:
    """Nor do the worker processes that draw samples."""
    modules = ("train_options", "data", "samples", "section_schedule")
    program = "import sys, " + ", ".join(f"vemctl_rldfn.{name}" for name in modules)
    program += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    program = "import sys, vemctl_rldfn.train_options; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
