"""What is written in any format is read back, region by region."""

from pathlib import Path

import numpy as np
import pytest
import yaozarrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.volumes.conftest import make_data, make_layout, part_of, whole, write_volume

from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance

SIZES = {"t": 2, "c": 3, "z": 11, "y": 37, "x": 45}
ALL_AXES = ["yx", "zyx", "cyx", "czyx", "tyx", "tzyx", "tcyx", "tczyx"]
FORMATS = [
    ("v.ome.zarr", {}, {}),
    ("v.zarr", {"ome_zarr": "0.4"}, {}),
    ("v.npy", {}, {}),
    ("v.ome.tif", {}, {}),
    ("v.tif", {}, {"tiff_format": "imagej"}),
    ("v.tiff", {}, {"compress": True}),
]


@pytest.mark.parametrize("axes", ALL_AXES)
@pytest.mark.parametrize(("name", "changes", "options"), FORMATS)
def test_every_axis_order_comes_back(tmp_path: Path, name, changes, options, axes):
    """Voxels, axes and voxel size survive every format with every set of axes."""
    stored = tuple(SIZES[axis] for axis in axes)
    data = make_data(stored, "uint16")
    layout = make_layout(axes, stored, "uint16", **changes)
    write_volume(tmp_path / name, data, layout, **options)
    volume = open_volume(tmp_path / name)
    header = volume.header
    assert set(header.axes) == set(axes)
    assert header.shape == layout.shape
    assert (header.num_channels, header.num_timepoints) == (
        layout.num_channels,
        layout.num_timepoints,
    )
    assert header.voxel_size == pytest.approx(layout.voxel_size)
    for channel in range(layout.num_channels or 1):
        for timepoint in range(layout.num_timepoints or 1):
            read = volume.read(whole(header.shape), channel=channel, timepoint=timepoint)
            assert read.dtype == np.uint16
            assert read.flags.c_contiguous
            assert np.array_equal(read, part_of(data, axes, channel, timepoint))
    volume.close()
    assert not (tmp_path / f"{name}.partial").exists()
    assert read_provenance(tmp_path / name) == {"method": "test"}


DTYPES = {
    "v.zarr": "int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64",
    "v.npy": "int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64",
    "v.tif": "int8 uint8 int16 uint16 int32 uint32 float32 float64",
    "v.mrc": "int8 uint8 int16 uint16 float16 float32",
}


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n in DTYPES for d in DTYPES[n].split()])
def test_every_dtype_comes_back(tmp_path: Path, name, dtype):
    """Every format keeps the values of every type that it is said to hold."""
    data = make_data((5, 33, 20), dtype)
    write_volume(tmp_path / name, data, make_layout("zyx", data.shape, dtype))
    volume = open_volume(tmp_path / name)
    assert volume.header.dtype == np.dtype(dtype)
    assert volume.header.voxel_size == pytest.approx((40.0, 8.0, 8.0))
    assert np.array_equal(volume.read(whole(data.shape)), data)
    volume.close()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["yx", "zyx", "tczyx"])
def test_written_zarr_is_valid_ome_zarr(tmp_path: Path, version, axes):
    """An independent validator accepts what is written."""
    sizes = {"t": 2, "c": 2, "z": 6, "y": 300, "x": 280}
    stored = tuple(sizes[axis] for axis in axes)
    layout = make_layout(
        axes, stored, ome_zarr=version, chunk_shape=(4, 128, 128), shard_shape=(4, 128, 128)
    )
    write_volume(tmp_path / "v.zarr", make_data(stored), layout)
    yaozarrs.validate_zarr_store(str(tmp_path / "v.zarr"))
    header = open_volume(tmp_path / "v.zarr").header
    assert header.num_levels == 2
    assert header.format == f"OME-Zarr {version}"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write one volume in every format."""
    folder = tmp_path_factory.mktemp("written")
    data = make_data((2, 11, 37, 45), "uint16")
    for name, changes, options in FORMATS:
        write_volume(
            folder / name, data, make_layout("czyx", data.shape, "uint16", **changes), **options
        )
    return folder, data


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bounds=st.data(), name=st.sampled_from([name for name, _, _ in FORMATS]))
def test_any_region_equals_the_slice(written, bounds, name):
    """Reading a region is slicing the array."""
    folder, data = written
    channel = bounds.draw(st.integers(0, 1))
    region = []
    for size in data.shape[1:]:
        start = bounds.draw(st.integers(0, size - 1))
        region.append(slice(start, bounds.draw(st.integers(start + 1, size))))
    volume = open_volume(folder / name)
    assert np.array_equal(volume.read(tuple(region), channel=channel), data[(channel, *region)])
    volume.close()


def test_unknown_voxel_size_stays_unknown(tmp_path: Path):
    """A volume without a voxel size does not get one by being written."""
    data = make_data((5, 33, 20))
    for name in ("v.zarr", "v.tif", "v.mrc", "v.npy"):
        layout = make_layout("zyx", data.shape, voxel_size=None)
        write_volume(tmp_path / name, data, layout)
        volume = open_volume(tmp_path / name)
        assert volume.header.voxel_size is None
        volume.close()
