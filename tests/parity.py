"""Reference outputs of the published programs, and the weights that they were made with.

A fixture is a folder ``assets/parity/<name>/`` with

- ``io.npz``: what was fed to the reference, and what it gave, in evaluation mode;
- ``spec.json``: where the reference comes from, how the network was set up, the seed and gain of
  the weights, and which weights: ``"keys"`` names a JSON file ``{key: shape}`` next to the folders,
  in the reference's order, and ``"key_prefix"`` is what stands before each key.

The weights are not stored. Each tensor is drawn from a generator seeded by its own (whole) key, so
that any program can rebuild the very state dict that the reference was run with.
"""

from __future__ import annotations

import json
import math
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

PARITY_PATH = Path(__file__).resolve().parent / "assets" / "parity"


def load_fixture(
    name: str, root: Path = PARITY_PATH
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
    """Return the fixture called ``name``.

    Parameters
    ----------
    name
        The name of its folder.
    root
        The folder that holds the fixtures.

    Returns
    -------
    spec : dict
        What ``spec.json`` says.
    arrays : dict of ndarray
        Inputs and outputs.
    state_dict : dict of torch.Tensor
        The weights, empty if the fixture has none.
    """
    folder = root / name
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    with np.load(folder / "io.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    if "keys" not in spec:
        return spec, arrays, {}
    shapes = load_shapes(spec["keys"], spec["key_prefix"], root)
    return spec, arrays, seeded_state_dict(shapes, spec["seed"], spec["gain"])


def load_shapes(
    keys: str, key_prefix: str = "", root: Path = PARITY_PATH
) -> dict[str, tuple[int, ...]]:
    """Return the published keys and shapes that the file called ``keys`` lists, in its order."""
    stored = json.loads((root / keys).read_text(encoding="utf-8"))
    return {key_prefix + key: tuple(shape) for key, shape in stored.items()}


def seeded_state_dict(
    shapes: dict[str, tuple[int, ...]], seed: int = 0, gain: float = 1.0
) -> dict[str, Any]:
    """Return float32 tensors for the given keys and shapes, which are the caller's own."""
    kept = _seeded(tuple((key, tuple(shape)) for key, shape in shapes.items()), seed, gain)
    return {key: value.clone() for key, value in kept.items()}


@lru_cache(maxsize=2)
def _seeded(
    shapes: tuple[tuple[str, tuple[int, ...]], ...], seed: int, gain: float
) -> dict[str, Any]:
    import torch

    return {key: torch.from_numpy(seeded_array(key, shape, seed, gain)) for key, shape in shapes}


def seeded_array(key: str, shape: tuple[int, ...], seed: int = 0, gain: float = 1.0) -> np.ndarray:
    """Return the float32 array that stands for one state-dict entry; the same on every machine."""
    rng = np.random.Generator(np.random.Philox(key=zlib.crc32(f"{seed}:{key}".encode())))
    noise = rng.standard_normal(shape)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_var":
        value = 1.0 + 0.1 * np.abs(noise)
    elif leaf == "running_mean":
        value = 0.1 * noise
    elif len(shape) >= 2:
        value = gain * noise / math.sqrt(math.prod(shape[1:]))
    elif leaf.startswith("weight"):
        value = 1.0 + 0.1 * noise
    else:
        value = 0.1 * noise
    return np.asarray(value, dtype=np.float32)
