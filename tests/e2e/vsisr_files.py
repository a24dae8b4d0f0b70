"""What the tests of vsisr share: small volumes, a microscope, and the method in a few lines."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
import torch
from scipy import ndimage
from vemctl_vsisr.intensities import moving_mean
from vemctl_vsisr.network import Generator
from vemctl_vsisr.optics import Optics, load_optics
from vemctl_vsisr.recombining import JointReconstruction
from vemctl_vsisr.transfer_functions import build_optics, ideal_otf

from vemctl.volumes.open import open_volume

SHAPE = (10, 22, 18)
PIXEL = 92.6
PREDICT = ("-w", "small.pth", "--otf", "optics")


def blobs(shape: Sequence[int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Return a smooth volume of 16-bit counts, from 100 to 5100."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.0)
    unit = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return (5000 * unit + 100).astype(np.uint16)


def write_stack(path: Path, values: np.ndarray, axes: str = "ZYX") -> None:
    """Write a TIFF with the pixels of the authors' microscope."""
    tifffile.imwrite(
        path,
        values,
        imagej=True,
        resolution=(1e3 / PIXEL, 1e3 / PIXEL),
        metadata={"axes": axes, "unit": "um", "spacing": 0.2},
    )


def write_deltavision(
    path: Path, values: np.ndarray, spacing: tuple[float, float, float] = (200.0, PIXEL, PIXEL)
) -> None:
    """Write what a microscope writes, (z, y, x) uint16 or float32; the spacing is in nanometres."""
    header = bytearray(1024)
    mode = {"uint16": 6, "float32": 2}[values.dtype.name]
    struct.pack_into("<4i", header, 0, *values.shape[::-1], mode)
    struct.pack_into("<3f", header, 40, *(length / 1000 for length in spacing[::-1]))
    struct.pack_into("<3i", header, 64, 1, 2, 3)
    struct.pack_into("<h", header, 96, -16224)
    struct.pack_into("<h", header, 180, 1)
    struct.pack_into("<h", header, 196, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(header) + values.tobytes())


def write_cell(folder: Path, seed: int) -> None:
    """Write raw sections of one signal-to-noise level, and their reconstruction with spots."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((12, 45, 60), np.float32)
    for _ in range(12):
        truth[tuple(int(n * rng.uniform(0.2, 0.8)) for n in truth.shape)] = rng.uniform(300, 900)
    truth = 60 * ndimage.gaussian_filter(truth, (2, 2.5, 2.5))
    poor = ndimage.zoom(truth, (1, 2 / 3, 2 / 3), order=1).clip(0)
    sections = rng.poisson(100 + np.repeat(poor, 3, axis=0)).astype(np.uint16)
    write_deltavision(folder / "Illum488_Cyc1_Ch1_St1.mrc", sections)
    name = "Illum488_Cyc1_Ch1_St5-wiener0.02-fixk0-Fd.mrc"
    write_deltavision(folder / name, truth, (200.0, PIXEL / 1.5, PIXEL / 1.5))


def write_microscope(folder: Path, cutoff: float = 26.0) -> None:
    """Write transfer functions of few pixels, 16 bit and floats."""
    made = build_optics(
        numerical_aperture=1.1,
        emission=525,
        excitation_aperture=0.4,
        excitation=488,
        pixel=PIXEL,
        otf0=ideal_otf(64, cutoff),
    )
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "OTF0.tif", np.rint(65535 * made.otf0).astype(np.uint16))
    tifffile.imwrite(folder / "OTF1.tif", np.rint(65535 * made.otf1).astype(np.uint16))
    np.save(folder / "apo.npy", made.apodisation)


def write_generator(path: Path) -> None:
    """Write the weights of a generator of one block, as the published program would."""
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    torch.save(Generator(7, 1, 1, 3).state_dict(), path)
    torch.random.set_rng_state(state)


def write_all(folder: Path) -> None:
    """Write a volume, a microscope and weights, by the names that `PREDICT` has."""
    write_stack(folder / "in.tif", blobs())
    write_microscope(folder / "optics")
    write_generator(folder / "small.pth")


def whole(path: Path, **where: int) -> np.ndarray:
    """Read a volume."""
    volume = open_volume(path)
    z, y, x = (slice(0, n) for n in volume.header.shape)
    return volume.read((z, y, x), **where)


def tops(stack: np.ndarray, percent: float = 99.0) -> np.ndarray:
    """Return how bright each slice is: the mean above a percentile, of a blank one its value."""
    above = [plane[plane > np.percentile(plane, percent)] for plane in stack.astype(float)]
    return np.array(
        [
            bright.mean() if bright.size else plane.max()
            for bright, plane in zip(above, stack, strict=True)
        ]
    )


def composed(
    volume: np.ndarray,
    folder: Path,
    *,
    orientations: int = 3,
    adjust: bool = True,
    **joining: object,
) -> np.ndarray:
    """Restore a volume in memory, step after step as the published program does, to 16 bits."""
    network = Generator(7, 1, 1, 3)
    network.load_state_dict(torch.load(folder / "small.pth", weights_only=True))
    optics: Optics = load_optics(folder / "optics")
    low, span = np.float32(volume.min()), float(np.ptp(volume))
    unit = ((volume.astype(np.float32) - low) / np.float32(span + 1e-7 * span)).clip(0, 1)
    angles = [180 / orientations * number for number in range(orientations)]
    stacks = [_super_resolved(unit, angle, network) for angle in angles]
    raw = np.floor(65535 * unit[3:-3])
    _, y, x = volume.shape
    joint = JointReconstruction((y * 3 // 2, x * 3 // 2), optics, angles=angles, **joining)
    joined = np.stack(
        [
            joint([torch.from_numpy(plane) for plane in planes], torch.from_numpy(own)).numpy()
            for *planes, own in zip(*stacks, raw, strict=True)
        ]
    )
    if adjust:
        profile = moving_mean(tops(unit[3:-3]))
        joined *= (profile / profile.max() / tops(joined))[:, None, None]
    joined = (joined - joined.min()) / (joined.max() - joined.min())
    return np.floor(65535 * joined).astype(np.uint16)


def _super_resolved(unit: np.ndarray, angle: float, network: Generator) -> np.ndarray:
    """Return slices of one orientation, still rotated, in counts."""
    turned = ndimage.rotate(unit, angle, axes=(1, 2), reshape=True)
    with torch.inference_mode():
        made = [network(torch.from_numpy(turned[None, z : z + 7])) for z in range(len(unit) - 6)]
    windows = [(w[0] - w.min()) / (w.max() - w.min() + 1e-7) for w in made]
    means = []
    for z in range(len(windows)):
        around = [k for k in (z - 1, z, z + 1) if 0 <= k < len(windows)]
        means.append(torch.stack([windows[k][z - k + 1] for k in around]).mean(dim=0))
    return np.floor(65535 * torch.stack(means).numpy())
