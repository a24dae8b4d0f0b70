"""Memory, overhead and start-up of `vemctl predict`, as ratios measured side by side.

Run it from the checkout, on a quiet machine::

    python benchmarks/predict.py            # on the CPU
    python benchmarks/predict.py --device cuda --tile 5,256,256

Each measurement is a fresh process. Peak memory is the high-water mark of the resident set from
the moment at which the network is loaded, hence above it; Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from vemctl import registry
from vemctl.events import Event, StageFinished, StageStarted
from vemctl.plugin import Footprint, Method, NoOptions, Output, Place, Request, Restorer
from vemctl.workflows.options import ComputeOptions, PredictRequest, TilingOptions
from vemctl.workflows.predict import predict

SMALL, LARGE = (256, 1024, 1024), (1024, 1024, 1024)
BLOCK = (64, 512, 512)


class Copy(Method):
    """A network that does nothing, so that what is measured is the engine."""

    name = "copy"
    summary = "Return the input."
    takes_weights = False

    def __init__(self, window: str) -> None:
        self.window = window

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        return CopyRestorer(Footprint(tile=(8, 256, 256), overlap=(2, 32, 32), window=self.window))


@dataclass
class CopyRestorer:
    """See `Copy`."""

    footprint: Footprint
    output = Output()

    def __call__(self, tiles: list[torch.Tensor], places: list[Place]) -> torch.Tensor:
        return tiles[0]

    def memory(self, tile: tuple[int, int, int], batch: int) -> int:
        return 0


class Meter:
    """Takes memory at the beginning and the end of each stage."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self._base = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            Path("/proc/self/clear_refs").write_text("5")
            self._base = resident("VmRSS")
        elif isinstance(event, StageFinished):
            self.peaks[event.name] = resident("VmHWM") - self._base
            self.seconds[event.name] = event.seconds


def resident(name: str) -> int:
    """Return a figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)


def make_input(path: Path, shape: tuple[int, int, int]) -> None:
    """Write a volume of noise slab by slab."""
    array = zarr.create_array(path, shape=shape, chunks=(32, 128, 128), dtype="uint8")
    noise = np.random.default_rng(0)
    for z in range(0, shape[0], 32):
        array[z : z + 32] = noise.integers(0, 256, (32, *shape[1:]), dtype=np.uint8)


def memory_child(folder: Path, shape: tuple[int, int, int], window: str) -> dict[str, Any]:
    """Measure the engine on a volume of `shape`."""
    source = folder / "in.zarr"
    # In a process of its own, whose threads do not count.
    spawn = multiprocessing.get_context("spawn")
    maker = spawn.Process(target=make_input, args=(source, shape))
    maker.start()
    maker.join()
    method = Copy(window)
    registry.get = lambda _: method
    meter = Meter()
    result = predict(
        PredictRequest(
            "copy",
            (source,),
            folder / "out.zarr",
            None,
            NoOptions(),
            compute=ComputeOptions(device="cpu", block=BLOCK),
        ),
        meter,
    )  # fmt: skip
    projected = result.facts["plan"]["block_memory_bytes"]
    return {"peak": meter.peaks["restoring"], "projected": projected, "stages": meter.peaks}


def overhead_child(
    folder: Path, device: str, tile: tuple[int, int, int], weights: str, precision: str
) -> dict[str, Any]:
    """Measure the wall time of restoring over that of the network's own calls."""
    z, y, x = tile
    source = folder / "in.npy"
    shape = (2 * z, 2 * y, 2 * x)
    np.save(source, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    meter = Meter()
    result = predict(
        PredictRequest(
            "denoise", (source,), folder / "out.zarr", weights,
            registry.get("denoise").predict_options(),
            tiling=TilingOptions(tile=tile),
            compute=ComputeOptions(device=device, precision=precision),
        ),
        meter,
    )  # fmt: skip
    plan = result.facts["plan"]
    wall, network = meter.seconds["restoring"], result.facts["network_seconds"]
    return {
        "wall": wall,
        "network": network,
        "tiles": plan["tiles_computed"],
        "voxels_per_second": int(np.prod(shape) / wall),
        "batch": result.facts["batch"],
        "network_peak": meter.peaks["restoring"],
    }


def child(*words: object) -> dict[str, Any]:
    """Run one measurement in a fresh process, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps([folder, *words])],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def start_up(*words: str) -> float:
    """Return the median seconds of five runs of a command."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tile", default="5,128,128")
    parser.add_argument("--weights", default="denoise/demo")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        folder, what, *rest = json.loads(arguments.child)
        measure = {"memory": memory_child, "overhead": overhead_child}[what]
        words = [tuple(word) if isinstance(word, list) else word for word in rest]
        print(json.dumps(measure(Path(folder), *words)))
        return
    print(f"torch {torch.__version__}, zarr {zarr.__version__}, numpy {np.__version__}")
    for window in ("crop", "linear"):
        small, large = (child("memory", shape, window) for shape in (SMALL, LARGE))
        print(
            f"peak memory, {window}: {small['peak'] / 2**20:.0f} MiB for {SMALL}, "
            f"{large['peak'] / 2**20:.0f} MiB for {LARGE}: "
            f"ratio {large['peak'] / small['peak']:.3f}; "
            f"over the plan's projection {large['peak'] / large['projected']:.2f} "
            f"({large['projected'] / 2**20:.0f} MiB)"
        )
    tile = [int(n) for n in arguments.tile.split(",")]
    found = child("overhead", arguments.device, tile, arguments.weights, arguments.precision)
    print(
        f"overhead on {arguments.device}, tile {arguments.tile}, {arguments.precision}, batch "
        f"{found['batch']}: wall {found['wall']:.1f} s over network {found['network']:.1f} s for "
        f"{found['tiles']} tiles: ratio {found['wall'] / found['network']:.3f}; "
        f"{found['voxels_per_second']} voxels/s; peak {found['network_peak'] / 2**20:.0f} MiB"
    )
    bare = start_up("-c", "pass")
    for words in (["--version"], ["--help"], ["predict", "denoise", "--help"]):
        seconds = start_up("-m", "vemctl", *words)
        print(f"start-up, vemctl {' '.join(words)}: {seconds:.3f} s (python alone {bare:.3f} s)")


if __name__ == "__main__":
    main()
