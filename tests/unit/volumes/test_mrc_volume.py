"""MRC, IMOD and DeltaVision, against mrcfile and hand-made headers."""

import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from unit.volumes.conftest import make_data, make_layout, whole, write_volume

from vemctl.errors import InputError, OutputError
from vemctl.volumes.destination import Destination
from vemctl.volumes.open import open_volume


def hand_made(order: str, mode: int, shape, *, extended: int = 0, **words) -> bytes:
    """Make a header by the layout of the standard."""
    head = bytearray(1024 + extended)
    nz, ny, nx = shape
    struct.pack_into(f"{order}4i", head, 0, nx, ny, nz, mode)
    struct.pack_into(f"{order}3i", head, 28, nx, ny, nz)
    struct.pack_into(f"{order}3f", head, 40, nx * 80.0, ny * 80.0, nz * 400.0)
    struct.pack_into(f"{order}3i", head, 64, 1, 2, 3)
    struct.pack_into(f"{order}i", head, 92, extended)
    for offset, (code, *values) in words.items():
        struct.pack_into(order + code, head, int(offset[1:]), *values)
    return bytes(head)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
@pytest.mark.parametrize("extended", [0, 2048])
def test_every_mode_in_both_byte_orders(tmp_path: Path, order, mode, extended):
    """Modes, byte orders and extended headers, without the MAP stamp of newer files."""
    dtype = {0: "int8", 1: "int16", 2: "float32", 6: "uint16", 12: "float16"}[mode]
    data = make_data((4, 6, 10), dtype)
    content = hand_made(order, mode, data.shape, extended=extended)
    stored = data.astype(data.dtype.newbyteorder(order)).tobytes()
    (tmp_path / "v.rec").write_bytes(content + stored)
    volume = open_volume(tmp_path / "v.rec")
    assert volume.header.voxel_size == (40.0, 8.0, 8.0)
    assert volume.header.dtype == np.dtype(dtype)
    assert np.array_equal(volume.read(whole(data.shape)), data)


def test_bytes_of_imod_are_unsigned(tmp_path: Path):
    """IMOD's stamp without its signed flag makes mode 0 unsigned."""
    data = make_data((4, 6, 10))
    head = hand_made("<", 0, data.shape, w152=("2i", 1146047817, 0))
    (tmp_path / "v.st").write_bytes(head + data.tobytes())
    assert np.array_equal(open_volume(tmp_path / "v.st").read(whole(data.shape)), data)
    head = hand_made("<", 0, data.shape, w152=("2i", 1146047817, 1))
    (tmp_path / "v.st").write_bytes(head + data.tobytes())
    signed = open_volume(tmp_path / "v.st").read(whole(data.shape))
    assert np.array_equal(signed, data.view(np.int8))


@pytest.mark.parametrize(("sequence", "axes"), [(0, "ctzyx"), (1, "tzcyx"), (2, "tczyx")])
def test_deltavision_waves_and_times(tmp_path: Path, sequence, axes):
    """The planes of a DeltaVision file are split as its header says."""
    sizes = {"t": 2, "c": 3, "z": 4, "y": 6, "x": 10}
    data = make_data(tuple(sizes[axis] for axis in axes), "uint16")
    head = hand_made(
        ">",
        6,
        (24, 6, 10),
        extended=512,
        w96=("h", -16224),
        w180=("2h", 2, sequence),
        w196=("h", 3),
        w40=("3f", 0.08, 0.08, 0.2),
    )
    (tmp_path / "v.dv").write_bytes(head + data.astype(">u2").tobytes())
    volume = open_volume(tmp_path / "v.dv")
    assert volume.header.axes == axes
    assert volume.header.voxel_size == (200.0, 80.0, 80.0)
    read = volume.read(whole((4, 6, 10)), channel=2, timepoint=1)
    index = tuple({"t": 1, "c": 2}.get(axis, slice(None)) for axis in axes)
    assert np.array_equal(read, data[index])


def test_columns_that_run_along_z(tmp_path: Path):
    """A map whose columns are z is turned to (z, y, x)."""
    data = make_data((4, 6, 10), "int16")  # sections x, rows y, columns z
    head = hand_made("<", 1, data.shape, w64=("3i", 3, 2, 1))
    (tmp_path / "v.map").write_bytes(head + data.tobytes())
    volume = open_volume(tmp_path / "v.map")
    assert volume.header.shape == (10, 6, 4)
    assert np.array_equal(volume.read(whole((10, 6, 4))), data.T)


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "uint16", "float16"])
def test_mrcfile_writes_and_reads_the_same(tmp_path: Path, dtype):
    """Files go both ways between vemctl and mrcfile."""
    data = make_data((4, 6, 10), dtype)
    with mrcfile.new(tmp_path / "theirs.mrc") as mrc:
        mrc.set_data(data)
        mrc.voxel_size = (80.0, 80.0, 400.0)
    volume = open_volume(tmp_path / "theirs.mrc")
    assert volume.header.voxel_size == (40.0, 8.0, 8.0)
    assert np.array_equal(volume.read(whole(data.shape)), data)
    write_volume(tmp_path / "ours.mrc", data, make_layout("zyx", data.shape, dtype))
    with mrcfile.open(tmp_path / "ours.mrc") as mrc:
        assert np.array_equal(mrc.data, data)
        assert mrc.voxel_size.z == pytest.approx(400.0)
        assert mrc.header.dmax == pytest.approx(float(data.max()))
        assert mrc.header.dmean == pytest.approx(data.mean(dtype=np.float64), abs=1e-3)
    assert mrcfile.validate(tmp_path / "ours.mrc")


def test_a_truncated_file_names_both_sizes(tmp_path: Path):
    """The bytes that are there and those promised."""
    data = make_data((4, 6, 10))
    (tmp_path / "v.mrc").write_bytes(hand_made("<", 0, data.shape) + data.tobytes()[:-1])
    with pytest.raises(InputError, match="1263 bytes, the header promises 1264"):
        open_volume(tmp_path / "v.mrc")
    (tmp_path / "v.mrc").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="100 bytes"):
        open_volume(tmp_path / "v.mrc")


@pytest.mark.parametrize("mode", [3, 4, 101])
def test_modes_that_are_no_numbers_are_refused(tmp_path: Path, mode):
    """Complex and packed modes are refused with the cure."""
    (tmp_path / "v.mrc").write_bytes(hand_made("<", mode, (2, 4, 4)) + bytes(1024))
    with pytest.raises(InputError, match=f"mode {mode}, .*(save|convert)"):
        open_volume(tmp_path / "v.mrc")


def test_channels_do_not_fit(tmp_path: Path):
    """A volume of several channels is refused before any work."""
    with pytest.raises(OutputError, match="one channel"):
        Destination.create(tmp_path / "v.mrc", make_layout("czyx", (2, 4, 8, 8)))
    assert not list(tmp_path.iterdir())
