"""What a validation of pssr finds: how near enlarged images come to those that were taken large.

Source of the metrics: the specification of the published training, section 6.4. They are of images
in [0, 1] here, where the original has them of images as it normalised them for the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vemctl.nn import quality
from vemctl.plugin import Batch, Validation
from vemctl_pssr.losses import SSIM_WINDOW

SIGMA = 1.5
FLOORS = (1e-4, 9e-4)
PERCENTILES = (0.1, 99.9)

METRICS = (
    "val_loss",
    "val_psnr",
    "val_ssim",
    "val_norm_psnr",
    "val_norm_ssim",
    "val_psnr_bicubic",
)
SCALED_AS = dict.fromkeys(("lr", "bicubic", "output", "target"), "target")
"""Panels of a preview, in their order, and whose contrast they have."""


@torch.no_grad()
def judge(
    upscale: Callable[[Tensor], Tensor],
    samples: Iterable[Batch],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Validation:
    """Enlarge samples and compare them.

    Parameters
    ----------
    upscale : callable
        Maps ``lr`` to an image like ``hr``.
    samples : iterable of Batch
        ``lr``, (1, frames, h, w), and ``hr``, (1, 1, 4h, 4w); images in [0, 1].
    loss : callable
        Of the output and the target, as images; returns ().

    Returns
    -------
    Validation
        Means over the samples. ``val_psnr`` and ``val_ssim`` of the output as it is, neither
        clamped nor fitted; ``val_norm_psnr`` and ``val_norm_ssim`` after `norm_minmse`, of the
        samples whose target has contrast; ``val_psnr_bicubic`` of the middle frame, enlarged
        without a network.
    """
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    panels: dict[str, npt.NDArray[Any]] = {}
    for sample in samples:
        lr, target = sample["lr"], sample["hr"]
        output = upscale(lr).float()
        middle = lr[:, lr.shape[1] // 2, None]
        size = target.shape[-2:]
        bicubic = functional.interpolate(middle, size, mode="bicubic", align_corners=False)
        normal_target, normal_output = norm_minmse(target, output)
        values = (
            loss(output, target),
            quality.psnr(output, target),
            ssim(output, target),
            psnr(normal_output, normal_target),
            ssim(normal_output, normal_target),
            quality.psnr(bicubic, target),
        )
        contrast = bool(normal_target.any())
        for name, value in zip(METRICS, values, strict=True):
            if contrast or "norm" not in name:
                found[name].append(value.item())
        if not panels:
            shown = (functional.interpolate(middle, size), bicubic, output, target)
            panels = {
                name: image[0, 0].float().cpu().numpy()
                for name, image in zip(SCALED_AS, shown, strict=True)
            }
    metrics = {name: fmean(values) if values else math.nan for name, values in found.items()}
    return Validation(metrics, panels, SCALED_AS)


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean structural similarity, (), as the published training has it.

    A Gaussian window of 11 x 11 pixels (sigma 1.5), zeros beyond the edges.

    Parameters
    ----------
    prediction, target : tensor, (n, 1, h, w)
    """
    with torch.autocast(target.device.type, enabled=False):
        return _ssim(prediction.float(), target.float())


def _ssim(prediction: Tensor, target: Tensor) -> Tensor:
    places = torch.arange(SSIM_WINDOW, dtype=torch.float32, device=target.device) - SSIM_WINDOW // 2
    line = torch.exp(-(places**2) / (2 * SIGMA**2))
    line = line / line.sum()
    window = torch.outer(line, line)[None, None]

    def smooth(images: Tensor) -> Tensor:
        return functional.conv2d(images, window, padding=SSIM_WINDOW // 2)

    mean_1, mean_2 = smooth(prediction), smooth(target)
    variance_1 = smooth(prediction**2) - mean_1**2
    variance_2 = smooth(target**2) - mean_2**2
    covariance = smooth(prediction * target) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + FLOORS[0]) / (mean_1**2 + mean_2**2 + FLOORS[0])
    contrast = (2 * covariance + FLOORS[1]) / (variance_1 + variance_2 + FLOORS[1])
    return (luminance * contrast).mean()


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in decibels, (), as the published training has it.

    The peak is the greatest value of the target; infinite for equal images, not a number where
    the target has nothing above 0.

    Parameters
    ----------
    prediction, target : tensor, (n, 1, h, w)
    """
    error = functional.mse_loss(prediction.float(), target.float())
    return 20 * torch.log10(target.float().max() / error.sqrt())


def norm_minmse(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Bring batches to one scale, on which their mean squared difference is least.

    Parameters
    ----------
    target, prediction : tensor, (n, 1, h, w)
        The whole batch is scaled as one.

    Returns
    -------
    target : tensor, (n, 1, h, w)
        Two of its percentiles made 0 and 1, less its mean; 0 if it has no contrast between them.
    prediction : tensor, (n, 1, h, w)
        Less its mean, times its sample covariance with the target over its population variance;
        0 if it is constant or the target has no contrast.
    """
    prediction, target = prediction.float(), target.float()
    # numpy, for torch takes no percentiles of more than 16 million values
    low, high = (float(each) for each in np.percentile(target.cpu().numpy(), PERCENTILES))
    normal = (target - low) / (high - low) if high > low else torch.zeros_like(target)
    normal = normal - normal.mean()
    if prediction.min() == prediction.max():
        return normal, torch.zeros_like(prediction)
    centred = prediction - prediction.mean()
    covariance = (centred * normal).sum() / (centred.numel() - 1)
    return normal, centred * (covariance / centred.square().mean())
