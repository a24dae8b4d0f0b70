"""Views to fused volumes: as published, and whatever the tiles."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from parity import load_fixture
from vemctl_rldfn.choosing import make_restorer
from vemctl_rldfn.predict_options import PredictOptions

from vemctl.errors import OptionError
from vemctl.plugin import Place, Request, Restorer, Tiling, VolumeFacts, by_series
from vemctl.samples import dual_view
from vemctl.tiles.grid import tile_grid
from vemctl.tiles.padding import cut_tile

VOXEL = (61.7, 61.7, 61.7)


def facts_of(volume: np.ndarray, voxel_size: Any = VOXEL) -> VolumeFacts:
    """Tell what rldfn asks for."""
    maxima = {by_series("max"): [float(volume.max())]}
    return VolumeFacts(volume.shape, volume.dtype.name, voxel_size, each_series=maxima)


def restorer_of(
    weights: Path | None, views: list[np.ndarray], options: PredictOptions, **wishes: Any
) -> Restorer:
    """Make a restorer of two views."""
    return make_restorer(weights, options, Request([facts_of(v) for v in views], **wishes))


def fuse(restorer: Restorer, views: list[np.ndarray]) -> np.ndarray:
    """Fuse whole views tile by tile, as the core of vemctl has it done; crop windows only."""
    shape = views[0].shape
    grid = tile_grid(shape, restorer.footprint)
    result = np.full(shape, np.nan, np.float32)
    everything = tuple(slice(0, n) for n in shape)
    for index in grid.touching(everything):
        place = grid.place(index)
        tiles = [
            torch.from_numpy(cut_tile(v, everything, place, restorer.footprint.padding))[None, None]
            for v in views
        ]
        with torch.inference_mode():
            core = restorer(tiles, [place])[0, 0].numpy()
        part = grid.contribution(index)
        covered = grid.covered(index)
        inside = tuple(
            slice(p.start - c.start, p.stop - c.start) for p, c in zip(part, covered, strict=True)
        )
        result[part] = core[inside]
    assert np.isfinite(result).all()
    return result


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Write what the published scripts read, and remember what they wrote."""
    folder = tmp_path_factory.mktemp("published")
    spec, arrays, state = load_fixture("rldfn_tiled")
    for name in ("net_FA", "net_G"):
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(name)}
        torch.save(own, folder / f"{name}.pth")
    for view in "AB":
        tifffile.imwrite(folder / f"psf{view}.tif", arrays[f"psf{view}"])
    files = {"psf_a": folder / "psfA.tif", "psf_b": folder / "psfB.tif"}
    return {"folder": folder, "arrays": arrays, "files": files, "params": spec["params"]}


@pytest.mark.parametrize(
    ("normalize", "planes", "name"),
    [("tile", 12, "out_step4"), ("none", 12, "out_test"), ("tile", 8, "out_step4_zcrop")],
)
def test_as_original_is_what_the_published_scripts_write(
    normalize: Any, planes: int, name: str, published: dict[str, Any]
) -> None:
    """Padded and cropped planes, an empty tile and what is left over at the ends included."""
    arrays = published["arrays"]
    views = [arrays["view_A"], arrays["view_B"]]
    restorer = restorer_of(
        published["folder"],
        views,
        PredictOptions(normalize=normalize, psf_a="a", psf_b="b", check_orientation=False),
        as_original=True,
        tiling=Tiling(tile=(planes, 24, 16)),
        files=published["files"],
    )
    result = fuse(restorer, views)
    kept = min(planes, len(result))
    expected = arrays[name][:kept]
    np.testing.assert_allclose(result[:kept, :48, :48], expected, rtol=2e-4, atol=1e-4)
    assert not result[kept:].any()
    assert not result[:, 48:].any()
    assert not result[:, :, 48:].any()


@pytest.fixture(scope="module")
def views() -> list[np.ndarray]:
    """Return views of 20 x 56 x 60 voxels, with something everywhere and empty corners."""
    made = dual_view(3, (20, 56, 60))
    pair = [made.view_a.astype(np.float32), made.view_b.astype(np.float32)]
    for view in pair:
        view[:, :24, :28] = 0
    return pair


PLAIN = PredictOptions(mode="rl", psf_size=21, margin=8, check_orientation=False)
SMALL = Tiling(tile=(24, 32, 36))


def test_plain_deconvolution_leaves_no_seams(views: list[np.ndarray]) -> None:
    """Tiles with margins fit together, and give what one tile of everything gives."""
    whole = fuse(restorer_of(None, views, PLAIN), views)
    wide = PredictOptions(mode="rl", psf_size=21, margin=12, check_orientation=False)
    tiled = fuse(restorer_of(None, views, wide, tiling=Tiling(tile=(36, 48, 48))), views)
    assert whole.max() > 0
    assert np.abs(whole - tiled).max() < 0.05 * whole.max()
    assert np.corrcoef(whole.ravel(), tiled.ravel())[0, 1] > 0.999


def test_results_are_in_the_units_of_the_views(views: list[np.ndarray]) -> None:
    """A factor on both views is a factor on the result, and 1 without units."""
    expected = fuse(restorer_of(None, views, PLAIN), views)
    brighter = [view * 4 for view in views]
    np.testing.assert_allclose(
        fuse(restorer_of(None, brighter, PLAIN), brighter), 4 * expected, rtol=1e-4
    )
    unit = PredictOptions(mode="rl", psf_size=21, margin=8, values="unit", check_orientation=False)
    scale = (views[0].max() + views[1].max()) / 2
    found = fuse(restorer_of(None, views, unit), views)
    np.testing.assert_allclose(found * scale, expected, rtol=1e-4, atol=1e-3)


def test_plain_deconvolution_as_original_is_that_of_the_published_demonstration(
    views: list[np.ndarray],
) -> None:
    """The whole volume at once, its largest value made 1 after every iteration."""
    from vemctl_rldfn.deconvolving import DualViewDeconvolution
    from vemctl_rldfn.psfs import theoretical_psf

    options = PredictOptions(mode="rl", iterations=2, psf_size=21, check_orientation=False)
    found = fuse(restorer_of(None, views, options, as_original=True), views)
    psfs = [theoretical_psf(view, voxel_size=61.7, size=21) for view in ("a", "b")]
    solver = DualViewDeconvolution(*psfs, views[0].shape, "cpu")
    one, other = (torch.from_numpy(view / view.max()) for view in views)
    expected = solver.restored(one, other, 2, normalised=True).numpy()
    assert found.max() == pytest.approx(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normalize", ["volume", "tile", "none"])
def test_where_both_views_are_empty_so_is_the_result(
    normalize: Any, published: dict[str, Any], views: list[np.ndarray]
) -> None:
    """The network makes something of nothing; a tile without anything stays 0."""
    options = PredictOptions(normalize=normalize, margin=0, psf_size=13, check_orientation=False)
    restorer = restorer_of(published["folder"], views, options, tiling=Tiling(tile=(8, 24, 28)))
    part = [view[:8, :48, :28] for view in views]
    result = fuse(restorer, part)
    assert not result[:, :24].any()
    assert (result[:, 24:] > 0).all()


def test_series_have_their_own_maxima(published: dict[str, Any], views: list[np.ndarray]) -> None:
    """A time point that is half as bright gives half the result."""
    facts = [
        VolumeFacts(
            v.shape, "float32", VOXEL, each_series={by_series("max"): [v.max(), v.max() / 2]}
        )
        for v in views
    ]
    restorer = make_restorer(None, PLAIN, Request(facts))
    z, y, x = views[0].shape
    tiles = [torch.from_numpy(v)[None, None] for v in views]
    place = [Place((0, 0, 0), (z, y, x), (0, 0, 0), (0, 0, 0), series) for series in (0, 1)]
    first = restorer(tiles, [place[0]])
    second = restorer([tile / 2 for tile in tiles], [place[1]])
    torch.testing.assert_close(second, first / 2, rtol=1e-4, atol=1e-4)


def test_swapped_views_are_told_once() -> None:
    """And nothing is said of those that fit."""
    made = dual_view(3, (40, 72, 72))
    views = [made.view_a, made.view_b]
    told: list[str] = []
    options = PredictOptions(mode="rl")
    fuse(restorer_of(None, views, options, warn=told.append), views)
    assert told == []
    fuse(restorer_of(None, views[::-1], options, warn=told.append), views[::-1])
    assert len(told) == 1
    assert "swapped" in told[0]


def test_a_batch_gives_what_single_tiles_give(
    published: dict[str, Any], views: list[np.ndarray]
) -> None:
    """Of the network to rounding, whose convolutions look at the batch."""
    options = PredictOptions(psf_size=13, margin=0, check_orientation=False)
    restorer = restorer_of(published["folder"], views, options)
    crops = [np.s_[:, 24:40, 28:44], np.s_[:, 30:46, 40:56]]
    tiles = [torch.from_numpy(np.stack([v[c] for c in crops]))[:, None] for v in views]
    place = Place((0, 24, 28), (20, 16, 16), (0, 0, 0), (0, 0, 0))
    with torch.inference_mode():
        together = restorer(tiles, [place, place])
        for n in range(2):
            alone = restorer([tile[n : n + 1] for tile in tiles], [place])
            torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-4, atol=1e-5)


def test_memory_of_a_tile_is_told(published: dict[str, Any], views: list[np.ndarray]) -> None:
    """The network's, which is most of it, and far below the published 2,700 bytes a voxel."""
    restorer = restorer_of(published["folder"], views, PredictOptions(psf_size=13))
    tile = (128, 320, 320)
    voxels = 128 * 320 * 320
    assert 300 < restorer.memory(tile, 1) / voxels < 2190
    assert restorer.memory(tile, 2) > restorer.memory(tile, 1) + 4 * 4 * voxels


def test_results_are_floats_and_told_how_they_came_about(views: list[np.ndarray]) -> None:
    """32 bits, unless the user says otherwise; point spread functions are in the plan."""
    restorer: Any = restorer_of(None, views, PLAIN)
    assert (restorer.output.dtype, restorer.output.usual_dtype) == (None, "float32")
    assert restorer.settled["psf"] == "theoretical"
    assert restorer.settled["normalize"] == "volume"
    assert restorer.settled["tilt"] == 30.8


def test_the_published_program_has_its_own_units(views: list[np.ndarray]) -> None:
    """And tiles that neither overlap nor exceed the planes."""
    options = PredictOptions(values="input", mode="rl")
    with pytest.raises(OptionError, match="--values input"):
        restorer_of(None, views, options, as_original=True)


def test_negative_values_count_as_nothing_and_are_told_once(views: list[np.ndarray]) -> None:
    """Otherwise what is divided by crosses 0, and the result is none."""
    below = [view - 20 for view in views]
    told: list[str] = []
    found = fuse(restorer_of(None, below, PLAIN, warn=told.append), below)
    expected = fuse(
        restorer_of(None, [v.clip(0) for v in below], PLAIN), [v.clip(0) for v in below]
    )
    np.testing.assert_array_equal(found, expected)
    assert len(told) == 1
    assert "negative values" in told[0]


def test_each_channel_is_checked_by_itself() -> None:
    """Views of one channel that are exchanged are told, though those of another fit."""
    made = dual_view(3, (40, 72, 72))
    facts = [
        replace(facts_of(v), num_channels=2, each_series={by_series("max"): [v.max()] * 2})
        for v in (made.view_a, made.view_b)
    ]
    told: list[str] = []
    restorer = make_restorer(None, PredictOptions(mode="rl"), Request(facts, warn=told.append))
    tiles = [torch.from_numpy(v.astype(np.float32))[None, None] for v in (made.view_a, made.view_b)]
    place = Place((0, 0, 0), (40, 72, 72), (0, 0, 0), (0, 0, 0), 0)
    restorer(tiles, [place])
    assert told == []
    restorer(tiles[::-1], [replace(place, series=1)])
    assert "swapped" in told[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [(None, 1e-3), ("bfloat16", 0.1)])
@pytest.mark.parametrize("mode", ["network", "rl"])
def test_a_device_gives_what_the_cpu_does(
    mode: Any, precision: str | None, tolerance: float, published: dict[str, Any]
) -> None:
    """In float32 nearly, in half precision about; the deconvolution is in float32 anyhow."""
    made = dual_view(3, (24, 64, 64))
    tiles = [torch.from_numpy(v.astype(np.float32))[None, None] for v in (made.view_a, made.view_b)]
    place = Place((0, 0, 0), (24, 64, 64), (0, 0, 0), (0, 0, 0))
    options = PredictOptions(mode=mode, psf_size=21, check_orientation=False)
    results = []
    for device in ("cpu", "cuda"):
        restorer = restorer_of(
            published["folder"], [made.view_a, made.view_b], options, device=device
        )
        context: Any = contextlib.nullcontext()
        if device == "cuda" and precision:
            context = torch.autocast("cuda", getattr(torch, precision))
        with torch.inference_mode(), context:
            results.append(restorer([tile.to(device) for tile in tiles], [place]).cpu())
    assert results[1].dtype == torch.float32
    assert (results[0] - results[1]).abs().max() < tolerance * results[0].abs().max()
