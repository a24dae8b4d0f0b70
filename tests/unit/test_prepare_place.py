"""The output of a preparation is whole, what it was before, or not there."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.preparing import Cut, Run, asked, listing, whole, write_raw

from vemctl import registry
from vemctl.errors import InputError, Interrupted, OptionError, OutputError
from vemctl.plugin import NoOptions, Workplace
from vemctl.workflows.prepare import plan_preparation, prepare
from vemctl.workflows.prepare_options import PrepareInputOptions


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Cut:
    """Register the method."""
    method = Cut()
    monkeypatch.setattr(registry, "get", lambda _: method)
    return method


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Write a volume of two channels."""
    return write_raw(tmp_path)


class Killed(BaseException):
    """Neither an error of the user's nor one of ours."""


def half(error: BaseException | None, *, stop: threading.Event | None = None) -> Run:
    """Return a run that writes more than a file and fails, or is asked to stop."""

    def run(place: Workplace) -> Mapping[str, Any]:
        (place.folder / "table.csv").write_text("id\n", encoding="utf-8")
        volume = place.make_volume("v", (200, 4, 4), "uint8")
        volume.append(np.ones((100, 4, 4), np.uint8))
        place.advance("cutting", 0, 2)
        if stop is not None:
            stop.set()
        if error is not None:
            raise error
        place.advance("cutting", 1, 2)
        volume.append(np.ones((100, 4, 4), np.uint8))
        volume.close()
        return {}

    return run


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    "error", [InputError("v.npy: damaged"), KeyError("a bug"), Killed(), KeyboardInterrupt(), None]
)
def test_what_fails_half_way_leaves_nothing(
    error: BaseException | None, there: bool, cut: Cut, raw: Path
) -> None:
    """Errors, bugs, interruptions: an old output stays as it was, and nothing is beside it."""
    if there:
        prepare(asked(raw, count=3))
    before = listing(raw.parents[1])
    stop = threading.Event()
    cut.runs = half(error, stop=None if error else stop)
    with pytest.raises(Interrupted if error is None else type(error)):
        prepare(asked(raw, overwrite=there), stop=stop)
    assert listing(raw.parents[1]) == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded"),
        (PermissionError(errno.EACCES, "Permission denied", "set/x"), "Permission denied"),
    ],
)
def test_a_full_disk_is_told_without_advice_to_resume(
    error: OSError, words: str, cut: Cut, raw: Path
) -> None:
    """There is nothing to resume; the line names the output and not a hidden folder."""
    before = listing(raw.parents[1])
    cut.runs = half(error)
    with pytest.raises(OutputError) as caught:
        prepare(asked(raw))
    text = str(caught.value)
    assert text.startswith(f"{raw.parents[1] / 'set'}: cannot be written: {words}; ")
    assert "--resume" not in text
    assert ".partial" not in text
    assert listing(raw.parents[1]) == before


def test_a_parent_that_is_no_folder_is_one_line(cut: Cut, raw: Path) -> None:
    """Before anything is made."""
    (raw.parents[1] / "file").touch()
    with pytest.raises(OutputError, match=r"file/set: cannot be written"):
        prepare(asked(raw, "file/set"))


@pytest.mark.parametrize(
    ("misuse", "error", "words"),
    [
        ("never closed", RuntimeError, "'v' was begun and never closed"),
        ("closed early", RuntimeError, "v.zarr has 3 slices of 4"),
        ("too many", ValueError, "5 slices for a volume of 4"),
        ("other type", ValueError, "uint16 slices .* expected uint8"),
        ("other shape", ValueError, r"expected uint8 of \(z, 3, 5\)"),
        ("one plane", ValueError, r"expected uint8 of \(z, 3, 5\)"),
    ],
)
def test_a_volume_is_filled_as_it_was_begun(
    misuse: str, error: type[Exception], words: str, cut: Cut, raw: Path
) -> None:
    """What a method does wrong is its bug, and leaves nothing."""

    def run(place: Workplace) -> Mapping[str, Any]:
        volume = place.make_volume("v", (4, 3, 5), "uint8")
        shape = {"other shape": (1, 5, 3), "one plane": (3, 5)}.get(misuse, (3, 3, 5))
        dtype = np.uint16 if misuse == "other type" else np.uint8
        volume.append(np.ones(shape, dtype))
        if misuse in {"too many", "never closed"}:
            volume.append(np.ones((2 if misuse == "too many" else 1, 3, 5), np.uint8))
        if misuse != "never closed":
            volume.close()
        return {}

    cut.runs = run
    before = listing(raw.parents[1])
    with pytest.raises(error, match=words):
        prepare(asked(raw))
    assert listing(raw.parents[1]) == before


def test_a_missing_input_leaves_no_folders(cut: Cut, raw: Path) -> None:
    """Those above the output are made when there is something to put in."""
    before = listing(raw.parents[1])
    request = replace(asked(raw, "new/folders/set"), inputs=(raw.parent / "none.npy",))
    with pytest.raises(InputError, match=r"none\.npy"):
        prepare(request)
    assert listing(raw.parents[1]) == before
    assert prepare(asked(raw, "new/folders/set", count=1)).output.is_dir()


def test_a_stop_before_the_run_ends_it_while_it_measures(cut: Cut, raw: Path) -> None:
    """The preparation is not made any more."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="measuring"):
        prepare(asked(raw), stop=stop)
    assert not cut.requests


# ------------------------------------------------------------------------------ the output's place


def test_an_old_set_is_replaced_only_if_asked_for(cut: Cut, raw: Path) -> None:
    """Then all of it, once the new one is whole."""
    output = prepare(asked(raw, count=3)).output
    (output / "notes.txt").write_text("mine", encoding="utf-8")
    before = listing(output)
    for plan in (prepare, plan_preparation):
        with pytest.raises(OutputError, match=r"set: exists: pass --overwrite or choose another"):
            plan(asked(raw, count=4))
    assert listing(output) == before
    prepare(asked(raw, count=4, overwrite=True))
    assert len(whole(output / "train" / "good.zarr")) == 4
    assert not (output / "notes.txt").exists()
    assert {path.name for path in output.parent.iterdir()} == {"raw", "set"}


@pytest.mark.parametrize("what", ["folder", "empty folder", "file"])
def test_what_no_preparation_made_is_not_replaced(what: str, cut: Cut, raw: Path) -> None:
    """Not even with --overwrite; the line says why."""
    output = raw.parents[1] / "set"
    if what == "file":
        output.write_text("mine", encoding="utf-8")
    else:
        output.mkdir()
        if what == "folder":
            (output / "mine.txt").touch()
    before = listing(raw.parents[1])
    for plan in (prepare, plan_preparation):
        with pytest.raises(OutputError, match=r"set: not made by vemctl prepare \(prepare\.json"):
            plan(asked(raw, overwrite=True))
    assert listing(raw.parents[1]) == before


def test_an_output_in_an_input_is_refused(cut: Cut, raw: Path, monkeypatch: Any) -> None:
    """However it is written; so is the input itself."""
    monkeypatch.chdir(raw.parents[1])
    link = raw.parents[1] / "link"
    link.symlink_to(raw.parent)
    for output in ("raw", "raw/set", "raw/deep/set", "./raw/../raw/set", "link/set", "raw2/../raw"):
        request = replace(asked(raw), inputs=(Path("raw"),), output=Path(output))
        for plan in (prepare, plan_preparation):
            with pytest.raises(OutputError, match=r"in the input raw; choose another output"):
                plan(request)
    assert {path.name for path in raw.parents[1].iterdir()} == {"raw", "link"}
    assert {path.name for path in raw.parent.iterdir()} == {"v.npy"}


def test_an_input_in_the_output_is_not_replaced_with_it(cut: Cut, raw: Path) -> None:
    """A set cannot be made of itself, nor of a volume that an option names."""
    first = prepare(asked(raw, count=5)).output
    before = listing(first)
    inside = first / "train" / "good.zarr"
    again = replace(
        asked(raw, overwrite=True, count=2), inputs=(inside,), input=PrepareInputOptions()
    )
    for plan in (prepare, plan_preparation):
        with pytest.raises(OutputError, match=r"set: the input .*good\.zarr is in it"):
            plan(again)
    with pytest.raises(OutputError, match=r"set: the input .*good\.zarr is in it"):
        prepare(asked(raw, overwrite=True, reference=(inside,)))
    assert listing(first) == before


def test_a_plan_writes_nothing(cut: Cut, raw: Path) -> None:
    """It tells the method, the paths and what the method will make."""
    before = listing(raw.parents[1])
    plan = plan_preparation(asked(raw, count=7))
    assert plan == {
        "method": "cut", "inputs": [str(raw)], "output": str(raw.parents[1] / "set"), "samples": 7,
    }  # fmt: skip
    with pytest.raises(OptionError, match="--channel 2"):
        plan_preparation(replace(asked(raw), input=PrepareInputOptions("czyx", channel="2")))
    assert listing(raw.parents[1]) == before


def test_a_method_without_a_preparation_is_refused(raw: Path, monkeypatch: Any) -> None:
    """The line says that there is no need."""

    class Plain(Cut):
        name = "plain"
        prepare_options = None

    monkeypatch.setattr(registry, "get", lambda _: Plain())
    for plan in (prepare, plan_preparation):
        with pytest.raises(
            OptionError, match=r"^plain has no prepare: its training reads volumes as they are$"
        ):
            plan(replace(asked(raw), method_options=NoOptions()))


# ----------------------------------------------------------------------------------- other runs


def test_two_runs_do_not_write_one_output(cut: Cut, raw: Path) -> None:
    """The second is told so; the first goes on."""
    errors: list[str] = []

    def run(place: Workplace) -> Mapping[str, Any]:
        cut.runs = None
        with pytest.raises(OutputError) as caught:
            prepare(asked(raw, count=3))
        errors.append(str(caught.value))
        return {"first": True}

    cut.runs = run
    assert prepare(asked(raw)).facts["first"]
    (error,) = errors
    assert "is being written by another run" in error
    assert {path.name for path in raw.parents[1].iterdir()} == {"raw", "set"}


def test_an_output_that_another_run_made_meanwhile_stays(cut: Cut, raw: Path) -> None:
    """Measuring takes a while, and nobody asked for its replacement."""

    def another() -> None:
        cut.when_made = lambda: None
        prepare(asked(raw, count=2))

    cut.when_made = another
    with pytest.raises(OutputError, match=r"set: exists: pass --overwrite"):
        prepare(asked(raw, count=3))
    assert len(whole(raw.parents[1] / "set" / "train" / "good.zarr")) == 2


def test_what_a_killed_run_left_goes_with_the_next(cut: Cut, raw: Path) -> None:
    """Only what is called as ours: a folder of the user's or of another output stays."""
    root = raw.parents[1]
    mark = "0123456789abcdef" * 2
    ours = root / f"set.{mark}.partial"
    others = [root / f"set2.{mark}.partial", root / "set.partial", root / "set.backup.partial"]
    for folder in (ours, *others):
        (folder / "train").mkdir(parents=True)
    plan_preparation(asked(raw))
    assert ours.exists()
    prepare(asked(raw, count=1))
    assert not ours.exists()
    assert all(folder.exists() for folder in others)


def test_an_old_set_that_a_killed_run_put_aside_comes_back(cut: Cut, raw: Path) -> None:
    """As if it had never been away: it is replaced only if that is asked for."""
    root = raw.parents[1]
    output, aside = prepare(asked(raw, count=2)).output, root / ".set.replaced"
    before = listing(output)
    output.rename(aside)
    with pytest.raises(OutputError, match=r"exists: pass --overwrite"):
        prepare(asked(raw, count=3))
    assert listing(output) == before
    assert not aside.exists()
    output.rename(aside)
    cut.runs = half(InputError("v.npy: damaged"))
    with pytest.raises(InputError):
        prepare(asked(raw, overwrite=True))
    assert listing(output) == before
    aside.mkdir()
    cut.runs = None
    prepare(asked(raw, count=3, overwrite=True))
    assert len(whole(output / "train" / "good.zarr")) == 3
    assert not aside.exists()


@pytest.mark.parametrize("moment", ["old away", "new in place"])
def test_a_failure_while_the_new_one_takes_its_place(
    moment: str, cut: Cut, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old set is back, or the new one is whole; never neither, never a mixture."""
    root = raw.parents[1]
    output = prepare(asked(raw, count=2)).output
    before = listing(output)
    renamed = Path.rename if moment == "old away" else None

    def rename(self: Path, target: Path) -> Path:
        done = renamed(self, target)
        if self == output:
            raise Killed
        return done

    def sync(folder: Path) -> None:
        if folder == root:
            raise Killed

    if moment == "old away":
        monkeypatch.setattr(Path, "rename", rename)
    else:
        monkeypatch.setattr("vemctl.durable.sync_folder", sync)
    with pytest.raises(Killed):
        prepare(asked(raw, count=3, overwrite=True))
    monkeypatch.undo()
    if moment == "old away":
        assert listing(output) == before
    else:
        assert len(whole(output / "train" / "good.zarr")) == 3
    monkeypatch.setattr(registry, "get", lambda _: cut)
    prepare(asked(raw, count=4, overwrite=True))
    assert {path.name for path in root.iterdir()} == {"raw", "set"}
    assert len(whole(output / "train" / "good.zarr")) == 4
