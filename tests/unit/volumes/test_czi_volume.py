"""Zeiss CZI: files of pylibCZIrw's writer, and hand-made ones that it does not write.

What is refused is refused before pylibCZIrw is needed; those tests run without it.
"""

import itertools
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.volumes.conftest import make_data, part_of, whole

from vemctl.errors import InputError, MissingExtraError, OptionError
from vemctl.folders import volumes_at
from vemctl.volumes.describe import describe
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Array

PIXEL_TYPES = {"uint8": 0, "uint16": 1, "float32": 2}
ZSTD = "zstd1:ExplicitLevel=2"


def write_czi(path: Path, data: Array, axes: str, **options: Any) -> None:
    """Write an array, all axes out of TCZ but the last two, with pylibCZIrw."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    first, scale = options.pop("first", {}), options.pop("scale", None)
    with czi.create_czi(str(path), **options) as writer:
        for index in np.ndindex(data.shape[:-2]):
            plane = {a: i + first.get(a, 0) for a, i in zip(axes.upper(), index, strict=False)}
            assert writer.write(np.ascontiguousarray(data[index]), plane=plane)
        if scale:
            writer.write_metadata(scale_z=scale[0], scale_y=scale[1], scale_x=scale[2])


def segment(name: bytes, content: bytes) -> bytes:
    """Put a head before the content of a segment."""
    return struct.pack("<16sqq", name, len(content), len(content)) + content


def entry(tile: dict[str, Any], place: int) -> bytes:
    """Make an entry of the directory, by the layout of the format."""
    dimensions = [
        (b"X", tile["x"], tile["w"], tile.get("stored", tile["w"])),
        (b"Y", tile["y"], tile["h"], tile.get("stored", tile["h"])),
        *((name.encode(), index, 1, 1) for name, index in tile["at"].items()),
    ]
    head = (b"DV", tile["type"], place, tile.get("part", 0), tile.get("compression", 0))
    return struct.pack("<2siqii6xi", *head, len(dimensions)) + b"".join(
        struct.pack("<4sii4xi", name, start, size, stored)
        for name, start, size, stored in dimensions
    )


def hand_made(
    tiles: list[dict[str, Any]], *, directory: int | None = None, directory_first: bool = False
) -> bytes:
    """Make a file of tiles: at, x, y, w, h, type, and perhaps stored, part, compression, data."""
    start = len(segment(b"ZISRAWFILE", bytes(512)))
    length = 32 + 128 + sum(len(entry(each, 0)) for each in tiles)
    entries, segments = b"", b""
    for each in tiles:
        place = start + len(segments) + (length if directory_first else 0)
        entries += (own := entry(each, place))
        data = each.get("data", b"pixels")
        head = (struct.pack("<iiq", 0, 0, len(data)) + own).ljust(256, b"\0")
        segments += segment(b"ZISRAWSUBBLOCK", head + data)
    listing = segment(b"ZISRAWDIRECTORY", struct.pack("<i", len(tiles)).ljust(128, b"\0") + entries)
    if directory is None:
        directory = start + (0 if directory_first else len(segments))
    facts = struct.pack("<ii", 1, 0).ljust(52, b"\0") + struct.pack("<q", directory)
    first = segment(b"ZISRAWFILE", facts.ljust(512, b"\0"))
    return first + (listing + segments if directory_first else segments + listing)


def tile(at: dict[str, int] | None = None, **changes: Any) -> dict[str, Any]:
    """Describe a small grey tile."""
    plain = {"at": at or {}, "x": 0, "y": 0, "w": 8, "h": 6, "type": 1}
    return plain | changes


@pytest.mark.parametrize(
    ("axes", "shape", "dtype"),
    [
        ("yx", (40, 52), "uint8"),
        ("zyx", (5, 40, 52), "uint16"),
        ("czyx", (2, 5, 40, 52), "float32"),
        ("tcyx", (3, 2, 40, 52), "uint8"),
        ("tczyx", (3, 2, 4, 40, 52), "uint16"),
    ],
)
@pytest.mark.parametrize("compression", ["uncompressed:", ZSTD])
def test_every_axis_that_is_longer_than_one(tmp_path: Path, axes, shape, dtype, compression):
    """Each plane is found, and a region of it is read as it was written."""
    data = make_data(shape, dtype)
    write_czi(tmp_path / "v.czi", data, axes, compression_options=compression)
    volume = open_volume(tmp_path / "v.czi")
    header = volume.header
    sizes = dict(zip(axes, shape, strict=True))
    assert (header.axes, header.dtype, header.format) == (axes, np.dtype(dtype), "Zeiss CZI")
    assert header.shape == (sizes.get("z", 1), 40, 52)
    assert (header.num_channels, header.num_timepoints) == (sizes.get("c"), sizes.get("t"))
    assert header.chunk_shape == (1, 40, 52)
    region = (slice(sizes.get("z", 1) // 2, header.shape[0]), slice(7, 30), slice(1, 52))
    for t, c in itertools.product(range(sizes.get("t", 1)), range(sizes.get("c", 1))):
        expected = part_of(data, axes, c, t)[region]
        read = volume.read(region, channel=c, timepoint=t)
        assert read.dtype == header.dtype
        assert np.array_equal(read, expected)
    volume.close()


def test_axes_of_length_one_are_left_out(tmp_path: Path, stack):
    """One channel at one time point is zyx, though the file names all dimensions."""
    write_czi(tmp_path / "v.czi", stack[None, None], "tczyx")
    volume = open_volume(tmp_path / "v.czi")
    assert (volume.header.axes, volume.header.shape) == ("zyx", stack.shape)
    assert np.array_equal(volume.read(whole(stack.shape)), stack)
    volume.close()


def test_dimensions_need_not_start_at_nought(tmp_path: Path):
    """The first plane, channel and time point of a part that was cut out keep their numbers."""
    data = make_data((2, 2, 3, 6, 8), "uint16")
    write_czi(tmp_path / "v.czi", data, "tczyx", first={"T": 4, "C": 1, "Z": 7})
    volume = open_volume(tmp_path / "v.czi")
    assert volume.header.axes == "tczyx"
    for t, c in itertools.product(range(2), range(2)):
        read = volume.read(whole((3, 6, 8)), channel=c, timepoint=t)
        assert np.array_equal(read, data[t, c])
    volume.close()
    write_czi(tmp_path / "one.czi", data[:1, :1], "tczyx", first={"T": 4, "C": 1, "Z": 7})
    volume = open_volume(tmp_path / "one.czi")
    assert np.array_equal(volume.read(whole((3, 6, 8))), data[0, 0])
    volume.close()


def test_tiles_are_composed(tmp_path: Path):
    """A mosaic starts at its first tile, is 0 between tiles, and later tiles lie on top."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    places = [(-30, 12), (-14, 12), (10, 20)]  # x, y
    tiles = make_data((3, 16, 20), "uint16")
    expected = np.zeros((24, 60), "uint16")
    with czi.create_czi(str(tmp_path / "m.czi")) as writer:
        for (x, y), values in zip(places, tiles, strict=True):
            writer.write(values, location=(x, y))
            expected[y - 12 : y + 4, x + 30 : x + 50] = values
    volume = open_volume(tmp_path / "m.czi")
    assert volume.header.shape == (1, 24, 60)
    assert volume.header.chunk_shape == (1, 16, 20)
    assert np.array_equal(volume.read(whole((1, 24, 60)))[0], expected)
    assert np.array_equal(
        volume.read((slice(0, 1), slice(5, 22), slice(13, 57)))[0], expected[5:22, 13:57]
    )
    volume.close()


def test_tiles_of_the_pyramid_are_left_out(tmp_path: Path):
    """Coarser tiles, which may reach beyond the image, make it neither larger nor worse."""
    data = make_data((6, 8), "uint16")
    fine = tile({"C": 0, "M": 0}, data=data.tobytes())
    coarse = tile({"C": 0}, w=12, h=12, stored=4, data=bytes(32))
    (tmp_path / "p.czi").write_bytes(hand_made([coarse, fine]))
    pytest.importorskip("pylibCZIrw.czi")
    volume = open_volume(tmp_path / "p.czi")
    assert volume.header.shape == (1, 6, 8)
    assert np.array_equal(volume.read(whole((1, 6, 8)))[0], data)
    volume.close()


def test_voxel_sizes_are_in_nanometres(tmp_path: Path, stack):
    """CZI writes metres; what is missing, 0 or no length in metres is unknown."""
    for scale, expected in (
        ((4e-8, 5e-9, 4.1e-9), (40.0, 5.0, 4.1)),
        ((0.0, 5e-9, 4e-9), None),
        ((0.04, 0.005, 0.004), None),  # micrometres in the place of metres
        (None, None),
    ):
        path = tmp_path / f"{scale}.czi"
        write_czi(path, stack, "zyx", scale=scale)
        assert open_volume(path).header.voxel_size == expected
    write_czi(tmp_path / "plane.czi", stack[0], "yx", scale=(0.0, 5e-9, 4e-9))
    assert open_volume(tmp_path / "plane.czi").header.voxel_size == (5.0, 5.0, 4.0)


def test_threads_share_a_file(tmp_path: Path, stack):
    """Many threads read different regions at the same time."""
    write_czi(tmp_path / "v.czi", stack, "zyx", compression_options=ZSTD)
    volume = open_volume(tmp_path / "v.czi")

    def agrees(number: int) -> bool:
        z, y, x = (number % (n - 4) for n in stack.shape)
        region = (slice(z, z + 3), slice(y, y + 4), slice(x, x + 4))
        return np.array_equal(volume.read(region), stack[region])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(agrees, range(400)))
    volume.close()


def test_it_is_described_and_told_apart(tmp_path: Path, stack):
    """What info shows, and the samples that tell one input from another."""
    write_czi(tmp_path / "v.czi", stack, "zyx", scale=(4e-8, 8e-9, 8e-9))
    found = describe(tmp_path / "v.czi")
    assert (found.format, found.axes, found.stored_shape) == ("Zeiss CZI", "zyx", stack.shape)
    assert found.voxel_size_nm == (40.0, 8.0, 8.0)
    assert found.level_shapes == (stack.shape,)
    np.save(tmp_path / "v.npy", stack)
    ours, other = open_volume(tmp_path / "v.czi"), open_volume(tmp_path / "v.npy")
    assert fingerprint(ours) == fingerprint(other)
    ours.close()


def test_neither_axes_nor_levels_can_be_chosen(tmp_path: Path):
    """The file knows its axes; saying the same is allowed."""
    path = tmp_path / "v.czi"
    path.write_bytes(hand_made([tile({"Z": z}, data=bytes(96)) for z in range(3)]))
    with pytest.raises(OptionError, match=r"--axes tyx: .*v\.czi says itself .* zyx: leave"):
        open_volume(path, axes="tyx")
    with pytest.raises(OptionError, match=r"--level 1: .* one level, 0"):
        open_volume(path, level=1)
    pytest.importorskip("pylibCZIrw.czi")
    volume = open_volume(path, axes="ZYX")
    assert volume.header.shape == (3, 6, 8)
    volume.close()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch):
    """Without pylibCZIrw a sound file names the extra."""
    monkeypatch.setitem(sys.modules, "pylibCZIrw", None)
    monkeypatch.setitem(sys.modules, "pylibCZIrw.czi", None)
    path = tmp_path / "v.czi"
    path.write_bytes(hand_made([tile()]))
    with pytest.raises(MissingExtraError, match=r"v\.czi, a Zeiss CZI file, .*'vemctl\[czi\]'"):
        open_volume(path)


def test_it_is_known_by_its_name_and_by_its_content(tmp_path: Path):
    """A folder of CZI files is a folder of volumes; a renamed file is still one."""
    for name in ("a.czi", "b.CZI"):
        (tmp_path / name).write_bytes(hand_made([tile(), tile({"S": 1})]))
    assert [path.name for path in volumes_at(tmp_path)] == ["a.czi", "b.CZI"]
    (tmp_path / "scan.dat").write_bytes((tmp_path / "a.czi").read_bytes())
    with pytest.raises(InputError, match="holds 2 scenes"):
        open_volume(tmp_path / "scan.dat")


REFUSED = {
    "scenes": ([tile({"S": s}) for s in range(3)], r"holds 3 scenes: .* Split Scenes"),
    "colour": ([tile(type=3)], r"a colour image \(Bgr24\): .* grey image"),
    "types": (
        [tile({"C": 0}, type=0), tile({"C": 1})],
        r"several types \(channel 0 Gray8, channel 1 Gray16\): .* one by one",
    ),
    "complex": ([tile(type=10)], "type Gray64ComplexFloat: expected Gray8, Gray16, Gray32Float"),
    "unknown": ([tile(type=77)], "type number 77: expected"),
    "phases": ([tile({"H": h}) for h in range(5)], r"holds 5 phases \(dimension H\)"),
    "jpeg": ([tile(compression=1)], "compression JPEG is not read: save"),
    "planes": (
        [tile({"T": t, "Z": z}) for t in range(2) for z in range(3, 6) if t * z < 5],
        "1 of 6 planes are missing, the first at time point 1, z 2: was the acquisition stopped",
    ),
    "set": ([tile(), tile({"Z": 1}, part=1)], "one file of a set"),
    "empty": ([], "without an image"),
    "pyramid only": ([tile(stored=4)], "without an image"),
    "no width": ([tile(w=0)], "directory is damaged .entry 0 of 1: sizes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_single_grey_image_is_refused(tmp_path: Path, case):
    """One line says what is there and how to get what can be read."""
    tiles, expected = REFUSED[case]
    (tmp_path / "v.czi").write_bytes(hand_made(tiles))
    with pytest.raises(InputError, match=expected) as refusal:
        open_volume(tmp_path / "v.czi")
    assert str(refusal.value).startswith(f"{tmp_path / 'v.czi'}: ")
    assert "\n" not in str(refusal.value)


def test_what_is_no_czi_file_is_refused(tmp_path: Path):
    """Empty files, other files, and those that were never finished."""
    path = tmp_path / "v.czi"
    for content, expected in (
        (b"", "no CZI file .0 bytes"),
        (b"hello world", "no CZI file .11 bytes, starts with b'hell'"),
        (b"ZISRAWFILE", "truncated to 10 bytes"),
        (hand_made([tile()], directory=0), "without a directory: .* did not finish"),
        (hand_made([tile()], directory=32), "damaged: expected ZISRAWDIRECTORY at byte 32"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=expected):
            open_volume(path)


@pytest.mark.parametrize("directory_first", [False, True])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, directory_first):
    """A file without its end is never taken for a smaller volume."""
    path = tmp_path / "v.czi"
    content = hand_made([tile({"Z": z}) for z in range(2)], directory_first=directory_first)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"truncated|no CZI file"):
            open_volume(path)
    with pytest.raises(InputError, match=rf"ends at byte {len(content)}, the file has {length}; "):
        open_volume(path)


def test_damaged_pixels_name_the_region(tmp_path: Path, stack):
    """Bit rot is reported where it is read."""
    path = tmp_path / "v.czi"
    write_czi(path, stack, "zyx", compression_options=ZSTD)
    content = bytearray(path.read_bytes())
    tiles = [at for at in range(len(content)) if content.startswith(b"ZISRAWSUBBLOCK", at)]
    assert len(tiles) == len(stack)
    frame = content.index(b"\x28\xb5\x2f\xfd", tiles[5])
    content[frame : frame + 40] = bytes(40)
    path.write_bytes(content)
    volume = open_volume(path)
    assert np.array_equal(volume.read((slice(0, 5), slice(0, 40), slice(0, 52))), stack[:5])
    with pytest.raises(InputError, match=r"v\.czi: cannot read z 5:6") as refusal:
        volume.read((slice(5, 6), slice(0, 40), slice(0, 52)))
    assert "\n" not in str(refusal.value)
    volume.close()


def test_damaged_metadata_are_refused(tmp_path: Path, stack):
    """A file whose description cannot be read was not copied whole."""
    path = tmp_path / "v.czi"
    write_czi(path, stack, "zyx", scale=(4e-8, 8e-9, 8e-9))
    content = path.read_bytes()
    assert content.count(b"</Scaling>") == 1
    path.write_bytes(content.replace(b"</Scaling>", b"<<Scaling>"))
    with pytest.raises(InputError, match=r"v\.czi: no readable CZI file \(.*; copy or export"):
        open_volume(path)
    path.write_bytes(content.replace(b"<Value>4e-08</Value>", b"<Value>about</Value>"))
    volume = open_volume(path)
    assert volume.header.voxel_size is None
    volume.close()
