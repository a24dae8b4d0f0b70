"""An output on its way: nothing is lost, whenever it is stopped."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaozarrs
from unit.volumes.conftest import (
    fill,
    ignore_progress,
    make_data,
    make_layout,
    whole,
    write_volume,
)

from vemctl.errors import OutputError, ResumeError
from vemctl.volumes import destination as module
from vemctl.volumes.checks import check_output
from vemctl.volumes.destination import Destination, read_provenance
from vemctl.volumes.open import open_volume

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
