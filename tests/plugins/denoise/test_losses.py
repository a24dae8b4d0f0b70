"""Losses and measures of quality against the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_denoise.losses import parse_loss

from vemctl.errors import OptionError
from vemctl.nn.quality import psnr, ssim

TOLERANCE = 2e-6


def fixture_images() -> tuple[dict, dict[str, np.ndarray], torch.Tensor, torch.Tensor]:
    """Return the fixture, and its prediction and target as tensors."""
    spec, arrays, _ = load_fixture("denoise_losses")
    return spec, arrays, torch.from_numpy(arrays["pred"]), torch.from_numpy(arrays["target"])


@pytest.mark.parametrize("number", range(6))
def test_losses_are_the_published_ones(number: int) -> None:
    """Every term and every sum, for all texts of the fixture."""
    spec, arrays, restored, target = fixture_images()
    losses = parse_loss(spec["params"]["loss_strings"][number])(restored, target)
    expected = {
        name.replace(f"term_{number}_", "loss_"): value
        for name, value in arrays.items()
        if name.startswith(f"term_{number}_")
    }
    assert set(losses) == {"loss", *expected}
    assert next(iter(losses)) == "loss"
    assert abs(losses["loss"].item() - arrays[f"total_{number}"]) < TOLERANCE
    for name, value in expected.items():
        assert abs(losses[name].item() - value) < TOLERANCE, name


def test_metrics_are_the_published_ones() -> None:
    """PSNR of what was predicted, SSIM of it clamped, in 3-D; z is too short for it."""
    _, arrays, restored, target = fixture_images()
    alike = ssim(restored.clamp(0, 1), target.clamp(0, 1), window=11, axes=(-3, -2, -1))
    assert abs(psnr(restored, target).item() - arrays["psnr"]) < 1e-4
    assert abs(alike.item() - arrays["ssim_metric"]) < TOLERANCE


def test_similarity_is_that_of_another_implementation() -> None:
    """In two and three dimensions it is what scikit-image computes, away from the borders."""
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    first, second = rng.random((2, 24, 26, 28))
    for axes, one, other in (((-3, -2, -1), first, second), ((-2, -1), first[0], second[0])):
        _, full = structural_similarity(
            one, other, gaussian_weights=True, sigma=1.5, truncate=10 / 3 - 0.1,
            use_sample_covariance=False, data_range=1.0, full=True,
        )  # fmt: skip
        inside = full[tuple(slice(5, n - 5) for n in full.shape)]
        ours = ssim(torch.from_numpy(one), torch.from_numpy(other), window=11, axes=axes)
        assert abs(ours.item() - inside.mean()) < 1e-5


def test_axes_are_counted_from_either_end() -> None:
    """The same axes by positive and by negative number."""
    first, second = torch.rand(2, 1, 1, 12, 14, 16, generator=torch.Generator().manual_seed(0))
    one = ssim(first, second, window=7, axes=(2, 3, 4))
    assert torch.equal(one, ssim(first, second, window=7, axes=(-3, -2, -1)))


def test_similarity_is_not_rounded_under_autocast() -> None:
    """A context of low precision changes nothing, for float32 and for what comes out of it."""
    first, second = torch.rand(2, 1, 1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    exact = ssim(first, second, window=9)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ssim(first, second, window=9), exact)
    halves = ssim(first.bfloat16(), second.bfloat16(), window=9)
    assert halves.dtype == torch.float32


def test_similarity_has_gradients() -> None:
    """Numerical and analytical gradients agree; equal images have none."""
    first, second = torch.rand(2, 1, 11, 12, generator=torch.Generator().manual_seed(0))
    first.requires_grad_()
    ssim(first, second, window=9).backward()
    step = torch.zeros_like(second)
    step[0, 5, 6] = 1e-2
    with torch.no_grad():
        change = ssim(first + step, second, window=9) - ssim(first - step, second, window=9)
    assert abs(change.item() / 2e-2 - first.grad[0, 5, 6].item()) < 1e-4
    same = second.clone().requires_grad_()
    ssim(same, second, window=9).backward()
    assert same.grad.abs().max() < 1e-5


def test_range_scales_out() -> None:
    """Images in grey levels, told their range, are as alike as in [0, 1]."""
    first, second = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    wide = ssim(255 * first, 255 * second, window=9, data_range=255)
    torch.testing.assert_close(wide, ssim(first, second, window=9), rtol=0, atol=1e-5)
    wide = psnr(255 * first, 255 * second, data_range=255)
    torch.testing.assert_close(wide, psnr(first, second), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "text", ["", "L1", "1*L1+", "1*l1", "x*L1", "1*L1+1*L1", "0*L1", "-1*SSIM", "1*VGG", "inf*L1"]
)
def test_a_text_that_is_no_loss_is_refused(text: str) -> None:
    """In one line that names the terms."""
    with pytest.raises(OptionError, match=r"--loss .*L1, MSE, Huber, SSIM") as error:
        parse_loss(text)
    assert "\n" not in str(error.value)


def test_spaces_and_powers_of_ten_are_understood() -> None:
    """Weights are any positive number."""
    assert parse_loss(" 1e-1*L1 + 2.5 * SSIM").weights == {"L1": 0.1, "SSIM": 2.5}
