"""How alike two images are: structural similarity and peak signal-to-noise ratio.

Source of the similarity: Wang et al., "Image Quality Assessment: From Error Visibility to
Structural Similarity", IEEE Transactions on Image Processing 13(4), 2004.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def ssim(
    first: Tensor,
    second: Tensor,
    *,
    window: int,
    sigma: float = 1.5,
    data_range: float = 1.0,
    k: tuple[float, float] = (0.01, 0.03),
    axes: Sequence[int] = (-2, -1),
) -> Tensor:
    """Return the mean structural similarity, ().

    Moments are weighted by a Gaussian window, of the population, and taken only where the window
    fits. Computed in float32 under any autocast, for variances are small differences.

    Parameters
    ----------
    first, second : tensor, any shape
        All axes but `axes` are a batch: (n, 1, z, y, x) with the default are n z single slices,
        with ``axes=(-3, -2, -1)`` they are n volumes.
    window : int
        Length of the window. Axes that are shorter are not smoothed.
    sigma : float
        Of the window, in pixels.
    data_range : float
        From the smallest possible value to the largest.
    k : (float, float)
        Of the two constants that keep the quotients finite.
    axes : sequence of int
        Those that the window spans.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = first.float(), second.float()
        products = torch.stack([first, second, first * first, second * second, first * second])
        negative = [axis if axis < 0 else axis - first.ndim for axis in axes]
        weights = _gaussian(window, sigma).to(products)
        for axis in negative:  # the stack in front moves no axis that is counted from the end
            if products.shape[axis] >= window:
                products = _smooth(products, weights, axis)
        mean_1, mean_2, square_1, square_2, product = products
        variance_1, variance_2 = square_1 - mean_1**2, square_2 - mean_2**2
        covariance = product - mean_1 * mean_2
        floor_1, floor_2 = (k[0] * data_range) ** 2, (k[1] * data_range) ** 2
        contrast = (2 * covariance + floor_2) / (variance_1 + variance_2 + floor_2)
        luminance = (2 * mean_1 * mean_2 + floor_1) / (mean_1**2 + mean_2**2 + floor_1)
        similarity: Tensor = (luminance * contrast).mean()
        return similarity


def psnr(
    first: Tensor, second: Tensor, *, data_range: float = 1.0, epsilon: float = 1e-8
) -> Tensor:
    """Return the peak signal-to-noise ratio in decibels, ().

    Parameters
    ----------
    first, second : tensor, any shape
    data_range : float
        From the smallest possible value to the largest.
    epsilon : float
        Added to the mean squared error, so that equal images have a finite ratio.
    """
    error = functional.mse_loss(first.float(), second.float())
    return 20 * math.log10(data_range) - 10 * torch.log10(error + epsilon)


def _gaussian(window: int, sigma: float) -> Tensor:
    """Return a normalised Gaussian, (window,)."""
    places = torch.arange(window, dtype=torch.float32) - window // 2
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    return weights / weights.sum()


def _smooth(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Convolve along one axis, counted from the end, only where the window fits."""
    length, window = x.shape[axis], len(weights)
    rows = math.prod(x.shape[:axis])
    columns = math.prod(x.shape[axis + 1 :]) if axis < -1 else 1
    kernel = weights.reshape(1, 1, window, 1)
    smooth = functional.conv2d(x.reshape(rows, 1, length, columns), kernel)
    return smooth.reshape(*x.shape[:axis], length - window + 1, *x.shape[x.ndim + axis + 1 :])
