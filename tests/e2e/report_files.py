"""Training runs and outputs to report, made by what makes them, but without any network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl import registry
from vemctl.events import Noted, StepsDone, Validated
from vemctl.plugin import Footprint
from vemctl.training import run_folder
from vemctl.training.log import Log
from vemctl.training.metrics import Metrics
from vemctl.training.previews import write_preview
from vemctl.volumes.chunks import default_chunks
from vemctl.volumes.destination import Destination
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.open import open_volume
from vemctl.volumes.view import crop
from vemctl.volumes.volume import Layout, VoxelSize
from vemctl.workflows.config import options_to_json, request_to_json
from vemctl.workflows.options import InputOptions, PredictRequest
from vemctl.workflows.run_record import write_record
from vemctl.workflows.sources import parse_roi
from vemctl.workflows.train_options import TRAIN_GROUPS

VOXEL = (40.0, 10.0, 10.0)
SHAPE = (12, 96, 128)


def image(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return something with structure, and noise."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape)
    waves = 128 + 60 * np.sin(x / 7 + z) * np.cos(y / 9)
    return np.clip(waves + rng.normal(0, 25, shape), 0, 255).astype(np.uint8)


def write_volume(
    path: Path,
    values: npt.NDArray[Any],
    axes: str = "zyx",
    voxel_size: VoxelSize | None = VOXEL,
    translation: VoxelSize | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a volume as vemctl writes its outputs."""
    sizes = dict(zip(axes, values.shape, strict=True))
    shape = (sizes["z"], sizes["y"], sizes["x"])
    chunk, shard = default_chunks(shape, values.dtype)
    layout = Layout(
        axes,
        shape,
        sizes.get("c"),
        sizes.get("t"),
        values.dtype,
        voxel_size,
        translation,
        chunk,
        shard,
    )
    destination = Destination.create(path, layout)
    whole = tuple(slice(0, size) for size in shape)
    for timepoint in range(sizes.get("t", 1)):
        for channel in range(sizes.get("c", 1)):
            place = tuple({"t": timepoint, "c": channel}[axis] for axis in axes if axis in "tc")
            destination.store.write(whole, values[place], channel=channel, timepoint=timepoint)
    destination.finish(dict(provenance or {"made_by": "a test"}), lambda *_: None)
    return path


def write_output(
    path: Path,
    source: Path,
    values: npt.NDArray[Any],
    axes: str = "zyx",
    voxel_size: VoxelSize | None = VOXEL,
    translation: VoxelSize | None = None,
    record: Mapping[str, Any] | None = None,
    **read: Any,
) -> Path:
    """Write an output of denoise that says that it was made from a volume."""
    method = registry.get("denoise")
    options = InputOptions(**read)
    request = PredictRequest(
        "denoise", (source,), path, None, method.predict_options(), input=options
    )
    volume = open_volume(source, axes=options.axes, level=options.level)
    if options.roi:
        volume = crop(volume, parse_roi(options.roi, volume.header))
    footprint = Footprint(tile=(5, 64, 64), overlap=(1, 8, 8))
    provenance = {
        "vemctl": "0.1.0",
        "method": "denoise",
        "citation": "Somebody & others <2025>",
        "doi": "10.1000/xyz",
        "weights": {"name": "denoise/demo", "sha256": "ab" * 32},
        "request": request_to_json(request),
        "input": [fingerprint(volume)],
        "tiling": {
            "tile": [5, 64, 64],
            "overlap": [1, 8, 8],
            "halo": [0, 0, 0],
            "window": "crop",
            "batch": 1,
            "shape": list(volume.header.shape),
            "footprint": footprint.to_json(),
        },
        "settled": {},
        "statistics": [{}],
        "device": "cpu",
        "threads": 1,
        "versions": {"python": "3.11", "numpy": "2.4", "torch": "2.13", "zarr": "3.1"},
    }
    volume.close()
    write_volume(path, values, axes, voxel_size, translation, provenance)
    if record is not None:
        write_record(path, record)
    return path


def write_run(
    folder: Path,
    *,
    steps: int = 40,
    every: int = 10,
    from_zero: bool = False,
    best: int | None = None,
    ended: bool = True,
    size: int = 48,
    **changed: Any,
) -> Path:
    """Write what a training leaves behind."""
    method = registry.get("denoise")
    options = {name: options_to_json(group()) for name, group in TRAIN_GROUPS.items()}
    options["schedule"]["steps"] = steps
    own = dataclasses.replace(method.train_options(), patch=(3, 48, 48))
    description = {
        "method": "denoise",
        "default_weights": "best",
        "command": "train",
        "options": {**options, "method": options_to_json(own)},
        "data": {
            "volumes": {
                "noisy": [
                    {
                        "path": 'a <noisy> & "large" one.tif',
                        "shape": [9, 256, 256],
                        "dtype": "uint8",
                        "axes": "zyx",
                        "sample_sha256": "cd" * 32,
                    }
                ]
            }
        },
        "seed": 0,
        "device": "cpu",
        "versions": {"vemctl": "0.1.0", "torch": "2.13"},
        **changed,
    }
    run_folder.create(folder, description)
    rng = np.random.default_rng(1)
    metrics, log = Metrics(folder / run_folder.METRICS, ()), Log(folder / run_folder.LOG)
    log(Noted("a volume is <odd>", "warning"))
    for step in range(0 if from_zero else 1, steps + 1):
        losses = {"loss": 1 / (1 + step / 10) + rng.uniform(0, 0.05)} if step else {}
        validation = {}
        if step % every == 0:
            validation = {"val_psnr": 15 + 6 * step / steps, "val_loss": 1 / (1 + step / 10)}
            panels = {name: rng.integers(0, 255, (size, size)) for name in ("input", "output")}
            write_preview(run_folder.preview_path(folder, step), panels, [f"step {step}"])
            log(Validated(step, validation, is_best=True))
        metrics.append({"step": step, **losses, "lr_adam": 2e-4, **validation})
        if step and step % every == 0:
            log(StepsDone(step, steps, losses, 0.5, 1.0, every))
    if best is not None:
        write_best(folder, best)
    if ended:
        log(Noted(f"ended after step {steps}: all steps are done"))
    return folder


def write_best(folder: Path, step: int) -> None:
    """Write weights as the best of a step."""
    import torch

    from vemctl.nn.own_weights import write_weights

    path = folder / "checkpoints" / "best.safetensors"
    write_weights(path, {"a": torch.zeros(1)}, {"method": "denoise", "step": step})
