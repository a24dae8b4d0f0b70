"""Raw files of the authors' microscope, as vemctl opens them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from parity import load_fixture

from vemctl.errors import InputError
from vemctl.volumes.open import open_volume

SPACING = (350.0, 93.1, 92.6)
MODES = {0: "u1", 1: "i2", 2: "f4", 6: "u2"}


def everything(volume) -> np.ndarray:
    """Read a whole volume, (z, y, x)."""
    return volume.read(tuple(slice(0, size) for size in volume.header.shape))


def microscope_file(order: str, mode: int, data: np.ndarray, extended: int) -> bytes:
    """Return a DeltaVision file with an extended header of noise."""
    head = bytearray(1024)
    struct.pack_into(order + "4i", head, 0, *data.shape[::-1], mode)
    struct.pack_into(order + "3f", head, 40, *(length / 1000 for length in reversed(SPACING)))
    struct.pack_into(order + "i", head, 92, extended)
    struct.pack_into(order + "h", head, 96, -16224)
    noise = np.random.default_rng(1).bytes(extended)
    return bytes(head) + noise + data.astype(data.dtype.newbyteorder(order)).tobytes()


@pytest.mark.parametrize("suffix", [".mrc", ".dv"])
def test_a_raw_file_is_read_as_published(tmp_path: Path, suffix: str) -> None:
    """Its fast axis is x, and its header holds the voxel size in micrometres."""
    _, arrays, _ = load_fixture("vsisr_mrc")
    path = tmp_path / f"raw{suffix}"
    path.write_bytes(arrays["bytes"].tobytes())
    volume = open_volume(path)
    np.testing.assert_array_equal(everything(volume), arrays["data"].transpose(2, 1, 0))
    assert volume.header.shape == (9, 11, 14)
    assert volume.header.voxel_size == SPACING
    words = [np.float32(length / 1000) for length in reversed(volume.header.voxel_size)]
    np.testing.assert_array_equal(words, arrays["header_f4"])


def test_without_the_stamp_of_deltavision_lengths_are_of_the_cell(tmp_path: Path) -> None:
    """Then the standard applies: Angstrom over all intervals, here one; the voxels are alike."""
    _, arrays, _ = load_fixture("vsisr_mrc")
    content = bytearray(arrays["bytes"].tobytes())
    content[96:98] = bytes(2)
    path = tmp_path / "raw.mrc"
    path.write_bytes(content)
    volume = open_volume(path)
    np.testing.assert_array_equal(everything(volume), arrays["data"].transpose(2, 1, 0))
    np.testing.assert_allclose(volume.header.voxel_size, np.array(SPACING) / 1e4, rtol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", [0, 1, 2, 6])
@pytest.mark.parametrize("extended", [0, 1536])
def test_every_kind_of_raw_file_is_read(
    tmp_path: Path, order: str, mode: int, extended: int
) -> None:
    """In both byte orders; an extended header is skipped whatever the mode."""
    data = np.random.default_rng(0).integers(0, 120, (5, 4, 7)).astype(MODES[mode])
    path = tmp_path / "raw.mrc"
    path.write_bytes(microscope_file(order, mode, data, extended))
    volume = open_volume(path)
    assert volume.header.voxel_size == SPACING
    assert volume.header.dtype == data.dtype
    np.testing.assert_array_equal(everything(volume), data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_complex_files_are_refused(tmp_path: Path, order: str) -> None:
    """They hold transfer functions, no raw data; the message says so in one line."""
    data = np.ones((5, 4, 7), np.complex64)
    path = tmp_path / "otf.mrc"
    path.write_bytes(microscope_file(order, 4, data, 0))
    with pytest.raises(InputError, match="MRC mode 4, complex numbers") as caught:
        open_volume(path)
    assert "\n" not in str(caught.value)
