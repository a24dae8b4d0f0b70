"""`vemctl demo`: the first thing that a newcomer types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vemctl.__main__ import main
from vemctl.volumes.provenance import read_provenance


@pytest.mark.slow
def test_the_demo_restores_a_volume_nearer_to_its_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The packaged weights gain at least 3 dB, and the output says how it was made."""
    assert main(["demo", str(tmp_path / "demo"), "--device", "cpu", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["psnr_after"] - facts["psnr_before"] >= 3
    provenance = read_provenance(Path(facts["output"]))
    assert provenance is not None
    assert provenance["weights"]["name"] == "denoise/demo"
    assert main(["demo", str(tmp_path / "demo")]) == 2
    assert "--overwrite" in capsys.readouterr().err
