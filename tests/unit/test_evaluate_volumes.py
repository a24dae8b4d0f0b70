"""What is compared with what, and what is said of volumes that do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from vemctl.errors import InputError, OptionError
from vemctl.volumes.destination import Destination
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.open import open_volume
from vemctl.volumes.view import crop
from vemctl.volumes.volume import Layout
from vemctl.workflows.evaluate_options import EvaluateRequest
from vemctl.workflows.evaluate_volumes import open_judged

SHAPE = (12, 20, 24)
VALUES = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)


def written(
    path: Path,
    values: np.ndarray = VALUES,
    *,
    axes: str = "zyx",
    size: tuple | None = (30.0, 10.0, 10.0),
    start: tuple | None = None,
    provenance: dict | None = None,
) -> Path:
    """Write a volume whose axes are those given."""
    there = dict(zip(axes, values.shape, strict=True))
    z, y, x = there.get("z", 1), there["y"], there["x"]
    chunk = (z, y, x)
    layout = Layout(
        axes, (z, y, x), there.get("c"), there.get("t"), values.dtype, size, start, chunk, chunk
    )
    destination = Destination.create(path, layout)
    for t in range(there.get("t", 1)):
        for c in range(there.get("c", 1)):
            part = values[t] if "t" in axes else values
            part = part[c] if "c" in axes else part
            whole = (slice(0, z), slice(0, y), slice(0, x))
            destination.store.write(whole, part.reshape(z, y, x), channel=c, timepoint=t)
    destination.finish(provenance or {}, lambda *_: None)
    return path


def refusal(prediction: Path, truth: Path, **facts) -> str:
    """Return what is said when two volumes cannot be compared."""
    with (
        pytest.raises(InputError) as found,
        open_judged(EvaluateRequest(prediction, truth, **facts)),
    ):
        pass
    text = str(found.value)
    assert "\n" not in text
    assert str(prediction) in text
    return text


def made_of(*inputs: Path, **options) -> dict:
    """Return the provenance of an output of these inputs."""
    return {"request": {"inputs": [str(path) for path in inputs], "input": options}}


def test_volumes_of_one_shape_are_read_at_one_place(tmp_path):
    """Prediction and truth, both cut to the region of interest."""
    truth = written(tmp_path / "t.zarr", VALUES + 7)
    request = EvaluateRequest(written(tmp_path / "p.zarr"), truth, roi="2:8,:,4:20")
    with open_judged(request) as judged:
        assert judged.prediction.header.shape == (6, 20, 16)
        assert judged.origin == (2, 0, 4)
        assert judged.whole_shape == SHAPE
        region = (slice(1, 3), slice(0, 5), slice(2, 4))
        own = judged.prediction.read(region)
        assert np.array_equal(judged.truth.at(region, 0, 0), own + 7)
        assert own[0, 0, 0] == VALUES[3, 0, 6]
        assert judged.notes == ()


def test_a_part_of_the_truth_is_found_by_its_place(tmp_path):
    """An output of --roi knows where it lies; the cure is the option that cuts the truth."""
    part = written(tmp_path / "p.zarr", VALUES[3:9, 4:, :20], start=(90.0, 40.0, 0.0))
    truth = written(tmp_path / "t.zarr")
    said = refusal(part, truth)
    assert "--truth-roi 3:9,4:20,0:20" in said
    request = EvaluateRequest(part, truth, truth_roi="3:9,4:20,0:20", roi="1:,:,:")
    with open_judged(request) as judged:
        region = (slice(0, 5), slice(0, 16), slice(0, 20))
        assert np.array_equal(judged.truth.at(region, 0, 0), judged.prediction.read(region))


def test_without_voxel_sizes_the_recorded_region_tells_the_part(tmp_path):
    """A TIFF that has no place has its provenance."""
    part = written(
        tmp_path / "p.zarr",
        VALUES[3:9],
        size=None,
        provenance=made_of(tmp_path / "gone.tif", roi="3:9,:,:"),
    )
    truth = written(tmp_path / "t.zarr", size=None)
    assert "--truth-roi 3:9,0:20,0:24" in refusal(part, truth)


def test_a_level_of_the_truth_that_fits_is_named(tmp_path):
    """A result at lower resolution is compared with that level of the pyramid."""
    large = np.zeros((4, 300, 300), np.uint8)
    truth = written(tmp_path / "t.zarr", large, size=(10.0, 10.0, 10.0))
    small = written(tmp_path / "p.zarr", large[:2, :150, :150])
    assert "--truth-level 1" in refusal(small, truth)
    with open_judged(EvaluateRequest(small, truth, truth_level=1)) as judged:
        assert judged.truth.volume.header.shape == (2, 150, 150)


def test_a_finer_truth_is_explained(tmp_path):
    """Other voxels of the same specimen: the factor is named, nothing is resampled."""
    small = written(tmp_path / "p.zarr", VALUES[:, ::2, ::2], size=(30.0, 20.0, 20.0))
    said = refusal(small, written(tmp_path / "t.zarr"))
    assert "1 x 0.5 x 0.5 times the voxels" in said
    assert "resample" in said


def test_volumes_that_have_nothing_in_common_are_refused(tmp_path):
    """With both shapes, and what to do."""
    odd = written(tmp_path / "p.zarr", VALUES[:7, :11, :24], size=None)
    said = refusal(odd, written(tmp_path / "t.zarr", size=None))
    assert "7 x 11 x 24" in said
    assert "12 x 20 x 24" in said
    assert "--truth-roi" in said


def test_odd_places_and_sizes_are_noted(tmp_path):
    """Volumes of one shape are compared, but what their files say against it is told."""
    prediction = written(tmp_path / "p.zarr")
    coarse = written(tmp_path / "c.zarr", size=(30.0, 20.0, 20.0))
    with open_judged(EvaluateRequest(prediction, coarse)) as judged:
        assert any("30 x 20 x 20 nm" in note for note in judged.notes)
    apart = written(tmp_path / "a.zarr", start=(0.0, 35.0, 0.0))
    with open_judged(EvaluateRequest(prediction, apart)) as judged:
        assert any("0 x -3.5 x 0 voxels" in note for note in judged.notes)


def test_channels_are_paired(tmp_path):
    """All with all, one with the only one, and nothing with what is not there."""
    two = np.stack([VALUES, VALUES + 1])
    both = written(tmp_path / "p.zarr", two, axes="czyx")
    truth = written(tmp_path / "t.zarr", two + 5, axes="czyx")
    one = written(tmp_path / "o.zarr")
    region = (slice(0, 1), slice(0, 1), slice(0, 4))
    with open_judged(EvaluateRequest(both, truth)) as judged:
        assert judged.series == ((0, 0), (0, 1))
        assert judged.truth.at(region, 1, 0)[0, 0, 0] == 6
    with open_judged(EvaluateRequest(both, one, channel="1")) as judged:
        assert judged.series == ((0, 1),)
        assert judged.truth.at(region, 1, 0)[0, 0, 0] == 0
    assert "choose one with --channel" in refusal(both, one)


def test_a_mask_may_be_one_plane_for_all(tmp_path):
    """Of all planes, channels and time points."""
    prediction = written(tmp_path / "p.zarr", np.stack([VALUES, VALUES]), axes="czyx")
    plane = np.zeros(SHAPE[1:], np.uint8)
    plane[3:5, 6:9] = 1
    mask = written(tmp_path / "m.zarr", plane, axes="yx")
    with open_judged(EvaluateRequest(prediction, prediction, mask=mask, roi=":,2:,:")) as judged:
        found = judged.mask.at((slice(2, 6), slice(0, 18), slice(0, 24)), 1, 0)
        assert found.shape == (4, 18, 24)
        assert np.array_equal(found, np.broadcast_to(plane[2:], found.shape))
    small = written(tmp_path / "s.zarr", plane[:, :7], axes="yx")
    with (
        pytest.raises(InputError, match=r"mask has 1 x 20 x 7 voxels.*one plane of 20 x 24"),
        open_judged(EvaluateRequest(prediction, prediction, mask=small)),
    ):
        pass


def test_the_input_is_found_as_the_output_has_it(tmp_path):
    """With the channel and the region that were restored."""
    both = written(tmp_path / "in.zarr", np.stack([VALUES, VALUES + 1]), axes="czyx")
    made = made_of(both, roi="2:6,:,:", channel="1", timepoint="all", level=0)
    output = written(tmp_path / "out.zarr", VALUES[2:6], start=(60.0, 0.0, 0.0), provenance=made)
    with open_judged(EvaluateRequest(output, roi="1:,:,:")) as judged:
        region = (slice(0, 3), slice(0, 20), slice(0, 24))
        assert np.array_equal(judged.source.at(region, 0, 0), VALUES[3:6] + 1)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [(["gone.zarr"], "is not there"), (["in.zarr", "in.zarr"], "several inputs")],
)
def test_an_input_that_cannot_be_compared_is_told(tmp_path, inputs, reason):
    """The rest is judged; a note says why what was removed is not."""
    written(tmp_path / "in.zarr")
    made = made_of(*(tmp_path / name for name in inputs))
    output = written(tmp_path / "out.zarr", provenance=made)
    with open_judged(EvaluateRequest(output)) as judged:
        assert judged.source is None
        (note,) = judged.notes
        assert reason in note


def test_an_input_that_was_changed_is_not_compared(tmp_path):
    """What lies in its place is something else; the output is judged without it."""
    source = written(tmp_path / "in.zarr")
    made = made_of(source) | {"input": [fingerprint(open_volume(source))]}
    output = written(tmp_path / "out.zarr", provenance=made)
    with open_judged(EvaluateRequest(output)) as judged:
        assert judged.source is not None
    shutil.rmtree(source)
    written(source, VALUES + 1)
    with open_judged(EvaluateRequest(output)) as judged:
        assert judged.source is None
        assert "was changed since" in judged.notes[0]


def test_an_enlarged_output_has_no_residual(tmp_path):
    """It has other voxels than its input."""
    source = written(tmp_path / "in.zarr", VALUES[:, ::2, ::2])
    made = made_of(source) | {"input": [fingerprint(open_volume(source))]}
    output = written(tmp_path / "out.zarr", provenance=made)
    with open_judged(EvaluateRequest(output)) as judged:
        assert "other voxels" in judged.notes[0]
    with open_judged(EvaluateRequest(output, source=source)) as judged:
        assert "other voxels" in judged.notes[0]
    other = written(tmp_path / "other.zarr", VALUES[1:])
    with (
        pytest.raises(InputError, match="leave --input out"),
        open_judged(EvaluateRequest(output, source=other)),
    ):
        pass


def test_a_part_of_a_truth_that_is_not_given_is_refused(tmp_path):
    """An option that could have no effect is an error."""
    with (
        pytest.raises(OptionError, match="there is no TRUTH"),
        open_judged(EvaluateRequest(written(tmp_path / "p.zarr"), truth_roi="0:1,:,:")),
    ):
        pass


@pytest.mark.parametrize("axis", ["channel", "timepoint"])
def test_an_output_of_one_channel_is_compared_with_that_one(tmp_path, axis):
    """The provenance tells which it is; without it the user must."""
    letters = axis[0] + "zyx"
    truth = written(tmp_path / "t.zarr", np.stack([VALUES, VALUES + 7]), axes=letters)
    options = {"channel": "all", "timepoint": "all", axis: "1"}
    known = written(tmp_path / "k.zarr", VALUES + 7, provenance=made_of(truth, **options))
    bare = written(tmp_path / "b.zarr", VALUES + 7)
    region = (slice(0, 1), slice(0, 1), slice(0, 4))
    with open_judged(EvaluateRequest(known, truth)) as judged:
        assert judged.truth.at(region, 0, 0)[0, 0, 0] == 7
        assert judged.source.at(region, 0, 0)[0, 0, 0] == 7
    assert f"--truth-{axis}, 0 to 1" in refusal(bare, truth)
    with open_judged(EvaluateRequest(bare, truth, **{f"truth_{axis}": 1})) as judged:
        assert judged.truth.at(region, 0, 0)[0, 0, 0] == 7
    with (
        pytest.raises(OptionError, match=f"--truth-{axis} 2"),
        open_judged(EvaluateRequest(bare, truth, **{f"truth_{axis}": 2})),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"the input has 2 .*give that one alone"),
        open_judged(EvaluateRequest(bare, source=truth)),
    ):
        pass


def test_a_moved_input_is_named_by_its_new_place(tmp_path):
    """It is read as it was: the part and the channel that were restored."""
    both = written(tmp_path / "in.zarr", np.stack([VALUES, VALUES + 1]), axes="czyx")
    restored = crop(open_volume(both), (slice(2, 6), slice(0, 20), slice(0, 24)))
    made = made_of(both, roi="2:6,:,:", channel="1") | {"input": [fingerprint(restored)]}
    output = written(tmp_path / "out.zarr", VALUES[2:6], provenance=made)
    moved = both.rename(tmp_path / "moved.zarr")
    with open_judged(EvaluateRequest(output)) as judged:
        assert "--input names another place" in judged.notes[0]
    with open_judged(EvaluateRequest(output, source=moved)) as judged:
        region = (slice(0, 4), slice(0, 20), slice(0, 24))
        assert np.array_equal(judged.source.at(region, 0, 0), VALUES[2:6] + 1)


@pytest.mark.parametrize(
    "facts", [{"truth_level": 1}, {"truth_channel": 0}, {"mask": Path("m.tif")}]
)
def test_what_concerns_a_truth_needs_one(tmp_path, facts):
    """No option is passed over."""
    with (
        pytest.raises(OptionError, match="there is no TRUTH"),
        open_judged(EvaluateRequest(written(tmp_path / "p.zarr"), **facts)),
    ):
        pass


def test_named_axes_serve_all_files_that_do_not_say(tmp_path):
    """Two series without metadata are compared."""
    for name in ("p.npy", "t.npy"):
        np.save(tmp_path / name, np.stack([VALUES, VALUES]))
    request = EvaluateRequest(tmp_path / "p.npy", tmp_path / "t.npy", axes="czyx")
    with open_judged(request) as judged:
        assert judged.series == ((0, 0), (0, 1))
