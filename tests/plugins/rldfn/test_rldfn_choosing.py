"""From options to geometry and point spread functions: what is chosen, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from vemctl_rldfn.choosing import make_restorer, normalization, uses_maxima
from vemctl_rldfn.method import METHOD
from vemctl_rldfn.optics import choose_optics
from vemctl_rldfn.predict_options import PredictOptions
from vemctl_rldfn.psf_options import TENSORS, files_of
from vemctl_rldfn.psfs import theoretical_psf

from vemctl.errors import InputError, OptionError
from vemctl.plugin import Request, Tiling, VolumeFacts, by_series
from vemctl.tiles.grid import tile_grid

VOXEL = (61.7, 61.7, 61.7)


def facts_of(shape: Any, voxel_size: Any = VOXEL) -> VolumeFacts:
    """Tell of a view that is nowhere."""
    return VolumeFacts(shape, "uint16", voxel_size, each_series={by_series("max"): [9.0]})


def geometry(shape: Any, tiling: Tiling | None = None, **options: Any) -> Any:
    """Return the grid of a volume of a shape."""
    request = Request([facts_of(shape)] * 2, tiling=tiling or Tiling())
    restorer = make_restorer(None, PredictOptions(mode="rl", **options), request)
    return tile_grid(shape, restorer.footprint)


def optics(
    options: PredictOptions | None = None,
    files: Any = None,
    tensors: Any = None,
    known: Any = None,
    voxel_sizes: Any = (VOXEL, VOXEL),
) -> tuple[Any, list[str]]:
    """Choose point spread functions, and what is told."""
    told: list[str] = []
    views = [facts_of((20, 30, 40), size) for size in voxel_sizes]
    found = choose_optics(
        options or PredictOptions(),
        files or {},
        tensors or {},
        known or {},
        views,
        told.append,
        replacing=REPLACING,
    )
    return found, told


REPLACING = ("tilt", "fwhm_lateral", "fwhm_axial", "psf_size")


@pytest.mark.parametrize(
    ("shape", "tile", "tiles"),
    [
        ((101, 768, 768), (120, 320, 320), (1, 3, 3)),
        ((60, 768, 768), (76, 320, 320), (1, 3, 3)),
        ((180, 600, 600), (196, 256, 256), (1, 4, 4)),
        ((500, 300, 300), (192, 256, 256), (4, 2, 2)),
        ((10, 40, 50), (28, 56, 68), (1, 1, 1)),
        ((101, 300, 700), (120, 316, 320), (1, 1, 3)),
    ],
)
def test_all_planes_are_in_a_tile_where_they_fit(shape: Any, tile: Any, tiles: Any) -> None:
    """With eight voxels beyond either end of what is not cut; thick stacks are cut along z too."""
    grid = geometry(shape)
    assert grid.tile_shape == tile
    assert tuple(axis.num_tiles for axis in grid.axes) == tiles
    assert all(n % 4 == 0 for n in grid.tile_shape)
    for axis, count in zip(grid.axes, tiles, strict=True):
        assert axis.halo == (32 if count > 1 else 8)
        assert axis.last_start % 4 == 0


@pytest.mark.parametrize(
    ("planes", "tile", "halo"),
    [(101, 120, 8), (104, 120, 8), (120, 120, 8), (128, 120, 8), (96, 96, 32)],
)
def test_a_tile_of_the_user_says_whether_z_is_cut(planes: int, tile: int, halo: int) -> None:
    """As many planes as there are mean all of them, and still the gap between both ends."""
    grid = geometry((101, 300, 300), Tiling(tile=(planes, 128, 128)))
    assert (grid.tile_shape[0], grid.axes[0].halo) == (tile, halo)


def test_margins_and_blending_are_the_users() -> None:
    """Both go into the geometry."""
    tiling = Tiling(tile=(120, 128, 128), overlap=(0, 16, 16), window="linear")
    grid = geometry((101, 300, 300), tiling, margin=16)
    assert (grid.axes[1].halo, grid.axes[1].core, grid.axes[1].stride) == (16, 96, 80)
    assert not grid.owned


@pytest.mark.parametrize(
    ("wishes", "options", "words"),
    [
        ({"tiling": Tiling(overlap=(0, 8, 8))}, {}, "--overlap: the published"),
        ({"tiling": Tiling(window="linear")}, {}, "--blend: the published"),
        ({"tiling": Tiling(tile=(12, 30, 32))}, {}, "multiples of 4"),
        ({"tiling": Tiling(tile=(12, 256, 32))}, {}, "makes nothing"),
        ({}, {"values": "input"}, "--values input"),
    ],
)
def test_what_the_published_program_cannot_do_is_refused(
    wishes: Any, options: Any, words: str, tmp_path: Path
) -> None:
    """In one line that says what would do."""
    import json

    from parity import PARITY_PATH, seeded_state_dict

    keys = json.loads((PARITY_PATH / "rldfn_fusion_keys.json").read_text())
    path = tmp_path / "weights.pth"
    torch.save(seeded_state_dict({k: tuple(v) for k, v in keys.items()}), path)
    request = Request([facts_of((12, 40, 40))] * 2, as_original=True, **wishes)
    with pytest.raises(OptionError, match=words):
        make_restorer(path, PredictOptions(psf_size=13, **options), request)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"iterations": 2}, "--iterations: is for --mode rl"),
        ({"margin": 6}, "--margin 6: expected a multiple of 4"),
        ({"mode": "rl", "normalize": "tile"}, "--normalize tile: not for --mode rl"),
        ({"mode": "rl", "psf_size": 34}, r"--psf-size 34: expected 4 k \+ 1"),
        ({"mode": "rl", "psf_a": "a.tif"}, "expected --psf-b too"),
        ({"mode": "rl", "psf_b": "b.tif"}, "expected --psf-a too"),
        ({"mode": "rl", "psf_a": "a.tif", "psf_b": "b.tif", "tilt": 20.0}, "--tilt: has no effect"),
        (
            {"mode": "rl", "psf_a": "a.tif", "psf_b": "b.tif", "voxel_size": 60.0},
            "--voxel-size: has no effect",
        ),
    ],
)
def test_options_without_sense_are_refused(options: Any, words: str) -> None:
    """In one line."""
    views = Request([facts_of((12, 40, 40))] * 2)
    if ("psf_a" in options) != ("psf_b" in options):
        with pytest.raises(OptionError, match=words):
            files_of(PredictOptions(**options))
        return
    with pytest.raises(OptionError, match=words):
        make_restorer(None, PredictOptions(**options), views)


def test_widths_have_no_effect_beside_files() -> None:
    """And are refused."""
    with pytest.raises(OptionError, match="--fwhm-axial: has no effect with --psf-a"):
        files_of(PredictOptions(psf_a="a", psf_b="b", fwhm_axial=600.0))


def test_only_files_are_centred() -> None:
    """Theoretical ones are, and those of weights are as they were trained with."""
    with pytest.raises(OptionError, match="--centre-psf: is for --psf-a and --psf-b"):
        files_of(PredictOptions(centre_psf=True))


@pytest.mark.parametrize(
    ("tiling", "margin", "flag"),
    [
        (Tiling(tile=(8, 8, 8)), None, "--tile"),
        (Tiling(overlap=(0, 4, 4)), None, "--overlap"),
        (Tiling(window="linear"), None, "--blend"),
        (Tiling(), 4, "--margin"),
    ],
)
def test_the_published_demonstration_takes_whole_views(
    tiling: Tiling, margin: int | None, flag: str
) -> None:
    """So that what is wished of tiles has no effect."""
    request = Request([facts_of((12, 40, 40))] * 2, as_original=True, tiling=tiling)
    with pytest.raises(OptionError, match=f"{flag}: "):
        make_restorer(None, PredictOptions(mode="rl", margin=margin), request)


def test_margins_that_leave_nothing_are_refused() -> None:
    """And the cure may be a smaller margin, too."""
    with pytest.raises(
        OptionError, match="between margins of 32; expected more than 64, or a smal"
    ):
        geometry((12, 300, 300), Tiling(tile=(12, 64, 128)))


def test_maxima_are_measured_where_they_are_used() -> None:
    """By the default, and for one number for both views; not where tiles have their own."""
    tile, none = PredictOptions(normalize="tile"), PredictOptions(normalize="none")
    assert METHOD.statistics(PredictOptions(), weights=None, as_original=False) == ("series:max",)
    assert METHOD.statistics(PredictOptions(), weights=None, as_original=True) == ()
    assert METHOD.statistics(tile, weights=None, as_original=False) == ()
    assert uses_maxima(none, as_original=False)
    assert not uses_maxima(none, as_original=True)
    assert normalization(PredictOptions(mode="rl"), as_original=True) == "volume"


def test_only_the_network_needs_weights() -> None:
    """Plain deconvolution has none."""
    assert METHOD.needs_weights(PredictOptions())
    assert not METHOD.needs_weights(PredictOptions(mode="rl"))


def test_theoretical_functions_are_on_the_voxels_of_the_views() -> None:
    """Longer in voxels where these are smaller, and large enough for that."""
    found, told = optics()
    assert told == []
    assert found.source == "theoretical"
    np.testing.assert_array_equal(found.psf_a, theoretical_psf("a", voxel_size=61.7))
    np.testing.assert_array_equal(found.psf_b, theoretical_psf("b", voxel_size=61.7))
    finer, _ = optics(voxel_sizes=((40.0,) * 3, (40.0,) * 3))
    assert finer.psf_a.shape == (49, 49, 49)
    stated, _ = optics(PredictOptions(voxel_size=40.0), voxel_sizes=(None, None))
    np.testing.assert_array_equal(stated.psf_a, finer.psf_a)


def test_files_come_first_then_those_of_the_weights(tmp_path: Path) -> None:
    """And options of theoretical ones come before the weights'."""
    psf = np.zeros((9, 9, 9), np.float32)
    psf[4, 4, 4] = 1
    files = {key: tmp_path / f"{key}.tif" for key in ("psf_a", "psf_b")}
    for path in files.values():
        tifffile.imwrite(path, psf)
    tensors = {key: torch.ones(5, 5, 5) for key in TENSORS}
    assert optics(files=files, tensors=tensors)[0].psf_a.shape == (9, 9, 9)
    kept, told = optics(tensors=tensors, known={"voxel_size": [61.7] * 3})
    assert (kept.source, kept.psf_b.shape, told) == ("weights", (5, 5, 5), [])
    replaced, told = optics(PredictOptions(tilt=20.0), tensors=tensors)
    assert (replaced.source, replaced.told["tilt"]) == ("theoretical", 20.0)
    assert "--tilt: theoretical point spread functions are used instead" in told[0]
    wide, _ = optics(PredictOptions(fwhm_axial=500.0), tensors=tensors, known={"tilt": 25.0})
    assert wide.told["tilt"] == 25.0
    assert optics(tensors={}, known={"tilt": 25.0})[0].told["tilt"] == 25.0


def test_doubtful_functions_are_told(tmp_path: Path) -> None:
    """Those that are shifted by their size, of other voxels, or cut off by the tile."""
    files = {key: tmp_path / f"{key}.tif" for key in ("psf_a", "psf_b")}
    for path, view in zip(files.values(), ("a", "b"), strict=True):
        tifffile.imwrite(path, theoretical_psf(view, voxel_size=61.7, size=31))
    _, told = optics(files=files)
    assert len(told) == 2
    assert all("--centre-psf" in text for text in told)
    centred, told = optics(PredictOptions(centre_psf=True), files=files)
    assert (centred.psf_a.shape, told) == ((33, 33, 33), [])
    centred.warn_of_cuts((8, 64, 64), told.append)
    assert "cut off" in told.pop()
    centred.warn_of_cuts((64, 64, 64), told.append)
    assert told == []
    tensors = {key: torch.ones(5, 5, 5) for key in TENSORS}
    _, told = optics(tensors=tensors, known={"voxel_size": [100.0] * 3})
    assert "trained on voxels of 100 nm" in told[0]


def test_a_background_or_long_tails_are_told(tmp_path: Path) -> None:
    """Both would be taken for blur, or be cut off where a training blurs."""
    files = {key: tmp_path / f"{key}.tif" for key in ("psf_a", "psf_b")}
    for path, view in zip(files.values(), ("a", "b"), strict=True):
        tifffile.imwrite(path, theoretical_psf(view, voxel_size=61.7, fwhm_axial=1400.0) + 0.05)
    found, told = optics(files=files)
    assert len(told) == 2
    assert all("has a background of" in text for text in told)
    found.warn_of_kernels(told.append)
    assert "outside the 19 x 19 x 19 voxels" in told.pop()
    usual, told = optics()
    usual.warn_of_kernels(told.append)
    assert told == []


def test_a_stated_voxel_size_that_contradicts_the_views_is_told() -> None:
    """It is taken all the same."""
    found, told = optics(PredictOptions(voxel_size=100.0))
    assert found.told["voxel_size"] == 100.0
    assert "the views say 61.7 x 61.7 x 61.7 nm" in told[0]


def test_voxels_that_are_no_cubes_are_refused() -> None:
    """Also unknown ones, and those of views that differ."""
    with pytest.raises(OptionError, match="expected cubes"):
        optics(voxel_sizes=((102.0, 61.7, 61.7),) * 2)
    with pytest.raises(OptionError, match="--voxel-size: missing"):
        optics(voxel_sizes=(None, None))
    with pytest.raises(InputError, match="voxels of the views differ"):
        optics(voxel_sizes=(VOXEL, (70.0,) * 3))
    assert optics(voxel_sizes=(VOXEL, None))[1] == []
