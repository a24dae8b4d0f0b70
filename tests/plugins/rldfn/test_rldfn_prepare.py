"""Deskewed stacks to two views, from files to files."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from parity import load_fixture
from rldfn_stacks import FLAT, askew, opened, prepared, reflected, refusal, spotted, write
from vemctl_rldfn import prepare_writing
from vemctl_rldfn.method import METHOD
from vemctl_rldfn.prepare import STACK, preparation
from vemctl_rldfn.prepare_options import PrepareOptions

from vemctl.errors import Interrupted
from vemctl.plugin import PreparationRequest, VolumeFacts, Workplace
from vemctl.workflows.new_volumes import VolumeMaker
from vemctl.workflows.prepare import plan_preparation, prepare
from vemctl.workflows.prepare_options import PrepareRequest


def stretched(views: np.ndarray) -> np.ndarray:
    """Return counts of a range of its own, halves up."""
    views = views.astype(np.float64)
    low, high = views.min(), views.max()
    return np.floor(65535 * (views - low) / (high - low) + 0.5).astype(np.uint16)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict, Path]:
    """Give the fixture of the published program, and its input as a file."""
    spec, arrays, _ = load_fixture("rldfn_split")
    told = spec["params"]
    stack = spotted(told["shape_d1d2d3"], arrays["spots"], told["background"])
    assert (int(stack.sum()), int(stack.max())) == (told["input_sum"], told["input_max"])
    return told, arrays, write(tmp_path_factory.mktemp("published") / "F-actin.npy", stack)


@pytest.mark.parametrize("margin", [None, 100])
def test_views_are_those_of_the_published_program(
    published: tuple[dict[str, Any], dict, Path], margin: int | None, tmp_path: Path
) -> None:
    """To the last bit, with its margins and with those that fit the field."""
    told, arrays, path = published
    options = PrepareOptions(
        tilt=told["tilt_deg"],
        voxel_size=",".join(str(1000 * told[f"{d}_um"]) for d in ("dz", "dxy", "dxy")),
        margin=margin,
    )
    made = prepared(tmp_path / "out", options, path)
    for view in "AB":
        expected = arrays[f"view_{view}"].transpose(2, 0, 1)
        np.testing.assert_array_equal(made.view(0, view), expected)
        assert made.voxel_size(0, view) == pytest.approx([1000 * told["dxy_um"]] * 3)
        assert made.path(0, view) == tmp_path / "out" / f"View{view}" / "F-actin.zarr"
    (record,) = made.record["volumes"]
    assert record["angle"] == told["found_angle_x"] == 0.5
    assert record["shift"] == told["found_dispZ"] == 5
    assert record["tilt"] == 31.5
    assert record["doubts"] == []
    first, second = (record["searches"][name] for name in ("along_y", "along_x"))
    assert first["shift"] == told["found_dispZ_after_x"]
    if margin == 100:
        assert first["score"] == pytest.approx(58193.998, abs=1e-3)
        assert second["score"] == pytest.approx(54563.230, abs=1e-3)
        assert made.warnings == []
    else:
        assert record["margins"] == [85, 100]
        assert made.warnings == [
            f"{path}: of a field of 406 x 624 pixels (y, x) the search leaves out 85 and 100 at "
            "the borders instead of 100, as published, which would leave too few; --margin states "
            "others"
        ]
    (planned,) = made.plan["volumes"]
    assert planned["shape"] == [38, 624, 406]
    assert planned["planes_at_most"] == 38 >= record["shape"][0] == 36
    assert made.plan["uncompressed_bytes"] == 2 * 2 * 38 * 624 * 406


def test_a_stack_is_the_same_in_slabs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views and searches, tilted, askew, and with a correction of the tilt."""
    stack = askew((40, 90, 100), tilt=31.0, angle=0.5, mirror=21.5, count=150)
    path = write(tmp_path / "a.npy", stack)
    options = PrepareOptions(
        voxel_size="90,60,60", tilt=30.0, tilt_corrections="-1:1:0.5", margin=5, angles="0:0.6:0.3"
    )
    whole = prepared(tmp_path / "whole", options, path)
    monkeypatch.setattr("vemctl_rldfn.prepare_stacks.SLAB_VOXELS", 40 * 90 * 7)
    slabs = prepared(tmp_path / "slabs", options, path)
    assert len(slabs.advanced) > len(whole.advanced) + 30
    assert slabs.record == whole.record
    assert slabs.plan["memory_bytes"] < whole.plan["memory_bytes"]
    for view in "AB":
        np.testing.assert_array_equal(slabs.view(0, view), whole.view(0, view))
        assert whole.view(0, view).max() == 65535
    assert (
        whole.record["volumes"][0]["tilt"] == 30.0 + (whole.record["volumes"][0]["tilt_correction"])
    )


def test_a_corrected_tilt_is_found(tmp_path: Path) -> None:
    """Stacks whose tilt is not as stated; all is measured and written with what was found."""
    stack = askew((50, 160, 160), tilt=31.5, angle=0.0, mirror=26.0, count=500)
    path = write(tmp_path / "a.npy", stack)
    options = PrepareOptions(
        voxel_size="90,60,60", tilt=29.5, tilt_corrections="-4:4:1", angles="0", margin=10
    )
    made = prepared(tmp_path / "out", options, path)
    (record,) = made.record["volumes"]
    assert record["tilt_correction"] == pytest.approx(2, abs=1.01)
    shift = record["shift"]
    stated = replace(
        options,
        tilt=record["tilt"],
        tilt_corrections="0",
        split_range=f"{shift},{shift + 1}",
    )
    exact = prepared(tmp_path / "exact", stated, path)
    for view in "AB":
        np.testing.assert_array_equal(made.view(0, view), exact.view(0, view))


@pytest.mark.parametrize("mirror", [18.0, 20.5])
def test_the_offset_can_be_mended(mirror: float, tmp_path: Path) -> None:
    """Then views of what mirrors itself are one; as published view B is a plane behind."""
    path = write(tmp_path / "a.npy", reflected(40, mirror))
    published = prepared(tmp_path / "published", FLAT, path)
    mended = prepared(tmp_path / "mended", replace(FLAT, fix_split_offset=True), path)
    assert published.record["volumes"][0]["shift"] == 2 * mirror - 40
    np.testing.assert_array_equal(mended.view(0, "A"), mended.view(0, "B"))
    a, b = (published.view(0, view).astype(float) for view in "AB")
    assert np.corrcoef(a[1:].ravel(), b[:-1].ravel())[0, 1] > 0.9999
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.9


def test_views_of_a_tilted_stack_show_the_same(tmp_path: Path) -> None:
    """Spots and their mirror images lie at the same places, within a voxel."""
    stack = askew((60, 150, 150), tilt=30.8, angle=0.4, mirror=31.0, count=400)
    path = write(tmp_path / "a.npy", stack)
    options = PrepareOptions(voxel_size="90,60,60", fix_split_offset=True, margin=10)
    made = prepared(tmp_path / "out", options, path)
    a, b = (made.view(0, view)[:, 20:-20, 20:-20].astype(float) for view in "AB")
    lags = {
        lag: np.corrcoef(
            a[max(lag, 0) : len(a) + min(lag, 0)].ravel(),
            b[max(-lag, 0) : len(b) + min(-lag, 0)].ravel(),
        )[0, 1]
        for lag in range(-3, 4)
    }
    assert abs(max(lags, key=lags.__getitem__)) <= 1
    assert max(lags.values()) > 0.7


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_views_are_turned(turns: int, tmp_path: Path) -> None:
    """Counter-clockwise by quarters; both towards the mirror, and cut in z."""
    stack = reflected(30, 16.0)
    made = prepared(
        tmp_path / "out",
        replace(FLAT, quarter_turns=turns, cut_z=9),
        write(tmp_path / "a.npy", stack),
    )
    expected = {"A": stack[6:15], "B": stack[25:16:-1]}
    assert made.record["volumes"][0]["shift"] == 2
    for view, planes in expected.items():
        counts = stretched(np.rot90(planes, turns, axes=(1, 2)))
        difference = made.view(0, view).astype(int) - counts
        assert np.abs(difference).max() <= 1  # they were stretched twice
        assert made.view(0, view).max() == 65535


def test_a_thin_stack_is_split(tmp_path: Path) -> None:
    """Few planes and rows that a rotation does not fill; shifts are those that it has."""
    stack = askew((8, 80, 60), tilt=31.5, angle=0.0, mirror=4.5, count=60)
    path = write(tmp_path / "a.npy", stack)
    made = prepared(tmp_path / "out", PrepareOptions(voxel_size="90,60,60"), path)
    (record,) = made.record["volumes"]
    assert abs(record["shift"]) <= 4
    planes, height, width = record["shape"]
    assert (height, width) == (60, 80)
    assert 1 <= planes <= made.plan["volumes"][0]["planes_at_most"] == 3
    assert made.view(0, "A").shape == made.view(0, "B").shape == (planes, 60, 80)
    few = write(tmp_path / "few.npy", stack[:3])
    assert refusal(PrepareOptions(voxel_size="90,60,60"), few) == (
        f"{few}: 3 planes; expected at least 4, before and behind the mirror"
    )


@pytest.mark.parametrize("shape", [(6, 1, 1), (12, 5, 3), (9, 2, 40)])
def test_small_fields_are_split(shape: tuple[int, int, int], tmp_path: Path) -> None:
    """Though hardly anything can be searched in them."""
    noise = np.random.default_rng(0).integers(0, 999, shape).astype(np.uint16)
    options = PrepareOptions(voxel_size="90,60,60")
    made = prepared(tmp_path / "out", options, write(tmp_path / "a.npy", noise))
    assert made.view(0, "A").shape == tuple(made.record["volumes"][0]["shape"])


def write_series(path: Path, volumes: np.ndarray) -> Path:
    """Write (t, c, z, y, x) with voxels of 60 nm."""
    tifffile.imwrite(
        path,
        np.ascontiguousarray(volumes.transpose(0, 2, 1, 3, 4)),
        imagej=True,
        resolution=(1000 / 60, 1000 / 60),
        metadata={"axes": "TZCYX", "spacing": 0.06, "unit": "um"},
    )
    return path


def test_time_points_and_channels_are_volumes(tmp_path: Path) -> None:
    """Named as their file, numbered by time; channels are in folders of their own."""
    volumes = np.array(
        [[reflected(24, 12.5 + t, seed=10 * t + c) for c in range(2)] for t in range(3)]
    )
    path = write_series(tmp_path / "cell.ome.tif", volumes)
    made = prepared(tmp_path / "out", replace(FLAT, voxel_size=None), path)
    found = {
        (each["channel"], each["timepoint"]): number
        for number, each in enumerate(made.record["volumes"])
    }
    assert len(found) == 6
    for (c, t), number in found.items():
        record = made.record["volumes"][number]
        assert record["views"]["B"] == f"c{c}/ViewB/cell_t{t}.zarr"
        assert record["name"] == f"c{c}/cell_t{t}"
        assert record["shift"] == 2 * t + 1
        alone = prepared(tmp_path / f"{c}{t}", FLAT, write(tmp_path / f"{c}{t}.npy", volumes[t, c]))
        for view in "AB":
            np.testing.assert_array_equal(made.view(number, view), alone.view(0, view))
        assert made.voxel_size(number, "A") == pytest.approx((60, 60, 60))
    told = [text.split(",")[0].split(":")[0] for text in made.warnings]
    assert told.count("there are several channels") == 1
    assert sum("--common-split makes a time series of one shape" in w for w in made.warnings) == 2
    one = prepared(tmp_path / "one", replace(FLAT, voxel_size=None, common_split=True), path)
    assert {each["shift"] for each in one.record["volumes"]} == {1}
    assert len({tuple(each["shape"]) for each in one.record["volumes"]}) == 1


def test_files_of_a_folder_are_in_natural_order(tmp_path: Path) -> None:
    """And a split that is common is that of the first one which is not dark."""
    stacks = {1: np.full((24, 70, 80), 7, np.uint16), 2: reflected(24, 13.0), 10: reflected(24, 12)}
    for number, stack in stacks.items():
        write(tmp_path / "raw" / f"cell{number}x{number}.npy", stack)
    made = prepared(tmp_path / "out", replace(FLAT, common_split=True), tmp_path / "raw")
    assert [each["name"] for each in made.record["volumes"]] == ["cell1x1", "cell2x2", "cell10x10"]
    assert [each["shift"] for each in made.record["volumes"]] == [0, 2, 2]
    assert not made.view(0, "A").any()
    assert not made.view(0, "B").any()
    dark = tmp_path / "raw" / "cell1x1.npy"
    assert [w for w in made.warnings if "0 all over" in w] == [
        f"{dark}: all of it is one value; its views are 0 all over"
    ]
    own = prepared(tmp_path / "own", FLAT, tmp_path / "raw")
    assert [each["shift"] for each in own.record["volumes"]] == [0, 2, 0]
    np.testing.assert_array_equal(own.view(1, "B"), made.view(1, "B"))
    write(tmp_path / "raw" / "cell11x11.npy", reflected(26, 13))
    told = refusal(replace(FLAT, common_split=True), tmp_path / "raw")
    assert told.startswith(f"{tmp_path / 'raw' / 'cell11x11.npy'}: 26 x 70 x 80 voxels (z, y, x)")


def test_time_points_may_have_one_range(tmp_path: Path) -> None:
    """Of each view over all of them: a brighter time point stays brighter."""
    stacks = [reflected(24, 12.5, seed=s) * (s + 1) for s in range(3)]
    stacks[2][15:] //= 2  # the reflected view
    paths = [write(tmp_path / f"t{n}.npy", stack) for n, stack in enumerate(stacks)]
    options = replace(FLAT, common_range=True, common_split=True)
    made = prepared(tmp_path / "out", options, *paths)
    record = made.record["volumes"]
    low, high = min(s.min() for s in stacks), max(s.max() for s in stacks)
    assert {(each["low"], each["high"]) for each in record} == {(low, high)}
    counts = [np.floor(65535 * (s.astype(float) - low) / (high - low) + 0.5) for s in stacks]
    for view, planes in (("A", slice(1, 12)), ("B", slice(23, 12, -1))):
        expected = stretched(np.stack([each[planes] for each in counts]))
        made_of_all = np.stack([made.view(number, view) for number in range(3)])
        np.testing.assert_array_equal(made_of_all, expected)
        assert made_of_all.max() == 65535 > made_of_all[0].max()
    single = prepared(tmp_path / "single", replace(FLAT, common_range=True), paths[1])
    own = prepared(tmp_path / "own", FLAT, paths[1])
    np.testing.assert_array_equal(single.view(0, "B"), own.view(0, "B"))


@pytest.mark.parametrize("large", [False, True])
def test_views_may_be_tiff(large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values and voxel size, in classic files, or in such with places of 64 bit."""
    path = write(tmp_path / "a.npy", reflected(30, 16.0))
    options = replace(FLAT, quarter_turns=3)
    zarr = prepared(tmp_path / "zarr", options, path)
    if large:
        monkeypatch.setattr(prepare_writing, "LARGE_TIFF", 1000)
    tiff = prepared(tmp_path / "tiff", replace(options, layout="tiff"), path)
    for view in "AB":
        np.testing.assert_array_equal(tiff.view(0, view), zarr.view(0, view))
        assert tiff.voxel_size(0, view) == pytest.approx((60, 60, 60))
        assert tiff.path(0, view) == tmp_path / "tiff" / f"View{view}" / "a.tif"
        with tifffile.TiffFile(tiff.path(0, view)) as file:
            assert file.is_bigtiff == large
            assert len(file.pages) == len(zarr.view(0, view))
    assert {each.name for each in (tmp_path / "tiff").iterdir()} == {"ViewA", "ViewB"}
    assert {each.name for each in (tmp_path / "zarr").iterdir()} == {"ViewA", "ViewB"}


def test_a_plan_reads_nothing() -> None:
    """Only what is known of the files is asked for, and it is quick for any size."""

    class Unread:
        def facts(self, role: str) -> list[VolumeFacts]:
            assert role == STACK
            return [VolumeFacts((150, 2048, 2048), "uint16", (92.6, 61.7, 61.7))]

    request = PreparationRequest(Unread(), {STACK: ("big.tif",)})  # type: ignore[arg-type]
    plan = preparation(PrepareOptions(), request).plan()
    (volume,) = plan["volumes"]
    assert volume["planes_at_most"] == 74
    assert volume["shape"] == [74, 2048, 2048]
    assert volume["voxel_size"] == [61.7] * 3
    assert volume["views"] == {"A": "ViewA/big.zarr", "B": "ViewB/big.zarr"}
    assert plan["uncompressed_bytes"] == 2 * 2 * 74 * 2048**2
    assert plan["memory_bytes"] < 2 * 2**30
    thick = VolumeFacts((300, 64, 64), "uint16", (92.6, 61.7, 61.7))
    Unread.facts = lambda _, __: [thick]  # type: ignore[method-assign,assignment]
    assert preparation(PrepareOptions(), request).plan()["volumes"][0]["planes_at_most"] == 101


def test_floats_become_counts(tmp_path: Path) -> None:
    """Also negative ones: views do not depend on scale and offset."""
    stack = reflected(30, 16.0)
    counts = prepared(tmp_path / "counts", FLAT, write(tmp_path / "a.npy", stack))
    floats = stack.astype(np.float32) / 4 - 64
    made = prepared(tmp_path / "floats", FLAT, write(tmp_path / "b.npy", floats))
    # The search does not know of offsets; both find what is plain to see.
    assert made.record["volumes"][0]["shift"] == counts.record["volumes"][0]["shift"]
    np.testing.assert_array_equal(made.view(0, "A"), counts.view(0, "A"))


def test_progress_is_told_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number that does not fall, and reaches the total once."""
    monkeypatch.setattr("vemctl_rldfn.prepare_stacks.SLAB_VOXELS", 20 * 70 * 16)
    path = write(tmp_path / "a.npy", reflected(20, 10.0))
    told = prepared(tmp_path / "out", FLAT, path).advanced
    ((phase, total),) = {(phase, total) for phase, _, total in told}
    assert (phase, total) == ("preparing", 3 * 5 + 2 * 9)
    done = [number for _, number, _ in told]
    assert done == sorted(done)
    assert done.count(total) == 1
    assert set(done) == set(range(total + 1))


@pytest.mark.parametrize("end", [0, 7, 12, 20])
def test_a_run_can_be_stopped(end: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two slabs, and in the search; no scratch stays."""
    monkeypatch.setattr("vemctl_rldfn.prepare_stacks.SLAB_VOXELS", 20 * 70 * 16)
    made = opened(FLAT, [write(tmp_path / "a.npy", reflected(20, 10.0))])
    folder = tmp_path / "out"
    folder.mkdir()

    def stop(_: str, done: int, __: int) -> None:
        if done == end:
            raise Interrupted

    with pytest.raises(Interrupted):
        made.run(Workplace(folder, VolumeMaker(folder), stop))
    assert [each for each in folder.iterdir() if each.is_file()] == []


def test_a_folder_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found is in its record; of a run that was stopped nothing stays."""
    monkeypatch.setattr("vemctl.workflows.prepare.registry.get", lambda _: METHOD)
    path = write(tmp_path / "a.npy", reflected(30, 16.0))
    request = PrepareRequest("rldfn", (path,), tmp_path / "out", replace(FLAT, margin=4))
    assert plan_preparation(request)["volumes"][0]["planes_at_most"] == 14
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        prepare(request, stop=stop)
    assert [each.name for each in tmp_path.iterdir() if each.is_dir()] == []
    result = prepare(request)
    (told,) = json.loads((tmp_path / "out" / "prepare.json").read_text())["volumes"]
    assert told == result.facts["volumes"][0]
    assert (told["tilt"], told["angle"], told["shift"], told["shape"]) == (0, 0, 2, [13, 70, 80])
    assert told["score"] > 0
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "ViewA", "ViewB", "prepare.json"
    }  # fmt: skip
