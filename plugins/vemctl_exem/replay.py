"""A buffer of earlier translations, with which a discriminator is kept from forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class ReplayBuffer:
    """Gives back new translations or, in half of the draws, earlier ones in their place.

    While it fills, and in the other half, the new ones are given. Each sample is drawn for itself,
    by torch's generator on the CPU.

    Parameters
    ----------
    size : int
        Samples that are kept; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[Tensor] = []

    def exchange(self, made: Tensor) -> Tensor:
        """Return what a discriminator is to see, for what was just made; (n, 1, z, y, x).

        Parameters
        ----------
        made : tensor, (n, 1, z, y, x)
            Detached.
        """
        if self._size == 0:
            return made
        seen = []
        for sample in torch.split(made, 1):
            if len(self._kept) < self._size:
                self._kept.append(sample.clone())
                seen.append(sample)
            elif float(torch.rand(())) < 0.5:
                place = int(torch.randint(self._size, ()))
                seen.append(self._kept[place])
                self._kept[place] = sample.clone()
            else:
                seen.append(sample)
        return torch.cat(seen)

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept."""
        return {"kept": list(self._kept)}

    def load_state_dict(self, state: Mapping[str, Any], device: str) -> None:
        """Keep what `state_dict` returned, as far as there is room."""
        self._kept = [sample.to(device) for sample in state["kept"]][: self._size]
