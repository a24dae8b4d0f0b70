"""The buffers of one call of a network that is under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from vemctl.nn.streams import Lanes, Moment
from vemctl.tiles.tensors import dtype_sent, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]
ALIGNMENT = 64
"""Bytes; the tiles of several inputs lie behind each other in one buffer."""


class Slot:
    """Sends the tiles of a call to the device, and fetches what is small of its results.

    Its buffers grow to the largest call and are used again by the next one.

    Parameters
    ----------
    lanes : Lanes
    device : str
        A torch device.
    """

    def __init__(self, lanes: Lanes, device: str) -> None:
        self._lanes = lanes
        self._device = device
        self._rooms: dict[str, Tensor] = {}
        self._there: Tensor | None = None
        self._busy: Moment | None = None

    def send(self, tiles: Sequence[Sequence[Array]], batch: int) -> list[Tensor]:
        """Return the tiles of each input on the device, (batch, 1, z, y, x) float32.

        Parameters
        ----------
        tiles : sequence of sequence of ndarray, (z, y, x)
            Of each sample, one per input, alike in all samples.
        batch : int
            As many samples are made, the last being repeated.
        """
        import torch

        self.wait()
        dtypes = [dtype_sent(each.dtype, self._device) for each in tiles[0]]
        ends, end = [], 0
        for each, dtype in zip(tiles[0], dtypes, strict=True):
            start = -(-end // ALIGNMENT) * ALIGNMENT
            end = start + batch * each.size * dtype.itemsize
            ends.append((start, end))
        host = self._room("tiles", end)
        for i, (dtype, part) in enumerate(zip(dtypes, ends, strict=True)):
            samples = host[slice(*part)].numpy().view(dtype).reshape(batch, *tiles[0][i].shape)
            for k, sample in enumerate(tiles):
                samples[k] = sample[i]
            samples[len(tiles) :] = samples[len(tiles) - 1]
        if self._there is None or len(self._there) < end:
            self._there = None  # before as much is asked for again
            self._there = self._lanes.beside(host)
        self._lanes.upload(host, self._there[:end])
        self.occupy(self._lanes.mark())
        return [
            self._there[slice(*part)]
            .view(torch_dtype(dtype))
            .view(batch, 1, *each.shape)
            .to(torch.float32, copy=True)
            for each, dtype, part in zip(tiles[0], dtypes, ends, strict=True)
        ]

    def fetch(self, name: str, values: Tensor) -> Tensor:
        """Return main memory where values are when a moment that is marked later has passed.

        Parameters
        ----------
        name : str
            Of what is fetched: it stays until the same is fetched again.
        values : tensor
        """
        if not self._lanes.apart:
            return values
        room = self._room(name, values.nbytes).view(values.dtype).view(values.shape)
        self._lanes.download(values, room)
        return room

    def occupy(self, moment: Moment) -> None:
        """Keep the buffers as they are until a moment has passed."""
        self._busy = moment

    def wait(self) -> None:
        """Wait until the buffers may be changed."""
        if self._busy is not None:
            self._busy.wait()
            self._busy = None

    def _room(self, name: str, count: int) -> Tensor:
        room = self._rooms.get(name)
        if room is None or len(room) < count:
            self._rooms.pop(name, None)
            room = self._rooms[name] = self._lanes.room(count)
        return room[:count]
