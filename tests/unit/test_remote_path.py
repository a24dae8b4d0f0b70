"""Places in object stores that behave like paths, and fail in one plain line."""

import errno
import os
import pickle
import socket
import stat
import threading
import time
from pathlib import Path, PosixPath, PurePosixPath

import pytest
from objects import (  # noqa: F401 - fixtures
    SILENCE,
    WebHandler,
    fresh_bucket,
    named_server,
    request_faults,
    running_server,
    short_silence,
    web_server,
)

from vemctl import object_store, store_credentials
from vemctl.durable import (
    free_bytes,
    make_folder,
    output_errors,
    remove_temporaries,
    remove_tree,
    replacing,
    sync_file,
    sync_folder,
    write_json,
    write_whole,
)
from vemctl.errors import MissingExtraError, OptionError, OutputError
from vemctl.remote_path import RemotePath, as_path


def test_names_work_as_those_of_paths():
    """Whatever is done to a remote path by names alone, it stays one and reads as typed."""
    path = as_path("s3://bucket/a b/run.ome.zarr/")
    assert str(path) == f"{path}" == path.as_posix() == "s3://bucket/a b/run.ome.zarr"
    assert isinstance(path / "0" / PurePosixPath("c/1"), RemotePath)
    assert str(path / "0" / PurePosixPath("c/1")) == "s3://bucket/a b/run.ome.zarr/0/c/1"
    assert (path.name, path.suffix, path.stem) == ("run.ome.zarr", ".zarr", "run.ome")
    assert path.with_name("x.zarr") == path.parent / "x.zarr" == as_path("s3://bucket/a b/x.zarr")
    assert str(path.with_suffix(".tif")) == "s3://bucket/a b/run.ome.tif"
    assert [str(parent) for parent in path.parents] == ["s3://bucket/a b", "s3://bucket"]
    assert as_path("s3://bucket").parent == as_path("s3://bucket")
    assert (path / "0/c").relative_to(path) == PurePosixPath("0/c")
    assert path.is_relative_to(path.parent)
    with pytest.raises(ValueError, match="does not lie in"):
        path.relative_to(path / "0")
    with pytest.raises(ValueError, match="does not lie in"):
        path.relative_to(Path("/tmp"))
    assert path.absolute() is path.resolve() is path.expanduser() is path
    assert path.is_absolute()
    assert pickle.loads(pickle.dumps(path)) == path
    assert {path: 1}[as_path(str(path))] == 1
    assert path != PosixPath("s3:/bucket/a b/run.ome.zarr")
    assert sorted([path / "1", path / "0"]) == [path / "0", path / "1"]
    assert repr(path) == "RemotePath('s3://bucket/a b/run.ome.zarr')"


def test_texts_become_paths_of_either_kind(tmp_path: Path):
    """Known beginnings are remote, everything else is as before, and typing errors are told."""
    for text in ("gs://b/x.zarr", "https://host:8080/x.zarr", "http://host/x", "S3://b/x"):
        path = as_path(text)
        assert isinstance(path, RemotePath)
        assert str(path).lower() == text.lower()
        assert as_path(path) is path
    for text in (str(tmp_path), "out.zarr", "a:b/x", "notes:/x", "C:/data", ""):
        assert as_path(text) == Path(text)
        assert not isinstance(as_path(text), RemotePath)
    assert as_path(tmp_path) == tmp_path
    assert as_path(Path("s3://bucket/x.zarr")) == as_path("s3://bucket/x.zarr")
    for text in ("ftp://host/x", "s3:/b/x", "s3://", "s3:///x", "file:///tmp/x", "azure://b/x"):
        with pytest.raises(OptionError, match="s3:// gs:// https:// http://"):
            as_path(text)
    for foreign in ("ftp://host/x", "az://b/x.zarr", "gcs://b/x"):
        with pytest.raises(OptionError, match="s3:// gs:// https:// http://"):
            as_path(Path(foreign))
    with pytest.raises(OptionError, match="whole place"):
        as_path("s3://bucket/a/../b")
    with pytest.raises(OptionError, match="without a query"):
        as_path("https://host/x.zarr?token=1")


def test_objects_are_read_and_written_as_files(bucket):
    """What paths can do with files works, through folders that are names only."""
    root = as_path(bucket)
    path = root / "new folder" / "µ#?.bin"
    data = os.urandom(300_000)
    assert not path.exists()
    assert not path.parent.is_dir()
    assert not root.is_dir()
    assert path.write_bytes(data) == len(data)
    assert path.read_bytes() == data
    assert path.is_file()
    assert path.parent.is_dir()
    assert root.is_dir()
    assert not path.is_dir()
    assert not path.parent.is_file()
    assert path.parent.exists()
    assert path.stat().st_size == len(data)
    assert path.samefile(str(path))
    assert not Path(__file__).samefile(path.parent)
    assert stat.S_ISDIR(path.parent.stat().st_mode)
    with pytest.raises(FileNotFoundError):
        (root / "nothing").stat()
    assert not path.is_symlink()
    (root / "text").write_text("grün\n")
    assert (root / "text").read_text() == "grün\n"
    with (root / "text").open() as file:
        assert file.readlines() == ["grün\n"]
    assert list(root.iterdir()) == [root / "new folder", root / "text"]
    assert list(path.parent.iterdir()) == [path]
    assert list((root / "nothing").iterdir()) == []
    assert list(root.rglob("*.bin")) == [path]
    path.unlink()
    path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        path.unlink()
    with pytest.raises(FileNotFoundError) as raised:
        path.read_bytes()
    assert raised.value.filename == str(path)


def test_a_large_object_is_sent_in_parts_and_read_like_a_file(bucket, faults):
    """Seeking, reading in pieces and reading on give the same bytes."""
    path = as_path(bucket) / "large"
    data = os.urandom(1 << 20) * 13
    path.write_bytes(data)
    assert faults.count("POST", "uploads") == 1
    with path.open("rb") as file:
        assert file.read(10) == data[:10]
        file.seek(5_000_000)
        assert file.read(9) == data[5_000_000:5_000_009]
        file.seek(-7, os.SEEK_END)
        assert file.read() == data[-7:]
        assert file.read() == b""
        file.seek(0)
        assert file.read() == data


def test_what_cannot_be_done_is_refused_and_leaves_the_disk_alone(tmp_path: Path, monkeypatch):
    """No operation of a path falls back to the local disk."""
    monkeypatch.chdir(tmp_path)
    path = as_path("s3://bucket/x")
    for call in (
        path.mkdir,
        path.touch,
        path.rmdir,
        path.readlink,
        path.owner,
        lambda: path.rename("y"),
        lambda: path.replace("y"),
        lambda: path.symlink_to("y"),
        lambda: path.chmod(0o600),
        lambda: path.glob("*"),
        lambda: path.open("wb"),
        lambda: open(path, "wb"),  # noqa: PTH123, SIM115 - whoever knows no better
        lambda: os.listdir(path),  # noqa: PTH208
    ):
        with pytest.raises(OSError, match="a remote place cannot") as raised:
            call()
        assert raised.value.errno == errno.ENOTSUP
        assert raised.value.filename == "s3://bucket/x"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [503, 500, 429, "hang", "cut"])
def test_trouble_that_passes_is_not_noticed(request, bucket, faults, kind):
    """Reads, writes and lists that fail twice are repeated."""
    if kind == "hang":
        request.getfixturevalue("impatient")
    path = as_path(bucket) / "a"
    data = os.urandom(100_000)
    if kind != "cut":
        faults.add(kind, 2, method="PUT")
    path.write_bytes(data)
    faults.add(kind, 2, method="GET", part="/a")
    assert path.read_bytes() == data
    faults.add(kind, 1, method="GET", part="/a")
    with path.open("rb") as file:
        assert file.read() == data
    faults.add(kind, 1, method="GET", part="list-type")
    assert list(as_path(bucket).iterdir()) == [path]
    assert not any(fault.left for fault in faults._faults)


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (
            503,
            OSError,
            "the server answered 503 Service Unavailable: Please slow down. (tried 4 times)",
        ),
        ("hang", TimeoutError, "the server did not answer in time (tried 4 times)"),
        (403, PermissionError, "the server answered 403 Forbidden: Please slow down."),
    ],
)
def test_trouble_that_stays_ends_in_one_line(request, bucket, faults, kind, error, said):
    """After some tries, in seconds, with errno and place, and as an error of ours in the end."""
    if kind == "hang":
        request.getfixturevalue("impatient")
    path = as_path(bucket) / "a"
    faults.add(kind, 1000)
    start = time.monotonic()
    with pytest.raises(error) as raised:
        path.read_bytes()
    assert time.monotonic() - start < 4 * SILENCE + 5
    assert raised.value.strerror == said
    assert raised.value.filename == str(path)
    assert raised.value.errno
    with pytest.raises(OutputError, match="--resume") as output, output_errors(path):
        path.write_bytes(b"x")
    assert "\n" not in str(output.value)
    assert said in str(output.value)


def test_a_missing_bucket_is_told(bucket):
    """Reading finds nothing, writing says what is missing."""
    path = as_path(f"{bucket}-missing/x")
    assert not path.exists()
    assert not path.parent.is_dir()
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        path.write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        list(path.parent.iterdir())


def test_a_server_that_is_not_there_is_told(s3_server, monkeypatch):
    """A wrong address ends quickly, with what the system says."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="cannot connect: Connection refused"):
        as_path("s3://bucket/x").read_bytes()


def silent_port(seconds: float):
    """Listen on a port, answer nothing, and return its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Timer(seconds, listener.close).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_without_credentials_the_cure_is_told_at_once(s3_server, monkeypatch, tmp_path):
    """No minutes are spent on a metadata service that is not there or says nothing."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(store_credentials, "PATIENCE", 0.3)
    monkeypatch.setenv("HOME", str(tmp_path))
    for service in ("http://127.0.0.1:9", silent_port(3)):
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", service)
        start = time.monotonic()
        with pytest.raises(PermissionError, match="AWS_SKIP_SIGNATURE=true") as raised:
            as_path("s3://bucket/x").read_bytes()
        assert time.monotonic() - start < 2
        assert "export-credentials" not in str(raised.value)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").touch()
    with pytest.raises(PermissionError, match="export-credentials"):
        as_path("s3://bucket/x").read_bytes()


def test_public_objects_need_no_credentials(bucket, s3_server, monkeypatch):
    """With AWS_SKIP_SIGNATURE what is public is read, and what is not is refused."""
    import boto3

    session = boto3.session.Session("key", "secret", region_name="us-east-1")
    client = session.client("s3", endpoint_url=s3_server.url)
    name = bucket.removeprefix("s3://")
    client.put_object(Bucket=name, Key="public", Body=b"open", ACL="public-read")
    client.put_object(Bucket=name, Key="private", Body=b"closed")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert (as_path(bucket) / "public").read_bytes() == b"open"
    with pytest.raises(PermissionError, match="403"):
        (as_path(bucket) / "private").read_bytes()


def test_offline_means_offline(s3_server, monkeypatch):
    """No connection is opened when the variable forbids it."""
    monkeypatch.setenv("VEMCTL_OFFLINE", "1")
    s3_server.faults.clear()
    with pytest.raises(OSError, match="VEMCTL_OFFLINE or --offline forbids connections"):
        as_path("s3://bucket/x").read_bytes()
    assert s3_server.faults.requests == []


def test_settings_that_are_no_numbers_are_told(s3_server, monkeypatch):
    """A time-out in words is refused in one line."""
    monkeypatch.setenv("VEMCTL_REMOTE_TIMEOUT", "long")
    with pytest.raises(OptionError, match="VEMCTL_REMOTE_TIMEOUT=long: expected a number"):
        as_path("s3://bucket/x").read_bytes()


def test_a_missing_package_names_the_extra(s3_server, monkeypatch):
    """Without obstore the install command is told."""
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    monkeypatch.setattr(object_store, "_stores", {})
    with pytest.raises(MissingExtraError, match=r"s3:// places .*vemctl\[remote\]"):
        as_path("s3://bucket/x").read_bytes()


def test_stores_are_made_once_and_shared(bucket, s3_server, monkeypatch):
    """Threads use one client of a bucket; other settings make another."""
    place = (as_path(bucket) / "x").place
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(object_store.connect(place))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(store) for store in found}) == 1
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert object_store.connect(place) is not found[0]


def test_durable_writing_is_one_put(bucket, faults, tmp_path):
    """Everything that makes files safe on a disk does the right thing for objects."""
    root = as_path(bucket) / "folder"
    make_folder(root)
    sync_folder(root)
    assert not root.exists()
    write_whole(root / "a", b"whole")
    write_json(root / "b.json", {"x": 1})
    with replacing(root / "c") as temporary:
        temporary.write_bytes(b"sent in the end")
        assert not (root / "c").exists()
    sync_file(root / "c")
    remove_temporaries(root)
    assert free_bytes(root) > 10**15
    assert (root / "a").read_bytes() == b"whole"
    assert (root / "b.json").read_text() == '{\n  "x": 1\n}\n'
    assert (root / "c").read_bytes() == b"sent in the end"

    def fail():
        with replacing(root / "c") as temporary:
            temporary.write_bytes(b"never sent")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (root / "c").read_bytes() == b"sent in the end"
    faults.add(503, 1000, method="PUT")
    with pytest.raises(OSError, match="503"):
        write_whole(root / "a", b"other")
    faults.clear()
    assert (root / "a").read_bytes() == b"whole"


def test_trees_are_removed_with_their_mark_last(bucket, faults, tmp_path):
    """Stopped in the middle, what tells whose it is remains; neighbours always do."""
    root = as_path(bucket)
    for folder in (root / "tree", root / "tree.partial", tmp_path / "tree"):
        for name in ("mark", "b/mark", "c"):
            write_whole(folder / name, b"x")
    faults.add(503, 1000, method="POST")
    with pytest.raises(OSError, match="503"):
        remove_tree(root / "tree", last="mark")
    faults.clear()
    assert len(list((root / "tree").rglob("*"))) == 3
    faults.add(503, 1000, method="POST", part="never")
    remove_tree(root / "tree", last="mark")
    assert faults.count("POST", "delete") == 2
    assert not (root / "tree").exists()
    assert len(list((root / "tree.partial").rglob("*"))) == 3
    remove_tree(root / "tree")
    remove_tree(tmp_path / "tree", last="mark")
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    with pytest.raises(ValueError, match="in a bucket"):
        remove_tree(root)


def test_a_large_tree_is_removed_in_bulk(bucket, faults, monkeypatch):
    """Objects go many at a time while the rest is still being listed."""
    monkeypatch.setattr("vemctl.durable._DELETED_AT_ONCE", 4)
    tree = as_path(bucket) / "t"
    for number in range(10):
        (tree / str(number)).write_bytes(b"")
    remove_tree(tree)
    assert faults.count("POST", "delete") == 3
    assert not tree.exists()


def test_web_servers_are_read_only(web):
    """Files are read in whole and in part; listing and writing are refused."""
    url, folder = web
    (folder / "a.zarr").mkdir()
    (folder / "a.zarr" / "zarr.json").write_text("{}")
    path = as_path(url) / "a.zarr"
    assert path.is_dir()
    assert path.exists()
    assert not (path / "0").exists()
    assert (path / "zarr.json").read_bytes() == b"{}"
    with (path / "zarr.json").open("rb") as file:
        file.seek(1)
        assert file.read() == b"}"
    with pytest.raises(OSError, match="do not list"):
        list(path.iterdir())
    with pytest.raises(OSError, match="http:// is read only"):
        (path / "x").write_bytes(b"x")
    with pytest.raises(OSError, match="http:// is read only"):
        (path / "zarr.json").unlink()
    assert (folder / "a.zarr" / "zarr.json").exists()
    WebHandler.whole_only = True
    with (path / "zarr.json").open("rb") as file:
        file.seek(1)
        with pytest.raises(OSError, match="the server does not send parts of files"):
            file.read()
