"""Decoded chunks: the same voxels, within so many bytes, and each decoded once."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.volumes.conftest import make_data

from vemctl.errors import InputError
from vemctl.training.chunk_cache import SMALLEST_BOX, ChunkCache, box_shape, boxes
from vemctl.volumes.array_volume import ArrayVolume, make_header
from vemctl.volumes.volume import Header, Region, Triple


class Counting(ArrayVolume):
    """A volume in memory that counts readings."""

    num_reads = 0

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0):
        """Read and count."""
        self.num_reads += 1
        return super().read(region, channel=channel, timepoint=timepoint)


def counting(data: np.ndarray, axes: str = "zyx", chunk: Triple = (4, 8, 8)) -> Counting:
    """Make a volume of an array."""
    sizes = dict(zip("zyx", chunk, strict=True))
    chunks = [sizes.get(axis, 1) for axis in axes]
    return Counting(make_header(Path("v"), "array", axes, data, chunks=chunks), data)


def header(shape: Triple, chunk: Triple, dtype: str = "uint8") -> Header:
    """Describe a volume that is not there."""
    array = np.broadcast_to(np.zeros((), dtype), shape)
    return make_header(Path("v"), "array", "zyx", array, chunks=chunk)


@st.composite
def cases(draw: st.DrawFn):
    """Draw a volume's geometry, a cache's size, and regions."""
    shape = draw(st.tuples(*[st.integers(1, 40)] * 3))
    chunk = draw(st.tuples(*[st.integers(1, 20)] * 3))
    regions = []
    for _ in range(draw(st.integers(1, 6))):
        region = []
        for size in shape:
            start = draw(st.integers(0, size - 1))
            region.append(slice(start, draw(st.integers(start + 1, size))))
        regions.append(tuple(region))
    return shape, chunk, regions, draw(st.sampled_from([0, 500, 5000, 100_000]))


@given(cases())
def test_reading_is_what_the_volume_gives_within_the_bytes(case):
    """Any region, of any channel and time point, with room for all, some or none."""
    shape, chunk, regions, max_bytes = case
    data = make_data((2, 2, *shape), "uint16")
    volume = counting(data, "tczyx", chunk)
    cache = ChunkCache(max_bytes, box_bytes=600)
    for number, region in enumerate(regions):
        c, t = number % 2, number // 2 % 2
        read = cache.read(volume, region, channel=c, timepoint=t)
        assert np.array_equal(read, data[t, c][region])
        assert read.flags.c_contiguous
        read[:] = 0  # the caller's own
        assert cache.num_bytes <= max_bytes
        assert cache.num_bytes == sum(part.nbytes for part in cache._boxes.values())
        assert all(part.base is None for part in cache._boxes.values())


@given(
    st.tuples(*[st.integers(1, 3000)] * 3),
    st.tuples(*[st.integers(1, 200)] * 3),
    st.integers(1, 2**22),
)
def test_boxes_are_whole_chunks_within_their_room(shape, chunk, room):
    """One chunk may be larger than the room, several may not."""
    about = header(shape, chunk)
    box = box_shape(about, room)
    for length, unit, size in zip(box, about.chunk_shape, shape, strict=True):
        assert length == size or length % unit == 0
    assert math.prod(box) <= max(room, math.prod(about.chunk_shape))


def test_tiny_chunks_and_small_planes_are_read_together():
    """Planes along z, flat chunks along all axes."""
    assert box_shape(header((500, 64, 64), (1, 64, 64)), SMALLEST_BOX) == (128, 64, 64)
    assert box_shape(header((500, 4096, 4096), (1, 4096, 4096)), SMALLEST_BOX) == (1, 4096, 4096)
    assert box_shape(header((500, 4096, 4096), (8, 8, 8)), SMALLEST_BOX) == (128, 64, 64)
    assert box_shape(header((3, 20, 20), (1, 4, 4)), SMALLEST_BOX) == (3, 20, 20)


@given(st.integers(1, 30), st.data())
def test_boxes_cover_some_slices_once(depth, data):
    """Each voxel of the slices is in one region, none of the others is."""
    start = data.draw(st.integers(0, depth - 1))
    stop = data.draw(st.integers(start + 1, depth))
    seen = np.zeros((depth, 20, 33), int)
    for region in boxes(header(seen.shape, (4, 8, 8)), 1000, start, stop):
        seen[region] += 1
    assert (seen[start:stop] == 1).all()
    assert seen.sum() == (stop - start) * 20 * 33


def test_what_was_read_is_not_decoded_again():
    """The second reading costs nothing, a neighbouring one only what is new."""
    data = make_data((64, 256, 256))
    volume = counting(data, chunk=(32, 128, 128))
    cache = ChunkCache()
    region = (slice(0, 10), slice(100, 140), slice(100, 140))
    cache.read(volume, region)
    assert (cache.num_decoded, volume.num_reads) == (4, 1)
    cache.read(volume, region)
    assert (cache.num_decoded, volume.num_reads) == (4, 1)
    cache.read(volume, (slice(30, 40), *region[1:]))
    assert (cache.num_decoded, volume.num_reads) == (8, 2)
    cache.clear()
    assert cache.num_bytes == 0


def test_the_box_used_longest_ago_goes_first():
    """What is read again and again stays."""
    data = make_data((32 * 4, 128, 128))
    volume = counting(data, chunk=(32, 128, 128))
    cache = ChunkCache(2 * 2**19)
    for z in (0, 1, 0, 2, 0, 3, 0):
        cache.read(volume, (slice(32 * z, 32 * z + 8), slice(0, 8), slice(0, 8)))
    assert cache.num_decoded == 4
    assert cache.num_bytes == 2 * 2**19


def test_a_copy_for_another_process_is_empty():
    """The bound is the same."""
    volume = counting(make_data((4, 8, 8)))
    cache = ChunkCache(12345)
    cache.read(volume, (slice(0, 1), slice(0, 1), slice(0, 1)))
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.max_bytes, copy.num_bytes, copy.num_decoded) == (12345, 0, 0)


def test_several_threads_read_the_same_cache():
    """Whatever they drive out for one another."""
    data = make_data((32, 64, 64), "uint16")
    volume = counting(data, chunk=(8, 16, 16))
    cache = ChunkCache(60_000, box_bytes=4096)
    rng = np.random.default_rng(0)
    corners = [tuple(int(rng.integers(n - 8)) for n in data.shape) for _ in range(400)]

    def check(corner: tuple[int, ...]) -> bool:
        region = tuple(slice(c, c + 8) for c in corner)
        return np.array_equal(cache.read(volume, region), data[region])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, corners))
    assert 0 < cache.num_bytes <= 60_000


def test_a_damaged_chunk_is_not_kept():
    """Its error comes each time."""

    class Damaged(Counting):
        def read(self, region: Region, *, channel: int = 0, timepoint: int = 0):
            raise InputError("v: damaged; copy it again")

    data = make_data((4, 8, 8))
    volume = Damaged(counting(data).header, data)
    cache = ChunkCache()
    for _ in range(2):
        with pytest.raises(InputError, match="damaged"):
            cache.read(volume, (slice(0, 1), slice(0, 1), slice(0, 1)))
    assert cache.num_bytes == 0
