"""Richardson-Lucy steps with two views, by Fourier transforms of tiles, as the published program.

Borders are circular: what leaves a tile at one side comes in again at the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from vemctl.errors import InputError
from vemctl.plugin import Triple
from vemctl_rldfn.psfs import ViewName, placement

OFFSET = 1e-5
"""Added to a blurred estimate before it divides a view."""
LEAST = 1e-5
"""Of a ratio, and of what an estimate is multiplied by."""
AXES = (-3, -2, -1)
"""Of a transform, which takes one tile at a time: so results do not depend on the batch."""
FLOAT, COMPLEX = 4, 8


def aligned(psf: Tensor, shape: Triple) -> Tensor:
    """Surround a PSF by zeros, or cut it, to a tile's shape, and divide it by its sum.

    Halves are rounded as the published program does it; see `psfs.is_misplaced`.

    Parameters
    ----------
    psf : tensor, (z, y, x)
    shape : triple of int
        Of the tile.

    Returns
    -------
    tensor, `shape` float32
        On the CPU.

    Raises
    ------
    InputError
        Nothing of the function is left inside the tile.
    """
    places = [placement(side, length) for side, length in zip(psf.shape, shape, strict=True)]
    (z_from, z_to), (y_from, y_to), (x_from, x_to) = places
    result = torch.zeros(shape, dtype=torch.float64)
    result[z_to, y_to, x_to] = psf[z_from, y_from, x_from].cpu()
    total = float(result.sum())
    if not total > 0:
        raise InputError(
            f"a point spread function of {' x '.join(map(str, psf.shape))} voxels adds up to "
            f"{total:g} within its middle {' x '.join(map(str, shape))}, which is all that is used "
            f"there; expected its peak in the middle: see --centre-psf"
        )
    return (result / total).float()


class DualViewDeconvolution:
    """Richardson-Lucy deconvolution of two views of one shape, in float32 under any autocast.

    Parameters
    ----------
    psf_a, psf_b : tensor or ndarray, (z, y, x)
        Of the views, on their grid of voxels, of any sides and sum.
    shape : triple of int
        Of the tiles.
    device : torch.device or str
        Where tiles are.
    """

    def __init__(
        self,
        psf_a: Tensor | npt.NDArray[Any],
        psf_b: Tensor | npt.NDArray[Any],
        shape: Triple,
        device: torch.device | str,
    ) -> None:
        self.shape = shape
        self._transfers = tuple(_transfer(psf, shape).to(device) for psf in (psf_a, psf_b))

    def swapped(self) -> DualViewDeconvolution:
        """Return one that takes view A's PSF for view B's and the other way round."""
        other = object.__new__(type(self))
        other.shape = self.shape
        other._transfers = self._transfers[::-1]
        return other

    @staticmethod
    def bytes_of(shape: Triple, batch: int) -> int:
        """Return the bytes that are held on the device during a call, the views left out.

        Parameters
        ----------
        shape : triple of int
            Of the tiles.
        batch : int
            Tiles at once.
        """
        z, y, x = shape
        spectrum = COMPLEX * z * y * (x // 2 + 1)
        volume = FLOAT * z * y * x
        # Both transfer functions and results; and for one tile after the other a spectrum, its
        # product, what transforms take themselves, an estimate, ratios and factors.
        return 2 * spectrum + 2 * batch * volume + 5 * spectrum + 3 * volume

    def memory(self, batch: int) -> int:
        """Return `bytes_of` tiles of its own shape."""
        return self.bytes_of(self.shape, batch)

    @torch.no_grad()
    def ratios(self, view_a: Tensor, view_b: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a first Richardson-Lucy step would multiply the mean of the views by.

        Values are about 1. They do not depend on a common factor of the views as long as these
        are large against `OFFSET`.

        Parameters
        ----------
        view_a, view_b : tensor, (n, 1, z, y, x) or (z, y, x)

        Returns
        -------
        ratios_a, ratios_b : tensor
            Of the same shape, float32.
        """
        first, second = _like(view_a), _like(view_b)
        tiles = (self._tiles(each) for each in (view_a, view_b, first, second))
        with torch.autocast(view_a.device.type, enabled=False):
            for a, b, factors_a, factors_b in zip(*tiles, strict=True):
                factors = self._step(a.float(), b.float(), _mean(a, b))
                factors_a.copy_(next(factors))
                factors_b.copy_(next(factors))
        return first, second

    @torch.no_grad()
    def restored(
        self, view_a: Tensor, view_b: Tensor, iterations: int, *, normalised: bool
    ) -> Tensor:
        """Return the views' common volume by plain Richardson-Lucy iterations, without a network.

        Parameters
        ----------
        view_a, view_b : tensor, (n, 1, z, y, x) or (z, y, x)
            Each divided by its maximum in the volume.
        iterations : int
        normalised : bool
            Divide each tile's estimate by its maximum after every iteration, as the published
            program; otherwise tiles of a volume fit together.

        Returns
        -------
        tensor
            Of the same shape, float32; zero where both views are zero all over a tile.
        """
        result = _like(view_a)
        with torch.autocast(view_a.device.type, enabled=False):
            for a, b, tile in zip(*map(self._tiles, (view_a, view_b, result)), strict=True):
                tile.copy_(self._restored(a.float(), b.float(), iterations, normalised=normalised))
        return result

    @torch.no_grad()
    def blurred(self, volume: Tensor, view: ViewName) -> Tensor:
        """Return a volume as one of the views shows it.

        Parameters
        ----------
        volume : tensor, (n, 1, z, y, x) or (z, y, x)
        view : {"a", "b"}

        Returns
        -------
        tensor
            Of the same shape, float32.
        """
        result = _like(volume)
        transfer = self._transfers["ab".index(view)]
        with torch.autocast(volume.device.type, enabled=False):
            for tile, blurred in zip(self._tiles(volume), self._tiles(result), strict=True):
                blurred.copy_(self._blurred(tile.float(), transfer))
        return result

    def _tiles(self, volumes: Tensor) -> Tensor:
        return volumes.reshape(-1, *self.shape)

    def _restored(self, a: Tensor, b: Tensor, iterations: int, *, normalised: bool) -> Tensor:
        estimate = _mean(a, b)
        for _ in range(iterations):
            for factors in self._step(a, b, estimate):
                estimate *= factors.clamp_(min=LEAST)
            if normalised:
                highest = estimate.max()
                estimate /= highest.masked_fill_(highest <= 0, 1)
        return estimate

    def _step(self, view_a: Tensor, view_b: Tensor, estimate: Tensor) -> Iterator[Tensor]:
        """Yield the factors by which each view corrects an estimate; it may change meanwhile."""
        spectrum = torch.fft.rfftn(estimate, dim=AXES)
        for view, transfer in zip((view_a, view_b), self._transfers, strict=True):
            ratio = self._back(spectrum * transfer).add_(OFFSET)
            torch.div(view, ratio, out=ratio).clamp_(min=LEAST)
            # The published program blurs by the PSF again, where theory has its mirror image.
            yield self._blurred(ratio, transfer)

    def _blurred(self, tile: Tensor, transfer: Tensor) -> Tensor:
        return self._back(torch.fft.rfftn(tile, dim=AXES).mul_(transfer))

    def _back(self, spectrum: Tensor) -> Tensor:
        tile: Tensor = torch.fft.irfftn(spectrum, s=self.shape, dim=AXES)
        return tile


def _like(volumes: Tensor) -> Tensor:
    """Return room that lies in one piece, so that its tiles can be filled."""
    return torch.empty(volumes.shape, dtype=torch.float32, device=volumes.device)


def _mean(one: Tensor, other: Tensor) -> Tensor:
    return torch.add(one.float(), other.float()).mul_(0.5)


def _transfer(psf: Tensor | npt.NDArray[Any], shape: Triple) -> Tensor:
    """Return the transfer function of a PSF whose middle is brought to the first voxel."""
    placed = aligned(torch.as_tensor(psf), shape)
    shift = tuple(-(length // 2) for length in shape)
    transfer: Tensor = torch.fft.rfftn(torch.roll(placed.double(), shift, (0, 1, 2)))
    return transfer.to(torch.complex64)
