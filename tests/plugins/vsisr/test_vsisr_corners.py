"""The generator on rotated planes, without computing what is empty around them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy import ndimage
from vemctl_vsisr import bands, corner_plan, memory
from vemctl_vsisr.bands import Band, Region, bands_of, content, interpolated_from, mask_of
from vemctl_vsisr.canvases import rotation_map
from vemctl_vsisr.corner_plan import (
    CornerPlan,
    frame_length,
    in_enlarged_frame,
    in_frame,
)
from vemctl_vsisr.corners import RotatedCall
from vemctl_vsisr.network import Generator
from vemctl_vsisr.rotating import Rotation

CASES = [  # blocks, plane, angle
    (1, (40, 40), 60),
    (1, (41, 40), 60),
    (2, (48, 25), 120),
    (2, (25, 44), 30),
    (3, (40, 50), 100),
    (1, (36, 37), 45),
    (4, (39, 40), 120),
    (2, (9, 50), 75),
    (1, (20, 20), 0),
]
MEASURED = """
from pathlib import Path
import torch
from vemctl_vsisr.corners import RotatedCall
from vemctl_vsisr.network import Generator

def most():
    # Not getrusage, which begins with what the process that starts this one has taken.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

torch.set_num_threads(1)
call = RotatedCall(Generator(7, 1, 1), (200, 200), 60)
before = most()
assert call.plan.worthwhile
windows = torch.rand(2, 7, *call.plan.canvas)
call(windows)
print(most() - before, call.memory(2))
"""


@pytest.fixture
def always(monkeypatch) -> None:
    """Let bands be used, and be low, however small the planes are."""
    monkeypatch.setattr(corner_plan, "LEAST_GAIN", -9)
    monkeypatch.setattr(corner_plan, "STAGE", 2)
    monkeypatch.setattr(bands, "PIXELS_PER_CALL", 0)
    monkeypatch.setattr(bands, "LEAST_ROWS", 4)


def seeded(blocks: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Generator:
    """Return a generator with such biases that what it makes of nothing is far from nothing."""
    random = torch.Generator().manual_seed(seed)
    generator = Generator(7, 1, blocks)
    with torch.no_grad():
        for parameter in generator.vars:
            parameter.normal_(generator=random)
            parameter.mul_(0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return generator.to(dtype)


def windows_of(
    n: int, plane: tuple[int, int], angle: float, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """Return windows of rotated noise."""
    random = torch.Generator().manual_seed(1)
    planes = torch.rand(7 * n, *plane, generator=random, dtype=torch.float64)
    rotated = Rotation(plane, angle, reshape=True, device="cpu")(planes)
    return rotated.view(n, 7, *rotated.shape[1:]).to(dtype)


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference over the largest value."""
    assert found.shape == wanted.shape
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


@lru_cache
@torch.no_grad()
def exact(blocks: int, plane: tuple[int, int], angle: float) -> torch.Tensor:
    """Return what the generator makes of a window, in double precision."""
    made: torch.Tensor = seeded(blocks)(windows_of(1, plane, angle))
    return made


@pytest.mark.usefixtures("always")
@torch.no_grad()
@pytest.mark.parametrize(("blocks", "plane", "angle"), CASES)
def test_gives_what_the_generator_gives(blocks: int, plane, angle: float) -> None:
    """All of the canvas, corners too, in double precision: so only rounding can differ."""
    windows = windows_of(1, plane, angle)
    untouched, call = windows.clone(), RotatedCall(seeded(blocks), plane, angle)
    assert call.plan.worthwhile
    assert difference(call(windows), exact(blocks, plane, angle)) < 1e-13
    assert torch.equal(windows, untouched)


@pytest.mark.usefixtures("always")
@torch.no_grad()
@pytest.mark.parametrize(("blocks", "plane", "angle"), CASES)
def test_single_precision_is_as_exact_as_the_generator_is(blocks: int, plane, angle) -> None:
    """Both round, most where they interpolate: the further from the origin, the less exact."""
    windows = windows_of(1, plane, angle, torch.float32)
    generator, wanted = seeded(blocks, torch.float32), exact(blocks, plane, angle)
    plain, found = generator(windows), RotatedCall(generator, plane, angle)(windows)
    assert found.dtype == torch.float32
    assert difference(plain, wanted) < 1e-5
    assert difference(found, wanted) < 1e-6 + 1.1 * difference(plain, wanted)
    assert difference(found, plain.double()) < 1e-5


@pytest.mark.usefixtures("always")
@torch.no_grad()
def test_windows_at_once_have_their_own_gates() -> None:
    """Several give what they give one by one, and the same again."""
    plane, generator = (30, 31), seeded(2)
    windows = windows_of(2, plane, 60) * torch.tensor([0.1, 4]).view(2, 1, 1, 1)
    call = RotatedCall(generator, plane, 60)
    together = call(windows)
    alone = torch.cat([call(window) for window in windows.split(1)])
    assert difference(together, alone) < 1e-13
    assert difference(together, generator(windows)) < 1e-13
    assert torch.equal(call(windows), together)


@torch.no_grad()
def test_all_blocks_on_a_plane_with_a_middle_of_its_corners(always) -> None:
    """All 16 blocks: there are corners that see neither the plane nor two borders at once."""
    plane = (170, 150)
    generator, windows = seeded(16, torch.float32), windows_of(1, plane, 60, torch.float32)
    call = RotatedCall(generator, plane, 60)
    assert call.plan.frame == (73, 74)
    wanted, found = generator(windows), call(windows)
    assert difference(found, wanted.double()) < 2e-5
    outside = torch.from_numpy(~mask_of(call.plan.tail, call.plan.enlarged))
    assert outside.float().mean() > 0.02
    assert wanted[..., outside].abs().max() > 0.05 * wanted.abs().max()


@pytest.mark.usefixtures("always")
@torch.no_grad()
def test_corners_count_in_the_gates() -> None:
    """What is empty is part of each block's averages: without it the result is another."""
    plane, generator = (40, 40), seeded(2)
    windows, call = windows_of(1, plane, 60), RotatedCall(generator, plane, 60)
    wanted = generator(windows)
    call._shares = [torch.zeros_like(share) for share in call._shares]
    assert difference(call(windows), wanted) > 1e-4


@pytest.mark.usefixtures("always")
@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_close(dtype: torch.dtype) -> None:
    """In half precision it is as near to the exact result as the generator is."""
    plane, generator = (40, 44), seeded(2, torch.float32)
    windows = windows_of(1, plane, 60, torch.float32)
    call, exact = RotatedCall(generator, plane, 60), generator(windows).double()
    with torch.autocast("cpu", dtype):
        rounded, found = generator(windows), call(windows)
    assert found.dtype == rounded.dtype == dtype
    assert difference(found, exact) < 1.5 * difference(rounded, exact) < 0.1


@torch.no_grad()
def test_small_planes_are_called_as_ever() -> None:
    """Where too little is saved the generator itself is called, which depends on shapes only."""
    generator, plane = seeded(2, torch.float32), (40, 40)
    call, windows = RotatedCall(generator, plane, 60), windows_of(2, plane, 60, torch.float32)
    assert not call.plan.worthwhile
    assert torch.equal(call(windows), generator(windows))
    sizes = {"frames": 7, "planes": 3, "num_blocks": 2}
    assert call.memory(2) == memory.call_bytes(2, *call.plan.canvas, **sizes)
    assert not CornerPlan((128, 128), 60, 16).worthwhile
    assert not CornerPlan((700, 700), 0, 16).worthwhile


def test_large_planes_are_worth_it() -> None:
    """The more the larger they are; mirrored angles alike; never less than the plane itself."""
    shares = [CornerPlan((n, n), 60, 16).share for n in (256, 512, 768)]
    assert 0.9 > shares[0] > shares[1] > shares[2] > 1 / 1.87
    assert CornerPlan((512, 512), 120, 16).share == pytest.approx(shares[1], rel=0.01)


def test_refuses_windows_of_another_canvas() -> None:
    """They would be taken for empty where they are not."""
    call = RotatedCall(seeded(1, torch.float32), (256, 256), 60)
    with pytest.raises(ValueError, match=r"expected \(n, 7, 350, 350\), got \(1, 7, 350, 351\)"):
        call(torch.zeros(1, 7, 350, 351))


@pytest.mark.parametrize("angle", [60, 120, 45, 90, 17.3, -60, 0])
@pytest.mark.parametrize("plane", [(20, 26), (33, 21), (7, 40), (2, 3), (64, 64)])
def test_content_is_all_that_a_rotation_fills(plane, angle: float) -> None:
    """And no more: one run of pixels in each row."""
    filled = ndimage.rotate(np.ones(plane), angle, order=1) != 0
    region = content(plane, angle)
    assert region.shape == filled.shape == rotation_map(plane, angle, reshape=True)[2]
    assert np.array_equal(mask_of_region(region), filled)


def mask_of_region(region: Region) -> np.ndarray:
    """Return which pixels are in it."""
    columns = np.arange(region.width)
    return (columns >= region.starts[:, None]) & (columns < region.stops[:, None])


@pytest.mark.parametrize("margin", [0, 1, 3, 9, 40])
def test_regions_are_dilated_by_squares(margin: int) -> None:
    """As far as the canvas goes."""
    region = Region(np.array([9, 9, 4, 2, 9, 9, 9]), np.array([0, 0, 6, 3, 0, 0, 0]), 9)
    square = np.ones((2 * margin + 1, 2 * margin + 1))
    wanted = ndimage.binary_dilation(mask_of_region(region), square)
    found = mask_of_region(region.dilated(margin))
    assert not np.any(wanted & ~found)
    if margin:  # between two rows a run may have more
        assert found.sum() <= wanted.sum() + 2


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (12, 5)])
def test_regions_are_enlarged_by_what_is_interpolated(size) -> None:
    """Each pixel is found in all that torch makes of it."""
    for row in range(size[0]):
        for column in range(size[1]):
            one = torch.zeros(1, 1, *size, dtype=torch.float64)
            one[0, 0, row, column] = 1
            wide = torch.nn.functional.interpolate(one, scale_factor=1.5, mode="bilinear")
            region = Region(np.full(size[0], size[1]), np.zeros(size[0], np.int64), size[1])
            region.starts[row], region.stops[row] = column, column + 1
            assert np.array_equal(mask_of_region(region.enlarged()), wide[0, 0].numpy() > 0)


def test_pixels_lie_between_two() -> None:
    """The repeated edge counts as the pixel at it."""
    before, behind = interpolated_from(7, 5)
    assert before.tolist() == [0, 0, 1, 1, 2, 3, 3]
    assert behind.tolist() == [0, 1, 2, 2, 3, 4, 4]


@pytest.mark.parametrize("most", [200, 1000, 10**6])
def test_bands_cover_a_region(most: int) -> None:
    """Once each, rows that hold nothing are left out, and large bands are low."""
    region = content((90, 70), 60).dilated(3)
    empty = Region(np.full(5, region.width), np.zeros(5, np.int64), region.width)
    padded = Region(
        np.concatenate([empty.starts, region.starts, empty.starts]),
        np.concatenate([empty.stops, region.stops, empty.stops]),
        region.width,
    )
    found = bands_of(padded, most)
    covered = mask_of(found, padded.shape)
    assert not np.any(mask_of_region(padded) & ~covered)
    assert covered.sum() == sum(band.pixels for band in found) < covered.size
    assert not covered[:5].any()
    assert not covered[-5:].any()
    for band in found:
        assert band.pixels <= most or band.bottom - band.top <= bands.LEAST_ROWS


def test_bands_end_at_the_borders() -> None:
    """With their margins, and what they are interpolated from begins at even pixels."""
    assert Band(1, 5, 2, 8).grown(2, (6, 20)) == (0, 6, 0, 10)
    assert Band(0, 9, 14, 20).source((30, 14)) == (0, 8, 6, 14)
    assert Band(1, 5, 2, 8).pixels == 24
    assert Band(0, 5, 0, 6).pixels_with_margin(1) == 56


@pytest.mark.parametrize("radius", [3, 5, 33])
@pytest.mark.parametrize("length", [5, 12, 13, 14, 15, 73, 74, 75, 76, 200, 201])
def test_frames_repeat_their_middle(length: int, radius: int) -> None:
    """Ends are their own; in between no border is seen, and enlarged pixels keep their phase."""
    frame, places = frame_length(length, radius), in_frame(length, radius)
    enlarged = in_enlarged_frame(length, radius)
    assert len(places) == length
    assert len(enlarged) == length * 3 // 2
    assert (length - frame) % 2 == 0
    near = np.minimum(np.arange(length), radius)
    far = np.minimum(length - 1 - np.arange(length), radius)
    assert np.array_equal(np.minimum(places, radius), near)
    assert np.array_equal(np.minimum(frame - 1 - places, radius), far)
    assert np.array_equal(enlarged % 3, np.arange(len(enlarged)) % 3)
    assert enlarged.max(initial=0) < frame * 3 // 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads the most memory as Linux counts it")
def test_no_more_memory_is_taken_than_told(alone: Callable[[str], str]) -> None:
    """By a process of its own; what is told is not far from what is taken either."""
    taken, told = map(int, alone(MEASURED).split())
    assert taken <= told < 2.5 * taken + memory.CALL_BYTES


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("always")
@torch.no_grad()
def test_cuda_gives_what_the_generator_gives() -> None:
    """In double precision."""
    plane, generator = (60, 41), seeded(2).cuda()
    windows = windows_of(2, plane, 60).cuda()
    found = RotatedCall(generator, plane, 60)(windows)
    assert difference(found, generator(windows)) < 1e-12
