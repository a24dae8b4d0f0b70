"""Folders of stacks, one per time point."""

import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from unit.volumes.conftest import make_data, make_layout, whole, write_volume

from vemctl.errors import InputError, OptionError
from vemctl.volumes import open as opening
from vemctl.volumes.describe import describe
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.open import open_volume
from vemctl.volumes.stack_folder import MOST_OPEN, StackFolder
from vemctl.volumes.view import crop, in_time
from vemctl.volumes.volume import Array

SHAPE = (5, 12, 16)


def write_mrc(path: Path, stack: Array) -> None:
    with mrcfile.new(path) as file:
        file.set_data(stack)
        file.voxel_size = (80.0, 80.0, 400.0)


def write_imagej(path: Path, stack: Array) -> None:
    tifffile.imwrite(
        path,
        stack,
        imagej=True,
        resolution=(125, 125),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.04},
    )


def write_ome(path: Path, stack: Array) -> None:
    sizes = {"PhysicalSizeZ": 0.04, "PhysicalSizeY": 0.008, "PhysicalSizeX": 0.008}
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": "ZYX", **sizes})


def write_zlib(path: Path, stack: Array) -> None:
    tifffile.imwrite(path, stack, compression="zlib")


def write_zarr(path: Path, stack: Array) -> None:
    write_volume(path, stack, make_layout("zyx", stack.shape, stack.dtype.name))


WRITERS: dict[str, tuple[str, Callable[[Path, Array], None], str]] = {
    "plain": (".tif", tifffile.imwrite, "TIFF"),
    "zlib": (".tif", write_zlib, "TIFF"),
    "imagej": (".tif", write_imagej, "ImageJ TIFF"),
    "ome": (".ome.tif", write_ome, "OME-TIFF"),
    "mrc": (".mrc", write_mrc, "MRC"),
    "npy": (".npy", np.save, "NumPy array"),
    "zarr": (".zarr", write_zarr, "OME-Zarr 0.5"),
}


def write_series(folder: Path, data: Array, kind: str = "plain") -> Path:
    """Write one file per time point, with numbers that must be sorted as numbers."""
    folder.mkdir(exist_ok=True)
    suffix, write, _ = WRITERS[kind]
    for t, stack in enumerate(data):
        write(folder / f"t{t + 8}{suffix}", stack)
    return folder


@pytest.fixture
def series() -> Array:
    """Return four time points, so that t8, t9, t10 and t11 are written."""
    return make_data((4, *SHAPE), "uint16")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_of_stacks_is_a_time_series(tmp_path: Path, series, kind):
    """Each file is a time point; hidden files, tables and notes are none."""
    folder = write_series(tmp_path / "series", series, kind)
    for name in ("._t8.tif", "settings.json", "times.csv", "notes.txt", "t8.tif.vemctl.json"):
        (folder / name).write_text("{}")
    volume = open_volume(folder)
    header = volume.header
    assert (header.axes, header.shape, header.num_timepoints) == ("tzyx", SHAPE, 4)
    assert (header.num_channels, header.dtype) == (None, np.dtype("uint16"))
    assert header.format == f"folder of stacks ({WRITERS[kind][2]})"
    assert header.path == folder
    known = None if kind in ("plain", "zlib", "npy") else (40.0, 8.0, 8.0)
    assert header.voxel_size == pytest.approx(known)
    region = (slice(1, 3), slice(2, 9), slice(0, 16))
    for t in (0, 3, 1, 2):
        assert np.array_equal(volume.read(region, timepoint=t), series[(t, *region)])
    seen = in_time(crop(volume, region), 2)
    assert np.array_equal(seen.read(whole((2, 7, 16)), timepoint=1), series[(3, *region)])
    with pytest.raises(ValueError, match="time point 4"):
        volume.read(region, timepoint=4)
    seen.close()


def test_channels_stay(tmp_path: Path):
    """Stacks with channels are a series with channels, in whatever order each file has them."""
    data = make_data((2, 5, 2, 12, 16), "uint16")
    for t, stack in enumerate(data):
        metadata = {"axes": "ZCYX"}
        tifffile.imwrite(tmp_path / f"t{t}.tif", stack, imagej=True, metadata=metadata)
    volume = open_volume(tmp_path)
    assert volume.header.axes == "tzcyx"
    assert (volume.header.num_timepoints, volume.header.num_channels) == (2, 2)
    found = volume.read(whole(SHAPE), channel=1, timepoint=1)
    assert np.array_equal(found, data[1, :, 1])
    with pytest.raises(ValueError, match="channel 2"):
        volume.read(whole(SHAPE), channel=2)


def test_stacks_behind_one_page_header_are_no_planes(tmp_path: Path, series):
    """ImageJ and others describe a large stack in the header of its first page."""
    for t, stack in enumerate(series):
        with tifffile.TiffWriter(tmp_path / f"t{t}.tif", imagej=t < 2) as tif:
            tif.write(stack, truncate=True, **({"metadata": {"axes": "ZYX"}} if t < 2 else {}))
    volume = open_volume(tmp_path)
    assert (volume.header.axes, volume.header.num_timepoints) == ("tzyx", 4)
    assert np.array_equal(volume.read(whole(SHAPE), timepoint=3), series[3])


@pytest.mark.parametrize("axes", ["czyx", "tczyx", " TCZYX"])
def test_axes_are_those_of_the_whole_or_of_one(tmp_path: Path, axes):
    """Where files do not say, --axes names the axes of the series or those of each file."""
    data = make_data((3, 2, *SHAPE))
    write_series(tmp_path, data, "npy")
    with pytest.raises(InputError, match=r"t8\.npy.*pass --axes czyx"):
        open_volume(tmp_path)
    volume = open_volume(tmp_path, axes=axes)
    assert volume.header.axes == "tczyx"
    assert np.array_equal(volume.read(whole(SHAPE), channel=1, timepoint=2), data[2, 1])
    with pytest.raises(OptionError, match=r"--axes tzyx: names 4|--axes tyx: names 3"):
        open_volume(tmp_path, axes="tyx")


def test_a_time_axis_of_one_in_each_file_is_dropped(tmp_path: Path):
    """A file may have a time axis if it has but one time point."""
    data = make_data((3, 1, *SHAPE))
    write_series(tmp_path, data, "npy")
    for axes in ("tzyx", "ttzyx"):
        volume = open_volume(tmp_path, axes=axes)
        assert volume.header.axes == "tzyx"
        assert volume.header.num_timepoints == 3
        assert np.array_equal(volume.read(whole(SHAPE), timepoint=2), data[2, 0])


def test_a_stack_alone_is_itself(tmp_path: Path, series):
    """A folder with one stack is no series."""
    write_series(tmp_path, series[:1])
    volume = open_volume(tmp_path)
    assert (volume.header.axes, volume.header.num_timepoints) == ("zyx", None)
    assert np.array_equal(volume.read(whole(SHAPE)), series[0])


@pytest.mark.parametrize("axes", [None, "tyx"])
def test_single_planes_stay_a_stack_unless_axes_say_else(tmp_path: Path, series, axes):
    """A folder of TIFF planes is one stack as ever, whatever else lies in it."""
    write_series(tmp_path, series[:, 0])
    np.save(tmp_path / "dark.npy", series[0])
    volume = open_volume(tmp_path, axes=axes)
    assert (volume.header.axes, volume.header.format) == (axes or "zyx", "folder of TIFF planes")
    assert volume.header.num_timepoints == (4 if axes else None)


def test_a_set_of_ome_planes_stays_a_stack(tmp_path: Path, series):
    """Each file of a set describes the whole set and is still one plane."""
    text = ome_set(4, planes_each=1)
    for z in range(4):
        path = tmp_path / f"p{z}.ome.tif"
        tifffile.imwrite(path, series[0, 0] + z, description=text, metadata=None)
    volume = open_volume(tmp_path)
    assert (volume.header.axes, volume.header.shape) == ("zyx", (4, 12, 16))
    assert np.array_equal(volume.read(whole((4, 12, 16)))[3], series[0, 0] + 3)


def test_a_set_of_ome_stacks_is_no_series(tmp_path: Path, series):
    """Each file of such a set stands for all of them, which would repeat them."""
    text = ome_set(2, planes_each=5)
    for number in range(2):
        path = tmp_path / f"p{number}.ome.tif"
        tifffile.imwrite(path, series[number], description=text, metadata=None)
    with pytest.raises(InputError, match=r"p0\.ome\.tif: one of a set of OME-TIFF files"):
        open_volume(tmp_path)


def ome_set(num_files: int, planes_each: int) -> str:
    """Describe a stack whose planes lie in several files."""
    count = num_files * planes_each
    xml = tifffile.OmeXml()
    xml.addimage(np.dtype("uint16"), (count, 12, 16), (count, 1, 1, 12, 16, 1), axes="ZYX")
    whole_file = f'<TiffData IFD="0" PlaneCount="{count}"/>'
    text = xml.tostring()
    assert whole_file in text
    parts = "".join(
        f'<TiffData FirstZ="{number * planes_each}" IFD="0" PlaneCount="{planes_each}">'
        f'<UUID FileName="p{number}.ome.tif">urn:uuid:0b2b3c1e-0000-1000-8000-00000000000{number}'
        "</UUID></TiffData>"
        for number in range(num_files)
    )
    return text.replace(whole_file, parts)


def test_planes_that_are_no_tiff_need_their_axes(tmp_path: Path, series):
    """Nobody knows whether they are planes of a stack or time points, but the user."""
    write_series(tmp_path, series[:, 0], "npy")
    with pytest.raises(InputError, match=r"t8\.npy: a single plane: .*need --axes tyx"):
        open_volume(tmp_path)
    volume = open_volume(tmp_path, axes="tyx")
    assert (volume.header.axes, volume.header.num_timepoints) == ("tyx", 4)
    assert np.array_equal(volume.read(whole((1, 12, 16)), timepoint=2)[0], series[2, 0])


def imagej_of(folder: Path, stack: Array, size: float) -> None:
    tifffile.imwrite(
        folder,
        stack,
        imagej=True,
        resolution=(1 / size, 1 / size),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.04},
    )


ODD: dict[str, tuple[Callable[[Path, Array], None], str]] = {
    "shape": (
        lambda path, stack: write_imagej(path, stack[:2]),
        r"t10\.tif: a stack of shape \(2, 12, 16\), not \(5, 12, 16\) as that of t8\.tif",
    ),
    "dtype": (
        lambda path, stack: write_imagej(path, stack.astype("uint8")),
        r"t10\.tif: values of type uint8, not uint16 as those of t8\.tif",
    ),
    "channels": (
        lambda path, stack: tifffile.imwrite(
            path, np.stack([stack, stack], 1), imagej=True, metadata={"axes": "ZCYX"}
        ),
        r"t10\.tif: 2 channels, not 1 as those of t8\.tif",
    ),
    "time points": (
        lambda path, stack: tifffile.imwrite(
            path, np.stack([stack, stack]), imagej=True, metadata={"axes": "TZYX"}
        ),
        r"t10\.tif: 2 time points in one file",
    ),
    "voxel size": (
        lambda path, stack: imagej_of(path, stack, 0.009),
        r"t10\.tif: voxels of \(40.*, 9.*, 9.*\) nm, not .* as those of t8\.tif",
    ),
    "truncated": (
        lambda path, stack: path.write_bytes(path.read_bytes()[:900]),
        r"t10\.tif: truncated",
    ),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.filterwarnings("ignore")
def test_a_stack_that_differs_is_named(tmp_path: Path, series, what):
    """The first file that does not fit is told, with what is odd about it, in one line."""
    write_series(tmp_path, series, "imagej")
    spoil, words = ODD[what]
    spoil(tmp_path / "t10.tif", series[2])
    with pytest.raises(InputError, match=words) as caught:
        open_volume(tmp_path)
    assert "\n" not in str(caught.value)


def test_voxel_sizes_may_be_rounded_or_untold(tmp_path: Path, series):
    """The voxel size is the first one's."""
    write_series(tmp_path, series, "imagej")
    imagej_of(tmp_path / "t9.tif", series[1], 0.0080004)
    tifffile.imwrite(tmp_path / "t10.tif", series[2])
    assert open_volume(tmp_path).header.voxel_size == pytest.approx((40.0, 8.0, 8.0))


def test_stacks_of_several_kinds_are_refused(tmp_path: Path, series):
    """A series is of one kind of file."""
    write_series(tmp_path, series)
    write_series(tmp_path, series[:1], "mrc")
    with pytest.raises(InputError, match="a folder of 4 TIFF and 1 MRC or DeltaVision"):
        open_volume(tmp_path)


def test_names_that_differ_in_more_than_numbers_are_refused(tmp_path: Path, series):
    """A noisy and a clean volume in one folder are no time series."""
    for name in ("noisy.zarr", "clean.zarr"):
        write_zarr(tmp_path / name, series[0])
    with pytest.raises(InputError, match=r"noisy\.zarr: its name differs from .*clean\.zarr"):
        open_volume(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ("Illum488_Cyc1_Ch1_St5", "Illum560_Cyc1_Ch2_St5", "Illum"),
        ("Cyc1_Ch1_St5", "Cyc1_Ch2_St5", "Ch"),
        ("Cyc1_Ch1_St5", "Cyc2_Ch2_St6", "Ch"),
        ("cell-C-01", "cell-C-02", "C"),
        ("cellC1", "cellC2", "C"),
        ("t1_w1", "t2_w2", "w"),
        ("CHANNEL_0", "CHANNEL_1", "CHANNEL"),
        ("wavelength488", "wavelength560", "wavelength"),
        ("lambda-488", "lambda-560", "lambda"),
        ("Laser_0488", "Laser_0560", "Laser"),
    ],
)
def test_channels_are_no_time_points(tmp_path: Path, series, first, second, word):
    """Numbers that count channels are refused, whatever else differs, in one line with the cure."""
    for name, stack in zip((first, second), series[:2], strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", stack)
    with pytest.raises(InputError) as caught:
        open_volume(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / second}.tif: its name differs from that of {first}.tif in the number behind "
        f'"{word}", which counts channels and not time points: put the stacks of each channel into '
        "a folder of their own, or all channels into one file, for --channel"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Illum488_Cyc1_Ch1_St5", "Illum488_Cyc2_Ch1_St5"),
        ("scan_Cam0_ch0_stack0000_488nm_0000000msec", "scan_Cam0_ch0_stack0001_488nm_0000913msec"),
        ("batch1", "batch2"),
        ("mic_w1_t01", "mic_w01_t02"),
        ("2026-01-02_103015", "2026-01-02_103020"),
    ],
)
def test_several_numbers_may_count_time(tmp_path: Path, series, first, second):
    """Cycles, stacks and time stamps; the number of the one channel stays."""
    for name, stack in zip((first, second), series[:2], strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", stack)
    volume = open_volume(tmp_path)
    assert volume.header.num_timepoints == 2
    assert np.array_equal(volume.read(whole(SHAPE), timepoint=1), series[1])


@pytest.mark.parametrize("ome_zarr", ["0.5", "0.4"])
def test_levels_are_those_of_every_stack(tmp_path: Path, ome_zarr):
    """A folder of pyramids is opened at any of their levels; one of them stays one volume."""
    data = make_data((2, 6, 300, 40), "uint16")
    for t, stack in enumerate(data):
        layout = make_layout("zyx", stack.shape, "uint16", ome_zarr=ome_zarr)
        write_volume(tmp_path / f"t{t}.zarr", stack, layout)
    volume = open_volume(tmp_path, level=1)
    assert (volume.header.shape, volume.header.num_levels) == ((6, 150, 20), 2)
    alone = open_volume(tmp_path / "t1.zarr", level=1)
    assert alone.header.axes == "zyx"
    region = whole((6, 150, 20))
    assert np.array_equal(volume.read(region, timepoint=1), alone.read(region))
    with pytest.raises(OptionError, match=r"--level 2: .*t0\.zarr"):
        open_volume(tmp_path, level=2)


def test_a_damaged_store_is_no_gap(tmp_path: Path, series):
    """A store that has lost its metadata is told, and not left out."""
    write_series(tmp_path, series, "zarr")
    (tmp_path / "t10.zarr/zarr.json").unlink()
    with pytest.raises(InputError, match=r"t10\.zarr: a folder of 1 Zarr"):
        open_volume(tmp_path)


@pytest.mark.parametrize("kind", ["zlib", "npy", "zarr"])
def test_a_description_is_of_the_series(tmp_path: Path, series, kind):
    """Sizes and statistics are those of all time points."""
    found = describe(write_series(tmp_path / "series", series, kind))
    assert found.stored_shape == series.shape
    assert found.level_shapes[0] == SHAPE
    assert found.bytes_uncompressed == series.nbytes
    assert found.statistics.mean == pytest.approx(series.mean(), rel=0.05)
    assert found.provenance is None


def print_of(folder: Path) -> dict[str, Any]:
    """Return the fingerprint of a folder."""
    with closing(open_volume(folder)) as volume:
        return fingerprint(volume)


@pytest.mark.parametrize("timepoint", range(4))
@pytest.mark.parametrize("kind", ["zlib", "npy"])
def test_the_fingerprint_changes_with_any_file(tmp_path: Path, series, kind, timepoint):
    """A voxel of any time point counts, and the place of the folder does not."""
    before = print_of(write_series(tmp_path / "series", series, kind))
    assert before == print_of(write_series(tmp_path / "copy", series, kind))
    series[timepoint, 2, 6, 8] += 1
    assert before != print_of(write_series(tmp_path / "series", series, kind))


def test_the_fingerprint_of_large_stacks_sees_their_middle(tmp_path: Path):
    """Of the time points between little is decoded, however large they are."""
    data = np.zeros((3, 2, 1500, 1500), np.uint16)
    folder = write_series(tmp_path / "series", data, "npy")
    before = print_of(folder)
    data[1, :, 750, 750] = 1
    assert before != print_of(write_series(folder, data, "npy"))


@contextmanager
def most_files(count: int) -> Iterator[None]:
    """Allow this process so many files in addition to those that are open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_more_stacks_than_files_may_be_open(tmp_path: Path):
    """Few stacks are open at a time, compressed ones too."""
    data = make_data((60, *SHAPE))
    folder = write_series(tmp_path / "series", data, "zlib")
    print_of(folder)  # what is imported and started late
    with most_files(40):
        volume = open_volume(folder)
        for t, stack in enumerate(data):
            assert np.array_equal(volume.read(whole(SHAPE), timepoint=t), stack)
        volume.close()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the TIFF files that are opened and closed."""
    import vemctl.volumes.tiff_volume

    counts = {"opened": 0, "open": 0, "most": 0}
    lock = threading.Lock()
    actual = vemctl.volumes.tiff_volume.open_tiff

    def open_tiff(path, axes, level):
        volume = actual(path, axes, level)
        closes = volume.close

        def close():
            closes()
            with lock:
                counts["open"] -= 1

        volume.close = close
        with lock:
            counts["opened"] += 1
            counts["open"] += 1
            counts["most"] = max(counts["most"], counts["open"])
        return volume

    monkeypatch.setattr(vemctl.volumes.tiff_volume, "open_tiff", open_tiff)
    return counts


def test_the_last_stacks_stay_open(tmp_path: Path, counted):
    """Blocks of one time point, and of its neighbours, cost one opening each."""
    data = make_data((12, *SHAPE))
    volume = open_volume(write_series(tmp_path / "series", data, "zlib"))
    assert (counted["opened"], counted["open"]) == (12, 0)
    for t in (0, 1, 2, 0, 1, 2, 1):
        volume.read(whole(SHAPE), timepoint=t)
    assert counted["opened"] == 12 + 3
    for t in range(12):
        volume.read(whole(SHAPE), timepoint=t)
    assert counted["opened"] == 12 + 12
    assert counted["most"] == MOST_OPEN
    volume.close()
    assert counted["open"] == 0


def test_threads_read_at_once(tmp_path: Path, counted):
    """A stack is not closed while another thread reads it."""
    data = make_data((20, *SHAPE))
    volume = open_volume(write_series(tmp_path / "series", data, "zlib"))
    places = np.random.default_rng(0).integers(0, 20, 300).tolist()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda t: volume.read(whole(SHAPE), timepoint=t), places))
    assert all(np.array_equal(a, data[t]) for a, t in zip(found, places, strict=True))
    assert counted["open"] <= MOST_OPEN
    volume.close()
    assert counted["open"] == 0


def test_a_stack_in_use_is_closed_when_it_is_given_back(tmp_path: Path, series, monkeypatch):
    """Closing the series leaves alone what another thread reads just then."""
    volume = open_volume(write_series(tmp_path / "series", series, "npy"))
    assert isinstance(volume, StackFolder)
    steps: list[str] = []
    actual = opening.open_volume

    def open_slow(path, **options):
        stack = actual(path, **options)
        reads = stack.read

        def read(*where, **which):
            volume.close()
            steps.append("series closed")
            return reads(*where, **which)

        monkeypatch.setattr(stack, "read", read)
        monkeypatch.setattr(stack, "close", lambda: steps.append("stack closed"))
        return stack

    monkeypatch.setattr(opening, "open_volume", open_slow)
    assert np.array_equal(volume.read(whole(SHAPE), timepoint=1), series[1])
    assert steps == ["series closed", "stack closed"]


def test_a_stack_that_changes_meanwhile_is_refused(tmp_path: Path, series):
    """What is no longer as when the series was opened is told, and so is what is gone."""
    volume = open_volume(write_series(tmp_path, series, "npy"))
    np.save(tmp_path / "t9.npy", series[1, :2])
    with pytest.raises(InputError, match=r"t9\.npy: a stack of shape"):
        volume.read(whole(SHAPE), timepoint=1)
    (tmp_path / "t10.npy").unlink()
    with pytest.raises(InputError, match=r"t10\.npy: no such file"):
        volume.read(whole(SHAPE), timepoint=2)
