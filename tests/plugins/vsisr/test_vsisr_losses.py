"""The loss of vsisr and the scaling of grey values against the published ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_vsisr import losses
from vemctl_vsisr.intensities import Limits
from vemctl_vsisr.losses import (
    SMALLEST_SIDE,
    apodise,
    reconstruction_loss,
    scaled_channels,
    spectrum,
    ssim,
)
from vemctl_vsisr.normalising import scale_samples_to_unit


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    """Return the fixture's arrays as tensors."""
    _, arrays, _ = load_fixture("vsisr_losses")
    return {name: torch.from_numpy(each) for name, each in arrays.items()}


def grey(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random grey values."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def gradient(truth, prediction, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss and its gradient for the prediction."""
    learnt = prediction.clone().requires_grad_()
    loss = reconstruction_loss(truth, learnt, **options)
    return loss.detach(), torch.autograd.grad(loss, learnt)[0]


@pytest.mark.parametrize("precision", ["float32", "partly", "float64"])
def test_loss_and_gradient_are_the_published_ones(reference, precision: str) -> None:
    """In single precision, with its spectral term in double precision, and all in double."""
    dtype = torch.float64 if precision == "float64" else torch.float32
    truth, prediction = (reference[name].to(dtype) for name in ("y_true", "y_pred"))
    loss, found = gradient(truth, prediction, double=precision == "partly")
    assert loss.dtype == found.dtype == dtype
    assert loss.item() == pytest.approx(reference["total"].item(), abs=1e-6)
    expected = reference["grad"].to(dtype)
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_every_term_is_the_published_one(reference) -> None:
    """Of every channel, and what its spectrum is made of."""
    truth, prediction = (scaled_channels(reference[name]) for name in ("y_true", "y_pred"))
    for channel in range(3):
        one, other = truth[:, [channel]], prediction[:, [channel]]
        terms = {
            "mse": (one - other).square().mean(),
            "ssim": ssim(one, other),
            "fft": (spectrum(one) - spectrum(other)).square().mean(),
        }
        for name, term in terms.items():
            expected = reference[name][channel].item()
            assert term.item() == pytest.approx(expected, abs=1e-6), name
    first = prediction[:, :1]
    torch.testing.assert_close(apodise(first), reference["apodized0"], rtol=0, atol=1e-6)
    shifted = torch.fft.fftshift(spectrum(first))  # the published one moves samples, too
    torch.testing.assert_close(shifted, reference["spectrum0"], rtol=0, atol=5e-5)


def test_terms_are_weighted(reference) -> None:
    """Without a term, the mean over channels lacks that term."""
    truth, prediction = reference["y_true"], reference["y_pred"]
    error = reference["mse"].mean()
    dissimilarity, spectral = 1 - reference["ssim"].mean(), reference["fft"].mean()
    for similar, frequent in ((0.0, 0.0), (1.0, 0.0), (0.0, 2.0), (0.3, 0.7)):
        found = reconstruction_loss(
            truth, prediction, ssim_weight=similar, spectrum_weight=frequent
        )
        expected = error + similar * dissimilarity + frequent * spectral
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_scale_and_offset_of_a_prediction_do_not_matter() -> None:
    """Of each channel by itself; its gradient is across them."""
    truth, prediction = grey(2, 2, 24, 22), grey(2, 2, 24, 22, seed=1).double()
    loss, _ = gradient(truth.double(), prediction)
    scale = torch.tensor([3.0, 0.2]).view(1, 2, 1, 1).double()
    other, found = gradient(truth.double(), scale * prediction - 7)
    torch.testing.assert_close(other, loss, rtol=1e-9, atol=0)
    inner = found.norm() * (prediction * scale).norm()
    assert abs((found * scale * prediction).sum()) < 1e-6 * inner
    assert found.sum().abs() < 1e-9 * found.norm()


def test_gradients_go_through_minima_and_maxima() -> None:
    """They are those of differences."""
    truth = grey(1, 2, 20, 21).double()
    prediction = grey(1, 2, 20, 21, seed=1).double()
    _, found = gradient(truth, prediction)
    for place in (prediction[0, 1].argmax(), prediction[0, 1].argmin(), torch.tensor(200)):
        step = torch.zeros_like(prediction)
        step[0, 1].view(-1)[place] = 1e-6
        up, down = (gradient(truth, prediction + sign * step)[0] for sign in (1, -1))
        slope = (up - down) / 2e-6
        torch.testing.assert_close(found[0, 1].view(-1)[place], slope, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("which", ["truth", "prediction", "both"])
def test_a_channel_of_one_value_is_finite(which: str, double: bool) -> None:
    """It counts as zeros; the other channels count as ever."""
    truth, prediction = grey(2, 3, 24, 20), grey(2, 3, 24, 20, seed=1)
    black = [truth.clone(), prediction.clone()]
    for each, name in zip((truth, prediction), ("truth", "prediction"), strict=True):
        if which in {name, "both"}:
            each[:, 1] = 0.3
            black[name == "prediction"][:, 1] = 0
    loss, found = gradient(truth, prediction, double=double)
    assert torch.isfinite(loss)
    assert torch.isfinite(found).all()
    expected = gradient(*black, double=double)[0]
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)
    alone = torch.cat([truth[:, ::2], prediction[:, ::2]]).split(2)
    _, other = gradient(*alone, double=double)
    torch.testing.assert_close(found[:, ::2], other * 2 / 3, rtol=1e-3, atol=1e-6)


def test_equal_planes_have_no_loss() -> None:
    """Nor a gradient to leave them."""
    truth = grey(2, 3, 20, 32)
    loss, found = gradient(truth, 2 * truth + 1)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(found).all()


def test_edges_meet_halfway() -> None:
    """Far from them nothing changes, and a repeated plane has no step."""
    planes = grey(1, 1, 40, 30)
    planes[:, :, :20] += 5
    made = apodise(planes)
    torch.testing.assert_close(made[..., 10:-10, 10:-10], planes[..., 10:-10, 10:-10])
    for axis in (-2, -1):
        ends = made.select(axis, 0) - made.select(axis, -1)
        before = planes.select(axis, 0) - planes.select(axis, -1)
        rest = math.sin(math.pi / 40)  # half a pixel from the edge
        inner = slice(10, -10)
        torch.testing.assert_close(ends[..., inner], rest * before[..., inner])


def test_half_precision_is_taken_as_single() -> None:
    """Under autocast too, where a spectrum of halves would overflow."""
    truth, prediction = grey(2, 3, 24, 24), grey(2, 3, 24, 24, seed=1)
    expected = reconstruction_loss(truth, prediction.half().float())
    with torch.autocast("cpu", torch.bfloat16):
        found = reconstruction_loss(truth, prediction.half())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((1, 3, 24, 24), (1, 3, 24, 25), "of the same"),
        ((3, 24, 24), (3, 24, 24), "of the same"),
        ((1, 1, 24, 19), (1, 1, 24, 19), "20 pixels a side or more, got 24 x 19"),
    ],
)
def test_other_shapes_are_refused(first, second, words: str) -> None:
    """With what is expected."""
    assert SMALLEST_SIDE == 2 * losses.EDGE == 20
    with pytest.raises(ValueError, match=words):
        reconstruction_loss(grey(*first), grey(*second))


def test_scaling_is_the_published_one() -> None:
    """Between the extremes, between percentiles, and where all values are equal."""
    spec, arrays, _ = load_fixture("vsisr_prctile_norm")
    values = arrays["input"]
    for name, between in (
        ("norm_0_100", spec["params"]["a"]),
        ("norm_15_992", spec["params"]["b"]),
    ):
        low, high = np.percentile(values, between)
        limits = Limits(np.array([low]), np.array([high]))
        np.testing.assert_allclose(limits.scaled(values, 0), arrays[name], rtol=0, atol=1e-6)
    for name, expected in (("input", "norm_0_100"), ("constant", "constant_norm")):
        (found,) = scale_samples_to_unit(torch.from_numpy(arrays[name])[None])
        np.testing.assert_allclose(found.numpy(), arrays[expected], rtol=0, atol=1e-6)


def test_samples_are_scaled_one_by_one() -> None:
    """Over their planes together."""
    samples = grey(3, 3, 7, 5) * torch.tensor([1.0, 20.0, 0.01]).view(3, 1, 1, 1) - 3
    found = scale_samples_to_unit(samples)
    assert found.shape == samples.shape
    assert found.amin((1, 2, 3)).tolist() == [0, 0, 0]
    torch.testing.assert_close(found.amax((1, 2, 3)), torch.ones(3), rtol=0, atol=1e-4)
    (alone,) = scale_samples_to_unit(samples[1:2])
    torch.testing.assert_close(found[1], alone, rtol=0, atol=0)


def test_half_precision_is_scaled_in_single() -> None:
    """The constant that keeps the quotient finite is less than a half can tell from zero."""
    values = torch.tensor([[1.0, 1.0], [2.0, 4.0]]).half()
    found = scale_samples_to_unit(values)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert scale_samples_to_unit(values.double()).dtype == torch.float64
