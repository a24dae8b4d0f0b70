"""What whoever works on an unfinished output must know, in a file beside its ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.durable import TEMPORARY, output_errors, write_json
from vemctl.errors import InputError, ResumeError, WorkerError
from vemctl.journal import journals
from vemctl.plugin import Output, Triple
from vemctl.prediction.ledger import NAME as LEDGER
from vemctl.prediction.units import BlockGrid, UnitGrid
from vemctl.remote_path import RemotePath
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.in_place import is_unfinished
from vemctl.volumes.outputs import STATE
from vemctl.volumes.provenance import read_provenance
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
    array : (first, step), optional
        Of the numbers of the tasks, where the shares are those of a SLURM job array.
    token : str
        Of this beginning: whoever begins the output anew, in whatever way, writes another.
    """

    request: Mapping[str, Any]
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    plan: Mapping[str, Any]
    layout: Mapping[str, Any]
    output: Mapping[str, Any]
    block: Triple
    shards: int = 0
    array: tuple[int, int] | None = None
    token: str = ""

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
        return UnitGrid.of(Layout.from_json(dict(self.layout)))

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


def require_same_beginning(output: Path, job: Job) -> None:
    """See to it that nobody has begun an output anew since its job was read.

    Raises
    ------
    WorkerError
        Somebody has, or has finished it.
    InputError
        That cannot be found out now.
    """
    path = partial_folder(output) / NAME
    try:
        token = json.loads(path.read_bytes()).get("token", "")
    except FileNotFoundError:
        token = None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); the block is tried again") from error
    if token != job.token:
        raise WorkerError(
            f"{output}: another run has begun it anew or finished it meanwhile, so this one writes "
            "no more; let only one run at a time write it"
        )


def is_begun(output: Path) -> bool:
    """Return whether an output is unfinished; else it is finished.

    Raises
    ------
    InputError
        There is neither.
    """
    if partial_folder(output).exists() and not is_placed(output):
        return True
    if output.suffix == TEMPORARY and (output / NAME).exists():
        made = output.with_name(output.name.removesuffix(TEMPORARY))
        raise InputError(f"{output}: what is unfinished of an output; give its name, {made}")
    if not output.exists():
        raise InputError(
            f"{output}: neither a finished output nor one that was begun; check the path"
        )
    if isinstance(output, RemotePath) and is_unfinished(output):
        raise InputError(
            f"{output}: unfinished, but {partial_folder(output)}, which tells what is written, is "
            "gone; start again with vemctl predict --overwrite"
        )
    if "method" not in (read_provenance(output) or {}):
        raise InputError(f"{output}: expected an output of vemctl predict; check the path")
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
    InputError
        It cannot be read now.
    """
    path = partial_folder(output) / NAME
    try:
        facts = json.loads(path.read_bytes())
        facts["block"] = tuple(facts["block"])
        facts["array"] = tuple(facts["array"]) if facts["array"] else None
        return Job(**facts)
    except FileNotFoundError:
        if journals(path.parent, LEDGER):
            raise ResumeError(
                f"{path.parent}: begun by an older vemctl; finish it with that, or start anew with "
                "vemctl predict --overwrite"
            ) from None
        raise ResumeError(
            f"{output}: no unfinished run in {path.parent}: expected {NAME} there, of one begun by "
            "vemctl predict"
        ) from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); mend that and run the same "
            "command again"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ResumeError(
            f"{path}: damaged ({error}); start again with vemctl predict --overwrite"
        ) from error
