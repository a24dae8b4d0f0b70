"""How well a run is spread: two workers over one, dask over none, and a plan of a million blocks.

Run it from the checkout, on a quiet machine with two free cores::

    python benchmarks/scale.py              # all
    python benchmarks/scale.py workers      # one part: workers, million, tasks

Every prediction is a fresh process, one thread to each worker. Starting processes and loading the
network takes seconds and does not grow with the volume, so what is compared is the speed between a
quarter and nine tenths of the volume. Speeds of shared machines wander, so each round gives a ratio
and their median counts: one worker and one process run at the same time, on a core each; two
workers take turns with one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vemctl.crew import clusters
from vemctl.crew import tasks as crew
from vemctl.events import Event, StageAdvanced, StageStarted
from vemctl.plugin import Footprint, Output
from vemctl.prediction.blocks import Task, missing_tasks
from vemctl.prediction.ledger import Entry, Ledger
from vemctl.prediction.plan import Plan, Series, make_plan
from vemctl.prediction.units import UnitGrid
from vemctl.tiles.grid import tile_grid
from vemctl.volumes.volume import Header, Layout
from vemctl.workflows.options import (
    ComputeOptions,
    OutputOptions,
    PredictRequest,
    SpreadOptions,
    TilingOptions,
)

PLANES, EDGE = 96, 64
ROUNDS = 7


class Meter:
    """Notes when how many tiles of a prediction were done."""

    def __init__(self) -> None:
        self._total = 0
        self._seen: list[tuple[int, float]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted) and event.name == "restoring":
            self._total = event.total
            self._seen = [(0, time.perf_counter())]
        elif isinstance(event, StageAdvanced) and event.name == "restoring":
            self._seen.append((self._seen[-1][0] + event.amount, time.perf_counter()))

    def speed(self) -> float:
        """Return tiles a second, from the first quarter to the last tenth."""
        low, high = 0.25 * self._total, 0.9 * self._total
        (some, then), *_, (more, now) = [each for each in self._seen if low <= each[0] <= high]
        return (more - some) / (now - then)


def predict_child(folder: Path, workers: int | None) -> dict[str, Any]:
    """Restore a volume of noise with denoise; return its speed."""
    from vemctl import registry
    from vemctl.workflows.predict import predict

    source = folder / "in.npy"
    noise = np.random.default_rng(0).integers(0, 256, (PLANES, EDGE, EDGE), dtype=np.uint8)
    np.save(source, noise)
    meter = Meter()
    predict(
        PredictRequest(
            "denoise", (source,), folder / "out.zarr", "denoise/demo",
            registry.get("denoise").predict_options(),
            tiling=TilingOptions(tile=(4, 64, 64), overlap=(0, 0, 0)),
            writing=OutputOptions(chunk_shape=(4, 64, 64), shard_shape=(4, EDGE, EDGE)),
            compute=ComputeOptions(device="cpu", threads=1, block=(4, EDGE, EDGE)),
            spread=SpreadOptions(workers=workers),
        ),
        meter,
    )  # fmt: skip
    return {"speed": meter.speed()}


def workers() -> None:
    """Compare one process with one worker, and one worker with two."""

    def speed(count: int | None) -> float:
        return float(child("predict", count)["speed"])

    overheads, gains = [], []
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(2) as both:
            process, worker = both.map(speed, [None, 1])
        overheads.append(process / worker)
        one, two = speed(1), speed(2)
        gains.append(two / one)
        print(
            f"tiles/s: {process:.2f} in-process beside {worker:.2f} by a worker; "
            f"{one:.2f} by one worker, {two:.2f} by two"
        )
    for text, ratios in (
        ("one worker over in-process, time", overheads),
        ("two workers over one, speed", gains),
    ):
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{text}: {statistics.median(ratios):.3f} ({spread} in {ROUNDS} rounds)")


def million_plan() -> Plan:
    """Plan a volume of 100 x 100 x 100 blocks of a shard each."""
    shape, unit = (6400, 25600, 25600), (64, 256, 256)
    footprint = Footprint(tile=(64, 256, 256))
    layout = Layout("zyx", shape, None, None, np.dtype(np.uint8), None, None, (32, 128, 128), unit)
    header = Header(
        Path("in.zarr"), "simulated", "zyx", shape, None, None, np.dtype(np.uint8), None, unit
    )
    return make_plan(
        grid=tile_grid(shape, footprint),
        footprint=footprint,
        output=Output(),
        layout=layout,
        headers=(header,),
        series=(Series(0, 0, 0, 0),),
        batch=1,
        budget=2**40,
        device="cpu",
        network_bytes=0,
        block=unit,
    )


def million_child(folder: Path, count: int) -> dict[str, Any]:
    """Note every block of a million, `count` at a time, without a network; resume; measure."""
    before = resident()
    began = time.perf_counter()
    plan = million_plan()
    ledger = Ledger.create(folder, {"run": 1}, UnitGrid.of(plan.layout))
    planned = time.perf_counter() - began
    began = time.perf_counter()
    waiting: list[Entry] = []
    for task in missing_tasks(plan, ledger):
        z, y, x = task.region
        start, stop = (z.start, y.start, x.start), (z.stop, y.stop, x.stop)
        waiting.append(Entry("final", 0, 0, start, stop, "0123456789abcdef" * 2))
        if len(waiting) == count:
            ledger.commit(waiting)
            waiting = []
    ledger.commit(waiting)
    noted = time.perf_counter() - began
    began = time.perf_counter()
    again = Ledger.reopen(folder, {"run": 1}, UnitGrid.of(plan.layout))
    left = sum(1 for _ in missing_tasks(plan, again))
    return {
        "blocks": plan.num_blocks,
        "planned": planned,
        "noted": noted,
        "reopened": time.perf_counter() - began,
        "left": left,
        "grown": peak() - before,
    }


def million() -> None:
    """Plan a million blocks and note them all."""
    found = child("million", 100)
    blocks = found["blocks"]
    print(
        f"{blocks} blocks: planned in {found['planned']:.2f} s, all of them listed and noted (100 "
        f"at a time) at {1e6 * found['noted'] / blocks:.0f} us each, the ledger reopened and its "
        f"blocks listed in {found['reopened']:.1f} s ({found['left']} left); memory grew by "
        f"{found['grown'] / 2**20:.0f} MiB"
    )


def nothing(task: list[int], report: Any) -> list[Any]:
    """Stand for a block that takes no time."""
    z, y, x = Task.from_json(task).region
    start, stop = (z.start, y.start, x.start), (z.stop, y.stop, x.stop)
    return ["final", 0, 0, start, stop, "0123456789abcdef" * 2]


def tasks_child(folder: Path, count: int) -> dict[str, Any]:
    """Send the first blocks of a million to two workers, which do nothing, and note them."""
    plan = million_plan()
    ledger = Ledger.create(folder, {"run": 1}, UnitGrid.of(plan.layout))
    peaks: list[int] = []

    def some() -> Iterator[list[int]]:
        for number, task in enumerate(missing_tasks(plan, ledger)):
            if number == count:
                return
            if number in (count // 4, count - 1):
                peaks.append(peak())
            yield task.to_json()

    with clusters.local_workers(2, threads=1, environments=[{}, {}]) as client:
        began = time.perf_counter()
        failed = crew.carry_out(
            client, nothing, some(), name=str,
            done=lambda _, entry, worker: ledger.commit([Entry(*entry)], by=worker),
            advanced=lambda _: None, note=print, stop=threading.Event(), fatal=(),
        )  # fmt: skip
        seconds = time.perf_counter() - began
    assert not failed
    return {"seconds": seconds, "grown": peaks[1] - peaks[0], "noted": ledger.count("final")}


def tasks(count: int = 10_000) -> None:
    """Measure what sending a block to a worker and noting it costs."""
    found = child("tasks", count)
    print(
        f"{found['noted']} blocks without work on two workers: "
        f"{1e3 * found['seconds'] / count:.2f} ms each, each noted by itself; the client's memory "
        f"grew by {found['grown'] / 2**20:.1f} MiB over the last three quarters"
    )


def resident() -> int:
    """Return this process' memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(*words: object) -> dict[str, Any]:
    """Run one measurement in a fresh process, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps([folder, *words])],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parts = {"workers": workers, "million": million, "tasks": tasks}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help="workers, million or tasks; all by default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        folder, what, *rest = json.loads(arguments.child)
        measure = {"predict": predict_child, "million": million_child, "tasks": tasks_child}[what]
        print(json.dumps(measure(Path(folder), *rest)))
        return
    print(f"torch {torch.__version__}, numpy {np.__version__}, {os.cpu_count()} cores")
    for part in arguments.part or parts:
        parts[part]()


if __name__ == "__main__":
    main()
