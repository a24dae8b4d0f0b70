"""`vemctl predict vsisr --as-original` against the published program, written down literally."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
import torch
from parity import load_fixture

from e2e.conftest import Run

MICROSCOPE = ("--na", "1.1", "--emission", "525", "--excitation", "488", "--pixel-size", "92.6")


def test_a_volume_is_what_the_published_program_makes_of_it(here: Run, tmp_path: Path) -> None:
    """With the full network, from a file to a file, to three counts of 65535."""
    _, arrays, tensors = load_fixture("vsisr_chain")
    torch.save(tensors, tmp_path / "generator.pth")
    tifffile.imwrite(tmp_path / "volume.tif", arrays["volume"])
    words = ("volume.tif", "sr.tif", "-w", "generator.pth", *MICROSCOPE, "--as-original", "-q")
    ran = here("predict", "vsisr", *words)
    assert ran.returncode == 0, ran.stderr
    made, expected = tifffile.imread(tmp_path / "sr.tif"), arrays["recon"]
    assert made.dtype == np.uint16
    assert made.shape == expected.shape
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 3
