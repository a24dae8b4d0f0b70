"""OME-Zarr and plain Zarr, by metadata of all kinds, whole and damaged."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from unit.volumes.conftest import make_data, make_layout, whole, write_volume

from vemctl.errors import InputError, OptionError
from vemctl.volumes.open import open_volume


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", ">f4"])
def test_plain_arrays(tmp_path: Path, zarr_format, dtype):
    """An array at the root or inside a group, in any byte order."""
    data = make_data((5, 30, 20), np.dtype(dtype).newbyteorder("=").name)
    group = zarr.create_group(tmp_path / "g.zarr", zarr_format=zarr_format)
    inner = group.create_array("inner/array", data=data.astype(dtype), chunks=(2, 16, 16))
    assert inner.shape == data.shape
    zarr.create_array(
        tmp_path / "r.zarr", data=data.astype(dtype), chunks=(2, 16, 16), zarr_format=zarr_format
    )
    for path in (tmp_path / "g.zarr/inner/array", tmp_path / "r.zarr"):
        volume = open_volume(path)
        assert volume.header.format == f"Zarr v{zarr_format}"
        assert volume.header.chunk_shape == (2, 16, 16)
        assert volume.header.dtype.isnative
        assert np.array_equal(volume.read(whole(data.shape)), data)
    with pytest.raises(InputError, match=r"it holds inner/array: give one.*g\.zarr/inner/array"):
        open_volume(tmp_path / "g.zarr")
    with pytest.raises(InputError, match=r"has no 'iner'; it holds inner.*Did you mean 'inner'"):
        open_volume(tmp_path / "g.zarr/iner/array")


def test_dimension_names_are_axes(tmp_path: Path):
    """Zarr v3 names dimensions itself, xarray does so for v2."""
    data = make_data((3, 5, 20, 30))
    zarr.create_array(tmp_path / "3.zarr", data=data, dimension_names=["c", "z", "y", "x"])
    assert open_volume(tmp_path / "3.zarr").header.axes == "czyx"
    zarr.create_array(tmp_path / "plane.zarr", data=data[0, 0], zarr_format=2)
    assert open_volume(tmp_path / "plane.zarr").header.axes == "yx"
    two = zarr.create_array(tmp_path / "2.zarr", data=data, zarr_format=2)
    with pytest.raises(InputError, match="pass --axes czyx"):
        open_volume(tmp_path / "2.zarr")
    two.attrs["_ARRAY_DIMENSIONS"] = ["t", "z", "y", "x"]
    assert open_volume(tmp_path / "2.zarr").header.axes == "tzyx"
    assert open_volume(tmp_path / "2.zarr", axes="czyx").header.axes == "czyx"


def image(tmp_path: Path, attributes: dict, *, shape=(4, 30, 20), zarr_format=2) -> Path:
    """Make an image of one level with any metadata."""
    path = tmp_path / "i.zarr"
    group = zarr.create_group(path, zarr_format=zarr_format, overwrite=True, attributes=attributes)
    group.create_array("0", data=make_data(shape))
    return path


def multiscale(units=None, *, axes="zyx", scale=(50, 4, 5), **more):
    """Write metadata of version 0.4, with or without units."""
    units = units or [None] * len(axes)
    named = [
        {"name": a, "type": "space"} | ({"unit": u} if u else {})
        for a, u in zip(axes, units, strict=True)
    ]
    steps = [{"type": "scale", "scale": list(scale)}] if scale else []
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    return {"multiscales": [{"version": "0.4", "axes": named, "datasets": datasets} | more]}


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("nanometer", 1), ("micrometer", 1e3), ("µm", 1e3), ("angstrom", 0.1), ("meter", 1e9)],
)
def test_units_become_nanometres(tmp_path: Path, unit, factor):
    """Every unit that real files have."""
    header = open_volume(image(tmp_path, multiscale([unit] * 3))).header
    assert header.voxel_size == pytest.approx((50 * factor, 4 * factor, 5 * factor))


def test_metadata_of_real_files_are_tolerated(tmp_path: Path):
    """Missing units and transformations leave the voxel size open; old versions have fewer keys."""
    assert open_volume(image(tmp_path, multiscale())).header.voxel_size is None
    bare = multiscale(["nanometer"] * 3, scale=None)
    assert open_volume(image(tmp_path, bare)).header.voxel_size == (1, 1, 1)
    old = {
        "multiscales": [{"version": "0.3", "axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}]
    }
    assert open_volume(image(tmp_path, old)).header.axes == "zyx"
    oldest = {"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]}
    header = open_volume(image(tmp_path, oldest, shape=(1, 2, 4, 30, 20))).header
    assert (header.axes, header.format) == ("tczyx", "OME-Zarr 0.1")
    both = multiscale(
        ["nanometer"] * 3,
        coordinateTransformations=[
            {"type": "scale", "scale": [2, 2, 2]},
            {"type": "translation", "translation": [7, 8, 9]},
        ],
    )
    header = open_volume(image(tmp_path, both)).header
    assert (header.voxel_size, header.translation) == ((100, 8, 10), (7, 8, 9))


@pytest.mark.parametrize(
    "broken",
    [
        {"multiscales": []},
        {"multiscales": [{"datasets": []}]},
        {"multiscales": [{"datasets": [{"path": "0"}], "axes": ["a", "b"]}]},
        {"multiscales": [{"datasets": [{"path": "7"}], "axes": ["z", "y", "x"]}]},
        {"multiscales": [{"datasets": [{"path": "0"}], "axes": ["y", "x"]}]},
        multiscale(scale=(1, 2)),
    ],
)
def test_metadata_that_contradict_themselves_are_refused(tmp_path: Path, broken):
    """Broken metadata name the group and another way."""
    with pytest.raises(InputError, match=r"i\.zarr"):
        open_volume(image(tmp_path, broken))


def test_collections_say_which_path_to_use(tmp_path: Path):
    """Plates, wells, bioformats2raw collections and folders of stores."""
    path = image(tmp_path, {"plate": {"wells": [{"path": "A/1"}, {"path": "A/2"}]}})
    with pytest.raises(InputError, match=r"plate of 2 wells.*i\.zarr/A/1/0"):
        open_volume(path)
    path = image(tmp_path, {"well": {"images": [{"path": "3"}]}})
    with pytest.raises(InputError, match=r"well of 1 fields.*i\.zarr/3"):
        open_volume(path)
    path = image(tmp_path, {"ome": {"bioformats2raw.layout": 3}}, zarr_format=3)
    with pytest.raises(InputError, match=r"bioformats2raw.*i\.zarr/0"):
        open_volume(path)
    with pytest.raises(InputError, match=r"bioformats2raw.*i\.zarr/0"):
        open_volume(tmp_path)
    path.rename(tmp_path / "image")
    with pytest.raises(InputError, match=r"folder of 1 Zarr stores.*image"):
        open_volume(tmp_path)


@pytest.fixture(params=["0.5", "0.4"])
def pyramid(tmp_path: Path, request):
    """Write an image of two levels in two channels."""
    data = make_data((2, 6, 300, 280), "uint16")
    layout = make_layout(
        "czyx",
        data.shape,
        "uint16",
        ome_zarr=request.param,
        chunk_shape=(3, 128, 128),
        shard_shape=(6, 256, 256) if request.param == "0.5" else (3, 128, 128),
    )
    write_volume(tmp_path / "p.zarr", data, layout)
    return tmp_path / "p.zarr", data


def test_levels_by_number_and_by_path(pyramid):
    """A level's array, opened by its path, keeps what the image knows of it."""
    path, _ = pyramid
    by_number, by_path = open_volume(path, level=1).header, open_volume(path / "1").header
    assert by_number.shape == by_path.shape == (6, 150, 140)
    assert by_number.voxel_size == by_path.voxel_size == (40.0, 16.0, 16.0)
    assert by_path.axes == "czyx"
    assert (by_path.level, by_path.num_levels) == (1, 2)
    with pytest.raises(OptionError, match=r"--level 2: .*levels 0 to 1"):
        open_volume(path, level=2)


@pytest.mark.parametrize("damage", ["cut", "rot"])
def test_a_damaged_chunk_is_named(pyramid, damage):
    """A cut or rotten chunk fails where it is read, and only there."""
    path, data = pyramid
    version = open_volume(path).header.format
    if damage == "rot" and version == "OME-Zarr 0.4":
        pytest.skip("chunks of 0.4 have no checksum")
    file = path / "0" / ("1/0/1/1" if version == "OME-Zarr 0.4" else "c/1/0/1/1")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 3 : len(content) // 3 + 64] = bytes(64)
    file.write_bytes(content)
    volume = open_volume(path)
    assert np.array_equal(volume.read(whole((6, 300, 280))), data[0])
    with pytest.raises(InputError, match=r"p\.zarr: cannot read z 0:6, y 0:300.*channel 1"):
        volume.read(whole((6, 300, 280)), channel=1)


def test_damaged_metadata_are_named(tmp_path: Path):
    """Half a JSON file, a foreign one, and none at all."""
    path = tmp_path / "d.zarr"
    path.mkdir()
    with pytest.raises(InputError, match="no Zarr metadata"):
        open_volume(path)
    for content in ('{"zarr_format": 3, "nod', "[]", '{"a": 1}'):
        (path / "zarr.json").write_text(content)
        with pytest.raises(InputError, match=r"d\.zarr/zarr\.json"):
            open_volume(path)
    array = {"zarr_format": 3, "node_type": "array", "shape": [1, 2, 3], "data_type": "int9000"}
    (path / "zarr.json").write_text(json.dumps(array))
    with pytest.raises(InputError, match="cannot be opened"):
        open_volume(path)


def test_what_is_not_there_is_refused(tmp_path: Path, monkeypatch):
    """Missing files, unknown kinds, folders that are no volumes, and closed doors."""
    (tmp_path / "scan.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"no such file.*Did you mean 'scan\.npy'"):
        open_volume(tmp_path / "scan.npz")
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        open_volume(tmp_path / "a/b/c.tif")
    (tmp_path / "x.nd2").write_bytes(b"x")
    with pytest.raises(InputError, match="ND2 is not read: convert"):
        open_volume(tmp_path / "x.nd2")
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(InputError, match="unknown kind of file: expected one of"):
        open_volume(tmp_path / "x.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/x.json").write_text("{}")
    with pytest.raises(InputError, match="no volume"):
        open_volume(tmp_path / "notes")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "x.npy")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        open_volume(tmp_path / "scan.npy")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("codec", ["blosc", "gzip", "zstd", None])
def test_a_cut_chunk_of_any_codec_is_refused(tmp_path: Path, zarr_format, codec):
    """Blosc's own decoder would read beyond the end of what is there."""
    from numcodecs import Blosc, GZip, Zstd
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    codecs = {
        2: {"blosc": Blosc(), "gzip": GZip(), "zstd": Zstd(), None: None},
        3: {"blosc": BloscCodec(), "gzip": GzipCodec(), "zstd": ZstdCodec(), None: None},
    }
    data = make_data((4, 32, 32), "uint16")
    zarr.create_array(
        tmp_path / "a.zarr",
        data=data,
        chunks=(4, 32, 32),
        zarr_format=zarr_format,
        compressors=codecs[zarr_format][codec],
    )
    volume = open_volume(tmp_path / "a.zarr")
    assert np.array_equal(volume.read(whole(data.shape)), data)
    file = tmp_path / "a.zarr" / ("0.0.0" if zarr_format == 2 else "c/0/0/0")
    for kept in (file.stat().st_size - 1, 3000, 10, 0):
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(InputError, match="cannot read z 0:4"):
            volume.read(whole(data.shape))


def test_voxel_sizes_go_by_the_axes_that_are_asked_for(tmp_path: Path):
    """A time step is no distance in z, and sizes stay with the stored axes they belong to."""
    named = multiscale(["second", "nanometer", "nanometer"], axes="tyx")
    named["multiscales"][0]["axes"][0]["type"] = "time"
    path = image(tmp_path, named)
    assert open_volume(path).header.voxel_size == (4, 4, 5)
    assert open_volume(path, axes="zyx").header.voxel_size is None
    assert open_volume(path / "0", axes="zyx").header.voxel_size is None
    path = image(tmp_path, multiscale(["nanometer"] * 3))
    assert open_volume(path, axes="XZY").header.voxel_size == (4, 5, 50)
    with pytest.raises(OptionError, match="names 2 axes"):
        open_volume(path, axes="yx")


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("dtype", ["|u1", "|O"])
@pytest.mark.parametrize("key", ["filters", "compressor", "codecs", "inner codecs"])
def test_pickled_chunks_are_never_loaded(tmp_path: Path, key, dtype):
    """A store that names pickle as a filter, compressor or codec is refused and runs nothing."""
    path, ran = tmp_path / "p.zarr", tmp_path / "ran"
    old = key in ("filters", "compressor")
    zarr.create_array(
        path,
        data=make_data((2, 4, 4)),
        chunks=(2, 4, 4),
        compressors=None,
        zarr_format=2 if old else 3,
    )
    metadata = path / (".zarray" if old else "zarr.json")
    content = json.loads(metadata.read_text())
    if old:
        content["dtype"] = dtype
        content[key] = {"id": "pickle"} if key == "compressor" else [{"id": "pickle"}]
    else:
        codec = {"name": "numcodecs.pickle", "configuration": {}}
        inner = {"chunk_shape": [2, 4, 4], "codecs": [codec], "index_codecs": []}
        sharding = {"name": "sharding_indexed", "configuration": inner}
        content["codecs"] = [codec if key == "codecs" else sharding]
    metadata.write_text(json.dumps(content))
    chunk = path / ("0.0.0" if old else "c/0/0/0")
    assert chunk.exists()
    chunk.write_bytes(pickle.dumps(Payload(ran)))
    with pytest.raises(InputError, match=r"pickled Python objects.*never loaded") as raised:
        open_volume(path)
    assert "\n" not in str(raised.value)
    assert not ran.exists()
