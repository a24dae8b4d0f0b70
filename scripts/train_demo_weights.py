"""Train the small set of denoising weights that ships with the plugin, on synthetic volumes only.

    python scripts/train_demo_weights.py --minutes 60 --out plugins/vemctl_denoise/demo.safetensors

The work folder holds the log and a checkpoint, from which an interrupted training goes on when the
command is repeated. The training is seeded, but its length is a wall-clock budget, so that another
machine makes more or fewer steps. Tensors that the network holds but never uses are left out of the
exported file.
"""

# ruff: noqa: TID253 (scripts may take their time to start)
from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from vemctl_denoise.network import UNUSED_PREFIXES, GShiftNet  # noqa: E402

from vemctl import samples  # noqa: E402

logger = logging.getLogger("train_demo_weights")

# Tissue to learn from, to look at while training, and to measure the result on.
POOL_SIZE, POOL_SHAPE, POOL_SEED = 72, (12, 160, 160), 10_000
CHECK_SEEDS, CHECK_SHAPE = (900_001, 900_002), (5, 128, 128)
HELD_OUT_SEEDS = (990_001, 990_002, 990_003, 990_004)
HELD_OUT_SHAPE = (10, 256, 256)
BLOCK_SLICES = 5
# (part of the budget after which it applies, patch size in y and x): small patches make more steps.
PATCHES = ((0.0, 48), (0.35, 64), (0.75, 96))
PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 5e-4, 1e-6, 150
AVERAGE_DECAY = 0.997
METHOD = "denoise"


def psnr(result: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio of two 8-bit volumes in dB."""
    error = np.mean((result.astype(np.float64) - truth.astype(np.float64)) ** 2)
    return float(10.0 * np.log10(255.0**2 / error))


def draw_sample(
    pool: list[NDArray[np.uint8]], seed: int, step: int, size: int
) -> tuple[Tensor, Tensor]:
    """Return (noisy, truth), (1, 1, 5, size, size) in [0, 1], determined by seed and step."""
    rng = np.random.Generator(np.random.PCG64([seed, step]))
    volume = pool[rng.integers(len(pool))]
    corner = [
        int(rng.integers(n - m + 1))
        for n, m in zip(volume.shape, (BLOCK_SLICES, size, size), strict=True)
    ]
    z, y, x = corner
    truth = volume[z : z + BLOCK_SLICES, y : y + size, x : x + size]
    truth = np.flip(truth, tuple(axis for axis in range(3) if rng.random() < 0.5))
    truth = np.rot90(truth, int(rng.integers(4)), (1, 2))
    # Other microscopes have other contrasts: stretch the grey values a little, about their middle.
    stretched = (truth - 128.0) * rng.uniform(0.75, 1.15) + 128.0 + rng.uniform(-25.0, 25.0)
    truth = np.rint(np.clip(stretched, 0.0, 255.0)).astype(np.uint8)
    noisy = samples.add_noise(
        truth,
        int(rng.integers(2**31)),
        electrons=math.exp(rng.uniform(math.log(30.0), math.log(90.0))),
        read_noise=rng.uniform(0.04, 0.10),
    )
    return _tensor(noisy), _tensor(truth)


def _tensor(volume: NDArray[np.uint8]) -> Tensor:
    """Return 8-bit slices as one block, (1, 1, d, h, w) in [0, 1]."""
    return torch.from_numpy(volume.astype(np.float32) / np.float32(255.0))[None, None]


@torch.no_grad()
def restore(network: GShiftNet, volume: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the volume, restored five slices at a time, each as a whole."""
    result = np.empty_like(volume)
    for start in range(0, volume.shape[0], BLOCK_SLICES):
        restored = network(_tensor(volume[start : start + BLOCK_SLICES]))[0, 0].numpy()
        result[start : start + BLOCK_SLICES] = np.rint(np.clip(restored, 0.0, 1.0) * 255.0)
    return result


def measure(
    network: GShiftNet, seeds: tuple[int, ...], shape: tuple[int, int, int]
) -> list[tuple[float, float]]:
    """Return (PSNR before, PSNR after) of each held-out volume, at the demo's noise."""
    pairs = [samples.em_pair(shape, seed) for seed in seeds]
    return [
        (psnr(pair.noisy, pair.truth), psnr(restore(network, pair.noisy), pair.truth))
        for pair in pairs
    ]


def fresh_network(seed: int) -> GShiftNet:
    """Return a network that starts as the identity: its last layer adds nothing yet."""
    torch.manual_seed(seed)
    network = GShiftNet()
    torch.nn.init.zeros_(network.conv_last.weight)
    return network


class Training:
    """The state of a training: network, its average, optimiser, steps made and seconds spent."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.network = fresh_network(seed)
        self.average = fresh_network(seed).requires_grad_(requires_grad=False)
        self.trained = [
            parameter
            for name, parameter in self.network.named_parameters()
            if not name.startswith(UNUSED_PREFIXES)
        ]
        self.averaged: list[Tensor] = [
            parameter
            for name, parameter in self.average.named_parameters()
            if not name.startswith(UNUSED_PREFIXES)
        ]
        self.optimizer = torch.optim.Adam(self.trained, PEAK_RATE, betas=(0.9, 0.99), fused=True)
        self.num_steps, self.seconds = 0, 0.0
        if self.checkpoint_path.exists():
            state = torch.load(self.checkpoint_path, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.num_steps, self.seconds = state["num_steps"], state["seconds"]
            logger.info("going on from step %d, %.0f s", self.num_steps, self.seconds)

    @property
    def checkpoint_path(self) -> Path:
        """Where the state is kept."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the state; an interruption leaves the last one whole."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "num_steps": self.num_steps,
            "seconds": self.seconds,
        }
        partial = self.checkpoint_path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint_path)

    def step(self, pool: list[NDArray[np.uint8]], progress: float) -> float:
        """Make one update and return its loss; ``progress`` is the spent part of the budget."""
        rate = LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))
        rate *= min(1.0, (self.num_steps + 1) / WARM_UP_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        size = [size for start, size in PATCHES if progress >= start][-1]
        noisy, truth = draw_sample(pool, self.seed, self.num_steps, size)
        restored = self.network(noisy)
        loss = functional.l1_loss(restored, truth) + 4.0 * functional.mse_loss(restored, truth)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained, 0.5)
        self.optimizer.step()
        self.num_steps += 1
        decay = min(AVERAGE_DECAY, self.num_steps / (self.num_steps + 10.0))
        torch._foreach_lerp_(
            self.averaged, [parameter.data for parameter in self.trained], 1.0 - decay
        )
        return loss.item()


def train(training: Training, minutes: float) -> None:
    """Train until the budget is spent, checkpointing and measuring now and then."""
    logger.info("painting %d volumes", POOL_SIZE)
    pool = [samples.synthetic_em(POOL_SHAPE, POOL_SEED + index) for index in range(POOL_SIZE)]
    losses: list[float] = []
    budget = minutes * 60.0
    last, checked = time.monotonic(), training.seconds
    while training.seconds < budget:
        losses.append(training.step(pool, training.seconds / budget))
        now = time.monotonic()
        training.seconds, last = training.seconds + now - last, now
        if len(losses) == 100:
            logger.info(
                "step %d, %.0f s, loss %.5f", training.num_steps, training.seconds, np.mean(losses)
            )
            losses.clear()
        if training.seconds - checked > 240.0:
            training.save()
            before, after = np.mean(measure(training.average, CHECK_SEEDS, CHECK_SHAPE), 0)
            logger.info("step %d, PSNR %.2f -> %.2f dB", training.num_steps, before, after)
            checked = training.seconds
    training.save()


def export(training: Training, out: Path) -> None:
    """Write the averaged weights in half precision, with what they achieve when read again."""
    tensors = {
        key: value.to(torch.float16).contiguous()
        for key, value in training.average.state_dict().items()
        if not key.startswith(UNUSED_PREFIXES)
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    save_file(tensors, partial)
    network = GShiftNet()
    network.load_state_dict(
        {key: value.float() for key, value in load_file(partial).items()}, strict=False
    )
    results = measure(network.eval(), HELD_OUT_SEEDS, HELD_OUT_SHAPE)
    before, after = np.mean(results, 0)
    for seed, (one_before, one_after) in zip(HELD_OUT_SEEDS, results, strict=True):
        logger.info("held-out volume %d: PSNR %.2f -> %.2f dB", seed, one_before, one_after)
    logger.info("held-out mean: PSNR %.2f -> %.2f dB, %d steps", before, after, training.num_steps)
    metadata = {
        "method": METHOD,
        "made_by": "scripts/train_demo_weights.py",
        "training": "GShiftNet on synthetic volumes of vemctl.samples: L1 + 4 MSE, Adam, cosine "
        "rate, exponential moving average, patches of 5 x 48 x 48 to 5 x 96 x 96",
        "seed": str(training.seed),
        "steps": str(training.num_steps),
        "psnr_before_db": f"{before:.2f}",
        "psnr_after_db": f"{after:.2f}",
        "held_out": json.dumps({"seeds": HELD_OUT_SEEDS, "shape": HELD_OUT_SHAPE}),
        "left_out": ", ".join(prefix.rstrip(".") for prefix in UNUSED_PREFIXES),
        "licence": "same as vemctl",
    }
    save_file(tensors, partial, metadata)
    partial.replace(out)
    logger.info("wrote %s, %d bytes", out.name, out.stat().st_size)


def main() -> None:
    """Train, or go on training, then export."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="training time, over all interruptions"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "plugins" / "vemctl_denoise" / "demo.safetensors"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs/demo-weights"), help="checkpoint and log folder"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of torch; 0 leaves its choice"
    )
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(arguments.work / "log.txt")],
    )
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    training = Training(arguments.seed, arguments.work)
    train(training, arguments.minutes)
    export(training, arguments.out)


if __name__ == "__main__":
    main()
