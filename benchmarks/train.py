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
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import skimage
import torch
import zarr
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor, nn
from torch.nn import functional

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
TRAINING_SHAPE, TRAINING_SEED = (30, 192, 192), 1
JUDGED_SHAPE, JUDGED_SEEDS = (10, 160, 160), (1001, 1002)
CHOSEN_ON = 8  # slices of the training volume by which the classical filters are set
H_FACTORS = (0.4, 0.6, 0.8, 1.0)  # strength of non-local means over the estimated noise
TV_WEIGHTS = (0.05, 0.1, 0.15, 0.2, 0.3)

# ------------------------------------------------------------------- the network, word by word


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)


def with_bias(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)


def depthwise(channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=False)


class CA(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            conv(channels, channels, 1), nn.ReLU(), conv(channels, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


class CAB(nn.Module):
    """x + CA(conv(leaky(conv(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.CA = CA(channels)
        self.body = nn.Sequential(
            conv(channels, channels, 3), nn.LeakyReLU(0.01), conv(channels, channels, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.CA(self.body(x))


class LN(nn.Module):
    """The layer norm of each pixel over its channels, as a formula."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        y = (x - mean) / (variance + 1e-6).sqrt()
        return y * self.weight[:, None, None] + self.bias[:, None, None]


class PlusDepthwise(nn.Module):
    """x + conv3(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_2 = depthwise(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_2(x)


class TwoDepthwise(nn.Module):
    """conv5(x) + conv3(x) + x."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = depthwise(64, 5)
        self.conv_2 = depthwise(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_1(x) + self.conv_2(x) + x


class Product(nn.Module):
    """The first 64 channels times the last."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :64] * x[:, 64:]


class SigmoidProduct(nn.Module):
    """The first 64 channels times the sigmoid of the last."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :64] * torch.sigmoid(x[:, 64:])


def body(channels_in: int) -> nn.Sequential:
    return nn.Sequential(
        conv(channels_in, 128, 1),
        PlusDepthwise(),
        Product(),
        TwoDepthwise(),
        conv(64, 128, 1),
        SigmoidProduct(),
        CA(64),
        conv(64, 64, 1),
    )


class CAB1(nn.Module):
    """x + beta * body(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, 64, 1, 1))
        self.norm = LN(64)
        self.body = body(64)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.beta * self.body(self.norm(x))


RING = [(8, dx) for dx in (8, 4, 0, -4, -8)] + [(-8, dx) for dx in (8, 4, 0, -4, -8)]
RING += [(4, 8), (4, -8), (0, 8), (0, -8), (-4, 8), (-4, -8)]
NEAR = [(4, 4), (4, 0), (4, -4), (0, 4), (0, -4), (-4, 4), (-4, 0), (-4, -4)]
GROUPS = [(dy, dx, 1) for dy, dx in RING] + [(dy, dx, 2) for dy, dx in NEAR]


def spatial_shift(x: Tensor) -> Tensor:
    """Return out[c; i, j] = x[c; i - dy, j - dx], 0 outside: cut out of the padded features."""
    height, width = x.shape[-2:]
    padded = functional.pad(x, (8, 8, 8, 8))
    parts, first = [], 0
    for dy, dx, count in GROUPS:
        rows, columns = slice(8 - dy, 8 - dy + height), slice(8 - dx, 8 - dx + width)
        parts.append(padded[:, first : first + count, rows, columns])
        first += count
    return torch.cat(parts, 1)


class CAB2(nn.Module):
    """x + beta * body(norm(cat[x, depthwise(h)])), where x and h are stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, 64, 1, 1))
        self.conv1 = depthwise(32, 3)
        self.norm = LN(96)
        self.body = body(96)

    def forward(self, stacked: Tensor) -> Tensor:
        x, h = stacked[:, :64], self.conv1(stacked[:, 64:])
        return x + self.beta * self.body(self.norm(torch.cat([x, h], 1)))


class ShiftBlock(nn.Module):
    """Four times shift, CAB2, CAB1."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_level1 = nn.Sequential(CAB2(), CAB1())
        self.encoder_level1_1 = nn.Sequential(CAB2(), CAB1())
        self.encoder_level1_2 = nn.Sequential(CAB2(), CAB1())
        self.encoder_level1_3 = nn.Sequential(CAB2(), CAB1())

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder_level1(shifted(x, reverse=False))
        x = self.encoder_level1_1(shifted(x, reverse=True))
        x = self.encoder_level1_2(shifted(x, reverse=False))
        return self.encoder_level1_3(shifted(x, reverse=True))


def shifted(x: Tensor, *, reverse: bool) -> Tensor:
    """Roll the flattened axis of slices and channels by 32; append the moved half, displaced."""
    slices, channels, height, width = x.shape
    flat = x.reshape(slices * channels, height, width)
    y = torch.roll(flat, -32 if reverse else 32, 0).reshape(x.shape)
    moved = y[:, 32:] if reverse else y[:, :32]
    return torch.cat([y, spatial_shift(moved)], 1)


class Down(nn.Module):
    """A convolution with a stride of two."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.down = with_bias(channels_in, channels_out, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x)


class Up(nn.Module):
    """Bilinear interpolation, then a 1x1 convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            conv(channels_in, channels_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)


class UNet(nn.Module):
    """Three levels on each slice alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_level1 = nn.Sequential(CAB(14))
        self.encoder_level2 = nn.Sequential(CAB(18), CAB(18), CAB(18))
        self.encoder_level3 = nn.Sequential(CAB(22), CAB(22), CAB(22))
        self.down12 = Down(14, 18)
        self.down23 = Down(18, 22)
        self.decoder_level1 = nn.Sequential(CAB(14))
        self.decoder_level2 = nn.Sequential(CAB(18), CAB(18), CAB(18))
        self.decoder_level3 = nn.Sequential(CAB(22), CAB(22), CAB(22))
        self.skip_attn1 = CAB(14)
        self.skip_attn2 = CAB(18)
        self.up21 = Up(18, 14)
        self.up32 = Up(22, 18)

    def forward(self, x: Tensor) -> Tensor:
        e1 = self.encoder_level1(x)
        e2 = self.encoder_level2(self.down12(e1))
        d3 = self.decoder_level3(self.encoder_level3(self.down23(e2)))
        d2 = self.decoder_level2(self.up32(d3) + self.skip_attn2(e2))
        return self.decoder_level1(self.up21(d2) + self.skip_attn1(e1))


class PixelUp(nn.Module):
    """A convolution, then a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.upsample_conv = with_bias(64, 56, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.upsample_conv(x), 2)


class Stage(nn.Module):
    """Twelve shift blocks at half and quarter size."""

    def __init__(self) -> None:
        super().__init__()
        for side, level, end in itertools.product(("encoder", "decoder"), (1, 2), ("", "_1", "_2")):
            self.add_module(f"{side}_level{level}{end}", ShiftBlock())
        self.concat = CAB(14)
        self.down01 = nn.Sequential(nn.Conv2d(14, 64, 2, 2, bias=False), nn.LeakyReLU(0.01))
        self.down12 = Down(64, 64)
        self.skip_attn1 = CAB(64)
        self.upsample0 = PixelUp()
        self.skip_conv = CAB(14)
        self.out_conv = CAB(14)
        self.conv_hr0 = conv(14, 14, 3)
        self.up21 = Up(64, 64)

    def blocks(self, name: str, x: Tensor) -> Tensor:
        for end in ("", "_1", "_2"):
            x = self.get_submodule(name + end)(x)
        return x

    def forward(self, s: Tensor) -> Tensor:
        s = self.concat(s)
        e = self.blocks("encoder_level1", self.down01(s))
        m = self.blocks("encoder_level2", self.down12(e))
        p = self.up21(self.blocks("decoder_level2", m)) + self.skip_attn1(e)
        p = self.blocks("decoder_level1", p)
        g = functional.leaky_relu(self.upsample0(p), 0.01)
        return self.out_conv(self.conv_hr0(g) + self.skip_conv(s))


class LiteralNetwork(nn.Module):
    """The published network as it is described, with its keys; (1, 1, d, h, w) like the input."""

    def __init__(self) -> None:
        super().__init__()
        self.feat_extract = nn.Sequential(with_bias(1, 14, 3), CAB(14))
        self.conv_last = conv(14, 1, 5)
        self.conv_trans = with_bias(14, 14, 3)
        self.stage1 = Stage()
        for kind, number in itertools.product(("orb", "rorb"), range(1, 6)):
            self.add_module(f"{kind}{number}", UNet())
        self.rconcat = with_bias(42, 14, 3)

    def forward(self, x: Tensor) -> Tensor:
        v = x[0].transpose(0, 1)  # (d, 1, h, w)
        f = self.feat_extract(v)
        r0 = self.orb3(self.orb2(self.orb1(f))) + f
        shared = self.stage1(self.conv_trans(r0))
        q = self.rconcat(torch.cat([f, r0, shared], 1))
        q = self.rorb3(self.rorb2(self.rorb1(q))) + q
        return (self.conv_last(q) + v).transpose(0, 1)[None]


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


def say(*columns: object) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(map(str, columns)) + " |", flush=True)


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


# ------------------------------------------------------------------------------------- quality


def vemctl(threads: int, *words: object) -> subprocess.Popen[bytes]:
    """Start a command of ours."""
    return subprocess.Popen(
        [sys.executable, "-m", "vemctl", *map(str, words), "--quiet"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )


def finish(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Wait for the commands."""
    if any(process.wait() for process in processes):
        raise SystemExit("a command failed")


def noise_of(plane: Floats) -> float:
    """Estimate the noise from the finest diagonal details, as skimage's estimate_sigma does.

    Those of the wavelet db2, of which skimage asks another package.
    """
    high = (-0.48296291314453, 0.83651630373781, -0.22414386804201, -0.12940952255126)
    details = ndimage.convolve1d(ndimage.convolve1d(plane, high, axis=0), high, axis=1)
    return float(np.median(np.abs(details[::2, ::2])) / 0.6744897501960817)


def non_local_means(noisy: Floats, factor: float) -> Floats:
    """Filter slice by slice: tissue changes too much from slice to slice for a filter in 3-D."""
    restored = []
    for plane in noisy:
        sigma = noise_of(plane)
        restored.append(
            denoise_nl_means(
                plane, patch_size=5, patch_distance=6, h=factor * sigma, sigma=sigma, fast_mode=True
            )
        )
    return np.stack(restored)


def total_variation(noisy: Floats, weight: float) -> Floats:
    """Filter slice by slice."""
    return np.stack([denoise_tv_chambolle(plane, weight=weight) for plane in noisy])


def scores(truth: Bytes, restored: npt.NDArray[np.generic]) -> tuple[float, float]:
    """Return PSNR over all voxels and the mean SSIM of the slices, of 8-bit volumes."""
    if restored.dtype != np.uint8:
        restored = np.rint(np.clip(restored, 0, 1) * 255).astype(np.uint8)
    similarities = [structural_similarity(a, b) for a, b in zip(truth, restored, strict=True)]
    return peak_signal_noise_ratio(truth, restored), float(np.mean(similarities))


def scaled(volume: Bytes) -> Floats:
    return volume.astype(np.float32) / np.float32(255)


def classical(noisy: Bytes, train_truth: Bytes, train_noisy: Bytes) -> Iterator[tuple[str, Floats]]:
    """Return restored volumes, the strengths chosen by the PSNR on a part of the training volume.

    The filters are thus told the truth there, as the supervised network is.
    """
    known, given = train_truth[:CHOSEN_ON], scaled(train_noisy[:CHOSEN_ON])
    for name, symbol, filtered, strengths in (
        ("non-local means", "h / sigma", non_local_means, H_FACTORS),
        ("total variation", "weight", total_variation, TV_WEIGHTS),
    ):
        chosen = max(strengths, key=lambda s, by=filtered: scores(known, by(given, s))[0])
        yield f"{name}, {symbol} = {chosen}", filtered(scaled(noisy), chosen)


def last_step(run: Path) -> int:
    """Return the step of the newest checkpoint; metrics.csv may end before it."""
    return max(int(path.stem.split("-")[1]) for path in (run / "checkpoints").glob("step-*.pt"))


def quality(
    patch: Triple, minutes: float, validate_every: int, threads: int, together: bool, folder: Path
) -> None:
    """Print scores on tissue that nothing was trained or set on."""
    training = em_pair(TRAINING_SHAPE, TRAINING_SEED)
    pairs = [em_pair(JUDGED_SHAPE, seed) for seed in JUDGED_SEEDS]
    truth = np.concatenate([pair.truth for pair in pairs])
    noisy = np.concatenate([pair.noisy for pair in pairs])
    np.save(folder / "fast.npy", training.noisy)
    np.save(folder / "slow.npy", training.truth)
    for number, pair in enumerate(pairs):
        np.save(folder / f"noisy{number}.npy", pair.noisy)
    data = {
        "supervised": ["--supervised", "--no-emulate-fast-slow",
                       "--fast", folder / "fast.npy", "--slow", folder / "slow.npy"],
        "self-supervised": ["--self-supervised", folder / "fast.npy"],
    }  # fmt: skip
    running = []
    for mode, words in data.items():
        process = vemctl(
            threads, "train", "denoise", *words, "-o", folder / mode, "--device", "cpu",
            "--patch", ",".join(map(str, patch)), "--learning-rate", LEARNING_RATE,
            "--batch", 1, "--minutes", minutes, "--validate-every", validate_every,
            "--validation-samples", 8, "--seed", 0,
        )  # fmt: skip
        running.append(process)
        if not together:
            finish([process])
    finish(running)
    say("noisy", *(f"{score:.3f}" for score in scores(truth, noisy)))
    for name, restored in classical(noisy, training.truth, training.noisy):
        say(name, *(f"{score:.3f}" for score in scores(truth, restored)))
    for mode in data:
        for number in range(len(pairs)):
            finish(
                [
                    vemctl(
                        threads, "predict", "denoise", folder / f"noisy{number}.npy",
                        folder / f"{mode}{number}.npy", "-w", folder / mode, "--device", "cpu",
                    )
                ]
            )  # fmt: skip
        restored = np.concatenate(
            [np.load(folder / f"{mode}{number}.npy") for number in range(len(pairs))]
        )
        what = f"denoise, {mode}, {minutes:g} minutes ({last_step(folder / mode)} steps)"
        say(what, *(f"{score:.3f}" for score in scores(truth, restored)))


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
