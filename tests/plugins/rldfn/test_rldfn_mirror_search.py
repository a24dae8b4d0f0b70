"""The search for the mirror in projections."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from vemctl_rldfn.mirror_search import (
    Found,
    find_mirror,
    fitting_margin,
    smooth,
    turned,
)

ANGLES = tuple(round(-0.9 + 0.1 * i, 1) for i in range(19))


def texture(rows: int, planes: int, seed: int = 0, shape: float = 0.3) -> np.ndarray:
    """Return something with structures of a few pixels, the sparser the smaller the shape."""
    noise = np.random.default_rng(seed).gamma(shape, 1, (rows, planes))
    return 100 * ndimage.gaussian_filter(noise, 1.5, mode="wrap")


def mirrored(
    rows: int, planes: int, mirror: float, seed: int = 0, shape: float = 0.3
) -> np.ndarray:
    """Return rows that are alike on both sides of a plane."""
    half = texture(rows, 2 * planes, seed, shape)
    return half[:, np.round(2 * np.abs(np.arange(planes) - mirror)).astype(int)]


@pytest.mark.parametrize("mirror", [20.0, 22.5, 17.0, 29.5])
def test_the_label_is_less_than_the_shift_by_one(mirror: float) -> None:
    """The mirror lies at half of planes and label, where that of the planes' middle is half."""
    found = find_mirror(mirrored(90, 50, mirror), (0.0,), (-30, 30), 5, smoothed=False)
    assert found.shift == 2 * mirror - 50
    assert found.angle == 0
    assert not found.is_faint
    assert not found.angle_at_end
    assert not found.shift_at_end


@pytest.mark.parametrize("smoothed", [False, True])
def test_the_score_is_a_mean_product(smoothed: bool) -> None:
    """Of the rows between the margins and their mirror image, which goes round."""
    image = texture(40, 21)
    found = find_mirror(image, (0.0,), (-3, 4), 6, smoothed=smoothed)
    used = smooth(image) if smoothed else image
    expected = {}
    for label in range(-3, 4):
        flipped = used[:, ::-1]
        shifted = np.take(flipped, (np.arange(21) - (label + 1)) % 21, axis=1)
        expected[label] = (used[6:34] * shifted[6:34]).mean()
    assert found.shift == max(expected, key=expected.__getitem__)
    assert found.score == pytest.approx(max(expected.values()), rel=1e-12)


def test_the_first_of_equals_is_kept() -> None:
    """In angles and shifts: of rows that repeat all are alike."""
    image = np.tile([0.0, 4.0], (20, 10))
    found = find_mirror(image, (0.0, 0.0), (-6, 6), 2, smoothed=False)
    assert found.shift == -6
    assert found.shift_at_end


def test_nothing_is_found_in_nothing() -> None:
    """The least angle and shift stand for it, and it is faint."""
    found = find_mirror(np.zeros((30, 20)), ANGLES, (-5, 6), 2, smoothed=True)
    assert found == Found(0.0, 0, 0.0, 0.0, 0.0, angle_at_end=False, shift_at_end=False)
    assert found.is_faint


def test_images_turn_counter_clockwise() -> None:
    """About their centre; where nothing comes from is 0, and without an angle nothing is done."""
    image = np.zeros((21, 31))
    image[10, 25] = 1
    up = turned(image, 90)
    assert np.unravel_index(up.argmax(), up.shape) == (0, 15) or up[0, 15] == pytest.approx(1)
    assert turned(image, 0.0) is image
    full = turned(np.ones((30, 40)), 10)
    assert full[0, 0] == 0
    assert full[15, 20] == pytest.approx(1)


def test_images_are_blurred_by_five_taps() -> None:
    """Of a Gaussian with a sigma of one, whose sum is one; borders go on."""
    image = np.zeros((11, 11))
    image[5, 5] = 1
    taps = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    taps /= taps.sum()
    expected = np.zeros((11, 11))
    expected[3:8, 3:8] = np.outer(taps, taps)
    np.testing.assert_allclose(smooth(image), expected, atol=1e-15)
    np.testing.assert_allclose(smooth(np.full((6, 6), 3.0)), 3, rtol=1e-14)


def test_a_mirror_that_is_askew_is_found() -> None:
    """By the angle that undoes it, within the tenth that the published score is off."""
    image = turned(mirrored(600, 60, 33.0, shape=0.003), -0.6)
    found = find_mirror(image, ANGLES, (-30, 30), 20, smoothed=True)
    assert found.angle == pytest.approx(0.6, abs=0.21)
    assert abs(found.shift - 6) <= 1
    assert not found.is_faint
    far = find_mirror(image, (-0.2, -0.1, 0.0, 0.1, 0.2), (-30, 30), 20, smoothed=True)
    assert far.angle == 0.2
    assert far.angle_at_end


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(40, 30), (120, 60), (300, 100), (1000, 80)])
def test_noise_is_faint(shape: tuple[int, int], seed: int) -> None:
    """Whatever it is of; a mirror image of it is not, but for the smallest field."""
    rng = np.random.default_rng(seed)
    margin = fitting_margin(shape[0])
    for noise in (rng.poisson(100, shape), rng.gamma(0.3, 100, shape)):
        for smoothed in (False, True):
            angles = ANGLES if smoothed else (0.0,)
            assert find_mirror(noise, angles, (-15, 15), margin, smoothed=smoothed).is_faint
    if shape[0] > 40:
        real = mirrored(*shape, shape[1] / 2 + 3, seed)
        assert not find_mirror(real, ANGLES, (-15, 15), margin, smoothed=True).is_faint


def test_the_contrast_is_of_correlations() -> None:
    """Of the image with its mirror image at the best shift, above the mean over all."""
    image = mirrored(60, 30, 16.0)
    found = find_mirror(image, (0.0,), (-15, 15), 3, smoothed=False)
    rows = image[3:-3]
    correlations = [
        np.corrcoef(rows.ravel(), np.roll(rows[:, ::-1], s + 1, axis=1).ravel())[0, 1]
        for s in range(-15, 15)
    ]
    assert found.contrast == pytest.approx(max(correlations) - np.mean(correlations), rel=1e-9)
    assert found.threshold == pytest.approx(5 / math.sqrt(rows.size / 10))


@pytest.mark.parametrize(
    ("length", "margin"),
    [(2048, 100), (464, 100), (463, 99), (406, 85), (128, 16), (60, 7), (1, 0)],
)
def test_margins_fit_the_field(length: int, margin: int) -> None:
    """So that 64 rows are compared, or a half of them."""
    assert fitting_margin(length) == margin
    assert length - 4 * margin >= min(64, length / 2)
