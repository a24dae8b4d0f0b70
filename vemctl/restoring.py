"""The contract of a prediction: what a method is told, and the restorer that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from vemctl.geometry import Footprint, Place, Tiling, Triple

if TYPE_CHECKING:
    import torch


StretchName = Literal["whole", "channel", "series"]
Warn = Callable[[str], None]
"""Tells the user one sentence: what is doubtful, and what to do about it."""


def ignore_warning(_: str) -> None:
    """Tell nobody."""


def percentile(percent: float) -> str:
    """Return the name of the statistic that `percent` (0 to 100) of the voxels do not exceed."""
    return f"percentile:{percent}"


def mean_above(percent: float) -> str:
    """Return the name of the mean of a slice's voxels above its percentile, for `by_slice`.

    Where no voxel is, as in slices that are constant or saturated, it is the largest value.
    """
    return f"mean-above:{percent}"


def by_slice(statistic: str) -> str:
    """Return the name of a statistic that is measured of every slice by itself.

    Parameters
    ----------
    statistic : str
        ``"min"``, ``"max"`` or what `mean_above` returns.
    """
    return f"slices:{statistic}"


def by_series(statistic: str) -> str:
    """Return the name of a statistic of every channel at every time point by itself.

    Parameters
    ----------
    statistic : str
        ``"min"``, ``"max"`` or what `percentile` returns.
    """
    return f"series:{statistic}"


def bound(statistic: Literal["min", "max"]) -> str:
    """Return the name of a limit of the values: the type's, where that says something.

    Measured of floating values; also the least of signed integers is.
    """
    return f"bound:{statistic}"


@dataclass(frozen=True)
class TimeWindow:
    """Which time points a method sees at once.

    Attributes
    ----------
    before, after : int
        How many beside the one that is restored.
    lost : bool
        Whether the first and the last time points, which lack neighbours, get no result; otherwise
        the first and the last stand for their missing neighbours.
    """

    before: int = 0
    after: int = 0
    lost: bool = False

    @property
    def offsets(self) -> tuple[int, ...]:
        """Time points relative to the one that is restored, ascending."""
        return tuple(range(-self.before, self.after + 1))


@dataclass(frozen=True)
class VolumeFacts:
    """What a method may know about an input before it sees a voxel.

    Attributes
    ----------
    shape : (z, y, x)
        Voxels, after any region of interest was taken.
    dtype : str
        NumPy name of the stored type, for instance ``"uint8"``.
    voxel_size : (z, y, x), optional
        Nanometres.
    statistics : mapping of str to float
        The values of the statistics that the method asked for.
    slices : mapping of str to sequence of float
        Of the statistics that are measured by slice: one value for each slice of each series, of
        which the first is ``series * num_slices``.
    each_series : mapping of str to sequence of float
        Of the statistics that are measured by series: one value for each.
    file_index : int
        Which of the files of its input or role it is in; channels and time points of one file are
        volumes of their own.
    channel, timepoint : int
        Of a volume that is trained on; 0 where its file has no such axis.
    num_channels : int
        Of an input that is restored: series go through them within each time point.
    """

    shape: Triple
    dtype: str
    voxel_size: tuple[float, float, float] | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Sequence[float]] = field(default_factory=dict)
    each_series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    file_index: int = 0
    channel: int = 0
    timepoint: int = 0
    num_channels: int = 1


@dataclass(frozen=True)
class Request:
    """What a restorer is made for.

    Attributes
    ----------
    inputs : sequence of VolumeFacts
        One per input of the method, in the method's order.
    device : str
        A torch device, ``"cpu"`` or ``"cuda:0"``.
    precision : {"fp32", "bf16", "fp16"}
        Of the network's arithmetic; results are float32 in any case.
    as_original : bool
        Reproduce the original program's output, its odd cases included.
    tiling : Tiling
        The user's wishes.
    batch : int
        Tiles per network call that the user wants.
    time_window : TimeWindow
        What the method said about it.
    warn : callable
        Tells the user one sentence.
    files : mapping of str to Path
        What `Method.files` asked for, verified; a folder where it is several files.
    compile : bool
        Compile the network, see `vemctl.nn.compiling.compiled`; a method that has none, or cannot,
        refuses it.
    """

    inputs: Sequence[VolumeFacts]
    device: str = "cpu"
    precision: str = "fp32"
    as_original: bool = False
    tiling: Tiling = field(default_factory=Tiling)
    batch: int = 1
    time_window: TimeWindow = field(default_factory=TimeWindow)
    warn: Warn = ignore_warning
    files: Mapping[str, Path] = field(default_factory=dict)
    compile: bool = False


@dataclass(frozen=True)
class Output:
    """How float results become stored values.

    Attributes
    ----------
    rounding : {"round", "truncate"}
        Of results that are stored as integers; they are clipped to the type's range first.
    dtype : str, optional
        Stored type where it is not the input's, and cannot be another.
    usual_dtype : str, optional
        Stored type where it is not the input's and the user does not say.
    stretch : {"whole", "channel", "series"}, optional
        Map the smallest and largest value of the whole result, of each channel over all its time
        points, or of each channel at each time point, to 0 and the integer type's maximum (to 0
        and 1 for floating types), in a second pass over the stored result.
    unit_range : bool
        Results are not in the input's units but in [0, 1], which becomes 0 to the maximum of an
        integer type; floating types take them as they are. Any stored type may be asked for.
    """

    rounding: Literal["round", "truncate"] = "round"
    dtype: str | None = None
    usual_dtype: str | None = None
    stretch: StretchName | None = None
    unit_range: bool = False


class Restorer(Protocol):
    """Runs a network on tiles.

    Attributes
    ----------
    footprint : Footprint
    output : Output
    settled : mapping of str to object, optional
        JSON types: how the method settled what the user left to it, for plans and records. Only
        where there is more to tell than the footprint does; a restorer need not have it.
    """

    @property
    def footprint(self) -> Footprint:
        """The geometry of a call."""

    @property
    def output(self) -> Output:
        """How results are stored."""

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        """Restore a batch of tiles.

        Parameters
        ----------
        tiles : sequence of tensor, (n, 1, z, y, x) float32
            One per input, on the device, in the volume's own units; of a method with a time window
            one per time point, ascending, for each input.
        places : sequence of Place
            One per sample; within a batch they differ in `start` only.

        Returns
        -------
        tensor, (n, 1, z, y, x) float32
            The cores, scaled, in the volume's own units unless the output says otherwise.
        """

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes that a call on `batch` tiles of this size takes on the device."""
