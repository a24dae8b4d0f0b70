"""`vemctl demo`: the first thing that a newcomer types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vemctl.__main__ import main
from vemctl.volumes.provenance import read_provenance
from vemctl.workflows import demo


def test_the_demo_restores_a_volume_nearer_to_its_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packaged weights gain at least 3 dB, and the output says how it was made.

    Of a smaller volume; CI runs the whole demo with the wheel.
    """
    monkeypatch.setattr(demo, "SHAPE", (5, 128, 128))
    assert main(["demo", str(tmp_path / "demo"), "--device", "cpu", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["psnr_after"] - facts["psnr_before"] >= 3
    provenance = read_provenance(Path(facts["output"]))
    assert provenance is not None
    assert provenance["weights"]["name"] == "denoise/demo"
    assert main(["demo", str(tmp_path / "demo")]) == 2
    assert "--overwrite" in capsys.readouterr().err
