"""The transfer functions that join orientations, and the files in which they come.

Imports no torch.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import WeightsError
from vemctl_vsisr.proportions import COUNTS, ENLARGED

Floats = npt.NDArray[np.float64]
PUBLISHED_PIXEL = 92.6
"""Nanometres, of the low-resolution images of the authors' microscope."""
OFF_CENTRE = 2.0
"""Pixels by which the centre of mass may miss frequency zero."""
LARGEST = 8192
"""Pixels along a side of a transfer function."""
LYING = 1.2
"""Times as far as along y, and side bands lie along x."""
SUFFIXES = (".tif", ".tiff", ".npy")


@dataclass(frozen=True)
class Optics:
    """What a microscope transfers, as centred arrays: frequency zero is at index n / 2.

    Attributes
    ----------
    otf0 : ndarray, (n, n) float64
        Magnitude of the transfer function of the detection; 1 stands for 65535 in a file. On the
        frequencies of the low-resolution image.
    otf1 : ndarray, (n, n) float64
        That of the side bands, which lie along y; otherwise alike.
    apodisation : ndarray, (m, m) float32 or float64
        Factor of the plain image's spectrum, on the frequencies of the super-resolved image.
    pixel : float
        Of the low-resolution image for which the arrays are made, nm.
    """

    otf0: Floats
    otf1: Floats
    apodisation: npt.NDArray[Any]
    pixel: float = PUBLISHED_PIXEL

    def on_physical_grid(self, pixel: float) -> Optics:
        """Return the arrays such that their edges are at the highest frequency of the result.

        The published program takes `otf0` and `otf1` for such as they are, and so stretches them
        1.5 times; here they are surrounded by zeros first.

        Parameters
        ----------
        pixel : float
            Of the low-resolution image that is restored, nm.
        """
        ratio = self.pixel / pixel  # of the highest frequencies, theirs to these
        return Optics(
            resized_band(self.otf0, ENLARGED * ratio),
            resized_band(self.otf1, ENLARGED * ratio),
            resized_band(self.apodisation, ratio),
            pixel,
        )


def resized_band(centred: npt.NDArray[Any], factor: float) -> npt.NDArray[Any]:
    """Return a centred array on `factor` times as wide a band: cut, or surrounded by zeros."""
    size = len(centred)
    wanted = 2 * max(1, round(size * factor / 2))
    before = wanted // 2 - size // 2
    if before >= 0:
        return np.pad(centred, (before, wanted - size - before))
    return centred[-before : wanted - before, -before : wanted - before]


def load_optics(folder: Path, *, pixel: float = PUBLISHED_PIXEL) -> Optics:
    """Load the transfer functions of a folder: OTF0, OTF1 and an apodisation, .tif or .npy.

    Parameters
    ----------
    folder : Path
        Holds ``OTF0.tif``, ``OTF1.tif`` and one ``apo*.tif``; or ``.tiff`` or ``.npy``.
    pixel : float
        Of the low-resolution image for which they are made, nm.

    Raises
    ------
    WeightsError
        A file is missing, damaged, or no centred transfer function.
    """
    if not folder.is_dir():
        raise WeightsError(
            f"{folder}: no such folder; expected one with OTF0.tif, OTF1.tif and apo*.tif"
        )
    otf0, otf1, apodisation = (_only(folder, stem) for stem in ("OTF0", "OTF1", "apo*"))
    return load_optics_files(otf0, otf1, apodisation, pixel=pixel)


def load_optics_files(
    otf0: Path, otf1: Path, apodisation: Path, *, pixel: float = PUBLISHED_PIXEL
) -> Optics:
    """Load three files; see `load_optics` and `Optics`.

    Whole numbers are of 16 bits and are divided by 65535; floating-point ones stay as they are.
    """
    arrays = [load_centred(path) for path in (otf0, otf1, apodisation)]
    if arrays[0].shape != arrays[1].shape:
        raise WeightsError(
            f"{otf1}: has the shape {arrays[1].shape}, but {otf0.name} has {arrays[0].shape}; "
            f"expected the same"
        )
    _check_side_bands(arrays[1], otf1)
    return Optics(arrays[0].astype(np.float64), arrays[1].astype(np.float64), arrays[2], pixel)


def load_centred(path: Path) -> npt.NDArray[Any]:
    """Load one array and see whether it may be a centred transfer function.

    Returns
    -------
    ndarray, (n, n) float32 or float64
    """
    values = _read(path)
    if values.dtype == np.uint16:
        values = values / COUNTS
    elif values.dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
        raise WeightsError(
            f"{path}: holds {values.dtype}; expected uint16 (65535 for one), float32 or float64"
        )
    if values.ndim != 2 or values.shape[0] != values.shape[1] or values.shape[0] % 2:
        raise WeightsError(
            f"{path}: has the shape {values.shape}; expected one square image with an even number "
            f"of pixels along each side"
        )
    if not np.isfinite(values).all() or values.min() < 0 or values.max() <= 0:
        raise WeightsError(f"{path}: expected magnitudes, finite and not negative, not all zero")
    if values.max() > ENLARGED:
        raise WeightsError(
            f"{path}: reaches {values.max():g}; expected values of at most 1 where they are no "
            f"uint16, so divide them by their largest"
        )
    centre, weights = values.shape[0] // 2, values.astype(np.float64)
    off = [
        float((weights.sum(axis=1 - axis) * (np.arange(2 * centre) - centre)).sum() / weights.sum())
        for axis in (0, 1)
    ]
    if max(map(abs, off)) > OFF_CENTRE:
        raise WeightsError(
            f"{path}: its centre of mass is {off[0]:.1f}, {off[1]:.1f} pixels off pixel "
            f"{centre}, {centre}; expected frequency zero there (fftshift)"
        )
    return values


def load_beads(path: Path) -> npt.NDArray[Any]:
    """Load the image of a bead, (z, y, x), from a TIFF or a .npy.

    Raises
    ------
    WeightsError
        It cannot be read.
    """
    import tifffile

    try:
        if path.suffix.lower() == ".npy":
            return _plain(np.load(path, allow_pickle=False), path)
        return np.asarray(tifffile.imread(path))
    except (OSError, ValueError, RuntimeError, tifffile.TiffFileError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{path}: cannot be read ({reason}); expected a stack of one bead as .tif or .npy"
        ) from None


def _check_side_bands(otf1: npt.NDArray[Any], path: Path) -> None:
    """Refuse side bands that lie along x, by which a volume would be joined wrongly."""
    squares = (np.arange(len(otf1)) - len(otf1) // 2) ** 2
    along_y = float((otf1.sum(axis=1) * squares).sum())
    along_x = float((otf1.sum(axis=0) * squares).sum())
    if along_x > LYING * along_y:
        raise WeightsError(
            f"{path}: its side bands lie along x; expected them above and below the centre, along "
            f"y: transpose it"
        )


def _plain(loaded: Any, path: Path) -> npt.NDArray[Any]:
    if not isinstance(loaded, np.ndarray):
        raise WeightsError(f"{path}: an archive of arrays; expected a .npy of one")
    return loaded


def _only(folder: Path, stem: str) -> Path:
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.with_suffix("").match(stem)
    )
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise WeightsError(f"{folder}: expected one {stem}.tif (or .npy), found {names}")
    return found[0]


def _read(path: Path) -> npt.NDArray[Any]:
    """Read a .npy, or a TIFF of one page by Pillow, which knows PackBits."""
    from PIL import Image

    try:
        if path.suffix.lower() == ".npy":
            return _plain(np.load(path, allow_pickle=False), path)
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise WeightsError(f"{path}: has several pages; expected one image")
            if max(image.size) > LARGEST:
                raise WeightsError(
                    f"{path}: has {image.size[0]} x {image.size[1]} pixels; expected at most "
                    f"{LARGEST} along each side"
                )
            return np.asarray(image)
    except Image.DecompressionBombError:
        raise WeightsError(
            f"{path}: too large for a transfer function; expected an image"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, SyntaxError, struct.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{path}: cannot be read ({reason}); expected a .tif of one image, or a .npy"
        ) from None
