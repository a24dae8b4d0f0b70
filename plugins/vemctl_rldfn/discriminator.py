"""The discriminators, which tell oblique sections of a view from those of what is fused.

Source: as of the network; sub-module names are keys.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from vemctl_rldfn.memory import JUDGE_KERNEL, JUDGE_WIDTHS

SLOPE = 0.2
SMALLEST_SIDE = 10
"""Of a section: a smaller one leaves nothing to be judged."""


class Discriminator(nn.Module):
    """Judge every place of sections, (n, 1, y, x) -> (n, 1, y // 2 - 4, x // 2 - 4).

    Notes
    -----
    The state dict has 25 entries; there are 2,764,481 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        last = len(JUDGE_WIDTHS) - 2
        for place, (before, own) in enumerate(itertools.pairwise(JUDGE_WIDTHS)):
            stride = 1 if place else 2
            layers.append(nn.Conv2d(before, own, JUDGE_KERNEL, stride=stride, padding=1))
            if 0 < place < last:
                layers.append(nn.BatchNorm2d(own))
            if place < last:
                layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.model = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, sections: Tensor) -> Tensor:
        """Judge.

        Parameters
        ----------
        sections : tensor, (n, 1, y, x)
            Both sides at least 10.

        Returns
        -------
        tensor, (n, 1, y // 2 - 4, x // 2 - 4)
            Near 1 where a section looks real: behind the sigmoid.
        """
        if sections.shape[1] != 1 or min(sections.shape[-2:]) < SMALLEST_SIDE:
            expected = f"(n, 1, y, x) with sides of at least {SMALLEST_SIDE}"
            raise ValueError(f"expected {expected}, got {tuple(sections.shape)}")
        judged: Tensor = self.model(sections)
        return judged
