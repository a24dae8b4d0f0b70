"""A run on other processes: what they keep open for it, and how they learn that it is over."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vemctl.errors import InputError, Interrupted, WorkerError
from vemctl.object_store import is_offline
from vemctl.prediction.blocks import Bench, Task, write_units
from vemctl.volumes.checks import partial_folder
from vemctl.workflows.job import NAME, Job, require_same_beginning
from vemctl.workflows.options import PredictRequest, SpreadOptions
from vemctl.workflows.shops import Shop, Shops, setting
from vemctl.workflows.workforce import _expected

JOB = Job({}, {}, {}, {}, {}, {}, (1, 1, 1), token="first")


class Opened:
    """Opens shops and knows which are closed."""

    def __init__(self) -> None:
        self.stops: list[threading.Event] = []
        self.closed: list[int] = []

    def __call__(self, stop: threading.Event) -> Shop:
        number = len(self.stops)
        self.stops.append(stop)
        nothing: Any = None
        bench = Bench(nothing, [], nothing, nothing, nothing, stop)
        return Shop(Path("out"), JOB, bench, nothing, None, lambda: self.closed.append(number))


def test_the_blocks_of_a_run_share_a_shop() -> None:
    """It is opened once, and closed at the end of the run; then none is let in any more."""
    shops, opened = Shops(), Opened()
    with shops.entered("a", opened) as one, shops.entered("a", opened) as other:
        assert one is other
    with shops.entered("a", opened) as again:
        assert again is one
    assert opened.closed == []
    shops.close("a")
    shops.close("a")
    assert opened.closed == [0]
    with pytest.raises(Interrupted), shops.entered("a", opened):
        pass
    assert len(opened.stops) == 1


def test_a_shop_is_closed_by_the_last_who_leaves() -> None:
    """Who is in it when the run ends is told to stop, and has its inputs open until then."""
    shops, opened = Shops(), Opened()
    with shops.entered("a", opened) as shop:
        shops.close("a")
        assert shop.bench.stop.is_set()
        assert opened.closed == []
    assert opened.closed == [0]


def test_another_run_takes_the_place_of_a_forgotten_one() -> None:
    """At once, if nobody is at work in it; else both go on, and either can be ended by itself."""
    shops, opened = Shops(), Opened()
    with shops.entered("a", opened):
        pass
    with shops.entered("b", opened) as second:
        assert opened.closed == [0]
        with shops.entered("c", opened) as third:
            assert opened.closed == [0]
            shops.close("b")
            assert second.bench.stop.is_set()
            assert not third.bench.stop.is_set()
    assert opened.closed == [0, 1]
    shops.close("c")
    assert opened.closed == [0, 1, 2]


def test_a_run_may_end_while_its_shop_opens() -> None:
    """Then the opening is told, and what it opened does not stay."""
    shops, opened = Shops(), Opened()

    def slowly(stop: threading.Event) -> Shop:
        shops.close("a")
        assert stop.is_set()
        return opened(stop)

    with shops.entered("a", slowly):
        pass
    assert opened.closed == [0]


@pytest.mark.parametrize("own", [None, "0", "1"])
def test_offline_as_a_run_wants_it(own: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as it lasts; a worker that was started offline stays so."""
    monkeypatch.delenv("VEMCTL_OFFLINE", raising=False)
    if own is not None:
        monkeypatch.setenv("VEMCTL_OFFLINE", own)
    before = is_offline()
    assert before == (own == "1")
    first, second = setting.as_asked(offline=True), setting.as_asked(offline=False)
    with first:
        assert is_offline()
        second.__enter__()
        assert is_offline() == before
    second.__exit__(None, None, None)
    assert os.environ.get("VEMCTL_OFFLINE") == own


def test_who_was_overtaken_writes_no_more(tmp_path: Path) -> None:
    """Another beginning, or none, is told; what cannot be read now may be later."""
    output = tmp_path / "out.zarr"
    place = partial_folder(output)
    place.mkdir()
    JOB.write(output)
    require_same_beginning(output, JOB)
    replace(JOB, shards=3).write(output)
    require_same_beginning(output, JOB)
    replace(JOB, token="second").write(output)
    with pytest.raises(WorkerError, match="another run has begun it anew"):
        require_same_beginning(output, JOB)
    (place / NAME).unlink()
    with pytest.raises(WorkerError, match="another run has begun it anew"):
        require_same_beginning(output, JOB)
    (place / NAME).mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        require_same_beginning(output, JOB)


def test_somebody_is_asked_before_each_unit() -> None:
    """Who says no has no more units written."""
    units = [tuple(slice(i, i + 1) for _ in range(3)) for i in range(3)]
    written: list[Any] = []

    class Fake:
        """A plan, its series, a store and a block, as far as writing needs them."""

        stage, output_timepoint, output_channel, stretch = "final", 0, 0, False

        def __init__(self) -> None:
            self.series, self.output = [self], self

        def units(self, region: Any) -> list[Any]:
            return units

        def write(self, unit: Any, part: Any, *, channel: int, timepoint: int) -> str:
            written.append(unit)
            return "sum"

        def wait(self) -> Any:
            return np.zeros((3, 3, 3))

    def ask() -> None:
        if len(written) == 2:
            raise Interrupted("over")

    fake: Any = Fake()
    bench = Bench(fake, [], fake, fake, fake, threading.Event())
    block = Task(0, (slice(0, 3), slice(0, 3), slice(0, 3)))
    assert len(write_units(bench, block, fake)) == 3
    written.clear()
    with pytest.raises(Interrupted):
        write_units(bench, block, fake, ask)
    assert written == units[:2]


@pytest.mark.parametrize(
    ("spread", "there", "expected"),
    [
        (SpreadOptions(slurm="jobs=16"), 1, 16),
        (SpreadOptions(slurm="jobs=2"), 3, 3),
        (SpreadOptions(scheduler="tcp://a:1"), 5, 5),
        (SpreadOptions(scheduler="tcp://a:1"), 0, 1),
        (SpreadOptions(scheduler="tcp://a:1", workers=8), 5, 8),
    ],
)
def test_blocks_are_cut_for_who_will_come(
    spread: SpreadOptions, there: int, expected: int, tmp_path: Path
) -> None:
    """All jobs of SLURM count, and as many workers as the user says."""
    paths = (tmp_path / "a.npy",), tmp_path / "b.zarr"
    request = PredictRequest("moody", *paths, weights=None, method_options=None, spread=spread)
    assert _expected(request, there) == expected
