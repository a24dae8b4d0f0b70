"""The geometry of network calls: footprint, place, and what the user wants of the tiling.

Triples are always (z, y, x). Authors of methods import these from `vemctl.plugin`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

Triple = tuple[int, int, int]
WindowName = Literal["crop", "linear", "bump", "mean"]
PaddingName = Literal["reflect", "edge", "zero", "clip"]
ONE = (Fraction(1), Fraction(1), Fraction(1))


@dataclass(frozen=True)
class Footprint:
    """The geometry of one network call; triples are (z, y, x) in input voxels.

    The *core* of a tile is the tile without its halo. Cores lie on one global grid: their
    stride is core minus overlap, the first starts where the output starts, the last is
    shifted back to end where the output ends, or as little beyond as `aligned` allows.

    Attributes
    ----------
    tile : triple of int or None
        What one network call sees, halo included; None is the whole axis.
    overlap : triple of int
        What neighbouring cores share; blended by `window`, or cut in its middle by "crop".
    halo : triple of int
        Read at each end of a core for context only; the restorer returns the core alone.
    lost : triple of int
        Voxels that the output lacks at each end of the volume.
    multiple_of : triple of int
        Of which a tile's size must be a multiple where it adapts to the volume.
    aligned : triple of int
        Of which the starts of cores are multiples, counted from where the output starts, for
        networks that pool: voxels are then pooled alike in all tiles. The last tile may reach
        beyond the volume and is padded there, which "clip" does not do.
    scale : triple of Fraction
        Output voxels per input voxel; an axis' output size is rounded down.
    window : {"crop", "linear", "bump", "mean"}
        crop: the later tile wins after half the overlap was cut; linear: a ramp over the
        overlap; bump: a Gaussian over the core; mean: equal weights.
    bump_sigma : float
        In half core lengths.
    padding : {"reflect", "edge", "zero", "clip"}
        How voxels beyond the volume are made; "clip" gives the restorer a shorter tile.
    fit : bool
        Where a volume is smaller than a tile: shrink the tile to the volume (rounded up to
        `multiple_of`) instead of padding the volume up to the tile.
    batched : bool
        Whether a call takes as many tiles as the user wants in a batch; otherwise it takes one,
        for the restorer calls its network several times for it, and batches these calls itself.
    """

    tile: tuple[int | None, int | None, int | None]
    overlap: Triple = (0, 0, 0)
    halo: Triple = (0, 0, 0)
    lost: Triple = (0, 0, 0)
    multiple_of: Triple = (1, 1, 1)
    aligned: Triple = (1, 1, 1)
    scale: tuple[Fraction, Fraction, Fraction] = ONE
    window: WindowName = "crop"
    bump_sigma: float = 0.5
    padding: PaddingName = "reflect"
    fit: bool = True
    batched: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the footprint as JSON types; fractions are text, such as "3/2"."""
        made: dict[str, Any] = {}
        for name, value in vars(self).items():
            made[name] = list(value) if isinstance(value, tuple) else value
        return made | {"scale": [str(part) for part in self.scale]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Footprint:
        """Return the footprint that `to_json` recorded; what is missing has its default.

        Raises
        ------
        ValueError
            It is no record of a footprint; says what was expected.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"footprint: {record!r}, expected a mapping")  # noqa: TRY004 (one error)
        known = {field.name: field for field in dataclasses.fields(cls)}
        for name in record:
            if name not in known:
                raise ValueError(f"footprint: unknown key {name!r}")
        if "tile" not in record:
            raise ValueError("footprint: no 'tile'")
        return cls(**{name: _read(name, value) for name, value in record.items()})


_LEAST = {"tile": 1, "overlap": 0, "halo": 0, "lost": 0, "multiple_of": 1, "aligned": 1}
_CHOICES = {"window": get_args(WindowName), "padding": get_args(PaddingName)}


def _read(name: str, value: Any) -> Any:
    """Return a field of a footprint from its JSON type.

    Raises
    ------
    ValueError
        It is of another type, or out of range.
    """
    if name in _CHOICES:
        good, wanted = value in _CHOICES[name], f"one of {', '.join(_CHOICES[name])}"
    elif name == "bump_sigma":
        good = isinstance(value, int | float) and not isinstance(value, bool)
        good, wanted = good and 0 < value < float("inf"), "a number above 0"
    elif name in _LEAST:
        wanted = f"three whole numbers, at least {_LEAST[name]}"
        good = isinstance(value, list | tuple) and len(value) == 3
        good = good and all(
            (part is None and name == "tile") or (type(part) is int and part >= _LEAST[name])
            for part in value
        )
        value = tuple(value) if good else value
    elif name == "scale":
        wanted, parts = 'three fractions above 0, such as "3/2"', _fractions(value)
        good, value = parts is not None, parts or value
    else:
        good, wanted = isinstance(value, bool), "true or false"
    if not good:
        raise ValueError(f"footprint: {name} is {value!r}, expected {wanted}")
    return value


def _fractions(value: Any) -> tuple[Fraction, ...] | None:
    """Return three fractions from their texts; None if they are none."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    try:
        parts = tuple(Fraction(part) for part in value if isinstance(part, str))
    except (ValueError, ZeroDivisionError):
        return None
    return parts if len(parts) == 3 and min(parts) > 0 else None


@dataclass(frozen=True)
class Tiling:
    """What the user wants of the tiling; None leaves it to the method.

    Attributes
    ----------
    tile, overlap : (z, y, x), optional
        Input voxels.
    window : str, optional
        How overlapping tiles are joined.
    """

    tile: Triple | None = None
    overlap: Triple | None = None
    window: WindowName | None = None

    def applied_to(self, footprint: Footprint) -> Footprint:
        """Return `footprint` with what the user wants otherwise."""
        wishes = {name: wish for name, wish in vars(self).items() if wish is not None}
        return dataclasses.replace(footprint, **wishes)


@dataclass(frozen=True)
class Place:
    """Where a tile lies; triples are (z, y, x) in input voxels.

    Attributes
    ----------
    start : triple of int
        First voxel of the core; the core may end beyond the volume.
    core : triple of int
        Size of the core.
    halo_low, halo_high : triple of int
        Context that the tile really has at each end; less than the footprint's halo only
        where the padding is "clip" and the volume ends.
    series : int
        Which of the volumes that are restored: channels and time points are each one of their own.
    """

    start: Triple
    core: Triple
    halo_low: Triple
    halo_high: Triple
    series: int = 0
