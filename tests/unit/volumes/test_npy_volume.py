"""NumPy's files."""

from pathlib import Path

import numpy as np
import pytest
from unit.volumes.conftest import make_data, whole

from vemctl.errors import InputError, OptionError
from vemctl.volumes.open import open_volume


@pytest.mark.parametrize("dtype", ["<u2", ">f4", "i1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_order_of_bytes_and_axes(tmp_path: Path, dtype, order):
    """Values come back native and in (z, y, x)."""
    data = make_data((4, 6, 10), np.dtype(dtype).newbyteorder("=").name)
    np.save(tmp_path / "v.npy", np.asarray(data.astype(dtype), order=order))
    volume = open_volume(tmp_path / "v.npy")
    assert volume.header.dtype.isnative
    assert np.array_equal(volume.read(whole(data.shape)), data)


def test_axes_are_asked_for_with_a_guess(tmp_path: Path):
    """The message of the refusal is what the user has to type."""
    np.save(tmp_path / "scan.npy", np.zeros((2, 5, 74, 58), np.uint8))
    with pytest.raises(InputError) as raised:
        open_volume(tmp_path / "scan.npy")
    assert str(raised.value).endswith(
        "scan.npy: 4-D array (2, 5, 74, 58) without axes; looks like czyx: pass --axes czyx"
    )
    assert open_volume(tmp_path / "scan.npy", axes="CZYX").header.num_channels == 2
    for wrong in ("abcd", "zzyx", "ztcx", ""):
        with pytest.raises(OptionError, match="--axes"):
            open_volume(tmp_path / "scan.npy", axes=wrong)


def test_two_axes_are_those_of_a_plane(tmp_path: Path):
    """They need not be named."""
    data = make_data((30, 20))
    np.save(tmp_path / "plane.npy", data)
    volume = open_volume(tmp_path / "plane.npy")
    assert (volume.header.axes, volume.header.shape) == ("yx", (1, 30, 20))
    assert np.array_equal(volume.read(whole((1, 30, 20)))[0], data)


def test_what_cannot_be_a_volume_is_refused(tmp_path: Path):
    """Pickles, empty axes, vectors, truncated and foreign files."""
    path = tmp_path / "v.npy"
    cases = {
        "pickled": np.array([{"a": 1}], dtype=object),
        "length 0": np.zeros((0, 4, 4), np.uint8),
        "1-D array": np.zeros(7, np.uint8),
        "magnitude": np.zeros((3, 4, 4), np.complex64),
        "float32": np.zeros((3, 4, 4), np.longdouble),
        "export": np.zeros((3, 4, 4), "U5"),
    }
    for message, data in cases.items():
        np.save(path, data)
        with pytest.raises(InputError, match=message):
            open_volume(path)
    np.save(path, np.zeros((3, 4, 4), np.uint8))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated: 175 bytes, the header promises 176"):
        open_volume(path)
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"no readable \.npy header"):
        open_volume(path)


def test_a_name_without_room_for_a_sidecar_is_read(tmp_path: Path):
    """A file that could not have a sidecar has none."""
    path = tmp_path / ("x" * 248 + ".npy")
    np.save(path, make_data((3, 4, 5)))
    assert open_volume(path).header.shape == (3, 4, 5)


def test_truth_values_are_read_as_numbers(tmp_path: Path):
    """A mask of NumPy is a volume of 0 and 1."""
    mask = np.random.default_rng(2).random((3, 4, 5)) > 0.5
    np.save(tmp_path / "m.npy", mask)
    volume = open_volume(tmp_path / "m.npy")
    assert volume.header.dtype == np.uint8
    assert np.array_equal(volume.read((slice(0, 3), slice(0, 4), slice(0, 5))), mask)
