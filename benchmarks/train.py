"""Overhead, step time and quality of training, as ratios and scores measured side by side.

Run it from the checkout, on a quiet machine; each part can be had alone::

    python benchmarks/train.py --only overhead step
    python benchmarks/train.py --only quality --minutes 10

- overhead: the training loop against a bare loop of forward, backward and step.
- step: our GShiftNet against `LiteralNetwork`, which follows the published one word by word.
- quality: networks trained from scratch through the command line, judged on synthetic tissue that
  they have not seen, beside non-local means and total variation.

The first two take turns, and compare the best times on the clock and of the processor.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import skimage
import torch
import zarr
from literal_gshiftnet import LiteralNetwork
from torch import Tensor, nn
from torch.nn import functional
from training_quality import quality, say

from vemctl import registry
from vemctl.events import ignore
from vemctl.learning import Batch
from vemctl.nn import device as devices
from vemctl.nn.gradients import GradientSteps
from vemctl.samples import em_pair
from vemctl.training.keeper import NothingKept
from vemctl.training.loop import Batches, Loop
from vemctl.training.schedule import Schedule
from vemctl.training.world import World
from vemctl.workflows.train_options import ScheduleOptions, TrainRequest
from vemctl.workflows.train_session import Session, make_batches, session

Triple = tuple[int, int, int]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

ROOT = Path(__file__).parents[1]
LOSS = "1*L1+1*SSIM"
LEARNING_RATE = 5e-4
IDLE_STEPS = 1000

# -------------------------------------------------------------------------------------- timing


@dataclass
class Best:
    """The least time of several, on the clock and of the processor, in seconds."""

    wall: float = float("inf")
    cpu: float = float("inf")

    def add(self, what: Callable[[], object]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        what()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.cpu = min(self.cpu, time.process_time() - cpu)


def take_turns(rounds: int, **what: Callable[[], object]) -> dict[str, Best]:
    """Time each in turn, every other round backwards, after a round that does not count."""
    best = {name: Best() for name in what}
    for each in what.values():
        each()
    for number in range(rounds):
        for name in list(what)[:: 1 if number % 2 == 0 else -1]:
            best[name].add(what[name])
    return best


def ratio(numerator: Best, denominator: Best) -> str:
    """Return both ratios for people."""
    return (
        f"{numerator.wall / denominator.wall:.3f} "
        f"(processor time {numerator.cpu / denominator.cpu:.3f})"
    )


# ------------------------------------------------------------------------------------ overhead


class Idle:
    """A trainer that learns nothing, so that what is measured is the loop."""

    best = None

    def step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        return {"loss": torch.zeros(()), "auxiliary": torch.zeros(())}

    def learning_rates(self) -> Mapping[str, float]:
        return {"adam": LEARNING_RATE}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def weights(self) -> dict[str, Tensor]:
        return {}


def overhead(patch: Triple, rounds: int, steps: int, folder: Path) -> None:
    """Print the loop's samples per second over a bare loop's."""
    pair = em_pair((16, 128, 128), 0)
    for name, volume in (("fast", pair.noisy), ("slow", pair.truth)):
        array = zarr.create_array(
            folder / f"{name}.zarr", shape=volume.shape, chunks=(8, 64, 64), dtype="uint8"
        )
        array[:] = volume
    method = registry.get("denoise")
    assert method.train_options is not None
    options = method.train_options(
        supervised=True, fast=(folder / "fast.zarr",), slow=(folder / "slow.zarr",),
        emulate_fast_slow=False, patch=patch,
    )  # fmt: skip
    request = TrainRequest(
        "train", "denoise", (), folder / "run", None, options,
        schedule=ScheduleOptions(steps=steps),
    )  # fmt: skip
    idle = Best()
    for _ in range(rounds):
        empty: Iterator[list[Batch]] = iter([[]] * IDLE_STEPS)
        idle.add(lambda kept=empty: our_loop(Idle(), GradientSteps(), IDLE_STEPS, lambda _: kept))
    say("the loop's own time", f"{1e3 * idle.wall / IDLE_STEPS:.2f} ms a step", "")
    stop = threading.Event()
    with session(request, method, World(), "cpu", ignore, stop) as ready:
        read = make_batches(request, ready, World())
        kept = [list(step) for step in itertools.islice(read(0), steps)]
        bare = bare_step(ready)
        in_memory = side_by_side(ready, steps, lambda _: iter(kept), bare)
        from_zarr = side_by_side(ready, steps, read, bare)
        drawing = Best()
        for _ in range(rounds):
            drawing.add(lambda: list(itertools.islice(read(0), steps)))
    say("drawing a sample from Zarr", f"{1e3 * drawing.wall / steps:.1f} ms", "")
    what = f"samples/s of the loop over a bare loop's, {'x'.join(map(str, patch))}"
    say(f"{what}, batches in memory", in_memory, "at least 0.95")
    say(f"{what}, drawn from Zarr", from_zarr, "at least 0.95")


def bare_step(ready: Session) -> Callable[[Batch], None]:
    """Return what trains a copy of the network with nothing around it."""
    from vemctl_denoise.losses import parse_loss
    from vemctl_denoise.network import GShiftNet

    network, loss_of = GShiftNet(), parse_loss(LOSS)
    network.load_state_dict(ready.trainer.networks["network"].state_dict())
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, (0.9, 0.99))

    def run(batch: Batch) -> None:
        loss_of(network(batch["source"]), batch["target"])["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def side_by_side(
    ready: Session, steps: int, batches: Batches, bare: Callable[[Batch], None]
) -> str:
    """Return the samples per second of the loop over those of bare steps between its steps.

    All that the loop does from one batch to the next is counted as its own, the checkpoint at the
    end is not. The first two steps do not count.
    """
    ours: list[tuple[float, float]] = []
    others: list[tuple[float, float]] = []

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def between(first_step: int) -> Iterator[list[Batch]]:
        coming = batches(first_step)
        while True:
            began = now()
            step = next(coming, None)
            drawn = now()
            if step is None:
                return
            bare(step[0])
            yielded = now()
            others.append((yielded[0] - drawn[0], yielded[1] - drawn[1]))
            yield step
            back = now()
            ours.append(
                (
                    back[0] - yielded[0] + drawn[0] - began[0],
                    back[1] - yielded[1] + drawn[1] - began[1],
                )
            )

    our_loop(ready.trainer, ready.gradients, steps, between)
    found = []
    for which in (0, 1):  # the last of our steps ends the loop, and is not seen
        pairs = list(zip(others, ours, strict=False))[2:]
        best = min(pair[0][which] for pair in pairs) / min(pair[1][which] for pair in pairs)
        median = statistics.median(pair[0][which] / pair[1][which] for pair in pairs)
        found.append(f"best {best:.3f}, median {median:.3f}")
    return f"{found[0]} (processor time: {found[1]})"


def our_loop(trainer: Any, gradients: GradientSteps, steps: int, batches: Batches) -> None:
    """Train for some steps from step 0, and keep nothing."""
    schedule = Schedule(
        steps=steps, seconds=None, validate_every=steps, log_every=10, checkpoint_steps=None,
        checkpoint_seconds=600.0, patience=None, seed=0,
    )  # fmt: skip
    Loop(
        trainer, gradients, schedule, NothingKept(), World(), "cpu", ignore, threading.Event()
    ).run(batches, None)  # fmt: skip


# ---------------------------------------------------------------------------------------- step


def step(patch: Triple, rounds: int) -> None:
    """Print the time of our network over that of the literal one."""
    from vemctl_denoise.network import GShiftNet

    torch.manual_seed(0)
    ours, literal = GShiftNet(), LiteralNetwork()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if name.endswith("beta"):  # 0 when fresh, which would hide the shift blocks
                parameter.uniform_(-0.5, 0.5)
    literal.load_state_dict(ours.state_dict())  # strictly: the keys are the same
    x, target = torch.rand(1, 1, *patch), torch.rand(1, 1, *patch)

    def forward(network: nn.Module) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                y: Tensor = network(x)
            return y

        return run

    def learn(network: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, (0.9, 0.99))

        def run() -> None:
            functional.l1_loss(network(x), target).backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    size = "x".join(map(str, patch))
    difference = (forward(ours)() - forward(literal)()).abs().max().item()
    assert difference < 1e-4, difference
    say("largest difference of our GShiftNet from a literal one", f"{difference:.1e}", "1e-4")
    found = take_turns(rounds, ours=forward(ours), literal=forward(literal))
    what = f"our GShiftNet over the literal one, {size}"
    say(f"{what}, forward", ratio(found["ours"], found["literal"]), "at most 1")
    found = take_turns(rounds, ours=learn(ours), literal=learn(literal))
    say(f"{what}, training step", ratio(found["ours"], found["literal"]), "at most 1")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("overhead", "step", "quality")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--patch", default="5,48,48", help="what the network sees, z,y,x")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of the overhead")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training")
    parser.add_argument("--validate-every", type=int, default=50, help="steps of each training")
    parser.add_argument("--together", action="store_true", help="both trainings at the same time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where volumes and runs stay; a new one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    devices.be_exact()
    z, y, x = (int(n) for n in arguments.patch.split(","))
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"scikit-image {skimage.__version__}; {arguments.threads} thread(s)\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "overhead" in arguments.only or "step" in arguments.only:
            say("what", "measured", "aim")
            say("---", "---", "---")
        if "step" in arguments.only:
            step((z, y, x), arguments.rounds)
        if "overhead" in arguments.only:
            overhead((z, y, x), arguments.rounds, arguments.steps, folder)
        if "quality" in arguments.only:
            say("held-back tissue", "PSNR (dB)", "SSIM")
            say("---", "---", "---")
            quality(
                (z, y, x), arguments.minutes, arguments.validate_every, arguments.threads,
                arguments.together, folder,
            )  # fmt: skip


if __name__ == "__main__":
    main()
