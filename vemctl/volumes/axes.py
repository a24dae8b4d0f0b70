"""Which axis of a stored array is which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import InputError, OptionError
from vemctl.volumes.volume import AXES


def resolve_axes(path: Path, shape: Sequence[int], stored: str | None, asked: str | None) -> str:
    """Decide on the axes of an array: as asked, else as stored, else yx or zyx by their number.

    Parameters
    ----------
    path : Path
        For errors.
    shape : sequence of int
        Of the stored array.
    stored : str, optional
        What the file's metadata says, lower case letters of ``tczyx``; None if nothing.
    asked : str, optional
        What the user says; comes first.

    Returns
    -------
    str
        One lower case letter per stored axis.

    Raises
    ------
    InputError
        The axes are ambiguous, too few, too many or one is empty.
    OptionError
        `asked` does not fit.
    """
    if 0 in shape:
        raise InputError(
            f"{path}: an axis of length 0 (shape {tuple(shape)}): expected at least one voxel; "
            "save it again from the program that made it"
        )
    if asked is not None:
        return _check_asked(path, shape, asked)
    if stored is not None and len(stored) == len(shape):
        return stored
    if len(shape) in {2, 3}:
        return "zyx"[-len(shape) :]
    if not 2 <= len(shape) <= 5:
        raise InputError(
            f"{path}: {len(shape)}-D array {tuple(shape)}: expected two to five axes out of {AXES};"
            " save one volume of it on its own"
        )
    guess = guess_axes(shape)
    raise InputError(
        f"{path}: {len(shape)}-D array {tuple(shape)} without axes; looks like {guess}: "
        f"pass --axes {guess}"
    )


def guess_axes(shape: Sequence[int]) -> str:
    """Name the likeliest axes of an array, for a person to confirm.

    Parameters
    ----------
    shape : sequence of int
        Four or five sizes; fewer leave no choice.
    """
    if len(shape) == 5:
        return "tczyx"
    if shape[3] <= 4 < shape[0]:
        return "zyxc"
    return "czyx" if shape[0] <= 8 else "tzyx"


def _check_asked(path: Path, shape: Sequence[int], asked: str) -> str:
    axes = asked.strip().lower()
    if set(axes) - set(AXES) or len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes):
        raise OptionError(
            f"--axes {asked}: expected letters out of {AXES}, each once, with y and x, in the "
            "order in which the file stores them, for instance zyx or czyx"
        )
    if len(axes) != len(shape):
        raise OptionError(
            f"--axes {asked}: names {len(axes)} axes, but {path} holds a {len(shape)}-D array "
            f"{tuple(shape)}; name {len(shape)}"
        )
    return axes


def check_dtype(path: Path, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return `dtype` in native byte order if its values are real numbers.

    Parameters
    ----------
    path : Path
        For errors.
    dtype : numpy.dtype

    Raises
    ------
    InputError
        Its values are no real numbers; says what to do.
    """
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return dtype.newbyteorder("=")
    cure = {
        "b": "convert the mask to uint8",
        "c": "save its magnitude, or real and imaginary part as two channels",
        "f": "convert it to float32",
    }.get(dtype.kind, "export the image itself as integers or float32")
    raise InputError(
        f"{path}: values of type {dtype}: expected integers or floating-point numbers; {cure}"
    )
