"""Files beside a volume that were damaged or edited end no report with anything but one line."""

from __future__ import annotations

import json

import pytest

from e2e.report_files import image, write_output, write_volume
from e2e.test_report_prediction import RECORDED
from e2e.test_report_training import text_of
from vemctl.errors import InputError
from vemctl.workflows.report import report


@pytest.fixture
def noisy(tmp_path):
    """Return what is restored."""
    return write_volume(tmp_path / "noisy.tif", image())


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"plan": [1], "seconds": "long", "peak_memory_bytes": {}}, "75 s"),
        ({"seconds": float("nan"), "peak_device_memory_bytes": -1, "plan": "x"}, "75 s"),
        ({"seconds": 10**400, "resumed": 3, "batch": [2]}, "75 s"),
        ({"network_seconds": True, "tiles_computed": "50"}, "100 s"),
        ({"plan": {"block_shape": "all", "tiles": 0, "blocks": None, "batch": {}}}, "100 s"),
        ({name: [] for name in RECORDED}, "What the run took is not recorded"),
    ],
)
def test_a_damaged_record_is_lost_without_harm(tmp_path, noisy, record, told):
    """What has the wrong type counts as not recorded, and all else is told."""
    output = write_output(tmp_path / "clean.zarr", noisy, image(), record=RECORDED | record)
    text = text_of(report(output))

    assert told in text
    assert "Size 12" in text


@pytest.mark.parametrize(
    "changed",
    [{"versions": []}, {"request": {"tiling": [1]}}, {"input": [{"shape": "12"}]}, {"files": 1}],
    ids=str,
)
def test_a_damaged_provenance_is_refused_in_one_line(tmp_path, noisy, changed):
    """The key is named."""
    output = write_output(tmp_path / "clean.zarr", noisy, image())
    path = output / "zarr.json"
    node = json.loads(path.read_text())
    node["attributes"]["vemctl"] |= changed
    path.write_text(json.dumps(node))
    with pytest.raises(InputError, match=r"clean.zarr: damaged: '\w+' is of another kind") as told:
        report(output)
    assert "\n" not in str(told.value)
