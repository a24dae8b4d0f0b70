"""Rotate planes by cubic splines, as scipy does: by scipy on a CPU, and the same on a GPU."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from vemctl_vsisr.canvases import Floats, Shape, crop_start, rotation_map

POLE = math.sqrt(3.0) - 2.0
"""Of the filter that turns samples into the coefficients of a cubic spline."""
REACH = 32
"""Samples after which that filter has forgotten all: POLE ** 32 is 5e-19."""
GPU_ELEMENTS = 2**22
"""Values that are sampled at a time on a GPU."""
SAME = 1e-9
"""Pixels by which a map may differ from the identity and still be left out."""


class SplineSampling:
    """Sample planes at the places of an affine map; zero outside.

    The result at (i, j) is the cubic spline through the plane at ``matrix @ (i, j) + offset``.
    A plane's result does not depend on what else is in the batch.

    Parameters
    ----------
    source : (int, int)
        Shape of the planes that come, (y, x).
    matrix : array, (2, 2)
    offset : array, (2,)
        In pixels of the plane.
    shape : (int, int)
        Of the results.
    device : torch.device or str
        Where planes are. A CPU calls scipy, for torch is slower there. A device that has no double
        precision (mps) sends its planes to the CPU.
    """

    def __init__(
        self,
        source: Shape,
        matrix: Floats,
        offset: Floats,
        shape: Shape,
        *,
        device: torch.device | str,
    ) -> None:
        self.source = source
        self.shape = shape
        self._matrix = np.ascontiguousarray(matrix, dtype=np.float64)
        self._offset = np.ascontiguousarray(offset, dtype=np.float64)
        self._by_torch = torch.device(device).type == "cuda"
        self._is_identity = (
            shape == source
            and bool(np.all(np.abs(self._matrix - np.eye(2)) < SAME / max(*source, 1)))
            and bool(np.all(np.abs(self._offset) < SAME))
        )

    def __call__(self, planes: Tensor) -> Tensor:
        """Sample planes.

        Parameters
        ----------
        planes : tensor, (n, y, x)
            Any type of numbers.

        Returns
        -------
        tensor, (n, y', x')
            Of the same type if that is of floating point, else float64; computed in float64. The
            planes themselves where nothing moves.
        """
        if tuple(planes.shape[1:]) != self.source:
            raise ValueError(f"planes of {tuple(planes.shape[1:])}, expected {self.source}")
        kept = planes if planes.is_floating_point() else planes.double()
        if self._is_identity:
            return kept
        if self._by_torch:
            return sample(kept, self._matrix, self._offset, self.shape)
        return self._by_scipy(kept)

    def memory(self, n: int, itemsize: int = 4) -> int:
        """Return the bytes that a call takes beside its input, the result included.

        Parameters
        ----------
        n : int
            Planes.
        itemsize : int
            Bytes per value of the planes.
        """
        (y, x), (rows, columns) = self.source, self.shape
        if not self._by_torch:
            return min(n, torch.get_num_threads()) * 8 * y * x + n * itemsize * rows * columns
        filtering = 24 * n * (y + 2 * REACH) * (x + 2 * REACH)
        chunk = max(GPU_ELEMENTS, n * columns)
        return filtering + 2 * n * itemsize * rows * columns + 5 * 8 * chunk + 14 * 8 * chunk // n

    def _by_scipy(self, planes: Tensor) -> Tensor:
        single = planes.dtype in {torch.float32, torch.float64}
        arrays = (planes if single else planes.float()).detach().cpu().numpy()
        result = np.empty((len(arrays), *self.shape), arrays.dtype)

        def fill(k: int) -> None:
            ndimage.affine_transform(
                arrays[k], self._matrix, self._offset, self.shape, result[k], order=3
            )

        workers = min(torch.get_num_threads(), len(arrays))
        if workers > 1:  # scipy lets other threads run meanwhile
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(fill, range(len(arrays))))
        else:
            for k in range(len(arrays)):
                fill(k)
        return torch.from_numpy(result).to(planes.device, planes.dtype)


class Rotation(SplineSampling):
    """Rotate planes about their centre, equal to ``scipy.ndimage.rotate`` of order 3.

    Parameters
    ----------
    shape : (int, int)
        Of the planes that come, (y, x).
    angle_degrees : float
    reshape : bool
        Let the result hold all of the plane; otherwise it keeps the plane's shape.
    crop : (int, int), optional
        Give only this much about the centre of the result, by the rounding of the published
        program; only that is computed.
    device : torch.device or str
    """

    def __init__(
        self,
        shape: Shape,
        angle_degrees: float,
        *,
        reshape: bool,
        device: torch.device | str,
        crop: Shape | None = None,
    ) -> None:
        matrix, offset, canvas = rotation_map(shape, angle_degrees, reshape=reshape)
        if crop is not None and crop != canvas:
            start = [crop_start(n, c) for n, c in zip(canvas, crop, strict=True)]
            offset, canvas = offset + matrix @ np.array(start, np.float64), crop
        super().__init__(shape, matrix, offset, canvas, device=device)


def sample(planes: Tensor, matrix: Floats, offset: Floats, shape: Shape) -> Tensor:
    """Sample planes (n, y, x) at the places of an affine map by torch, on any device with float64.

    Only sums and products of two are taken, one after another: so every plane has the same result
    whatever else is in the batch, and places lie inside or outside as in scipy.
    """
    n, y, x = planes.shape
    rows, columns = shape
    device = planes.device
    coefficients = spline_coefficients(planes)  # (x + 3, y + 3, n)
    values = coefficients.view(-1, n)
    result = planes.new_empty(rows, columns, n)
    j = torch.arange(columns, dtype=torch.float64, device=device)
    step = max(1, GPU_ELEMENTS // (columns * n))
    for first in range(0, rows, step):
        i = torch.arange(first, min(first + step, rows), dtype=torch.float64, device=device)
        at = [
            ((i * m[0] + start)[:, None] + j * m[1]).flatten()
            for m, start in zip(matrix.tolist(), offset.tolist(), strict=True)
        ]
        inside = (at[0] >= 0) & (at[0] <= y - 1) & (at[1] >= 0) & (at[1] <= x - 1)
        whole = [at[0].floor().clamp_(0, y - 1), at[1].floor().clamp_(0, x - 1)]
        index = (whole[1] * (y + 3) + whole[0]).long()[:, None].expand(-1, n)
        along_y, along_x = (_weights((a - w)[:, None]) for a, w in zip(at, whole, strict=True))
        total = torch.zeros(len(at[0]), n, dtype=torch.float64, device=device)
        for k, weight in enumerate(along_x):
            line = torch.zeros_like(total)
            for row, row_weight in enumerate(along_y):
                line += values[k * (y + 3) + row :].gather(0, index).mul_(row_weight)
            total += line.mul_(weight)
        total.masked_fill_(~inside[:, None], 0)
        result[first : first + len(i)] = total.view(len(i), columns, n).to(result.dtype)
    return result.permute(2, 0, 1).contiguous()


def spline_coefficients(planes: Tensor) -> Tensor:
    """Return coefficients of the cubic spline through each plane, which goes on mirrored.

    Parameters
    ----------
    planes : tensor, (n, y, x)

    Returns
    -------
    tensor, (x + 3, y + 3, n) float64
        One pixel before and two behind are included.
    """
    first = _filtered(planes.permute(1, 2, 0).double())  # (y + 3, x, n)
    return _filtered(first.transpose(0, 1))


def _filtered(x: Tensor) -> Tensor:
    """Filter along the first axis, forth and back; two exponential sums by doubling their reach."""
    y = x.index_select(0, _mirrored(x.shape[0]).to(x.device))
    product = torch.empty_like(y)
    for forth in (True, False):
        reach, factor = 1, POLE
        while reach < REACH:
            ahead, behind = slice(reach, None), slice(None, -reach)
            of, to = (behind, ahead) if forth else (ahead, behind)
            torch.mul(y[of], factor, out=product[of])
            y[to] += product[of]
            reach, factor = 2 * reach, factor * factor
    return y[REACH - 1 : 2 - REACH].mul_(-6 * POLE)


def _mirrored(length: int) -> Tensor:
    """Return indices of a line that is reflected about its end pixels, `REACH` pixels beyond."""
    i = np.abs(np.arange(-REACH, length + REACH)) % max(2 * length - 2, 1)
    return torch.from_numpy(np.minimum(i, np.maximum(2 * length - 2 - i, 0)))


def _weights(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the cubic B-spline's weights of four neighbours, `t` behind the second."""
    u = 1 - t
    before = u * u * u / 6
    here = (t * t * (t - 2) * 3 + 4) / 6
    behind = (u * u * (u - 2) * 3 + 4) / 6
    return before, here, behind, 1 - before - here - behind
