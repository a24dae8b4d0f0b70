"""States of optimisers between one run and its continuation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def optimizer_state(optimizer: torch.optim.Optimizer, rate: float) -> dict[str, Any]:
    """Return the state of an optimiser, and the learning rate that was asked for.

    Parameters
    ----------
    optimizer : Optimizer
    rate : float
        As the options have it; what a schedule made of it is in the optimiser.
    """
    return {"optimizer": optimizer.state_dict(), "rate": rate}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, state: Mapping[str, Any], rate: float
) -> None:
    """Continue from what `optimizer_state` returned, with another learning rate if it is another.

    Parameters
    ----------
    optimizer : Optimizer
    state : mapping
    rate : float
        As the options have it now; what a schedule made of the former is scaled with it.
    """
    optimizer.load_state_dict(dict(state["optimizer"]))
    if rate != state["rate"]:
        for group in optimizer.param_groups:
            group["lr"] *= rate / state["rate"]
