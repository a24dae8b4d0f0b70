"""Speed and memory of pssr, beside the published program transcribed word by word.

Run it from the checkout, on a quiet machine; each part can be had alone::

    python benchmarks/pssr.py --parts forward predict
    python benchmarks/pssr.py --device cuda --parts predict --volume 2,512,640 --sizes 512
    python benchmarks/pssr.py --parts memory --planes 1024 4096
    python benchmarks/pssr.py --parts attention --width 4

- forward: the network that is trained over the fused one, the same weights and tile, in both
  layouts; on CUDA in every precision, for one tile and for several, with the memory of a call above
  that of weights and with weights that are stored as they are used.
- predict: the literal program, which writes nothing, over `vemctl predict --as-original`, files and
  all, on the same tiles, whose edges are `--sizes` enlarged pixels. On CUDA also several tiles to a
  call, and half precision, which the literal program then has too.
- memory: the peak of main memory (see `predict.py`) of a large plane over that of a small one, both
  in blocks of one part of a plane, of a narrow network that hides nothing. Then what a call and a
  training step are said to take over what they take: on a CPU in fresh processes and without the
  holes that glibc keeps in its heap, on CUDA what torch counts.
- attention: a tile of 1024 enlarged pixels, whose attention the literal network holds as a whole.
- train: seconds per training step, on CUDA only.

Networks: C is the published wnresnet34, A the published model for electron microscopy, resnet34;
weights are random. What is compared takes turns. Times are of the processor on a CPU, on the clock
on CUDA, where float32 is float32 (no TF32). The tissue is synthetic.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import torch
from literal_exem import by, in_turn, now, ratio, read, say
from literal_pssr import export, literal_program, load_learner, seeded
from predict import Meter
from pssr_memory import (
    PRECISIONS,
    Numbers,
    attention,
    memory,
    peaks,
    predict,
    published,
    tiles_for,
    train,
    within,
)
from torch import Tensor
from vemctl_pssr.fusing import fused

from vemctl.nn import device as devices
from vemctl.plugin import Triple
from vemctl.samples import synthetic_em

PARTS = ("forward", "predict", "memory", "attention", "train")
SEVERAL = 8  # tiles to a call


def forward(width: int, size: int, batches: Numbers, rounds: int, device: str) -> None:
    """Print what calls take: time of a tile, memory above the weights, and how far they differ."""
    on_cuda = device != "cpu"
    ways = ("build", "channels last", "contiguous", *(["channels last, stored"] if on_cuda else []))
    tile = f"A tile of {by((size, size))} enlarged pixels, width {width}, {device}"
    print(f"\n{tile}: time of a tile, memory above weights,")
    print("largest difference to the first network in fp32, over its largest value.\n")
    say("network", "tiles", "precision", *ways, "build over channels last")
    say(*["---"] * (4 + len(ways)))
    for name, architecture in published(width).items():
        network = seeded(architecture)
        made = {"build": network, "channels last": fused(network)}
        made["contiguous"] = fused(network, channels_last=False)
        for each in made.values():
            each.to(device)
        for batch in batches:
            x = tiles_for(architecture, size, batch, device)
            exact = within(network, x, "fp32")
            for precision, dtype in PRECISIONS.items():
                calls = {way: partial(within, each, x, precision) for way, each in made.items()}
                if precision != "fp32":
                    if not on_cuda:
                        continue
                    stored = fused(network).to(dtype)
                    calls[ways[-1]] = partial(within, stored, x.to(dtype), "fp32")
                seen = {way: looked_at(call, exact, device) for way, call in calls.items()}
                seconds = in_turn(rounds, device, **calls)
                middle = {way: statistics.median(each) for way, each in seconds.items()}
                cells = [
                    f"{1e3 * middle[way] / batch:.1f} ms, {seen[way]}" if way in seen else "-"
                    for way in ways
                ]
                gain = middle["build"] / middle["channels last"]
                say(name, batch, precision, *cells, f"{gain:.2f}")
    print()


def looked_at(call: Callable[[], Tensor], exact: Tensor, device: str) -> str:
    """Call for the first time; return what it takes and how far it is off, for people."""
    if device == "cpu":
        taken = ""
        y = call()
    else:
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        y = call()
        taken = f"{(torch.cuda.max_memory_allocated() - held) / 2**20:.0f} MiB, "
    error = float((y.float() - exact).abs().max() / exact.abs().max())
    return f"{taken}{error:.1e}"


def predictions(
    width: int, shape: Triple, sizes: Numbers, rounds: int, device: str, folder: Path
) -> None:
    """Print the time of the literal program over ours, and how far they differ."""
    source = folder / "poor.tif"
    tifffile.imwrite(source, synthetic_em(shape, seed=5), imagej=True, metadata={"axes": "ZYX"})
    for name, architecture in published(width).items():
        network = seeded(architecture)
        for size in sizes:
            weights = folder / f"{name}{size}.safetensors"
            export(weights, network, size)
            what = f"literal program over ours, {name}, {by(shape)}, tiles of {size}, {device}"
            one_stack(what, source, weights, rounds, device)


def one_stack(what: str, source: Path, weights: Path, rounds: int, device: str) -> None:
    """See `predictions`."""
    on_cuda, results = device != "cpu", {}
    alone: dict[str, list[float]] = {}  # without loading, seconds

    def literal(name: str, half: bool) -> None:
        model = load_learner(weights, device, half=half)
        began = now(device)
        results[name] = literal_program(tifffile.imread(source), model)
        alone.setdefault(name, []).append(now(device) - began)

    def ours(name: str, batch: int, precision: str) -> None:
        meter, output = Meter(), weights.with_suffix(f".{name.replace(' ', '')}.tif")
        predict(source, output, weights, device, meter, batch=batch, precision=precision)
        results[name] = read(output)
        alone.setdefault(name, []).append(meter.seconds["restoring"])

    runs: dict[str, Callable[[], None]] = {
        "literal": partial(literal, "literal", False),
        "-b 1": partial(ours, "-b 1", 1, "fp32"),
    }
    compared = {"-b 1": "literal"}
    if on_cuda:
        runs["literal fp16"] = partial(literal, "literal fp16", True)
        for precision in PRECISIONS:
            name = f"-b {SEVERAL} {precision}"
            runs[name] = partial(ours, name, SEVERAL, precision)
            compared[name] = "literal" if precision == "fp32" else "literal fp16"
    seconds = in_turn(rounds, device, **runs)
    exact = results["literal"].astype(np.float64)
    top = np.iinfo(results["literal"].dtype).max
    for name, other in compared.items():
        aim = "at least 1.3" if name == "-b 1" else ""
        title = f"{what}, {other}, {name}"
        times = ratio(seconds[other], seconds[name])
        if on_cuda:
            times += f"; without loading {min(alone[other]) / min(alone[name]):.2f}"
        say(f"{title}: time", times, aim)
        off = np.abs(results[name].reshape(exact.shape) - exact)
        if "fp32" in name or name == "-b 1":
            found = f"{off.max():.0f} of {top}, in {np.mean(off > 0):.2%} of the pixels"
            say(f"{title}: largest difference", found, "1")
        else:
            found = f"{255 * off.max() / top:.2f} of 255, mean {255 * off.mean() / top:.3f}"
            say(f"{title}: largest difference to fp32", found, "")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, help="default: all")
    add("--device", default="cpu")
    add("--threads", type=int, help="1; on CUDA up to 8")
    add("--width", type=int, help="of networks: 64, as published; attention on a CPU: 4")
    add("--volume", type=numbers, help="predict: its shape; 2,128,160; on CUDA 2,512,640")
    add("--sizes", type=int, nargs="+", help="predict: 128 256; on CUDA 512")
    add("--size", type=int, help="forward, memory of a call: 256; on CUDA 512")
    add("--patches", type=numbers, help="memory of a step, train: 2,32; on CUDA 8,64")
    add(
        "--planes",
        type=int,
        nargs="+",
        help="memory: edges of planes; 1024 2048; on CUDA 1024 4096",
    )
    add("--repeats", type=int, help="forward: 3, predict: 1; on CUDA 10 and 2")
    given = parser.parse_args()
    devices.be_exact()
    device = devices.resolve(given.device)
    on_cuda, parts = device != "cpu", given.parts or PARTS
    if on_cuda:
        torch.cuda.set_device(device)
    threads = given.threads or (min(8, os.cpu_count() or 1) if on_cuda else 1)
    torch.set_num_threads(threads)
    card = f", {torch.cuda.get_device_name(device)}" if on_cuda else ""
    print(f"torch {torch.__version__}, Python {platform.python_version()}, threads {threads}{card}")
    width, size = given.width or 64, given.size or (512 if on_cuda else 256)
    samples, edge = given.patches or ((8, 64) if on_cuda else (2, 32))
    if "forward" in parts:
        batches = (1, SEVERAL) if on_cuda else (1,)
        forward(width, size, batches, given.repeats or (10 if on_cuda else 3), device)
    say("what", "measured", "aim")
    say("---", "---", "---")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "predict" in parts:
            shape = given.volume or ((2, 512, 640) if on_cuda else (2, 128, 160))
            sizes = given.sizes or ([512] if on_cuda else [128, 256])
            predictions(width, shape, sizes, given.repeats or (2 if on_cuda else 1), device, folder)
        if "memory" in parts:
            peaks(given.planes or [1024, 4096 if on_cuda else 2048], 512, device, folder)
            memory(width, size, edge, samples, device)
        if "attention" in parts:
            attention(given.width or (64 if on_cuda else 4), device)
        if "train" in parts and on_cuda:
            train(width, edge, samples, 10, device)


if __name__ == "__main__":
    main()
