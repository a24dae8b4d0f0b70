"""Speed of vsisr, beside the published program transcribed word by word.

Run it from the checkout, on a quiet machine; each part can be had alone::

    python benchmarks/vsisr.py --parts forward --repeats 5
    python benchmarks/vsisr.py --parts predict --planes 128,128 192,192 --slices 17
    python benchmarks/vsisr.py --device cuda --parts predict --planes 256,256 512,512 --slices 33

- forward: the literal network over ours, with the same weights, on the same window of slices, as
  large as a plane, and rotated by 60 degrees, when ours leaves out what is empty in large ones.
- predict: the literal program, which writes nothing, over `vemctl predict vsisr --as-original`,
  files and all, end to end, and how far the results differ. On CUDA also several windows to a call,
  and half precision.

One round of predict took 102 seconds of a processor for 17 slices of 128 x 128, and 17 minutes for
384 x 384, the literal program and ours. What is compared takes turns in one run. Times are of
the processor on a CPU, on the clock on CUDA, where float32 is float32 for both (no TF32). The
specimen is synthetic, the weights are random, and the transfer functions are ideal ones; the
results have nothing to show, but are as long to compute.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import tifffile
import torch
from literal_exem import by, in_turn, now, ratio, read, say
from literal_vsisr import SLICES, literal_program, load_optics, loaded, make_optics, seeded
from predict import Meter
from scipy import ndimage
from vemctl_vsisr.corners import RotatedCall
from vemctl_vsisr.network import Generator
from vemctl_vsisr.predict_options import PredictOptions

from vemctl.events import Listener, ignore
from vemctl.nn import device as devices
from vemctl.samples import lattice_pair
from vemctl.workflows import options
from vemctl.workflows.predict import predict as carry_out

PARTS = ("forward", "predict")
SEVERAL = 8  # windows to a call
Numbers = Sequence[int]


def predict(
    source: Path, output: Path, weights: Path, optics: Path, device: str,
    listen: Listener = ignore, *, batch: int | None = None, precision: Any = "fp32",
) -> None:  # fmt: skip
    """Predict as the command does with --as-original; an output is replaced."""
    request = options.PredictRequest(
        "vsisr", (source,), output, str(weights), PredictOptions(otf=(optics,)),
        writing=options.OutputOptions(overwrite=True),
        tiling=options.TilingOptions(batch=batch),
        compute=options.ComputeOptions(device=device, precision=precision),
        run=options.RunOptions(as_original=True),
    )  # fmt: skip
    carry_out(request, listen)


def forward(plane: Numbers, rounds: int, device: str) -> None:
    """Print the time of the literal network over ours, and how far they differ.

    A call of each goes before, in which libraries settle; it gives what is compared.
    """
    literal, ours = loaded(seeded(), device), Generator().to(device).eval()
    ours.load_state_dict(literal.state_dict())  # strictly: the keys are the same
    window = lattice_pair(5, (SLICES, *plane)).input.astype(np.float32)
    window = (window - window.min()) / np.ptp(window)
    for angle in (0, 60):
        turned = ndimage.rotate(window, angle, axes=(1, 2)) if angle else window
        x = torch.from_numpy(turned)[None].to(device)

        def call(network: Callable[..., Any], x: torch.Tensor = x) -> torch.Tensor:
            with torch.inference_mode():
                y: torch.Tensor = network(x)
            return y

        quick = RotatedCall(ours, (plane[0], plane[1]), angle)
        calls = {"literal": partial(call, literal), "ours": partial(call, quick)}
        wanted, found = (each() for each in calls.values())
        seconds = in_turn(rounds, device, **calls)
        what = f"literal network over ours, a window of {by(turned.shape)}, {device}"
        say(f"{what}: time", ratio(seconds["literal"], seconds["ours"]), "at least 1.0")
        error = float((found - wanted).abs().max() / wanted.abs().max())
        say(f"{what}: largest difference over the largest value", f"{error:.1e}", "below 2e-5")


def predictions(slices: int, plane: Numbers, rounds: int, device: str, folder: Path) -> None:
    """Print the time of the literal program over ours, and how far they differ."""
    shape = (slices, *plane)
    source, weights, optics = folder / f"{by(shape)}.tif", folder / "seeded.pth", folder / "otf"
    volume = lattice_pair(5, shape).input
    tifffile.imwrite(source, volume, imagej=True, metadata={"axes": "ZYX"})
    torch.save(seeded(), weights)
    make_optics(optics)
    results: dict[str, Any] = {}
    alone: dict[str, list[float]] = {}  # seconds without loading

    def literal() -> None:
        network = loaded(torch.load(weights, weights_only=True), device)
        began = now(device)
        results["literal"], _ = literal_program(
            tifffile.imread(source), network, load_optics(optics), device
        )
        alone.setdefault("literal", []).append(now(device) - began)

    def ours(name: str, batch: int | None, precision: str) -> None:
        meter, output = Meter(), source.with_suffix(f".{name.replace(' ', '')}.tif")
        predict(source, output, weights, optics, device, meter, batch=batch, precision=precision)
        results[name] = read(output)
        alone.setdefault(name, []).append(sum(meter.seconds.values()))

    runs: dict[str, Callable[[], None]] = {"ours": partial(ours, "ours", None, "fp32")}
    if device != "cpu":
        for precision in ("fp32", "bf16", "fp16"):
            name = f"-b {SEVERAL} {precision}"
            runs[name] = partial(ours, name, SEVERAL, precision)
    seconds = in_turn(rounds, device, literal=literal, **runs)
    exact = results["literal"].astype(np.float64)
    for name in runs:
        what = f"literal program over {name}, --as-original, {by(shape)}, {device}"
        times = ratio(seconds["literal"], seconds[name])
        if device != "cpu":
            gain = statistics.median(alone["literal"]) / statistics.median(alone[name])
            times += f"; without loading {gain:.2f}"
        say(f"{what}: time", times, "2 for planes of 384 and more")
        off = np.abs(results[name].astype(np.float64).reshape(exact.shape) - exact)
        found = f"{off.max():.0f} of 65535, mean {off.mean():.3f}, in {np.mean(off > 0):.1%}"
        aim = "" if "16" in name else "3"
        say(f"{what}: largest difference in counts, and in how many pixels", found, aim)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: both")
    add("--device", default="cpu")
    add("--threads", type=int, help="1; on CUDA up to 8")
    add("--planes", type=numbers, nargs="+", default=[(128, 128), (192, 192)], help="rows,columns")
    add("--slices", type=int, default=17, help="predict: of the volume, at least 17")
    add("--repeats", type=int, help="forward: 5, predict: 2")
    given = parser.parse_args()
    devices.be_exact()
    device = devices.resolve(given.device)
    on_cuda = device != "cpu"
    if on_cuda:
        torch.cuda.set_device(device)
    threads = given.threads or (min(8, os.cpu_count() or 1) if on_cuda else 1)
    torch.set_num_threads(threads)
    card = f", {torch.cuda.get_device_name(device)}" if on_cuda else ""
    print(
        f"torch {torch.__version__}, scipy {scipy.__version__}, numpy {np.__version__}, "
        f"Python {platform.python_version()}, threads {threads}{card}\n"
    )
    say("what", "measured", "aim")
    say("---", "---", "---")
    with tempfile.TemporaryDirectory() as folder:
        for plane in given.planes:
            if "forward" in given.parts:
                forward(plane, given.repeats or 5, device)
            if "predict" in given.parts:
                predictions(given.slices, plane, given.repeats or 2, device, Path(folder))


if __name__ == "__main__":
    main()
