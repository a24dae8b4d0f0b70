"""Speed, memory and seams of exem, beside the published program transcribed word by word.

Run it from the checkout, on a quiet machine; each part can be had alone::

    python benchmarks/exem.py --parts forward bf16 --tile 8,128,128
    python benchmarks/exem.py --parts predict --volume 24,192,192 --tile 8,64,64
    python benchmarks/exem.py --parts memory --tiles 8,128,128 16,128,128
    python benchmarks/exem.py --parts seams --run runs/e1 --lm lm.zarr --truth em.zarr

- forward: the literal generator over ours, with the same weights, on the same tile.
- bf16: the same, but ours under autocast in bfloat16.
- predict: the literal loop, which does not write, over `vemctl predict`, files and all: with
  --as-original and the same tiles, and with our default overlap. Then by how much the peak of main
  memory (see `predict.py`) grows with a volume four times larger, on a CPU; of a narrow network
  that hides nothing, and without the holes that glibc keeps in its heap: up to 100 MiB, by chance.
- memory: what a call and a training step are said to take over what they take, each in a fresh
  process: resident above libraries, with and without such holes; on CUDA what torch counts.
- seams: what a smaller overlap does to the result of trained weights; see `seams` for its columns.

What is compared takes turns in one run. Times are of the processor on a CPU, on the clock on CUDA,
where float32 is float32 for both (no TF32). The tissue is synthetic, but that of the seams.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import zarr
from literal_exem import by, fresh, in_turn, literal_loop, now, one_tile, ratio, read, say, shared
from predict import Meter, make_input, resident
from vemctl_exem.memory import call_bytes
from vemctl_exem.network import CHANNELS, Generator
from vemctl_exem.restorer import TILE
from vemctl_exem.train_options import TrainOptions
from vemctl_exem.trainer import make_trainer

from vemctl import registry
from vemctl.events import Listener, ignore
from vemctl.nn import device as devices
from vemctl.nn.gradients import GradientSteps
from vemctl.nn.own_weights import read_facts
from vemctl.plugin import Footprint, TrainingRequest, Triple, VolumeFacts
from vemctl.samples import light_and_em
from vemctl.tiles.grid import axis_grid
from vemctl.weights.resolving import file_of
from vemctl.workflows import options
from vemctl.workflows.predict import predict as carry_out

Numbers = Sequence[int]
PARTS = ("forward", "bf16", "predict", "memory", "seams")
SHARES = (0.5, 0.25, 0.125, 0.0, 0.75)  # overlaps, of the tile; the first is compared with
NARROW = (8, 8, 8, 8, 8)
SMALL, LARGE, BLOCK = (16, 512, 512), (64, 512, 512), (16, 128, 128)
NO_HOLES = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}  # what is larger goes back when it is freed
STEPS = {"step": "training step", "lean step": "training step with checkpointing"}


def predict(
    source: Path, output: Path, weights: Path, tile: Triple, overlap: Triple | None, device: str,
    listen: Listener = ignore, *, as_original: bool = False, block: Triple | None = None,
    **writing: Any,
) -> dict[str, Any]:  # fmt: skip
    """Predict as the command does; return the plan. An output is replaced."""
    request = options.PredictRequest(
        "exem", (source,), output, str(weights), registry.get("exem").predict_options(),
        writing=options.OutputOptions(overwrite=True, **writing),
        tiling=options.TilingOptions(tile=tile, overlap=overlap),
        compute=options.ComputeOptions(device=device, block=block),
        run=options.RunOptions(as_original=as_original),
    )  # fmt: skip
    plan: dict[str, Any] = carry_out(request, listen).facts["plan"]
    return plan


def predictions(
    channels: Numbers, shape: Triple, tile: Triple, batch: int, rounds: int, device: str,
    folder: Path,
) -> None:  # fmt: skip
    """Print the time of the literal loop over ours, and how far they differ."""
    source, weights, half = folder / "lm.zarr", folder / "G_AB_0.pth", shared(0.5, tile)
    zarr.create_array(source, data=light_and_em(shape).lm, chunks=(8, 64, 64))
    torch.save(fresh(channels).state_dict(), weights)
    kept: dict[str, Any] = {}

    def literal() -> None:
        kept["literal"] = literal_loop(source, weights, channels, tile, half, batch, device)

    def ours(name: str, overlap: Triple | None) -> None:
        output, same = folder / f"{name}.zarr", name == "same"
        kept[name] = predict(source, output, weights, tile, overlap, device, as_original=same)

    runs = {"same": partial(ours, "same", half), "default": partial(ours, "default", None)}
    seconds = in_turn(rounds, device, literal=literal, **runs)
    what = f"literal loop, {by(shape)}, tile {by(tile)}, overlap {by(half)}, {device}, over ours"
    for name, title in (("same", "--as-original"), ("default", "default")):
        tiles, overlap = kept[name]["tiles_computed"], kept[name]["overlap"]
        smaller = math.prod(overlap) < math.prod(half)
        aim = "at least 3" if smaller else "none: half too" if name == "default" else "at least 1.0"
        times = ratio(seconds["literal"], seconds[name])
        say(f"{what}, {title}, overlap {by(overlap)}, {tiles} tiles: time", times, aim)
    error = np.abs(read(folder / "same.zarr") - kept["literal"]).max()
    say(f"{what}, --as-original: largest difference", f"{error:.1e}", "below 1e-4")


def peaks(folder: Path) -> None:
    """Print the peak of a large volume over that of a small one."""
    torch.save(fresh(NARROW).state_dict(), folder / "narrow.pth")
    found = {}
    for shape in (SMALL, LARGE):
        make_input(folder / f"{by(shape)}.zarr", shape)
        found[shape] = child("peak", str(folder), by(shape), **NO_HOLES)
    sizes = ", ".join(f"{peak / 2**20:.0f} MiB for {by(s)}" for s, peak in found.items())
    say(f"peak memory, {sizes}", f"{found[LARGE] / found[SMALL]:.3f}", "at most 1.1")


def peak_child(folder: str, name: str) -> int:
    """Return the bytes that a prediction takes above what it begins with."""
    meter, source = Meter(), Path(folder, f"{name}.zarr")
    predict(
        source, source.with_suffix(".out.zarr"), Path(folder, "narrow.pth"), (8, 64, 64),
        (0, 0, 0), "cpu", meter, block=BLOCK, chunk_shape=BLOCK, shard_shape=BLOCK,
    )  # fmt: skip
    return meter.peaks["restoring"]


def seams(run: str, lm: Path, truth: Path, tile: Triple | None, device: str, folder: Path) -> None:
    """Print what the overlap of tiles, the same share along each axis, does to a result.

    - time: of the whole prediction over that with half the tile as overlap.
    - difference: root of the mean square, to the result with half the tile, in grey levels of 255.
    - seam error: see `seam_error`; and that of the truth in the same planes, which is what chance
      and structure make of it.
    - Pearson: correlation with the truth, over all voxels.
    """
    weights = file_of(run, "exem") or Path(run)
    tile = tile or tuple(read_facts(weights).get("tile", TILE))
    wanted, results = read(truth).astype(np.float64), []
    print(f"\n{weights}, {lm}, {by(wanted.shape)} voxels, tile {by(tile)}, {device}\n")
    say("overlap", "tiles", "time", "difference", "seam error", "of the truth", "Pearson")
    say(*["---"] * 7)
    for share in SHARES:
        overlap, began = shared(share, tile), now(device)
        plan = predict(lm, folder / "em.zarr", weights, tile, overlap, device, dtype="float32")
        seconds, found = now(device) - began, 255 * read(folder / "em.zarr").astype(np.float64)
        results = results or [(seconds, found)]
        say(
            f"{100 * share:g} % ({by(overlap)})",
            plan["tiles_computed"],
            f"{seconds / results[0][0]:.2f} ({seconds:.1f} s)",
            f"{np.sqrt(np.square(found - results[0][1]).mean()):.2f}",
            *(f"{seam_error(volume, tile, overlap):.3f}" for volume in (found, wanted)),
            f"{np.corrcoef(found.ravel(), wanted.ravel())[0, 1]:.4f}",
        )


def seam_error(volume: npt.NDArray[Any], tile: Triple, overlap: Triple) -> float:
    """Return how much larger steps across borders of tiles are than others; 1 is no seam.

    A plane lies between any two neighbouring rows of voxels along y, or along x; its step is the
    mean absolute difference across it. It is a border where a tile of the grid begins or ends in
    it, inside the volume. The step of a border is divided by the mean step of all planes of its
    axis that are none; the result is the mean over the borders of both axes, NaN without any.
    """
    footprint = Footprint(tile=tile, overlap=overlap, window="bump", fit=False)
    errors: list[float] = []
    for axis in (1, 2):
        grid = axis_grid(volume.shape[axis], axis, footprint)
        starts = [grid.start(k) for k in range(grid.num_tiles)]
        ends = {end for start in starts for end in (start, start + grid.core)}
        steps = np.abs(np.diff(volume, axis=axis)).mean((0, 3 - axis))  # the first before voxel 1
        border = np.isin(np.arange(len(steps)) + 1, list(ends))
        errors.extend(steps[border] / steps[~border].mean())
    return float(np.mean(errors)) if errors else math.nan


def memory(channels: Numbers, filters: int, tiles: Sequence[Triple], device: str) -> None:
    """Print what calls and training steps are said to take over what they take."""
    for name in ("call", *STEPS):
        for tile in tiles or [(8, 96, 96) if name in STEPS else (8, 128, 128)]:
            words = ("memory", name, channels, filters, tile, device)
            (said, taken), (_, held) = child(*words), child(*words, **NO_HOLES)
            sizes = f"{said / 2**20:.0f} MiB over {taken / 2**20:.0f} MiB"
            sizes += f"; over {held / 2**20:.0f} MiB without holes {said / held:.2f}"
            what = f"estimated over measured memory, {STEPS.get(name, name)}, {by(tile)}, {device}"
            say(what, f"{said / taken:.2f} ({sizes})", "0.8 to 1.2")


def memory_child(name: str, *what: Any) -> tuple[int, int]:
    """Return the bytes that a call, or the second of two steps, is said to take, and takes."""
    *_, device = what
    work(name, NARROW, 1, (2, 32, 32), device)  # loads libraries
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    base, said = resident("VmRSS"), work(name, *what)
    return said, resident("VmHWM") - base if device == "cpu" else torch.cuda.max_memory_allocated()


def work(name: str, channels: Numbers, filters: int, tile: Numbers, device: str) -> int:
    """Do what is to be measured; return the bytes that it is said to take."""
    z, y, x = tile
    lm, em = torch.rand(2, 1, 1, z, y, x, device=device)
    if name == "call":
        with torch.inference_mode():
            Generator(channels).for_calls(device)(lm)
        return call_bytes(channels, (z, y, x), 1)
    wishes = TrainOptions(
        lm=(Path("lm.tif"),), em=(Path("em.tif"),), patch=(z, y, x),
        generator_channels=tuple(channels), discriminator_filters=filters,
        checkpointing=name == "lean step",
    )  # fmt: skip
    facts = [VolumeFacts((z, y, x), "uint8")]
    request = TrainingRequest({"lm": facts, "em": facts}, GradientSteps(device), device)
    trainer = make_trainer(wishes, request)
    for _ in range(2):  # the optimisers' states are there from the second on
        trainer.step([{"lm": lm, "em": em}])
    return trainer.memory(1)


CHILDREN: dict[str, Callable[..., Any]] = {"peak": peak_child, "memory": memory_child}


def child(*words: object, **environment: str) -> Any:
    """Return what one of `CHILDREN` measures in a fresh process."""
    text = json.dumps([torch.get_num_threads(), *words])
    command, environment = [sys.executable, __file__, "--child", text], os.environ | environment
    return json.loads(subprocess.check_output(command, env=environment).splitlines()[-1])


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, help="default: all, but seams only with --run")
    add("--device", default="cpu")
    add("--threads", type=int, default=1)
    add("--channels", type=numbers, default=CHANNELS)
    add("--filters", type=int, default=64, help="memory: of the discriminators")
    add("--tile", type=numbers, help="8,128,128; predict: 8,64,64; seams: as trained")
    add("--tiles", type=numbers, nargs="+", help="memory: 8,128,128 of a call, 8,96,96 of steps")
    add("--volume", type=numbers, default=(24, 192, 192), help="predict: its shape")
    add("--batch", type=int, default=8, help="predict: tiles per call of the literal loop")
    add("--repeats", type=int, help="5; predict: 2")
    add("--run", help="seams: a run, or a file of weights")
    add("--lm", type=Path, help="seams: what is translated")
    add("--truth", type=Path, help="seams: EM in registration with it")
    add("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    devices.be_exact()
    if given.child:
        threads, what, *words = json.loads(given.child)
        torch.set_num_threads(threads)
        print(json.dumps(CHILDREN[what](*words)))
        return
    parts = given.parts or [part for part in PARTS if part != "seams" or given.run]
    if "seams" in parts and None in (given.run, given.lm, given.truth):
        parser.error("seams: expected --run, --lm and --truth")
    device, channels = devices.resolve(given.device), given.channels
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, threads {given.threads}")
    if set(parts) - {"seams"}:
        print(f"channels {given.channels}\n")
        say("what", "measured", "aim")
        say("---", "---", "---")
    for part in ("forward", "bf16"):
        if part in parts:
            tile, rounds = given.tile or (8, 128, 128), given.repeats or 5
            one_tile(channels, tile, rounds, device, bf16=part == "bf16")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "predict" in parts:
            tile, rounds = given.tile or (8, 64, 64), given.repeats or 2
            predictions(channels, given.volume, tile, given.batch, rounds, device, folder)
            peaks(folder)
        if "memory" in parts:
            memory(channels, given.filters, given.tiles, device)
        if "seams" in parts:
            seams(given.run, given.lm, given.truth, given.tile, device, folder)


if __name__ == "__main__":
    main()
