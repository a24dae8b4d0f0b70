"""Which files are raw data, and which belong together."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from vemctl_vsisr.prepare_options import RAW_NAMES, TRUTH_NAMES
from vemctl_vsisr.raw_files import Cell, find_cells, natural, raw_files

from vemctl.errors import VemctlError

NAME = "Illum488_Cyc1_Ch1_St{}.mrc"
TRUTH = NAME.format("5-wiener{}")


def made(folder: Path, *names: str) -> Path:
    """Make empty files, or folders for Zarr."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".zarr":
            path.mkdir()
            (path / "zarr.json").touch()
        else:
            path.touch()
    return folder


def refusal(*arguments) -> str:
    """Return the one line of the error of `find_cells`, or of `raw_files` for a list."""
    with pytest.raises(VemctlError) as error:
        (raw_files if isinstance(arguments[0], list) else find_cells)(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_numbers_in_names_count() -> None:
    """So that the tenth time point is not the second one."""
    names = ["t10.mrc", "t9.mrc", "t100.mrc", "a.mrc", "t9b.mrc", "5.mrc"]
    found = [path.name for path in sorted(map(Path, names), key=natural)]
    assert found == ["5.mrc", "a.mrc", "t9.mrc", "t9b.mrc", "t10.mrc", "t100.mrc"]


def test_reconstructions_are_no_raw_data(tmp_path: Path) -> None:
    """Though they lie among them, and come before the best raw data in any order of names."""
    levels = [NAME.format(k) for k in (1, 2, 5, 10)]
    made(tmp_path, *levels, TRUTH.format("0.02-fixk0-Fd"), "notes.txt", "._St1.mrc", "b.zarr")
    listed = sorted(path.name for path in tmp_path.iterdir())
    assert listed.index(TRUTH.format("0.02-fixk0-Fd")) < listed.index(NAME.format(5))
    expected = [*levels, "b.zarr"]
    assert [path.name for path in raw_files([tmp_path], None)] == expected
    assert [path.name for path in raw_files([tmp_path], RAW_NAMES)] == levels
    assert [path.name for path in raw_files([tmp_path], "wiener")] == [
        TRUTH.format("0.02-fixk0-Fd")
    ]


def test_files_that_are_named_are_taken_as_they_are(tmp_path: Path) -> None:
    """Once each, in the order in which they are named; a Zarr is a file, too."""
    made(tmp_path, "b.tif", "a.dv", "s.zarr", "more/t2.mrc", "more/t10.dv", "more/t1.npy")
    inputs = [tmp_path / "b.tif", tmp_path / "s.zarr", tmp_path / "more", tmp_path / "b.tif"]
    assert [path.name for path in raw_files(inputs, None)] == [
        "b.tif", "s.zarr", "t1.npy", "t2.mrc", "t10.dv"
    ]  # fmt: skip
    named = tmp_path / "x-wiener0.02.mrc"
    assert raw_files([named], "wiener") == (named,)


def test_what_is_no_raw_data_is_told(tmp_path: Path) -> None:
    """A folder without any, a reconstruction that is named, a pattern that is none."""
    made(tmp_path, "a-wiener0.02.mrc", "notes.txt")
    assert refusal([tmp_path], None).startswith(f"{tmp_path}: no raw data in this folder;")
    assert "names like _St" in refusal([tmp_path], RAW_NAMES)
    assert "a reconstruction by its name" in refusal([tmp_path / "a-wiener0.02.mrc"], None)
    assert refusal([tmp_path], "(").startswith("--raw-pattern (: no regular expression:")


def test_cells_have_levels_and_a_reconstruction(tmp_path: Path) -> None:
    """In natural order of structures, cells and levels; of reconstructions the preferred one."""
    wieners = ["0.02-fixk0-Fd", "0.03-fixk0-Fd", "0.05-fixk0-Fd", "0.02-fixk0", "0.03-fixk0"]
    for cell, first in itertools.product(("cell2", "cell10"), range(5)):
        folder = tmp_path / f"s{first + 8}" / cell
        made(folder, *(TRUTH.format(w) for w in wieners[first:]), TRUTH.format("0.01-fixk0"))
        made(folder, NAME.format(5), NAME.format(1), NAME.format(12), "Widefield_St.mrc")
    made(tmp_path, "notes.txt", "s8/notes.txt", ".hidden/x/y")
    cells = find_cells(tmp_path, RAW_NAMES, TRUTH_NAMES)
    assert [(c.structure, c.name) for c in cells] == [
        (f"s{n}", cell) for n in range(8, 13) for cell in ("cell2", "cell10")
    ]
    for number, cell in enumerate(cells):
        folder = tmp_path / cell.structure / cell.name
        assert cell.truth == folder / TRUTH.format(wieners[number // 2])
        assert dict(cell.raw) == {k: folder / NAME.format(k) for k in (1, 5, 12)}
        assert list(cell.raw) == [1, 5, 12]
    some = find_cells(tmp_path, RAW_NAMES, TRUTH_NAMES, ("s9",))
    assert {cell.structure for cell in some} == {"s9"}


def test_other_names_may_be_given(tmp_path: Path) -> None:
    """Of raw data with the level in them, and of truth, the preferred first."""
    made(tmp_path, "er/a/low3.tif", "er/a/low4.tif", "er/a/truth.tif", "er/a/better.zarr")
    (cell,) = find_cells(tmp_path, r"^low(\d)", (r"^best", r"^better", r"^truth"))
    folder = tmp_path / "er" / "a"
    assert cell == Cell(
        "er", "a", folder / "better.zarr", {3: folder / "low3.tif", 4: folder / "low4.tif"}
    )


def test_a_cell_that_lacks_something_is_told(tmp_path: Path) -> None:
    """What, where, and what was expected."""
    for number, (names, words) in enumerate((
        ((TRUTH.format("0.02-fixk0"),), "er/a: no raw data; expected names like _St"),
        ((NAME.format(5),), "er/a: no reconstruction to learn from; expected Illum*"),
        ((NAME.format(5), TRUTH.format("0.9-fixk0")), "er/a: no reconstruction"),
        ((NAME.format(5), "Illum560_Cyc1_Ch2_St5.mrc"), "of the same signal-to-noise level 5 as"),
        ((NAME.format(5), TRUTH.format("0.02-fixk0"), TRUTH.replace("Ch1", "Ch2").format(
            "0.02-fixk0")), "er/a: 2 reconstructions are like"),
    )):  # fmt: skip
        tree = tmp_path / str(number)
        made(tree / "er" / "a", *names)
        assert words in refusal(tree, RAW_NAMES, TRUTH_NAMES)
    tree = made(tmp_path / "other", f"er/a/{NAME.format(5)}", "er/a/t.tif")
    for patterns, words in (
        ((r"_St\d", ["t"]), r"--raw-pattern _St\d: has 0 groups; with --pairs expected one"),
        ((r"_(St)\d", ["t"]), r"--raw-pattern _(St)\d: its group is 'St' in"),
        ((RAW_NAMES, ["["]), "--truth-pattern [: no regular expression:"),
        (
            (RAW_NAMES, ["t"], ["re"]),
            f"--structures re: {tree} has no such folder; expected one of er.",
        ),
    ):
        assert refusal(tree, *patterns).startswith(words)
    file = tree / "er" / "a" / "t.tif"
    assert refusal(file, RAW_NAMES, TRUTH_NAMES).startswith(f"{file}: no folder;")


def test_the_right_folder_is_told(tmp_path: Path) -> None:
    """Where one above or below it was given, or the other kind of preparation was meant."""
    made(tmp_path, f"actin/a/{NAME.format(1)}", f"er/b/{NAME.format(1)}")
    cells, above = (RAW_NAMES, TRUTH_NAMES), tmp_path
    structure, cell = tmp_path / "er", tmp_path / "er" / "b"
    assert refusal(structure, *cells) == (
        f"{structure}: no cells; those in it seem to be cells of one structure: give its parent, "
        f"{above}"
    )
    assert refusal(cell, *cells).endswith(f"a cell: give the parent of its structure, {above}")
    made(tmp_path, "none/x")
    assert refusal(tmp_path / "none", *cells).endswith(
        "expected folders STRUCTURE/CELL with raw data"
    )
    known = refusal(tmp_path, *cells, ("actinn",), "--structure")
    assert known.startswith(f"--structure actinn: {tmp_path} has no such folder; expected one of ")
    assert known.endswith("actin, er, none. Did you mean 'actin'?")
    assert refusal([tmp_path], None).endswith("of which --pairs makes training pairs")
    assert refusal([structure], None).endswith("folders inside it have volumes: give one of these")
