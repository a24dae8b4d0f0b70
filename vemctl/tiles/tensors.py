"""Stored values as tensors: to floats, and back exactly as `to_dtype` does it, on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Output

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SENT = ("bool", "uint8", "int8", "uint16", "int16", "float16")
"""Types that take less room on their way to a device than float32 does."""


def dtype_sent(dtype: np.dtype[Any], device: str) -> np.dtype[Any]:
    """Return the type in which values of `dtype` go to a device, where they become float32.

    Parameters
    ----------
    dtype : numpy.dtype
    device : str
        A torch device; Apple's do not know all types.
    """
    if dtype.name in SENT and not device.startswith("mps"):
        return dtype.newbyteorder("=")
    return np.dtype(np.float32)


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """Return torch's name of a type."""
    import torch

    found: torch.dtype = getattr(torch, dtype.name)
    return found


def as_array(values: Tensor, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return a tensor in main memory as an array of `dtype`, in whatever byte order."""
    array: npt.NDArray[Any] = values.numpy().astype(dtype, copy=False)
    return array


def to_stored(values: Tensor, dtype: np.dtype[Any], output: Output) -> Tensor:
    """Turn results into stored values, bit by bit as `vemctl.tiles.blend.to_dtype` does.

    Parameters
    ----------
    values : tensor of float32
        Stays as it is.
    dtype : numpy.dtype
    output : Output

    Returns
    -------
    tensor
        Of the type that `torch_dtype` names; where that is float32 it may be `values`.
    """
    import torch

    wanted = torch_dtype(dtype)
    if dtype.kind == "f":
        if dtype.itemsize < values.dtype.itemsize:
            values = values.clamp(float(np.finfo(dtype).min), float(np.finfo(dtype).max))
        return values.to(wanted)
    limits = np.iinfo(dtype)
    if dtype.itemsize > 2:  # float32 cannot hold these limits
        values = values.double()
    if output.unit_range:
        values = values.clamp(min=0).mul_(float(limits.max))
    clipped = values.clamp(float(limits.min), float(limits.max))
    if output.rounding == "round":
        clipped.round_()
    if dtype.itemsize < 8:
        return clipped.to(wanted)
    above = clipped >= float(limits.max)  # nor can float64: its nearest value lies beyond
    stored = clipped.masked_fill_(above, 0).to(wanted)
    # There is no arithmetic for uint64; all ones is its largest value.
    stored.view(torch.int64).masked_fill_(above, -1 if dtype.kind == "u" else int(limits.max))
    return stored
