"""Speed and memory of rldfn, beside the published program transcribed word by word.

Run it from the checkout, on a quiet machine; each part can be had alone::

    python benchmarks/rldfn.py --parts tile --tiles 24,64,64 --repeats 3
    python benchmarks/rldfn.py --parts memory --tiles 24,64,64 48,96,96
    python benchmarks/rldfn.py --device cuda --tiles 108,272,272 --repeats 5

- tile: what the published test class does with a tile (Richardson-Lucy step, network, and the
  degradation that nothing uses) over what ours does with it; and without that degradation, the
  step alone and the network alone.
- memory: bytes per voxel that a call takes at its peak, the literal one's over ours, each in a
  fresh process on a CPU; and what ours is reckoned to take over what it takes.
- rl: plain dual-view Richardson-Lucy deconvolution, three iterations, literal over ours; and how
  like the truth of the specimen are the mean of the views, the result, and that of exchanged point
  spread functions.
- predict: the literal script that tiles, which writes nothing, over `vemctl predict rldfn
  --as-original`, files and all, in patches of the tile's size less its margin.

What is compared takes turns in one run. Times are of the processor on a CPU, on the clock on CUDA,
where float32 is float32 for both (no TF32). The specimen is synthetic and the weights are random.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from literal_exem import by, in_turn, ratio, read, say
from literal_rldfn import (
    MARGIN,
    LiteralDeconvolution,
    literal_program,
    literal_restored,
    loaded,
    seeded,
)
from rldfn_memory import Triple, literal_call, memory, our_call, ours_of, tiles_of
from torch import Tensor
from vemctl_rldfn.deconvolving import DualViewDeconvolution
from vemctl_rldfn.predict_options import PredictOptions

from vemctl.nn import device as devices
from vemctl.samples import dual_view
from vemctl.workflows import options
from vemctl.workflows.predict import predict as carry_out

PARTS = ("tile", "memory", "rl", "predict")
ITERATIONS = 3
STEPS = 10  # that are timed together


def tile(shape: Triple, rounds: int, device: str) -> None:
    """Print the time of the literal work on a tile over ours, as a whole and in its parts.

    A call of each goes before, in which libraries settle; it gives what is compared.
    """
    sample = dual_view(5, shape)
    views = tiles_of(sample, device)
    literal = literal_call(sample, shape, device)
    ours = our_call(sample, shape, device)
    calls = {
        "literal": partial(literal, *views),
        "bare": partial(literal_call(sample, shape, device, degrade=False), *views),
        "ours": partial(ours, *views),
    }
    wanted, _, found = (call() for call in calls.values())
    seconds = in_turn(rounds, device, **calls)
    where = f"{by(shape)}, {device}"
    say(f"literal tile over ours, {where}: time", ratio(seconds["literal"], seconds["ours"]), "")
    say(
        f"the same without the unused degradation, {where}: time",
        ratio(seconds["bare"], seconds["ours"]),
        "more than 1",
    )
    error = float((found - wanted).abs().max() / wanted.abs().max())
    say(
        f"literal tile and ours, {where}: largest difference over the largest value",
        f"{error:.1e}",
        "below 2e-5",
    )
    steps = {
        "literal": LiteralDeconvolution(sample.psf_a, sample.psf_b, shape, device),
        "ours": DualViewDeconvolution(sample.psf_a, sample.psf_b, shape, device).ratios,
    }
    seconds = compared(steps, views, rounds, device, each=STEPS)
    what = f"{STEPS} literal Richardson-Lucy steps over ours, {where}: time"
    say(what, ratio(*seconds), "more than 1")
    ratios = steps["ours"](*views)
    networks = {"literal": loaded(seeded(), device), "ours": ours_of(device)}
    seconds = compared(networks, ratios, rounds, device)
    say(f"literal network over ours, {where}: time", ratio(*seconds), "more than 1")


def compared(
    what: dict[str, Callable[..., Any]],
    views: Sequence[Tensor],
    rounds: int,
    device: str,
    *,
    each: int = 1,
) -> list[list[float]]:
    """Return the seconds of each in turn, after some calls of each."""

    def call(function: Callable[..., Any]) -> None:
        with torch.inference_mode():
            for _ in range(each):
                function(*views)

    calls = {name: partial(call, function) for name, function in what.items()}
    for function in calls.values():
        function()
    return list(in_turn(rounds, device, **calls).values())


def restored(shape: Triple, rounds: int, device: str) -> None:
    """Print the time of literal deconvolution over ours, and how good it is."""
    sample = dual_view(5, shape)
    views = tiles_of(sample, device)
    ours = DualViewDeconvolution(sample.psf_a, sample.psf_b, shape, device)
    literal = LiteralDeconvolution(sample.psf_a, sample.psf_b, shape, device)
    swapped = DualViewDeconvolution(sample.psf_b, sample.psf_a, shape, device)
    calls = {
        "literal": partial(literal_restored, *views, literal, ITERATIONS),
        "ours": partial(ours.restored, *views, ITERATIONS, normalised=True),
    }
    wanted, found = (call() for call in calls.values())
    seconds = in_turn(max(rounds, 3), device, **calls)
    where = f"{by(shape)}, {device}"
    say(
        f"literal dual-view deconvolution over ours, {where}: time",
        ratio(seconds["literal"], seconds["ours"]),
        "more than 1",
    )
    error = float((found - wanted).abs().max() / wanted.abs().max())
    say(
        f"the same, {where}: largest difference over the largest value",
        f"{error:.1e}",
        "below 1e-4",
    )
    wrong = swapped.restored(*views, ITERATIONS, normalised=True)
    volumes = {"mean of views": (views[0] + views[1]) / 2, "result": found, "exchanged": wrong}
    alike = ", ".join(
        f"{name} {np.corrcoef(volume.cpu().numpy().ravel(), sample.truth.ravel())[0, 1]:.3f}"
        for name, volume in volumes.items()
    )
    say(f"correlation with the truth, {where}", alike, "the result is most like it")


def predictions(shape: Triple, rounds: int, device: str, folder: Path) -> None:
    """Print the time of the literal script over ours, and how far the results differ.

    The volume is of two by two patches, and of a few voxels more.
    """
    depth, height, width = shape
    patch = (depth, height - 2 * MARGIN, width - 2 * MARGIN)
    sample = dual_view(5, (depth, 2 * patch[1] + 5, 2 * patch[2] + 5))
    paths = folder / "view_A.tif", folder / "view_B.tif"
    psfs = folder / "psf_A.tif", folder / "psf_B.tif"
    pixels = 1000 / sample.voxel_size_nm[0]  # in a micrometre
    for path, view in zip(paths, (sample.view_a, sample.view_b), strict=True):
        tifffile.imwrite(
            path, view, imagej=True, resolution=(pixels, pixels),
            metadata={"axes": "ZYX", "unit": "um", "spacing": sample.voxel_size_nm[0] / 1000},
        )  # fmt: skip
    for path, psf in zip(psfs, (sample.psf_a, sample.psf_b), strict=True):
        tifffile.imwrite(path, psf)
    weights, output = folder / "seeded.pth", folder / "fused.tif"
    torch.save(seeded(), weights)
    results: dict[str, Any] = {}

    def literal(*, degrade: bool) -> None:
        network = loaded(torch.load(weights, weights_only=True), device)
        a, b = (tifffile.imread(path) for path in psfs)
        results["literal"] = literal_program(
            paths, (a, b), network, patch, device, degrade=degrade, reread=degrade
        )

    def ours() -> None:
        request = options.PredictRequest(
            "rldfn", paths, output, str(weights),
            PredictOptions(psf_a=str(psfs[0]), psf_b=str(psfs[1]), check_orientation=False),
            writing=options.OutputOptions(overwrite=True),
            tiling=options.TilingOptions(tile=patch),
            compute=options.ComputeOptions(device=device),
            run=options.RunOptions(as_original=True),
        )  # fmt: skip
        carry_out(request)
        results["ours"] = read(output)

    runs = {"literal": partial(literal, degrade=True), "bare": partial(literal, degrade=False)}
    seconds = in_turn(rounds, device, **runs, ours=ours)
    where = f"{by(sample.view_a.shape)} in tiles of {by(shape)}, {device}"
    what = f"literal script over ours, --as-original, {where}"
    say(f"{what}: time", ratio(seconds["literal"], seconds["ours"]), "more than 1")
    say(
        f"{what}, without what is of no use: time",
        ratio(seconds["bare"], seconds["ours"]),
        "more than 1",
    )
    exact, made = results["literal"], results["ours"].astype(np.float64)
    planes, rows, columns = (min(sizes) for sizes in zip(exact.shape, made.shape, strict=True))
    common = (slice(planes), slice(rows), slice(columns))
    off = np.abs(made[common] - exact[common])
    say(
        f"{what}: largest difference over the largest value",
        f"{off.max() / exact.max():.1e} in {by(off.shape)} of {by(made.shape)}",
        "below 2e-5",
    )


def numbers(text: str) -> Triple:
    z, y, x = (int(number) for number in text.split(","))
    return z, y, x


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    add("--device", default="cpu")
    add("--threads", type=int, help="1; on CUDA up to 8")
    add("--tiles", type=numbers, nargs="+", default=[(24, 64, 64)], help="planes,rows,columns")
    add("--repeats", type=int, default=3)
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
        f"torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"threads {threads}{card}\n"
    )
    say("what", "measured", "aim")
    say("---", "---", "---")
    for shape in given.tiles:
        if "tile" in given.parts:
            tile(shape, given.repeats, device)
        if "memory" in given.parts:
            memory(shape, device)
        if "rl" in given.parts:
            restored(shape, given.repeats, device)
        if "predict" in given.parts:
            with tempfile.TemporaryDirectory() as folder:
                predictions(shape, given.repeats, device, Path(folder))


if __name__ == "__main__":
    main()
