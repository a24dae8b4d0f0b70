"""From options to what makes poor images, with noise that is given or fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vemctl_pssr import making_poor as module
from vemctl_pssr.crappifiers import CRAPPIFIERS, Noise, get
from vemctl_pssr.making_poor import PoorMaker
from vemctl_pssr.noise_estimate import NoiseEstimate
from vemctl_pssr.prepare_options import PrepareOptions
from vemctl_pssr.train_options import PoorOptions, TrainOptions

from vemctl.errors import OptionError

POOR, OTHER, GOOD = Path("scans/poor.tif"), Path("other.tif"), Path("good.tif")
EMULATING = TrainOptions(emulate_noise=(POOR,))


def maker(
    options: PoorOptions, volumes: dict[Path, np.ndarray] | None = None, good: Any = (GOOD,)
) -> tuple[PoorMaker, list[str]]:
    """Return what options ask for, and what was told."""
    told: list[str] = []
    return PoorMaker.of(options, (volumes or {}).__getitem__, good, told.append), told


def rng() -> np.random.Generator:
    """Return the same generator every time."""
    return np.random.default_rng(3)


class Estimates:
    """Stands for the fit: remembers what it was asked, and says what it is told to."""

    def __init__(self, *found: tuple[float, float, float]) -> None:
        self.found = [NoiseEstimate(level, blur, 1.0, misfit) for level, blur, misfit in found]
        self.asked: list[tuple[Any, ...]] = []

    def __call__(self, *asked: Any) -> NoiseEstimate:
        self.asked.append(asked)
        return self.found[(len(self.asked) - 1) % len(self.found)]


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> Estimates:
    """Replace the fit."""
    fake = Estimates((0.25, 1.5, 0.1))
    monkeypatch.setattr(module, "estimate", fake)
    return fake


def test_the_published_noise_is_the_usual_one() -> None:
    """Nothing is read or told for it."""
    for options in (PoorOptions(), TrainOptions(), PrepareOptions()):
        made, told = maker(options)
        assert made == PoorMaker(get("em_AG").centred(), get("em_AG").centred().noise)
        assert told == []
    assert made.name == "em_AG_D_sameas_preprint"
    usual = made.to_json()
    assert usual.pop("noise_level") == pytest.approx(0.05 * 16 / 9)
    assert usual == {"as_published": False, "blur": 0.0, "noise_smoothing": 3.0}
    published, _ = maker(PoorOptions(as_published=True))
    assert published == PoorMaker(get("em_AG"), get("em_AG").noise, as_published=True)
    assert published.to_json()["noise_level"] == 0.05


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            PoorOptions("em_AG", noise_level=0.1, noise_smoothing=0.0, blur=2.0),
            Noise(0.1, 0.0, blur=2.0),
        ),
        (PoorOptions("em_AG", noise_level=0.0), Noise(0.0, 3.0)),
        (PoorOptions("new_crap", salt_pepper=0.0, noise_level=0.3), Noise(0.3, 5.0, 0.0)),
        (PoorOptions("fluo_SP", salt_pepper=0.02), Noise(salt_pepper=0.02)),
        (PoorOptions("fluo_G_D", noise_level=0.1), Noise(sigma=0.1)),
        (PoorOptions("em_P", blur=1.0), Noise(blur=1.0, dose=9 / 16)),
    ],
)
def test_options_set_what_a_crappifier_has(options: PoorOptions, expected: Noise) -> None:
    """Zero too; all else stays as published."""
    made, _ = maker(options)
    assert made.noise == expected
    told = made.to_json()
    for option in ("noise_level", "noise_smoothing", "salt_pepper", "blur"):
        if getattr(options, option) is not None:
            assert told.get(option, 0.0) == getattr(options, option)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (PoorOptions(salt_pepper=0.1), "--salt-pepper: em_AG_D_sameas_preprint has no such noise;"),
        (PoorOptions("em_P", noise_level=0.1, noise_smoothing=1.0),
         "--noise-level, --noise-smoothing: em_P_D_001 has no such noise; leave it out"),
        (PoorOptions("em_G_D_002", noise_smoothing=0.0),
         "--noise-smoothing: em_G_D_002 has no such noise"),
        (PoorOptions("fluo_SP", noise_level=0.0), "--noise-level: fluo_SP_D has no such noise"),
        (PoorOptions("no_crap", salt_pepper=0.0), "--salt-pepper: no_crap has no such noise"),
        (PoorOptions("em_AG_P_D_001"), "--crappifier em_AG_P_D_001: the published function cannot"),
        (replace(EMULATING, noise_level=0.1, blur=1.0),
         "--emulate-noise with --noise-level, --blur: it is fitted; leave one of them out"),
        (replace(EMULATING, crappifier="fluo_SP"), "--emulate-noise: fluo_SP_D has no level of "
         "noise to fit; use another --crappifier, such as em_AG"),
    ],
)  # fmt: skip
def test_what_a_crappifier_has_not_is_refused(options: PoorOptions, words: str) -> None:
    """Before anything is read, in one line."""
    with pytest.raises(OptionError) as error:
        maker(options)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(CRAPPIFIERS))
def test_poor_images_are_a_quarter_and_in_range(name: str) -> None:
    """Of the crappifier with the noise that was asked for, from the generator that is given."""
    image = np.random.default_rng(0).random((32, 40), np.float32)
    made, _ = maker(PoorOptions(name, blur=0.5))
    poor = made(image, rng())
    assert (poor.shape, poor.dtype) == ((8, 10), np.float32)
    assert 0 <= poor.min() < poor.max() <= 1
    np.testing.assert_array_equal(poor, made(image, rng()))
    centred = get(name).centred()
    expected = centred(255 * image, rng(), replace(centred.noise, blur=0.5))
    np.testing.assert_allclose(poor, expected.clip(0, 1), atol=1e-6)


def test_defects_are_kept_where_that_is_asked_for() -> None:
    """Almost all is white: one of 255, as published."""
    image = np.full((16, 16), 0.5, np.float32)
    assert maker(PoorOptions("fluo_G_D", as_published=True))[0](image, rng()).max() <= 1 / 255
    assert maker(PoorOptions("fluo_G_D"))[0](image, rng()).mean() == pytest.approx(0.5, abs=0.2)


def test_noise_is_fitted_to_real_images(estimates: Estimates) -> None:
    """The median over some slices of all of them; the rest of the noise is as it was asked."""
    estimates.found = [
        NoiseEstimate(level, blur, 1.0, 0.1)
        for level, blur in ((0.1, 0.0), (0.2, 3.0), (0.9, 1.0), (0.3, 2.0))
    ]
    scan = np.arange(1, 8, dtype=np.uint8)[:, None, None] * np.ones((1, 40, 40), np.uint8)
    goods = tuple(Path(f"{n}.tif") for n in range(6))
    volumes = {POOR: scan, OTHER: scan[:1], **{
        path: np.full((3, 160, 160), 10 * (n + 1), np.uint8) for n, path in enumerate(goods)
    }}  # fmt: skip
    options = TrainOptions(emulate_noise=(POOR, OTHER), noise_smoothing=1.0)
    made, told = maker(options, volumes, goods)
    assert made.noise == Noise(0.25, 1.0, blur=1.5)
    assert told == [
        "fitted to poor.tif, other.tif: --noise-level 0.25 --blur 1.5 (of em_AG_D_sameas_preprint)"
        "; give these to have the same without the fit"
    ]
    assert len(estimates.asked) == 4
    for (image, good, crappifier, noise), z in zip(
        estimates.asked, (1, 3, 5, 0), strict=True
    ):  # of seven slices those in the middle of thirds
        assert crappifier == get("em_AG").centred()
        assert noise == Noise(0.05 * (4 / 9) / (1 / 4), 1.0)
        assert [each.shape for each in good] == [(160, 160)] * 4
        np.testing.assert_allclose([each[0, 0] for each in good], np.arange(10, 50, 10) / 255)
        top = 7 if z else 1
        np.testing.assert_allclose(image, (z + 1) / top * 40 / 255, rtol=1e-6)


def test_an_image_of_another_kind_is_told(estimates: Estimates) -> None:
    """Where nothing that the crappifier makes is like it."""
    estimates.found = [NoiseEstimate(0.1, 0.0, 1.0, misfit) for misfit in (0.2, 0.6, 0.7)]
    volume = np.random.default_rng(0).integers(0, 255, (3, 160, 160)).astype(np.uint8)
    _, told = maker(EMULATING, {POOR: volume, GOOD: volume})
    assert len(told) == 2
    assert told[1].startswith("poor.tif is unlike what em_AG_D_sameas_preprint makes of the good")


@pytest.mark.parametrize(
    ("options", "dtype", "ends"),
    [
        (EMULATING, "uint8", (0, 255)),
        (EMULATING, "uint16", (0, 200)),
        (EMULATING, "float32", (0, 1)),
        (replace(EMULATING, hr_range="max"), "uint16", (0, 200)),
        (replace(EMULATING, hr_range="20,150"), "uint16", (20, 150)),
        (replace(EMULATING, hr_range="0%,50%"), "uint8", (0, 100)),
        (PrepareOptions(emulate_noise=(POOR,)), "uint8", (0, 255)),
        (PrepareOptions(emulate_noise=(POOR,)), "uint16", (0, 200)),
        (PrepareOptions(emulate_noise=(POOR,), hr_range="dtype"), "uint16", (0, 65535)),
    ],
)
def test_good_images_are_fitted_in_the_range_in_which_noise_is_added(
    options: PoorOptions, dtype: str, ends: tuple[float, float], estimates: Estimates
) -> None:
    """And real ones made as bright, whatever units they have."""
    factor = 1 / 200 if dtype == "float32" else 1
    good = (np.linspace(0, 200, 160 * 161).reshape(1, 160, 161) * factor).astype(dtype)
    maker(options, {GOOD: good, POOR: np.full((1, 40, 40), 3.0, np.float64)})
    ((image, (seen,), _, _),) = estimates.asked
    low, high = ends
    expected = ((good[0].astype(float) - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=0.006)  # percentiles of whole numbers
    np.testing.assert_allclose(image, seen.max(), rtol=1e-6)
    assert seen.dtype == image.dtype == np.float32
