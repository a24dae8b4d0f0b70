"""The store of an output: whole units, the same bytes, checksums of what is on the disk."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from unit.volumes.conftest import make_data, make_layout, whole

from vemctl import durable
from vemctl.errors import InputError, OutputError
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.pyramid import every_unit

SHAPE = (2, 11, 37, 70)


@pytest.fixture(params=["0.5", "0.4"])
def layout(request):
    """Lay out two channels that no unit divides evenly."""
    return make_layout("czyx", SHAPE, "uint16", ome_zarr=request.param)


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_bytes_do_not_depend_on_order_or_cut(tmp_path: Path, layout):
    """Units one by one, backwards, rewritten, in threads, or all at once: the same files."""
    data = make_data(SHAPE, "uint16")
    data[0, :4] = 0  # chunks of zeros are written too
    at_once = BlockStore.create(tmp_path / "a", layout)
    singly = BlockStore.create(tmp_path / "b", layout)
    units = every_unit(singly)
    for channel in range(2):
        at_once.write(whole(SHAPE[1:]), data[channel], channel=channel)
        threads = [
            threading.Thread(
                target=singly.write,
                args=(unit, data[(channel, *unit)]),
                kwargs={"channel": channel},
            )
            for unit in reversed(units)
        ]
        for unit in units[:2]:
            singly.write(unit, data[(channel, *unit)] * 0, channel=channel)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert all(at_once.unit_path(unit, c).exists() for unit in units for c in range(2))
    assert at_once.first_missing() is None
    region = (slice(3, 9), slice(1, 36), slice(20, 70))
    assert np.array_equal(singly.read(region, 1), data[(1, *region)])


def test_a_store_is_opened_as_it_was_made(tmp_path: Path, layout):
    """The layout is kept beside the data until the output is finished."""
    BlockStore.create(tmp_path / "a", layout)
    assert BlockStore.open(tmp_path / "a").layout == layout
    with pytest.raises(InputError, match="no unfinished volume"):
        BlockStore.open(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_the_checksum_is_of_the_files(tmp_path: Path, layout):
    """It is the same from the disk, changes with a torn file, and is none without one."""
    store = BlockStore.create(tmp_path / "a", layout)
    data = make_data(SHAPE, "uint16")
    region = every_unit(store)[1]
    assert store.checksum(region) is None
    written = store.write(region, data[(0, *region)])
    assert BlockStore.open(tmp_path / "a").checksum(region) == written
    path = store.unit_path(region)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert store.checksum(region) not in (None, written)
    path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    assert store.checksum(region) not in (None, written)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="--resume"):
        store.read(region)
    assert store.write(region, data[(0, *region)]) == written
    path.unlink()
    assert store.checksum(region) is None
    assert store.first_missing() is not None


def test_what_a_caller_must_not_do(tmp_path: Path, layout):
    """Parts of units, wrong shapes and wrong types are bugs."""
    store = BlockStore.create(tmp_path / "a", layout)
    z, y, x = store.unit_shape
    part = np.zeros((z, y, x - 1), np.uint16)
    with pytest.raises(ValueError, match="no whole units"):
        store.write((slice(0, z), slice(0, y), slice(0, x - 1)), part)
    with pytest.raises(ValueError, match="expected uint16"):
        store.write(every_unit(store)[0], np.zeros((z, y, x), np.uint8))
    with pytest.raises(ValueError, match="does not lie in"):
        store.write((slice(0, z), slice(0, y), slice(64, 96)), part)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_an_output_error(tmp_path: Path, layout, monkeypatch, code):
    """The message says how much is free and that --resume continues; nothing half-written stays."""
    store = BlockStore.create(tmp_path / "a", layout)
    region = every_unit(store)[0]
    store.write(region, np.ones([s.stop - s.start for s in region], np.uint16))

    def full(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, "fsync", full)
    second = every_unit(store)[1]
    with pytest.raises(OutputError, match="--resume") as raised:
        store.write(second, np.ones([s.stop - s.start for s in second], np.uint16))
    assert (" free" in str(raised.value)) == (code != errno.EIO)
    assert "\n" not in str(raised.value)
    monkeypatch.undo()
    assert store.checksum(second) is None
    assert not list(tmp_path.rglob("*.partial"))
    assert store.read(region).all()


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs POSIX limits")
def test_a_limit_of_the_system_is_an_output_error(tmp_path: Path):
    """A real refusal of the kernel, by the limit of a file's size, without root."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from vemctl.errors import OutputError\n"
        "from vemctl.volumes.block_store import BlockStore\n"
        "from vemctl.volumes.volume import Layout\n"
        "shape = (64, 128, 128)\n"
        "layout = Layout('zyx', shape, None, None, np.dtype('u1'), None, None, shape, shape)\n"
        "store = BlockStore.create(Path(sys.argv[1]), layout)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "noise = np.random.default_rng(0).integers(0, 255, shape, dtype='u1')\n"
        "try: store.write(tuple(slice(0, n) for n in shape), noise)\n"
        "except OutputError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a"], capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout
    assert not list(tmp_path.rglob("*.partial"))


def test_a_killed_writer_leaves_whole_units(tmp_path: Path):
    """After kill -9 each unit is whole or absent, and writing again gives the right bytes."""
    layout = make_layout("zyx", (32, 256, 256), chunk_shape=(8, 64, 64), shard_shape=(16, 128, 128))
    BlockStore.create(tmp_path / "a", layout)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from vemctl.volumes.block_store import BlockStore\n"
        "from vemctl.volumes.pyramid import every_unit\n"
        "store = BlockStore.open(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "noise = np.random.default_rng(0).integers(0, 255, (16, 128, 128), dtype='u1')\n"
        "while True:\n"
        "    for unit in every_unit(store): store.write(unit, noise)\n"
    )
    for wait in (0.05, 0.11):
        writer = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "a"], stdout=subprocess.PIPE, text=True
        )
        with writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(wait)
            writer.send_signal(signal.SIGKILL)
    store = BlockStore.open(tmp_path / "a")
    noise = np.random.default_rng(0).integers(0, 255, (16, 128, 128), dtype="u1")
    units = every_unit(store)
    there = [unit for unit in units if store.checksum(unit) is not None]
    assert there
    for unit in there:
        assert np.array_equal(store.read(unit), noise)
    assert len({store.checksum(unit) for unit in there} | {store.write(units[0], noise)}) == 1


def test_reading_needs_memory_for_the_region_only(tmp_path: Path):
    """Gigabytes in every format, all sparse, are read through little memory."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from vemctl.volumes.open import open_volume\n"
        "import tifffile, zarr\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "region = (slice(5, 69), slice(100, 356), slice(100, 356))\n"
        "for name in sys.argv[1:]:\n"
        "    volume = open_volume(Path(name))\n"
        "    start = peak()\n"
        "    for x in range(0, 4000, 500):\n"
        "        block = volume.read((*region[:2], slice(x, x + 64)))\n"
        "        assert block.shape == (64, 256, 64) and not block.any()\n"
        "    print(Path(name).name, peak() - start)\n"
        "    volume.close()\n"
    )
    shape = (400, 4096, 4096)
    np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.uint8, shape).flush()
    import tifffile

    tifffile.memmap(
        tmp_path / "v.ome.tif",
        shape=shape,
        dtype=np.uint8,
        bigtiff=True,
        ome=True,
        metadata={"axes": "ZYX"},
    ).flush()
    head = bytearray(1024)
    head[:16] = np.array([*shape[::-1], 0], "<i4").tobytes()
    with (tmp_path / "v.mrc").open("wb") as file:
        file.write(head)
        file.truncate(1024 + 400 * 4096 * 4096)
    layout = make_layout("zyx", shape, chunk_shape=(64, 128, 128), shard_shape=(64, 512, 512))
    BlockStore.create(tmp_path / "v.zarr", layout)
    names = [str(tmp_path / name) for name in ("v.npy", "v.ome.tif", "v.mrc", "v.zarr")]
    done = subprocess.run(
        [sys.executable, "-c", script, *names], capture_output=True, text=True, check=True
    )
    grown = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert len(grown) == 4
    assert all(megabytes < 150 for megabytes in grown.values()), grown
