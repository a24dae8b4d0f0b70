"""Shares of a job array: every block has one owner, whatever SLURM or the user says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.errors import OptionError
from vemctl.prediction.units import BlockGrid, UnitGrid
from vemctl.workflows.job import Job
from vemctl.workflows.shards import Share, owner, parse_share


def job(shards: int, array: tuple[int, int] | None) -> Job:
    """Return a job that was begun in so many shares."""
    return Job({}, {}, {}, {}, {}, {}, (1, 1, 1), shards, array)


@given(st.integers(1, 400), st.integers(1, 60))
def test_every_block_has_one_owner(blocks: int, count: int) -> None:
    """Shares are as equal as can be, follow one another, and cover all blocks."""
    owners = [owner(block, blocks, count) for block in range(blocks)]
    assert owners == sorted(owners)
    assert set(owners) <= set(range(1, count + 1))
    sizes = np.bincount(owners, minlength=count + 1)[1:]
    assert sizes.sum() == blocks
    assert sizes.max() - sizes.min() <= 1
    shares = [Share(i + 1, count) for i in range(count)]
    for block in range(blocks):
        assert sum(share.owns(block, blocks) for share in shares) == 1


@pytest.mark.parametrize(
    ("text", "expected"), [("1/1", (1, 1)), ("3/16", (3, 16)), (" 2/2", (2, 2))]
)
def test_a_share_is_read(text: str, expected: tuple[int, int]) -> None:
    """Both numbers, the first from 1."""
    share = parse_share(text, None)
    assert (share.number, share.count) == expected


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "3", "a/b", "-1/3", "1/0", "1/2/3", "1.5/3"])
def test_what_is_no_share_is_refused(text: str) -> None:
    """One line says what is expected."""
    with pytest.raises(OptionError, match=r"expected I/N.*3/16"):
        parse_share(text, None)


def array(monkeypatch: pytest.MonkeyPatch, **numbers: int) -> None:
    """Pretend to be a task of a SLURM job array."""
    for name in ("ID", "MIN", "COUNT", "STEP"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    for name, number in numbers.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(number))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"ID": 1, "MIN": 1, "COUNT": 16}, (1, 16)),
        ({"ID": 16, "MIN": 1, "COUNT": 16}, (16, 16)),
        ({"ID": 0, "MIN": 0, "COUNT": 4}, (1, 4)),
        ({"ID": 14, "MIN": 2, "COUNT": 5, "STEP": 3}, (5, 5)),
    ],
)
def test_slurm_says_which_share(
    monkeypatch: pytest.MonkeyPatch, numbers: dict[str, int], expected: tuple[int, int]
) -> None:
    """Tasks may count from any number, by any step."""
    array(monkeypatch, **numbers)
    share = parse_share("auto", None)
    assert (share.number, share.count) == expected


def test_a_part_of_an_array_that_is_run_again_knows_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `sbatch --array=7`, task 7 is still the seventh of the sixteen that were begun."""
    array(monkeypatch, ID=7, MIN=7, COUNT=1)
    share = parse_share("auto", job(16, (1, 1)))
    assert (share.number, share.count, share.array) == (7, 16, (1, 1))
    array(monkeypatch, ID=17, MIN=17, COUNT=1)
    with pytest.raises(OptionError, match="task 17 is none of 16"):
        parse_share("auto", job(16, (1, 1)))


def test_outside_an_array_there_is_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names what is missing and what to do instead."""
    array(monkeypatch)
    with pytest.raises(OptionError, match=r"SLURM_ARRAY_TASK_ID.*--shard I/N"):
        parse_share("auto", None)


@given(st.data())
def test_a_block_is_complete_when_its_units_are(data: st.DataObject) -> None:
    """Blocks of several units, cut at the volume's end, over channels and time points."""
    shape, unit, units_per_block = (
        data.draw(st.tuples(*[st.integers(1, n)] * 3), label=name)
        for name, n in (("shape", 9), ("unit", 4), ("units per block", 3))
    )
    units = UnitGrid(shape, unit, 2, 2)
    block: Any = tuple(u * n for u, n in zip(unit, units_per_block, strict=True))
    blocks = BlockGrid(units, block)
    bits = st.lists(st.integers(0, 1), min_size=units.total, max_size=units.total)
    done = np.array(data.draw(bits), np.uint8)
    expected = np.ones(blocks.total, bool)
    for number in range(units.total):
        timepoint, channel, start, _ = units.place(number)
        expected[blocks.number(timepoint, channel, start)] &= bool(done[number])
    np.testing.assert_array_equal(blocks.complete(done), expected)
