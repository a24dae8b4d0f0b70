"""Lower levels: right values, in bounded memory, whenever they were stopped."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from unit.volumes.conftest import ignore_progress, make_data, make_layout, whole

from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.chunks import default_chunks, fit_chunks
from vemctl.volumes.pyramid import block_mean, build_pyramid, every_unit, level_factors


def test_coarse_axes_wait_for_fine_ones():
    """With planes five times as thick as wide, z is halved only when x and y have caught up."""
    assert level_factors((600, 4000, 4000), (50.0, 10.0, 10.0)) == [
        (1, 1, 1),
        (1, 2, 2),
        (1, 4, 4),
        (2, 8, 8),
        (4, 16, 16),
    ]
    assert level_factors((600, 600, 600), None) == [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
    assert level_factors((1, 600, 100), (8.0, 8.0, 8.0))[-1] == (1, 4, 4)
    assert level_factors((5000, 1, 1), (8.0, 1.0, 1.0))[-1] == (32, 1, 1)
    assert level_factors((20, 30, 40), None) == [(1, 1, 1)]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64", "float32"])
def test_block_means_are_means(dtype):
    """Rounded to the nearest for integers, also where a block is cut by the volume's end."""
    data = make_data((5, 6, 7), dtype)
    got = block_mean(data, (2, 1, 2))
    assert got.dtype == data.dtype
    assert got.shape == (3, 6, 4)
    wide = data.astype(np.longdouble)
    for z, y, x in np.ndindex(got.shape):
        mean = wide[2 * z : 2 * z + 2, y, 2 * x : 2 * x + 2].mean()
        tolerance = 0.51 if data.dtype.itemsize < 8 else 2.0**11
        assert abs(np.longdouble(got[z, y, x]) - mean) <= tolerance


def test_extreme_integers_do_not_wrap():
    """Blocks of the largest and smallest values keep their sign."""
    for dtype in ("uint8", "uint64", "int64", "uint32"):
        for value in (np.iinfo(dtype).max, np.iinfo(dtype).min):
            mean = block_mean(np.full((2, 2, 2), value, dtype), (2, 2, 2)).item()
            assert abs(mean - int(value)) <= 2**11


def test_a_level_is_the_mean_of_the_one_above(tmp_path: Path):
    """Across chunks and shards, for every channel and time point."""
    data = make_data((2, 2, 7, 300, 270))
    layout = make_layout("tczyx", data.shape, chunk_shape=(3, 32, 64), shard_shape=(6, 128, 128))
    store = BlockStore.create(tmp_path / "p", layout)
    for t, c in np.ndindex(2, 2):
        store.write(whole(layout.shape), data[t, c], channel=c, timepoint=t)
    assert build_pyramid(store, ignore_progress) == [(1, 1, 1), (1, 2, 2)]
    small = BlockStore(
        tmp_path / "p",
        make_layout(
            "tczyx", (2, 2, 7, 150, 135), chunk_shape=(3, 32, 64), shard_shape=(6, 128, 128)
        ),
        level=1,
    )
    for t, c in np.ndindex(2, 2):
        assert np.array_equal(
            small.read(whole((7, 150, 135)), c, t), block_mean(data[t, c], (1, 2, 2))
        )


def test_a_second_call_continues_and_a_new_block_starts_over(tmp_path: Path):
    """Units that are there stay; after level 0 has changed none is kept."""
    data = make_data((4, 600, 40))
    store = BlockStore.create(tmp_path / "p", make_layout("zyx", data.shape))
    store.write(whole(data.shape), data)
    calls = []
    build_pyramid(store, lambda *call: calls.append(call))
    files = sorted(p for p in (tmp_path / "p").rglob("*") if p.is_file())
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert calls[-1][1] == calls[-1][2] > 2
    unit = next(path for path in files if "p/1/c" in path.as_posix())
    unit.unlink()
    build_pyramid(store, ignore_progress)
    for path, (content, time) in before.items():
        assert path.read_bytes() == content
        assert path == unit or path.stat().st_mtime_ns == time
    first = every_unit(store)[0]
    store.write(first, np.zeros_like(data[first]))
    assert not (tmp_path / "p/1").exists()
    build_pyramid(store, ignore_progress)
    assert unit.exists()


def test_memory_does_not_grow_with_the_volume(tmp_path: Path):
    """Half a gigabyte is halved through a few shards' worth of memory."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from vemctl.volumes.block_store import BlockStore\n"
        "from vemctl.volumes.pyramid import build_pyramid, every_unit\n"
        "from vemctl.volumes.volume import Layout\n"
        "shape = (256, 1024, 2048)\n"
        "layout = Layout('zyx', shape, None, None, np.dtype('u1'), None, None,"
        " (64, 128, 128), (64, 256, 256))\n"
        "store = BlockStore.create(Path(sys.argv[1]), layout)\n"
        "block = np.arange(64 * 256 * 256, dtype=np.uint32).astype(np.uint8)\n"
        "for unit in every_unit(store): store.write(unit, block.reshape(64, 256, 256))\n"
        "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "build_pyramid(store, lambda *_: None)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - start)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "p"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 250


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
@pytest.mark.parametrize(
    "shape", [(5, 744, 586), (1, 30000, 30000), (32, 100, 130), (9000, 9000, 9000), (1, 1, 1)]
)
def test_default_chunks_fit(shape, dtype):
    """Shards are multiples of chunks and bounded; chunks are no longer than the volume."""
    kind = np.dtype(dtype)
    chunk, shard = default_chunks(shape, kind)
    assert all(c <= n and s % c == 0 for n, c, s in zip(shape, chunk, shard, strict=True))
    assert np.prod(shard) * kind.itemsize <= 64 * 2**20
    assert all(s < n + c for n, c, s in zip(shape, chunk, shard, strict=True))
    small, large = fit_chunks((3, 50, 60), chunk, shard)
    assert all(s % c == 0 for c, s in zip(small, large, strict=True))
