"""The report of an output tells how it was made, what that took, and how good it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from e2e.report_files import SHAPE, VOXEL, image, write_output, write_run, write_volume
from e2e.test_report_training import text_of
from vemctl.errors import InputError, OptionError
from vemctl.workflows.report import MOST_BYTES, report
from vemctl.workflows.run_record import RECORD

TIMES = " \N{MULTIPLICATION SIGN} "
RECORDED = {
    "version": "0.1.0",
    "began": "2026-01-01T00:00:00Z",
    "seconds": 100.0,
    "network_seconds": 75.0,
    "peak_memory_bytes": 2**30,
    "device_name": "cpu",
    "peak_device_memory_bytes": None,
    "resumed": False,
    "batch": 2,
    "tiles_computed": 50,
    "plan": {
        "block_memory_bytes": 2**28,
        "network_memory_bytes": 2**27,
        "tiles": 40,
        "tiles_computed": 50,
        "redundancy": 1.25,
        "blocks": 4,
        "block_shape": [12, 64, 64],
        "tile_shape": [5, 64, 64],
        "batch": 2,
    },
}


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Return what is restored."""
    return write_volume(tmp_path / "noisy.tif", image())


def restored(values=None):
    """Return an image with less noise."""
    values = image() if values is None else values
    return ndimage.uniform_filter(values, (0,) * (values.ndim - 2) + (3, 3))


def test_report_has_all_that_is_known_of_an_output(tmp_path, noisy):
    """Provenance, plan and run, sliders, scores, curves, options, all in one file."""
    output = write_output(tmp_path / "clean.zarr", noisy, restored(), record=RECORDED)
    place = report(output)
    page, text = place.read_text(), text_of(place)

    assert place == tmp_path / "clean.report.html"
    assert len(page) < MOST_BYTES
    assert f"Size 12{TIMES}96{TIMES}128 voxels (z, y, x)" in text
    assert f"Voxel size 40{TIMES}10{TIMES}10 nm" in text
    assert "Looked at for this report the whole volume" in text
    assert page.count('<input type="range"') == 3
    assert "Plane z = 6 of clean.zarr, restored" in page
    assert "Plane y = 48 of noisy.tif, before" in page
    assert re.search(r"Single-image FRC (falls below|not below|not judged)", text)
    assert "Residual what was removed" in text
    assert "Seams no seam is found" in text or "Seams seams where tiles meet" in text
    unjudged = "Single-image FRC not judged" in text
    assert page.count("<svg role") == 3 - unjudged
    assert "Time \N{EN DASH} 100 s" in text
    assert "75 s, 75 % of all" in text
    assert "256.0 MiB for blocks 1.0 GiB at most, by the whole process" in text
    again = "1.25 times, as tiles at the borders of blocks are computed again"
    assert f"Redundancy {again} {again}" in text
    assert "Somebody & others <2025>" in text
    assert "https://doi.org/10.1000/xyz" in text
    assert "ab" * 32 in text
    assert "Every option whose default is known has it." in text
    assert "--nan-to-num no no" in text


def test_output_without_a_record_says_so(tmp_path, noisy):
    """Earlier versions did not record what a run took."""
    output = write_output(tmp_path / "clean.zarr", noisy, restored())

    assert "What the run took is not recorded" in text_of(report(output))
    assert not (output / RECORD).exists()


@pytest.mark.parametrize(
    ("planned", "happened", "told"),
    [
        (40, 40, "Redundancy none: every tile was computed once none: every tile was computed"),
        (
            50,
            30,
            "Redundancy 1.25 times, as tiles at the borders of blocks are computed again \u2013",
        ),
    ],
)
def test_redundancy_is_told_alike(tmp_path, noisy, planned, happened, told):
    """Planned and happened; not of the last part of a run."""
    plan = {"tiles": 40, "tiles_computed": planned}
    record = {"plan": plan, "tiles_computed": happened}
    output = write_output(tmp_path / "clean.zarr", noisy, restored(), record=record)

    assert told in text_of(report(output))


def write_other(path: Path) -> None:
    """Put another volume of the same size in a place."""
    path.unlink()
    write_volume(path, image(seed=7))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (Path.unlink, "noisy.tif is not there any more"),
        (write_other, "noisy.tif was changed since the output was made"),
    ],
    ids=["gone", "changed"],
)
def test_output_without_its_input_is_shown_alone(tmp_path, noisy, change, why):
    """The report says why there is no before, and compares with nothing."""
    output = write_output(tmp_path / "clean.tif", noisy, restored())
    change(noisy)
    place = report(output)
    page, text = place.read_text(), text_of(place)

    assert place == tmp_path / "clean.report.html"
    assert why in text
    assert '<input type="range"' not in page
    assert page.count("<img ") == 3
    assert "Residual not judged" in text
    assert "Of the values Output" in text


@pytest.mark.parametrize("voxel_size", [VOXEL, None])
def test_region_of_interest_is_compared_with_that_part(tmp_path, voxel_size):
    """Before shows what after shows, whether or not files tell where they lie."""
    values = image()
    source = write_volume(tmp_path / "whole.zarr", values, voxel_size=voxel_size)
    part = values[2:10, 16:80, 32:128]
    placed = voxel_size and tuple(n * size for n, size in zip((2, 16, 32), voxel_size, strict=True))
    output = write_output(
        tmp_path / "part.zarr",
        source,
        part,
        voxel_size=voxel_size,
        translation=placed,
        roi="2:10,16:80,32:128",
    )
    page = report(output).read_text()
    uris = re.findall(r'<img src="([^"]*)"', page)

    assert len(uris) == 6
    assert uris[0::2] == uris[1::2]


def test_scaled_output_is_compared_at_its_own_size(tmp_path, noisy):
    """The input is enlarged to the same field."""
    finer = np.kron(image(), np.ones((1, 2, 2), np.uint8))
    output = write_output(tmp_path / "fine.zarr", noisy, finer, voxel_size=(40.0, 5.0, 5.0))
    page = report(output).read_text()
    sizes = re.findall(r'<img [^>]*width="(\d+)" height="(\d+)"', page)

    assert len(sizes) == 6
    assert sizes[0::2] == sizes[1::2]
    assert "Residual not judged" in text_of(tmp_path / "fine.report.html")


def test_grey_values_on_other_scales_have_contrasts_of_their_own(tmp_path, noisy):
    """One contrast would show nothing of one of the two."""
    output = write_output(tmp_path / "clean.zarr", noisy, (image() / 255).astype(np.float32))

    assert "Each has a contrast of its own" in text_of(report(output))


def test_channel_and_time_point_are_chosen(tmp_path):
    """The first of each unless the user says otherwise, and the report says which."""
    values = np.stack([[image(seed=2 * t + c) for c in range(2)] for t in range(2)])
    source = write_volume(tmp_path / "in.zarr", values, "tczyx")
    output = write_output(tmp_path / "out.zarr", source, values, "tczyx")

    assert "2 channels, 2 time points" in (text := text_of(report(output)))
    assert "channel 0, time point 0: " in text
    pages = [report(output, channel=c, timepoint=t).read_text() for c, t in ((0, 0), (1, 1))]
    first, last = (re.findall(r'<img src="([^"]*)"', page) for page in pages)
    assert first[0::2] == first[1::2] != last[0::2] == last[1::2]
    with pytest.raises(OptionError, match="--channel 2"):
        report(output, channel=2)


def test_one_channel_is_compared_with_the_one_it_was_made_of(tmp_path):
    """--channel of predict chose it."""
    values = np.stack([image(seed=c) for c in range(3)])
    source = write_volume(tmp_path / "in.zarr", values, "czyx")
    output = write_output(tmp_path / "out.zarr", source, values[2], channel="2")
    uris = re.findall(r'<img src="([^"]*)"', report(output).read_text())

    assert len(uris) == 6
    assert uris[0::2] == uris[1::2]


def test_level_of_an_output_stands_for_the_whole(tmp_path, noisy):
    """The path may go into the store; nothing is written there."""
    output = write_output(tmp_path / "clean.zarr", noisy, restored())

    assert report(output / "0") == tmp_path / "clean.report.html"


@pytest.mark.parametrize(
    ("inside", "path"), [("", "."), ("0", ".."), ("", "0"), ("0", "."), ("0", "../../clean.zarr")]
)
def test_an_output_is_known_from_inside(tmp_path, monkeypatch, noisy, inside, path):
    """However its path is written; it is shown as it would be found from elsewhere."""
    output = write_output(tmp_path / "clean.zarr", noisy, restored())
    monkeypatch.chdir(output / inside)

    place = report(Path(path))
    assert place.resolve() == tmp_path / "clean.report.html"
    assert f"Volume {output} " in text_of(place)


def test_folders_that_are_neither_are_refused_from_inside(tmp_path, monkeypatch):
    """Not their names are wrong but what they are."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for path in (".", "..", "/"):
        with pytest.raises(InputError, match="neither a run nor an output of vemctl predict"):
            report(Path(path))


def test_a_single_plane_has_a_report(tmp_path):
    """One slider, nothing across."""
    source = write_volume(tmp_path / "in.tif", image((1, 96, 128)))
    output = write_output(tmp_path / "out.tif", source, restored(image((1, 96, 128))))
    page = report(output).read_text()

    assert page.count('<input type="range"') == 1


def test_constant_outputs_have_a_report(tmp_path, noisy):
    """Nothing correlates and nothing has a range, which is said and no error."""
    output = write_output(tmp_path / "out.zarr", noisy, np.full(SHAPE, 7, np.uint8))
    text = text_of(report(output))

    assert "all voxels have the value 7" in text


def test_what_is_neither_run_nor_output_is_refused(tmp_path, noisy):
    """In one line that says what was expected."""
    expected = (
        r"expected a training run \(run\.json\) or an output of vemctl predict; for other volumes "
        "use vemctl preview and vemctl evaluate"
    )
    for path in (noisy, tmp_path, tmp_path / "nothing.zarr"):
        with pytest.raises(InputError, match=expected) as told:
            report(path)
        assert str(told.value).startswith(str(path))
        assert "\n" not in str(told.value)
    assert not list(tmp_path.glob("*.html"))


def test_unfinished_output_is_refused(tmp_path, noisy):
    """It has no provenance yet."""
    output = write_output(tmp_path / "clean.zarr", noisy, restored())
    output.rename(tmp_path / "clean.zarr.partial")
    with pytest.raises(InputError, match=r"not finished; run .* again with --resume"):
        report(output)


def test_command_writes_the_report_and_tells_where(here, tmp_path, noisy):
    """Exit codes, one line for people, and JSON for programs."""
    write_output(tmp_path / "clean.zarr", noisy, restored())
    write_run(tmp_path / "run", steps=4, every=2)

    done = here("report", "clean.zarr", "--json", "-q")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "report": "clean.report.html",
        "of": "clean.zarr",
        "bytes": (tmp_path / "clean.report.html").stat().st_size,
    }
    assert done.stderr == ""
    done = here("report", "run", "-o", "a.html")
    assert done.stdout.startswith("wrote a.html (")
    done = here("report", "run", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    refused = here("report", "run", "--channel", "0")
    assert refused.returncode == 2
    refused = here("report", "noisy.tif")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def test_report_of_a_real_prediction(here, tmp_path, checkpoint):
    """What predict writes today is what the report reads."""
    np.save(tmp_path / "noisy.npy", image((6, 66, 66)))
    made = here("predict", "denoise", "noisy.npy", "clean.zarr", "-w", checkpoint)
    assert made.returncode == 0, made.stderr
    done = here("report", "clean.zarr")
    text = text_of(tmp_path / "clean.report.html")

    assert done.returncode == 0, done.stderr
    assert "Time in the network" in text
    assert "Left of the line is noisy.npy, right of it clean.zarr." in text
    assert re.search(r"--weights|Weights .*checkpoint\.pth", text)
