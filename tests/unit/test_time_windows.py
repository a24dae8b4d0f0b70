"""Methods that see several time points at once: what is read for which, and what is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vemctl import registry
from vemctl.errors import InputError, OptionError
from vemctl.plugin import (
    Footprint,
    Method,
    NoOptions,
    Output,
    Place,
    Request,
    Restorer,
    TimeWindow,
    Triple,
)
from vemctl.prediction.plan import Series
from vemctl.volumes.open import open_volume
from vemctl.volumes.view import crop, in_time, replace_nonfinite
from vemctl.volumes.volume import Header
from vemctl.workflows.options import (
    ComputeOptions,
    InputOptions,
    PredictRequest,
    TilingOptions,
)
from vemctl.workflows.predict import plan_prediction, predict
from vemctl.workflows.sources import Sources, seen_through

SHAPE = (2, 6, 8)
WHOLE = tuple(slice(0, n) for n in SHAPE)


class Clock:
    """A volume whose voxels tell time point, channel and place."""

    def __init__(
        self, times: int | None, channels: int | None = None, dtype: str = "int32"
    ) -> None:
        self.header = Header(
            Path("clock.zarr"), "memory", "tczyx", SHAPE, channels, times, np.dtype(dtype), None,
            (1, 6, 8),
        )  # fmt: skip
        self.closed = 0

    def read(self, region: Any, *, channel: int = 0, timepoint: int = 0) -> np.ndarray:
        assert 0 <= timepoint < (self.header.num_timepoints or 1)
        places = np.arange(math.prod(SHAPE)).reshape(SHAPE)[region]
        return (1000 * timepoint + 100 * channel + places).astype(self.header.dtype)

    def close(self) -> None:
        self.closed += 1


def sources_of(*volumes: Clock) -> Sources:
    """Restore all channels and time points."""
    header = volumes[0].header
    times, channels = header.num_timepoints or 1, header.num_channels or 1
    series = tuple(Series(t, c, t, c) for t in range(times) for c in range(channels))
    return Sources(volumes, series, "tczyx", volumes)


def seen_at(sources: Sources, one: Series) -> list[int]:
    """Return the first voxels of what a call reads for a series."""
    region = (slice(0, 1), slice(0, 1), slice(0, 1))
    return [
        int(volume.read(region, channel=one.channel, timepoint=one.timepoint)[0, 0, 0])
        for volume in sources.seen
    ]


@pytest.mark.parametrize(
    ("window", "offsets"),
    [
        (TimeWindow(), (0,)),
        (TimeWindow(2, 2), (-2, -1, 0, 1, 2)),
        (TimeWindow(0, 1), (0, 1)),
        (TimeWindow(3), (-3, -2, -1, 0)),
    ],
)
def test_a_window_is_its_time_points_in_order(window: TimeWindow, offsets: tuple[int, ...]) -> None:
    """Those before, the one that is restored, those after."""
    assert window.offsets == offsets


@pytest.mark.parametrize("offset", [-5, -2, -1, 0, 1, 3])
def test_a_volume_is_seen_at_another_time_up_to_its_ends(offset: int) -> None:
    """Beyond them the first or the last time point is read; channels stay."""
    clock = Clock(4, 2)
    view = in_time(clock, offset)
    assert view.header is clock.header
    for t, c in np.ndindex(4, 2):
        expected = clock.read(WHOLE, channel=c, timepoint=min(max(t + offset, 0), 3))
        assert np.array_equal(view.read(WHOLE, channel=c, timepoint=t), expected)
    view.close()
    assert clock.closed == 1


def test_a_volume_without_time_has_one_time_point() -> None:
    """It stands for all of its neighbours."""
    clock = Clock(None)
    for offset in (-1, 0, 2):
        assert np.array_equal(in_time(clock, offset).read(WHOLE), clock.read(WHOLE))


def test_regions_and_filters_are_seen_in_time_too() -> None:
    """A view of a view reads what is below it at the other time point."""
    clock = Clock(3, dtype="float32")
    part = crop(replace_nonfinite(clock), (slice(1, 2), slice(2, 5), slice(0, 8)))
    view = in_time(part, 1)
    assert view.header.shape == (1, 3, 8)
    region = (slice(0, 1), slice(1, 3), slice(3, 4))
    expected = clock.read((slice(1, 2), slice(3, 5), slice(3, 4)), timepoint=2)
    assert np.array_equal(view.read(region, timepoint=1), expected)


def test_without_a_window_nothing_changes() -> None:
    """The same object comes back, and each input is read once."""
    sources = sources_of(Clock(3, 2))
    assert seen_through(sources, TimeWindow()) is sources
    assert seen_through(sources, TimeWindow(lost=False)) is sources


def test_ends_are_repeated() -> None:
    """Every time point has a result; the first and the last stand for their neighbours."""
    sources = seen_through(sources_of(Clock(4, 2)), TimeWindow(1, 2))
    assert sources.series == sources_of(Clock(4, 2)).series
    assert len(sources.volumes) == 1
    expected = {0: [0, 0, 1, 2], 1: [0, 1, 2, 3], 2: [1, 2, 3, 3], 3: [2, 3, 3, 3]}
    for one in sources.series:
        times = [1000 * t + 100 * one.channel for t in expected[one.timepoint]]
        assert seen_at(sources, one) == times


def test_ends_are_lost() -> None:
    """The output begins with the first time point that has all of its neighbours."""
    sources = seen_through(sources_of(Clock(5, 2)), TimeWindow(1, 2, lost=True))
    assert sources.series == (
        Series(1, 0, 0, 0), Series(1, 1, 0, 1), Series(2, 0, 1, 0), Series(2, 1, 1, 1),
    )  # fmt: skip
    assert seen_at(sources, sources.series[-1]) == [1100, 2100, 3100, 4100]


def test_of_several_inputs_each_is_seen_at_all_times() -> None:
    """First those of the first input, ascending, then those of the second."""

    class Later(Clock):
        def read(self, region: Any, *, channel: int = 0, timepoint: int = 0) -> np.ndarray:
            return super().read(region, channel=channel, timepoint=timepoint) + 50

    sources = seen_through(sources_of(Clock(3), Later(3)), TimeWindow(1, 1))
    assert len(sources.volumes) == 2
    assert seen_at(sources, sources.series[1]) == [0, 1000, 2000, 50, 1050, 2050]


def test_a_series_that_is_too_short_to_lose_ends_is_refused() -> None:
    """The line says what is there, what is lost, and the cure."""
    for times, channels in ((2, 1), (1, 3), (None, None)):
        with pytest.raises(InputError) as caught:
            seen_through(sources_of(Clock(times, channels)), TimeWindow(1, 1, lost=True))
        assert str(caught.value) == (
            f"clock.zarr: has {times or 1} time points, the method loses 1 at the beginning and 1 "
            f"at the end, and nothing is left; give a longer one"
        )


def test_one_time_point_that_is_lost_is_refused_with_those_that_are_not() -> None:
    """A volume that is long enough needs no longer one, but another choice."""
    sources = sources_of(Clock(6))
    for timepoint in (0, 1, 5):
        chosen = replace(sources, series=(Series(timepoint, 0, 0, 0),))
        with pytest.raises(InputError, match=r"choose --timepoint 2 to 4, or all"):
            seen_through(chosen, TimeWindow(2, 1, lost=True))
    for timepoint in (2, 4):
        chosen = replace(sources, series=(Series(timepoint, 0, 0, 0),))
        assert seen_through(chosen, TimeWindow(2, 1, lost=True)).series == chosen.series


# ------------------------------------------------------------------------------ in a prediction


class Weighted:
    """Adds up time points and inputs, each times a number of its own."""

    output = Output()
    footprint = Footprint(tile=(1, 8, 8), overlap=(0, 0, 0))

    def __init__(self, calls: list[int]) -> None:
        self.calls = calls

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        self.calls.append(len(tiles[0]))
        assert {tile.shape for tile in tiles} == {(len(places), 1, 1, 8, 8)}
        return sum((2**i * tile for i, tile in enumerate(tiles)), torch.zeros(()))

    def memory(self, tile: Triple, batch: int) -> int:
        return 4 * batch * math.prod(tile)


class Weigh(Method):
    """A method without weights that sees three time points of two inputs."""

    name = "weigh"
    summary = "For tests."
    takes_weights = False
    has_original = True
    inputs = ("first", "second")

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.asked: list[dict[str, Any]] = []
        self.requests: list[Request] = []

    def time_window(self, options: Any, **facts: Any) -> TimeWindow:
        self.asked.append(facts)
        if facts["num_timepoints"] < 3:
            raise OptionError(f"{facts['num_timepoints']} time points: expected 3")
        return TimeWindow(1, 1, lost=facts["as_original"])

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        self.requests.append(request)
        return Weighted(self.calls)


@pytest.fixture
def weigh(monkeypatch: pytest.MonkeyPatch) -> Weigh:
    """Register the method."""
    method = Weigh()
    monkeypatch.setattr(registry, "get", lambda _: method)
    return method


def asked(folder: Path, times: int = 4, **changes: Any) -> tuple[PredictRequest, list[np.ndarray]]:
    """Write two inputs of so many time points, and ask for their sums."""
    rng = np.random.default_rng(times)
    volumes = [rng.integers(0, 200, (times, 2, 8, 20)).astype(np.uint16) for _ in range(2)]
    paths = [folder / f"{name}.npy" for name in ("first", "second")]
    for path, volume in zip(paths, volumes, strict=True):
        np.save(path, volume)
    request = PredictRequest(
        "weigh", tuple(paths), folder / "out.zarr", None, NoOptions(),
        input=InputOptions(axes="tzyx"), tiling=TilingOptions(batch=2),
        compute=ComputeOptions(device="cpu"),
    )  # fmt: skip
    return replace(request, **changes), volumes


def test_a_prediction_gets_a_tile_for_each_input_and_time_point(
    weigh: Weigh, tmp_path: Path
) -> None:
    """In batches as for one time point; the request tells the window."""
    request, volumes = asked(tmp_path)
    result = predict(request)
    assert result.facts["plan"]["volumes"] == 4
    assert weigh.requests[0].time_window == TimeWindow(1, 1)
    assert weigh.asked == [{"weights": None, "as_original": False, "num_timepoints": 4}]
    assert set(weigh.calls) == {2}
    made = open_volume(result.output)
    region = tuple(slice(0, n) for n in made.header.shape)
    for t in range(4):
        seen = [v[min(max(s, 0), 3)] for v in volumes for s in (t - 1, t, t + 1)]
        expected = sum(2**i * each.astype(int) for i, each in enumerate(seen))
        assert np.array_equal(made.read(region, timepoint=t), expected)


def test_a_plan_counts_the_time_points_that_are_left(weigh: Weigh, tmp_path: Path) -> None:
    """A dry run sees what the run will, and reads the tiles that it times in the same way."""
    request, _ = asked(tmp_path, 5)
    run = replace(request.run, as_original=True)
    plan = plan_prediction(replace(request, run=run))
    assert plan["volumes"] == 3
    assert weigh.calls
    assert not request.output.exists()


def test_a_method_is_told_of_all_time_points_of_the_input(weigh: Weigh, tmp_path: Path) -> None:
    """One that is restored alone has its neighbours; a short input is the method's to refuse."""
    reading = InputOptions(axes="tzyx", timepoint="3")
    request, volumes = asked(tmp_path, 6, input=reading)
    result = predict(request)
    assert weigh.asked[0]["num_timepoints"] == 6
    made = open_volume(result.output)
    seen = [v[s] for v in volumes for s in (2, 3, 4)]
    expected = sum(2**i * each.astype(int) for i, each in enumerate(seen))
    assert np.array_equal(made.read((slice(0, 2), slice(0, 8), slice(0, 20))), expected)
    short, _ = asked(tmp_path, 2, output=tmp_path / "short.zarr")
    with pytest.raises(OptionError, match="2 time points: expected 3"):
        predict(short)
    assert not list(tmp_path.glob("short*"))
