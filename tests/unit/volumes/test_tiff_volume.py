"""TIFF in its dialects, whole and truncated."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from unit.volumes.conftest import whole

from vemctl.errors import InputError, OptionError
from vemctl.volumes.open import open_volume

DIALECTS = {
    "plain": {},
    "no metadata": {"metadata": None},
    "big, big-endian": {"bigtiff": True, "byteorder": ">"},
    "zlib": {"compression": "zlib"},
    "lzw": {"compression": "lzw", "predictor": True},
    "tiles": {"tile": (16, 16), "compression": "zlib"},
    "strips": {"rowsperstrip": 4, "compression": "zlib"},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "big ome": {"ome": True, "bigtiff": True, "metadata": {"axes": "ZYX"}},
    "ome zlib": {"ome": True, "compression": "zlib", "metadata": {"axes": "ZYX"}},
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stack_of_pages_is_zyx(tmp_path: Path, stack, dialect):
    """Pages are planes in every dialect, and a region is read as it is."""
    tifffile.imwrite(tmp_path / "s.tif", stack, **DIALECTS[dialect])
    volume = open_volume(tmp_path / "s.tif")
    assert volume.header.axes == "zyx"
    assert volume.header.dtype.isnative
    region = (slice(3, 9), slice(7, 30), slice(1, 52))
    assert np.array_equal(volume.read(region), stack[region])
    volume.close()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kept", [0.95, 0.5, 0.1])
@pytest.mark.filterwarnings("ignore")
def test_a_truncated_file_is_refused(tmp_path: Path, stack, dialect, kept):
    """A file without its end is never taken for a smaller volume."""
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, stack, **DIALECTS[dialect])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match="truncated"):
        open_volume(path)


def test_a_truncated_imagej_file_with_one_header_is_refused(tmp_path: Path, stack):
    """ImageJ's files above 4 GB have a header for the first plane only."""
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path, imagej=True) as tif:
        tif.write(stack, metadata={"axes": "ZYX"}, truncate=True)
    volume = open_volume(path)
    assert np.array_equal(volume.read(whole(stack.shape)), stack)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - stack[0].nbytes * 3])
    with pytest.raises(InputError, match=r"truncated: .*12 planes"):
        open_volume(path)


def test_a_set_of_ome_files_that_lacks_one_is_refused(tmp_path: Path, stack):
    """Planes in a missing file of a set are not read as zeros."""
    xml = tifffile.OmeXml()
    xml.addimage(np.dtype("uint16"), (12, 40, 52), (12, 1, 1, 40, 52, 1), axes="ZYX")
    text = xml.tostring()
    first = '<TiffData IFD="0" PlaneCount="12"/>'
    assert first in text
    text = text.replace(
        first,
        '<TiffData IFD="0" PlaneCount="6"/><TiffData FirstZ="6" IFD="0" PlaneCount="6">'
        '<UUID FileName="other.ome.tif">urn:uuid:0b2b3c1e-0000-1000-8000-000000000001</UUID>'
        "</TiffData>",
    )
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, stack[:6], description=text.encode(), metadata=None, contiguous=False)
    with pytest.raises(InputError, match="missing"):
        open_volume(path)


def test_damaged_compressed_data_name_the_region(tmp_path: Path, stack):
    """Bit rot is reported where it is read."""
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, stack, compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[5].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 60] = bytes(60)
    path.write_bytes(content)
    volume = open_volume(path)
    assert np.array_equal(volume.read((slice(0, 5), slice(0, 40), slice(0, 52))), stack[:5])
    with pytest.raises(InputError, match=r"s\.tif: cannot read z 5:6"):
        volume.read((slice(5, 6), slice(0, 40), slice(0, 52)))
    volume.close()


def test_voxel_sizes_are_in_nanometres(tmp_path: Path, stack):
    """OME and ImageJ write micrometres or other units."""
    tifffile.imwrite(
        tmp_path / "o.tif",
        stack,
        ome=True,
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 4.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.005,
            "PhysicalSizeZ": 400,
            "PhysicalSizeZUnit": "Å",
        },
    )
    assert open_volume(tmp_path / "o.tif").header.voxel_size == (40.0, 5.0, 4.0)
    for unit, factor in (("nm", 1.0), ("micron", 1e3), ("\\u00B5m", 1e3), ("mm", 1e6)):
        tifffile.imwrite(
            tmp_path / "i.tif",
            stack,
            imagej=True,
            resolution=(factor / 4, factor / 5),
            metadata={"axes": "ZYX", "spacing": 40 / factor, "unit": unit},
        )
        found = open_volume(tmp_path / "i.tif").header.voxel_size
        assert found == pytest.approx((40, 5, 4), rel=1e-5)
    tifffile.imwrite(tmp_path / "p.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    assert open_volume(tmp_path / "p.tif").header.voxel_size is None


def test_axes_that_are_not_said_are_asked_for(tmp_path: Path, stack):
    """Four dimensions without metadata are refused with a guess that works; two are y and x."""
    tifffile.imwrite(tmp_path / "p.tif", stack[0])
    for axes in (None, "yx", "xy"):
        header = open_volume(tmp_path / "p.tif", axes=axes).header
        assert header.axes == (axes or "yx")
        assert header.shape == ((1, 52, 40) if axes == "xy" else (1, 40, 52))
    tifffile.imwrite(tmp_path / "f.tif", stack.reshape(2, 6, 40, 52))
    with pytest.raises(InputError, match="pass --axes czyx"):
        open_volume(tmp_path / "f.tif")
    assert open_volume(tmp_path / "f.tif", axes="czyx").header.num_channels == 2
    with pytest.raises(OptionError, match="names 3 axes"):
        open_volume(tmp_path / "f.tif", axes="zyx")


def test_colours_are_channels_only_when_asked(tmp_path: Path):
    """A colour image is refused until the user says what the colours are."""
    colours = np.arange(50 * 60 * 3, dtype=np.uint8).reshape(50, 60, 3)
    tifffile.imwrite(tmp_path / "c.tif", colours, photometric="rgb")
    with pytest.raises(InputError, match=r"colour image.*--axes yxc"):
        open_volume(tmp_path / "c.tif")
    volume = open_volume(tmp_path / "c.tif", axes="yxc")
    read = volume.read((slice(0, 1), slice(0, 50), slice(0, 60)), channel=2)
    assert np.array_equal(read[0], colours[..., 2])
    volume.close()


@pytest.mark.parametrize(("kind", "cure"), [("bool", "uint8"), ("complex64", "magnitude")])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, stack, kind, cure):
    """Masks and complex images are refused with the cure."""
    tifffile.imwrite(tmp_path / "b.tif", stack.astype(kind))
    with pytest.raises(InputError, match=cure):
        open_volume(tmp_path / "b.tif")


def test_images_of_several_sizes_are_refused(tmp_path: Path, stack):
    """None of several images is picked by chance."""
    with tifffile.TiffWriter(tmp_path / "m.tif") as tif:
        tif.write(stack[0], metadata=None)
        tif.write(stack[0, :20], metadata=None)
    with pytest.raises(InputError, match="holds 2 images"):
        open_volume(tmp_path / "m.tif")


def test_levels_of_a_tiff_pyramid(tmp_path: Path, stack):
    """Lower levels of an OME-TIFF are opened with their own voxel size."""
    path = tmp_path / "p.ome.tif"
    sizes = {"PhysicalSizeX": 0.004, "PhysicalSizeY": 0.004, "PhysicalSizeZ": 0.04}
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(stack, subifds=1, tile=(16, 16), metadata={"axes": "ZYX"} | sizes)
        tif.write(stack[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    finest, second = open_volume(path), open_volume(path, level=1)
    assert (finest.header.num_levels, second.header.shape) == (2, (12, 20, 26))
    assert second.header.voxel_size == (40.0, 8.0, 8.0)
    assert np.array_equal(finest.read(whole(stack.shape)), stack)
    assert np.array_equal(second.read(whole((12, 20, 26))), stack[:, ::2, ::2])
    finest.close()
    second.close()
    with pytest.raises(OptionError, match="levels 0 to 1"):
        open_volume(path, level=2)


def test_a_missing_codec_names_the_extra(tmp_path: Path, stack):
    """Without imagecodecs an LZW file says what to install."""
    path = tmp_path / "l.tif"
    tifffile.imwrite(path, stack, compression="lzw")
    script = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from pathlib import Path\n"
        "from vemctl.errors import MissingExtraError\n"
        "from vemctl.volumes.open import open_volume\n"
        "try: open_volume(Path(sys.argv[1]))\n"
        "except MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    assert "LZW" in done.stdout
    assert "vemctl[codecs]" in done.stdout


def test_a_folder_of_planes_is_sorted_by_number(tmp_path: Path, stack):
    """Plane 10 follows plane 9, and hidden and other files are no planes."""
    for z, plane in enumerate(stack):
        options = {"compression": "zlib"} if z % 2 else {"byteorder": ">"}
        tifffile.imwrite(tmp_path / f"plane{z}.tif", plane, **options)
    (tmp_path / "._plane0.tif").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("x")
    volume = open_volume(tmp_path)
    assert volume.header.shape == stack.shape
    region = (slice(3, 12), slice(7, 30), slice(1, 52))
    assert np.array_equal(volume.read(region), stack[region])
    tifffile.imwrite(tmp_path / "plane7.tif", stack[7, :20])
    with pytest.raises(InputError, match=r"plane7\.tif.*\(20, 52\).*plane0\.tif"):
        open_volume(tmp_path)
    (tmp_path / "plane7.tif").write_bytes((tmp_path / "plane6.tif").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"plane7\.tif: truncated"):
        open_volume(tmp_path)


def test_what_is_no_tiff_is_refused(tmp_path: Path):
    """A wrong suffix, an empty file and a file without pages are told apart from volumes."""
    for content in (b"", b"hello world, no tiff", b"II*\0\0\0\0\0"):
        (tmp_path / "x.tif").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.tif: (no|a) TIFF"):
            open_volume(tmp_path / "x.tif")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_planes_written_one_by_one_are_a_stack(tmp_path: Path, stack, options):
    """Tifffile describes each as an image of its own."""
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as tif:
        for plane in stack:
            tif.write(plane, contiguous=False, **options)
    with tifffile.TiffFile(path) as tif:
        assert len(tif.series) == 12
    volume = open_volume(path)
    assert (volume.header.axes, volume.header.shape) == ("zyx", stack.shape)
    region = (slice(3, 9), slice(7, 30), slice(1, 52))
    assert np.array_equal(volume.read(region), stack[region])
    volume.close()


@pytest.mark.parametrize("other", ["shape", "dtype", "stack", "colour"])
def test_unequal_images_written_one_by_one_are_no_stack(tmp_path: Path, stack, other):
    """Only grey planes of one shape and type are put together."""
    images = {
        "shape": [stack[0], stack[0, :20]],
        "dtype": [stack[0], stack[0].astype("uint8")],
        "stack": [stack[:3], stack[3:6]],
        "colour": [np.zeros((40, 52, 3), "uint8")] * 2,
    }[other]
    with tifffile.TiffWriter(tmp_path / "s.tif") as tif:
        for one in images:
            tif.write(
                one, photometric="rgb" if other == "colour" else "minisblack", contiguous=False
            )
    with pytest.raises(InputError, match="holds 2 images"):
        open_volume(tmp_path / "s.tif")
