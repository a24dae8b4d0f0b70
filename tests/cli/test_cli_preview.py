"""`vemctl preview`: pictures and pages of volumes, from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from vemctl.pages.page import GENERATOR
from vemctl.volumes.destination import Destination
from vemctl.volumes.volume import Layout


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Return a stack of 8 x 60 x 80 voxels of 40 x 8 x 8 nm."""
    values = np.random.default_rng(3).integers(20, 220, (8, 60, 80), np.uint8)
    return save(tmp_path / "noisy.zarr", values)


def save(path: Path, values: np.ndarray, voxel_size=(40.0, 8.0, 8.0), axes="zyx") -> Path:
    """Write an OME-Zarr."""
    sizes = dict(zip(axes, values.shape, strict=True))
    shape = (sizes["z"], sizes["y"], sizes["x"])
    layout = Layout(
        axes, shape, sizes.get("c"), sizes.get("t"), values.dtype, voxel_size, None,
        (4, 32, 32), (4, 32, 32),
    )  # fmt: skip
    destination = Destination.create(path, layout)
    whole = tuple(slice(0, n) for n in shape)
    for index in np.ndindex(values.shape[: len(axes) - 3]):
        where = dict(zip(axes, index, strict=False))
        destination.store.write(
            whole, values[index], channel=where.get("c", 0), timepoint=where.get("t", 0)
        )
    destination.finish({}, lambda *_: None)
    return path


def pixels(path: Path) -> np.ndarray:
    """Return a picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def facts_of(cli, *words) -> dict:
    """Return what a successful run tells as JSON."""
    ran = cli("preview", *words, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_a_picture_of_three_planes(cli, volume, tmp_path):
    """It is written, and standard error says where to and from which level."""
    out = tmp_path / "a.png"
    ran = cli("preview", volume, out)
    assert (ran.code, ran.out) == (0, "")
    assert f"read level 0 of 1 of {volume}" in ran.err
    assert f"wrote {out}" in ran.err
    height, width = pixels(out).shape
    assert width > 6 * (80 + 80 + 60)
    assert height > 6 * 60


def test_the_facts_of_a_picture(cli, volume, tmp_path):
    """Planes, positions, contrast, scale bar: whatever the picture shows."""
    facts = facts_of(cli, volume, tmp_path / "a.png")
    assert facts["pixel_size_nm"] == pytest.approx(8 / 6)
    assert facts["scale_bar"] == {"nm": 100.0, "text": "100 nm", "pixels": 75}
    (shown,) = facts["volumes"]
    assert [(plane["axis"], plane["position"]) for plane in shown["planes"]] == [
        ("z", 4), ("y", 30), ("x", 40),
    ]  # fmt: skip
    assert [(plane["rows"], plane["columns"]) for plane in shown["planes"]] == [
        (360, 480), (240, 480), (240, 360),
    ]  # fmt: skip
    assert 20 <= shown["black"] < shown["white"] < 220


def test_the_bar_in_the_picture_is_as_long_as_it_says(cli, tmp_path):
    """Counted in the file."""
    path = save(tmp_path / "flat.zarr", np.full((8, 60, 80), 7, np.uint8))
    facts = facts_of(cli, path, tmp_path / "a.png", "--slice", "z=1")
    white = (pixels(tmp_path / "a.png") == 255).sum(axis=1)
    assert white[white > 0][-1] == facts["scale_bar"]["pixels"]
    assert facts["scale_bar"]["pixels"] * facts["pixel_size_nm"] == facts["scale_bar"]["nm"]


def test_slices_are_shown_as_they_are(cli, volume, tmp_path):
    """Gray is a straight line between black and white, and pixels are voxels."""
    values = np.arange(8 * 60 * 80).reshape(8, 60, 80).astype(np.uint16)
    path = save(tmp_path / "v.zarr", values, voxel_size=None)
    out = tmp_path / "a.png"
    facts = facts_of(
        cli, path, out, "--slice", "z=5", "--slice", "x=3", "--contrast", "0,38400", "--size", "80"
    )
    assert facts["scale_bar"] is None
    assert facts["pixel_size_nm"] is None
    expected = np.round(values[5] / 38400 * 255).astype(np.uint8)
    made = pixels(out)
    found = [
        (row, column)
        for row in range(made.shape[0] - 60)
        for column in range(made.shape[1] - 80)
        if np.array_equal(made[row : row + 60 : 59, column : column + 80], expected[::59])
    ]
    assert len(found) == 1
    (row, column) = found[0]
    assert np.array_equal(made[row : row + 60, column : column + 80], expected)


def test_two_volumes_share_their_contrast(cli, volume, tmp_path):
    """If their values are alike; each has its own where they are not."""
    rng = np.random.default_rng(5)
    like = save(tmp_path / "like.zarr", rng.integers(60, 180, (8, 60, 80), np.uint8))
    unlike = save(tmp_path / "unlike.zarr", rng.integers(0, 9, (8, 60, 80), np.uint8))
    floats = save(tmp_path / "floats.zarr", rng.normal(size=(8, 60, 80)).astype(np.float32))
    out = tmp_path / "a.png"
    as_floats = save(tmp_path / "as_floats.zarr", rng.uniform(60, 180, (8, 60, 80)))
    same, own = "the same for both volumes", "each volume its own, since their gray values differ"
    for other, said in ((like, same), (as_floats, same), (unlike, own), (floats, own)):
        facts = facts_of(cli, volume, out, "--compare", other, "--overwrite")
        ranges = {(shown["black"], shown["white"]) for shown in facts["volumes"]}
        assert said in facts["contrast"]
        assert len(ranges) == (1 if said == same else 2)


def test_a_finer_volume_beside(cli, volume, tmp_path):
    """The same places, at the same size."""
    fine = np.random.default_rng(0).integers(0, 255, (8, 240, 320), np.uint8)
    other = save(tmp_path / "fine.zarr", fine, voxel_size=(40.0, 2.0, 2.0))
    facts = facts_of(cli, volume, tmp_path / "a.webp", "--compare", other, "--slice", "x=10")
    one, two = (shown["planes"][0] for shown in facts["volumes"])
    assert (one["position"], two["position"]) == (10, 42)
    assert (one["rows"], one["columns"]) == (two["rows"], two["columns"])


def test_projections(cli, volume, tmp_path):
    """Are said to be projections; a bright voxel is in all of them."""
    facts = facts_of(cli, volume, tmp_path / "a.jpg", "--mip")
    assert facts["mode"] == "projections"
    assert [plane["position"] for plane in facts["volumes"][0]["planes"]] == [None] * 3


def test_a_montage(cli, volume, tmp_path):
    """Planes are spread evenly; there are no more than the volume has."""
    out = tmp_path / "a.png"
    facts = facts_of(cli, volume, out, "--montage", "--count", "4")
    assert [plane["position"] for plane in facts["volumes"][0]["planes"]] == [1, 3, 5, 7]
    facts = facts_of(cli, volume, out, "--montage", "--overwrite")
    assert [plane["position"] for plane in facts["volumes"][0]["planes"]] == list(range(8))


def test_channels_and_time_points(cli, tmp_path):
    """The one asked for is shown; what was restored of it has one of its own."""
    values = np.zeros((2, 3, 8, 60, 80), np.float32)
    values[1, 2] = np.linspace(0, 5, 80, dtype=np.float32)
    values[0, 0] = np.nan
    path = save(tmp_path / "tc.zarr", values, axes="tczyx")
    one = save(tmp_path / "one.zarr", values[1, 2])
    out = tmp_path / "a.png"
    words = (path, out, "--compare", one, "--channel", "2", "--timepoint", "1")
    first, other = facts_of(cli, *words)["volumes"]
    assert (first["channel"], first["timepoint"]) == (2, 1)
    assert (other["channel"], other["timepoint"]) == (0, 0)
    assert first["white"] == other["white"] > 4.9
    (empty,) = facts_of(cli, path, out, "--overwrite")["volumes"]
    assert (empty["black"], empty["white"]) == (0, 1)


def test_a_thin_stack_is_shown_from_above(cli, tmp_path):
    """Its sides are lines, and are shown only when they are asked for."""
    tifffile.imwrite(tmp_path / "thin.tif", np.zeros((5, 300, 400), np.uint8))
    facts = facts_of(cli, tmp_path / "thin.tif", tmp_path / "a.png")
    assert [plane["axis"] for plane in facts["volumes"][0]["planes"]] == ["z"]
    facts = facts_of(cli, tmp_path / "thin.tif", tmp_path / "b.png", "--slice", "y=7")
    assert [plane["axis"] for plane in facts["volumes"][0]["planes"]] == ["y"]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_any_type_of_a_single_plane(cli, tmp_path, dtype):
    """Becomes one picture."""
    values = np.arange(50 * 70).reshape(50, 70).astype(dtype)
    np.save(tmp_path / "plane.npy", values)
    facts = facts_of(cli, tmp_path / "plane.npy", tmp_path / "a.png", "--axes", "yx")
    assert len(facts["volumes"][0]["planes"]) == 1
    assert pixels(tmp_path / "a.png").max() == 255


def test_a_page_has_a_slider_for_every_plane(cli, volume, tmp_path):
    """With both volumes in it, in one file that loads nothing."""
    other = save(tmp_path / "clean.zarr", np.full((8, 60, 80), 90, np.uint8))
    out = tmp_path / "both.html"
    facts = facts_of(cli, volume, out, "--compare", other)
    text = out.read_text()
    assert facts["kind"] == "html"
    assert GENERATOR in text
    assert text.count('type="range"') == 3
    assert text.count("<img ") == 6
    assert "XY, z = 4 (160 nm) of noisy.zarr" in text
    assert "before: noisy.zarr" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)


def test_a_page_of_one_volume(cli, volume, tmp_path):
    """Shows its planes without sliders."""
    out = tmp_path / "one.html"
    facts_of(cli, volume, out, "--mip")
    text = out.read_text()
    assert text.count("<figure>") == 3
    assert "maximum along z" in text
    assert 'type="range"' not in text


def test_a_picture_in_a_pipeline(fresh, volume):
    """Is a PNG on standard output, and nothing else is."""
    code = (
        "import subprocess, sys\n"
        f"words = ['-m', 'vemctl', 'preview', {str(volume)!r}, '-']\n"
        "done = subprocess.run([sys.executable, *words], capture_output=True, check=True)\n"
        "print(done.stdout[:8], done.stdout[-8:-4])\n"
    )
    ran = fresh("-c", code)
    assert ran.code == 0, ran.err
    assert "b'\\x89PNG\\r\\n\\x1a\\n' b'IEND'" in ran.out


def test_no_torch_is_loaded(fresh, volume):
    """A preview is there at once."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from vemctl.workflows.preview import rendered\n"
        "from vemctl.workflows.preview_options import PreviewRequest\n"
        f"rendered(PreviewRequest(Path({str(volume)!r}), Path('a.png')))\n"
        "print('torch' in sys.modules, 'PIL' in sys.modules)"
    )
    ran = fresh("-c", code)
    assert ran.out == "False True\n", ran.err


def test_an_existing_picture_stays(cli, volume, tmp_path):
    """Unless it may be replaced."""
    out = tmp_path / "a.png"
    out.write_bytes(b"mine")
    ran = cli("preview", volume, out)
    assert (ran.code, ran.err) == (
        2, f"error: {out}: exists; use --overwrite, or choose another name\n",
    )  # fmt: skip
    assert out.read_bytes() == b"mine"
    assert cli("preview", volume, out, "--overwrite", "-q").err == ""
    assert pixels(out).size


@pytest.mark.parametrize(
    ("out", "words", "said"),
    [
        ("a.gif", [], "unknown kind of picture: expected one of .png"),
        ("a", [], "unknown kind of picture"),
        ("nodir/a.png", [], "the folder .*nodir does not exist; make it, or choose another place"),
        ("noisy.zarr/zarr.json/a.png", [], "zarr.json is a file, no folder"),
        ("-", ["--json"], "both write to standard output"),
        ("a.png", ["--slice", "12"], "--slice 12: expected an axis and a voxel"),
        ("a.png", ["--slice", "z=-1"], "--slice z=-1: expected an axis and a voxel"),
        ("a.png", ["--slice", "z=8"], "--slice z=8: .* has 8 voxels along z; expected 0 to 7"),
        ("a.png", ["--mip", "--slice", "z=1"], "--slice and --mip show different things"),
        ("a.png", ["--count", "3"], "--count 3 counts the planes of --montage"),
        ("a.png", ["--size", "9999"], "--size 9999: expected 16 to 4096 pixels"),
        ("a.png", ["--contrast", "9"], "--contrast 9: expected what is black"),
        ("a.png", ["--contrast", "9,9"], "--contrast 9,9: expected what is black"),
        ("a.png", ["--channel", "1"], "--channel 1: .* has 1 channels; expected 0 to 0"),
        ("a.png", ["--compare", "nothing.tif"], "nothing.tif: no such file"),
        ("a.png", ["--montage", "--compare", "x.tif"], "--montage shows one volume"),
    ],
)
def test_mistakes_are_one_line(cli, volume, tmp_path, out, words, said):
    """And leave nothing behind."""
    place = out if out == "-" else tmp_path / out
    ran = cli("preview", volume, place, *words)
    assert ran.code == 2
    assert re.search(said, ran.err.splitlines()[-1])
    assert ran.err.count("error:") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisy.zarr"]


def test_volumes_that_do_not_fit(cli, volume, tmp_path):
    """The reason is one line."""
    other = save(tmp_path / "b.zarr", np.zeros((8, 50, 80), np.uint8), voxel_size=None)
    ran = cli("preview", volume, tmp_path / "a.png", "--compare", other)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "8 x 50 x 80 voxels" in ran.err


def test_volumes_of_one_name_are_told_apart(cli, volume, tmp_path):
    """By the names of their folders."""
    (tmp_path / "after").mkdir()
    other = save(tmp_path / "after" / volume.name, np.zeros((8, 60, 80), np.uint8))
    out = tmp_path / "a.html"
    facts_of(cli, volume, out, "--compare", other)
    assert "after/noisy.zarr" in out.read_text()
