"""metrics.csv: the same run writes the same bytes, also when it was interrupted."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.errors import OutputError, ResumeError
from vemctl.training.metrics import Metrics

COLUMNS = ("l1", "lr_net", "psnr")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a table lies."""
    return tmp_path / "metrics.csv"


def train(table: Metrics, first: int, last: int) -> None:
    """Write the rows of some steps; every third has a validation."""
    for step in range(first, last + 1):
        row: dict[str, Any] = {"step": step, "l1": 1 / step, "lr_net": 1e-4 * 0.9**step}
        if step % 3 == 0:
            row["psnr"] = 20 + 1 / (3 * step)
        table.append(row)


def test_rows_have_their_place_and_empty_cells(path: Path) -> None:
    """The header stands once, numbers are as Python writes them, absent ones are empty."""
    table = Metrics(path, COLUMNS)
    table.append({"step": 1, "lr_net": 1e-4, "l1": 0.1 + 0.2})
    table.append({"psnr": float("nan"), "step": 20, "l1": None})
    table.append({"step": np.int64(30), "l1": np.float32(0.5), "psnr": 3})
    table.append({"step": 40, "l1": float("-inf")})
    assert path.read_bytes() == (
        b"step,l1,lr_net,psnr\n1,0.30000000000000004,0.0001,\n20,,,nan\n30,0.5,,3\n40,-inf,,\n"
    )


@given(cut=st.integers(0, 10), torn=st.integers(0, 30), later=st.integers(0, 4))
def test_an_interrupted_run_writes_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, cut: int, torn: int, later: int
) -> None:
    """From whatever step it goes on, and wherever a kill cut the last line."""
    folder = tmp_path_factory.mktemp("metrics")
    whole, interrupted = folder / "whole.csv", folder / "interrupted.csv"
    train(Metrics(whole, COLUMNS), 1, 10)
    train(Metrics(interrupted, COLUMNS), 1, min(10, cut + later))
    content = interrupted.read_bytes()
    place = len(content) - torn
    header = content.index(b"\n") + 1
    lost = content[max(place, header) :].count(b"\n")
    interrupted.write_bytes(content[: max(place, header)])
    resumed = Metrics(interrupted, COLUMNS)
    # What a checkpoint goes on from was written before it.
    step = min(cut, max(0, min(10, cut + later) - lost))
    resumed.truncate_after(step)
    train(resumed, step + 1, 10)
    assert interrupted.read_bytes() == whole.read_bytes()


def test_columns_that_come_later_are_added_on_the_right(path: Path) -> None:
    """The first validation, or another loss after a change, rewrites the table."""
    table = Metrics(path, ())
    table.append({"step": 1, "l1": 0.5})
    table.append({"step": 2, "l1": 0.25, "psnr": 20.5})
    resumed = Metrics(path, ("l2",))
    resumed.append({"step": 3, "l2": 1.5})
    assert resumed.columns == ("step", "l1", "psnr", "l2")
    assert path.read_text() == "step,l1,psnr,l2\n1,0.5,,\n2,0.25,20.5,\n3,,,1.5\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_run_that_is_interrupted_before_a_new_column_writes_the_same_bytes(path: Path) -> None:
    """A column keeps its place, whether its first row was dropped or not."""
    rows = [{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0, "b": 3.0}, {"step": 3, "c": 4.0}]
    table = Metrics(path, ())
    for row in rows:
        table.append(row)
    whole = path.read_bytes()
    for step in range(4):
        resumed = Metrics(path, ())
        resumed.truncate_after(step)
        for row in rows[step:]:
            resumed.append(row)
        assert path.read_bytes() == whole


def test_an_interrupted_table_is_the_same_table_without_columns_known(path: Path) -> None:
    """Reopening alone changes nothing."""
    train(Metrics(path, COLUMNS), 1, 4)
    before = path.read_bytes()
    Metrics(path, ())
    Metrics(path, reversed(COLUMNS))
    assert path.read_bytes() == before


def test_a_damaged_line_is_dropped(path: Path) -> None:
    """A disk may lose what was not synchronised; the rest of the table is kept."""
    train(Metrics(path, COLUMNS), 1, 3)
    before = path.read_bytes()
    path.write_bytes(before + b"4,0.1\n\0\0\0\n5x,1,1,1\n")
    Metrics(path, COLUMNS)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"step", b"a,b\n1,2\n", b"\xff\xfe\n", b"\0\0\n"])
def test_what_is_no_table_is_refused(path: Path, content: bytes) -> None:
    """One line with the cure, and the file stays."""
    path.write_bytes(content)
    with pytest.raises(ResumeError, match=r"no table of a run.*--resume") as raised:
        Metrics(path, COLUMNS)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == content


def test_names_with_commas_survive(path: Path) -> None:
    """Losses are named by plugins."""
    table = Metrics(path, ['a,"b"'])
    table.append({"step": 1, 'a,"b"': 1.5})
    before = path.read_bytes()
    assert Metrics(path, ()).columns == ("step", 'a,"b"')
    assert path.read_bytes() == before


def test_a_full_disk_leaves_whole_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a row is taken back, the error is one line, and later rows are on lines of their own."""
    table = Metrics(path, COLUMNS)
    train(table, 1, 3)
    before = path.read_bytes()
    opened = Path.open

    class Full(io.FileIO):
        """Takes five bytes, and then no more."""

        def write(self, data: Any) -> int:
            """Write five bytes once."""
            if self.tell() > len(before):
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[:5])

    with monkeypatch.context() as patched:
        patched.setattr(
            Path,
            "open",
            lambda self, *a, **k: Full(self, "ab") if a[:1] == ("ab",) else opened(self, *a, **k),
        )
        with pytest.raises(OutputError, match="disk full") as raised:
            train(table, 4, 4)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == before
    train(table, 4, 4)
    assert path.read_bytes().startswith(before + b"4,0.25,")


def test_a_table_that_was_taken_away_begins_anew(path: Path) -> None:
    """What is written afterwards has its header."""
    table = Metrics(path, COLUMNS)
    train(table, 1, 2)
    path.unlink()
    table.append({"step": 3, "l1": 1.0})
    assert path.read_text() == "step,l1,lr_net,psnr\n3,1.0,,\n"
    table.sync()


def test_a_folder_that_vanished_is_one_line(path: Path, tmp_path: Path) -> None:
    """What the system says becomes an OutputError."""
    table = Metrics(path, COLUMNS)
    path.unlink()
    tmp_path.rmdir()
    with pytest.raises(OutputError, match="cannot write"):
        table.append({"step": 1})
    with pytest.raises(OutputError, match="cannot write"):
        table.sync()
