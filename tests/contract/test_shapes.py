"""The shapes of the contract through the real workflow, against direct computations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from contract import shapes
from contract.running import Killed, digests, everything, kill_after, written

from vemctl import registry
from vemctl.events import Event, StageStarted
from vemctl.plugin import NoOptions, TimeWindow
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.open import open_volume
from vemctl.workflows.options import (
    ComputeOptions,
    InputOptions,
    OutputOptions,
    PredictRequest,
    RunOptions,
    TilingOptions,
)
from vemctl.workflows.predict import predict

CHUNK = (2, 16, 16)
CUTS = {
    "one shard a block": ((2, 32, 32), (2, 32, 32), 1),
    "eight shards a block": ((4, 64, 64), (2, 32, 32), 1),
    "one block, batches of three": (None, (64, 512, 512), 3),
}


def restore(
    method: shapes.Synthetic,
    volumes: list[np.ndarray],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    dtype: str | None = "float32",
    cut: str = "one shard a block",
    **changes: Any,
) -> np.ndarray:
    """Run `method` on volumes that lie on disk, and read the result back."""
    folder.mkdir(exist_ok=True)
    paths = []
    for i, volume in enumerate(volumes):
        paths.append(folder / f"in{i}.npy")
        np.save(paths[-1], volume)
    block, shard, batch = CUTS[cut]
    monkeypatch.setattr(registry, "get", lambda _: method)
    request = PredictRequest(
        method.name,
        tuple(paths),
        folder / f"{cut}.zarr",
        None,
        NoOptions(),
        writing=OutputOptions(dtype=dtype, chunk_shape=CHUNK, shard_shape=shard),
        tiling=TilingOptions(batch=batch),
        compute=ComputeOptions(device="cpu", block=block),
    )
    predict(replace(request, **changes))
    made = open_volume(request.output)
    z, y, x = (slice(0, n) for n in made.header.shape)
    return made.read((z, y, x))


def noise(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Return values without structure, so that a voxel out of place is seen."""
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return values.astype(dtype)


CASES: dict[str, tuple[shapes.Synthetic, list[np.ndarray], Callable[..., np.ndarray]]] = {
    "later block wins": (
        shapes.Synthetic("cropped", shapes.Cropped),
        [noise(10, 37, 67)],
        shapes.cropped_directly,
    ),
    "bump": (
        shapes.Synthetic("bumped", shapes.Bumped),
        [noise(10, 37, 42)],
        shapes.bumped_directly,
    ),
    "five frames to one, scale 4": (
        shapes.Synthetic("enlarged", shapes.Enlarged),
        [noise(9, 21, 29)],
        shapes.enlarged_directly,
    ),
    "two views, a transform per tile": (
        shapes.Synthetic("fused", shapes.Fused, inputs=("view_a", "view_b")),
        [noise(7, 45, 52), noise(7, 45, 52, seed=1)],
        shapes.fused_directly,
    ),
    "a network that pools": (
        shapes.Synthetic("pooled", shapes.Pooled),
        [noise(7, 45, 51)],
        shapes.pooled_directly,
    ),
    "a network that pools, blended": (
        shapes.Synthetic("blended", shapes.PooledAndBlended),
        [noise(7, 45, 51)],
        shapes.pooled_directly,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_shape_equals_its_direct_computation_however_it_is_cut(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine gives what a loop over the whole volume gives, the same bits from any blocks."""
    method, volumes, directly = CASES[case]
    first, *others = (
        restore(method, volumes, tmp_path / cut, monkeypatch, cut=cut) for cut in CUTS
    )
    expected = directly(*volumes)
    assert first.shape == expected.shape
    np.testing.assert_allclose(first, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())
    for other in others:
        assert other.shape == first.shape
        assert other.tobytes() == first.tobytes()


def test_tiles_that_are_not_aligned_pool_other_voxels_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last tile is shifted back by an odd number; only there is the result another."""
    volume = noise(7, 45, 51)
    method = shapes.Synthetic("anyhow", shapes.PooledAnyhow)
    made = restore(method, [volume], tmp_path, monkeypatch)
    wrong = np.abs(made - shapes.pooled_directly(volume)) > 1e-3
    assert wrong.any()
    assert not wrong[:, :29, :31].any()


@pytest.mark.parametrize("cut", CUTS)
def test_whole_planes_with_context_lost_planes_and_a_range_over_the_result(
    cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three planes are lost at each end, the last two lack a neighbour, the result is stretched."""
    volume = noise(19, 21, 30, dtype="uint16")
    method = shapes.Synthetic("planes", shapes.Planes)
    made = restore(method, [volume], tmp_path, monkeypatch, dtype=None, cut=cut)
    expected = shapes.planes_directly(volume)
    assert made.shape == expected.shape == (13, 31, 45)
    assert made.dtype == np.uint16
    assert int(made.max()) == 65535
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1


# --------------------------------------------------------------------- several time points at once

# no slice is as bright as another
IN_TIME = noise(4, 2, 2, 29, 40, dtype="uint16") * np.arange(1, 17, dtype="uint16").reshape(
    4, 2, 2, 1, 1
)
WINDOWS = {"ends repeated": TimeWindow(1, 1), "ends lost": TimeWindow(1, 1, lost=True)}
PLACES = {"chunk_shape": (1, 16, 16), "shard_shape": (1, 32, 32)}
BLOCKS = {"one shard a block": (1, 32, 32), "the whole volume": (64, 512, 512)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write time points and channels, once for all that read them."""
    return written(tmp_path_factory.mktemp("source") / "in.zarr", IN_TIME)


@pytest.fixture(scope="module")
def source_tiff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write them as microscopes do."""
    path = tmp_path_factory.mktemp("source") / "in.ome.tif"
    tifffile.imwrite(path, IN_TIME, metadata={"axes": "TCZYX"}, ome=True)
    return path


def merging(source: Path, output: Path, **changes: Any) -> PredictRequest:
    """Ask for the merged time points of `source`."""
    shape = {"writing": OutputOptions(dtype="float32", **PLACES)} | changes
    return PredictRequest("merged", (source,), output, None, NoOptions(), **shape)


def register(monkeypatch: pytest.MonkeyPatch, window: str) -> None:
    """Make it the method of all names, with ends that are repeated or lost."""
    method = shapes.InTime("merged", shapes.Merged, WINDOWS[window])
    monkeypatch.setattr(registry, "get", lambda _: method)


@pytest.fixture(scope="module")
def uninterrupted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what merges all at once, and once for all that are compared with it."""

    @cache
    def run(window: str) -> Path:
        output = tmp_path_factory.mktemp("uninterrupted") / "out.zarr"
        compute = ComputeOptions(device="cpu", block=BLOCKS["the whole volume"])
        with pytest.MonkeyPatch.context() as monkeypatch:
            register(monkeypatch, window)
            predict(merging(source, output, compute=compute))
        return output

    return run


@pytest.fixture
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Register the method."""
    register(monkeypatch, request.param)
    return str(request.param)


@pytest.mark.parametrize(
    ("kind", "block", "window"),
    [  # every two of them
        ("source", "one shard a block", "ends repeated"),
        ("source", "the whole volume", "ends lost"),
        ("source_tiff", "one shard a block", "ends lost"),
        ("source_tiff", "the whole volume", "ends repeated"),
    ],
    indirect=["window"],
)
def test_time_points_are_merged_as_a_loop_over_all_would(
    block: str, kind: str, window: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each channel by itself, with the statistics of its own slices, and lost ends left out."""
    source = request.getfixturevalue(kind)
    batch = 1 if BLOCKS[block] == PLACES["shard_shape"] else 3
    compute = ComputeOptions(device="cpu", block=BLOCKS[block])
    tiling = TilingOptions(batch=batch)
    predict(merging(source, tmp_path / "out.zarr", compute=compute, tiling=tiling))
    made = everything(tmp_path / "out.zarr")
    expected = shapes.merged_directly(IN_TIME, WINDOWS[window])
    assert len(made) == (2 if WINDOWS[window].lost else 4)
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("count", [9, 50])
@pytest.mark.parametrize("window", WINDOWS, indirect=True)
def test_merged_time_points_are_the_same_bytes_after_a_kill(
    count: int, window: str, source: Path, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    """Resumed with other blocks; what was measured by slice is taken over, not measured again."""
    whole = uninterrupted(window)
    cut = [ComputeOptions(device="cpu", block=block) for block in BLOCKS.values()]
    request = merging(source, tmp_path / "killed.zarr", compute=cut[0])
    with pytest.raises(Killed):
        predict(request, kill_after(count))
    assert not request.output.exists()
    assert (partial_folder(request.output) / "ledger.jsonl").exists()
    events: list[Event] = []
    predict(replace(request, compute=cut[1], run=RunOptions(resume=True)), events.append)
    names = {event.name for event in events if isinstance(event, StageStarted)}
    assert "restoring" in names
    assert not {name for name in names if name.startswith("measuring")}
    assert digests(whole) == digests(request.output)


@pytest.mark.parametrize("timepoint", [1, 2])
@pytest.mark.parametrize("window", WINDOWS, indirect=True)
def test_one_time_point_is_what_it_is_among_all(
    timepoint: int, window: str, source: Path, tmp_path: Path
) -> None:
    """Its neighbours are read though they are not restored; the axis of time goes."""
    chosen = InputOptions(timepoint=str(timepoint), channel="1")
    compute = ComputeOptions(device="cpu")
    predict(merging(source, tmp_path / "out.zarr", input=chosen, compute=compute))
    volume = open_volume(tmp_path / "out.zarr")
    assert volume.header.axes == "zyx"
    made = volume.read(tuple(slice(0, n) for n in volume.header.shape))
    first = 1 if WINDOWS[window].lost else 0
    expected = shapes.merged_directly(IN_TIME, WINDOWS[window])[timepoint - first, 1]
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-3)
