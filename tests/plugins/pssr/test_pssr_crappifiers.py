"""Poor images of good ones: the published numbers, and what they should have been."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from parity import load_fixture
from vemctl_pssr.crappifiers import ALIASES, BROKEN, CRAPPIFIERS, Crappifier, Noise, get
from vemctl_pssr.scaling_down import rescale, zoom

from vemctl.errors import OptionError
from vemctl.plugin import Output
from vemctl.tiles.blend import to_dtype

WHITE = 255
_, STORED, _ = load_fixture("pssr_crappifiers")
_, ZOOMS, _ = load_fixture("pssr_zoom")
SINGLE = sorted(key.removesuffix("__out") for key in STORED if key.endswith("__out"))
PAIRS = sorted(key.removesuffix("__down") for key in STORED if key.endswith("__down"))
PUBLISHED_DEFECT = {"fluo_G_D"}  # whose fixture was made with it


class Replay:
    """Draws that were recorded, in their order."""

    def __init__(self) -> None:
        self.masks = [STORED["salt"], STORED["pepper"]]

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        assert shape == STORED["z"].shape
        return STORED["z"]

    def mask(self, shape: tuple[int, ...], probability: float) -> np.ndarray:
        assert (shape, probability) == (STORED["salt"].shape, 0.005)
        return self.masks.pop(0)

    def poisson(self, mean: np.ndarray) -> np.ndarray:
        counts = STORED["em_P_D_001__poisson_counts"]
        assert abs(mean - counts).max() < 8 * np.sqrt(mean.max())
        return counts


def crappifier_of(name: str) -> Crappifier:
    """Return the crappifier that a fixture was made with."""
    return get(name, as_original=name in PUBLISHED_DEFECT)


def eight_bit(crappifier: Crappifier) -> np.ndarray:
    """Return the poor image of the stored one in 8 bit, as the published training sets have it.

    Truncated as in the original, which leaves ``em_*`` as floats of 0..1: they are rounded.
    """
    values = crappifier.published(STORED["image"], Replay())
    if crappifier.white != WHITE:
        values = np.rint(values * WHITE)
    return values.astype(np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    """Return a fresh generator."""
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", SINGLE)
def test_published_eight_bit_images_come_out(name: str) -> None:
    """Exactly; whole numbers of `no_crap` may lie below themselves by a last bit."""
    crappifier, published = crappifier_of(name), STORED[f"{name}__float"]
    floats = crappifier.published(STORED["image"], Replay())
    factor = WHITE if name == "no_crap" else 1
    np.testing.assert_allclose(floats, factor * published, rtol=0, atol=1e-6)
    off = eight_bit(crappifier).astype(int) - STORED[f"{name}__out"]
    if name == "no_crap":
        whole = abs(floats - np.rint(floats)) < 1e-9
        assert set(np.unique(off[whole])) <= {-1, 0, 1}
        off = off[~whole]
    assert not off.any()


@pytest.mark.parametrize("name", PAIRS)
def test_published_pairs_come_out(name: str) -> None:
    """The one of low resolution, which is in [0, 1] or, without noise, of 8 bit."""
    published, image = STORED[f"{name}__down"], STORED["image"]
    if published.dtype == np.uint8:
        np.testing.assert_array_equal(eight_bit(get(name)), published)
        np.testing.assert_allclose(get(name)(image, Replay()), published / WHITE, atol=1e-6)
        return
    for made in (get(name).published(image, Replay()), get(name)(image, Replay())):
        np.testing.assert_allclose(made, published, rtol=0, atol=1e-6)
    rounded = np.rint(WHITE * published)
    near = abs(rounded - WHITE * published) < 0.499
    np.testing.assert_array_equal(eight_bit(get(name))[near], rounded.astype(np.uint8)[near])


def test_floats_give_what_eight_bit_gives() -> None:
    """Whole grey values as float32, which a training has; results are float32 in [0, 1]."""
    assert {*SINGLE, *PAIRS} == set(CRAPPIFIERS)
    image = STORED["image"]
    for name in CRAPPIFIERS:
        made = get(name)(image.astype(np.float32), Replay())
        assert made.dtype == np.float32
        # 8 bit are smoothed in 8 bit, or rounded, as published
        close = {"no_crap": 2.0, "em_downsampleonly": 0.5}.get(name, 0) / WHITE + 1e-6
        np.testing.assert_allclose(made, get(name)(image, Replay()), rtol=0, atol=close)


@pytest.mark.parametrize("case", [1, 2])
def test_published_ways_of_scaling_down_come_out(case: int) -> None:
    """Of sides that are no multiples of four, in floats and in 8 bit; and up again."""
    floats, whole = ZOOMS[f"input_{case}"], ZOOMS[f"input8_{case}"]
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-6)
    close(zoom(floats), ZOOMS[f"zoom_down_{case}"])
    close(zoom(floats, 4), ZOOMS[f"zoom_up_{case}"])
    close(rescale(floats), ZOOMS[f"rescale_down_{case}"])
    np.testing.assert_array_equal(zoom(whole), ZOOMS[f"zoom_down8_{case}"])
    np.testing.assert_allclose(rescale(whole) / WHITE, ZOOMS[f"rescale_down8_{case}"], atol=1e-12)
    for scale in (zoom, rescale):
        with pytest.raises(ValueError, match="expected at least 3 pixels along y and x, got 2"):
            scale(floats[:2])


def test_predictions_are_stored_as_published() -> None:
    """Clipped to [0, 1], and truncated to 8 bit."""
    _, stored, _ = load_fixture("pssr_normalise")
    output = Output("truncate", dtype="uint8", unit_range=True)
    np.testing.assert_array_equal(
        to_dtype(stored["pred"], np.dtype("uint8"), output), stored["pred8"]
    )


@pytest.mark.parametrize("name", sorted(CRAPPIFIERS))
def test_poor_images_of_any_good_one_are_in_range(name: str) -> None:
    """Black, white and faint ones too; the noise is the generator's, and workers can have it."""
    for value in (0, 1, WHITE):
        image = np.full((40, 64), value, np.float32)
        for as_original in (False, True):
            poor = get(name, as_original=as_original)(image, rng())
            assert poor.shape == (10, 16)
            assert np.isfinite(poor).all()
            assert poor.min() >= 0
            assert poor.max() <= 1 + 1e-6
    crappifier = pickle.loads(pickle.dumps(get(name)))
    first, again, other = (crappifier(STORED["image"], rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    plain = {"no_crap", "fluo_downsampleonly", "em_downsampleonly"}
    assert (first != other).any() == (name not in plain)


def test_defects_are_mended_unless_asked_for() -> None:
    """Nearly everything white, and the same noise in every tile, are published."""
    image = np.full((64, 64), 100, np.float32)
    broken = get("fluo_G_D", as_original=True).published(image, rng())
    assert broken.max() <= 1  # which 8 bit makes 0 or 1
    assert np.median(broken) == 1
    assert WHITE * get("fluo_G_D")(image, rng()).mean() == pytest.approx(100, abs=5)
    image[:, ::2] = 150
    image[:, 1::4] = 30
    published = [get("em_P_D_001", as_original=True)(image, rng(seed)) for seed in (1, 2)]
    np.testing.assert_array_equal(*published)
    ours = [get("em_P_D_001")(image, rng(seed)) for seed in (1, 2)]
    assert (ours[0] != ours[1]).mean() > 0.5
    assert (ours[0] != published[0]).mean() > 0.5


def noise_alone(name: str, image: np.ndarray, **changes: float) -> np.ndarray:
    """Return what a crappifier makes that keeps all pixels, 0..255."""
    crappifier = get(name)
    alone = replace(crappifier, shrink=lambda image: image)
    return WHITE * alone(image, rng(), replace(crappifier.noise, **changes))


def test_noise_has_the_size_that_its_level_says() -> None:
    """Its variance is the level times the brightness, or its deviation is the level."""
    image = np.full((400, 400), 0.4 * WHITE, np.float32)
    for name, changes, spread, stretched in (
        ("em_AG", {"gaussian_level": 0.02}, np.sqrt(0.02 * 0.4), False),
        ("fluo_AG_D", {"gaussian_level": 0.01}, np.sqrt(0.01 * 0.4), True),
        ("em_G_D_002", {"sigma": 0.05}, 0.05, False),
        ("fluo_G_D", {"sigma": 0.03}, 0.03, False),
    ):
        assert set(changes) == {get(name).strength}
        poor = noise_alone(name, image, **changes) / WHITE
        scale = poor.mean() / 0.4  # of those that are made as bright as the good image at most
        assert (abs(scale - 1) > 0.1) == stretched
        assert poor.std() / scale == pytest.approx(spread, rel=0.02)
    levels = np.tile(np.float32([51, 102, 153, 204]), (400, 100))  # four: white is four electrons
    counted = noise_alone("em_P_D_001", levels) / WHITE
    assert set(np.unique(counted)) == {0, 0.25, 0.5, 0.75, 1}
    assert counted[:, 0::4].mean() == pytest.approx(0.2, rel=0.02)
    assert counted[:, 0::4].var() == pytest.approx(0.2 / 4, rel=0.03)


def test_salt_and_pepper_are_where_they_should_be() -> None:
    """Shares of all pixels; what is both is black, in the published order."""
    image = np.full((400, 400), 100, np.float32)
    poor = noise_alone("fluo_SP_D", image, salt_pepper=0.2)
    values, shares = np.unique(poor.round(3), return_counts=True)
    np.testing.assert_allclose(values, [0, 100 * 100 / WHITE, 100], rtol=1e-4)  # made as bright
    np.testing.assert_allclose(shares / poor.size, [0.2, 0.64, 0.16], atol=0.005)


def test_a_blur_comes_before_the_noise() -> None:
    """It spreads a point as wide as it says, and leaves the noise white."""
    point = np.zeros((84, 84), np.float32)
    point[40, 40] = 200
    blurred = noise_alone("em_downsampleonly", point, blur=3.0)
    assert blurred.sum() == pytest.approx(200, rel=1e-4)
    along = blurred.sum(axis=0) / 200
    assert np.sqrt((along * (np.arange(84) - 40.0) ** 2).sum()) == pytest.approx(3, rel=0.01)
    flat = np.full((400, 400), 100, np.float32)
    noisy = noise_alone("em_G_D_002", flat, blur=3.0)
    assert abs(np.corrcoef(noisy[:, 1:].ravel(), noisy[:, :-1].ravel())[0, 1]) < 0.01


def test_images_that_cannot_be_made_poor_are_bugs() -> None:
    """Planes whose sides four divides are expected of callers, and noise that there can be."""
    for shape in ((8, 10), (0, 8), (1, 8, 8)):
        with pytest.raises(ValueError, match="expected a plane with sides that 4 divides"):
            get("em_AG")(np.zeros(shape, np.float32), rng())
    for name, value, words in (
        ("sigma", -1, "sigma: expected 0 or more, got -1"),
        ("blur", float("nan"), "blur: expected 0 or more, got nan"),
        ("salt_pepper", 1.5, "salt_pepper: expected at most 1, got 1.5"),
    ):
        with pytest.raises(ValueError, match=words):
            Noise(**{name: value})


def test_names_are_published_or_short() -> None:
    """All short ones mean a published one."""
    for short, name in ALIASES.items():
        assert get(short) is get(name) is CRAPPIFIERS[name]
        assert short not in CRAPPIFIERS
    assert get("em_AG").name == "em_AG_D_sameas_preprint"
    assert get("fluo_AG_SP").name == "new_crap_AG_SP"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (BROKEN, "the published function cannot run (it uses what it never made); use em_AG or"),
        ("em_AGG", "there is no such crappifier. Did you mean 'em_AG'? Expected one of no_crap,"),
        ("em_ag", "Did you mean 'em_AG'?"),
        ("Fluo_sp_ag_d_sameas_preprint", "Did you mean 'fluo_SP_AG_D_sameas_preprint'?"),
        ("em_aggg", "Did you mean 'em_AG'?"),
        ("", "--crappifier : there is no such crappifier. Expected one of"),
    ],
)
def test_other_names_are_refused(name: str, words: str) -> None:
    """With what there is, in one line."""
    with pytest.raises(OptionError) as error:
        get(name)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"--crappifier {name}: ")


@pytest.mark.parametrize("name", ["em_AG", "em_G_D_002", "em_P_D_001", "fluo_G_D"])
def test_centred_images_are_as_noisy_and_lie_where_they_should(name: str) -> None:
    """The mean of the four middle pixels, whatever the image's size; as noisy on average."""
    ramp = np.add.outer(np.arange(64), 2 * np.arange(96)).astype(np.float32) / 2
    clean = replace(get("em_downsampleonly").centred())(ramp, rng()) * WHITE
    np.testing.assert_allclose(clean, (ramp[1::4, 1::4] + ramp[2::4, 2::4]) / 2, rtol=1e-5)
    np.testing.assert_array_equal(
        get("em_downsampleonly").centred()(ramp[:32, :32], rng()) * WHITE, clean[:8, :8]
    )
    flat = np.full((400, 400), 100, np.float32)
    flat[:8, :8] = np.arange(64).reshape(8, 8)  # grey levels, which make counts
    published, centred = (
        each(flat, rng())[4:, 4:].std() for each in (get(name), get(name).centred())
    )
    assert centred == pytest.approx(published, rel=0.1)  # more of it is clipped
