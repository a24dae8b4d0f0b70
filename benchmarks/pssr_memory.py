"""Memory of pssr, and seconds of its training; `pssr.py` runs what is here.

On a CPU what is measured is done in a fresh process: this file, with the work as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from literal_exem import by, now, say
from literal_pssr import SCALE, export, literal_network, seeded
from predict import Meter, make_input, resident
from torch import Tensor, nn
from vemctl_pssr.architecture import Architecture, standard
from vemctl_pssr.building import make_trainer
from vemctl_pssr.footprints import MACRO_PIXELS
from vemctl_pssr.fusing import fused
from vemctl_pssr.memory import call_bytes
from vemctl_pssr.method import PredictOptions
from vemctl_pssr.network import build
from vemctl_pssr.published_tiling import macro_core, published_overlap
from vemctl_pssr.train_options import TrainOptions
from vemctl_pssr.trainer import PssrTrainer

from vemctl.events import Listener, ignore
from vemctl.nn import device as devices
from vemctl.nn.gradients import GradientSteps
from vemctl.plugin import TrainingRequest, Triple, VolumeFacts
from vemctl.workflows import options
from vemctl.workflows.predict import predict as carry_out

Numbers = Sequence[int]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LARGE = 1024  # enlarged pixels
HIDES_NOTHING = standard("wnresnet18", width=2, attention=False)
NO_HOLES = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}  # what is larger goes back when it is freed
WITHIN = "0.7 to 1.5"


def published(width: int) -> dict[str, Architecture]:
    """Return both published networks, or such that are narrower."""
    return {"C": standard("wnresnet34", width=width), "A": standard("resnet34", width=width)}


def tiles_for(architecture: Architecture, size: int, batch: int, device: str) -> Tensor:
    """Return random tiles of which `size` enlarged pixels are made along each edge."""
    edge = size // SCALE if architecture.upsamples else size
    random = torch.Generator().manual_seed(1)
    tiles = torch.randn(batch, architecture.in_channels, edge, edge, generator=random)
    return tiles.to(device)


def within(network: nn.Module, x: Tensor, precision: str) -> Tensor:
    """Call a network as a prediction does."""
    halved = precision != "fp32"
    autocast = torch.autocast(x.device.type, PRECISIONS[precision]) if halved else nullcontext()
    with torch.inference_mode(), autocast:
        y: Tensor = network(x)
    return y


def predict(
    source: Path, output: Path, weights: Path, device: str, listen: Listener = ignore, *,
    batch: int = 1, precision: Any = "fp32", block: Triple | None = None, **writing: Any,
) -> None:  # fmt: skip
    """Predict as the command does with --as-original; an output is replaced."""
    request = options.PredictRequest(
        "pssr", (source,), output, str(weights), PredictOptions(),
        writing=options.OutputOptions(overwrite=True, **writing),
        tiling=options.TilingOptions(batch=batch),
        compute=options.ComputeOptions(device=device, precision=precision, block=block),
        run=options.RunOptions(as_original=True),
    )  # fmt: skip
    carry_out(request, listen)


def peaks(planes: Numbers, size: int, device: str, folder: Path) -> None:
    """Print the peak of a large plane over that of a small one."""
    export(folder / "narrow.safetensors", seeded(HIDES_NOTHING), size)
    part = SCALE * macro_core(size, published_overlap(size), SCALE, MACRO_PIXELS)
    found = {}
    for edge in planes:
        make_input(folder / f"{edge}.zarr", (1, edge, edge))
        found[edge] = child("peak", str(folder), edge, part, device, **NO_HOLES)
    sizes = ", ".join(f"{peak / 2**20:.0f} MiB for {by((e, e))}" for e, peak in found.items())
    what = f"peak of main memory, blocks of {by((part, part))}, tiles of {size}, {device}: {sizes}"
    say(what, f"{found[planes[-1]] / found[planes[0]]:.3f}", "at most 1.15")


def peak_child(folder: str, edge: int, part: int, device: str) -> int:
    """Return the bytes that a prediction takes above what it begins with."""
    meter, block, chunk = Meter(), (1, part, part), (1, part // SCALE, part // SCALE)
    predict(
        Path(folder, f"{edge}.zarr"), Path(folder, f"{edge}.out.zarr"),
        Path(folder, "narrow.safetensors"), device, meter, block=block, chunk_shape=chunk,
        shard_shape=block,
    )  # fmt: skip
    taken: int = meter.peaks["restoring"]
    return taken


def memory(width: int, size: int, edge: int, samples: int, device: str) -> None:
    """Print what calls and training steps are said to take over what they take."""
    for name in published(width):
        call = measured("call", name, width, size, False, device)
        tell_memory(f"call, {name}, width {width}, a tile of {size}, {device}", *call[:2])
    for name in published(width):
        said, taken = measured("step", name, width, edge, samples, device)
        what = f"training step, {name}, width {width}, {samples} patches of {edge}, {device}"
        tell_memory(what, said, taken)


def tell_memory(what: str, said: int, taken: int, aim: str = WITHIN) -> None:
    sizes = f"{said / 2**20:.0f} MiB over {taken / 2**20:.0f} MiB"
    say(f"reckoned over measured memory, {what}", f"{said / taken:.2f} ({sizes})", aim)


def call_work(name: str, width: int, size: int, literal: bool, device: str) -> list[float]:
    """Return the bytes that a call is said to take, and takes, and its seconds.

    What it takes includes the weights, but not what was there before they were made.
    """
    within(fused(build(HIDES_NOTHING)), tiles_for(HIDES_NOTHING, 64, 1, "cpu"), "fp32")  # libraries
    held, architecture = held_now(device), published(width)[name]
    network = build(architecture).eval()
    network = (literal_network(network) if literal else fused(network)).to(device)
    x = tiles_for(architecture, size, 1, device)
    gc.collect()
    begin_peak(device)
    within(network, x, "fp32")
    taken, began = peak_now(device) - held, now(device)
    within(network, x, "fp32")
    seconds = now(device) - began
    return [call_bytes(architecture, (x.shape[2], x.shape[3]), 1, device=device), taken, seconds]


def step_work(name: str, width: int, edge: int, samples: int, device: str) -> list[int]:
    """Return the bytes that the second of two training steps is said to take, and takes."""
    small = standard("wnresnet18", width=2)
    trainer, batch = learning(small, 8, 2, "fp32", "cpu")
    trainer.step([batch])  # loads libraries
    held = held_now(device)
    trainer, batch = learning(published(width)[name], edge, samples, "fp32", device)
    gc.collect()
    begin_peak(device)
    for _ in range(2):  # the optimiser's state is there from the second on
        trainer.step([batch])
    return [trainer.memory(samples), peak_now(device) - held]


def held_now(device: str) -> int:
    """Return the bytes that are taken."""
    gc.collect()
    if device == "cpu":
        return resident("VmRSS")
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()


def begin_peak(device: str) -> None:
    """Let the peak begin anew."""
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")
    else:
        torch.cuda.reset_peak_memory_stats()


def peak_now(device: str) -> int:
    """Return the most bytes that were taken since."""
    peak: int = resident("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated()
    return peak


WORK: dict[str, Callable[..., Any]] = {"call": call_work, "step": step_work, "peak": peak_child}


def measured(what: str, *words: Any) -> Any:
    """Return what one of `WORK` measures: in a fresh process, but on CUDA in this one."""
    if words[-1] == "cpu":
        return child(what, *words, **NO_HOLES)
    found = WORK[what](*words)
    gc.collect()
    torch.cuda.empty_cache()
    return found


def child(*words: object, **environment: str) -> Any:
    """Return what one of `WORK` measures in a fresh process."""
    text = json.dumps([torch.get_num_threads(), *words])
    command = [sys.executable, __file__, text]
    done = subprocess.check_output(command, env=os.environ | environment)
    return json.loads(done.splitlines()[-1])


def attention(width: int, device: str) -> None:
    """Print what a large tile takes, and what it takes where attention is held as a whole."""
    said, taken, seconds = measured("call", "C", width, LARGE, False, device)
    what = f"C, width {width}, a tile of {LARGE}, {device}"
    say(f"call, {what}: time", f"{seconds:.3f} s", "")
    tell_memory(f"call, {what}", said, taken)
    _, whole, longer = measured("call", "C", width, LARGE, True, device)
    found = f"{whole / taken:.2f} ({whole / 2**20:.0f} MiB over {taken / 2**20:.0f} MiB)"
    say(f"literal network over ours, {what}: memory", found, "")
    say(f"literal network over ours, {what}: time", f"{longer / seconds:.2f} ({longer:.3f} s)", "")


def learning(
    architecture: Architecture, edge: int, samples: int, precision: str, device: str
) -> tuple[PssrTrainer, Mapping[str, Tensor]]:
    """Return a trainer of a fresh network, and a batch of noise."""
    wishes = TrainOptions(
        hr=(Path("good.tif"),), patch=(1, edge, edge), hr_range="0,255",
        encoder=architecture.name.removesuffix(" (reduced)"),  # type: ignore[arg-type]
        width=architecture.widths[0], attention=architecture.attention,
        bottle=architecture.bottle,
    )  # fmt: skip
    random = np.random.default_rng(0)
    request = TrainingRequest(
        {"hr": [VolumeFacts((1, SCALE * edge, SCALE * edge), "uint8")]},
        GradientSteps(device, precision),
        device,
        batch=samples,
        steps=1000,
        look=lambda _, n: [{"lr": random.random((1, edge, edge), np.float32)} for _ in range(n)],
    )
    batch = {
        role: torch.rand(samples, 1, scale * edge, scale * edge, device=device)
        for role, scale in (("lr", 1), ("hr", SCALE))
    }
    return make_trainer(wishes, request), batch


def train(width: int, edge: int, samples: int, steps: int, device: str) -> None:
    """Print the seconds of a training step in every precision, on CUDA."""
    architecture = published(width)["C"]
    for precision, cudnn in (("fp32", True), ("fp32", False), ("bf16", True), ("fp16", True)):
        torch.backends.cudnn.enabled = cudnn
        what = f"training step, C, width {width}, {samples} patches of {edge}, {precision}"
        what += "" if cudnn else " without cuDNN"
        held = held_now(device)
        trainer, batch = learning(architecture, edge, samples, precision, device)
        begin_peak(device)
        losses, seconds = [], []
        for _ in range(3 + steps):
            began = now(device)
            losses.append(trainer.step([batch])["loss"])
            seconds.append(now(device) - began)
        taken = peak_now(device) - held
        finite = all(bool(loss.isfinite()) for loss in losses)
        found = f"{statistics.median(seconds[3:]):.3f} s, the first {seconds[0]:.2f} s"
        say(f"{what}: time", f"{found}, losses {'finite' if finite else 'NOT FINITE'}", "finite")
        aim = WITHIN if precision == "fp32" and cudnn else ""  # what is reckoned is of float32
        tell_memory(what, trainer.memory(samples), taken, aim)
        del trainer, batch
    torch.backends.cudnn.enabled = True


def main() -> None:
    threads, what, *words = json.loads(sys.argv[1])
    devices.be_exact()
    torch.set_num_threads(threads)
    print(json.dumps(WORK[what](*words)))


if __name__ == "__main__":
    main()
