"""Whether two views fit their point spread functions or each the other's."""

from __future__ import annotations

import math

import pytest
import torch
from rldfn_phantoms import shell, texture, views_of, with_noise
from vemctl_rldfn import orientation
from vemctl_rldfn.deconvolving import DualViewDeconvolution
from vemctl_rldfn.orientation import MOST_TILES, MOST_VOXELS, OrientationCheck, residuals
from vemctl_rldfn.psfs import theoretical_psf

SHAPE = (40, 44, 48)
PSFS = (theoretical_psf("a"), theoretical_psf("b"))
Views = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module", params=[shell, texture])
def views(request) -> Views:
    """Return two views of an object that theory blurred."""
    return views_of(request.param(SHAPE))


def verdict_of(view_a: torch.Tensor, view_b: torch.Tensor) -> str | None:
    """Return which way round functions fit one tile; only swapped ones are warned of."""
    check = OrientationCheck(*PSFS)
    text = check.check(view_a, view_b)
    assert (text is not None) == (check.verdict == "swapped")
    return check.verdict


def test_residuals_are_small_the_right_way_round(views: Views):
    """Also where borders, which are circular, disturb; and scales do not matter to gains."""
    tool = DualViewDeconvolution(*PSFS, SHAPE, "cpu")
    given, swapped = residuals(tool, *views), residuals(tool.swapped(), *views)
    assert max(given) < 0.3
    assert min(swapped) > 1.4 * max(given)
    assert min(swapped) > 0.35
    fainter = residuals(tool, views[0], 0.5 * views[1])
    assert fainter == pytest.approx(given, rel=0.05)


def test_residuals_are_norms_at_the_best_gain(views: Views):
    """No other gain gives less."""
    tool = DualViewDeconvolution(*PSFS, SHAPE, "cpu")
    found = residuals(tool, *views, 3)[0]
    blurred = tool.blurred(tool.restored(*views, 3, normalised=True), "a")
    norm = views[0].norm()
    best = min(float((g * blurred - views[0]).norm() / norm) for g in torch.arange(0, 10, 0.01))
    assert found <= best + 1e-6
    assert found == pytest.approx(best, rel=1e-2)


def test_views_that_fit_are_not_spoken_of(views: Views):
    """And are not looked at again."""
    check = OrientationCheck(*PSFS)
    assert check.check(*views) is None
    assert check.verdict == "given"
    assert check.check(*views[::-1]) is None
    assert check.verdict == "given"


def test_exchanged_views_are_told_once(views: Views):
    """In one sentence."""
    check = OrientationCheck(*PSFS)
    text = check.check(*views[::-1])
    assert text is not None
    assert "swapped" in text
    assert "\n" not in text
    assert check.check(*views[::-1]) is None


@pytest.mark.parametrize("axis", [0, 2])
def test_mirrored_views_are_told(views: Views, axis: int):
    """Along z, when it grows away from the mirror, or along x; along y there is nothing to tell."""
    assert verdict_of(*(view.flip(axis) for view in views)) == "swapped"
    assert verdict_of(*(view.flip(1) for view in views)) == "given"


@pytest.mark.parametrize(("photons", "background"), [(100, 0), (100, 100), (10, 0), (10, 5)])
def test_noise_does_not_mislead(views: Views, photons: int, background: int):
    """Neither few photons nor a background, whichever way round."""
    noisy = [with_noise(view, photons, background) for view in views]
    assert verdict_of(*noisy) == "given"
    assert verdict_of(*noisy[::-1]) == "swapped"


def test_views_one_plane_apart_are_no_matter(views: Views):
    """As the published preparation leaves them."""
    apart = views[0][1:], views[1][:-1]
    assert verdict_of(*apart) == "given"
    assert verdict_of(*apart[::-1]) == "swapped"


def test_other_functions_than_the_true_ones_still_tell(views: Views):
    """Ten degrees beside, or a quarter too wide."""
    for wrong in ({"tilt": 20.8}, {"fwhm_lateral": 270.0, "fwhm_axial": 860.0}):
        psfs = [theoretical_psf(view, **wrong) for view in "ab"]
        check = OrientationCheck(*psfs)
        check.check(*views)
        assert check.verdict == "given"
        check = OrientationCheck(*psfs)
        assert check.check(*views[::-1]) is not None


def test_empty_tiles_are_passed_over(views: Views):
    """However many there are, also those that are empty in one view only or hold no numbers."""
    check = OrientationCheck(*PSFS)
    nothing = torch.zeros(SHAPE)
    for _ in range(2 * MOST_TILES):
        assert check.check(nothing, nothing) is None
        assert check.check(views[0], nothing) is None
        assert check.check(views[0], nothing * math.nan) is None
    assert check.verdict is None
    assert check.check(*views[::-1]) is not None


def test_noise_alone_gives_no_verdict():
    """And after some tiles it is given up."""
    check = OrientationCheck(*PSFS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(MOST_TILES):
        noise = torch.poisson(torch.full((2, *SHAPE), 10.0), generator=generator)
        assert check.check(noise[0], noise[1]) is None
    assert check.verdict is None
    swapped = views_of(shell(SHAPE))[::-1]
    assert check.check(*swapped) is None


def test_a_batch_is_judged_by_its_brightest_tile(views: Views):
    """Tiles beside it may be empty."""
    batch_a, batch_b = (torch.stack([0 * v, 500 * v, v * 0])[:, None] for v in views)
    assert verdict_of(batch_a, batch_b) == "given"
    assert verdict_of(batch_b, batch_a) == "swapped"


def test_of_large_tiles_the_brightest_part_is_looked_at(views: Views, monkeypatch):
    """Wherever it lies, and not more than is said."""
    looked_at = []
    kept = orientation.residuals

    def residuals_of(tool, *rest, **options):
        looked_at.append(tool.shape)
        return kept(tool, *rest, **options)

    monkeypatch.setattr(orientation, "residuals", residuals_of)
    monkeypatch.setattr(orientation, "MOST_VOXELS", 64 * 64 * 128)
    large = [torch.zeros(80, 160, 200) for _ in views]
    for room, view in zip(large, views, strict=True):
        room[30:70, 100:144, 140:188] = view
    assert verdict_of(*large) == "given"
    assert verdict_of(*large[::-1]) == "swapped"
    assert {math.prod(shape) <= 64 * 64 * 128 for shape in looked_at} == {True}


@pytest.mark.parametrize("shape", [(108, 272, 272), (200, 320, 320), (16, 2048, 2048), (12, 9, 7)])
def test_parts_keep_to_the_limit(shape):
    """And small tiles are looked at as a whole."""
    part = orientation._part(shape)
    assert math.prod(part) <= max(MOST_VOXELS, 64**3)
    assert all(0 < small <= large for small, large in zip(part, shape, strict=True))
    if math.prod(shape) <= MOST_VOXELS:
        assert part == shape
