"""The discriminator, which tells measured planes from those that the generator made.

Source: as of the generator; sub-module names are keys.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl.errors import WeightsError
from vemctl_vsisr.memory import DENSE_CHANNELS, WIDTHS
from vemctl_vsisr.proportions import PLANES

SLOPE = 0.1
NUM_PAIRS = len(WIDTHS) // 2
ALIASES = {
    f"conv2d{pair}.vars.{place}": f"vars.{4 * pair - 2 + place}"
    for pair in range(1, NUM_PAIRS + 1)
    for place in range(4)
}
"""Keys of the state dict that name a tensor once more, and the keys of the same tensors."""


class Pair(nn.Module):
    """Two convolutions' parameters, once more: the published program names them twice.

    Parameters
    ----------
    parameters : sequence of Parameter
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.vars = nn.ParameterList(parameters)


class Discriminator(nn.Module):
    """Judge groups of planes, (n, c, y, x) -> (n, 1).

    Parameters
    ----------
    in_channels : int
        Planes of a group.

    Attributes
    ----------
    vars : ParameterList
        Weight and bias of each layer, one after the other.

    Notes
    -----
    By default it has 26 tensors of 4,853,057 parameters. Its state dict has 46 keys as the
    published one: ``vars.0`` to ``vars.25``, and twenty of them again as `ALIASES`. It loads state
    dicts with and without these.
    """

    def __init__(self, in_channels: int = PLANES) -> None:
        super().__init__()
        self.in_channels = in_channels
        layers: list[nn.Module] = [
            nn.Conv2d(before, own, 3) for before, own in itertools.pairwise((in_channels, *WIDTHS))
        ]
        layers += [nn.Linear(WIDTHS[-1], DENSE_CHANNELS), nn.Linear(DENSE_CHANNELS, 1)]
        self.vars = nn.ParameterList(
            parameter for layer in layers for parameter in layer.parameters()
        )
        for pair in range(1, NUM_PAIRS + 1):
            own = [self.vars[4 * pair - 2 + place] for place in range(4)]
            self.add_module(f"conv2d{pair}", Pair(own))
        self.register_load_state_dict_pre_hook(_complete)  # type: ignore[no-untyped-call]

    def forward(self, planes: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        """Judge.

        Parameters
        ----------
        planes : tensor, (n, c, y, x)
            Measured or made planes that belong together.
        weights : sequence of tensor, optional
            To use instead of its own parameters, in the order of `vars`.

        Returns
        -------
        tensor, (n, 1)
            How probable it is that they are measured, in [0, 1]; float32 or more also where
            convolutions are rounded, since its logarithm is taken.
        """
        if planes.ndim != 4 or planes.shape[1] != self.in_channels:
            expected = f"(n, {self.in_channels}, y, x)"
            raise ValueError(f"expected {expected}, got {tuple(planes.shape)}")
        parameters = list(self.vars) if weights is None else weights
        *convolutions, dense, last = zip(parameters[::2], parameters[1::2], strict=True)
        y = planes
        for weight, bias in convolutions:
            y = functional.leaky_relu_(functional.conv2d(y, weight, bias, padding=1), SLOPE)
        y = y.mean(dim=(2, 3))  # (n, WIDTHS[-1])
        y = functional.leaky_relu_(functional.linear(y, *dense), SLOPE)
        score = functional.linear(y, *last)
        return (score if score.dtype == torch.float64 else score.float()).sigmoid()


def with_aliases(tensors: Mapping[str, Tensor], source: str, prefix: str = "") -> dict[str, Tensor]:
    """Return a state dict of a discriminator with both names of each tensor that has two.

    Parameters
    ----------
    tensors : mapping of str to tensor
        With all aliases, some, or none.
    source : str
        Where they are from, for errors.
    prefix : str
        What stands before each key.

    Raises
    ------
    WeightsError
        Two names of a tensor have different values.
    """
    complete = dict(tensors)
    for alias, key in ALIASES.items():
        own = tensors.get(prefix + key)
        other = tensors.get(prefix + alias)
        if own is None:
            continue  # told by what loads them
        if other is not None and not torch.equal(own, other):
            raise WeightsError(
                f"{source}: damaged weights of a discriminator: {prefix}{alias} and {prefix}{key} "
                f"differ; expected the same tensor by two names. Fetch or make the file again"
            )
        complete[prefix + alias] = own
    return complete


def _complete(
    _: nn.Module,
    state_dict: dict[str, Any],
    prefix: str,
    *_others: Any,
) -> None:
    """Add what is not there before a network loads it."""
    state_dict.update(with_aliases(state_dict, "state dict", prefix))
