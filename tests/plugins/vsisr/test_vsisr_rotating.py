"""Rotation by cubic splines, against scipy, by scipy and by torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from scipy import ndimage
from vemctl_vsisr.canvases import crop_start, rotation_map
from vemctl_vsisr.rotating import Rotation, SplineSampling, sample

SHAPES = [(20, 26), (33, 21), (7, 40), (1, 9), (2, 3), (64, 64)]
ANGLES = [0, 60, 120, 90, 180, -60, 45, 17.3]


def planes_of(n: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return noise."""
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


def by_torch(shape, angle: float, planes: torch.Tensor, *, reshape: bool) -> torch.Tensor:
    """Rotate on the way that a GPU goes."""
    matrix, offset, canvas = rotation_map(shape, angle, reshape=reshape)
    return sample(planes, matrix, offset, canvas)


@pytest.mark.parametrize("reshape", [True, False])
@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("shape", SHAPES)
def test_planes_are_rotated_as_by_scipy(shape, angle: float, reshape: bool):
    """On both ways, with the same size and the same pixels inside."""
    planes = planes_of(2, *shape)
    expected = np.stack([ndimage.rotate(p, angle, reshape=reshape) for p in planes.numpy()])
    rotation = Rotation(shape, angle, reshape=reshape, device="cpu")
    assert rotation.shape == expected.shape[1:]
    np.testing.assert_allclose(rotation(planes).numpy(), expected, rtol=0, atol=1e-12)
    made = by_torch(shape, angle, planes, reshape=reshape).numpy()
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [60, 120])
def test_windows_are_rotated_as_published(angle: float):
    """What enters the published network is reproduced to single precision."""
    _, arrays, _ = load_fixture("vsisr_rotation")
    volume = arrays["volume"].astype(np.float32)
    low, high = volume.min(), volume.max()
    unit = torch.from_numpy((volume - low) / (high - low + np.float32(1e-7))).clamp_(0, 1)
    rotation = Rotation(volume.shape[1:], angle, reshape=True, device="cpu")
    for made in (rotation(unit), by_torch(rotation.source, angle, unit, reshape=True)):
        assert made.dtype == torch.float32
        np.testing.assert_allclose(made[:7].numpy(), arrays[f"rotated{angle}"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_plane_does_not_depend_on_its_batch(dtype: torch.dtype):
    """To the last bit, on both ways."""
    planes = planes_of(5, 37, 51, dtype=dtype)
    rotation = Rotation((37, 51), 60, reshape=True, device="cpu")
    for rotate in (rotation, lambda p: by_torch((37, 51), 60, p, reshape=True)):
        together = rotate(planes)
        for plane, expected in zip(planes, together, strict=True):
            assert torch.equal(rotate(plane[None])[0], expected)


def test_several_threads_give_the_same():
    """Planes that are rotated side by side come back in their order."""
    planes = planes_of(5, 30, 31)
    rotation = Rotation((30, 31), 60, reshape=True, device="cpu")
    threads = torch.get_num_threads()
    expected = rotation(planes)
    try:
        torch.set_num_threads(3)
        assert torch.equal(rotation(planes), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("crop", [(30, 40), (31, 39), (30, 61)])
def test_a_cut_computes_only_what_is_kept(crop):
    """The middle of a rotation, with the published rounding, has the numbers of the whole."""
    planes = planes_of(1, 45, 50)
    whole = Rotation((45, 50), 60, reshape=True, device="cpu")
    part = Rotation((45, 50), 60, reshape=True, crop=crop, device="cpu")
    top, left = (crop_start(n, c) for n, c in zip(whole.shape, crop, strict=True))
    expected = whole(planes)[:, top : top + crop[0], left : left + crop[1]]
    torch.testing.assert_close(part(planes), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("length", "cropped", "start"),
    [(68, 42, 13), (67, 42, 13), (69, 42, 13), (63, 33, 15), (64, 33, 15), (5, 5, 0), (4, 7, -2)],
)
def test_cuts_begin_where_the_published_program_begins(length: int, cropped: int, start: int):
    """Halves are rounded to even; what the original cannot cut is cut about the centre."""
    assert crop_start(length, cropped) == start


def test_nothing_is_done_where_nothing_moves():
    """A rotation by zero gives the planes, and whole numbers become float64."""
    planes = planes_of(2, 8, 9)
    rotation = Rotation((8, 9), 0, reshape=True, device="cpu")
    assert rotation(planes) is planes
    assert rotation(torch.ones(1, 8, 9, dtype=torch.int32)).dtype == torch.float64


def test_half_precision_comes_back_in_half():
    """Types that scipy does not know pass through single precision."""
    planes = planes_of(1, 12, 13, dtype=torch.float32).half()
    made = Rotation((12, 13), 60, reshape=True, device="cpu")(planes)
    expected = Rotation((12, 13), 60, reshape=True, device="cpu")(planes.float())
    assert made.dtype == torch.float16
    torch.testing.assert_close(made.float(), expected, rtol=0, atol=1e-3)


def test_other_planes_are_refused():
    """Of a map for one shape no other is sampled."""
    sampling = SplineSampling((4, 5), np.eye(2), np.zeros(2), (4, 5), device="cpu")
    with pytest.raises(ValueError, match="expected"):
        sampling(torch.zeros(1, 5, 4))


@pytest.mark.parametrize("rows", [1, 7])
def test_pieces_of_a_result_make_a_whole(monkeypatch, rows: int):
    """A result that is too large to be sampled at once is made of rows."""
    planes = planes_of(2, 20, 30)
    expected = by_torch((20, 30), 60, planes, reshape=True)
    monkeypatch.setattr("vemctl_vsisr.rotating.GPU_ELEMENTS", rows * 2 * expected.shape[2])
    assert torch.equal(by_torch((20, 30), 60, planes, reshape=True), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same():
    """Both ways agree, on the device as on the CPU."""
    planes = planes_of(3, 65, 50)
    expected = Rotation((65, 50), 60, reshape=True, device="cpu")(planes)
    made = Rotation((65, 50), 60, reshape=True, device="cuda")(planes.cuda())
    torch.testing.assert_close(made.cpu(), expected, rtol=0, atol=1e-12)
