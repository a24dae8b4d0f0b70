"""What two volumes show both, so that they can be looked at side by side."""

from __future__ import annotations

from dataclasses import dataclass

from vemctl.errors import InputError
from vemctl.quality.levels import Levels
from vemctl.volumes.volume import Header, VoxelSize

AXES = "zyx"
Window = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""From where to where along (z, y, x), in voxels of the finest level."""
FACTORS = tuple(sorted({n / d for d in (1, 2) for n in range(d, 16 * d + 1)}))
"""How much finer a volume may be than another where nothing but shapes can be compared."""
ROUNDING = 1e-6


@dataclass(frozen=True)
class Field:
    """A field of view of a volume.

    Attributes
    ----------
    levels : Levels
    window : Window
    step : (z, y, x)
        Length of a voxel of the finest level.
    is_nm : bool
        Whether that is in nanometres; else nobody knows, and lengths are in voxels of the volume,
        or of that with which it is compared.
    """

    levels: Levels
    window: Window
    step: VoxelSize
    is_nm: bool

    def length(self, axis: str) -> float:
        """Return how long the field is along an axis."""
        start, stop = self.window[AXES.index(axis)]
        return (stop - start) * self.step[AXES.index(axis)]

    def middle(self, axis: str) -> int:
        """Return the voxel in the middle of the field along an axis."""
        start, stop = self.window[AXES.index(axis)]
        return int((start + stop) / 2)

    def position_like(self, axis: str, other: Field, position: int) -> int:
        """Return the voxel that lies where one of another field lies, which shows the same."""
        number = AXES.index(axis)
        (start, stop), (first, last) = self.window[number], other.window[number]
        place = start + (position + 0.5 - first) / (last - first) * (stop - start)
        return min(max(int(place + ROUNDING), 0), self.levels.shape(0)[number] - 1)


def whole_field(levels: Levels) -> Field:
    """Return all of a volume as a field of view."""
    header = levels.header
    step = header.voxel_size or (1.0, 1.0, 1.0)
    return Field(levels, _whole(header), step, header.voxel_size is not None)


def common_fields(first: Levels, other: Levels) -> tuple[Field, Field]:
    """Return what two volumes show both, in each.

    Parameters
    ----------
    first, other : Levels

    Returns
    -------
    first, other : Field
        Of the same lengths. All of both, if that is the same to a voxel; else, where the files say
        how large voxels are and where they lie, what they share.

    Raises
    ------
    InputError
        They share nothing, or nothing tells what.
    """
    windows = _common_windows(first.header, other.header)
    own, its = windows
    field = whole_field(first)
    step = field.step
    z, y, x = (
        length * (a[1] - a[0]) / (b[1] - b[0]) for length, a, b in zip(step, own, its, strict=True)
    )
    return Field(first, own, step, field.is_nm), Field(other, its, (z, y, x), field.is_nm)


def _common_windows(first: Header, other: Header) -> tuple[Window, Window]:
    if first.voxel_size is None or other.voxel_size is None:
        if not _proportional(first, other):
            raise InputError(
                f"{_shapes(first, other)}, and not both files tell the size of a voxel: expected "
                "the same field of view at the same or a whole multiple of the resolution; cut "
                "one to the part that the other shows"
            )
        return _whole(first), _whole(other)
    edges, ends = zip(_ends(first), _ends(other), strict=True)
    (own, its), (own_end, its_end) = edges, ends
    voxels = [max(each) for each in zip(first.voxel_size, other.voxel_size, strict=True)]
    placed = first.translation is not None or other.translation is not None
    both = first.translation is not None and other.translation is not None
    alike = all(
        abs((d - b) - (c - a)) <= voxel * (1 + ROUNDING) and (not both or abs(b - a) <= voxel)
        for a, b, c, d, voxel in zip(own, its, own_end, its_end, voxels, strict=True)
    )
    if alike:
        return _whole(first), _whole(other)
    low = [max(each) for each in zip(own, its, strict=True)]
    high = [min(each) for each in zip(own_end, its_end, strict=True)]
    shares = all(b - a > voxel / 2 for a, b, voxel in zip(low, high, voxels, strict=True))
    if not placed or not shares:
        why = "they share nothing" if placed else "nothing tells which part of one the other is"
        raise InputError(
            f"{_shapes(first, other)} of other lengths, and {why} (the files' translations): "
            "expected the same field of view; cut one to the part that the other shows"
        )
    return _between(first, own, low, high), _between(other, its, low, high)


def _proportional(first: Header, other: Header) -> bool:
    """Tell whether shapes alone let two volumes show the same at other resolutions."""
    depth, height, width = (
        _factors(few, many) for few, many in zip(first.shape, other.shape, strict=True)
    )
    return bool(depth) and bool(height & width)


def _factors(few: int, many: int) -> set[float]:
    """Return by which factors one axis may be finer than another; below 1 where it is coarser."""
    if few > many:
        return {1 / factor for factor in _factors(many, few)}
    if few == many:
        return {1.0}
    if few == 1:  # a plane among many tells nothing of its thickness
        return set()
    return {factor for factor in FACTORS if abs(many - few * factor) < factor}


def _ends(header: Header) -> tuple[list[float], list[float]]:
    """Return where a volume begins and ends, in nanometres."""
    assert header.voxel_size is not None, "the caller knows"
    centre = header.translation or (0.0, 0.0, 0.0)
    starts = [c - size / 2 for c, size in zip(centre, header.voxel_size, strict=True)]
    lengths = zip(header.shape, header.voxel_size, strict=True)
    return starts, [start + n * size for start, (n, size) in zip(starts, lengths, strict=True)]


def _between(header: Header, edges: list[float], low: list[float], high: list[float]) -> Window:
    assert header.voxel_size is not None, "the caller knows"
    z, y, x = (
        ((a - edge) / size, (b - edge) / size)
        for a, b, edge, size in zip(low, high, edges, header.voxel_size, strict=True)
    )
    return z, y, x


def _whole(header: Header) -> Window:
    z, y, x = ((0.0, float(n)) for n in header.shape)
    return z, y, x


def _shapes(first: Header, other: Header) -> str:
    one, two = (" x ".join(map(str, header.shape)) for header in (first, other))
    return f"{other.path} has {two} voxels, {first.path} has {one}"
