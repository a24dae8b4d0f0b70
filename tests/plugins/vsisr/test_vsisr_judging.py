"""How restored slices are compared with true ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_vsisr.judging import (
    Score,
    blurred,
    enlarged_panel,
    fitted,
    foreground,
    judge,
    to_unit,
)
from vemctl_vsisr.samples import smoothed

EXACT = {"rtol": 0, "atol": 1e-9}


def test_measures_as_published() -> None:
    """Smoothing, blurs, mask, line and both ratios are the original's."""
    spec, arrays, _ = load_fixture("vsisr_metrics")
    truth, expected = arrays["gt_filtered"], arrays["linear"]
    np.testing.assert_allclose(smoothed(arrays["gt"], spec["params"]["sigma"]), truth, **EXACT)
    np.testing.assert_allclose(blurred(truth[2], 11, 11.0), arrays["blur11"], **EXACT)
    np.testing.assert_allclose(blurred(truth[2], 101, 50.0), arrays["blur101"], **EXACT)
    masked, whole = Score(), Score()
    for plane, true, line, mask in zip(
        arrays["prediction"], truth, expected, arrays["mask"], strict=True
    ):
        found = fitted(to_unit(plane), true)
        np.testing.assert_allclose(found, line, **EXACT)
        own = foreground(true, spec["params"]["thresh"])
        np.testing.assert_array_equal(own, mask)
        masked.add(found, true, own)
        whole.add(found, true, np.ones_like(own))
    assert masked.psnr == pytest.approx(arrays["psnr_mask"], abs=1e-9)
    assert whole.psnr == pytest.approx(arrays["psnr"], abs=1e-9)


def test_what_has_no_contrast_becomes_the_mean_of_the_truth() -> None:
    """And is in no mask."""
    truth = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(fitted(np.full((2, 3), 7.0), truth), np.full((2, 3), 2.5))
    assert not foreground(np.full((20, 20), 0.5), 0.01).any()


@pytest.mark.parametrize(
    ("restored", "expected"),
    [([1.0, 0.5], 20 * math.log10(1 / 0.5)), ([3.0, 0.5], 20 * math.log10(3.0 / 2.5))],
)
def test_the_peak_is_one_or_more(restored: list[float], expected: float) -> None:
    """The largest restored value where that is more; the other pixel is not in the mask."""
    score = Score()
    score.add(np.array([restored]), np.array([[0.5, 0.0]]), np.array([[1, 0]], np.uint8))
    assert score.psnr == pytest.approx(expected)


def test_equal_images_have_a_hundred_decibels_and_empty_masks_none() -> None:
    """Neither infinite nor an error."""
    plane = np.ones((2, 2))
    score = Score()
    score.add(plane, plane, plane)
    assert score.psnr == 100
    empty = Score()
    empty.add(plane, plane, np.zeros((2, 2)))
    assert math.isnan(empty.psnr)


def cell(windows: int, seed: int, number: int = 0) -> tuple[list[dict[str, torch.Tensor]], dict]:
    """Return all windows of a random cell, and its arrays."""
    rng = np.random.default_rng(seed)
    seen, truth = rng.random((windows + 6, 20, 22)), rng.random((windows + 6, 30, 33))
    mask = rng.random((windows + 6, 30, 33)) > 0.5
    samples = [
        {
            "input": torch.from_numpy(seen[None, i : i + 7]),
            "gt": torch.from_numpy(truth[None, i + 2 : i + 5]),
            "mask": torch.from_numpy(mask[None, None, i + 3].astype(np.uint8)),
            "place": torch.tensor([[number, i, windows]]),
        }
        for i in range(windows)
    ]
    return samples, {"truth": truth, "mask": mask}


def restore(seen: torch.Tensor) -> torch.Tensor:
    """Return middle slices that remember their window, enlarged."""
    planes = seen[:, 2:5] * seen[:, :1].mean()
    size = [3 * n // 2 for n in seen.shape[-2:]]
    return torch.nn.functional.interpolate(planes + 0.3 * seen[:, :3], size)


@pytest.mark.parametrize("windows", [1, 2, 3, 6])
def test_planes_of_neighbouring_windows_are_averaged(windows: int) -> None:
    """As if all were restored first: two at the ends, three inside, none outside."""
    samples, arrays = cell(windows, seed=1)
    made = [
        [
            fitted(to_unit(plane), arrays["truth"][i + 2 + p])
            for p, plane in enumerate(restore(sample["input"])[0].numpy())
        ]
        for i, sample in enumerate(samples)
    ]
    masked, whole = Score(), Score()
    for j in range(windows):
        planes = [made[i][j - i + 1] for i in range(max(0, j - 1), min(windows, j + 2))]
        mean, truth = np.mean(planes, axis=0), arrays["truth"][j + 3]
        masked.add(mean, truth, arrays["mask"][j + 3])
        whole.add(mean, truth, np.ones_like(truth))
    found = judge(restore, samples, cells=True)
    assert found.metrics["val_psnr_masked"] == pytest.approx(masked.psnr, abs=1e-9)
    assert found.metrics["val_psnr"] == pytest.approx(whole.psnr, abs=1e-9)
    assert list(found.panels) == ["input", "output", "target"]
    np.testing.assert_array_equal(found.panels["target"], arrays["truth"][windows // 2 + 3])
    assert {panel.shape for panel in found.panels.values()} == {(30, 33)}


def test_cells_are_scored_by_themselves() -> None:
    """Neither their planes nor their pixels are mixed; the mean counts."""
    both = [cell(3, seed=n, number=n)[0] for n in (0, 1)]
    alone = [judge(restore, samples, cells=True).metrics for samples in both]
    found = judge(restore, both[0] + both[1], cells=True).metrics
    for name, value in found.items():
        assert value == pytest.approx((alone[0][name] + alone[1][name]) / 2)


def test_pairs_are_scored_plane_by_plane() -> None:
    """Nothing is averaged; all pixels of all pairs count alike."""
    rng = np.random.default_rng(3)
    samples, score = [], Score()
    for n in range(2):
        seen, truth = torch.rand(1, 7, 20, 20), rng.random((1, 3, 30, 30))
        mask = rng.random((1, 3, 30, 30)) > 0.4
        place = torch.tensor([[0, n, 2]])
        arrays = {"gt": torch.from_numpy(truth), "mask": torch.from_numpy(mask.astype(np.uint8))}
        samples.append({"input": seen, "place": place, **arrays})
        for plane, true, inside in zip(restore(seen)[0].numpy(), truth[0], mask[0], strict=True):
            score.add(fitted(to_unit(plane), true), true, inside)
    found = judge(restore, samples, cells=False)
    assert found.metrics["val_psnr_masked"] == pytest.approx(score.psnr, abs=1e-4)
    assert found.warnings == []
    np.testing.assert_array_equal(found.panels["target"], samples[0]["gt"][0, 1])


def test_a_mask_without_a_pixel_is_told() -> None:
    """By a warning that names the option; the other ratio is there."""
    samples, _ = cell(1, seed=0)
    samples[0]["mask"][:] = 0
    found = judge(restore, samples, cells=True)
    assert math.isnan(found.metrics["val_psnr_masked"])
    assert found.metrics["val_psnr"] > 0
    (warning,) = found.warnings
    assert "--mask-threshold" in warning


def test_input_panels_grow_by_repeating_pixels() -> None:
    """To any size."""
    larger = enlarged_panel(np.array([[1, 2], [3, 4]]), (3, 3))
    np.testing.assert_array_equal(larger, [[1, 1, 2], [1, 1, 2], [3, 3, 4]])
