"""How the reflecting plane of a volume is removed: parameters per structure. Imports no numpy."""

from __future__ import annotations

from dataclasses import dataclass

from vemctl.errors import OptionError, nearest


@dataclass(frozen=True)
class MidplanePreset:
    """The parameters of the removal of the reflecting plane.

    Attributes
    ----------
    gauss_window : int
        Standard deviation in pixels of the narrow line that is fitted to the plane, and of the
        edge between the image and its reflection.
    scale_factor : int
        By how much the second, broad line is broader.
    line_weight : float
        Of the narrow line in the mask, that of the broad one being 1.
    modulation : float
        The mask takes away all but twice this share of what lies in the plane, from 0 to 0.5.
    num_average : int
        Slices that are averaged to see by how much the plane drifts along z.
    max_iterations : int
        Of shifting and tilting the line.
    shift_step : int
        Pixels.
    tilt_step : float
        Degrees.
    """

    gauss_window: int
    scale_factor: int
    line_weight: float
    modulation: float
    num_average: int
    max_iterations: int = 3
    shift_step: int = 1
    tilt_step: float = 0.1


MIDPLANE_PRESETS = {
    "er": MidplanePreset(15, 5, 1.0, 0.2, 21),
    "lifeact": MidplanePreset(30, 2, 1.0, 0.2, 21),
    "lyso": MidplanePreset(21, 5, 0.2, 0.2, 15),
    "mt": MidplanePreset(15, 5, 1.0, 0.3, 21),
    "skl": MidplanePreset(11, 3, 0.5, 0.3, 15),
}
"""Those of the authors, by structure: endoplasmic reticulum, Lifeact, lysosomes, microtubules, and
peroxisomes (SKL)."""


def midplane_preset(name: str) -> MidplanePreset:
    """Return the parameters for a structure.

    Parameters
    ----------
    name : str
        A key of `MIDPLANE_PRESETS`, in upper or lower case.

    Raises
    ------
    OptionError
        There is none of this name.
    """
    try:
        return MIDPLANE_PRESETS[name.lower()]
    except KeyError:
        raise OptionError(
            f"{name}: no parameters for the reflecting plane of this structure; expected one of "
            f"{', '.join(MIDPLANE_PRESETS)}.{nearest(name, MIDPLANE_PRESETS)}"
        ) from None
