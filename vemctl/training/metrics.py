"""metrics.csv: what a training found, row by row; the same run writes the same bytes.

There is no time in it: two runs, or an interrupted one and one that went on, can be compared
byte by byte.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from vemctl.durable import output_errors, sync_file, write_whole
from vemctl.errors import ResumeError

STEP = "step"
RATE = "lr_"
"""Before the name of an optimiser, whose learning rate it is."""

Value = float | str | None
"""Of a cell; None, as absence, is an empty one."""


class Metrics:
    """The table of a run.

    Parameters
    ----------
    path : Path
        Continued if it is there, less what a kill has torn; columns that it lacks are added on
        the right.
    columns : sequence of str
        All that are known by now; ``"step"`` is the first in any case.

    Attributes
    ----------
    columns : tuple of str
        As in the file.

    Raises
    ------
    ResumeError
        The file is no such table.
    OutputError
        It cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        header, rows = self._stored() if path.exists() else ([], [])
        self.columns = tuple(dict.fromkeys([*header, STEP, *columns]))
        self._rewrite(rows)

    def append(self, row: Mapping[str, Value]) -> None:
        """Add a row; it outlives the process when this returns.

        Parameters
        ----------
        row : mapping of str to value
            With ``"step"``; a column that the table does not have yet is added to it.

        Raises
        ------
        OutputError
            It cannot be written; the table is as before.
        """
        missing = [name for name in row if name not in self.columns]
        if missing:
            _, rows = self._stored()
            self.columns += tuple(missing)
            self._rewrite(rows)
        line = _lines([[_text(row.get(name)) for name in self.columns]])
        with output_errors(self._path), self._path.open("ab", buffering=0) as file:
            whole = file.tell()
            if not whole:  # somebody has taken the file away
                line = _lines([self.columns]) + line
            try:
                written = file.write(line)
                while written < len(line):
                    written += file.write(line[written:])
            except OSError:
                # The next row would become part of this one.
                os.ftruncate(file.fileno(), whole)
                raise

    def truncate_after(self, step: int) -> None:
        """Drop the rows of later steps, which a resumed run is going to write again."""
        _, rows = self._stored()
        self._rewrite([row for row in rows if int(row[0]) <= step])

    def sync(self) -> None:
        """Wait until all rows are on the disk, such as before the checkpoint that follows them."""
        with output_errors(self._path):
            sync_file(self._path)

    def _stored(self) -> tuple[list[str], list[list[str]]]:
        try:
            return _read(self._path)
        except (OSError, ValueError, csv.Error) as error:
            raise ResumeError(
                f"{self._path}: no table of a run ({error}); move it away and run again with "
                "--resume"
            ) from error

    def _rewrite(self, rows: Iterable[list[str]]) -> None:
        filled = [[*row, *[""] * (len(self.columns) - len(row))] for row in rows]
        with output_errors(self._path):
            write_whole(self._path, _lines([list(self.columns), *filled]))


def gained(path: Path, step: int) -> dict[str, tuple[float, float]]:
    """Return what a run's validations found before its first step, and after another.

    Parameters
    ----------
    path : Path
        Of the table.
    step : int

    Returns
    -------
    dict of str to (before, after)
        Of each metric; empty where the run was not judged before its first step.
    """
    header, rows = _read(path)
    table = {int(row[0]): dict(zip(header, row, strict=True)) for row in rows}
    before, after = table.get(0, {}), table.get(step, {})
    return {
        name: (float(value), float(after[name]))
        for name, value in before.items()
        if name != STEP and not name.startswith(RATE) and value and after.get(name)
    }


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the whole rows of a table."""
    text = path.read_bytes().decode()
    # A kill may have torn the last line.
    whole = text[: text.rfind("\n") + 1]
    header, *rows = list(csv.reader(io.StringIO(whole, newline=""))) or [[]]
    if header[:1] != [STEP]:
        raise ValueError(f"its first column is not {STEP!r}")
    return header, [row for row in rows if len(row) == len(header) and row[0].isdecimal()]


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Integral):  # NumPy's too
        return str(int(value))
    return repr(float(value))
