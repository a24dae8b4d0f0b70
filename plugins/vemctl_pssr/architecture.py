"""Which network of pssr: by its name, or from its parameters. Imports no torch.

Source: Fang et al., "Deep learning-based point-scanning super-resolution imaging", Nature Methods
18, 406-416 (2021), whose checkpoints have these keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vemctl.errors import OptionError, WeightsError
from vemctl_pssr.memory import num_parameters
from vemctl_pssr.structure import (
    ATTENTION_FROM_END,
    BLOCK_COUNTS,
    BLOCKS,
    DEEP,
    FILTERS,
    FIRST_UP_BLOCK,
    GROWTH,
    SCALE,
    STAGES,
    WIDTH,
    Architecture,
    Encoder,
    doubling,
    stem_of,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BLOCK_COUNTS", "SCALE", "Architecture", "recognise", "standard"]

MOST_MISSING = 10  # parameters to build for each that is there


def standard(
    name: str,
    frames: int = 1,
    width: int = WIDTH,
    *,
    wrapped: bool | None = None,
    attention: bool | None = None,
    bottle: bool | None = None,
    filters: int = FILTERS,
    blocks: int = BLOCKS,
    growth: int = GROWTH,
) -> Architecture:
    """Return a published architecture, or one that is like it but narrower.

    Parameters
    ----------
    name : str
        One of `BLOCK_COUNTS`, or ``rrdb``.
    frames : int
        Neighbouring frames that it takes; resnets take one, as red, green and blue.
    width : int
        Channels of the first stage, at least 2; the others have twice, four and eight times as
        many. RRDBs have `filters` instead.
    wrapped, attention, bottle : bool, optional
        As in `Architecture`; None takes what the published training gives: all three for wnresnet,
        none for resnet (the model for electron microscopy).
    filters, blocks, growth : int
        Of an RRDB.

    Raises
    ------
    OptionError
        There is no such network; says what there is.
    """
    if name == "rrdb":
        if min(frames, filters, blocks, growth) < 1:
            raise OptionError("rrdb: expected at least one frame, filter, block and growth")
        return Architecture("rrdb", frames, 1, filters=filters, blocks=blocks, growth=growth)
    if name not in BLOCK_COUNTS:
        known = ", ".join((*BLOCK_COUNTS, "rrdb"))
        raise OptionError(f"architecture {name!r}: no such network; expected one of {known}")
    encoder: Encoder = "wnresnet" if name.startswith("wn") else "resnet"
    if encoder == "resnet" and frames != 1:
        raise OptionError(f"{name} takes one frame, not {frames}; use wn{name} for several")
    if frames < 1 or width < 2:
        raise OptionError(f"{name}: expected at least one frame and a width of 2")
    published = encoder == "wnresnet"
    return Architecture(
        encoder,
        in_channels=frames if published else 3,
        out_channels=1 if published else 3,
        stem=stem_of(encoder, width),
        widths=doubling(width),
        counts=BLOCK_COUNTS[name],
        expansion=4 if name in DEEP else 1,
        wrapped=published if wrapped is None else wrapped,
        attention=published if attention is None else attention,
        bottle=published if bottle is None else bottle,
    )


def recognise(tensors: Mapping[str, Tensor], path: Path) -> Architecture:
    """Return which network a state dict is of, from its keys and shapes alone.

    Parameters
    ----------
    tensors : mapping of str to tensor
        By their published keys.
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        They are of no network of pssr. Single tensors that are missing or of another shape are
        told by `vemctl.nn.state_dict.load`.
    """
    if any(re.match(r"encoder\.\d", key) for key in tensors):
        raise WeightsError(
            f"{path}: weights of PSSR2, whose networks are others; expected weights of the first "
            f"PSSR, such as a .pkl or .pth of its training"
        )
    try:
        found = _rrdb(tensors) if "model.0.weight_v" in tensors else _unet(tensors)
    except KeyError as error:
        raise _foreign(path, error.args[0]) from error
    held, expected = sum(map(_size, tensors.values())), num_parameters(found)
    if expected > MOST_MISSING * held:  # rather than make the memory for it
        raise _foreign(path, f"{held} values of a network that would have {expected}")
    return found


def _foreign(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{path}: weights of another network than those of pssr: {why}. Give a file made for this "
        f"method"
    )


def _size(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


def _unet(tensors: Mapping[str, Tensor]) -> Architecture:
    wrapped = any(key.startswith("model.layers.") for key in tensors)
    layers = "model.layers" if wrapped else "layers"
    encoder: Encoder = "resnet" if f"{layers}.0.0.weight" in tensors else "wnresnet"
    if encoder == "resnet":
        stem = [_shape(tensors, f"{layers}.0.0.weight")]
        inner = [f"{layers}.0.{stage}.0.conv1.weight" for stage in STAGES]
    else:
        stem = [_shape(tensors, f"{layers}.0.{index}.0.weight_v") for index in range(3)]
        inner = [f"{layers}.0.{stage}.0.convs.0.0.weight_v" for stage in STAGES]
    deep = f"{layers}.0.{STAGES[0]}.0.convs.2.0.weight_v" in tensors
    up_blocks = 5 if encoder == "wnresnet" else 4
    attentive = f"{layers}.{FIRST_UP_BLOCK + up_blocks - ATTENTION_FROM_END}.conv2.2.gamma"
    last = FIRST_UP_BLOCK + up_blocks + 2  # behind the final shuffle and the merge
    residual = _shape(tensors, f"{layers}.{last}.layers.0.0.weight_v")
    return Architecture(
        encoder,
        in_channels=stem[0][1],
        out_channels=_shape(tensors, f"{layers}.{last + 1}.0.weight_v")[0],
        stem=tuple(shape[0] for shape in stem),
        widths=tuple(_shape(tensors, key)[0] for key in inner),
        counts=tuple(_count(tensors, f"{layers}.0.{stage}.") for stage in STAGES),
        expansion=4 if deep else 1,
        attention=attentive in tensors,
        bottle=residual[0] != residual[1],
        wrapped=wrapped,
    )


def _rrdb(tensors: Mapping[str, Tensor]) -> Architecture:
    filters, in_channels, *_ = _shape(tensors, "model.0.weight_v")
    return Architecture(
        "rrdb",
        in_channels,
        out_channels=_shape(tensors, "model.6.weight_v")[0],
        filters=filters,
        blocks=_count(tensors, "model.1.sub.", holding=".RDB1."),
        growth=_shape(tensors, "model.1.sub.0.RDB1.conv1.0.weight_v")[0],
    )


def _shape(tensors: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    """Return the shape of the weights of a convolution, or raise a KeyError that says why not."""
    if key not in tensors:
        raise KeyError(f"{key} is missing")
    shape = tuple(tensors[key].shape)
    if len(shape) != 4 or not math.prod(shape):
        raise KeyError(f"{key} {shape} is no convolution")
    return shape


def _count(tensors: Mapping[str, Tensor], prefix: str, holding: str = ".") -> int:
    """Return how many numbers from 0 on follow `prefix`, without a gap."""
    numbered = re.compile(re.escape(prefix) + r"(\d+)" + re.escape(holding))
    found = {match[1] for key in tensors if (match := numbered.match(key))}
    return next(count for count in range(len(found) + 1) if str(count) not in found)
