"""What a validation of pssr measures and shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from parity import load_fixture
from torch.nn import functional
from vemctl_pssr.judging import (
    METRICS,
    SCALED_AS,
    judge,
    norm_minmse,
    psnr,
    ssim,
)

from vemctl.nn import quality


@pytest.fixture(scope="module")
def batches() -> tuple[list[tuple[torch.Tensor, torch.Tensor]], np.ndarray]:
    """Return predictions and targets of one image and of two, and their published scores."""
    _, arrays, _ = load_fixture("pssr_metrics")
    gt, pred, bilinear = (
        torch.tensor(arrays[name])[None, None] / 255 for name in ("gt", "pred", "bilinear")
    )
    two = torch.cat([pred, bilinear]), torch.cat([gt, gt.flip(-1)])
    return [(pred, gt), two], arrays["torch_scores"]


def sample(seed: int = 0, frames: int = 1) -> dict[str, torch.Tensor]:
    """Return a smooth image, and frames that have a quarter of its pixels per axis."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 6, 8, generator=generator)
    hr = functional.interpolate(coarse, (48, 64), mode="bicubic").clamp(0, 1)
    lr = torch.rand(1, frames, 12, 16, generator=generator)
    lr[:, frames // 2] = functional.avg_pool2d(hr, 4)[:, 0]
    return {"lr": lr, "hr": hr}


def enlarged(lr: torch.Tensor) -> torch.Tensor:
    """Return the middle frame, four times as large, darker and of less contrast."""
    middle = lr[:, lr.shape[1] // 2, None]
    return 0.1 + 0.5 * functional.interpolate(middle, scale_factor=4, mode="bilinear")


def norm_ssim(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the similarity of what was brought to one scale."""
    normal_target, normal_prediction = norm_minmse(target, prediction)
    return ssim(normal_prediction, normal_target)


def norm_psnr(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the ratio of what was brought to one scale, in decibels."""
    normal_target, normal_prediction = norm_minmse(target, prediction)
    return psnr(normal_prediction, normal_target)


def test_metrics_are_the_published_ones(batches) -> None:
    """Of one image, and of a batch of two that is scaled as one."""
    pairs, expected = batches
    metrics = (ssim, psnr, norm_ssim, norm_psnr)
    found = [metric(*each).item() for each in pairs for metric in metrics]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_metrics_are_not_rounded_under_autocast(batches) -> None:
    """A context of low precision changes nothing, and halves are widened."""
    (prediction, target), _ = batches[0]
    for metric in (ssim, psnr, norm_ssim, norm_psnr):
        exact = metric(prediction, target)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(metric(prediction, target), exact)
        halves = metric(prediction.bfloat16(), target.bfloat16())
        assert halves.dtype == torch.float32
        assert halves.item() == pytest.approx(exact.item(), rel=0.05)


def test_similarity_has_zeros_beyond_the_edges() -> None:
    """So that edges weigh as much as the middle, and equal images have 1."""
    image = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    assert ssim(image, image).item() == pytest.approx(1)
    other = image.clone()
    other[..., 0, 0] = 1 - other[..., 0, 0]
    assert ssim(other, image).item() < 1
    assert ssim(image[..., :5, :5], image[..., :5, :5]).item() == pytest.approx(1)


def test_nothing_is_divided_by_0() -> None:
    """A constant prediction is 0, and so is all where the target has no contrast."""
    image = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    flat = torch.full_like(image, 0.3)
    normal, scaled = norm_minmse(image, flat)
    assert normal.std() > 0.2
    assert not scaled.any()
    assert not any(each.any() for each in norm_minmse(flat, image))
    assert math.isnan(norm_psnr(image, flat).item())
    assert psnr(image, image).item() == math.inf


@pytest.mark.parametrize("frames", [1, 5])
def test_a_validation_measures_the_output(frames: int) -> None:
    """As it is and fitted to the target, beside what needs no network."""
    first = sample(frames=frames)
    output, target = enlarged(first["lr"]), first["hr"]
    seen = []

    def loss(prediction: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        seen.append((prediction, wanted))
        return (prediction - wanted).abs().mean()

    found = judge(enlarged, [first], loss).metrics
    assert tuple(found) == METRICS
    assert torch.equal(seen[0][0], output)
    assert torch.equal(seen[0][1], target)
    middle = first["lr"][:, frames // 2, None]
    bicubic = functional.interpolate(middle, scale_factor=4, mode="bicubic")
    expected = {
        "val_loss": (output - target).abs().mean(),
        "val_psnr": quality.psnr(output, target),
        "val_ssim": ssim(output, target),
        "val_norm_psnr": norm_psnr(output, target),
        "val_norm_ssim": norm_ssim(output, target),
        "val_psnr_bicubic": quality.psnr(bicubic, target),
    }
    assert found == pytest.approx({name: value.item() for name, value in expected.items()})
    assert found["val_norm_ssim"] > found["val_ssim"] + 0.1
    assert found["val_psnr_bicubic"] > found["val_psnr"] + 3


def test_metrics_are_means_over_samples() -> None:
    """Each sample counts as much; those without contrast only where they can be judged."""
    empty = {"lr": torch.zeros(1, 1, 12, 16), "hr": torch.zeros(1, 1, 48, 64)}
    samples = [sample(), sample(1), empty]
    alone = [judge(enlarged, [each], functional.mse_loss).metrics for each in samples]
    found = judge(enlarged, samples, functional.mse_loss).metrics
    for name in METRICS:
        values = [each[name] for each in alone if not math.isnan(each[name])]
        assert len(values) == (2 if "norm" in name else 3)
        assert found[name] == pytest.approx(np.mean(values), rel=1e-6), name


@pytest.mark.parametrize("frames", [1, 3])
def test_panels_are_of_the_first_sample(frames: int) -> None:
    """Four of them, all of the size and with the contrast of the target."""
    first = sample(frames=frames)
    found = judge(enlarged, [first, sample(1, frames)], functional.mse_loss)
    assert list(found.panels) == list(SCALED_AS) == ["lr", "bicubic", "output", "target"]
    assert found.scaled_as == dict.fromkeys(found.panels, "target")
    for panel in found.panels.values():
        assert panel.shape == (48, 64)
        assert panel.dtype == np.float32
    middle = first["lr"][0, frames // 2].numpy()
    np.testing.assert_array_equal(found.panels["lr"], middle.repeat(4, 0).repeat(4, 1))
    np.testing.assert_array_equal(found.panels["target"], first["hr"][0, 0])
    np.testing.assert_array_equal(found.panels["output"], enlarged(first["lr"])[0, 0])
    assert np.abs(found.panels["bicubic"] - found.panels["target"]).mean() < 0.05


def test_a_validation_keeps_no_gradients() -> None:
    """Nor does it need those of the network."""
    scale = torch.ones((), requires_grad=True)
    made = []

    def upscale(lr: torch.Tensor) -> torch.Tensor:
        made.append(scale * enlarged(lr))
        return made[-1].bfloat16()

    judge(upscale, [sample()], functional.mse_loss)
    assert not made[0].requires_grad
    assert scale.grad is None
