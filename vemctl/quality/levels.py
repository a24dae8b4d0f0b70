"""The levels of a volume's pyramid, of which the coarsest is read that shows enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vemctl.errors import OptionError
from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Array, Header, Region, Triple, Volume

Ratios = tuple[float, float, float]
ROUNDING = 1e-3
"""Of a factor between levels, as files round voxel sizes."""


class Levels:
    """One channel of a volume at one time point, at all its resolutions.

    Parameters
    ----------
    volumes : sequence of Volume
        Open; finest first.
    channel, timepoint : int
        0 where the volume has no such axis.

    Attributes
    ----------
    ratios : tuple of (z, y, x)
        Of each level: voxels of the first along one of its own.

    Raises
    ------
    OptionError
        There is no such channel or time point.
    """

    def __init__(self, volumes: Sequence[Volume], *, channel: int = 0, timepoint: int = 0) -> None:
        self._volumes = tuple(volumes)
        self.channel = channel
        self.timepoint = timepoint
        self.ratios = tuple(_ratios(self.header, volume.header) for volume in volumes)
        counts = (
            ("channel", channel, self.header.num_channels),
            ("timepoint", timepoint, self.header.num_timepoints),
        )
        for name, asked, count in counts:
            if not 0 <= asked < (count or 1):
                raise OptionError(
                    f"--{name} {asked}: {self.header.path} has {count or 1} {name}s; expected 0 "
                    f"to {(count or 1) - 1}"
                )

    @property
    def header(self) -> Header:
        """That of the finest level."""
        return self._volumes[0].header

    def shape(self, level: int) -> Triple:
        """Return the size of a level in its own voxels, (z, y, x)."""
        return self._volumes[level].header.shape

    def chunk_shape(self, level: int) -> Triple:
        """Return in which unit reading a level costs least, (z, y, x)."""
        return self._volumes[level].header.chunk_shape

    def coarsest(self, most: Ratios) -> int:
        """Return the coarsest level that averages at most so many voxels along (z, y, x)."""
        allowed = [max(1.0, each) * (1 + ROUNDING) for each in most]
        fine = [
            number
            for number, ratios in enumerate(self.ratios)
            if all(ratio <= limit for ratio, limit in zip(ratios, allowed, strict=True))
        ]
        return max(fine, default=0)

    def read(self, level: int, region: Region) -> Array:
        """Read a region of a level, in its own voxels, (z, y, x)."""
        volume = self._volumes[level]
        return volume.read(region, channel=self.channel, timepoint=self.timepoint)


@contextmanager
def open_levels(
    path: Path,
    *,
    axes: str | None = None,
    channel: int = 0,
    timepoint: int = 0,
    or_only: bool = False,
) -> Iterator[Levels]:
    """Open all levels of a volume; only metadata are read. Close them afterwards.

    Parameters
    ----------
    path : Path
    axes : str, optional
        Of the file, where it does not say.
    channel, timepoint : int
    or_only : bool
        Whether 0 is meant where there is but one: a restored volume may hold the one channel that
        was restored.

    Raises
    ------
    InputError, OptionError, MissingExtraError
        As `open_volume`.
    """
    with ExitStack() as stack:
        volumes = [open_volume(path, axes=axes)]
        stack.callback(volumes[0].close)
        for level in range(1, volumes[0].header.num_levels):
            try:
                volume = open_volume(path, axes=axes, level=level)
            except OptionError:  # the path is that of one level
                break
            stack.callback(volume.close)
            volumes.append(volume)
        header = volumes[0].header
        yield Levels(
            volumes,
            channel=0 if or_only and (header.num_channels or 1) == 1 else channel,
            timepoint=0 if or_only and (header.num_timepoints or 1) == 1 else timepoint,
        )


def _ratios(finest: Header, header: Header) -> Ratios:
    """Return how many voxels of the finest level make one, along (z, y, x)."""
    found = []
    for axis, (many, few) in enumerate(zip(finest.shape, header.shape, strict=True)):
        whole = round(many / few)
        ratio = many / few
        if few in (many // whole, -(-many // whole)):
            ratio = float(whole)  # the last voxel may cover less
        elif finest.voxel_size is not None and header.voxel_size is not None:
            ratio = header.voxel_size[axis] / finest.voxel_size[axis]
        found.append(ratio)
    return found[0], found[1], found[2]
