"""A specimen that lies on a mirror, and its mirror image, as a tilted microscope meets them.

Frames: that of the microscope is (z, y, x), with z along the detection axis; that of the coverslip
has an axis along its normal, towards the mirror and on to the reflected image. Both have their
origin in the middle of the volume, so that where the mirror lies in a volume that is rotated about
its middle is known exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vemctl.samples.dual_views import VOXEL_NM
from vemctl.samples.filaments import Specimen, Structure, fluorescent
from vemctl.samples.lattice import INPUT_FWHM_NM, PIXEL_NM
from vemctl.samples.painting import Double, Rng, Triple

PLANE_NM = PIXEL_NM  # from plane to plane, across them


@dataclass(frozen=True)
class Mirror:
    """A coverslip that is a mirror, and what lies on it.

    Attributes
    ----------
    tilt
        Degrees between the detection axis and the normal, from 0 to below 90, about x.
    angle_x
        Degrees of another tilt, in the plane of the normal and x.
    offset_nm
        How far the mirror lies from the middle of the volume, along its normal.
    thickness_nm
        How far the specimen reaches from the mirror.
    reflectance
        How bright the mirror image is, the specimen being 1.

    Raises
    ------
    ValueError
        If a length is not positive, or the reflectance or an angle not possible.
    """

    tilt: float
    angle_x: float
    offset_nm: float
    thickness_nm: float
    reflectance: float

    def __post_init__(self) -> None:
        if not (0 <= self.tilt < 90 and abs(self.angle_x) < 45):
            raise ValueError(
                "expected a tilt of 0 to below 90 degrees and an angle_x within 45, got "
                f"{self.tilt} and {self.angle_x}"
            )
        if not (math.isfinite(self.offset_nm) and self.thickness_nm > 0):
            raise ValueError(
                "expected a mirror at a finite distance and a thickness above 0 nm, got "
                f"{self.offset_nm} and {self.thickness_nm}"
            )
        if not 0 <= self.reflectance <= 1:
            raise ValueError(f"expected a reflectance of 0 to 1, got {self.reflectance}")

    def plane(self, shape: Triple) -> float:
        """Return the plane of the mirror in a stack that is rotated and cropped, from 0.

        Parameters
        ----------
        shape
            Of the stack, (z, y, x), before and after, with voxels of 92.6 x 61.7 x 61.7 nm before
            and cubes of 61.7 nm after.

        Returns
        -------
        float
            The rotated stack is as large as its parts reach, in whole voxels, and has the same
            middle. Of what is too much, half is cut off at either end; of an odd number, one more
            at the beginning.
        """
        planes, rows, columns = shape
        sine, cosine = _sine_and_cosine(self.tilt)
        depth = rows * sine + planes * PLANE_NM / VOXEL_NM * cosine
        sine, cosine = _sine_and_cosine(self.angle_x)
        size = math.ceil(columns * abs(sine) + depth * cosine)
        more = size - planes
        half = (abs(more) + 1) // 2
        before = half if more > 0 else -half
        return (size - 1) / 2.0 - before + self.offset_nm / VOXEL_NM

    def doubled(self, rng: Rng, extent_nm: Double, structure: Structure) -> Specimen:
        """Return points of a specimen and of its mirror image, in the microscope's frame.

        Parameters
        ----------
        rng
            Where they come from.
        extent_nm
            Edge lengths of the volume that begins at 0, (z, y, x); the specimen fills what it
            shows of the coverslip.
        structure
            ``filaments``, mostly parallel to the coverslip, or ``puncta``.
        """
        sine, cosine = _sine_and_cosine(self.tilt)
        length = extent_nm[1] * cosine + extent_nm[0] * sine
        box = np.array([self.thickness_nm, length, extent_nm[2]])
        specimen = fluorescent(rng, box, structure, INPUT_FWHM_NM[2])
        height = specimen.places[:, 0]
        on_it = (height > 0.0) & (height < self.thickness_nm)
        height, along, x = specimen.places[on_it].T
        brightness = specimen.brightness[on_it]
        places = self._in_microscope(
            self.offset_nm + np.concatenate([-height, height]),
            np.tile(along - 0.5 * box[1], 2),
            np.tile(x - 0.5 * box[2], 2),
        )
        both = np.concatenate([brightness, self.reflectance * brightness])
        return Specimen(places + 0.5 * extent_nm, both)

    def _in_microscope(self, normal: Double, along: Double, x: Double) -> Double:
        """Return places of the coverslip's frame in the microscope's, (points, 3)."""
        sine, cosine = _sine_and_cosine(self.angle_x)
        depth = cosine * normal - sine * x
        x = sine * normal + cosine * x
        sine, cosine = _sine_and_cosine(self.tilt)
        return np.stack([cosine * depth - sine * along, sine * depth + cosine * along, x], axis=-1)


def _sine_and_cosine(degrees: float) -> tuple[float, float]:
    """Return both of an angle in degrees."""
    return math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
