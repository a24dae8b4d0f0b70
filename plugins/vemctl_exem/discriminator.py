"""The discriminators: does a patch look like this modality, at every place and on several scales.

Source: as of the generator; sub-module names are keys.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from vemctl_exem.network import by_slices

NUM_SCALES = 2
NUM_FILTERS = 64
SLOPE = 0.2


def patch_discriminator(num_filters: int) -> nn.Sequential:
    """Return four halving convolutions and a score, (n, 1, z, y, x) -> (n, 1, z, y / 16, x / 16).

    Normalisations have neither parameters nor statistics, so that they do the same in training
    and in evaluation.
    """
    layers: list[nn.Module] = []
    before = 1
    for level in range(4):
        channels = num_filters * 2**level
        layers.append(nn.Conv3d(before, channels, (3, 4, 4), (1, 2, 2), 1))
        if level:
            layers.append(nn.InstanceNorm3d(channels))
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        before = channels
    layers.append(nn.Conv3d(before, 1, (1, 3, 3), padding=(0, 1, 1)))
    return nn.Sequential(*layers)


class Discriminator(nn.Module):
    """Score a volume on several scales.

    Parameters
    ----------
    num_scales : int
        Each sees the volume half as large in the plane as the one before.
    num_filters : int
        Channels of the first convolution.
    """

    def __init__(self, num_scales: int = NUM_SCALES, num_filters: int = NUM_FILTERS) -> None:
        super().__init__()
        self.models = nn.ModuleDict(
            {f"disc_{scale}": patch_discriminator(num_filters) for scale in range(num_scales)}
        )
        self.num_scales = num_scales
        self.num_filters = num_filters

    @property
    def configuration(self) -> dict[str, Any]:
        """How it was made, as JSON types."""
        return {"discriminator": {"scales": self.num_scales, "filters": self.num_filters}}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return scores, near 1 for what looks real; nobody bounds them.

        Parameters
        ----------
        x : tensor, (n, 1, z, y, x)
            Grey values in [0, 1].

        Returns
        -------
        list of tensor, (n, 1, z, y', x')
            One per scale; sides are those of the input over 16 and 2 to the scale.
        """
        scores = []
        for scale, model in enumerate(self.models.values()):
            if scale:
                x = by_slices(lambda slices: functional.avg_pool2d(slices, 2), x)
            scores.append(model(x))
        return scores


def smallest_patch(num_scales: int, depth: int) -> int:
    """Return the least y and x of a patch: a normalisation refuses maps of one element.

    Parameters
    ----------
    num_scales : int
    depth : int
        Slices of the patch.
    """
    return (16 if depth > 1 else 32) << (num_scales - 1)
