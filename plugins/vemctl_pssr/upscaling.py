"""Tiles of an image to tiles of four times as many pixels: normalise, run the network, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vemctl_pssr.architecture import SCALE, Architecture
from vemctl_pssr.resize import fastai_resize

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vemctl_pssr.checkpoints import Normalisation


class Upscaler:
    """A network with its normalisation, on images in [0, 1].

    Parameters
    ----------
    network : Module
        On its device, in evaluation mode; see `vemctl_pssr.network`.
    architecture : Architecture
    normalisation : Normalisation
    clamp : bool
        Limit what comes out to [0, 1], as the published notebook does.
    """

    def __init__(
        self,
        network: nn.Module,
        architecture: Architecture,
        normalisation: Normalisation,
        *,
        clamp: bool = False,
    ) -> None:
        self.architecture = architecture
        self._network = network
        self._normalisation = normalisation
        self._clamp = clamp

    def of_enlarged(self, tiles: Tensor) -> Tensor:
        """Restore tiles that have their final size already, as the published program does.

        For networks that enlarge by themselves they are shrunk again (the specification, 6.2).

        Parameters
        ----------
        tiles : tensor, (n, frames, s, s)

        Returns
        -------
        tensor, (n, s, s)
        """
        if self.architecture.upsamples:
            tiles = fastai_resize(tiles, tiles.shape[-1] // SCALE)
        return self(tiles)

    def __call__(self, tiles: Tensor) -> Tensor:
        """Restore tiles of the size that the network takes.

        Parameters
        ----------
        tiles : tensor, (n, frames, h, w)

        Returns
        -------
        tensor, (n, H, W) float32
        """
        stored = self._normalisation
        if self.architecture.is_rgb:
            tiles = tiles.expand(-1, self.architecture.in_channels, -1, -1)
        if stored.inputs:
            tiles = (tiles - _per_channel(stored.mean, tiles)) / _per_channel(stored.std, tiles)
        restored: Tensor = self._network(tiles.contiguous())[:, 0].float()  # (n, H, W)
        if stored.outputs:
            restored = restored * stored.std[0] + stored.mean[0]
        return restored.clamp(0, 1) if self._clamp else restored


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return like.new_tensor(values).reshape(1, -1, 1, 1)
