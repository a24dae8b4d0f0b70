"""Outputs in object stores: the bytes of local ones, and never an image before it is whole."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaozarrs
import zarr
from objects import (  # noqa: F401 - fixtures
    fresh_bucket,
    named_server,
    request_faults,
    running_server,
    short_silence,
)
from unit.volumes.conftest import (
    fill,
    ignore_progress,
    make_data,
    make_layout,
    whole,
    write_volume,
)

from vemctl import object_store
from vemctl.errors import InputError, OutputError, ResumeError
from vemctl.remote_path import as_path
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.checks import check_output, partial_folder
from vemctl.volumes.destination import Destination
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance
from vemctl.volumes.pyramid import every_unit
from vemctl.volumes.unit_listing import missing_units

SHAPE = (2, 3, 40, 270)


@pytest.fixture(params=["0.5", "0.4"])
def layout(request):
    """Lay out two channels and two levels."""
    sizes = {"chunk_shape": (4, 32, 256), "shard_shape": (8, 32, 512)}
    if request.param == "0.4":
        sizes["shard_shape"] = sizes["chunk_shape"]
    return make_layout("czyx", SHAPE, "uint16", ome_zarr=request.param, **sizes)


@pytest.fixture
def small():
    """Lay out one unit and one level."""
    shape = (2, 8, 8)
    return make_layout("zyx", shape, chunk_shape=shape, shard_shape=shape)


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read_all(path: Path):
    """Read a finished volume."""
    volume = open_volume(path)
    return volume.read(whole(volume.header.shape))


@pytest.fixture
def memory(s3_server, monkeypatch):
    """Return a place in a store of this process, for tests of hundreds of requests."""
    from obstore.store import MemoryStore

    store = MemoryStore()
    monkeypatch.setattr(object_store, "_stores", {})
    monkeypatch.setattr(object_store, "_make", lambda place: store)
    return as_path("s3://memory")


class Stopped(BaseException):
    """As if the process was killed."""


def stop_after(patch, number: int) -> list[int]:
    """Let so many changes of the object store happen, and stop before the next."""
    left = [number]

    def stopping(function):
        def change(*arguments):
            if left[0] == 0:
                raise Stopped
            left[0] -= 1
            return function(*arguments)

        return change

    for name in ("put", "delete"):
        patch.setattr(object_store, name, stopping(getattr(object_store, name)))
    return left


def test_the_objects_are_those_of_a_local_output(bucket, s3_server, layout, tmp_path):
    """Names and bytes, pyramid and metadata; nothing else is left, and the metadata are valid."""
    data = make_data(SHAPE, "uint16")
    data[0, :, :32] = 0  # blocks of zeros are written too
    write_volume(tmp_path / "image.ome.zarr", data, layout)
    path = as_path(bucket) / "runs" / "image.ome.zarr"
    going = Destination.create(path, layout)
    fill(going, data)
    assert going.partial == as_path(bucket) / "runs" / "image.ome.zarr.partial"
    phases = []
    going.finish({"method": "test"}, lambda *progress: phases.append(progress))
    assert phases[0][0] == "pyramid"
    assert s3_server.objects(bucket) == {
        f"runs/image.ome.zarr/{name}": content
        for name, content in files_of(tmp_path / "image.ome.zarr").items()
    }
    local = tmp_path / "copy.zarr"
    for name, content in s3_server.objects(str(path)).items():
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(content)
    yaozarrs.validate_zarr_store(local)
    assert np.array_equal(read_all(path), data[0])
    assert read_provenance(path) == {"method": "test"}


def test_bytes_do_not_depend_on_order_or_threads(bucket, s3_server, layout):
    """Units one by one, backwards, rewritten and in threads: the same objects."""
    data = make_data(SHAPE, "uint16")
    at_once = BlockStore.create(as_path(bucket) / "a", layout)
    singly = BlockStore.create(as_path(bucket) / "b", layout)
    for channel in range(2):
        at_once.write(whole(SHAPE[1:]), data[channel], channel=channel)
    work = [(unit, channel) for unit in every_unit(singly) for channel in range(2)]
    singly.write(work[0][0], data[(1, *work[0][0])], channel=0)
    assert len(list(missing_units(singly))) == len(work) - 1
    threads = [
        threading.Thread(
            target=singly.write, args=(unit, data[(channel, *unit)]), kwargs={"channel": channel}
        )
        for unit, channel in reversed(work)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert s3_server.objects(f"{bucket}/a") == s3_server.objects(f"{bucket}/b")
    assert at_once.first_missing() is None
    region = (slice(1, 3), slice(3, 30), slice(100, 269))
    assert np.array_equal(singly.read(region, 1), data[(1, *region)])


def test_the_checksum_is_of_the_objects(bucket, layout, tmp_path):
    """It is that of a local output, changes with the object, and is none without it."""
    local = BlockStore.create(tmp_path / "a", layout)
    remote = BlockStore.create(as_path(bucket) / "a", layout)
    region = every_unit(remote)[1]
    block = make_data(SHAPE, "uint16")[(0, *region)]
    assert remote.checksum(region) is None
    written = remote.write(region, block)
    assert written == local.write(region, block)
    assert BlockStore.open(remote.folder).checksum(region) == written
    path = remote.unit_path(region)
    path.write_bytes(path.read_bytes()[:-1])
    assert remote.checksum(region) not in (None, written)
    with pytest.raises(InputError, match="--resume"):
        remote.read(region)
    assert remote.write(region, block) == written
    path.unlink()
    assert remote.checksum(region) is None
    assert remote.first_missing() is not None


def test_holes_are_found_by_lists(bucket, faults, layout):
    """However many units there are, nobody asks for them one by one."""
    store = BlockStore.create(as_path(bucket) / "a", layout)
    data = make_data(SHAPE, "uint16")
    for channel in range(2):
        store.write(whole(SHAPE[1:]), data[channel], channel=channel)
    last = every_unit(store)[-1]
    store.unit_path(last, 1).unlink()
    (store.folder / "0" / "c" / "notes.txt").write_bytes(b"")
    faults.clear()
    assert list(missing_units(store)) == [(last, 1, 0)]
    start = last[2].start
    assert store.first_missing() == f"z 0:3, y 32:40, x {start}:270, channel 1, time point 0"
    assert faults.count("HEAD") == 0
    assert faults.count("GET") == 2


def test_an_unfinished_image_is_none(bucket, layout):
    """Until the last put, neither the image nor its arrays can be opened."""
    path = as_path(bucket) / "v.zarr"
    going = Destination.create(path, layout)
    fill(going, make_data(SHAPE, "uint16"))
    for place in (path, path / "0"):
        with pytest.raises(InputError, match=r"unfinished: .*--resume, or vemctl finish s3://"):
            open_volume(place)
    assert read_provenance(path) is None
    again = Destination.reopen(path)
    assert again.store.layout == layout
    again.finish({}, ignore_progress)
    assert np.array_equal(read_all(path), make_data(SHAPE, "uint16")[0])


def test_an_existing_output_is_refused(bucket, small):
    """Finished and unfinished ones, each with its cure."""
    path = as_path(bucket) / "v.zarr"
    going = Destination.create(path, small)
    with pytest.raises(OutputError, match=r"an unfinished run is in .*--resume"):
        Destination.create(path, small)
    checks = {"inputs": [], "resume": False, "needed_bytes": 10**18}
    with pytest.raises(OutputError, match=r"an unfinished run is in .*--resume"):
        check_output(path, overwrite=False, **checks)
    check_output(path, overwrite=True, **checks)
    fill(going, make_data((2, 8, 8)))
    going.finish({}, ignore_progress)
    with pytest.raises(OutputError, match="exists: pass --overwrite"):
        Destination.create(path, small)
    with pytest.raises(OutputError, match="exists: pass --overwrite"):
        check_output(path, overwrite=False, **checks)
    with pytest.raises(ResumeError, match="it is finished"):
        Destination.reopen(path)
    with pytest.raises(ResumeError, match="run without --resume"):
        Destination.reopen(path.with_name("w.zarr"))


@pytest.mark.parametrize("formats", [("0.5", "0.4"), ("0.4", "0.5")])
def test_an_image_of_another_format_is_replaced(bucket, s3_server, formats):
    """Nothing of the old one remains, and in between there is no image."""
    path = as_path(bucket) / "v.zarr"
    old, new = (make_layout("zyx", (3, 20, 20), ome_zarr=name) for name in formats)
    write_volume(path, make_data((3, 20, 20)), old)
    going = Destination.create(path, new, overwrite=True)
    with pytest.raises(InputError, match="unfinished"):
        open_volume(path)
    fill(going, make_data((3, 20, 20))[::-1])
    going.finish({}, ignore_progress)
    assert open_volume(path).header.format == f"OME-Zarr {formats[1]}"
    assert np.array_equal(read_all(path), make_data((3, 20, 20))[::-1])
    names = s3_server.objects(bucket)
    assert any(name.endswith("zarr.json") for name in names) == (formats[1] == "0.5")
    assert not any(name.startswith("v.zarr.partial") for name in names)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("ome_zarr", ["0.5", "0.4"])
def test_stopped_anywhere_it_is_the_old_image_or_none_or_the_new(memory, ome_zarr, overwrite):
    """Before each change of the store; resumed, or begun again, it becomes the same objects."""
    shape = (2, 4, 270)
    chunk = (2, 4, 256)
    layout = make_layout("zyx", shape, ome_zarr=ome_zarr, chunk_shape=chunk, shard_shape=chunk)
    old, new = make_data(shape), make_data(shape)[::-1].copy()
    write_volume(memory / "whole.zarr", new, layout)
    expected = files_of(memory / "whole.zarr")
    outcomes = set()
    for number in range(60):
        path = memory / f"{number}" / "whole.zarr"
        if overwrite:
            write_volume(path, old, layout)
        with pytest.MonkeyPatch.context() as patch:
            left = stop_after(patch, number)
            try:
                write_volume(path, new, layout, overwrite=overwrite)
            except Stopped:
                left[0] = -1
        if left[0] >= 0:
            break
        try:
            seen = read_all(path)
            outcome = "new" if np.array_equal(seen, new) else "old"
            assert outcome == "new" or np.array_equal(seen, old)
        except InputError:
            outcome = "none"
        outcomes.add(outcome)
        try:
            going = Destination.reopen(path)
        except ResumeError:
            going = Destination.create(path, layout, overwrite=overwrite or outcome != "new")
        if not going.finished:
            fill(going, new)
        going.finish({"method": "test"}, ignore_progress)
        assert files_of(path) == expected
        assert not going.partial.exists()
    else:
        pytest.fail("never came to its end")
    assert outcomes == ({"old", "none", "new"} if overwrite else {"none", "new"})


def test_what_is_discarded_leaves_nothing_and_takes_no_image(memory, small):
    """Stopped anywhere too; a finished image of before stays, and so do neighbours."""
    path = memory / "v.zarr"
    (memory / "v.zarr.other").write_bytes(b"x")
    for number in range(12):
        going = Destination.create(path, small, overwrite=True)
        fill(going, make_data((2, 8, 8)))
        with pytest.MonkeyPatch.context() as patch:
            left = stop_after(patch, number)
            try:
                going.discard()
            except Stopped:
                left[0] = -1
        with pytest.raises(InputError):
            open_volume(path)
        if left[0] >= 0:
            break
    assert number > 3
    assert list(memory.rglob("*")) == [memory / "v.zarr.other"]
    write_volume(path, make_data((2, 8, 8)), small)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stopped):
            Destination.create(path, small, overwrite=True)
    begun = Destination(path, {}, None)
    begun.discard()
    assert np.array_equal(read_all(path), make_data((2, 8, 8)))


def test_a_killed_writer_leaves_no_image(bucket, s3_server, layout, monkeypatch):
    """After kill -9 in the midst of writing, what is there is whole, and resuming ends the same."""
    path = as_path(bucket) / "v.zarr"
    script = (
        "import sys\n"
        "from vemctl.remote_path import as_path\n"
        "from vemctl.volumes.destination import Destination\n"
        "from vemctl.volumes.pyramid import every_unit\n"
        "import numpy as np\n"
        "store = Destination.reopen(as_path(sys.argv[1])).store\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for unit in every_unit(store):\n"
        "        shape = [along.stop - along.start for along in unit]\n"
        "        store.write(unit, np.full(shape, 5, 'u2'))\n"
        "        print('.', flush=True)\n"
    )
    Destination.create(path, layout)
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        for _ in range(3):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    with pytest.raises(InputError, match="unfinished"):
        open_volume(path)
    going = Destination.reopen(path)
    there = [unit for unit in every_unit(going.store) if going.store.checksum(unit)]
    assert there
    assert all((going.store.read(unit) == 5).all() for unit in there)
    fill(going, make_data(SHAPE, "uint16"))
    going.finish({"method": "test"}, ignore_progress)
    assert np.array_equal(read_all(path), make_data(SHAPE, "uint16")[0])


@pytest.mark.parametrize("kind", [503, "hang"])
def test_writes_that_fail_for_a_moment_give_the_same_bytes(
    request, bucket, s3_server, faults, layout, kind, tmp_path
):
    """Trouble in every phase is not noticed in the output."""
    if kind == "hang":
        request.getfixturevalue("impatient")
    data = make_data(SHAPE, "uint16")
    write_volume(tmp_path / "v.zarr", data, layout)
    path = as_path(bucket) / "v.zarr"
    faults.add(kind, 1, method="PUT", part="v.zarr/0/")
    faults.add(kind, 1, method="GET", part="v.zarr/0/")
    faults.add(503, 2, method="PUT", part="destination.json")
    faults.add(503, 2, method="PUT", part="v.zarr/1/")
    faults.add(503, 2, method="POST", part="delete")
    write_volume(path, data, layout)
    assert not any(fault.left for fault in faults._faults)
    assert s3_server.objects(str(path)) == files_of(tmp_path / "v.zarr")


def test_writes_that_keep_failing_leave_nothing_half_written(bucket, s3_server, faults, layout):
    """The error is one line with --resume in it; what was written is whole and continued."""
    path = as_path(bucket) / "v.zarr"
    going = Destination.create(path, layout)
    units = every_unit(going.store)
    data = make_data(SHAPE, "uint16")
    going.store.write(units[0], data[(0, *units[0])])
    before = s3_server.objects(bucket)
    faults.add(503, 10_000, method="PUT")
    with pytest.raises(OutputError, match=r"cannot write .*503 Service .*--resume") as raised:
        going.store.write(units[1], data[(0, *units[1])])
    assert "\n" not in str(raised.value)
    assert s3_server.objects(bucket) == before
    faults.clear()
    fill(going, data)
    last = "zarr.json" if layout.ome_zarr == "0.5" else ".zattrs"
    for part in ("v.zarr/1/", "destination.json", f"v.zarr/{last}"):
        faults.add(503, 10_000, method="PUT", part=part)
        with pytest.raises(OutputError, match="503 Service"):
            going.finish({"method": "test"}, ignore_progress)
        with pytest.raises(InputError, match="unfinished"):
            open_volume(path)
        faults.clear()
    going.finish({"method": "test"}, ignore_progress)
    assert np.array_equal(read_all(path), data[0])
    assert not going.partial.exists()


def test_a_beginning_that_fails_leaves_nothing(bucket, faults, layout):
    """Whoever may not write learns it, and need not tidy up."""
    path = as_path(bucket) / "v.zarr"
    faults.add(403, 1, method="PUT", part="v.zarr/0/")
    with pytest.raises(OutputError, match="403 Forbidden"):
        Destination.create(path, layout)
    assert not path.exists()


def test_a_server_in_trouble_is_no_damaged_run(bucket, faults, small):
    """Resuming says what the server said, and never advises to start again."""
    path = as_path(bucket) / "v.zarr"
    Destination.create(path, small)
    for part in ("destination.json", "v.zarr/zarr.json", "v.zarr/0/zarr.json"):
        faults.add(503, 1000, part=part)
        with pytest.raises(OutputError, match="503 Service") as raised:
            Destination.reopen(path)
        assert "--overwrite" not in str(raised.value)
        faults.clear()


def test_places_that_take_no_output_are_refused_early(bucket, faults, small, tmp_path):
    """Before any work, each with what would do."""
    root = as_path(bucket)
    checks = {"overwrite": False, "resume": False, "needed_bytes": 10**18}

    def refused(path, said, inputs=()):
        with pytest.raises(OutputError, match=said) as raised:
            check_output(path, inputs=inputs, **checks)
        assert "\n" not in str(raised.value)

    refused(root / "v.tif", "only OME-Zarr can be written there")
    refused(root / "v.ome.tif", "only OME-Zarr can be written there")
    refused(as_path("https://host/v.zarr"), "web servers are read only")
    refused(as_path("s3://name.zarr"), "a bucket: give a place in it")
    refused(as_path(f"{bucket}missing/v.zarr"), "no such bucket")
    refused(root / "v.zarr", "is the input itself", [root / "v.zarr"])
    refused(root / "v.zarr", "lies inside it", [root / "v.zarr" / "0"])
    refused(root / "in.zarr" / "v.zarr", "lies inside the input", [root / "in.zarr"])
    check_output(root / "v.zarr", inputs=[tmp_path / "x.tif", root / "in.zarr"], **checks)
    assert not root.exists()
    write_volume(root / "in.zarr", make_data((2, 8, 8)), small)
    refused(root / "in.zarr" / "v.zarr", "lies inside the Zarr store")
    faults.add(403, 1000, method="PUT")
    refused(root / "v.zarr", r"403 Forbidden")
    faults.clear()
    faults.add(403, 1000, method="POST", part="delete")
    refused(root / "w.zarr", r"403 Forbidden")


def test_what_is_not_ours_is_never_deleted(bucket, small):
    """A folder of somebody else's, a collection, a file: refused, whatever is allowed."""
    root = as_path(bucket)
    (root / "a.zarr" / "notes.txt").write_bytes(b"x")
    (root / "b.zarr").write_bytes(b"x")
    (root / "c.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    (root / "d.zarr.partial" / "thesis.tex").write_bytes(b"x")
    cases = {
        "a.zarr": "a folder that is no Zarr store",
        "b.zarr": "a file, expected a folder",
        "c.zarr": "a Zarr group that is no OME-Zarr image",
        "d.zarr": "which holds thesis.tex",
    }
    for name, said in cases.items():
        with pytest.raises(OutputError, match=said):
            Destination.create(root / name, small, overwrite=True)
        with pytest.raises(OutputError, match=said):
            check_output(root / name, inputs=[], overwrite=True, resume=False, needed_bytes=1)
    assert len(list(root.rglob("*"))) == 4


def test_zarr_itself_may_use_the_store(bucket):
    """Lists, deletions and sizes of the store work, for whatever zarr asks of it."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    from vemctl.volumes.stored_array import zarr_store

    root = as_path(bucket) / "g.zarr"
    store = zarr_store(root)
    group = zarr.create_group(store)
    group.create_array("a", shape=(4,), chunks=(2,), dtype="u1")[:] = 3
    group.create_array("b", shape=(4,), chunks=(2,), dtype="u1")

    async def listed(source):
        return sorted([name async for name in source])

    assert sync(listed(store.list_dir(""))) == ["a", "b", "zarr.json"]
    assert sync(listed(store.list_prefix("a/"))) == ["a/c/0", "a/c/1", "a/zarr.json"]
    assert len(sync(listed(store.list()))) == 5
    assert sync(store.getsize("a/c/0")) == (root / "a/c/0").stat().st_size
    assert sync(store.exists("a/c/0"))
    assert not sync(store.exists("a/c/7"))
    sync(store.set_if_not_exists("x", default_buffer_prototype().buffer.from_bytes(b"1")))
    sync(store.set_if_not_exists("x", default_buffer_prototype().buffer.from_bytes(b"2")))
    assert (root / "x").read_bytes() == b"1"
    sync(store.delete("x"))
    assert not (root / "x").exists()
    assert sorted(name for name, _ in group.arrays()) == ["a", "b"]
    del group["a"]
    assert not (root / "a").exists()
    reading = zarr_store(root, read_only=True)
    assert reading == store
    assert reading.with_read_only(False) == store
    with pytest.raises(ValueError, match="read-only"):
        sync(reading.set("x", default_buffer_prototype().buffer.from_bytes(b"1")))


def test_a_place_of_a_run_is_beside_its_output(bucket):
    """The partial folder is a name in the same bucket."""
    path = as_path(bucket) / "a" / "v.zarr"
    assert str(partial_folder(path)) == f"{bucket}/a/v.zarr.partial"
