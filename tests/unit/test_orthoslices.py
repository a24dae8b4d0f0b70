"""Planes of volumes: what is read, from which level, and what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from vemctl.errors import InputError, OptionError
from vemctl.quality import strips
from vemctl.quality.field_of_view import common_fields, whole_field
from vemctl.quality.levels import Levels, open_levels
from vemctl.quality.orthoslices import Plane, pixel_of, positions_of, read_pair, read_plane
from vemctl.quality.projections import projected_level, read_projections
from vemctl.volumes.destination import Destination
from vemctl.volumes.volume import Header, Layout, Region, Triple, VoxelSize, check_region

NM: VoxelSize = (40.0, 8.0, 8.0)


@dataclass
class Counting:
    """A volume in memory that counts what is read."""

    values: np.ndarray
    header: Header
    read_voxels: int = 0
    largest: int = 0
    regions: list[Region] = field(default_factory=list)

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> np.ndarray:
        """Read a region and remember it."""
        check_region(region, self.header.shape)
        block = np.array(self.values[region]) + channel * 100 + timepoint * 1000
        self.read_voxels += block.size
        self.largest = max(self.largest, block.size)
        self.regions.append(region)
        return block

    def close(self) -> None:
        """Release nothing."""


def counting(
    values: np.ndarray,
    voxel_size: VoxelSize | None = None,
    *,
    chunk: Triple = (4, 16, 16),
    **facts: object,
) -> Counting:
    """Return a fake volume of these values."""
    shape = values.shape
    header = Header(
        path=Path("fake.zarr"),
        format="fake",
        axes="zyx",
        shape=(shape[0], shape[1], shape[2]),
        num_channels=None,
        num_timepoints=None,
        dtype=values.dtype,
        voxel_size=voxel_size,
        chunk_shape=chunk,
    )
    return Counting(values, replace(header, **facts))


def pyramid(
    shape: Triple, num_levels: int, voxel_size: VoxelSize = (8.0, 8.0, 8.0)
) -> list[Counting]:
    """Return fake levels that halve all axes, each full of its own number."""
    levels = []
    for level in range(num_levels):
        z, y, x = (-(-n // 2**level) for n in shape)
        size = (voxel_size[0] * 2**level, voxel_size[1] * 2**level, voxel_size[2] * 2**level)
        levels.append(counting(np.full((z, y, x), level, np.uint8), size))
    return levels


def numbered(*shape: int, dtype: str = "uint16") -> np.ndarray:
    """Return values that tell where they are."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(path: Path, values: np.ndarray, **facts: object) -> Path:
    """Write an OME-Zarr with a pyramid, or a .npy file, which tells no voxel size."""
    if path.suffix == ".npy":
        np.save(path, values)
        return path
    z, y, x = values.shape
    plain = {"voxel_size": NM, "translation": None, "chunk_shape": (4, 32, 32)}
    layout = Layout(
        "zyx", (z, y, x), None, None, values.dtype, shard_shape=(4, 32, 32), **plain | facts
    )
    destination = Destination.create(path, layout)
    destination.store.write((slice(0, z), slice(0, y), slice(0, x)), values)
    destination.finish({}, lambda *_: None)
    return path


def planes_of(
    path: Path, positions: dict[str, int] | None = None, longest_edge: int = 1024
) -> list[Plane]:
    """Read planes of one scale: those asked for, or those through the middle."""
    with open_levels(path) as levels:
        field_of_view = whole_field(levels)
        places = positions_of(field_of_view, positions)
        pixel = pixel_of([field_of_view], [axis for axis, _ in places], longest_edge)
        return [read_plane(field_of_view, axis, place, pixel) for axis, place in places]


def pairs_of(
    first: Path, other: Path, positions: dict[str, int] | None = None
) -> list[tuple[Plane, Plane]]:
    """Read the same planes of two volumes."""
    with open_levels(first) as one, open_levels(other, or_only=True) as two:
        fields = common_fields(one, two)
        places = positions_of(fields[0], positions)
        pixel = pixel_of(fields, [axis for axis, _ in places], 1024)
        return [read_pair(*fields, axis, place, pixel) for axis, place in places]


def test_the_three_planes_through_the_middle(tmp_path: Path) -> None:
    """Rows are y, z, z and columns x, x, y; every voxel is a pixel where all are cubes."""
    values = numbered(6, 10, 14)
    planes = planes_of(save(tmp_path / "v.zarr", values, voxel_size=(8.0, 8.0, 8.0)))
    assert [(plane.axis, plane.position) for plane in planes] == [("z", 3), ("y", 5), ("x", 7)]
    assert np.array_equal(planes[0].values, values[3])
    assert np.array_equal(planes[1].values, values[:, 5])
    assert np.array_equal(planes[2].values, values[:, :, 7])
    assert {plane.pixel_size for plane in planes} == {(8.0, 8.0)}
    assert {plane.level for plane in planes} == {0}


def test_long_voxels_are_long_pixels(tmp_path: Path) -> None:
    """A section of 40 nm has five rows of 8 nm."""
    values = numbered(6, 10, 14)
    z, y, x = planes_of(save(tmp_path / "v.zarr", values))
    assert z.values.shape == (10, 14)
    assert np.array_equal(y.values, np.repeat(values[:, 5], 5, axis=0))
    assert np.array_equal(x.values, np.repeat(values[:, :, 7], 5, axis=0))
    assert y.pixel_size == (8.0, 8.0)


def test_planes_are_asked_for_by_their_voxel(tmp_path: Path) -> None:
    """Only those are read, in the order asked."""
    values = numbered(6, 10, 14)
    path = save(tmp_path / "v.npy", values)
    x, z = planes_of(path, positions={"x": 13, "z": 0})
    assert np.array_equal(x.values, values[:, :, 13])
    assert np.array_equal(z.values, values[0])
    assert x.pixel_size is None


@pytest.mark.parametrize(
    ("positions", "said"),
    [({"z": 6}, r"z=6: .* 6 voxels along z; expected 0 to 5"), ({"c": 1}, "expected z, y or x")],
)
def test_a_plane_that_is_not_there(tmp_path: Path, positions: dict[str, int], said: str) -> None:
    """Is refused with what there is."""
    path = save(tmp_path / "v.npy", numbered(6, 10, 14))
    with pytest.raises(OptionError, match=said):
        planes_of(path, positions=positions)


def test_a_single_plane_is_one_picture(tmp_path: Path) -> None:
    """It has no sides."""
    values = numbered(10, 14)
    (plane,) = planes_of(save(tmp_path / "v.npy", values))
    assert plane.axis == "z"
    assert np.array_equal(plane.values, values)


def test_the_coarsest_level_that_shows_enough_is_read_and_nothing_else() -> None:
    """Of that level too, only the one plane."""
    volumes = pyramid((128, 512, 512), 6)
    levels = Levels(volumes)
    field_of_view = whole_field(levels)
    pixel = pixel_of([field_of_view], "zyx", 64)
    plane = read_plane(field_of_view, "z", 77, pixel)
    assert plane.level == 2  # level 3 has a pixel per voxel but would show eight planes as one
    assert plane.averaged == (4.0, 4.0, 4.0)
    assert (plane.values == 2).all()
    assert plane.values.shape == (64, 64)
    assert [volume.read_voxels for volume in volumes] == [0, 0, 128 * 128, 0, 0, 0]
    assert all(region[0] == slice(19, 20) for region in volumes[2].regions)


@pytest.mark.parametrize(("edge", "level"), [(512, 0), (511, 0), (256, 1), (255, 1), (128, 2)])
def test_no_level_is_coarser_than_the_pixels(edge: int, level: int) -> None:
    """A level suits up to exactly its own size."""
    field_of_view = whole_field(Levels(pyramid((512, 512, 512), 4)))
    pixel = pixel_of([field_of_view], "zyx", edge)
    assert read_plane(field_of_view, "y", 3, pixel).level == level


def test_levels_may_have_odd_sizes() -> None:
    """Half of 9 are 5, and a plane of level 0 is still found in its place."""
    fine = counting(numbered(9, 9, 9), (8.0, 8.0, 8.0))
    coarse = counting(numbered(5, 5, 5), (16.0, 16.0, 16.0))
    levels = Levels([fine, coarse])
    assert levels.ratios == ((1.0,) * 3, (2.0,) * 3)
    plane = read_plane(whole_field(levels), "z", 8, 18.0)
    assert coarse.regions[0][0] == slice(4, 5)
    assert plane.values.shape == (4, 4)
    assert not fine.regions


def test_huge_planes_are_read_in_strips_of_chunks() -> None:
    """Memory stays bounded, each chunk is read once, and the average is exact."""
    values = numbered(1, 4000, 5000, dtype="float32")
    volume = counting(values, chunk=(1, 100, 100))
    field_of_view = whole_field(Levels([volume]))
    plane = read_plane(field_of_view, "z", 0, pixel_of([field_of_view], "z", 500))
    assert np.allclose(plane.values, values[0].reshape(400, 10, 500, 10).mean(axis=(1, 3)))
    assert volume.read_voxels == values.size
    assert volume.largest <= strips.PART
    assert all(part.start % 100 == 0 for region in volume.regions for part in region[1:])


def test_of_what_takes_too_long_some_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are spread evenly, repeated in the picture, and counted in the result."""
    monkeypatch.setattr(strips, "FEWEST_ROWS", 4)
    monkeypatch.setattr(strips.chosen_rows, "__defaults__", (8 * 30 * 20,))
    values = np.broadcast_to(np.arange(40)[:, None, None], (40, 30, 20)).astype(np.uint8)
    volume = counting(values, chunk=(1, 30, 20))
    field_of_view = whole_field(Levels([volume]))
    plane = read_plane(field_of_view, "y", 3, 1.0)
    assert plane.rows_read == 8
    assert [region[0].start for region in volume.regions] == [2, 7, 12, 17, 22, 27, 32, 37]
    assert np.array_equal(plane.values[:, 0], np.repeat([2, 7, 12, 17, 22, 27, 32, 37], 5))
    assert volume.read_voxels == 8 * 20


def test_channels_and_time_points_are_chosen() -> None:
    """What is not there is refused."""
    volume = counting(np.zeros((2, 4, 4), np.uint16), num_channels=2, num_timepoints=3)
    field_of_view = whole_field(Levels([volume], channel=1, timepoint=2))
    assert (read_plane(field_of_view, "z", 0, 1.0).values == 2100).all()
    with pytest.raises(OptionError, match=r"--channel 2: .* has 2 channels; expected 0 to 1"):
        Levels([volume], channel=2)


def test_real_pyramids_are_used(tmp_path: Path) -> None:
    """Of the levels that vemctl writes, and by the path of one level, that level."""
    values = np.broadcast_to(np.arange(600, dtype=np.uint16), (4, 40, 600)).copy()
    path = save(tmp_path / "v.zarr", values)
    fine, coarse = (planes_of(path, longest_edge=edge)[0] for edge in (600, 300))
    assert (fine.level, coarse.level) == (0, 1)
    assert fine.values.shape == (40, 600)
    assert coarse.values.shape == (20, 300)
    assert coarse.pixel_size == (16.0, 16.0)
    assert np.allclose(coarse.values[0], np.rint(values[0, 0].reshape(-1, 2).mean(1)))
    (plane,) = planes_of(path / "1", longest_edge=300, positions={"z": 0})
    assert plane.pixel_size == (16.0, 16.0)


def test_projections_are_those_of_numpy() -> None:
    """NaN does not count; nothing is read twice."""
    values = np.random.default_rng(0).normal(size=(11, 37, 53))
    values[:, 3, 4] = np.nan
    volume = counting(values, (8.0, 8.0, 8.0))
    told: list[tuple[int, int]] = []
    planes = read_projections(
        whole_field(Levels([volume])), "zyx", 8.0, progress=lambda *what: told.append(what)
    )
    for plane, axis in zip(planes, (0, 1, 2), strict=True):
        with np.errstate(invalid="ignore"):
            expected = np.fmax.reduce(values, axis=axis)
        assert np.array_equal(plane.values, expected, equal_nan=True)
        assert plane.position is None
    assert volume.read_voxels == values.size
    assert told[0] == (0, values.size)
    assert told[-1] == (values.size, values.size)


def test_projections_are_cut_into_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the result does not depend on it."""
    values = np.random.default_rng(1).integers(0, 60000, (20, 50, 70), np.uint16)
    volume = counting(values, (8.0, 8.0, 8.0))
    monkeypatch.setattr("vemctl.quality.projections.SLAB", 4 * 16 * 32)
    z, y, x = read_projections(whole_field(Levels([volume])), "zyx", 8.0)
    assert np.array_equal(z.values, values.max(0))
    assert np.array_equal(y.values, values.max(1))
    assert np.array_equal(x.values, values.max(2))
    assert volume.largest <= 4 * 16 * 32
    assert volume.read_voxels == values.size


def test_a_bright_spot_survives_a_small_projection() -> None:
    """Of the voxels of a pixel, the largest is shown."""
    values = np.zeros((4, 64, 64), np.uint8)
    values[2, 33, 21] = 200
    (plane,) = read_projections(whole_field(Levels([counting(values)])), "z", 8.0)
    assert plane.values.shape == (8, 8)
    assert np.argwhere(plane.values == 200).tolist() == [[4, 2]]


def test_the_level_of_a_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finest that is small enough; none that is coarser than needed."""
    field_of_view = whole_field(Levels(pyramid((64, 64, 64), 4)))
    assert projected_level(field_of_view, 8.0 * 8) == 0
    monkeypatch.setattr("vemctl.quality.projections.MOST_VOXELS", 32**3)
    assert projected_level(field_of_view, 8.0 * 8) == 1
    assert projected_level(field_of_view, 8.0) == 0
    monkeypatch.setattr("vemctl.quality.projections.MOST_VOXELS", 1)
    assert projected_level(field_of_view, 8.0 * 4) == 2


@pytest.mark.parametrize("suffix", [".zarr", ".npy"])
def test_a_finer_volume_shows_the_same_place(tmp_path: Path, suffix: str) -> None:
    """Positions are scaled, and both pictures have one size, voxel sizes known or not."""
    values = numbered(4, 20, 30)
    fine = np.kron(values, np.ones((1, 4, 4), np.uint16))
    pairs = pairs_of(
        save(tmp_path / f"a{suffix}", values, voxel_size=(40.0, 32.0, 32.0)),
        save(tmp_path / f"b{suffix}", fine, voxel_size=(40.0, 8.0, 8.0)),
        positions={"z": 2, "y": 7, "x": 3},
    )
    assert [(one.position, other.position) for one, other in pairs] == [(2, 2), (7, 30), (3, 14)]
    for one, other in pairs:
        assert np.array_equal(one.values, other.values)
        assert one.pixel_size == other.pixel_size
    assert pairs[0][0].values.shape == (80, 120)


def test_a_coarser_volume_shows_the_same_place(tmp_path: Path) -> None:
    """It is shown larger rather than the other smaller."""
    values = numbered(4, 20, 30)
    one, other = pairs_of(
        save(tmp_path / "a.zarr", np.kron(values, np.ones((1, 2, 2), np.uint16))),
        save(tmp_path / "b.zarr", values, voxel_size=(40.0, 16.0, 16.0)),
        positions={"x": 41},
    )[0]
    assert other.position == 20
    assert np.array_equal(one.values, other.values)


def test_one_and_a_half_times_finer_after_rounding_down(tmp_path: Path) -> None:
    """21 voxels become 31; each picture shows all of its volume."""
    one, other = pairs_of(
        save(tmp_path / "a.npy", numbered(4, 21, 21)), save(tmp_path / "b.npy", numbered(4, 31, 31))
    )[0]
    assert one.values.shape == other.values.shape
    assert other.values[0, 0] == numbered(4, 31, 31)[2, 0, 0]
    assert other.values[-1, -1] == numbered(4, 31, 31)[2, -1, -1]


def test_a_part_is_shown_where_it_lies(tmp_path: Path) -> None:
    """Of both volumes, what they share; the file of the part says where it is."""
    values = numbered(12, 40, 50)
    part = values[3:9, 10:30, 20:50]
    pairs = pairs_of(
        save(tmp_path / "a.zarr", values),
        save(tmp_path / "b.zarr", part, translation=(3 * 40.0, 10 * 8.0, 20 * 8.0)),
    )
    assert [(one.position, other.position) for one, other in pairs] == [(6, 3), (20, 10), (35, 15)]
    assert np.array_equal(pairs[0][0].values, part[3])
    for one, other in pairs:
        assert np.array_equal(one.values, other.values)


@pytest.mark.parametrize(
    ("shape", "facts", "said"),
    [
        ((6, 20, 30), {"translation": (0.0, 9e5, 0.0)}, "share nothing"),
        ((12, 40, 30), {"voxel_size": None}, "not both files tell"),
        ((1, 40, 50), {"voxel_size": None}, "not both files tell"),
        ((12, 80, 25), {"voxel_size": None}, "not both files tell"),
    ],
)
def test_what_cannot_be_compared(
    tmp_path: Path, shape: Triple, facts: dict[str, object], said: str
) -> None:
    """Is explained in one line that names both shapes."""
    first = save(tmp_path / "a.zarr", numbered(12, 40, 50))
    other = save(tmp_path / "b.zarr", numbered(*shape), **facts)
    with pytest.raises(InputError, match=said) as raised:
        pairs_of(first, other)
    assert "\n" not in str(raised.value)
    assert "12 x 40 x 50" in str(raised.value)


def test_a_part_without_a_place_is_not_guessed() -> None:
    """Files that know voxel sizes but no places, as TIFF, may be any part of one another."""
    whole = Levels([counting(numbered(12, 40, 50), NM)])
    part = Levels([counting(numbered(6, 20, 30), NM)])
    with pytest.raises(InputError, match="nothing tells which part of one the other is"):
        common_fields(whole, part)


def test_the_only_channel_of_the_other_is_meant() -> None:
    """A restored volume holds the channel that was restored, and no more."""
    one = Levels([counting(numbered(2, 4, 4), num_channels=3)], channel=2)
    other = Levels([counting(numbered(2, 4, 4))])
    first, second = common_fields(one, other)
    assert (first.levels.channel, second.levels.channel) == (2, 0)
    assert first.window == second.window


def test_small_volumes_are_enlarged_by_whole_numbers() -> None:
    """If asked; a voxel is never larger than a pixel of the size that is wanted allows."""
    field_of_view = whole_field(Levels([counting(numbered(4, 30, 40), NM)]))
    assert pixel_of([field_of_view], "z", 512) == 8.0
    assert pixel_of([field_of_view], "z", 512, enlarge=True) == 8.0 / 12
    assert pixel_of([field_of_view], "z", 20, enlarge=True) == 16.0
