"""Volumes that are read from object stores and web servers."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from objects import (  # noqa: F401 - fixtures
    WebHandler,
    fresh_bucket,
    named_server,
    request_faults,
    running_server,
    short_silence,
    web_server,
)
from unit.volumes.conftest import make_data, make_layout, part_of, whole, write_volume

from vemctl.durable import remove_tree
from vemctl.errors import InputError, OptionError
from vemctl.remote_path import as_path
from vemctl.volumes.describe import describe
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.open import open_volume

SHAPE = (2, 3, 280, 40)


def upload(folder: Path, place: str) -> None:
    """Copy all files of a folder to an object store."""
    for path in folder.rglob("*"):
        if path.is_file():
            (as_path(place) / path.relative_to(folder)).write_bytes(path.read_bytes())


@pytest.fixture(params=["0.5", "0.4"])
def image(request, tmp_path: Path) -> Path:
    """Write an image of two channels and two levels to the disk."""
    path = tmp_path / "image.zarr"
    sizes = {"chunk_shape": (4, 64, 64), "shard_shape": (8, 128, 64)}
    if request.param == "0.4":
        sizes["shard_shape"] = sizes["chunk_shape"]
    layout = make_layout("czyx", SHAPE, "uint16", ome_zarr=request.param, **sizes)
    write_volume(path, make_data(SHAPE, "uint16"), layout)
    return path


def test_what_lies_in_a_bucket_reads_as_on_the_disk(bucket, image):
    """Header, voxels, levels, arrays inside, fingerprint and description are the same."""
    upload(image, f"{bucket}/a folder/image.zarr")
    place = f"{bucket}/a folder/image.zarr"
    for where in ("", "/0", "/1"):
        local, remote = open_volume(f"{image}{where}"), open_volume(place + where)
        assert remote.header.path == as_path(place + where)
        assert str(remote.header.path) == place + where
        facts = [volume.header.__dict__ | {"path": None} for volume in (local, remote)]
        assert facts[0] == facts[1]
        for channel in range(2):
            region = whole(local.header.shape)
            assert np.array_equal(
                local.read(region, channel=channel), remote.read(region, channel=channel)
            )
        assert fingerprint(local) == fingerprint(remote)
    local, remote = describe(image).__dict__, describe(place).__dict__
    assert {**remote, "path": None} == {**local, "path": None}
    assert remote["path"] == place
    assert remote["provenance"] == {"method": "test"}
    assert open_volume(place, level=1).header.level == 1
    with pytest.raises(OptionError, match="levels 0 to 1"):
        open_volume(place, level=2)


def test_what_a_web_server_serves_reads_as_on_the_disk(web, image):
    """Without lists, whole chunks and parts of shards alike, with trouble in between."""
    url, folder = web
    image.rename(folder / "image.zarr")
    image = folder / "image.zarr"
    local, remote = open_volume(image), open_volume(f"{url}/image.zarr")
    WebHandler.failures = 2
    region = (slice(1, 3), slice(5, 250), slice(0, 40))
    assert np.array_equal(local.read(region, channel=1), remote.read(region, channel=1))
    assert fingerprint(local) == fingerprint(remote)
    WebHandler.no_ends = True  # the index of a shard lies there
    assert np.array_equal(local.read(region, channel=1), remote.read(region, channel=1))
    found = describe(f"{url}/image.zarr")
    assert found.bytes_on_disk is None
    assert found.provenance == {"method": "test"}
    with pytest.raises(InputError, match=r"no Zarr store is there .* check the address"):
        open_volume(f"{url}/imoge.zarr")
    (folder / "x.tif").write_bytes(b"II*\0")
    with pytest.raises(InputError, match="expected a Zarr store; copy it here first"):
        open_volume(f"{url}/x.tif")


def test_collections_on_a_web_server_say_which_path_to_use(web):
    """What cannot be listed is guessed."""
    url, folder = web
    zarr.create_group(folder / "c.zarr", attributes={"ome": {"bioformats2raw.layout": 3}})
    with pytest.raises(InputError, match=r"a bioformats2raw collection .* instance .*c.zarr/0$"):
        open_volume(f"{url}/c.zarr")
    zarr.create_group(folder / "g.zarr")
    with pytest.raises(InputError, match="a Zarr group without an image"):
        open_volume(f"{url}/g.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plain_arrays_and_missing_chunks(bucket, tmp_path: Path, zarr_format):
    """An array without an image is read as on the disk; what was never written is its fill."""
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(3, 8, 8),
        chunks=(1, 8, 8),
        dtype="uint8",
        fill_value=7,
        zarr_format=zarr_format,
    )
    array[1] = 9
    upload(tmp_path / "a.zarr", f"{bucket}/a.zarr")
    volume = open_volume(f"{bucket}/a.zarr")
    assert volume.header.format == f"Zarr v{zarr_format}"
    block = volume.read(whole((3, 8, 8)))
    assert [int(plane.mean()) for plane in block] == [7, 9, 7]


def test_what_is_not_there_is_told_with_what_is(bucket):
    """Every wrong place ends in one line that leads on."""
    root = as_path(bucket)
    with pytest.raises(InputError, match="nothing is there: the bucket is empty"):
        open_volume(f"{bucket}/x.zarr")
    (root / "data" / "scan.tif").write_bytes(b"II*\0")
    (root / "data" / "liver.zarr" / "zarr.json").write_text('{"node_type": "group"}')
    (root / "data" / "torn.zarr" / "0" / "c").write_bytes(b"")
    cases = {
        "data/scan.tif": "scan.tif: expected a Zarr store; copy it here first",
        "data/lever.zarr": "has no 'lever.zarr'; it holds liver.zarr, scan.tif, torn.zarr.* mean",
        "date/liver.zarr": "has no 'date'; it holds data",
        "data": "it holds liver.zarr, torn.zarr: give one, for instance s3://.*/data/liver.zarr",
        "data/torn.zarr": "there is no zarr.json, .zarray or .zgroup; it holds 0",
        "data/liver.zarr/zarr.json": "a file inside a Zarr store: give its folder",
    }
    for place, said in cases.items():
        with pytest.raises(InputError, match=said) as raised:
            open_volume(f"{bucket}/{place}")
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="no such bucket"):
        open_volume(f"{bucket}-nowhere/x.zarr")
    with pytest.raises(OptionError, match=r"ftp://host/x.zarr: no place that is known"):
        open_volume("ftp://host/x.zarr")


def test_a_server_that_hides_what_is_missing_is_believed(bucket, faults, image):
    """Some answer 403 for all that is not there, such as the metadata of the other format."""
    upload(image, f"{bucket}/image.zarr")
    name = ".zgroup" if (image / "zarr.json").exists() else "zarr.json"
    for hidden in (name, ".zarray" if name == ".zgroup" else "0/zarr.json"):
        faults.add(403, 100, part=f"image.zarr/{hidden}")
    assert open_volume(f"{bucket}/image.zarr").header.num_levels == 2
    faults.add(403, 100)
    with pytest.raises(InputError, match=r"cannot be read .*403 Forbidden"):
        open_volume(f"{bucket}/image.zarr")


def test_damaged_chunks_are_named(bucket, image):
    """A cut chunk or shard is refused as on the disk, never read as voxels."""
    upload(image, f"{bucket}/image.zarr")
    root = as_path(bucket) / "image.zarr"
    path = max((root / "0").rglob("*"), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    volume = open_volume(root)
    with pytest.raises(InputError, match=r"cannot read z .* damaged or unreadable") as raised:
        fingerprint(volume)
    assert str(raised.value).startswith(str(root))


@pytest.mark.parametrize("kind", [503, "hang", "cut"])
def test_reads_that_fail_for_a_moment_succeed(request, bucket, faults, image, kind):
    """Opening and reading go on after some trouble, with the same voxels."""
    if kind == "hang":
        request.getfixturevalue("impatient")
    upload(image, f"{bucket}/image.zarr")
    faults.add(kind, 1, method="GET")
    volume = open_volume(f"{bucket}/image.zarr")
    faults.add(kind, 3, method="GET", part="image.zarr/0/")
    expected = part_of(make_data(SHAPE, "uint16"), "czyx", 1, 0)
    assert np.array_equal(volume.read(whole(SHAPE[1:]), channel=1), expected)
    assert not any(fault.left for fault in faults._faults)


def test_reads_that_keep_failing_end_in_one_line(bucket, faults, image):
    """The place, the region, what the server said, and what to do."""
    upload(image, f"{bucket}/image.zarr")
    volume = open_volume(f"{bucket}/image.zarr")
    faults.add(503, 10_000)
    with pytest.raises(InputError, match=r"cannot read z 0:3.* 503 Service .*again") as raised:
        volume.read(whole(SHAPE[1:]))
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=r"cannot be read \(the server answered 503") as raised:
        open_volume(f"{bucket}/image.zarr")
    assert "\n" not in str(raised.value)


@pytest.fixture
def google_bucket(bucket, s3_server, monkeypatch) -> str:
    """Return ``gs://<name>`` of a fresh bucket, whose interface the S3 server understands too."""
    import boto3

    monkeypatch.setenv("GOOGLE_BASE_URL", s3_server.url)
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    session = boto3.session.Session("key", "secret", region_name="us-east-1")
    client = session.client("s3", endpoint_url=s3_server.url)
    client.put_bucket_acl(Bucket=bucket.removeprefix("s3://"), ACL="public-read-write")
    return bucket.replace("s3://", "gs://")


def test_google_buckets_are_read_and_written(google_bucket):
    """The other kind of object store, from the first object to its removal."""
    place = as_path(google_bucket) / "image.zarr"
    data = make_data((3, 40, 30), "uint16")
    write_volume(place, data, make_layout("zyx", data.shape, "uint16"))
    assert np.array_equal(open_volume(place).read(whole(data.shape)), data)
    remove_tree(place)
    assert not place.exists()
    with pytest.raises(FileNotFoundError):
        (place / "zarr.json").read_bytes()
