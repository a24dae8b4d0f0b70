"""Some of a volume, for options that name one."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Array

MOST = (8, 2048, 2048)


def peek(path: Path) -> Array:
    """Return the middle of a volume's first channel and time point, at most `MOST` voxels.

    Parameters
    ----------
    path : Path
        With its own axes and level, whatever those of the data are.

    Returns
    -------
    ndarray, (z, y, x)
        Of the stored type.

    Raises
    ------
    InputError
        It is missing or unusable.
    """
    with contextlib.closing(open_volume(path)) as volume:
        region = []
        for length, most in zip(volume.header.shape, MOST, strict=True):
            start = max(0, length - most) // 2
            region.append(slice(start, min(length, start + most)))
        z, y, x = region
        return volume.read((z, y, x))
