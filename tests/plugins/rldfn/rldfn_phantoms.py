"""Objects, and two views of them that were blurred as theory has it, borders not circular."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage, signal
from vemctl_rldfn.psfs import theoretical_psf

RIM = 16


def shell(shape) -> np.ndarray:
    """Return a hollow ellipsoid and points."""
    full = [n + 2 * RIM for n in shape]
    grid = np.indices(full)
    radius = np.sqrt(sum(((g - n / 2) / (0.3 * n)) ** 2 for g, n in zip(grid, full, strict=True)))
    rng = np.random.default_rng(5)
    points = tuple(rng.integers(0, n, 60) for n in full)
    volume = (np.abs(radius - 1) < 0.05).astype(np.float64)
    volume[points] += 5
    return volume


def texture(shape) -> np.ndarray:
    """Return spots of about five voxels all over."""
    rng = np.random.default_rng(6)
    noise = rng.normal(size=[n + 2 * RIM for n in shape])
    return np.clip(ndimage.gaussian_filter(noise, 2), 0, None) ** 1.5


def views_of(volume: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both views without the rim; the larger maximum is 1."""
    inside = (slice(RIM, -RIM),) * 3
    views = []
    for name in ("a", "b"):
        psf = theoretical_psf(name).astype(np.float64)
        blurred = signal.fftconvolve(volume, psf / psf.sum(), mode="same")
        views.append(blurred.clip(0)[inside].astype(np.float32))
    highest = max(view.max() for view in views)
    view_a, view_b = (torch.from_numpy(view / highest) for view in views)
    return view_a, view_b


def with_noise(view: torch.Tensor, photons: float, background: float) -> torch.Tensor:
    """Return photon counts."""
    rng = np.random.default_rng(round(1000 * float(view.mean())))
    return torch.from_numpy(rng.poisson(photons * view.numpy() + background).astype(np.float32))
