"""What the tests of rldfn share: two small views, point spread functions and weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
import torch
from parity import load_fixture, load_shapes, seeded_state_dict
from scipy import ndimage
from vemctl_rldfn.psfs import theoretical_psf

from vemctl.volumes.open import open_volume
from vemctl.workflows.new_volumes import VolumeMaker

VOXEL = 61.73
SHAPE = (4, 22, 20)
SIDE = 9
WEIGHTS = ("-w", "fusion")
PSFS = ("--psf-a", "psf_a.tif", "--psf-b", "psf_b.tif")
SMALL = ("--tile", "4,20,20", "--margin", "4")
"""For speed: a tile of few planes, with margins beyond which the network sees."""
PREDICT = (*WEIGHTS, *PSFS, *SMALL)


def psf_of(view: str, side: int = SIDE) -> np.ndarray:
    """Return a point spread function that fits into a small volume."""
    return theoretical_psf(view, fwhm_lateral=120, fwhm_axial=300, voxel_size=VOXEL, size=side)


def views_of(shape: Sequence[int] = SHAPE, seed: int = 0) -> list[np.ndarray]:
    """Return both views of spots, 16 bit, the second one half as bright."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(shape) > 0.99, rng.uniform(0.3, 1, shape), 0)
    views = []
    for view, brightness in (("a", 40_000), ("b", 20_000)):
        blurred = ndimage.convolve(truth, psf_of(view).astype(np.float64), mode="constant")
        views.append((brightness * blurred / blurred.max() + 100).astype(np.uint16))
    return views


def write_zarr(folder: Path, name: str, values: np.ndarray) -> None:
    """Write an OME-Zarr volume of cubic voxels, whose ending is not in the name."""
    made = VolumeMaker(folder)(name, values.shape, values.dtype.name, (VOXEL, VOXEL, VOXEL))
    made.append(values)
    made.close()


def write_volume(path: Path, values: np.ndarray, *, axes: str = "ZYX", nm: float = VOXEL) -> None:
    """Write a TIFF of cubic voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        values,
        imagej=True,
        resolution=(1e3 / nm, 1e3 / nm),
        metadata={"axes": axes, "unit": "um", "spacing": nm / 1e3},
    )


def write_fusion(folder: Path, networks: Sequence[str] = ("net_FA", "net_G")) -> None:
    """Write seeded networks as the published program does, of which it may be all five."""
    shapes = load_shapes("rldfn_checkpoint_keys.json")
    write_networks(folder, seeded_state_dict(shapes, seed=1, gain=1.4), networks)


def write_networks(
    folder: Path, state: dict[str, torch.Tensor], networks: Sequence[str] = ("net_FA", "net_G")
) -> None:
    """Write each network to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in networks:
        prefix = f"{name}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        torch.save(own, folder / f"{name}.pth")


def write_all(folder: Path) -> None:
    """Write views, point spread functions and weights, by the names that `PREDICT` has."""
    for view, values in zip("ab", views_of(), strict=True):
        write_volume(folder / f"{view}.tif", values)
        tifffile.imwrite(folder / f"psf_{view}.tif", psf_of(view))
    write_fusion(folder / "fusion")


def write_published(folder: Path) -> dict[str, np.ndarray]:
    """Write what the published scripts were given, and return that and what they wrote."""
    _, arrays, state = load_fixture("rldfn_tiled")
    write_networks(folder / "published", state)
    for view in "AB":
        tifffile.imwrite(folder / f"{view}.tif", arrays[f"view_{view}"])
        tifffile.imwrite(folder / f"psf_{view}.tif", arrays[f"psf{view}"])
    return arrays


def whole(path: Path, **where: int) -> np.ndarray:
    """Read a volume."""
    volume = open_volume(path)
    z, y, x = (slice(0, n) for n in volume.header.shape)
    return volume.read((z, y, x), **where)
