"""Scores against the truth: those of other libraries, however the volume was cut."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from vemctl.quality.against_truth import NAMES, AgainstTruth, SliceScores
from vemctl.quality.comparison import scores_after_normalising
from vemctl.quality.similarity import HALO, SLICES, VOLUME, similarity_map
from vemctl.quality.slabs import Slab

SHAPE = (13, 26, 32)
RANGE = 255.0
WHOLE = ((), (), ())
MIB = 2**20


def volumes(
    shape: tuple[int, int, int] = SHAPE, dtype: str = "uint8", seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return noise, brighter with depth, and a noisier copy."""
    rng = np.random.default_rng(seed)
    depth = np.arange(shape[0])[:, None, None]
    truth = np.clip(90 + 3 * depth + 20 * rng.standard_normal(shape), 0, 255)
    prediction = np.clip(truth + 10 * rng.standard_normal(shape), 0, 255)
    return truth.astype(dtype), prediction.astype(dtype)


def judge(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    cuts: Sequence[Sequence[int]] = WHOLE,
    series: tuple[int, int] = (0, 0),
    judged: AgainstTruth | None = None,
) -> AgainstTruth:
    """Compare two volumes in slabs that end at the cuts along each axis, the last first."""
    judged = judged or AgainstTruth(RANGE)
    axes = [
        [slice(*ends) for ends in itertools.pairwise([0, *sorted(set(cut) - {0, size}), size])]
        for cut, size in zip(cuts, truth.shape, strict=True)
    ]
    for region in reversed(list(itertools.product(*axes))):
        slab = Slab(*series, region)
        read = slab.grown(HALO, truth.shape)
        judged.add(
            slab,
            truth[read],
            prediction[read],
            slab.within(read),
            None if mask is None else mask[read],
        )
    return judged


def assert_close(found: dict[str, float], expected: dict[str, float], tolerance: float) -> None:
    """Compare scores of the same names; those that are undefined are in both."""
    assert list(found) == list(expected)
    np.testing.assert_allclose(
        list(found.values()), list(expected.values()), rtol=0, atol=tolerance
    )


def by_other_libraries(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Return all scores of two whole volumes."""
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    scaled = [scores_after_normalising(*pair) for pair in zip(truth, prediction, strict=True)]
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    flat = [
        structural_similarity(*pair, data_range=RANGE, **gaussian)
        for pair in zip(truth, prediction, strict=True)
    ]
    return {
        "psnr": peak_signal_noise_ratio(truth, prediction, data_range=RANGE),
        "ssim_2d": float(np.mean(flat)),
        "ssim_3d": structural_similarity(truth, prediction, data_range=RANGE, **gaussian),
        "nrmse": normalized_root_mse(truth, prediction),
        "pearson": pearsonr(truth.ravel(), prediction.ravel()).statistic,
        "psnr_scaled": float(np.mean([each.psnr for each in scaled])),
        "ssim_scaled": float(np.mean([each.ssim for each in scaled])),
    }


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_scores_are_those_of_other_libraries(dtype: str) -> None:
    """Of the volume, and of its only channel."""
    truth, prediction = volumes(dtype=dtype)
    judged = judge(truth, prediction)
    expected = by_other_libraries(truth, prediction)
    assert tuple(expected) == NAMES
    assert_close(judged.overall(), expected, 1e-9)
    assert judged.channels() == {0: judged.overall()}
    assert judged.reasons == {}
    assert judged.notes == []
    assert judged.nonfinite == 0


def test_slices_are_those_of_other_libraries() -> None:
    """Each by itself, in the order of depth."""
    truth, prediction = volumes()
    slices = judge(truth, prediction, cuts=((4, 9), (), ()), series=(2, 1)).slices()
    assert [(each.timepoint, each.channel, each.z) for each in slices] == [
        (2, 1, z) for z in range(13)
    ]
    for each, *pair in zip(slices, truth, prediction, strict=True):
        assert (each.y, each.x) == ((0, 26), (0, 32))
        one = by_other_libraries(*(np.repeat(plane[None], 11, axis=0) for plane in pair))
        found = {name: getattr(each, name.removesuffix("_2d")) for name in one if name != "ssim_3d"}
        del one["ssim_3d"]
        assert_close(found, one, 1e-9)


def mixed_series() -> list[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
    """Return two channels at two time points, of different noise."""
    series = itertools.product(range(2), range(2))
    return [(each, *volumes(seed=number)) for number, each in enumerate(series)]


def test_channels_are_apart_and_overall_together() -> None:
    """The signal-to-noise ratio is that of the mean error; time points are together."""
    judged = AgainstTruth(RANGE)
    for series, truth, prediction in mixed_series():
        shift = (60 * series[1]) * np.ones((), np.uint8)
        judge(truth, np.maximum(prediction, shift), series=series, judged=judged)
    channels = judged.channels()
    assert list(channels) == [0, 1]
    assert [(each.timepoint, each.channel) for each in judged.slices()[::13]] == [
        (0, 0), (0, 1), (1, 0), (1, 1),
    ]  # fmt: skip
    for channel, scores in channels.items():
        pairs = [
            (truth, np.maximum(prediction, np.uint8(60 * channel)))
            for (_, other), truth, prediction in mixed_series()
            if other == channel
        ]
        truth, prediction = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        expected = by_other_libraries(truth, prediction)
        expected["ssim_3d"] = float(
            np.mean([by_other_libraries(*pair)["ssim_3d"] for pair in pairs])
        )
        assert_close(scores, expected, 1e-9)
    overall = judged.overall()
    errors = [10 ** (-scores["psnr"] / 10) for scores in channels.values()]
    assert overall["psnr"] == pytest.approx(-10 * math.log10(sum(errors) / 2), abs=1e-9)
    for name in ("ssim_2d", "ssim_3d", "psnr_scaled", "ssim_scaled"):
        mean = sum(scores[name] for scores in channels.values()) / 2
        assert overall[name] == pytest.approx(mean, abs=1e-12)


CUT = st.lists(st.integers(1, 30), max_size=4)


@settings(max_examples=20, deadline=None)
@given(z=CUT, masked=st.booleans(), broken=st.booleans())
def test_cuts_in_depth_make_no_difference(z: list[int], masked: bool, broken: bool) -> None:
    """With a mask and values that are no numbers too; slices are the same."""
    truth, prediction = volumes(dtype="float32")
    mask = np.random.default_rng(3).random(SHAPE) < 0.7 if masked else None
    if broken:
        truth[6, 20, 3] = prediction[2, 7, 30] = math.nan
    whole = judge(truth, prediction, mask=mask)
    cut = judge(truth, prediction, mask=mask, cuts=([at for at in z if at < 13], (), ()))
    assert_close(cut.overall(), whole.overall(), 1e-12)
    assert cut.nonfinite == whole.nonfinite
    for one, other in zip(cut.slices(), whole.slices(), strict=True):
        assert (one.z, one.y, one.x) == (other.z, other.y, other.x)
        for name in ("psnr", "ssim", "nrmse", "pearson", "psnr_scaled", "ssim_scaled"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(z=CUT, y=CUT, x=CUT, masked=st.booleans())
def test_windows_of_planes_make_no_difference(z, y, x, masked: bool) -> None:
    """But for the scaled scores, whose scale is that of a slice."""
    truth, prediction = volumes(dtype="uint16")
    mask = np.random.default_rng(3).random(SHAPE) < 0.7 if masked else None
    cuts = [[at for at in cut if at < size] for cut, size in zip((z, y, x), SHAPE, strict=True)]
    whole = judge(truth, prediction, mask=mask).overall()
    cut = judge(truth, prediction, mask=mask, cuts=cuts)
    scores = cut.overall()
    for name in ("psnr_scaled", "ssim_scaled"):
        del whole[name], scores[name]
    assert_close(scores, whole, 1e-12)
    assert sum((e.y[1] - e.y[0]) * (e.x[1] - e.x[0]) for e in cut.slices()) == truth.size


def test_slabs_that_are_left_out_are_not_counted() -> None:
    """The halo is context: its values have no part in any score but those of windows."""
    truth, prediction = volumes()
    slab = Slab(0, 0, (slice(5, 8), slice(0, 26), slice(0, 32)))
    read = slab.grown(HALO, SHAPE)
    assert read[0] == slice(0, 13)
    judged = AgainstTruth(RANGE)
    judged.add(slab, truth[read], prediction[read], slab.within(read))
    inside = truth[5:8], prediction[5:8]
    scores = judged.overall()
    assert [each.z for each in judged.slices()] == [5, 6, 7]
    expected = peak_signal_noise_ratio(*(each.astype(float) for each in inside), data_range=RANGE)
    assert scores["psnr"] == pytest.approx(expected, abs=1e-9)
    flat = similarity_map(*inside, data_range=RANGE, axes=SLICES)
    assert scores["ssim_2d"] == pytest.approx(flat.mean(), abs=1e-12)
    solid = similarity_map(truth, prediction, data_range=RANGE, axes=VOLUME)
    assert solid.shape[0] == 3  # the planes 5 to 7
    assert scores["ssim_3d"] == pytest.approx(solid.mean(), abs=1e-12)


def test_voxels_at_the_ends_have_no_window() -> None:
    """They count for all that needs none, in a slab of the first planes."""
    truth, prediction = volumes()
    slab = Slab(0, 0, (slice(0, 5), slice(0, 26), slice(0, 32)))
    read = slab.grown(HALO, SHAPE)
    judged = AgainstTruth(RANGE)
    judged.add(slab, truth[read], prediction[read], slab.within(read))
    assert math.isnan(judged.overall()["ssim_3d"])
    assert judged.reasons == {"ssim_3d": "too few planes (10), the window needs 11"}
    assert judged.overall()["psnr"] > 0


def test_masks_are_those_computed_by_hand() -> None:
    """Voxels outside are counted nowhere; windows may see them."""
    truth, prediction = volumes()
    mask = np.random.default_rng(3).random(SHAPE) < 0.6
    mask[3] = False
    judged = judge(truth, prediction, mask=mask)
    one, other = truth[mask].astype(float), prediction[mask].astype(float)
    flat = similarity_map(truth, prediction, data_range=RANGE, axes=SLICES)
    solid = similarity_map(truth, prediction, data_range=RANGE, axes=VOLUME)
    inner = slice(HALO, -HALO)
    scaled = [
        scores_after_normalising(*planes)
        for planes in zip(truth, prediction, mask, strict=True)
        if planes[2].any()
    ]
    assert len(scaled) == 12
    expected = {
        "psnr": peak_signal_noise_ratio(one, other, data_range=RANGE),
        "ssim_2d": flat[mask[:, inner, inner]].mean(),
        "ssim_3d": solid[mask[inner, inner, inner]].mean(),
        "nrmse": normalized_root_mse(one, other),
        "pearson": pearsonr(one, other).statistic,
        "psnr_scaled": np.mean([each.psnr for each in scaled]),
        "ssim_scaled": np.mean([each.ssim for each in scaled]),
    }
    assert_close(judged.overall(), expected, 1e-9)
    assert judged.nonfinite == 0
    empty = judged.slices()[3]
    assert math.isnan(empty.psnr)
    assert math.isnan(empty.ssim)
    assert math.isnan(empty.psnr_scaled)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_counted(value: float) -> None:
    """It is as outside the mask, but that windows must not touch it."""
    truth, prediction = volumes(dtype="float32")
    finite = np.ones(SHAPE, bool)
    for number, place in enumerate([(2, 3, 4), (6, 12, 15), (6, 12, 16)]):
        (truth, prediction)[number % 2][place] = value
        finite[place] = False
    judged = judge(truth, prediction)
    assert judged.nonfinite == 3
    assert judged.notes == ["3 voxels are not compared: NaN or infinite in either volume"]
    one, other = truth[finite].astype(float), prediction[finite].astype(float)
    scores = judged.overall()
    expected = peak_signal_noise_ratio(one, other, data_range=RANGE)
    assert scores["psnr"] == pytest.approx(expected, abs=1e-9)
    assert scores["pearson"] == pytest.approx(pearsonr(one, other).statistic, abs=1e-9)
    for name, axes in (("ssim_2d", SLICES), ("ssim_3d", VOLUME)):
        similarity = similarity_map(truth, prediction, data_range=RANGE, axes=axes)
        assert np.isnan(similarity).any()
        assert scores[name] == pytest.approx(np.nanmean(similarity), abs=1e-12)
    scaled = [scores_after_normalising(*p) for p in zip(truth, prediction, finite, strict=True)]
    assert scores["psnr_scaled"] == pytest.approx(np.mean([s.psnr for s in scaled]), abs=1e-12)
    assert scores["ssim_scaled"] == pytest.approx(np.mean([s.ssim for s in scaled]), abs=1e-12)
    masked = judge(truth, prediction, mask=finite)
    assert_close(masked.overall(), scores, 1e-12)
    assert masked.nonfinite == 0  # of those that were asked for


def test_equal_volumes_are_perfect() -> None:
    """With an infinite signal-to-noise ratio."""
    truth = volumes()[0]
    scores = judge(truth, truth.copy(), cuts=((5,), (), ())).overall()
    assert scores["psnr"] == math.inf
    assert scores["nrmse"] == 0
    assert [scores[name] for name in ("ssim_2d", "ssim_3d", "pearson")] == pytest.approx([1] * 3)
    assert scores["ssim_scaled"] == pytest.approx(1, abs=1e-4)


def test_a_constant_truth_has_no_scores_that_need_contrast() -> None:
    """And says why."""
    prediction = volumes()[1]
    judged = judge(np.full(SHAPE, 7, np.uint8), prediction)
    scores = judged.overall()
    assert all(scores[name] > 0 for name in ("psnr", "ssim_2d", "ssim_3d", "nrmse"))
    assert judged.reasons == {
        "pearson": "the truth is constant",
        "psnr_scaled": "no slice of the truth has contrast",
        "ssim_scaled": "no slice of the truth has contrast",
    }
    assert judged.notes == [
        "pearson: the truth is constant",
        "psnr_scaled, ssim_scaled: no slice of the truth has contrast",
    ]
    empty = judge(np.zeros(SHAPE, np.uint8), prediction).reasons
    assert empty["nrmse"] == "the truth is 0 everywhere"
    flat = judge(prediction, np.full(SHAPE, 7, np.uint8))
    assert flat.reasons == {"pearson": "the prediction is constant"}


def test_slices_without_contrast_have_no_part_in_the_scaled_scores() -> None:
    """Those that have some are averaged."""
    truth, prediction = volumes()
    expected = judge(truth, prediction).slices()[0]
    truth[1:] = 50
    scores = judge(truth, prediction, cuts=((4,), (), ())).overall()
    assert scores["psnr_scaled"] == pytest.approx(expected.psnr_scaled, abs=1e-12)
    assert scores["ssim_scaled"] == pytest.approx(expected.ssim_scaled, abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "undefined"),
    [
        ((5, 26, 32), {"ssim_3d": "too few planes (5), the window needs 11"}),
        (
            (12, 10, 32),
            dict.fromkeys(
                ("ssim_2d", "ssim_3d"), "the slices have 10 x 32 pixels, the window needs 11 x 11"
            ),
        ),
        (
            (12, 26, 6),
            dict.fromkeys(
                ("ssim_2d", "ssim_3d"), "the slices have 26 x 6 pixels, the window needs 11 x 11"
            )
            | dict.fromkeys(
                ("psnr_scaled", "ssim_scaled"),
                "the slices have 26 x 6 pixels, the window needs 7 x 7",
            ),
        ),
    ],
)
def test_volumes_smaller_than_a_window_have_the_other_scores(shape, undefined) -> None:
    """And say what is too short."""
    judged = judge(*volumes(shape), cuts=((2,), (), ()))
    scores = judged.overall()
    assert {name for name, value in scores.items() if math.isnan(value)} == set(undefined)
    assert judged.reasons == undefined
    assert all(isinstance(each, SliceScores) for each in judged.slices())
    assert all(math.isnan(each.ssim) == ("ssim_2d" in undefined) for each in judged.slices())


def test_nothing_has_no_scores() -> None:
    """Neither no slab nor an empty mask nor volumes of no numbers."""
    nothing = np.full(SHAPE, math.nan, np.float32)
    for judged in (
        AgainstTruth(RANGE),
        judge(*volumes(), mask=np.zeros(SHAPE, bool)),
        judge(nothing, nothing),
    ):
        assert all(math.isnan(value) for value in judged.overall().values())
        assert judged.reasons == dict.fromkeys(NAMES, "no voxel is counted")
    assert judged.nonfinite == nothing.size


def test_a_mask_of_the_border_has_no_similarity() -> None:
    """For no window fits there."""
    mask = np.zeros(SHAPE, bool)
    mask[:, :3] = True
    judged = judge(*volumes(), mask=mask)
    reason = "the window fits around no voxel that is counted"
    assert judged.reasons == dict.fromkeys(("ssim_2d", "ssim_3d", "ssim_scaled"), reason)


@pytest.mark.parametrize("data_range", [0, -1, math.nan])
def test_a_range_that_is_none_leaves_what_needs_none(data_range: float) -> None:
    """It says so, and nothing is divided by 0."""
    judged = judge(*volumes(), judged=AgainstTruth(data_range))
    reason = f"the data range is {data_range:g}, expected a number above 0"
    assert judged.reasons == dict.fromkeys(("psnr", "ssim_2d", "ssim_3d"), reason)
    assert judged.overall()["ssim_scaled"] > 0


def test_memory_does_not_grow_with_the_slab() -> None:
    """Of 16 x 1024 x 1024 voxels, less than 64 MiB besides the arrays: 4 bytes per voxel.

    Most of it is one plane on its common scale, eight bytes a pixel for each of a few copies.
    """
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (16, 1024, 1024), dtype=np.uint8)
    prediction = truth ^ 3
    judge(*volumes())  # what is imported or cached once
    tracemalloc.start()
    try:
        judge(truth, prediction)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * MIB
