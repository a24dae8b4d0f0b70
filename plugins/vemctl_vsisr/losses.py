"""How far planes are from measured ones: error, structural similarity, and spectrum.

Source: as of the generator. Planes are (n, c, y, x); every channel is scaled between its own
extremes over the whole batch before it is compared, so nothing here depends on the scale or the
offset of what a network gives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

EDGE = 10
"""Rows and columns at each edge that are drawn towards those at the opposite edge."""
SMALLEST_SIDE = 2 * EDGE
WINDOW, SIGMA = 11, 1.5
FLOORS = (0.01**2, 0.03**2)
"""Constants that keep the quotients of the similarity finite, for values in [0, 1]."""
AMPLITUDE_FLOOR, AMPLITUDE_POWER = 1e-8, 0.1


def reconstruction_loss(
    truth: Tensor,
    prediction: Tensor,
    *,
    ssim_weight: float = 0.1,
    spectrum_weight: float = 1.0,
    double: bool = False,
) -> Tensor:
    """Return the weighted sum of the three terms, averaged over channels, ().

    Parameters
    ----------
    truth, prediction : tensor, (n, c, y, x)
        y and x of at least `SMALLEST_SIDE`. What is less precise than float32 is taken as float32,
        under any autocast.
    ssim_weight, spectrum_weight : float
        Of the dissimilarity and of the spectral error, relative to the mean squared error.
    double : bool
        Compute the spectral term in float64: its gradient is about 0.1 / amplitude^0.9, which
        makes rounding large. The result is as precise as the other terms.

    Raises
    ------
    ValueError
        Shapes differ, or a side is too short.
    """
    if truth.shape != prediction.shape or truth.ndim != 4:
        shapes = f"{tuple(truth.shape)} and {tuple(prediction.shape)}"
        raise ValueError(f"expected two tensors of the same (n, c, y, x), got {shapes}")
    with torch.autocast(truth.device.type, enabled=False):
        truth, prediction = (scaled_channels(_precise(each)) for each in (truth, prediction))
        error = (prediction - truth).square().mean()
        dissimilarity = 1 - ssim(truth, prediction)
        if double:
            spectra = [spectrum(each.double()) for each in (truth, prediction)]
        else:
            spectra = [spectrum(each) for each in (truth, prediction)]
        spectral = (spectra[1] - spectra[0]).square().mean().to(error.dtype)
    # Channels have equally many pixels: the mean over all is the mean over their means.
    return error + ssim_weight * dissimilarity + spectrum_weight * spectral


def scaled_channels(planes: Tensor) -> Tensor:
    """Return planes with every channel from 0 to 1 over the whole batch, (n, c, y, x).

    Gradients go through minima and maxima too. A channel of one value becomes 0, where the
    published program divides by zero.
    """
    low = planes.amin(dim=(0, 2, 3), keepdim=True)
    span = planes.amax(dim=(0, 2, 3), keepdim=True) - low
    return (planes - low) / torch.where(span == 0, 1, span)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean structural similarity of planes in [0, 1], ().

    Moments are weighted by a Gaussian window, and taken at every pixel: beyond the edges is zero.
    (`vemctl.nn.quality.ssim` is of float32 only, and keeps away from the edges.)

    Parameters
    ----------
    first, second : tensor, (n, c, y, x)
    """
    products = torch.stack([first, second, first * first, second * second, first * second])
    weights = _gaussian(products)
    flat = products.reshape(-1, 1, *first.shape[-2:])
    flat = functional.conv2d(flat, weights.view(1, 1, -1, 1), padding=(WINDOW // 2, 0))
    flat = functional.conv2d(flat, weights.view(1, 1, 1, -1), padding=(0, WINDOW // 2))
    mean_1, mean_2, square_1, square_2, product = flat.view(products.shape)
    variance_1, variance_2 = square_1 - mean_1.square(), square_2 - mean_2.square()
    covariance = product - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + FLOORS[0]) / (mean_1.square() + mean_2.square() + FLOORS[0])
    contrast = (2 * covariance + FLOORS[1]) / (variance_1 + variance_2 + FLOORS[1])
    similarity: Tensor = (luminance * contrast).mean()
    return similarity


def spectrum(planes: Tensor) -> Tensor:
    """Return the compressed amplitudes of planes' frequencies, (n, c, y, x), zero frequency first.

    Parameters
    ----------
    planes : tensor, (n, c, y, x)
        y and x of at least `SMALLEST_SIDE`.
    """
    amplitudes = torch.fft.fft2(apodise(planes)).abs()
    compressed: Tensor = (amplitudes + AMPLITUDE_FLOOR) ** AMPLITUDE_POWER
    return compressed


def apodise(planes: Tensor) -> Tensor:
    """Return planes whose opposite edges meet halfway, so that they repeat without a step.

    Parameters
    ----------
    planes : tensor, (n, c, y, x)

    Raises
    ------
    ValueError
        A side is too short.
    """
    if min(planes.shape[-2:]) < SMALLEST_SIDE:
        size = " x ".join(map(str, planes.shape[-2:]))
        raise ValueError(f"expected planes of {SMALLEST_SIDE} pixels a side or more, got {size}")
    return _joined(_joined(planes, -2), -1)


def _joined(planes: Tensor, axis: int) -> Tensor:
    """Draw both ends of an axis towards their mean, most at the very end."""
    length = planes.shape[axis]
    middle = length - 2 * EDGE
    head, inner, tail = torch.split(planes, [EDGE, middle, EDGE], axis)
    places = torch.arange(EDGE, dtype=torch.float64) + 0.5
    fall = (1 - torch.sin(places / EDGE * math.pi / 2)).to(planes)
    shape = [1] * planes.ndim
    shape[axis] = EDGE
    step = (tail.flip(axis) - head) / 2 * fall.view(shape)
    return torch.cat((head + step, inner, tail - step.flip(axis)), axis)


def _gaussian(like: Tensor) -> Tensor:
    """Return the normalised window, (WINDOW,)."""
    places = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-places.square() / (2 * SIGMA**2))
    return (weights / weights.sum()).to(like)


def _precise(planes: Tensor) -> Tensor:
    return planes if planes.dtype == torch.float64 else planes.float()
