"""What the author of a method imports: the contract between a method and vemctl.

A method is a distribution with an entry point in the group ``vemctl.methods`` that names a
`Method` object. Its module must not import torch: the command line loads it to show help.
The `Restorer` that it makes may import what it likes. Authors may also use `vemctl.errors`,
`vemctl.events`, `vemctl.tiles` and `vemctl.nn`. `docs/writing-a-method.md` is the tutorial.

At run time this module needs nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vemctl.geometry import (
    Footprint,
    PaddingName,
    Place,
    Tiling,
    Triple,
    WindowName,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "Footprint",
    "Method",
    "NoOptions",
    "Output",
    "PaddingName",
    "Place",
    "Request",
    "Restorer",
    "Tiling",
    "Triple",
    "VolumeFacts",
    "Weights",
    "WindowName",
    "option",
    "percentile",
]


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # noqa: A002 - the word that authors expect
    panel: str = "Method",
    min: float | None = None,  # noqa: A002
    max: float | None = None,  # noqa: A002
    metavar: str | None = None,
    short: str | None = None,
) -> Any:
    """Declare a field of an option dataclass; it becomes a real, typed flag.

    Parameters
    ----------
    default : object, optional
        The default value; without one the flag is required.
    help : str
        One sentence for ``--help``; give units.
    panel : str
        The group of flags under which the help shows it.
    min, max : float, optional
        Allowed range, both ends included.
    metavar : str, optional
        How the value is written in the help, for instance ``"Z,Y,X"``.
    short : str, optional
        A one-letter flag such as ``"-b"``.

    Returns
    -------
    dataclasses.Field
    """
    facts = {
        "help": help,
        "panel": panel,
        "min": min,
        "max": max,
        "metavar": metavar,
        "short": short,
    }
    return field(default=default, metadata={k: v for k, v in facts.items() if v is not None})


def percentile(percent: float) -> str:
    """Return the name of the statistic that `percent` (0 to 100) of the voxels do not exceed."""
    return f"percentile:{percent}"


@dataclass(frozen=True)
class NoOptions:
    """A method without options of its own."""


@dataclass(frozen=True)
class Weights:
    """One published file of weights.

    Attributes
    ----------
    name : str
        Catalogue name, ``"<method>/<what>"``.
    package_file : str
        ``"package:file"`` of a file that the wheel carries.
    sha256 : str
        Hexadecimal digest of the file.
    licence : str
        Under which the file is published.
    note : str
        What it was trained on and what it is good for.
    """

    name: str
    package_file: str
    sha256: str
    licence: str
    note: str


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
    """

    shape: Triple
    dtype: str
    voxel_size: tuple[float, float, float] | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)


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
    """

    inputs: Sequence[VolumeFacts]
    device: str = "cpu"
    precision: str = "fp32"
    as_original: bool = False
    tiling: Tiling = field(default_factory=Tiling)


@dataclass(frozen=True)
class Output:
    """How float results become stored values.

    Attributes
    ----------
    rounding : {"round", "truncate"}
        Of results that are stored as integers; they are clipped to the type's range first.
    dtype : str, optional
        Stored type where it is not the input's.
    stretch : bool
        Map the smallest and largest value of the whole result to 0 and the integer type's
        maximum (to 0 and 1 for floating types), in a second pass over the stored result.
    """

    rounding: Literal["round", "truncate"] = "round"
    dtype: str | None = None
    stretch: bool = False


class Restorer(Protocol):
    """Runs a network on tiles.

    Attributes
    ----------
    footprint : Footprint
    output : Output
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
            One per input, on the device, in the volume's own units.
        places : sequence of Place
            One per sample; within a batch they differ in `start` only.

        Returns
        -------
        tensor, (n, 1, z, y, x) float32
            The cores, scaled, in the volume's own units.
        """

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes that a call on `batch` tiles of this size takes on the device."""


class Method(ABC):
    """A published method; its module imports no torch.

    Attributes
    ----------
    name : str
        The sub-command.
    summary : str
        One line for lists.
    citation, doi : str
        The paper.
    inputs : sequence of str
        Names of the volumes that a prediction takes.
    weights : sequence of Weights
        The published files.
    takes_weights : bool
        Whether the method has a network whose weights are given by ``-w``.
    has_original : bool
        Whether there is a published program whose output ``--as-original`` reproduces.
    predict_options : type
        A frozen dataclass whose fields are made by `option`.
    """

    name: str
    summary: str
    citation: str = ""
    doi: str = ""
    inputs: Sequence[str] = ("input",)
    weights: Sequence[Weights] = ()
    takes_weights: bool = True
    has_original: bool = True
    predict_options: type[Any] = NoOptions

    def statistics(self, options: Any, *, as_original: bool) -> Sequence[str]:  # noqa: ARG002
        """Return the whole-volume statistics that `restorer` needs of every input.

        Known names are ``"min"``, ``"max"``, ``"mean"``, ``"std"`` and what `percentile`
        returns; they are streamed once before the restorer is made.
        """
        return ()

    @abstractmethod
    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Load the network and return what runs it.

        Parameters
        ----------
        weights : Path, optional
            A verified file; None exactly where the method takes none.
        options : object
            An instance of `predict_options`.
        request : Request
            What the restorer is made for.

        Raises
        ------
        WeightsError
            The file does not fit the network.
        OptionError
            The options contradict each other or the inputs.
        """
