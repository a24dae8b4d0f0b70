"""An output on its way: nothing is lost, whenever it is stopped."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from unit.volumes.conftest import (
    fill,
    ignore_progress,
    make_data,
    make_layout,
    whole,
    write_volume,
)

from vemctl.durable import TEMPORARY
from vemctl.errors import InputError, OutputError, ResumeError
from vemctl.volumes import destination as module
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.checks import check_output
from vemctl.volumes.destination import Destination
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance

SHAPE = (6, 40, 50)
NAMES = ["v.zarr", "v.tif", "v.npy", "v.mrc"]


def read_all(path: Path):
    """Read a finished volume."""
    volume = open_volume(path)
    read = volume.read(whole(volume.header.shape))
    volume.close()
    return read


class Stopped(BaseException):
    """As if the process was killed."""


def stopping(function, left):
    """Let a function be called as often as `left` says, then stop."""

    def step(*args, **kwargs):
        if left[0] == 0:
            raise Stopped
        left[0] -= 1
        return function(*args, **kwargs)

    return step


@pytest.mark.parametrize("name", NAMES)
def test_a_swap_that_is_stopped_anywhere_loses_nothing(tmp_path: Path, name, monkeypatch):
    """Stopped before each of its steps, the old or the new volume is there, and resume finishes."""
    old, new = make_data(SHAPE), make_data(SHAPE)[::-1].copy()
    steps = ("write_json", "sync_folder", "sync_file", "finish_metadata", "write_sidecar")
    left = [0]
    for after in range(40):
        folder = tmp_path / str(after)
        folder.mkdir()
        path = folder / name
        write_volume(path, old, make_layout("zyx", SHAPE))
        going = Destination.create(path, make_layout("zyx", SHAPE), overwrite=True)
        fill(going, new)
        left[0] = after

        with monkeypatch.context() as patch:
            for step in steps:
                patch.setattr(module, step, stopping(getattr(module, step), left))
            patch.setattr(Path, "rename", stopping(Path.rename, left))
            patch.setattr(Path, "replace", stopping(Path.replace, left))
            patch.setattr(shutil, "rmtree", stopping(shutil.rmtree, left))
            try:
                going.finish({"run": 2}, ignore_progress)
            except Stopped:
                pass
            else:
                break
        if path.exists():
            assert any(np.array_equal(read_all(path), data) for data in (old, new))
        else:
            assert np.array_equal(read_all(going.partial / "replaced"), old)
            assert np.array_equal(read_all(going.partial / "volume.zarr"), new)
        again = Destination.reopen(path)
        again.finish({"run": 2}, ignore_progress)
        assert np.array_equal(read_all(path), new)
        assert read_provenance(path) == {"run": 2}
        left_over = {p.name for p in folder.iterdir()} - {name, f"{name}.vemctl.json"}
        assert not left_over
    else:
        pytest.fail("it never came through")
    assert after > 4


def test_an_existing_output_is_refused(tmp_path: Path):
    """Without --overwrite neither a finished nor an unfinished output is touched."""
    layout = make_layout("zyx", SHAPE)
    write_volume(tmp_path / "v.zarr", make_data(SHAPE), layout)
    with pytest.raises(OutputError, match="--overwrite"):
        Destination.create(tmp_path / "v.zarr", layout)
    going = Destination.create(tmp_path / "w.zarr", layout)
    with pytest.raises(OutputError, match="--resume"):
        Destination.create(tmp_path / "w.zarr", layout)
    fill(going, make_data(SHAPE))
    shutil.copytree(tmp_path / "v.zarr", tmp_path / "w.zarr")
    with pytest.raises(OutputError, match="--overwrite"):
        going.finish({}, ignore_progress)
    going.discard()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.zarr", "w.zarr"]


def test_resume_needs_something_to_resume(tmp_path: Path):
    """Nothing begun, and finished already, are told apart."""
    with pytest.raises(ResumeError, match="run without --resume"):
        Destination.reopen(tmp_path / "v.zarr")
    write_volume(tmp_path / "v.zarr", make_data(SHAPE), make_layout("zyx", SHAPE))
    with pytest.raises(ResumeError, match="it is finished"):
        Destination.reopen(tmp_path / "v.zarr")


def test_an_output_with_holes_is_never_finished(tmp_path: Path):
    """Finishing before every unit is written is a bug of the caller."""
    going = Destination.create(tmp_path / "v.zarr", make_layout("zyx", SHAPE))
    with pytest.raises(RuntimeError, match="never written"):
        going.finish({}, ignore_progress)


def test_an_unfinished_volume_has_no_provenance(tmp_path: Path):
    """Only what is finished says how it was made."""
    going = Destination.create(tmp_path / "v.zarr", make_layout("zyx", SHAPE))
    assert read_provenance(going.partial / "volume.zarr") is None
    assert read_provenance(tmp_path / "v.tif") is None
    fill(going, make_data(SHAPE))
    going.finish({"a": [1]}, ignore_progress)
    assert (
        read_provenance(tmp_path / "v.zarr") == read_provenance(tmp_path / "v.zarr/0") == {"a": [1]}
    )
    yaozarrs.validate_zarr_store(str(tmp_path / "v.zarr"))


def check(path: Path, *, inputs=(), overwrite=False, resume=False, needed_bytes=1, **more) -> None:
    """Check an output with defaults."""
    check_output(
        path,
        inputs=list(inputs),
        overwrite=overwrite,
        resume=resume,
        needed_bytes=needed_bytes,
        **more,
    )


def test_outputs_that_cannot_be_are_refused_early(tmp_path: Path):
    """Each with the cure, before any work."""
    (tmp_path / "in.zarr").mkdir()
    (tmp_path / "in.zarr/zarr.json").write_text("{}")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr/precious").write_text("")
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "file.zarr").write_text("")
    given = [tmp_path / "in.zarr"]
    for name, message, more in [
        ("v.jpg", "unknown suffix '.jpg': expected one of .zarr", {}),
        ("in.zarr", "is the input itself", {"overwrite": True}),
        ("in.zarr/0/v.zarr", "inside the input", {}),
        ("in.zarr/0/v.zarr", "inside the Zarr store", {"inputs": []}),
        ("a.zarr", "lies inside it", {"inputs": [tmp_path / "a.zarr/0"], "overwrite": True}),
        ("file/v.zarr", "is a file: expected a folder", {}),
        ("folder.zarr", "no Zarr store, which is not replaced", {"overwrite": True}),
        ("folder.tif", "a folder, expected a file", {"overwrite": True}),
        ("file.zarr", "a file, expected a folder", {"overwrite": True}),
        ("v.zarr", "needs 1000000.0 TB but only", {"needed_bytes": 10**18}),
        ("v.tif", "OME-TIFF cannot hold float16", {"layout": make_layout("zyx", SHAPE, "float16")}),
        (
            "v.tif",
            "ImageJ TIFF cannot hold uint32.*--dtype",
            {"layout": make_layout("zyx", SHAPE, "uint32"), "tiff_format": "imagej"},
        ),
        ("v.mrc", "MRC cannot hold int32", {"layout": make_layout("zyx", SHAPE, "int32")}),
    ]:
        with pytest.raises(OutputError, match=message) as raised:
            check(tmp_path / name, **{"inputs": given} | more)
        assert "\n" not in str(raised.value)
    check(tmp_path / "new/folder/v.zarr", inputs=given)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_not_writable_is_refused(tmp_path: Path, monkeypatch):
    """Asked of the system, since root may write anywhere."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match="not writable"):
        check(tmp_path / "v.zarr")


def test_missing_folders_are_made(tmp_path: Path):
    """An output may lie in a folder that does not exist yet."""
    write_volume(tmp_path / "a/b/v.npy", make_data(SHAPE), make_layout("zyx", SHAPE))
    assert np.array_equal(read_all(tmp_path / "a/b/v.npy"), make_data(SHAPE))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_volume_is_the_same_bytes(tmp_path: Path, name):
    """Nothing in a file depends on when it was made."""
    for folder in ("a", "b"):
        write_volume(tmp_path / folder / name, make_data(SHAPE), make_layout("zyx", SHAPE))
    ours = [sorted(p for p in (tmp_path / f).rglob("*") if p.is_file()) for f in ("a", "b")]
    assert len(ours[0]) == len(ours[1]) > 1
    for one, other in zip(*ours, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_tiff_says_what_viewers_need(tmp_path: Path):
    """Grey values, axes and voxel sizes in both dialects."""
    data = make_data((2, 6, 40, 50), "uint16")
    layout = make_layout("czyx", data.shape, "uint16")
    write_volume(tmp_path / "o.tif", data, layout)
    write_volume(tmp_path / "i.tif", data, layout, tiff_format="imagej")
    with tifffile.TiffFile(tmp_path / "o.tif") as tif:
        assert (tif.is_ome, tif.is_bigtiff, tif.series[0].axes) == (True, True, "CZYX")
        assert tif.pages[0].photometric.name == "MINISBLACK"
        assert 'PhysicalSizeZ="0.04"' in tif.ome_metadata
    with tifffile.TiffFile(tmp_path / "i.tif") as tif:
        assert (tif.is_imagej, tif.series[0].axes) == (True, "ZCYX")
        assert tif.imagej_metadata["spacing"] == pytest.approx(0.04)
        assert tif.imagej_metadata["unit"] == "um"
        assert np.array_equal(tif.asarray(), data.transpose(1, 0, 2, 3))


@pytest.mark.parametrize("name", ["v.tif", "v.npy", "v.mrc"])
def test_huge_planes_are_read_few_at_a_time(tmp_path: Path, name, monkeypatch):
    """The budget of an export bounds how many planes are held, and changes no byte."""
    data = make_data(SHAPE)
    write_volume(tmp_path / "a" / name, data, make_layout("zyx", SHAPE))
    monkeypatch.setattr("vemctl.volumes.exports.SLAB_BYTES", 100)
    write_volume(tmp_path / "b" / name, data, make_layout("zyx", SHAPE))
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("name", ["v.zarr", "v.tif"])
def test_a_foreign_partial_folder_is_never_deleted(tmp_path: Path, name):
    """What vemctl did not begin stays, whatever is allowed; what it began may go."""
    partial = tmp_path / f"{name}.partial"
    partial.mkdir()
    (partial / "precious").write_text("x")
    layout = make_layout("zyx", SHAPE)
    for allowed in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match=r"precious, is in the way .*remove it yourself"):
            check(tmp_path / name, **allowed)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="precious, is in the way"):
            Destination.create(tmp_path / name, layout, overwrite=overwrite)
    assert (partial / "precious").read_text() == "x"
    (partial / "precious").rename(partial / f"destination.json.0123{TEMPORARY}")
    check(tmp_path / name, overwrite=True)
    going = Destination.create(tmp_path / name, layout, overwrite=True)
    (partial / "more").mkdir()
    Destination.create(tmp_path / name, layout, overwrite=True)
    (partial / "destination.json").unlink()
    with pytest.raises(OutputError, match="is in the way"):
        going.discard()
    assert partial.exists()


def test_a_removal_that_is_stopped_can_be_repeated(tmp_path: Path, monkeypatch):
    """What tells that a partial folder is ours is removed last."""
    going = Destination.create(tmp_path / "v.zarr", make_layout("zyx", SHAPE))
    (going.partial / "ledger").write_text("x")
    for left in (0, 1):
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", stopping(shutil.rmtree, [left]))
            with pytest.raises(Stopped):
                going.discard()
        assert [p.name for p in going.partial.glob("*.json")] == ["destination.json"]
    going.discard()
    assert not going.partial.exists()


@pytest.mark.parametrize(
    ("attributes", "what"),
    [
        ({"plate": {"wells": []}}, "an OME-Zarr plate"),
        ({"ome": {"plate": {"wells": []}, "version": "0.5"}}, "an OME-Zarr plate"),
        ({"well": {"images": []}}, "a well"),
        ({"bioformats2raw.layout": 3}, "bioformats2raw"),
        ({"ome": {"bioformats2raw.layout": 3}}, "bioformats2raw"),
        ({"bioformats2raw.layout": 3, "multiscales": [{}]}, "bioformats2raw"),
        ({}, "no OME-Zarr image"),
        ({"multiscales": [{}]}, None),
        ({"ome": {"multiscales": [{}]}}, None),
        ({"vemctl": {}}, None),
    ],
)
def test_only_images_arrays_and_empty_folders_are_replaced(tmp_path: Path, attributes, what):
    """A collection of images is not deleted to make room for one."""
    path = tmp_path / "v.zarr"
    group = zarr.create_group(path, attributes=attributes)
    group.create_array("0", data=make_data(SHAPE))
    check(path / ".." / "other.zarr", overwrite=True)
    if what is None:
        check(path, overwrite=True)
        write_volume(path, make_data(SHAPE), make_layout("zyx", SHAPE), overwrite=True)
        return
    for refuse in (
        lambda: check(path, overwrite=True),
        lambda: Destination.create(path, make_layout("zyx", SHAPE), overwrite=True),
    ):
        with pytest.raises(OutputError, match=f"{what}.*not replaced"):
            refuse()
    assert (path / "0").is_dir()


def test_arrays_are_replaced_and_damaged_stores_are_not(tmp_path: Path):
    """An array and an empty folder may go; of damaged metadata nobody knows whose they are."""
    zarr.create_array(tmp_path / "a.zarr", data=make_data(SHAPE))
    (tmp_path / "e.zarr").mkdir()
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "d.zarr/zarr.json").write_text("{")
    check(tmp_path / "a.zarr", overwrite=True)
    check(tmp_path / "e.zarr", overwrite=True)
    with pytest.raises(OutputError, match="damaged Zarr metadata, which is not replaced"):
        check(tmp_path / "d.zarr", overwrite=True)


@pytest.mark.parametrize("length", [300, 220])
def test_a_name_that_is_too_long_is_refused_early(tmp_path: Path, length):
    """Also one that is too long only for what is made beside it in the end."""
    path = tmp_path / ("x" * length + ".tif")
    for step in (
        lambda: check(path),
        lambda: check(tmp_path / "v.zarr", inputs=[path]) or check(path, overwrite=True),
    ):
        with pytest.raises(OutputError, match="name too long") as raised:
            step()
        assert "\n" not in str(raised.value)
    if length == 300:
        with pytest.raises(OutputError, match="name too long"):
            Destination.create(path, make_layout("zyx", SHAPE))
        with pytest.raises(InputError, match="name too long"):
            read_provenance(path)


def test_a_folder_that_is_not_readable_is_refused(tmp_path: Path, monkeypatch):
    """Closed doors give one line for the output, and for what it says of itself."""

    def refuse(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    layout = make_layout("zyx", SHAPE)
    monkeypatch.setattr(Path, "stat", refuse)
    for error, step in (
        (OutputError, lambda: check(tmp_path / "v.zarr")),
        (OutputError, lambda: Destination.create(tmp_path / "v.zarr", layout)),
        (InputError, lambda: read_provenance(tmp_path / "v.zarr")),
    ):
        with pytest.raises(error, match=r"v\.zarr.*Permission denied") as raised:
            step()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["v.tif", "v.npy", "v.mrc"])
def test_an_export_keeps_to_its_budget(tmp_path: Path, name, monkeypatch):
    """At most a quarter of it is read at once, at least a plane, and no byte depends on it."""
    data = make_data(SHAPE)
    write_volume(tmp_path / "a" / name, data, make_layout("zyx", SHAPE))
    plane, read, depths = data[0].nbytes, BlockStore.read, []

    def watched(self, region, *where):
        depths.append(region[0].stop - region[0].start)
        return read(self, region, *where)

    monkeypatch.setattr(BlockStore, "read", watched)
    for memory, deepest in ((4 * 3 * plane, 3), (4 * 2 * plane + 3, 2), (1, 1), (None, 4)):
        depths.clear()
        path = tmp_path / str(memory) / name
        going = Destination.create(path, make_layout("zyx", SHAPE))
        fill(going, data)
        going.finish({"method": "test"}, ignore_progress, memory_bytes=memory)
        assert max(depths) == deepest
        assert path.read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_a_stale_sidecar_is_not_believed(tmp_path: Path):
    """A file put in the place of ours has neither our axes nor our provenance."""
    path = tmp_path / "v.npy"
    data = make_data((2, 6, 40, 50))
    write_volume(path, data, make_layout("czyx", data.shape))
    assert open_volume(path).header.voxel_size == (40.0, 8.0, 8.0)
    assert read_provenance(path) == {"method": "test"}
    np.save(path, data[::-1])
    assert read_provenance(path) is None
    with pytest.raises(InputError, match="without axes"):
        open_volume(path)
    path.unlink()
    assert read_provenance(path) is None


@pytest.mark.parametrize("name", ["v.zarr", "v.tif", "v.npy", "v.mrc"])
def test_a_volume_knows_where_it_lies(tmp_path: Path, name):
    """In its metadata or, where the format has no room, in its sidecar."""
    layout = make_layout("zyx", SHAPE, translation=(80.0, 0.0, -16.0))
    write_volume(tmp_path / name, make_data(SHAPE), layout)
    assert open_volume(tmp_path / name).header.translation == (80.0, 0.0, -16.0)
