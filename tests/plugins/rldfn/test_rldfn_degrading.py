"""The blur that makes views of a fused volume in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from torch.nn import functional
from vemctl_rldfn.deconvolving import aligned
from vemctl_rldfn.degrading import Degradation
from vemctl_rldfn.psfs import theoretical_psf

SIDES = (19, 19, 19)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Return what the published program gave."""
    return load_fixture("rldfn_rl_deconv")[1]


@pytest.fixture(scope="module")
def degradation() -> Degradation:
    """Return one with functions that have no symmetry."""
    rng = np.random.default_rng(2)
    return Degradation(*rng.random((2, 17, 21, 19)).astype(np.float32))


def by_convolution(module: Degradation, volume: torch.Tensor) -> torch.Tensor:
    """Return both views, (n, 2, z, y, x), as the published program makes them, in float64."""
    return functional.conv3d(volume.double(), module.kernels[:, None].double(), padding=9)


@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_views_are_as_published(arrays, case: str):
    """To a few millionths of their largest value."""
    module = Degradation(*(arrays[f"{case}_psf{v}"] for v in "AB"))
    results = module(torch.from_numpy(arrays[f"{case}_img"]))
    for result, view in zip(results, "AB", strict=True):
        expected = arrays[f"{case}_deg{view}"]
        np.testing.assert_allclose(result, expected, rtol=5e-6, atol=1e-6 * expected.max())


def test_the_kernel_is_as_published(arrays):
    """19 voxels along each side, with the sum 1."""
    kernel = aligned(torch.from_numpy(arrays["c0_psfA"]), SIDES).numpy()
    np.testing.assert_allclose(kernel, arrays["c0_kernelA"], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 2, 3), (4, 8, 8), (10, 10, 11), (12, 17, 20), (9, 23, 40)])
def test_transforms_are_exact(degradation: Degradation, shape):
    """To a millionth of the largest value, for sizes below and above the kernel's."""
    volume = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(1))
    expected = by_convolution(degradation, volume)
    for k, result in enumerate(degradation(volume)):
        assert result.shape == volume.shape
        assert result.dtype == torch.float32
        difference = (result[:, 0] - expected[:, k]).abs().max()
        assert difference <= 1e-6 * expected.max()


def test_gradients_are_those_of_a_convolution(degradation: Degradation):
    """Of both views together, and of either alone."""
    generator = torch.Generator().manual_seed(4)
    volume = torch.rand(2, 1, 8, 11, 14, generator=generator)
    weights = torch.randn(2, 2, 8, 11, 14, generator=generator)
    for used in ((0, 1), (0,), (1,)):
        ours, exact = (volume.clone().requires_grad_() for _ in range(2))
        results = degradation(ours)
        sum((results[k][:, 0] * weights[:, k]).sum() for k in used).backward()
        blurred = by_convolution(degradation, exact)
        sum((blurred[:, k] * weights[:, k]).sum() for k in used).backward()
        difference = (ours.grad - exact.grad).abs().max()
        assert difference <= 2e-6 * exact.grad.abs().max()


def test_what_is_kept_fits_the_shape(degradation: Degradation):
    """One shape after the other, and the first again; nothing is left behind in a state dict."""
    volumes = [torch.rand(1, 1, *shape) for shape in ((8, 8, 8), (16, 12, 20), (8, 8, 8))]
    for volume in volumes:
        expected = by_convolution(degradation, volume)
        torch.testing.assert_close(degradation(volume)[1][:, 0], expected[:, 1].float())
    assert not degradation.state_dict()
    assert not list(degradation.parameters())


def test_precision_stays_whole_under_autocast(degradation: Degradation):
    """A half-precision volume is taken as float32, and its gradient comes back in its own type."""
    volume = torch.rand(1, 1, 8, 8, 8).bfloat16().requires_grad_()
    expected = degradation(volume.detach().float())[0]
    with torch.autocast("cpu", torch.bfloat16):
        result = degradation(volume)[0]
    assert torch.equal(result, expected)
    result.sum().backward()
    assert volume.grad.dtype == torch.bfloat16


def test_a_point_becomes_the_mirrored_function_of_its_view():
    """For the published program correlates; theoretical ones are their own mirror images."""
    psfs = [theoretical_psf(view) for view in "ab"]
    point = torch.zeros(1, 1, 24, 24, 24)
    point[..., 12, 12, 12] = 1
    for result, psf in zip(Degradation(*psfs)(point), psfs, strict=True):
        cut = psf[7:26, 7:26, 7:26]
        expected = torch.from_numpy(cut / cut.sum())
        torch.testing.assert_close(result[0, 0, 3:22, 3:22, 3:22], expected, rtol=0, atol=1e-8)
