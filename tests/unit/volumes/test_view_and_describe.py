"""Volumes through a window, and what is said of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from unit.volumes.conftest import make_data, make_layout, whole, write_volume

from vemctl.volumes.describe import describe
from vemctl.volumes.open import open_volume
from vemctl.volumes.view import crop, replace_nonfinite


def test_a_crop_is_a_volume(tmp_path: Path):
    """It has its own shape and place, and reads what the slice holds."""
    data = make_data((6, 40, 50))
    write_volume(
        tmp_path / "v.zarr", data, make_layout("zyx", data.shape, translation=(1.0, 2.0, 3.0))
    )
    region = (slice(2, 5), slice(10, 40), slice(0, 7))
    view = crop(open_volume(tmp_path / "v.zarr"), region)
    assert view.header.shape == (3, 30, 7)
    assert view.header.translation == (81.0, 82.0, 3.0)
    assert np.array_equal(view.read(whole((3, 30, 7))), data[region])
    inner = crop(view, (slice(1, 3), slice(5, 30), slice(2, 7)))
    assert np.array_equal(inner.read(whole((2, 25, 5))), data[3:5, 15:40, 2:7])
    for outside in (
        (slice(0, 4), slice(0, 1), slice(0, 1)),
        (slice(0, 0), slice(0, 1), slice(0, 1)),
    ):
        with pytest.raises(ValueError, match="does not lie in"):
            view.read(outside)
    view.close()


def test_nonfinite_voxels_are_replaced(tmp_path: Path):
    """NaN becomes 0 and infinity the largest number; integers are left alone."""
    data = make_data((3, 4, 5), "float32")
    data[0, 0, :3] = (np.nan, np.inf, -np.inf)
    np.save(tmp_path / "v.npy", data)
    volume = open_volume(tmp_path / "v.npy")
    read = replace_nonfinite(volume).read(whole((3, 4, 5)))
    largest = np.finfo(np.float32).max
    assert read[0, 0, :3].tolist() == [0, largest, -largest]
    assert np.array_equal(read[1:], data[1:])
    assert np.isnan(volume.read(whole((3, 4, 5)))[0, 0, 0])
    np.save(tmp_path / "i.npy", make_data((3, 4, 5)))
    integers = open_volume(tmp_path / "i.npy")
    assert replace_nonfinite(integers) is integers


def test_a_description_is_json(tmp_path: Path):
    """Sizes, levels, statistics and provenance of what vemctl made."""
    data = make_data((2, 6, 300, 40), "uint16")
    write_volume(tmp_path / "v.zarr", data, make_layout("czyx", data.shape, "uint16"))
    found = describe(tmp_path / "v.zarr")
    assert found == describe(tmp_path / "v.zarr")
    said = json.loads(found.to_json())
    assert said["stored_shape"] == [2, 6, 300, 40]
    assert said["level_shapes"] == [[6, 300, 40], [6, 150, 20]]
    assert (said["chunk_shape"], said["shard_shape"]) == ([4, 16, 16], [8, 32, 32])
    assert said["bytes_uncompressed"] == data.nbytes
    assert 0 < said["bytes_on_disk"] < 3 * data.nbytes
    assert said["provenance"] == {"method": "test"}
    assert said["statistics"]["mean"] == pytest.approx(data.mean(), rel=0.05)
    assert describe(tmp_path / "v.zarr/1").level_shapes == ((6, 150, 20),)
    assert describe(tmp_path / "v.zarr", level=1).shape == (6, 150, 20)


def test_statistics_skip_what_is_not_finite(tmp_path: Path):
    """They are counted, and a volume of nothing else has no statistics."""
    data = make_data((3, 4, 5), "float32")
    data[0, 0, :3] = (np.nan, np.inf, -np.inf)
    np.save(tmp_path / "v.npy", data)
    statistics = describe(tmp_path / "v.npy").statistics
    assert statistics.nonfinite == 3
    assert statistics.maximum == pytest.approx(data[np.isfinite(data)].max())
    np.save(tmp_path / "n.npy", np.full((3, 4, 5), np.nan))
    found = describe(tmp_path / "n.npy")
    assert (found.statistics.minimum, found.statistics.nonfinite) == (None, 60)
    assert json.loads(found.to_json())["statistics"]["mean"] is None


def test_the_sample_is_bounded(tmp_path: Path):
    """A gigabyte is described from a part of it."""
    np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.uint16, (200, 1600, 1600)).flush()
    found = describe(tmp_path / "v.npy")
    assert found.statistics.voxels <= 27 * 2**20
    assert found.bytes_on_disk < found.bytes_uncompressed
