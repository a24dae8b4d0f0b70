"""Joining orientations in Fourier space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from torch.nn import functional
from vemctl_vsisr.intensities import moving_mean
from vemctl_vsisr.optics import Optics
from vemctl_vsisr.recombining import JointReconstruction, top
from vemctl_vsisr.resizing import cubic_resize
from vemctl_vsisr.rotating import Rotation
from vemctl_vsisr.transfer_functions import build_optics, ideal_otf, shifted_pair

ANGLES = (0, 60, 120)


@pytest.fixture(scope="module")
def optics() -> Optics:
    """Return transfer functions of few pixels that end before their edge."""
    otf0 = ideal_otf(64, 18.0)
    return Optics(otf0, shifted_pair(otf0, 9), ideal_otf(96, 30.0) ** 0.9)


def doubles(array) -> torch.Tensor:
    """Return a tensor of float64."""
    return torch.from_numpy(np.asarray(array, np.float64))


def blobs(shape, sigma: float = 2.5) -> torch.Tensor:
    """Return a smooth plane with nothing near its border."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    places = rng.uniform(0.32, 0.68, (6, 2)) * shape
    return doubles(sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * sigma**2)) for a, b in places))


def enlarged_in_orientations(plane: torch.Tensor, angles=ANGLES) -> list[torch.Tensor]:
    """Return what an ideal network of linear interpolation makes of a plane in orientations."""
    shape = tuple(plane.shape)
    turned = [Rotation(shape, angle, reshape=True, device="cpu")(plane[None]) for angle in angles]
    return [
        functional.interpolate(each[None], scale_factor=1.5, mode="bilinear")[0, 0]
        for each in turned
    ]


def shift_between(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return how far the second plane is moved against the first, by least squares."""
    slopes = torch.stack(torch.gradient((first + second) / 2)).flatten(1).T
    moved = torch.linalg.lstsq(slopes, (first - second).flatten()[:, None]).solution
    return float(moved.norm())


def test_a_slice_is_joined_as_published():
    """To the single precision of OpenCV's resizing."""
    _, arrays, _ = load_fixture("vsisr_recombine")
    stored = Optics(arrays["otf0"] / 65535, arrays["otf1"] / 65535, arrays["apo"])
    joint = JointReconstruction(arrays["output"].shape, stored)
    images = [torch.from_numpy(arrays[f"sr{angle}"]) for angle in ANGLES]
    made = joint(images, torch.from_numpy(arrays["raw"]))
    assert made.dtype == torch.float64
    np.testing.assert_allclose(made.numpy(), arrays["output"], rtol=0, atol=0.01)


@pytest.mark.parametrize("shape", [(40, 50), (41, 54), (44, 61), (45, 61), (33, 33)])
def test_exact_registration_brings_orientations_together(optics: Optics, shape):
    """They miss each other by less than 0.05 pixels, and by more with the published roundings."""
    images = enlarged_in_orientations(blobs(shape))
    shifts = {}
    for registration in ("original", "exact"):
        joint = JointReconstruction(tuple(images[0].shape), optics, registration=registration)
        first, *others = joint.registered(images)
        torch.testing.assert_close(first, images[0], rtol=0, atol=0)
        shifts[registration] = [shift_between(first, other) for other in others]
    assert max(shifts["exact"]) < 0.05
    assert max(shifts["original"]) > max(0.1, 3 * max(shifts["exact"]))


def test_exact_registration_keeps_border_pixels(optics: Optics):
    """Quarter and half turns lose no row to rounding."""
    plane = torch.rand(26, 33, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    images = enlarged_in_orientations(plane, (0, 90, 180))
    joint = JointReconstruction(
        tuple(images[0].shape), optics, angles=(0, 90, 180), registration="exact"
    )
    first, *others = joint.registered(images)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=0.25)


def test_a_blurred_object_becomes_sharper_everywhere(optics: Optics):
    """Orientations that agree give back their object with its brightness, and nothing negative."""
    plane = blobs((48, 48))
    images = [65535 * image / image.max() for image in enlarged_in_orientations(plane)]
    joint = JointReconstruction((72, 72), optics, registration="exact", otf_grid="physical")
    made = joint(images, 65535 * plane / plane.max())
    assert made.min() >= 0
    assert float(made.mean()) == pytest.approx(float(images[0].mean()))
    correlation = torch.corrcoef(torch.stack([made.flatten(), images[0].flatten()]))[0, 1]
    assert correlation > 0.9
    assert made.max() > 1.05 * images[0].max()


@pytest.mark.parametrize("angles", [(0,), (0, 90), (0, 45, 90, 135)])
def test_any_number_of_orientations_is_joined(optics: Optics, angles):
    """One orientation takes nothing of the plain slice."""
    plane = blobs((32, 40))
    images = enlarged_in_orientations(plane, angles)
    joint = JointReconstruction((48, 60), optics, angles=angles)
    made = joint(images, plane)
    assert made.shape == (48, 60)
    assert float(made.mean()) == pytest.approx(float(images[0].mean()))
    if len(angles) == 1:
        torch.testing.assert_close(joint(images, torch.zeros_like(plane)), made)
    with pytest.raises(ValueError, match="angles"):
        joint([*images, images[0]], plane)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_slices_become_zero(optics: Optics, value: float):
    """A blank slice gives numbers, and one blank orientation leaves the others."""
    images = [torch.full_like(image, value) for image in enlarged_in_orientations(blobs((32, 40)))]
    joint = JointReconstruction((48, 60), optics)
    blank = joint(images, torch.full((32, 40), value))
    assert torch.isfinite(blank).all()
    if value == 0:
        assert not blank.any()
    images[0] = enlarged_in_orientations(blobs((32, 40)))[0]
    assert torch.isfinite(joint(images, blobs((32, 40)))).all()


def test_ideal_transfer_functions_never_cancel():
    """Where splines overshoot beside their edges the filter stays bounded."""
    sharp = build_optics(
        numerical_aperture=1.09,
        emission=488.0,
        excitation_aperture=0.4,
        excitation=488.0,
        pixel=92.6,
    )
    for wiener in (0.1, 0.01):
        joint = JointReconstruction((99, 120), sharp, wiener=wiener)
        for transfer in joint._filters:
            assert transfer.abs().max() < 20


def test_the_physical_grid_changes_the_result(optics: Optics):
    """And the pixel of the volume counts only there."""
    plane = blobs((32, 40))
    images = enlarged_in_orientations(plane)
    results = [
        JointReconstruction((48, 60), optics, otf_grid=grid, pixel=pixel)(images, plane)
        for grid, pixel in (
            ("original", None),
            ("original", 80.0),
            ("physical", None),
            ("physical", 92.6),
            ("physical", 80.0),
        )
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[2], results[3])
    assert not torch.allclose(results[0], results[2])
    assert not torch.allclose(results[2], results[4])


def test_memory_covers_what_is_held(optics: Optics):
    """At least the filters and the images."""
    images = enlarged_in_orientations(blobs((32, 40)))
    joint = JointReconstruction((48, 60), optics)
    held = sum(transfer.nbytes for transfer in joint._filters)
    assert joint.memory([tuple(image.shape) for image in images]) > held + 3 * 8 * 48 * 60


@pytest.mark.parametrize("percent", [0, 37.5, 50, 99, 99.9, 100])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (33, 45)])
@pytest.mark.parametrize("levels", [3, 100000])
def test_the_brightest_pixels_are_those_above_numpys_percentile(percent, shape, levels: int):
    """Also where many are equal; 0 where none is above."""
    values = np.random.default_rng(1).integers(0, levels, shape).astype(np.float64)
    above = values[values > np.percentile(values, percent)]
    expected = above.mean() if above.size else values.max()
    assert top(doubles(values), percent) == pytest.approx(expected, abs=1e-9)


def test_the_profile_along_z_is_the_published_one():
    """From normalised slices to smoothed brightness, the highest 1."""
    _, arrays, _ = load_fixture("vsisr_isotropic")
    tops = np.array([top(doubles(plane), 99.0) for plane in arrays["raw0"]])
    smooth = moving_mean(tops)
    np.testing.assert_allclose(smooth / smooth.max(), arrays["profile"], rtol=0, atol=1e-12)


def test_resizing_is_cubic_convolution():
    """Quadratic planes are reproduced inside up to the bend of the kernel; equal sizes are left."""
    plane = torch.arange(12.0, dtype=torch.float64).expand(10, 12)
    made = cubic_resize(plane, (15, 18))
    expected = (torch.arange(18, dtype=torch.float64) + 0.5) / 1.5 - 0.5
    torch.testing.assert_close(made[7, 4:-4], expected[4:-4], rtol=0, atol=0.05)
    assert cubic_resize(plane, (10, 12)) is plane
    odd = cubic_resize(plane[:9], (13, 18), scale=1.5)
    torch.testing.assert_close(odd[6, 4:-4], made[7, 4:-4])
    with pytest.raises(ValueError, match="times"):
        cubic_resize(plane, (15, 17), scale=1.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_joins_alike():
    """Double precision on the device as on the CPU."""
    _, arrays, _ = load_fixture("vsisr_recombine")
    stored = Optics(arrays["otf0"] / 65535, arrays["otf1"] / 65535, arrays["apo"])
    images = [doubles(arrays[f"sr{angle}"]).cuda() for angle in ANGLES]
    joint = JointReconstruction(arrays["output"].shape, stored, device="cuda")
    made = joint(images, doubles(arrays["raw"]).cuda())
    np.testing.assert_allclose(made.cpu().numpy(), arrays["output"], rtol=0, atol=0.01)
