"""Volumes that a preparation writes, from their first slice to their last."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vemctl.geometry import Triple
from vemctl.volumes.destination import Destination
from vemctl.volumes.volume import Array, Layout

SLICES_PER_FILE = 64


class VolumeMaker:
    """Begins volumes in a folder; see `vemctl.preparing.MakeVolume`.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, GrowingVolume] = {}

    def __call__(
        self,
        name: str,
        shape: Triple,
        dtype: str,
        voxel_size: tuple[float, float, float] | None = None,
    ) -> GrowingVolume:
        """Begin an OME-Zarr of `SLICES_PER_FILE` slices to a file, each slice a chunk."""
        slices = min(SLICES_PER_FILE, shape[0])
        layout = Layout(
            axes="zyx",
            shape=shape,
            num_channels=None,
            num_timepoints=None,
            dtype=np.dtype(dtype),
            voxel_size=voxel_size,
            translation=None,
            chunk_shape=(1, *shape[1:]),
            shard_shape=(slices, *shape[1:]),
        )
        made = GrowingVolume(Destination.create(self._folder / f"{name}.zarr", layout), layout)
        self._made[name] = made
        return made

    def check_closed(self) -> None:
        """Raise RuntimeError where a method forgot to close a volume, which then is not there."""
        for name, volume in self._made.items():
            if not volume.closed:
                raise RuntimeError(f"the volume {name!r} was begun and never closed")


class GrowingVolume:
    """An OME-Zarr that is filled file by file; see `vemctl.preparing.NewVolume`.

    Parameters
    ----------
    destination : Destination
    layout : Layout

    Attributes
    ----------
    closed : bool
        Whether it is whole.
    """

    def __init__(self, destination: Destination, layout: Layout) -> None:
        self.closed = False
        self._destination = destination
        self._layout = layout
        self._waiting: list[Array] = []
        self._written = 0

    def append(self, slices: Array) -> None:
        """Add slices; whole files are written at once."""
        there, shape = self._written + len(self._waiting), self._layout.shape
        dtype = self._layout.dtype
        if slices.shape[1:] != shape[1:] or slices.dtype != dtype or slices.ndim != len(shape):
            raise ValueError(
                f"{slices.dtype} slices of shape {slices.shape}: expected {dtype} of "
                f"(z, {shape[1]}, {shape[2]})"
            )
        if there + len(slices) > shape[0]:
            raise ValueError(f"{there + len(slices)} slices for a volume of {shape[0]}")
        self._waiting.extend(each.copy() for each in slices)  # the caller may fill its array anew
        depth = self._layout.shard_shape[0]
        while len(self._waiting) >= depth:
            self._write(depth)

    def close(self) -> None:
        """Write what waits, and finish the image, without lower levels: slices are no neighbours.

        Raises
        ------
        RuntimeError
            Slices are missing.
        """
        there, wanted = self._written + len(self._waiting), self._layout.shape[0]
        if there < wanted:
            raise RuntimeError(f"{self._destination.path.name} has {there} slices of {wanted}")
        if self._waiting:
            self._write(len(self._waiting))
        self._destination.finish({}, lambda *_: None, pyramid=False)
        self.closed = True

    def _write(self, count: int) -> None:
        block = np.stack(self._waiting[:count])
        del self._waiting[:count]
        _, height, width = self._layout.shape
        region = (slice(self._written, self._written + count), slice(0, height), slice(0, width))
        self._destination.store.write(region, block)
        self._written += count
