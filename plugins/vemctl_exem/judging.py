"""What a validation of exem finds: how well translations come back, and whether contrast holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from statistics import fmean
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from vemctl.nn.panels import middle_slice
from vemctl.plugin import Batch, Validation
from vemctl_exem.losses import Groups, cycle
from vemctl_exem.polarity import Correlation

Translate = Callable[[Tensor], Tensor]

SCALED_AS = {
    "LM": "LM",
    "virtual EM": "EM",
    "reconstructed LM": "LM",
    "EM": "EM",
    "virtual LM": "LM",
    "reconstructed EM": "EM",
}
"""Panels of a preview, in their order, and whose contrast they have."""


@torch.no_grad()
def judge(
    translate: Mapping[str, Translate],
    samples: Iterable[Batch],
    groups: Groups,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Validation:
    """Translate samples there and back.

    Parameters
    ----------
    translate : mapping of str to callable
        The generators ``G_AB`` and ``G_BA``.
    samples : iterable of Batch
        ``lm`` and ``em``, (1, 1, z, y, x).
    groups : Groups
    autocast : callable
        Returns the context of the networks' arithmetic.

    Returns
    -------
    Validation
        ``val_cycle_A``, ``val_cycle_B``: mean absolute difference to what comes back, on grey
        values of [0, 1]. ``val_polarity``: correlation of how bright LM is with how middle virtual
        EM is. ``val_correlation``: that of LM with virtual EM.
    """
    cycles: dict[str, list[float]] = {"val_cycle_A": [], "val_cycle_B": []}
    polarity, contrast = Correlation(), Correlation()
    panels: dict[str, npt.NDArray[Any]] = {}
    for sample in samples:
        lm, em = sample["lm"], sample["em"]
        with autocast():
            virtual_em, virtual_lm = translate["G_AB"](lm), translate["G_BA"](em)
            back_lm, back_em = translate["G_BA"](virtual_em), translate["G_AB"](virtual_lm)
        cycles["val_cycle_A"].append(cycle(back_lm, lm).item())
        cycles["val_cycle_B"].append(cycle(back_em, em).item())
        polarity.add(groups.of_lm(lm)[0], groups.of_em(virtual_em)[0])
        contrast.add(lm, virtual_em)
        if not panels:
            shown = (lm, virtual_em, back_lm, em, virtual_lm, back_em)
            panels = {
                name: middle_slice(volume) for name, volume in zip(SCALED_AS, shown, strict=True)
            }
    metrics = {name: fmean(values) for name, values in cycles.items()}
    metrics |= {"val_polarity": polarity.value, "val_correlation": contrast.value}
    return Validation(metrics, panels, SCALED_AS)
