"""Inputs of a prediction: regions, channels, time points, and what tells one from another."""

from __future__ import annotations

import math
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vemctl import registry
from vemctl.errors import InputError, Interrupted, OptionError, ResumeError
from vemctl.events import Event, StageAdvanced
from vemctl.plugin import Footprint, Method, NoOptions, Output, Place, Request, Restorer, Triple
from vemctl.prediction.plan import Series
from vemctl.volumes.destination import Destination
from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Header, Layout
from vemctl.workflows.options import (
    ComputeOptions,
    InputOptions,
    OutputOptions,
    PredictRequest,
)
from vemctl.workflows.predict import predict
from vemctl.workflows.sources import fingerprint, open_sources, parse_roi

SHAPE = (3, 20, 24)
HEADER = Header(
    Path("in.zarr"), "memory", "zyx", (64, 512, 300), None, None, np.dtype(np.uint8), None,
    (1, 512, 300),
)  # fmt: skip


def noise(*shape: int, seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    """Return values without structure, below 100."""
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def array(path: Path, values: np.ndarray) -> Path:
    """Write a .npy file."""
    np.save(path, values)
    return path


def image(path: Path, axes: str, values: np.ndarray) -> Path:
    """Write an OME-Zarr image with a voxel size."""
    sizes = dict(zip(axes, values.shape, strict=True))
    layout = Layout(
        axes, (sizes.get("z", 1), sizes["y"], sizes["x"]), sizes.get("c"), sizes.get("t"),
        values.dtype, (40.0, 8.0, 8.0), None, (3, 16, 16), (3, 16, 16),
    )  # fmt: skip
    destination = Destination.create(path, layout)
    whole = tuple(slice(0, n) for n in layout.shape)
    for t in range(sizes.get("t", 1)):
        for c in range(sizes.get("c", 1)):
            part = values[tuple({"t": t, "c": c}.get(axis, slice(None)) for axis in axes)]
            destination.store.write(whole, part, channel=c, timepoint=t)
    destination.finish({}, lambda *_: None)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:64,0:512,0:300", [(0, 64), (0, 512), (0, 300)]),
        ("8:9,100:200,0:1", [(8, 9), (100, 200), (0, 1)]),
        (":,:,:", [(0, 64), (0, 512), (0, 300)]),
        ("8:,:12,299:", [(8, 64), (0, 12), (299, 300)]),
        (" 1:2 , 3:4, 5:6 ", [(1, 2), (3, 4), (5, 6)]),
    ],
)
def test_a_region_is_read_as_people_write_it(text: str, expected: list[tuple[int, int]]) -> None:
    """An end may be left out, and blanks do no harm."""
    assert [slice(*ends) for ends in expected] == list(parse_roi(text, HEADER))


@given(st.data())
def test_every_region_inside_the_volume_is_understood(data: st.DataObject) -> None:
    """What is written is what is read."""
    parts = []
    for size in HEADER.shape:
        start = data.draw(st.integers(0, size - 1))
        parts.append(slice(start, data.draw(st.integers(start + 1, size))))
    text = ",".join(f"{part.start}:{part.stop}" for part in parts)
    assert parts == list(parse_roi(text, HEADER))


@pytest.mark.parametrize(
    "text", ["", "0:9", "0:9,0:9", "0:9,0:9,0:9,0:9", "a:b,:,:", "-1:9,:,:", "3,4,5", "0:9:2,:,:"]
)
def test_what_is_no_region_is_refused_with_the_form(text: str) -> None:
    """The line shows what is expected."""
    with pytest.raises(OptionError, match=f"^--roi {text}: expected Z0:Z1,Y0:Y1,X0:X1"):
        parse_roi(text, HEADER)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0:65,:,:", "0:65 is not inside axis z of in.zarr, which has 64 voxels"),
        (":,9:9,:", "9:9 is not inside axis y"),
        (":,9:0,:", "9:0 is not inside axis y"),
        (":,:,300:", "300:300 is not inside axis x.*end <= 300"),
        (":,:,9:3", "9:3 is not inside axis x"),
    ],
)
def test_a_region_outside_the_volume_is_refused(text: str, words: str) -> None:
    """The line names the axis and its length."""
    with pytest.raises(OptionError, match=words):
        parse_roi(text, HEADER)


@pytest.fixture(scope="module")
def five_axes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an OME-Zarr of two time points and three channels."""
    return image(tmp_path_factory.mktemp("in") / "in.zarr", "tczyx", noise(2, 3, *SHAPE))


@pytest.mark.parametrize(
    ("options", "axes", "series"),
    [
        ({}, "tczyx", [(t, c, t, c) for t in (0, 1) for c in (0, 1, 2)]),
        ({"channel": "1"}, "tzyx", [(t, 1, t, 0) for t in (0, 1)]),
        ({"timepoint": "1"}, "czyx", [(1, c, 0, c) for c in (0, 1, 2)]),
        ({"timepoint": "0", "channel": "2"}, "zyx", [(0, 2, 0, 0)]),
    ],
)
def test_axes_of_which_one_position_is_chosen_are_dropped(
    five_axes: Path, options: dict[str, str], axes: str, series: list[tuple[int, ...]]
) -> None:
    """Each channel at each time point is a volume; outputs are counted from 0."""
    with open_sources([five_axes], ["input"], InputOptions(**options)) as sources:
        assert sources.axes == axes
        assert [Series(*numbers) for numbers in series] == list(sources.series)
        assert sources.header.shape == SHAPE


def test_axes_come_in_the_order_of_ome_zarr(tmp_path: Path) -> None:
    """However the input is stored; a plane stays a plane."""
    path = array(tmp_path / "in.npy", noise(5, 6, 2))
    with open_sources([path], ["input"], InputOptions(axes="yxc")) as sources:
        assert sources.axes == "cyx"
        assert sources.header.shape == (1, 5, 6)
        assert len(sources.series) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channel": "3"}, "--channel 3: .*has 3 channels; expected all, or 0 to 2"),
        ({"channel": "-1"}, "--channel -1"),
        ({"channel": "red"}, "--channel red"),
        ({"timepoint": "2"}, "--timepoint 2: .*has 2 timepoints"),
        ({"timepoint": ""}, "--timepoint : "),
        pytest.param(
            {"channel": "²"},
            "--channel",
        ),
    ],
)
def test_a_position_that_is_not_there_is_refused(
    five_axes: Path, options: dict[str, str], words: str
) -> None:
    """The line says how many there are."""
    with (
        pytest.raises(OptionError, match=words),
        open_sources([five_axes], ["input"], InputOptions(**options)),
    ):
        pass


def test_a_volume_without_channels_has_one(tmp_path: Path) -> None:
    """Channel 0 of it may be named."""
    path = array(tmp_path / "in.npy", noise(*SHAPE))
    for channel in ("all", "0"):
        with open_sources([path], ["input"], InputOptions(channel=channel)) as sources:
            assert (sources.axes, sources.series) == ("zyx", (Series(0, 0, 0, 0),))


def test_a_region_is_cut_out_of_every_input(tmp_path: Path) -> None:
    """Inputs of one shape stay in register."""
    first, second = noise(*SHAPE), noise(*SHAPE, seed=1)
    paths = [array(tmp_path / "a.npy", first), array(tmp_path / "b.npy", second)]
    with open_sources(paths, ["a", "b"], InputOptions(roi="1:,4:20,2:9")) as sources:
        assert sources.header.shape == (2, 16, 7)
        whole = tuple(slice(0, n) for n in sources.header.shape)
        for volume, values in zip(sources.volumes, (first, second), strict=True):
            np.testing.assert_array_equal(volume.read(whole), values[1:, 4:20, 2:9])


def test_not_a_number_is_replaced_when_asked(tmp_path: Path) -> None:
    """Behind the region of interest, too."""
    values = noise(*SHAPE, dtype="float32")
    values[1, 2, 3] = np.nan
    path = array(tmp_path / "in.npy", values)
    options = InputOptions(roi="1:2,2:3,3:4", nan_to_num=True)
    with open_sources([path], ["input"], options) as sources:
        assert sources.volumes[0].read((slice(0, 1),) * 3).tolist() == [[[0.0]]]


@pytest.mark.parametrize(
    ("axes", "shape", "words"),
    [
        ("zyx", (3, 20, 25), "second has shape .3, 20, 25., first has .3, 20, 24."),
        ("czyx", (2, *SHAPE), "second has channels 2, first has None"),
        ("tzyx", (2, *SHAPE), "second has timepoints 2, first has None"),
    ],
)
def test_inputs_that_differ_are_refused(
    tmp_path: Path, axes: str, shape: tuple[int, ...], words: str
) -> None:
    """The line names both by what the method calls them."""
    paths = [
        image(tmp_path / "a.zarr", "zyx", noise(*SHAPE)),
        image(tmp_path / "b.zarr", axes, noise(*shape)),
    ]
    with (
        pytest.raises(InputError, match=words),
        open_sources(paths, ["first", "second"], InputOptions()),
    ):
        pass


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_one_volume_is_not_two_inputs(tmp_path: Path, kind: str) -> None:
    """By whatever path it is given twice; the line names what it is given as."""
    first = array(tmp_path / "a.npy", noise(*SHAPE))
    second = tmp_path / "." / ".." / tmp_path.name / "a.npy"
    if kind == "link":
        second = tmp_path / "b.npy"
        second.symlink_to(first)
    if kind == "folder":
        first = second = image(tmp_path / "a.zarr", "zyx", noise(*SHAPE))
    match = "is given as view_a and as view_b; expected two volumes$"
    with (
        pytest.raises(InputError, match=match),
        open_sources([first, second], ["view_a", "view_b"], InputOptions()),
    ):
        pass


def test_equal_volumes_in_two_files_are_two_inputs(tmp_path: Path) -> None:
    """Only a file itself is not taken twice."""
    paths = [array(tmp_path / name, noise(*SHAPE)) for name in ("a.npy", "b.npy")]
    with open_sources(paths, ["view_a", "view_b"], InputOptions()) as sources:
        assert len(sources.volumes) == 2


def stacks(folder: Path, *names: str) -> Path:
    """Write a folder of stacks."""
    folder.mkdir()
    for name in names:
        array(folder / f"{name}.npy", noise(*SHAPE, dtype="float32"))
    return folder


VIEW_A = ("a_t1", "a_t2", "a_t3", "a_t10")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (VIEW_A, ("b_t1", "b_t2", "b_t3", "b_t10")),
        (VIEW_A, ("side_t001", "side_t002", "side_t003", "side_t010")),
        (VIEW_A, ("20240131_cam2_t1", "20240131_cam2_t2", "20240131_cam2_t3", "20240131_cam2_t10")),
        (("cam1_t4", "cam1_t5"), ("cam2_t4", "cam2_t5")),
        (("p1_t1", "p1_t2", "p2_t1"), ("1_1", "1_2", "2_1")),
        (VIEW_A[:1], ("b_t2",)),
        (VIEW_A, ("b1_t1", "b1_t2", "b2_t3", "b2_t10")),
        (("t1_20msec", "t2_41msec"), ("t1_21msec", "t2_40msec")),
    ],
)
def test_stacks_are_paired_by_the_numbers_that_count_them(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    """Neither letters nor leading zeros nor numbers that are the same in all names matter."""
    paths = [stacks(tmp_path / "a", *first), stacks(tmp_path / "b", *second)]
    with open_sources(paths, ["view_a", "view_b"], InputOptions()) as sources:
        assert (sources.header.num_timepoints or 1) == len(first)


@pytest.mark.parametrize(
    ("second", "pair"),
    [
        (("b_t1", "b_t2", "b_t4", "b_t10"), ("a_t3", "b_t4")),
        (("b_t2", "b_t3", "b_t10"), ("a_t1", "b_t2")),
        (("b_t0", "b_t1", "b_t2", "b_t3"), ("a_t1", "b_t0")),
        (("b1_t1", "b1_t2", "b2_t1", "b2_t2"), ("a_t1", "b1_t1")),
    ],
)
@pytest.mark.parametrize("options", [{}, {"roi": ":,:8,:", "nan_to_num": True}])
def test_stacks_that_are_no_pair_are_refused(
    tmp_path: Path, second: tuple[str, ...], pair: tuple[str, str], options: dict[str, Any]
) -> None:
    """A stack that is missing in one folder would shift all that follow; the first is named."""
    paths = [stacks(tmp_path / "a", *VIEW_A), stacks(tmp_path / "b", *second)]
    match = rf"{pair[0]}\.npy of view_a and .*{pair[1]}\.npy of view_b .*; rename or remove the odd"
    with (
        pytest.raises(InputError, match=match),
        open_sources(paths, ["view_a", "view_b"], InputOptions(**options)),
    ):
        pass


def test_volumes_are_closed_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end, and where the second input is refused."""
    closed: list[str] = []

    def opened(path: Path, **options: Any) -> Any:
        volume = open_volume(path, **options)
        monkeypatch.setattr(volume, "close", lambda: closed.append(path.name))
        return volume

    monkeypatch.setattr("vemctl.workflows.sources.open_volume", opened)
    good = [array(tmp_path / name, noise(*SHAPE)) for name in ("a.npy", "b.npy")]
    with open_sources(good, ["a", "b"], InputOptions(roi=":,:,:")):
        assert closed == []
    assert sorted(closed) == ["a.npy", "b.npy"]
    with (
        pytest.raises(InputError),
        open_sources([good[0], tmp_path / "absent.npy"], ["a", "b"], InputOptions()),
    ):
        pass
    assert sorted(closed) == ["a.npy", "a.npy", "b.npy"]


def print_of(path: Path, **options: Any) -> dict[str, Any]:
    """Return the fingerprint of a file."""
    with open_sources([path], ["input"], InputOptions(**options)) as sources:
        return fingerprint(sources.volumes[0])


def test_a_fingerprint_stays_where_the_volume_moves(tmp_path: Path) -> None:
    """Neither path nor time counts, so that a run can go on elsewhere."""
    path = array(tmp_path / "in.npy", noise(*SHAPE))
    expected = print_of(path)
    shutil.copy(path, tmp_path / "other.npy")
    os.utime(tmp_path / "other.npy", (1, 1))
    assert expected == print_of(tmp_path / "other.npy")
    assert expected == print_of(path, nan_to_num=True)


@pytest.mark.parametrize("place", [(0, 0, 0), (2, 19, 23), (1, 10, 12)])
def test_a_fingerprint_changes_with_a_voxel(tmp_path: Path, place: Triple) -> None:
    """A volume as small as the samples is seen as a whole."""
    values = noise(*SHAPE)
    before = print_of(array(tmp_path / "in.npy", values))
    values[place] += 1
    after = print_of(array(tmp_path / "in.npy", values))
    assert {key for key in before if before[key] != after[key]} == {"sample_sha256"}


@pytest.mark.parametrize("corner", [0, -1])
def test_a_fingerprint_sees_both_ends_of_a_large_volume(tmp_path: Path, corner: int) -> None:
    """Samples lie along the diagonal, from the first voxel to the last."""
    values = noise(70, 90, 110)
    before = print_of(array(tmp_path / "in.npy", values))
    values[corner, corner, corner] += 1
    assert before != print_of(array(tmp_path / "in.npy", values))


def test_a_fingerprint_changes_with_shape_type_axes_and_region(tmp_path: Path) -> None:
    """Equal bytes of another meaning are another input."""
    values = noise(4, 6, 8)
    prints = [
        print_of(array(tmp_path / "a.npy", values)),
        print_of(array(tmp_path / "b.npy", values.reshape(6, 4, 8))),
        print_of(array(tmp_path / "c.npy", values.view("int8"))),
        print_of(array(tmp_path / "d.npy", values), axes="cyx"),
        print_of(array(tmp_path / "e.npy", values), roi=":,:,:7"),
        print_of(array(tmp_path / "f.npy", values[:1])),
        print_of(array(tmp_path / "f.npy", values[:1]), axes="cyx"),
    ]
    assert len({str(each) for each in prints}) == len(prints)


@pytest.mark.parametrize("place", [(0, 0), (1, 2)])
def test_a_fingerprint_sees_the_last_channel_and_time_point(
    tmp_path: Path, place: tuple[int, int]
) -> None:
    """A change in the first or the last series is noticed."""
    values = noise(2, 3, *SHAPE)
    before = print_of(array(tmp_path / "in.npy", values), axes="tczyx")
    values[(*place, 1, 2, 3)] += 1
    assert before != print_of(array(tmp_path / "in.npy", values), axes="tczyx")


class Shifter:
    """Subtracts a tile's start along x and doubles; knows nothing of channels."""

    footprint = Footprint(tile=(3, 16, 16))
    output = Output()

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        assert tiles[0].shape[1] == 1
        return 2 * tiles[0] + torch.tensor([p.start[2] for p in places])[:, None, None, None, None]

    def memory(self, tile: Triple, batch: int) -> int:
        return 4 * batch * math.prod(tile)


class Shift(Method):
    """A method without weights."""

    name = "shift"
    summary = "For tests."
    takes_weights = False

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        return Shifter()


def shifted(values: np.ndarray) -> np.ndarray:
    """Return what `Shift` makes of an array of 24 voxels along x: tiles start at 0 and 8."""
    return 2 * values + np.where(np.arange(24) < 8, 0, 8).astype(values.dtype)


@pytest.fixture
def request_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that asks `Shift` for an output of an input."""
    monkeypatch.setattr(registry, "get", lambda _: Shift())

    def make(source: Path, **options: Any) -> PredictRequest:
        return PredictRequest(
            "shift", (source,), tmp_path / "out.zarr", None, NoOptions(),
            input=InputOptions(**options),
            writing=OutputOptions(chunk_shape=(3, 16, 16), shard_shape=(3, 16, 16)),
            compute=ComputeOptions(device="cpu"),
        )  # fmt: skip

    return make


def test_every_channel_and_time_point_is_restored_on_its_own(
    tmp_path: Path, request_for: Any
) -> None:
    """An OME-Zarr of tczyx becomes one of tczyx, with its voxel size."""
    values = noise(2, 3, *SHAPE)
    result = predict(request_for(image(tmp_path / "in.zarr", "tczyx", values)))
    assert result.facts["plan"]["volumes"] == 6
    made = open_volume(result.output)
    assert made.header.axes == "tczyx"
    assert (made.header.num_timepoints, made.header.num_channels) == (2, 3)
    assert made.header.voxel_size == (40.0, 8.0, 8.0)
    whole = tuple(slice(0, n) for n in SHAPE)
    for t, c in np.ndindex(2, 3):
        restored = made.read(whole, channel=c, timepoint=t)
        np.testing.assert_array_equal(restored, shifted(values[t, c]))


def test_one_channel_may_be_restored_alone(tmp_path: Path, request_for: Any) -> None:
    """The axis of channels is dropped, that of time stays; the region goes with it."""
    values = noise(2, 3, *SHAPE)
    source = image(tmp_path / "in.zarr", "tczyx", values)
    result = predict(request_for(source, channel="1", roi=":,2:20,:"))
    made = open_volume(result.output)
    assert made.header.axes == "tzyx"
    assert (made.header.num_timepoints, made.header.num_channels) == (2, None)
    assert made.header.translation == (0.0, 16.0, 0.0)
    whole = (slice(0, 3), slice(0, 18), slice(0, 24))
    for t in range(2):
        restored = made.read(whole, timepoint=t)
        np.testing.assert_array_equal(restored, shifted(values[t, 1, :, 2:]))


def test_a_changed_input_is_not_resumed(tmp_path: Path, request_for: Any) -> None:
    """The fingerprint is part of the run's identity."""
    stop = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced):
            stop.set()

    values = noise(2, 3, *SHAPE)
    request = request_for(array(tmp_path / "in.npy", values), axes="tczyx")
    with pytest.raises(Interrupted):
        predict(request, listen, stop)
    again = replace(request, run=replace(request.run, resume=True))
    values[0, 0, 0, 0, 0] += 1
    array(tmp_path / "in.npy", values)
    with pytest.raises(ResumeError, match="input was"):
        predict(again)
    values[0, 0, 0, 0, 0] -= 1
    array(tmp_path / "in.npy", values)
    made = open_volume(predict(again).output)
    whole = tuple(slice(0, n) for n in SHAPE)
    restored = made.read(whole, channel=2, timepoint=1)
    np.testing.assert_array_equal(restored, shifted(values[1, 2]))
