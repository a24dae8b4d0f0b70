"""Networks trained from scratch through the command line, judged beside classical filters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from vemctl.samples import em_pair

Triple = tuple[int, int, int]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

ROOT = Path(__file__).parents[1]
LEARNING_RATE = 5e-4
TRAINING_SHAPE, TRAINING_SEED = (30, 192, 192), 1
JUDGED_SHAPE, JUDGED_SEEDS = (10, 160, 160), (1001, 1002)
CHOSEN_ON = 8  # slices of the training volume by which the classical filters are set
H_FACTORS = (0.4, 0.6, 0.8, 1.0)  # strength of non-local means over the estimated noise
TV_WEIGHTS = (0.05, 0.1, 0.15, 0.2, 0.3)


def say(*columns: object) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(map(str, columns)) + " |", flush=True)


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
