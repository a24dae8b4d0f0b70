"""What was removed: noise is told from structure."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from vemctl.quality.residual import CHANCE, LAGS, STRUCTURE, Residuals, ResidualScore
from vemctl.samples import em_pair

SHAPE = (8, 96, 96)


def judge(source: np.ndarray, result: np.ndarray) -> ResidualScore:
    """Judge a volume at once."""
    residuals = Residuals()
    residuals.add(source, result)
    found = residuals.result()
    assert found is not None
    return found


def at(found: ResidualScore, lag: tuple[int, int, int]) -> float:
    assert found.autocorrelation is not None
    value = found.autocorrelation[lag[0] + LAGS[0]][lag[1] + LAGS[1]][lag[2] + LAGS[2]]
    assert value is not None
    return value


def texture(seed: int = 0, sigma: float = 3.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), (1, sigma, sigma))
    return 100 + 30 * smooth / smooth.std()


def white(seed: int, size: float = 10.0) -> np.ndarray:
    return np.random.default_rng((seed, 1)).normal(0, size, SHAPE)


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(values, (0, sigma, sigma))


def test_white_noise_is_like_noise() -> None:
    """Over 40 seeds, hardly ever does a shift correlate more than chance allows."""
    beyond = 0
    for seed in range(40):
        found = judge(texture(seed) + white(seed), texture(seed))
        assert found.strongest is not None
        beyond += abs(found.strongest) > found.expected
        assert found.verdict == "what was removed is like noise"
    assert beyond <= 1
    assert found.expected == pytest.approx(CHANCE / np.sqrt(np.prod(SHAPE)))
    assert found.std == pytest.approx(10, rel=0.02)
    assert found.mean == pytest.approx(0, abs=0.2)
    assert found.correlation_with_output == pytest.approx(0, abs=0.03)


def test_the_noise_of_a_fast_scan_is_like_noise() -> None:
    """It depends on the grey value and is cut off at 0 and 255, but neighbours know nothing."""
    pair = em_pair(SHAPE, seed=1)
    assert judge(pair.noisy, pair.truth).verdict == "what was removed is like noise"


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_what_blur_removes_from_tissue_has_structure(sigma: float) -> None:
    """Edges and membranes continue from voxel to voxel."""
    truth = em_pair(SHAPE, seed=1).truth.astype(float)
    found = judge(truth, smoothed(truth, sigma))
    assert found.has_structure
    assert found.highest is not None
    assert found.highest > 0.5
    assert found.verdict.startswith("what was removed has structure: neighbours along ")


def test_structure_is_seen_beside_noise() -> None:
    """Where blur of noisy tissue takes both away, a seventh of the variance is enough."""
    truth = em_pair(SHAPE, seed=1).truth.astype(float)
    lost = truth - smoothed(truth, 1.0)
    for share, expected in ((0.05, False), (0.25, True)):
        noise = white(0, lost.std() * np.sqrt(1 / share - 1))
        found = judge(truth + noise, truth - lost)
        assert found.has_structure is expected


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0])
def test_noise_that_was_averaged_is_no_structure(sigma: float) -> None:
    """Residuals lack what neighbours share, so that they correlate negatively."""
    noisy = em_pair(SHAPE, seed=1).noisy.astype(float)
    found = judge(noisy, smoothed(noisy, sigma))
    assert not found.has_structure
    assert found.strongest is not None
    assert found.strongest < -STRUCTURE
    assert "like noise, and part of it was averaged: neighbours along" in found.verdict


def test_median_and_total_variation_remove_noise() -> None:
    """Filters that keep edges leave no structure in what they remove."""
    from skimage.restoration import denoise_tv_chambolle

    noisy = em_pair(SHAPE, seed=1).noisy.astype(float)
    for result in (
        ndimage.median_filter(noisy, (1, 3, 3)),
        np.stack([denoise_tv_chambolle(plane, weight=20) for plane in noisy]),
    ):
        found = judge(noisy, result)
        assert found.highest is not None
        assert found.highest < 0.06
        assert not found.has_structure


def test_noise_along_scan_lines_is_told_as_such() -> None:
    """It correlates along x only, by as much as was put in."""
    lines = white(0) + 0.5 * np.roll(white(0), 1, axis=2)
    found = judge(texture() + lines, texture())
    assert at(found, (0, 0, 1)) == pytest.approx(0.5 / 1.25, abs=0.02)
    assert found.strongest_lag == found.highest_lag == (0, 0, 1)
    assert found.verdict == (
        f"what was removed has structure: neighbours along x correlate by {found.highest:.2f}, "
        "along x only, which noise of a scan does too"
    )


def test_slow_changes_of_brightness_are_structure() -> None:
    """They correlate at all shifts alike."""
    brightness = np.random.default_rng(0).normal(0, 8, (SHAPE[0], 1, 1))
    found = judge(texture() + white(0) + brightness, texture())
    assert found.has_structure
    assert at(found, (0, 4, 4)) == pytest.approx(at(found, (0, 0, 1)), abs=0.03)
    assert at(found, (0, 4, 4)) > STRUCTURE


def test_what_is_apart_in_two_directions_is_named_by_its_shift() -> None:
    """A pattern that repeats at (0, 2, 3)."""
    noise = white(0)
    found = judge(noise + np.roll(noise, (2, 3), axis=(1, 2)), np.zeros(SHAPE))
    assert found.highest_lag == (0, 2, 3)
    assert "voxels (0, 2, 3) apart (z, y, x) correlate by 0." in found.verdict
    far = judge(noise + np.roll(noise, 4, axis=1), np.zeros(SHAPE))
    assert "voxels 4 apart along y correlate by 0." in far.verdict
    deep = judge(noise + np.roll(noise, 1, axis=0), np.zeros(SHAPE))
    assert "neighbours along z correlate by 0." in deep.verdict


def test_numbers_are_those_of_sums_over_all_pairs() -> None:
    """Compared with numpy, shift by shift."""
    rng = np.random.default_rng(3)
    result = smoothed(rng.normal(500, 30, (5, 21, 34)), 0.8)
    source = result + 7 + ndimage.gaussian_filter(rng.normal(0, 20, result.shape), 0.5)
    found = judge(source, result)
    residual = source - result
    assert found.voxels == residual.size
    assert found.mean == pytest.approx(residual.mean())
    assert found.std == pytest.approx(residual.std())
    pearson = np.corrcoef(residual.ravel(), result.ravel())[0, 1]
    assert found.correlation_with_output == pytest.approx(pearson)
    centred = residual - residual.mean()
    for lag in np.ndindex(3, 9, 9):
        shift = tuple(int(n) - most for n, most in zip(lag, LAGS, strict=True))
        one, other = (
            centred[
                tuple(
                    slice(max(0, s * k), n + min(0, s * k))
                    for k, n in zip(shift, centred.shape, strict=True)
                )
            ]
            for s in (-1, 1)
        )
        expected = (one * other).mean() / centred.var()
        # Means of the pairs differ from that of all a little, which is not corrected.
        assert at(found, shift) == pytest.approx(expected, abs=2e-3)


def test_the_strongest_is_the_largest_of_the_table() -> None:
    """The middle is 1 and is not meant; opposite shifts have the same value."""
    found = judge(white(0), 0.5 * smoothed(white(0), 1))
    table = np.array(found.autocorrelation, float)
    assert table.shape == (3, 9, 9)
    assert table[LAGS] == 1
    assert np.array_equal(table, table[::-1, ::-1, ::-1])
    table[LAGS] = 0
    assert found.strongest is not None
    assert abs(found.strongest) == np.abs(table).max()
    assert found.highest == table.max()
    assert found.strongest_lag is not None
    assert at(found, found.strongest_lag) == found.strongest


@pytest.mark.parametrize("depth", [1, 3])
def test_slabs_give_what_the_whole_gives(depth: int) -> None:
    """But for the pairs across slabs; single planes have no pairs along z."""
    source, result = texture() + white(0) + 50, texture()
    residuals = Residuals()
    for first in range(0, SHAPE[0], depth):
        for part in (slice(0, 40), slice(40, 96)):
            where = slice(first, first + depth), part
            residuals.add(source[where], result[where])
    found, whole = residuals.result(), judge(source, result)
    assert found is not None
    assert found.mean == pytest.approx(whole.mean)
    assert found.std == pytest.approx(whole.std)
    assert found.correlation_with_output == pytest.approx(whole.correlation_with_output)
    assert at(found, (0, 1, 1)) == pytest.approx(at(whole, (0, 1, 1)), abs=5e-3)
    assert found.autocorrelation is not None
    if depth == 1:
        assert found.autocorrelation[0] == [[None] * 9] * 9
        assert json.loads(json.dumps(found.to_json(), allow_nan=False))
    else:
        assert at(found, (1, 0, 0)) == pytest.approx(at(whole, (1, 0, 0)), abs=0.02)


def test_unsigned_integers_are_subtracted_as_numbers() -> None:
    """Nothing wraps around."""
    source, result = np.full((2, 8, 8), 3, np.uint8), np.full((2, 8, 8), 5, np.uint8)
    source[0, 0, 0] = 4
    assert judge(source, result).mean == pytest.approx(-2 + 1 / 128)


def test_nothing_removed_is_said_so() -> None:
    """Neither is there a correlation."""
    found = judge(texture(), texture())
    assert found.verdict == "nothing was removed"
    assert (found.autocorrelation, found.strongest, found.correlation_with_output) == (None,) * 3
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["std"] == 0


def test_a_constant_has_no_autocorrelation() -> None:
    """What rounding leaves of it is not taken for a pattern."""
    found = judge(texture() + 0.1, texture())
    assert found.autocorrelation is None
    assert found.verdict == "what was removed is the same everywhere: 0.1"


def test_voxels_that_are_not_finite_are_left_out() -> None:
    """In the input and in the output, with all their pairs."""
    source, result = texture() + white(0), texture()
    expected = judge(source, result)
    source[:, 10, :], source[2, 30, 30], result[3, :, 5], result[4, 4, 4] = (
        np.nan,
        np.inf,
        np.nan,
        -np.inf,
    )
    found = judge(source, result)
    left = np.isfinite(source - result)
    assert found.voxels == np.count_nonzero(left)
    assert found.mean == pytest.approx((source - result)[left].mean())
    assert at(found, (0, 0, 1)) == pytest.approx(at(expected, (0, 0, 1)), abs=0.01)
    lines = white(0) + np.roll(white(0), 1, axis=2)
    holes = np.where(np.random.default_rng(0).random(SHAPE) < 0.5, np.nan, lines)
    assert at(judge(holes, np.zeros(SHAPE)), (0, 0, 1)) == pytest.approx(0.5, abs=0.03)


def test_without_voxels_there_is_no_result() -> None:
    """Nothing, an empty slab, and only NaN."""
    residuals = Residuals()
    assert residuals.result() is None
    residuals.add(np.zeros((0, 4, 4)), np.zeros((0, 4, 4)))
    residuals.add(np.full((2, 4, 4), np.nan), np.zeros((2, 4, 4)))
    assert residuals.result() is None


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (2, 3, 2), (1, 2, 5)])
def test_tiny_volumes_have_no_pairs_far_apart(shape: tuple[int, int, int]) -> None:
    """Shifts beyond the volume are None."""
    found = judge(np.random.default_rng(0).normal(0, 1, shape), np.zeros(shape))
    if found.autocorrelation is None:
        assert shape == (1, 1, 1)
        return
    for lag in np.ndindex(3, 9, 9):
        shift = [abs(int(n) - most) for n, most in zip(lag, LAGS, strict=True)]
        inside = all(s < n for s, n in zip(shift, shape, strict=True))
        assert (found.autocorrelation[lag[0]][lag[1]][lag[2]] is not None) is inside
    assert not found.has_structure


def test_unlike_shapes_are_a_mistake_of_the_caller() -> None:
    """Nothing is broadcast."""
    with pytest.raises(ValueError, match=r"\(2, 4, 4\).*\(2, 4, 1\)"):
        Residuals().add(np.zeros((2, 4, 4)), np.zeros((2, 4, 1)))
