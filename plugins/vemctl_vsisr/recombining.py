"""Join slices that are super-resolved in several orientations into one, in Fourier space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vemctl_vsisr.canvases import Shape, rotation_map
from vemctl_vsisr.optics import Optics
from vemctl_vsisr.proportions import COUNTS, ENLARGED
from vemctl_vsisr.resizing import cubic_resize
from vemctl_vsisr.rotating import Rotation, SplineSampling

EPSILON = 1e-7
"""In the published normalisation to [0, 1]."""
DIGITS = 9
"""After the point of places that are calculated, so that border pixels stay inside."""

MARGIN = 1
"""Pixels around a rotated image that repeat its border, for the exact registration."""


class JointReconstruction:
    """A Wiener filter over all orientations and the plain slice.

    Parameters
    ----------
    output_shape : (int, int)
        Of the result, 1.5 times the plain slice, rounded down.
    optics : Optics
    angles : sequence of float
        Degrees by which each orientation's slices come rotated, against which they are turned back.
    otf_weight : float
        Of the side bands, in the numerator only, as published.
    wiener : float
        Its square is added to the denominator.
    otf_grid : str
        "original": the transfer functions' edges are taken for those of the result, as published,
        which stretches them 1.5 times; "physical": they lie at their frequencies.
    registration : str
        "original": orientations are turned back and cut with the published roundings, by which
        they miss each other by up to about one pixel; "exact": all have the plain slice's centre.
    pixel : float, optional
        Of the plain slice, nm, for the physical grid. Default: that of the optics.
    device : torch.device or str
        One without double precision (mps) leaves all to the CPU.
    """

    def __init__(
        self,
        output_shape: Shape,
        optics: Optics,
        *,
        angles: Sequence[float] = (0, 60, 120),
        otf_weight: float = 8.0,
        wiener: float = 0.1,
        otf_grid: Literal["original", "physical"] = "original",
        registration: Literal["original", "exact"] = "original",
        pixel: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.output_shape = output_shape
        self.angles = tuple(angles)
        self._is_exact = registration == "exact"
        self._device = torch.device(device if torch.device(device).type == "cuda" else "cpu")
        self._back: dict[tuple[float, Shape], SplineSampling] = {}
        if otf_grid == "physical":
            optics = optics.on_physical_grid(optics.pixel if pixel is None else pixel)
        band0, *bands = _not_cancelling(self._transfer(optics), wiener**2)
        denominator = band0 + sum(bands) + wiener**2
        self._filters = [self._half((band0 + otf_weight * band) / denominator) for band in bands]
        apodisation = self._resized(optics.apodisation**2)
        self._plain_filter = self._half((len(bands) - 1) * band0 * apodisation / denominator)

    def __call__(self, images: Sequence[Tensor], raw_slice: Tensor) -> Tensor:
        """Join one slice.

        Parameters
        ----------
        images : sequence of tensor, (y_i, x_i)
            Super-resolved slices, one per angle, still rotated; counts from 0 to 65535.
        raw_slice : tensor, (y, x)
            The plain slice, counts from 0 to 65535.

        Returns
        -------
        tensor, (Y, X) float64
            As bright on average as the first image; zero where nothing is left, as of
            constant images.
        """
        planes = self.registered(images)
        spectrum = torch.fft.rfft2(self._enlarged(raw_slice)).mul_(self._plain_filter).neg_()
        for plane, transfer in zip(planes, self._filters, strict=True):
            spectrum += torch.fft.rfft2(_unit(plane) * COUNTS).mul_(transfer)
        joined = _unit(torch.fft.irfft2(spectrum, s=self.output_shape).clamp_(min=0))
        level = joined.mean()
        # Nothing is divided by zero, and nothing waits for a GPU.
        factor = torch.where(level > 0, planes[0].mean() / level.clamp(min=EPSILON**2), 0.0)
        return joined.mul_(factor)

    def registered(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return the images turned back onto the grid of the result, (Y, X) float64 each."""
        if len(images) != len(self.angles):
            raise ValueError(f"{len(images)} images for {len(self.angles)} angles")
        planes = []
        for angle, image in zip(self.angles, images, strict=True):
            sampling = self._sampling(angle, (image.shape[0], image.shape[1]))
            plane = image.to(self._device).double()[None]
            margin = (sampling.source[0] - plane.shape[1]) // 2
            if margin:
                plane = functional.pad(plane[None], (margin,) * 4, mode="replicate")[0]
            planes.append(sampling(plane)[0])
        return planes

    def memory(self, image_shapes: Sequence[Shape]) -> int:
        """Return the bytes that this holds and that a call takes, for images of these shapes."""
        pixels = math.prod(self.output_shape)
        rotating = max(
            self._sampling(angle, shape).memory(1, itemsize=8)
            for angle, shape in zip(self.angles, image_shapes, strict=True)
        )
        images = 8 * max(math.prod(shape) for shape in image_shapes)
        held = 4 * (len(self.angles) + 1) * pixels  # half planes
        return held + 8 * len(self.angles) * pixels + rotating + images + 40 * pixels

    def _sampling(self, angle: float, shape: Shape) -> SplineSampling:
        """Return what turns images of a shape back; made once."""
        key = angle, shape
        if key not in self._back:
            self._back[key] = (
                self._exact_back(angle, shape)
                if self._is_exact
                else Rotation(
                    shape, -angle, reshape=True, crop=self.output_shape, device=self._device
                )
            )
        return self._back[key]

    def _exact_back(self, angle: float, shape: Shape) -> SplineSampling:
        """Return the map from the result to a rotated image by way of the plain slice's frame.

        The network enlarges such that pixel j of its result lies at (j + 0.5) / 1.5 - 0.5 of what
        it was given; what it was given is the plain slice, rotated about its centre.
        """
        matrix, offset, canvas = rotation_map(self._plain_shape(), angle, reshape=True)
        enlarged = tuple(int(ENLARGED * length) for length in canvas)
        if shape != enlarged:
            raise ValueError(f"image of {shape} at {angle} degrees, expected {enlarged}")
        half = (1 - ENLARGED) / 2
        back = matrix.T
        there = np.round(ENLARGED * (back @ (half / ENLARGED - offset)) - half, DIGITS)
        # Where half a pixel was rounded off the image, the result reaches beyond it.
        margin = 0 if angle % 360 == 0 else MARGIN
        source = shape[0] + 2 * margin, shape[1] + 2 * margin
        return SplineSampling(source, back, there + margin, self.output_shape, device=self._device)

    def _plain_shape(self) -> Shape:
        """Return the plain slice's shape: the only one that is enlarged to this result's."""
        y, x = (math.ceil(length / ENLARGED) for length in self.output_shape)
        return y, x

    def _enlarged(self, raw_slice: Tensor) -> Tensor:
        plain = raw_slice.to(self._device).double()
        return cubic_resize(plain, self.output_shape, scale=ENLARGED if self._is_exact else None)

    def _transfer(self, optics: Optics) -> list[Tensor]:
        """Return the centred transfer functions on the result's grid: detection, side bands."""
        band0 = self._resized(2 * optics.otf0)
        # Side bands lie along y in the file; the network super-resolves along x.
        upright = torch.from_numpy(np.ascontiguousarray(optics.otf1, np.float64))[None]
        size = upright.shape[1], upright.shape[2]
        lying = Rotation(size, 90, reshape=True, device="cpu")(upright)
        bands = [
            self._resized(Rotation(size, -angle, reshape=False, device="cpu")(lying)[0].numpy())
            for angle in self.angles
        ]
        return [band0, *bands]

    def _resized(self, centred: npt.NDArray[Any]) -> Tensor:
        plane = torch.from_numpy(np.ascontiguousarray(centred, np.float64))
        return cubic_resize(plane, self.output_shape)

    def _half(self, centred: Tensor) -> Tensor:
        """Return the half of a real filter that acts on the half spectrum of a real image.

        Of a filter that differs at opposite frequencies, only the mean of both reaches the real
        part of the result.
        """
        whole = torch.fft.ifftshift(centred)
        opposite = whole.flip((0, 1)).roll((1, 1), (0, 1))
        half: Tensor = ((whole + opposite) / 2)[:, : self.output_shape[1] // 2 + 1]
        return half.contiguous().to(self._device)


def _not_cancelling(bands: list[Tensor], floor: float) -> list[Tensor]:
    """Return transfer functions that are not negative where their sum all but cancels `floor`.

    Cubic interpolation overshoots, below zero beside an edge such as that of an ideal transfer
    function. Where the sum stays clear of `-floor` nothing is changed, as with the published ones.
    """
    cancels = torch.stack(bands).sum(0) < -floor / 2
    return [torch.where(cancels, band.clamp(min=0), band) for band in bands]


def top(values: Tensor, percent: float) -> float:
    """Return the mean of the values strictly above a percentile (numpy's linear one).

    Parameters
    ----------
    values : tensor
        Any shape, not empty.
    percent : float
        From 0 to 100.

    Returns
    -------
    float
        The largest value where none is above, as in what is constant or saturated.
    """
    flat = values.flatten().double()
    place = percent / 100 * (flat.numel() - 1)
    below = int(place)
    lower = flat.kthvalue(below + 1).values
    above = flat[flat > lower]
    if above.numel() == 0:
        return float(lower)
    if place > below and flat.numel() - above.numel() == below + 1:
        upper = above.min()
        part, step = place - below, upper - lower
        limit = lower + step * part if part < 0.5 else upper - step * (1 - part)
        above = above[above > limit]
    return float(above.mean()) if above.numel() else float(upper)


def _unit(plane: Tensor) -> Tensor:
    """Return a plane scaled to [0, 1); a constant one becomes zero."""
    low, high = plane.aminmax()
    return ((plane - low) / (high - low + EPSILON)).clamp_(0, 1)
