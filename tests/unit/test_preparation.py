"""From a request to a plan: types, sizes, layouts, and what the method is told."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vemctl import registry
from vemctl.errors import InputError, Interrupted, OptionError, WeightsError
from vemctl.events import ignore
from vemctl.plugin import (
    Footprint,
    Method,
    Output,
    Place,
    Request,
    Restorer,
    Tiling,
    TimeWindow,
    Triple,
    bound,
    by_slice,
    option,
    percentile,
)
from vemctl.prediction.plan import Series
from vemctl.tiles.grid import tile_grid
from vemctl.volumes.volume import Header, Layout
from vemctl.workflows import preparation
from vemctl.workflows.config import request_to_json
from vemctl.workflows.layout import DTYPES, choose_dtype, make_layout, whole_chunks
from vemctl.workflows.options import (
    ComputeOptions,
    InputOptions,
    OutputOptions,
    PredictRequest,
    RunOptions,
    TilingOptions,
)
from vemctl.workflows.preparation import Prepared, identity, memory_budget, prepare
from vemctl.workflows.provenance import recordable
from vemctl.workflows.sources import Sources

SHAPE = (12, 40, 48)
TILES = Footprint(tile=(4, 16, 16))
PLAIN = Output()
NO_WINDOW = TimeWindow()


class VolumeInMemory:
    """A volume that counts how often it is read; channels and time points are all brighter."""

    def __init__(self, shape: Triple = SHAPE, dtype: str = "uint8", **facts: Any) -> None:
        self.data = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
        self.header = Header(
            Path("in.zarr"), "memory", facts.get("axes", "zyx"), shape, facts.get("c"),
            facts.get("t"), np.dtype(dtype), facts.get("voxel_size"), (1, *shape[1:]),
            translation=facts.get("translation"),
        )  # fmt: skip
        self.reads = 0

    def read(self, region: Any, *, channel: int = 0, timepoint: int = 0) -> np.ndarray:
        self.reads += 1
        return self.data[region] + self.data.dtype.type(10 * timepoint + channel)

    def close(self) -> None:
        """Nothing is open."""


def sources_of(volume: VolumeInMemory, axes: str = "zyx", **counts: int) -> Sources:
    """Restore all channels and time points."""
    series = tuple(
        Series(t, c, t, c) for t in range(counts.get("t", 1)) for c in range(counts.get("c", 1))
    )
    return Sources((volume,), series, axes, (volume,))


def layout_for(
    volume: VolumeInMemory,
    footprint: Footprint = TILES,
    output: Output = PLAIN,
    axes: str = "zyx",
    counts: dict[str, int] | None = None,
    **options: Any,
) -> Layout:
    """Lay out the output of a volume."""
    grid = tile_grid(volume.header.shape, footprint)
    sources = sources_of(volume, axes, **counts or {})
    return make_layout(OutputOptions(**options), sources, grid, footprint.scale, output)


@pytest.mark.parametrize(
    ("asked", "method", "stored", "expected"),
    [
        (None, None, "uint8", "uint8"),
        (None, None, "int64", "int64"),
        (None, "uint16", "uint8", "uint16"),
        ("float32", None, "uint8", "float32"),
        ("uint16", "uint16", "uint8", "uint16"),
    ],
)
def test_the_type_is_as_asked_then_as_the_method_says_then_the_inputs(
    asked: str | None, method: str | None, stored: str, expected: str
) -> None:
    """The first that says one decides."""
    assert expected == choose_dtype(asked, Output(dtype=method), np.dtype(stored))


@pytest.mark.parametrize("asked", ["float8", "complex64", "u1", "bool", "UINT8", ""])
def test_an_unknown_type_is_refused_with_the_known_ones(asked: str) -> None:
    """NumPy's other spellings are not taken either."""
    with pytest.raises(OptionError, match=r"--dtype.*expected one of uint8, uint16"):
        choose_dtype(asked, Output(), np.dtype("uint8"))


def test_a_type_that_contradicts_the_method_is_refused() -> None:
    """The line says which type the result has."""
    with pytest.raises(OptionError, match="the result is uint16; leave it out"):
        choose_dtype("uint8", Output(dtype="uint16"), np.dtype("uint8"))


def test_a_usual_type_may_be_another() -> None:
    """Of a method whose results are best kept in float, but need not be."""
    output = Output(usual_dtype="float32")
    assert choose_dtype(None, output, np.dtype("uint16")) == "float32"
    assert choose_dtype("uint16", output, np.dtype("uint16")) == "uint16"
    with pytest.raises(OptionError, match="would be cut off"):
        choose_dtype("uint8", output, np.dtype("uint16"))


@pytest.mark.parametrize(
    ("asked", "stored"),
    [("uint8", "uint16"), ("uint8", "float32"), ("int8", "uint8"), ("uint32", "int8")],
)
def test_a_type_that_would_cut_values_off_is_refused(asked: str, stored: str) -> None:
    """Values keep their units, so a narrower type would lose them without a word."""
    with pytest.raises(OptionError, match=f"the input, which is {stored}"):
        choose_dtype(asked, Output(), np.dtype(stored))


@pytest.mark.parametrize("name", [name for name in DTYPES if name != "int8"])
def test_every_type_that_is_offered_can_be_laid_out(name: str) -> None:
    """The layout has it in native byte order."""
    layout = layout_for(VolumeInMemory(), dtype=name)
    assert layout.dtype == np.dtype(name)
    assert layout.dtype.isnative


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("500MB", 500 * 10**6),
        ("500 mb", 500 * 10**6),
        ("2GiB", 2 * 2**30),
        ("2gib", 2 * 2**30),
        ("2Gi", 2 * 2**30),
        ("2G", 2 * 10**9),
        ("1.5KiB", 1536),
        ("3.T", 3 * 10**12),
        (" 64 MiB ", 64 * 2**20),
        ("1000000000B", 10**9),
    ],
)
def test_sizes_of_memory_are_read_as_people_write_them(text: str, expected: int) -> None:
    """Powers of 1000, or of 1024 with an i."""
    assert expected == memory_budget(text)


@pytest.mark.parametrize(
    "text", ["", "lots", "-1GB", "0", "0GiB", "1e9", "5I", "2PB", "1,5GB", "GiB", "2 Gi B x", "nan"]
)
def test_what_is_no_size_of_memory_is_refused(text: str) -> None:
    """The line gives examples."""
    with pytest.raises(OptionError, match=f"^--memory {text}: expected a size such as 2GiB"):
        memory_budget(text)


@pytest.mark.parametrize(("free", "expected"), [(2**30, 2**28), (2**40, 4 * 2**30)])
def test_by_default_a_quarter_of_the_free_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    """At most 4 GiB."""
    monkeypatch.setattr(preparation.devices, "free_main_memory", lambda: free)
    assert expected == memory_budget(None)


def test_voxels_shrink_by_the_scale_and_edges_stay_where_they_were() -> None:
    """The first voxel's centre moves, because its edge does not; lost planes are left out."""
    footprint = Footprint(
        tile=(5, 16, 16), lost=(2, 0, 0), scale=(Fraction(1), Fraction(4), Fraction(3, 2)),
        halo=(2, 0, 0),
    )  # fmt: skip
    layout = layout_for(VolumeInMemory(voxel_size=(40.0, 8.0, 6.0)), footprint)
    assert layout.shape == (8, 160, 72)
    assert layout.voxel_size == (40.0, 2.0, 4.0)
    assert layout.translation == (80.0, -3.0, -1.0)
    first_edges = [
        centre - size / 2
        for centre, size in zip(layout.translation, layout.voxel_size, strict=True)
    ]
    assert first_edges == [60.0, -4.0, -3.0]


def test_the_place_of_a_region_is_kept() -> None:
    """What the input says of its place is added."""
    volume = VolumeInMemory(voxel_size=(40.0, 8.0, 8.0), translation=(400.0, 80.0, 0.0))
    assert layout_for(volume).translation == (400.0, 80.0, 0.0)
    lost = Footprint(tile=(4, 16, 16), lost=(1, 0, 0))
    assert layout_for(volume, lost).translation == (440.0, 80.0, 0.0)


def test_without_a_voxel_size_there_is_no_place() -> None:
    """Nothing is made up; and a place at the origin is not written."""
    lost = Footprint(tile=(4, 16, 16), lost=(1, 0, 0))
    layout = layout_for(VolumeInMemory(), lost)
    assert (layout.voxel_size, layout.translation) == (None, None)
    assert layout_for(VolumeInMemory(voxel_size=(4.0, 4.0, 4.0))).translation is None


@pytest.mark.parametrize(
    ("axes", "counts", "expected"),
    [
        ("tczyx", {"t": 2, "c": 3}, (2, 3)),
        ("czyx", {"c": 3}, (None, 3)),
        ("tzyx", {"t": 1}, (1, None)),
        ("zyx", {}, (None, None)),
    ],
)
def test_axes_and_their_counts_are_those_of_the_series(
    axes: str, counts: dict[str, int], expected: tuple[int | None, int | None]
) -> None:
    """An axis of one time point stays an axis."""
    layout = layout_for(VolumeInMemory(), axes=axes, counts=counts)
    assert layout.axes == axes
    assert (layout.num_timepoints, layout.num_channels) == expected


def test_chunks_and_shards_are_as_asked() -> None:
    """A chunk alone gets a shard of whole chunks; both are taken as they are."""
    layout = layout_for(VolumeInMemory(), chunk_shape=(5, 7, 9))
    assert layout.chunk_shape == (5, 7, 9)
    assert [s % c for s, c in zip(layout.shard_shape, (5, 7, 9), strict=True)] == [0, 0, 0]
    layout = layout_for(VolumeInMemory(), chunk_shape=(4, 8, 8), shard_shape=(8, 16, 8))
    assert (layout.chunk_shape, layout.shard_shape) == ((4, 8, 8), (8, 16, 8))


def test_a_shard_of_parts_of_chunks_is_refused() -> None:
    """The line names the chunk."""
    with pytest.raises(OptionError, match=r"--shard-shape 8,16,9: .*multiple of the chunk 4,8,8"):
        layout_for(VolumeInMemory(), chunk_shape=(4, 8, 8), shard_shape=(8, 16, 9))


@pytest.mark.parametrize(
    "options",
    [{"chunk_shape": (0, 8, 8)}, {"chunk_shape": (-4, 8, 8)}, {"shard_shape": (0, 0, 0)}],
)
def test_chunks_and_shards_without_voxels_are_refused(options: dict[str, Triple]) -> None:
    """Zero and negative sizes are the user's to mend."""
    with pytest.raises(OptionError, match=r"--(chunk|shard)-shape"):
        layout_for(VolumeInMemory(), **options)


def test_the_older_ome_zarr_has_no_shards() -> None:
    """A unit of writing is a chunk; a shard that is asked for is refused."""
    for options in ({}, {"chunk_shape": (4, 8, 8)}):
        layout = layout_for(VolumeInMemory((64, 300, 300)), ome_zarr="0.4", **options)
        expected = options.get("chunk_shape", (32, 128, 128))
        assert (layout.ome_zarr, layout.chunk_shape, layout.shard_shape) == (
            "0.4",
            expected,
            expected,
        )
    with pytest.raises(OptionError, match=r"--shard-shape: OME-Zarr 0.4 has no shards"):
        layout_for(VolumeInMemory(), ome_zarr="0.4", shard_shape=(4, 16, 16), chunk_shape=(4, 8, 8))


def test_shards_are_rounded_up_to_whole_chunks() -> None:
    """Never down, and not at all where they fit."""
    assert whole_chunks((64, 512, 512), (5, 512, 100)) == (65, 512, 600)


class Probe(Method):
    """Keeps the request for which its restorer is made."""

    name = "probe"
    summary = "For tests."
    takes_weights = False
    has_original = False

    def __init__(
        self,
        names: Sequence[str] | None = None,
        window: TimeWindow = NO_WINDOW,
        *,
        batched: bool = True,
    ) -> None:
        self.requests: list[tuple[Path | None, Any, Request]] = []
        self.windows: list[dict[str, Any]] = []
        self._names, self._window, self._batched = names, window, batched

    def statistics(self, options: Any, *, weights: Path | None, as_original: bool) -> Sequence[str]:
        return ["max", percentile(options.percent)] if self._names is None else self._names

    def time_window(self, options: Any, **facts: Any) -> TimeWindow:
        self.windows.append(facts)
        return self._window

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        self.requests.append((weights, options, request))
        return ProbeRestorer(request.tiling, batched=self._batched)


class ProbeRestorer:
    """Returns its input."""

    output = Output("truncate", dtype="uint16")

    def __init__(self, tiling: Tiling, *, batched: bool = True) -> None:
        self.footprint = tiling.applied_to(
            Footprint(tile=(4, 16, 16), overlap=(0, 2, 2), batched=batched)
        )

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        return tiles[0]

    def memory(self, tile: Triple, batch: int) -> int:
        return 4 * batch * math.prod(tile)


@dataclass(frozen=True)
class ProbeOptions:
    percent: float = option(50.0, help="Which.")


REQUEST = PredictRequest(
    "probe", (Path("in.zarr"),), Path("out.zarr"), None, ProbeOptions(),
    compute=ComputeOptions(device="cpu", memory="1GiB"),
)  # fmt: skip


def prepared(
    request: PredictRequest = REQUEST, volume: VolumeInMemory | None = None, **changes: Any
) -> tuple[Prepared, Probe]:
    """Prepare a prediction with `Probe`."""
    method = changes.pop("method", None) or Probe()
    volume = volume or VolumeInMemory(voxel_size=(40.0, 8.0, 8.0))
    stop = changes.pop("stop", threading.Event())
    sources = changes.pop("sources", None) or sources_of(volume)
    return prepare(request, method, sources, ignore, stop, **changes), method


def test_the_method_is_told_the_facts() -> None:
    """Shape, type, voxel size, its statistics, device, precision and wishes arrive."""
    request = replace(
        REQUEST,
        tiling=TilingOptions(tile=(4, 8, 8), blend="mean", batch=3),
        compute=replace(REQUEST.compute, precision="bf16"),
    )
    volume = VolumeInMemory(voxel_size=(40.0, 8.0, 8.0))
    made, method = prepared(request, volume)
    ((weights, options, told),) = method.requests
    assert weights is None
    assert options == ProbeOptions()
    assert (told.device, told.precision, told.as_original) == ("cpu", "bf16", False)
    assert told.tiling == Tiling((4, 8, 8), None, "mean")
    (facts,) = told.inputs
    assert (facts.shape, facts.dtype, facts.voxel_size) == (SHAPE, "uint8", (40.0, 8.0, 8.0))
    expected = {"max": volume.data.max(), percentile(50.0): np.percentile(volume.data, 50)}
    assert expected == pytest.approx(dict(facts.statistics))
    assert made.statistics == [dict(facts.statistics)]


def test_wishes_replace_only_what_they_name() -> None:
    """A tiling without wishes leaves a footprint as it is."""
    footprint = Footprint(tile=(4, 16, 16), overlap=(0, 2, 2), halo=(1, 1, 1), window="bump")
    assert footprint == Tiling().applied_to(footprint)
    wish = Tiling(overlap=(0, 0, 0), window="linear")
    assert replace(footprint, overlap=(0, 0, 0), window="linear") == wish.applied_to(footprint)
    assert replace(footprint, tile=(8, 8, 8)) == Tiling(tile=(8, 8, 8)).applied_to(footprint)


def test_the_plan_is_what_method_and_user_say() -> None:
    """Type, batch, footprint and memory of the network come from where they should."""
    made, _ = prepared(replace(REQUEST, tiling=TilingOptions(batch=3)))
    assert made.plan.layout.dtype == np.uint16
    assert made.plan.batch == 3
    assert made.plan.footprint.overlap == (0, 2, 2)
    assert made.plan.output.rounding == "truncate"
    assert made.plan.network_bytes == 4 * 3 * 4 * 16 * 16
    assert prepared()[0].plan.batch == 1


def test_what_is_known_is_not_measured_again() -> None:
    """A run that is resumed reads nothing for its statistics."""
    volume = VolumeInMemory()
    known = [{"max": 7.0, percentile(50.0): 3.0}]
    made, method = prepared(volume=volume, known={"statistics": known})
    assert volume.reads == 0
    assert made.statistics == known
    assert method.requests[0][2].inputs[0].statistics == known[0]


BY_SLICE = [by_slice("max"), by_slice("min"), "max", bound("max")]


def five_axes() -> tuple[VolumeInMemory, Sources]:
    """Return four time points of two channels."""
    volume = VolumeInMemory((3, 20, 24), axes="tczyx", t=4, c=2)
    return volume, sources_of(volume, "tczyx", t=4, c=2)


def test_what_is_measured_by_slice_is_told_by_itself() -> None:
    """Numbers in one mapping, lists of them in another; the record has all under one name each."""
    volume, sources = five_axes()
    made, method = prepared(volume=volume, sources=sources, method=Probe(BY_SLICE))
    (facts,) = method.requests[0][2].inputs
    tops = volume.data.max(axis=(1, 2)).astype(float)
    expected = [float(top + 10 * t + c) for t in range(4) for c in range(2) for top in tops]
    assert facts.slices[by_slice("max")] == expected
    assert facts.statistics == {"max": max(expected), bound("max"): 255.0}
    (recorded,) = made.statistics
    assert list(recorded) == BY_SLICE
    assert recorded[by_slice("max")] == expected


@pytest.mark.parametrize("channels", [(0, 1), (1,)])
def test_slices_belong_to_the_series_that_have_a_result(channels: tuple[int, ...]) -> None:
    """Where time points are lost their slices are not told, but they were measured all the same."""
    volume, sources = five_axes()
    chosen = tuple(
        replace(one, output_channel=channels.index(one.channel))
        for one in sources.series
        if one.channel in channels
    )
    sources = replace(sources, series=chosen)
    probe = Probe(BY_SLICE, TimeWindow(2, 1, lost=True))
    made, method = prepared(volume=volume, sources=sources, method=probe)
    assert [one.timepoint for one in made.plan.series] == [2] * len(channels)
    assert [one.output_timepoint for one in made.plan.series] == [0] * len(channels)
    assert made.plan.layout.num_timepoints == 1
    (facts,) = method.requests[0][2].inputs
    tops = volume.data.max(axis=(1, 2))
    assert facts.slices[by_slice("max")] == [float(top + 20 + c) for c in channels for top in tops]
    assert len(made.statistics[0][by_slice("max")]) == 4 * len(channels) * 3


def test_too_few_time_points_are_refused_before_anything_is_read() -> None:
    """Measuring takes long, and would be for nothing."""
    volume, sources = five_axes()
    probe = Probe(BY_SLICE, TimeWindow(2, 2, lost=True))
    with pytest.raises(InputError, match="has 4 time points, the method loses 2 at the beginning"):
        prepared(volume=volume, sources=sources, method=probe)
    assert volume.reads == 0
    assert [each["num_timepoints"] for each in probe.windows] == [4]


def test_lists_are_taken_over_by_a_run_that_is_resumed() -> None:
    """As JSON gave them back, and again only those of series with a result are told."""
    volume, sources = five_axes()
    asked = {"volume": volume, "sources": sources}
    first, told = prepared(**asked, method=Probe(BY_SLICE, TimeWindow(1, 1, lost=True)))
    known = json.loads(json.dumps({"statistics": first.statistics}))
    before = volume.reads
    again, retold = prepared(
        **asked, method=Probe(BY_SLICE, TimeWindow(1, 1, lost=True)), known=known
    )
    assert volume.reads == before
    assert again.statistics == first.statistics
    assert retold.requests[0][2].inputs == told.requests[0][2].inputs
    prepared(**asked, method=Probe([*BY_SLICE, "min"]), known=known)
    assert volume.reads > before


def test_bounds_of_integers_alone_read_nothing() -> None:
    """A method that divides by the maximum of the type costs no pass over the volume."""
    volume = VolumeInMemory(dtype="uint16")
    _, method = prepared(volume=volume, method=Probe([bound("max")]))
    assert volume.reads == 0
    assert method.requests[0][2].inputs[0].statistics == {bound("max"): 65535.0}


@pytest.mark.parametrize(("asked", "wish"), [(None, 1), (1, 1), (7, 7)])
def test_a_restorer_that_batches_by_itself_gets_one_tile_and_the_wish(
    asked: int | None, wish: int
) -> None:
    """The plan has a batch of 1 whatever is asked for, and counts memory for one tile."""
    request = replace(REQUEST, tiling=TilingOptions(batch=asked))
    for batched, expected in ((False, 1), (True, wish)):
        made, method = prepared(request, method=Probe(batched=batched))
        assert method.requests[0][2].batch == wish
        assert made.plan.batch == expected
        assert made.plan.network_bytes == 4 * expected * 4 * 16 * 16


def test_a_run_may_be_stopped_while_it_measures() -> None:
    """The restorer is not made any more."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="measuring"):
        prepared(stop=stop)


def test_what_a_method_has_not_is_refused() -> None:
    """Its original, weights; nothing is read before."""
    volume = VolumeInMemory()
    with pytest.raises(OptionError, match="--as-original: probe has no original program"):
        prepared(replace(REQUEST, run=RunOptions(as_original=True)), volume)
    with pytest.raises(WeightsError, match="takes no weights"):
        prepared(replace(REQUEST, weights="w.pth"), volume)
    assert volume.reads == 0


def test_identity_is_what_the_bytes_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, memory and weights' place are none of it; all else that is asked for is."""
    monkeypatch.setattr(registry, "get", lambda _: Probe())

    def of(request: PredictRequest, volume: VolumeInMemory | None = None) -> dict[str, Any]:
        volume = volume or VolumeInMemory()
        made, _ = prepared(request, volume)
        recorded = request_to_json(recordable(request))
        return json.loads(json.dumps(identity(request, made, sources_of(volume), recorded)))

    expected = of(REQUEST)
    for same in (
        replace(REQUEST, compute=replace(REQUEST.compute, memory="70MiB", block=(12, 40, 48))),
        replace(REQUEST, inputs=(Path("elsewhere/in.zarr"),), output=Path("other.zarr")),
        replace(REQUEST, writing=OutputOptions(overwrite=True)),
        replace(REQUEST, run=RunOptions(resume=True)),
    ):
        assert expected == of(same)

    other = VolumeInMemory()
    other.data[0, 0, 0] += 1
    shards = OutputOptions(chunk_shape=(4, 8, 8), shard_shape=(4, 8, 8))
    tiles = TilingOptions(tile=(4, 8, 8))
    for keys, changed in (
        ({"input"}, of(REQUEST, other)),
        ({"output", "options"}, of(replace(REQUEST, writing=shards))),
        ({"options"}, of(replace(REQUEST, tiling=tiles))),
        ({"options", "statistics"}, of(replace(REQUEST, method_options=ProbeOptions(10.0)))),
        ({"options"}, of(replace(REQUEST, input=InputOptions(nan_to_num=True)))),
    ):
        assert keys == {key for key in expected if expected[key] != changed[key]}


def test_results_without_units_may_have_any_type() -> None:
    """There is nothing of the input's to be cut off."""
    assert choose_dtype("uint8", Output(unit_range=True), np.dtype("uint16")) == "uint8"
    with pytest.raises(OptionError, match="expected one of"):
        choose_dtype("float8", Output(unit_range=True), np.dtype("uint16"))
