"""What whoever works on an unfinished output must know, in a file beside its ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.durable import output_errors, write_json
from vemctl.errors import InputError, ResumeError
from vemctl.plugin import Output, Triple
from vemctl.prediction.units import BlockGrid, UnitGrid
from vemctl.remote_path import RemotePath
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.in_place import is_unfinished
from vemctl.volumes.outputs import STATE
from vemctl.volumes.volume import Layout

NAME = "job.json"
VOLUME = "volume.zarr"
"""In the folder of an unfinished output of this machine."""


@dataclass(frozen=True)
class Job:
    """An output that is being made.

    Attributes
    ----------
    request : mapping
        As `request_to_json` writes it: what is to be done.
    identity : mapping
        Everything on which the output's bytes depend.
    provenance : mapping
        What the output will say of how it was made.
    plan : mapping
        As `Plan.to_json` writes it.
    layout : mapping
        As `Layout.to_json` writes it.
    output : mapping
        The fields of the method's `Output`.
    block : (z, y, x)
        Output voxels: the blocks that shards share out.
    shards : int
        Into how many shares; 0 where there are none.
    first_task : int, optional
        The number of the first task, where the shares are the tasks of a SLURM job array.
    """

    request: Mapping[str, Any]
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    plan: Mapping[str, Any]
    layout: Mapping[str, Any]
    output: Mapping[str, Any]
    block: Triple
    shards: int = 0
    first_task: int | None = None

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.identity["method"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the output."""
        return Layout.from_json(dict(self.layout)).dtype

    @property
    def units(self) -> UnitGrid:
        """The units of the output, counted."""
        layout = Layout.from_json(dict(self.layout))
        return UnitGrid(
            layout.shape, layout.shard_shape, layout.num_channels or 1, layout.num_timepoints or 1
        )

    @property
    def blocks(self) -> BlockGrid:
        """The blocks that shards share out, counted."""
        return BlockGrid(self.units, self.block)

    @property
    def stored_as(self) -> Output:
        """How results become stored values."""
        return Output(**self.output)

    @property
    def stage(self) -> str:
        """The ledger's name for what blocks are written to."""
        return "scratch" if self.stored_as.stretch else "final"

    def write(self, output: Path) -> None:
        """Write the job of the unfinished `output`."""
        path = partial_folder(output) / NAME
        with output_errors(output):
            write_json(path, asdict(self))


def is_begun(output: Path) -> bool:
    """Return whether an output is unfinished; else it is finished.

    Raises
    ------
    InputError
        There is neither.
    """
    if partial_folder(output).exists() and not is_placed(output):
        return True
    if not output.exists():
        raise InputError(
            f"{output}: neither a finished output nor one that was begun; check the path"
        )
    if isinstance(output, RemotePath) and is_unfinished(output):
        raise InputError(
            f"{output}: unfinished, but {partial_folder(output)}, which tells what is written, is "
            "gone; start again with vemctl predict --overwrite"
        )
    return False


def is_placed(output: Path) -> bool:
    """Return whether an output is in its place, and remains of its making are still beside it."""
    partial = partial_folder(output)
    try:
        state = json.loads((partial / STATE).read_bytes())
    except (OSError, ValueError):
        return False
    if not state.get("placing"):
        return False
    if isinstance(output, RemotePath):
        return not is_unfinished(output)
    return output.exists() and not (partial / VOLUME).exists()


def read_job(output: Path) -> Job:
    """Return the job of an unfinished output.

    Raises
    ------
    ResumeError
        There is none, or it is damaged.
    """
    path = partial_folder(output) / NAME
    try:
        facts = json.loads(path.read_bytes())
        facts["block"] = tuple(facts["block"])
        return Job(**facts)
    except FileNotFoundError:
        raise ResumeError(
            f"{output}: no unfinished run in {path.parent}: expected {NAME} there, of one begun by "
            "vemctl predict"
        ) from None
    except OSError as error:
        raise ResumeError(
            f"{path}: cannot be read ({error.strerror or error}); mend that and run the same "
            "command again"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ResumeError(
            f"{path}: damaged ({error}); start again with vemctl predict --overwrite"
        ) from error
