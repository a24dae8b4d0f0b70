"""Noise and blur of a real poor image: what was put in is found again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from vemctl_pssr.crappifiers import Crappifier, get
from vemctl_pssr.likeness import FLOOR, remainder, ring_weights, spectrum
from vemctl_pssr.noise_estimate import estimate

from vemctl.errors import InputError, OptionError
from vemctl.samples import synthetic_em

EM = get("em_AG").centred()
SIDE = 384


@pytest.fixture(scope="module")
def tissues() -> list[np.ndarray]:
    """Return good images of three pieces of tissue, in [0, 1]."""
    return [synthetic_em((1, SIDE, SIDE), seed)[0] / np.float32(255) for seed in range(3)]


def scan(
    good: np.ndarray, blur: float, seed: int = 10, crappifier: Crappifier = EM, **level: float
) -> np.ndarray:
    """Return a poor image with a known noise."""
    noise = replace(crappifier.noise, blur=blur, **level)
    return crappifier(255 * good, np.random.default_rng(seed), noise)


@pytest.mark.parametrize(
    ("tissue", "level", "blur"), [(0, 0.05, 1.0), (1, 0.02, 2.0), (2, 0.1, 2.0), (0, 0.05, 3.0)]
)
def test_level_and_blur_are_found(
    tissue: int, level: float, blur: float, tissues: list[np.ndarray]
) -> None:
    """Within 15 % and 0.3 pixels of the good image."""
    poor = scan(tissues[tissue], blur, gaussian_level=level)
    found = estimate(poor, [tissues[tissue]], EM)
    assert found.level == pytest.approx(level, rel=0.15)
    assert found.blur == pytest.approx(blur, abs=0.3)
    assert found.misfit < 0.15
    assert tuple(found) == (found.level, found.blur)


def test_the_published_sampling_is_fitted_too(tissues: list[np.ndarray]) -> None:
    """Though its noise changes periodically over the image."""
    crappifier = get("em_AG")
    poor = scan(tissues[1], 2.0, crappifier=crappifier, gaussian_level=0.05)
    level, blur = estimate(poor, [tissues[1]], crappifier)
    assert level == pytest.approx(0.05, rel=0.15)
    assert blur == pytest.approx(2, abs=0.35)


def test_noise_that_is_the_same_everywhere_is_fitted(tissues: list[np.ndarray]) -> None:
    """Its strength is a standard deviation."""
    crappifier = get("em_G_D_002").centred()
    poor = scan(tissues[0], 1.5, crappifier=crappifier, sigma=0.12)
    level, blur = estimate(poor, [tissues[0]], crappifier)
    assert level == pytest.approx(0.12, rel=0.08)
    assert blur == pytest.approx(1.5, abs=0.3)


def test_contrast_and_brightness_may_differ(tissues: list[np.ndarray]) -> None:
    """The noise is that of good images whose structures stand out as much."""
    poor = 0.2 + 0.6 * scan(tissues[2], 2.0, gaussian_level=0.03)
    found = estimate(poor, [tissues[2]], EM)
    assert found.contrast == pytest.approx(0.6, rel=0.05)
    assert found.level == pytest.approx(0.03, rel=0.15)
    assert found.blur == pytest.approx(2, abs=0.3)
    as_it_is = estimate(poor, [tissues[2]], EM, match_contrast=False)
    assert as_it_is.contrast == 1
    assert as_it_is.level < 0.7 * found.level
    assert as_it_is.misfit > 2 * found.misfit


def test_another_field_of_view_will_do(tissues: list[np.ndarray]) -> None:
    """Of the same kind of tissue, less exactly."""
    poor = scan(tissues[0], 2.0, gaussian_level=0.05)
    found = estimate(poor, tissues[1:], EM)
    assert found.level == pytest.approx(0.05, rel=0.25)
    assert found.blur == pytest.approx(2, abs=0.5)
    assert found.misfit < 0.25


def test_an_image_without_noise_has_none(tissues: list[np.ndarray]) -> None:
    """Fine structures are not taken for it, for the good image has them too."""
    level, blur = estimate(scan(tissues[0], 1.0, gaussian_level=0.0), [tissues[0]], EM)
    assert level < 0.0005
    assert blur == pytest.approx(1, abs=0.1)


def test_another_kind_of_noise_is_told_by_its_misfit(tissues: list[np.ndarray]) -> None:
    """Lines that flicker: not white."""
    poor = scan(tissues[0], 1.0, gaussian_level=0.01)
    lines = 0.3 * np.random.default_rng(0).standard_normal((len(poor), 1))
    assert estimate(poor + lines, [tissues[0]], EM).misfit > 0.5


def test_sides_of_any_length_are_taken(tissues: list[np.ndarray]) -> None:
    """As the middle of an image, with sides that can be scaled down."""
    poor = scan(tissues[0], 0.0, gaussian_level=0.05)[:57, :83]
    found = estimate(poor, [tissues[0][:227, :255]], EM)
    assert found.level == pytest.approx(0.05, rel=0.5)


@pytest.mark.parametrize("good", [False, True])
@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.random.default_rng(0).random((31, 200)), "31 x 200 pixels; expected at least 32 x 32"),
        (np.random.default_rng(0).random((2, 200, 200)), "2 x 200 x 200 pixels; expected"),
        (np.full((200, 200), 0.3), "is the same grey everywhere"),
        (np.full((200, 200), math.nan), "has values that are not numbers"),
    ],
)
def test_unusable_images_are_refused(good: bool, image: np.ndarray, words: str) -> None:
    """In one line that says which of both kinds it is."""
    noise = np.random.default_rng(1).random((160, 160))
    images = (noise, [noise, image]) if good else (image, [noise])
    with pytest.raises(InputError) as error:
        estimate(*images, EM)
    what = "a good image" if good else "the poor image"
    assert str(error.value).startswith(f"--emulate-noise: {what} ")
    assert (words.replace("32 x 32", "128 x 128") if good else words) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_crappifier_without_a_level_is_refused() -> None:
    """With one that has it."""
    noise = np.random.default_rng(1).random((160, 160))
    with pytest.raises(OptionError, match=r"--crappifier no_crap: has no level .* em_AG"):
        estimate(noise, [noise], get("no_crap"))


@pytest.mark.parametrize(("shape", "tile"), [((150, 201), 64), ((64, 64), 64), ((40, 33), 33)])
def test_white_noise_has_its_variance_in_every_ring(shape: tuple[int, int], tile: int) -> None:
    """On average over rings as over images, and as remainder."""
    rng = np.random.default_rng(0)
    images = [5 + 0.2 * rng.standard_normal(shape) for _ in range(60)]
    power = np.mean([spectrum(image, tile) for image in images], axis=0)
    assert ring_weights(tile).shape == power.shape
    assert ring_weights(tile).sum() == pytest.approx(1)
    np.testing.assert_allclose(power, 0.04, rtol=0.25)
    assert np.sum(ring_weights(tile) * power) == pytest.approx(0.04, rel=0.02)
    assert np.mean([remainder(image) for image in images]) == pytest.approx(0.04, rel=0.06)


def test_straight_structures_and_spots_leave_nothing() -> None:
    """Edges along an axis, slopes, and few bright pixels; the same image with noise has it."""
    image = np.zeros((100, 100))
    image[:, 30:] += 0.5
    image[70:] += np.linspace(0, 1, 100)
    image[::20, ::20] += 1
    assert remainder(image) == pytest.approx(FLOOR)
    noisy = image + 0.1 * np.random.default_rng(0).standard_normal(image.shape)
    assert remainder(noisy) == pytest.approx(0.01, rel=0.2)


def test_waves_are_in_the_ring_of_their_frequency() -> None:
    """Sixteen periods per tile, whatever the direction."""
    y, x = np.mgrid[:128, :128] * (2 * np.pi / 64)
    for wave in (np.sin(16 * x), np.sin(16 * y + 1), np.sin(8 * x + 13.86 * y)):
        power = spectrum(wave, 64) * ring_weights(64)
        assert np.argmax(power) == 14  # the first ring is the second frequency
        assert power[12:17].sum() > 0.95 * power.sum()
