"""A request survives JSON, and rerun repeats what an output recorded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from vemctl import registry
from vemctl.errors import MethodError, OptionError
from vemctl.plugin import option
from vemctl.workflows import rerun
from vemctl.workflows.config import request_from_json, request_to_json
from vemctl.workflows.options import (
    ComputeOptions,
    InputOptions,
    OutputOptions,
    PredictRequest,
    RunOptions,
    TilingOptions,
)
from vemctl.workflows.settings import options_from_mapping, settings_of
from vemctl.workflows.sources import fingerprint, open_sources


@pytest.fixture
def request_(plugins) -> PredictRequest:
    """Return a request in which every group differs from its defaults."""
    options = registry.get("probe").predict_options
    return PredictRequest(
        method="probe",
        inputs=(Path("a.tif"), Path("b.tif")),
        output=Path("out.zarr"),
        weights="probe/one",
        method_options=options(rounds=2, mask=Path("/m.tif"), window=(1, 2, 3), sharpen=False),
        input=InputOptions(axes="zyx", level=1),
        writing=OutputOptions(chunk_shape=(4, 5, 6), overwrite=True),
        tiling=TilingOptions(tile=(7, 8, 9), blend="bump"),
        compute=ComputeOptions(device="cpu"),
        run=RunOptions(as_original=True),
    )


def test_a_request_survives_json(request_):
    """What is written as JSON is read as the same request, with absolute inputs."""
    form = json.loads(json.dumps(request_to_json(request_)))
    again = request_from_json(form, Path("new.zarr"))
    inputs = tuple(path.absolute() for path in request_.inputs)
    assert again == dataclasses.replace(request_, inputs=inputs, output=Path("new.zarr"))


def test_a_file_of_weights_becomes_absolute(request_, tmp_path, monkeypatch):
    """A file or a run is found from any folder; names and addresses stay as they are."""
    monkeypatch.chdir(tmp_path)
    Path("w.pth").touch()
    Path("run").mkdir()
    here = Path.cwd()
    for asked, expected in {
        "probe/one": "probe/one",
        "probe/my-own": "probe/my-own",
        "doi:10.5281/zenodo.1/w.pth": "doi:10.5281/zenodo.1/w.pth",
        "w.pth": f"{here / 'w.pth'}",
        "run": f"{here / 'run'}",
        "run@last": f"{here / 'run'}@last",
    }.items():
        form = request_to_json(dataclasses.replace(request_, weights=asked))
        assert form["weights"] == expected


def test_an_older_record_keeps_defaults(request_):
    """Settings that an older version did not record keep their defaults."""
    form = request_to_json(request_)
    del form["tiling"], form["compute"]["precision"]
    again = request_from_json(form, Path("new.zarr"))
    assert again.tiling == TilingOptions()
    assert again.compute == ComputeOptions(device="cpu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tiling": {"tyle": [1, 2, 3]}}, "tiling: unknown key 'tyle'. Did you mean 'tile'?"),
        ({"tiling": {"batch": -1}}, "tiling: batch is -1, expected a whole number, at least 0"),
        ({"method_options": {}}, "method_options: rounds is missing"),
        ({"inputs": "a.tif"}, "is damaged"),
        ({"inputs": ["a.tif"]}, "names 1 inputs, but probe takes 2: view_a, view_b"),
    ],
)
def test_an_unusable_record_is_refused(request_, change, words):
    """A record that does not fit says where and why."""
    with pytest.raises(OptionError, match="the provenance of x") as caught:
        request_from_json({**request_to_json(request_), **change}, Path("y"), "the provenance of x")
    assert words in str(caught.value)


def test_a_required_setting_is_asked_for(plugins):
    """A dataclass with a required field is not made without it."""
    with pytest.raises(OptionError, match="here: rounds is missing, expected a whole number"):
        options_from_mapping(registry.get("probe").predict_options, {}, "here")


def test_a_type_that_no_flag_can_have_is_the_plugins_error():
    """A field of an unsupported type is named with what is supported."""

    @dataclasses.dataclass(frozen=True)
    class Odd:
        """Has a field that cannot be a flag."""

        table: dict[str, int] | None = option(None, help="A table.")

    with pytest.raises(MethodError, match="option 'table' is a dict"):
        settings_of(Odd)


@pytest.fixture
def recorded(monkeypatch, tmp_path, request_):
    """Make an output that records the request."""
    made = tmp_path / "made.zarr"
    made.mkdir()
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"trained")
    inputs = tuple(tmp_path / name for name in ("a.npy", "b.npy"))
    for path in inputs:
        np.save(path, np.zeros((3, 4, 5), np.uint8))
    reading = dataclasses.replace(request_.input, axes=None, roi=None, level=0)
    request = dataclasses.replace(request_, weights=str(weights), inputs=inputs, input=reading)
    with open_sources(inputs, ("view_a", "view_b"), reading) as sources:
        seen = [fingerprint(volume) for volume in sources.volumes]
    used = {"name": str(weights), "sha256": hashlib.sha256(b"trained").hexdigest()}
    provenance = {"request": request_to_json(request), "weights": used, "input": seen}
    monkeypatch.setattr(rerun, "read_provenance", lambda path: provenance if path == made else None)
    return made


def test_rerun_with_other_weights_is_refused(cli, workflow, recorded, tmp_path):
    """Weights that have changed since would not repeat the run."""
    (tmp_path / "weights.pth").write_bytes(b"trained again")
    ran = cli("rerun", recorded, "new.zarr")
    assert ran.code == 2
    assert "was made with weights of SHA-256" in ran.err
    assert not workflow.requests


@pytest.mark.parametrize("change", ["gone", "other"])
def test_rerun_from_another_input_is_refused(cli, workflow, recorded, tmp_path, change):
    """An input that has changed or moved since would not repeat the run."""
    if change == "gone":
        (tmp_path / "b.npy").unlink()
    else:
        np.save(tmp_path / "b.npy", np.ones((3, 4, 5), np.uint8))
    ran = cli("rerun", recorded, "new.zarr")
    assert ran.code == 2
    assert "b.npy" in ran.err
    assert "put" in ran.err
    assert not workflow.requests


def test_rerun_repeats_the_recorded_request(cli, workflow, recorded, tmp_path):
    """The same method, inputs, weights and options run again, into another output."""
    ran = cli("rerun", recorded, "new.zarr")
    assert ran.code == 0, ran.err
    request = workflow.request
    assert (request.output, request.method, request.weights) == (
        Path("new.zarr"),
        "probe",
        str(tmp_path / "weights.pth"),
    )
    assert request.method_options.window == (1, 2, 3)
    assert request.tiling.tile == (7, 8, 9)
    assert not request.writing.overwrite


def test_rerun_over_the_output_itself_is_asked_for(cli, workflow, recorded):
    """Without a second name the output is made anew, if --overwrite says so."""
    cli("rerun", recorded, "--overwrite", "--dry-run", "--json")
    assert (workflow.request.output, workflow.request.writing.overwrite) == (recorded, True)


@pytest.mark.parametrize("there", [True, False])
def test_rerun_of_a_foreign_file_is_refused(cli, workflow, recorded, tmp_path, there):
    """A file that vemctl did not make cannot be repeated."""
    foreign = tmp_path / "foreign.tif"
    if there:
        foreign.touch()
    ran = cli("rerun", foreign)
    assert ran.code == 2
    assert "expected an output of vemctl predict" in ran.err
