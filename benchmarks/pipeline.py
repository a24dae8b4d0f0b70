"""What the pipeline around a network costs, and what half precision and compiling gain.

Run it from the checkout, on a quiet machine::

    python benchmarks/pipeline.py                                           # on the CPU, small
    python benchmarks/pipeline.py --device cuda --tile 5,256,256 --tiles 400 --batch 8 \
        --precisions fp32,bf16 --compile

Each row is a fresh process that restores one volume with ``vemctl predict``'s engine:

- busy: time of the network's own calls, by the clock of the device, over the time of restoring;
- against bare: tiles per second of restoring over those of a loop that calls the same restorer
  again and again on the tiles of its first call, which are on the device already;
- faster, error: against float32 that is not compiled, in tiles per second of restoring, and the
  norm of the difference of results over the norm of the results.

The first calls, which load kernels or compile, count for both; give enough tiles.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vemctl import registry
from vemctl.events import Event, StageFinished
from vemctl.nn.streams import lanes_of
from vemctl.plugin import Method, Place, Request, Restorer
from vemctl.prediction.calls import AUTOCAST
from vemctl.workflows.options import ComputeOptions, OutputOptions, PredictRequest, TilingOptions
from vemctl.workflows.predict import predict

SECONDS = 2.0
"""How long the bare loop goes on at least."""
LEAST_CALLS = 3


class Watched:
    """A restorer that keeps the tiles of its first call."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self.first: tuple[list[torch.Tensor], Sequence[Place]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._restorer, name)

    def __call__(self, tiles: list[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        if self.first is None:
            self.first = [tile.clone() for tile in tiles], places
        return self._restorer(tiles, places)


def watch(method: Method, compiling: bool) -> list[Watched]:
    """Let `method` make restorers that are watched, and return the list to which they come."""
    made: list[Watched] = []
    original = method.restorer

    def restorer(weights: Path | None, options: Any, request: Request) -> Any:
        made.append(Watched(original(weights, options, replace(request, compile=compiling))))
        return made[-1]

    method.restorer = restorer  # type: ignore[method-assign]
    registry.get = lambda _: method
    return made


def bare(watched: Watched, device: str, precision: str) -> float:
    """Return the tiles per second of nothing but calls."""
    assert watched.first is not None
    tiles, places = watched.first
    lanes = lanes_of(device)
    kind = device.partition(":")[0]
    dtype = getattr(torch, AUTOCAST.get(precision, "float32"))
    calls, began = 0, lanes.mark()
    started = time.perf_counter()
    with torch.inference_mode(), torch.autocast(kind, dtype, enabled=precision != "fp32"):
        while calls < LEAST_CALLS or time.perf_counter() - started < SECONDS:
            watched(tiles, places)
            calls += 1
            if calls % 8 == 0:  # the clock of the host must not run ahead
                lanes.mark().wait()
    ended = lanes.mark()
    ended.wait()
    return calls * len(tiles[0]) / ended.seconds_since(began)


def measure(
    folder: Path,
    output: str,
    name: str,
    weights: str | None,
    device: str,
    tile: tuple[int, int, int],
    tiles: int,
    batch: int,
    precision: str,
    compiling: bool,
) -> dict[str, Any]:
    """Restore a volume of noise, and call the network alone."""
    method = registry.get(name)
    made = watch(method, compiling)
    side = math.ceil((tiles / 2) ** 0.5)
    z, y, x = tile
    shape = (2 * z, side * y, side * x)
    sources = []
    for number in range(len(method.inputs)):
        sources.append(folder / f"in{number}.npy")
        noise = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        np.save(sources[-1], noise)
    seconds: dict[str, float] = {}

    def listen(event: Event) -> None:
        if isinstance(event, StageFinished):
            seconds[event.name] = event.seconds

    result = predict(
        PredictRequest(
            name, tuple(sources), folder / output, weights, method.predict_options(),
            writing=OutputOptions(dtype="float32"),
            tiling=TilingOptions(tile=tile, batch=batch),
            compute=ComputeOptions(device=device, precision=precision),
        ),
        listen,
    )  # fmt: skip
    wall = seconds["restoring"]
    rate = result.facts["tiles_computed"] / wall
    return {
        "tiles": result.facts["tiles_computed"],
        "batch": result.facts["batch"],
        "rate": rate,
        "busy": result.facts["network_seconds"] / wall,
        "against_bare": rate / bare(made[-1], device, precision),
    }


def child(*words: object) -> dict[str, Any]:
    """Run one measurement in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(words)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="denoise")
    parser.add_argument("--weights", default="denoise/demo")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tile", default="5,64,64")
    parser.add_argument("--tiles", type=int, default=8, help="at least so many")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--compile", action="store_true", help="each precision compiled, too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        folder, output, name, weights, device, tile, *rest = json.loads(arguments.child)
        print(json.dumps(measure(Path(folder), output, name, weights, device, tuple(tile), *rest)))
        return
    device = "cuda:0" if arguments.device == "cuda" else arguments.device
    what = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    tile = [int(n) for n in arguments.tile.split(",")]
    print(f"torch {torch.__version__}, {what}, {arguments.method}, tile {arguments.tile}")
    rows = [
        (precision, compiling)
        for precision in arguments.precisions.split(",")
        for compiling in ([False, True] if arguments.compile else [False])
    ]
    first: tuple[float, np.ndarray] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for number, (precision, compiling) in enumerate(rows):
            output = f"out{number}.npy"
            found = child(
                folder, output, arguments.method, arguments.weights, device, tile,
                arguments.tiles, arguments.batch, precision, compiling,
            )  # fmt: skip
            values = np.load(Path(folder) / output).astype(np.float64)
            first = first or (found["rate"], values)
            error = np.linalg.norm(values - first[1]) / np.linalg.norm(first[1])
            print(
                f"{precision}{', compiled' if compiling else ''}: {found['tiles']} tiles by "
                f"{found['batch']}, {found['rate']:.2f} tiles/s; busy {found['busy']:.3f}; "
                f"against bare {found['against_bare']:.3f}; "
                f"{found['rate'] / first[0]:.2f} times as fast; error {error:.1e}"
            )


if __name__ == "__main__":
    main()
