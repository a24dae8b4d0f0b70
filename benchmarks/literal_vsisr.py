"""Meta-VSI-SR's inference word by word, as it was published; `vsisr.py` compares ours with it.

Windows of seven slices go one by one through the network, and each is rotated anew: a slice up to
seven times per angle. Rotations are scipy's, enlargements torch's bicubic interpolation, which is
that of OpenCV; what the published program writes to files in between, and reads again, stays in
memory, but as whole numbers, as there.

Source: the specification of the published inference, sections 2, 3.1 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

Floats = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.uint16]
SLICES = 7  # of a window
ANGLES = (0, 60, 120)
BLOCKS = 16
WEIGHT, WIENER = 8.0, 0.1
APODISING_POWER = 2
PERCENTILE = 99.0  # what is brighter makes the intensity of a slice
NAMES = ("OTF0.tif", "OTF1.tif", "apo_0.9_1.5.tif")

# -------------------------------------------------------------------------------- as published


class LiteralGenerator(nn.Module):
    """The published generator with its flat list of parameters, (n, 7, y, x) to 1.5 times x, y."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(64, 7, 3, 3)]
        for _ in range(BLOCKS):
            shapes += [(64, 64, 3, 3), (64, 64, 3, 3), (4, 64, 1, 1), (64, 4, 1, 1)]
        shapes += [(256, 64, 3, 3), (3, 256, 3, 3)]
        self.vars = nn.ParameterList()
        for shape in shapes:
            self.vars.append(torch.zeros(shape))
            self.vars.append(torch.zeros(shape[0]))

    def forward(self, x: Tensor) -> Tensor:
        def conv(x: Tensor, index: int) -> Tensor:
            weight, bias = self.vars[index], self.vars[index + 1]
            return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

        x = conv(x, 0)
        for first in range(2, 2 + 8 * BLOCKS, 8):
            y = functional.leaky_relu(conv(x, first), 0.2)
            y = functional.leaky_relu(conv(y, first + 2), 0.2)
            gate = functional.adaptive_avg_pool2d(y, 1)
            gate = torch.sigmoid(conv(functional.relu(conv(gate, first + 4)), first + 6))
            x = x + y * gate
        x = functional.interpolate(x, scale_factor=1.5, mode="bilinear", align_corners=False)
        tail = 2 + 8 * BLOCKS
        x = functional.leaky_relu(conv(x, tail), 0.2)
        return functional.leaky_relu(conv(x, tail + 2), 0.2)


def prctile_norm(x: Floats) -> Floats:
    """Scale the least to 0 and the greatest to about 1."""
    low, high = np.percentile(x, 0), np.percentile(x, 100)
    return np.clip((x - low) / (high - low + 1e-7), 0, 1)


def as_counts(x: Floats) -> Counts:
    return (65535 * x).astype(np.uint16)


@torch.no_grad()
def rotation(volume: Floats, network: nn.Module, angle: int, device: str) -> Counts:
    """Return slices of one orientation, still rotated, from normalised ones, (z, y, x)."""
    outputs = []
    for first in range(len(volume) - SLICES + 1):
        window = volume[first : first + SLICES]
        if angle:
            window = ndimage.rotate(window, angle, axes=(1, 2), reshape=True)
        x = torch.from_numpy(np.ascontiguousarray(window, np.float32))[None].to(device)
        outputs.append(prctile_norm(network(x)[0].cpu().numpy()))
    slices = []
    for number in range(len(outputs)):
        planes = [
            outputs[other][1 + number - other]
            for other in (number - 1, number, number + 1)
            if 0 <= other < len(outputs)
        ]
        slices.append(np.mean(planes, axis=0))
    return as_counts(np.stack(slices))


def cubic(image: Floats, size: tuple[int, int]) -> Floats:
    """Resize an image as OpenCV's INTER_CUBIC does."""
    if image.shape == size:
        return image.copy()
    x = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    y = functional.interpolate(x, size=size, mode="bicubic", align_corners=False)
    resized: Floats = y[0, 0].numpy()
    return resized


def transform(image: Floats) -> npt.NDArray[np.complexfloating[Any, Any]]:
    return np.fft.fftshift(np.fft.fft2(image))


def centre_crop(image: Floats, size: tuple[int, int]) -> Floats:
    if image.shape == size:
        return image
    starts = []
    for length, wanted in zip(image.shape, size, strict=True):
        start = round(length / 2) - wanted // 2
        starts.append(start if wanted % 2 == 0 else start - 1)
    (top, left), (height, width) = starts, size
    return image[top : top + height, left : left + width]


class Optics(NamedTuple):
    """What the published files hold: both transfer functions as counts, and the apodisation."""

    otf0: npt.NDArray[Any]
    otf1: npt.NDArray[Any]
    apodisation: npt.NDArray[np.float32]


def recombine_singleslice(oriented: list[Counts], raw: Counts, optics: Optics) -> Floats:
    """Return one slice out of those of all orientations, and of the raw one."""
    size = tuple(oriented[0].shape)
    apo = cubic(optics.apodisation**APODISING_POWER, size)
    o0 = cubic(optics.otf0 / 65535 * 2, size)
    o1 = ndimage.rotate(optics.otf1 / 65535, 90)
    wide = transform(cubic(raw.astype(np.float64), size))
    numerator, denominator, mean = 0.0, o0 + WIENER**2, 0.0
    for number, image in enumerate(oriented):
        o1_i = cubic(ndimage.rotate(o1, -60 * number, reshape=False), size)
        turned = ndimage.rotate(image.astype(np.float64), -60 * number, reshape=True)
        if number == 0:
            mean = turned.mean()
        f = transform(65535 * prctile_norm(centre_crop(turned, size)))
        numerator = numerator + (o0 + WEIGHT * o1_i) * f
        denominator = denominator + o1_i
    numerator = numerator - (len(oriented) - 1) * o0 * (wide * apo)
    made = np.real(np.fft.ifft2(np.fft.ifftshift(numerator / denominator)))
    made[made < 0] = 0
    made = prctile_norm(made)
    return mean * made / made.mean()


def top(image: npt.NDArray[Any]) -> float:
    return float(image[image > np.percentile(image, PERCENTILE)].mean())


def profile(raw: Counts) -> Floats:
    """Return how bright each slice is, smoothed along z, the brightest 1."""
    values = [top(image) for image in raw]
    smoothed = []
    for number in range(len(values)):
        half = min(number, len(values) - 1 - number, 5)
        smoothed.append(np.mean(values[number - half : number + half + 1]))
    return np.array(smoothed) / max(smoothed)


def literal_program(
    volume: Counts, network: nn.Module, optics: Optics, device: str = "cpu"
) -> tuple[Counts, Counts]:
    """Reconstruct a volume.

    Parameters
    ----------
    volume : ndarray, (z, y, x)
        At least 17 slices. Super-resolution is along x.
    network : nn.Module
        On the device.
    optics : Optics
    device : str

    Returns
    -------
    stack : ndarray, (z - 6, floor(1.5 y), floor(1.5 x))
    projection : ndarray, (1, floor(1.5 y), floor(1.5 x))
        The maximum along z.
    """
    normalised = prctile_norm(volume.astype(np.float32))
    oriented = [rotation(normalised, network, angle, device) for angle in ANGLES]
    raw = as_counts(normalised[3:-3])
    intensities, slices = profile(raw), []
    for number, intensity in enumerate(intensities):
        made = recombine_singleslice([each[number] for each in oriented], raw[number], optics)
        slices.append(intensity * made / top(made))
    stack = np.stack(slices)
    return as_counts(prctile_norm(stack)), as_counts(prctile_norm(stack.max(0)))[None]


# ------------------------------------------------------------------------- its optics and weights


def load_optics(folder: Path) -> Optics:
    """Read the three files of a wavelength."""
    return Optics(*(np.asarray(Image.open(folder / name)) for name in NAMES))


def make_optics(
    folder: Path, *, detection: float = 1.0, emission: float = 0.52, excitation: float = 0.4,
    laser: float = 0.488, pixel: float = 0.0926,
) -> Optics:  # fmt: skip
    """Write and return ideal optics, on the grids that the published files have.

    Parameters
    ----------
    folder : Path
        It gets the three files.
    detection, excitation : float
        Numerical apertures.
    emission, laser : float
        Wavelengths, in micrometres.
    pixel : float
        Of the raw data, in micrometres.
    """
    edge, fine = 512, 768
    step = 1 / (edge * pixel)  # per micrometre
    cutoff = 2 * detection / emission / step
    otf0 = np.rint(65535 * ideal_otf(edge, cutoff))
    shift = int(2 * excitation / laser / step)
    otf1 = np.roll(otf0, shift, axis=0) + np.roll(otf0, -shift, axis=0)
    otf1 = np.rint(65535 * (otf1 - otf1.min()) / np.ptp(otf1))
    apodisation = ideal_otf(fine, 1.5 * cutoff) ** 0.9
    made = Optics(otf0.astype(np.uint16), otf1.astype(np.uint16), apodisation.astype(np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(NAMES, made, strict=True):
        Image.fromarray(image).save(folder / name)
    return made


def ideal_otf(edge: int, cutoff: float) -> Floats:
    """Return the transfer function of a circular pupil; frequency 0 is at index edge / 2."""
    from_centre = np.arange(edge) - edge // 2
    q = np.minimum(np.hypot(from_centre[:, None], from_centre) / cutoff, 1)
    return 2 / math.pi * (np.arccos(q) - q * np.sqrt(1 - q**2))


def seeded() -> dict[str, Tensor]:
    """Return random weights, of values that neither vanish nor grow from layer to layer."""
    random, tensors = torch.Generator().manual_seed(0), {}
    for name, tensor in LiteralGenerator().state_dict().items():
        noise = torch.randn(tensor.shape, generator=random)
        is_weight = tensor.ndim > 1
        tensors[name] = noise / math.sqrt(math.prod(tensor.shape[1:])) if is_weight else 0.1 * noise
    return tensors


def loaded(tensors: Mapping[str, Tensor], device: str = "cpu") -> LiteralGenerator:
    """Return the network of these weights."""
    network = LiteralGenerator()
    network.load_state_dict(tensors)
    return network.to(device).eval()
