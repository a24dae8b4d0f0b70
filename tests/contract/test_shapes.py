"""The five shapes of the contract through the real workflow, against direct computations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import shapes

from vemctl import registry
from vemctl.plugin import NoOptions
from vemctl.volumes.open import open_volume
from vemctl.workflows.options import (
    ComputeOptions,
    OutputOptions,
    PredictRequest,
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
        [noise(14, 61, 75)],
        shapes.cropped_directly,
    ),
    "bump": (
        shapes.Synthetic("bumped", shapes.Bumped),
        [noise(13, 41, 50)],
        shapes.bumped_directly,
    ),
    "five frames to one, scale 4": (
        shapes.Synthetic("enlarged", shapes.Enlarged),
        [noise(9, 37, 29)],
        shapes.enlarged_directly,
    ),
    "two views, a transform per tile": (
        shapes.Synthetic("fused", shapes.Fused, inputs=("view_a", "view_b")),
        [noise(7, 45, 52), noise(7, 45, 52, seed=1)],
        shapes.fused_directly,
    ),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("case", CASES)
def test_a_shape_equals_its_direct_computation_however_it_is_cut(
    case: str, cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine gives what a loop over the whole volume gives."""
    method, volumes, directly = CASES[case]
    made = restore(method, volumes, tmp_path, monkeypatch, cut=cut)
    expected = directly(*volumes)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())


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


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_do_not_depend_on_the_blocks(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shard a block, eight, or the whole volume at once: the same bits."""
    method, volumes, _ = CASES[case]
    first, *others = (
        restore(method, volumes, tmp_path / cut, monkeypatch, cut=cut) for cut in CUTS
    )
    for other in others:
        assert first.tobytes() == other.tobytes()
