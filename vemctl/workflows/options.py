"""The options that every method's `predict` has, as frozen dataclasses whose fields are flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vemctl.plugin import Triple, option

INPUT, OUTPUT, TILING, COMPUTE, RUN = "Input", "Output", "Tiling", "Compute", "Run control"
SPREAD = "Many processes"


@dataclass(frozen=True)
class InputOptions:
    """How the input is read."""

    axes: str | None = option(
        None,
        panel=INPUT,
        metavar="AXES",
        help="Axes of the input, letters out of tczyx, where the file does not say.",
    )
    level: int = option(
        0, panel=INPUT, min=0, help="Resolution level of an OME-Zarr pyramid; 0 is full resolution."
    )
    channel: str = option(
        "all",
        panel=INPUT,
        metavar="N|all",
        help="Channel to restore, counted from 0; all restores each on its own.",
    )
    timepoint: str = option(
        "all",
        panel=INPUT,
        metavar="N|all",
        help="Time point to restore, counted from 0; all restores each on its own.",
    )
    roi: str | None = option(
        None,
        panel=INPUT,
        metavar="Z0:Z1,Y0:Y1,X0:X1",
        help="Restore this region of interest only; an end may be left out.",
    )
    nan_to_num: bool = option(
        False, panel=INPUT, help="Read NaN as 0 and infinities as the type's limits; else refused."
    )


@dataclass(frozen=True)
class OutputOptions:
    """How the output is written."""

    dtype: str | None = option(
        None,
        panel=OUTPUT,
        metavar="DTYPE",
        help="Stored type; values keep the input's units. Default: the input's type.",
    )
    ome_zarr: Literal["0.5", "0.4"] = option(
        "0.5", panel=OUTPUT, help="OME-Zarr version of *.zarr outputs."
    )
    chunk_shape: Triple | None = option(
        None, panel=OUTPUT, min=1, metavar="Z,Y,X", help="Chunk of *.zarr outputs, in voxels."
    )
    shard_shape: Triple | None = option(
        None,
        panel=OUTPUT,
        min=1,
        metavar="Z,Y,X",
        help="Shard (one file) of *.zarr outputs, in voxels: a multiple of the chunk.",
    )
    tiff_format: Literal["ome", "imagej"] = option(
        "ome", panel=OUTPUT, help="Kind of *.tif outputs: OME-BigTIFF or ImageJ hyperstack."
    )
    overwrite: bool = option(False, panel=OUTPUT, help="Replace an existing output when done.")


@dataclass(frozen=True)
class TilingOptions:
    """How the volume is cut; the method has good defaults."""

    tile: Triple | None = option(
        None,
        panel=TILING,
        min=1,
        metavar="Z,Y,X",
        help="What one network call sees, in input voxels.",
    )
    overlap: Triple | None = option(
        None,
        panel=TILING,
        min=0,
        metavar="Z,Y,X",
        help="What neighbouring tiles share, their halos not counted, in input voxels.",
    )
    blend: Literal["crop", "linear", "bump", "mean"] | None = option(
        None, panel=TILING, help="How overlapping tiles are joined."
    )
    batch: int | None = option(
        None,
        panel=TILING,
        min=0,
        short="-b",
        help="Tiles per network call; 0 for as many as fit and help, found by trial. More than the "
        "default, 1, is faster on a GPU, but the last bits of the result may then depend on the "
        "blocks.",
    )


@dataclass(frozen=True)
class ComputeOptions:
    """On what the network runs."""

    device: str = option(
        "auto",
        panel=COMPUTE,
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:N or mps; cuda:0,1 or all for a process on each.",
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", panel=COMPUTE, help="Arithmetic of the network; bf16 and fp16 are for GPUs."
    )
    compile: bool = option(
        False,
        panel=COMPUTE,
        help="Compile the network first, by torch.compile: minutes that pay on large volumes.",
    )
    block: Triple | None = option(
        None,
        panel=COMPUTE,
        min=1,
        metavar="Z,Y,X",
        help="Unit of work, in output voxels: whole shards. Default: what --memory allows.",
    )
    memory: str | None = option(
        None,
        panel=COMPUTE,
        metavar="SIZE",
        help="Budget of main memory for blocks, such as 2GiB, shared by the workers of this "
        "machine. Default: a quarter of what is free, at most 4GiB each.",
    )
    threads: int | None = option(
        None,
        panel=COMPUTE,
        min=1,
        help="Threads of each process on a CPU, on which last bits of a result may depend. "
        "Default: the cores, shared by the workers.",
    )


@dataclass(frozen=True)
class RunOptions:
    """How the run behaves."""

    resume: bool = option(False, panel=RUN, help="Continue an interrupted run of this output.")
    as_original: bool = option(
        False,
        panel=RUN,
        help="Reproduce the original program's output, its odd cases included.",
    )


@dataclass(frozen=True)
class SpreadOptions:
    """On how many processes and machines a run is spread; no byte of the result depends on it."""

    workers: int | None = option(
        None,
        panel=SPREAD,
        min=1,
        metavar="N",
        help="Processes on this machine; beside --scheduler, how many are expected.",
    )
    scheduler: str | None = option(
        None,
        panel=SPREAD,
        metavar="tcp://HOST:PORT",
        help="Restore on the workers of a dask cluster that is there.",
    )
    slurm: str | None = option(
        None,
        panel=SPREAD,
        metavar="'jobs=N ...'",
        help="Restore on workers that are started as SLURM jobs, such as 'jobs=4 partition=gpu "
        "cores=8 memory=32GB walltime=04:00:00 --gres=gpu:1'.",
    )
    shard: str | None = option(
        None,
        panel=SPREAD,
        metavar="I/N|auto",
        help="Restore only share I (from 1) of N, as one task of a job array; auto asks SLURM. "
        "In the end: vemctl finish OUTPUT.",
    )


@dataclass(frozen=True)
class PredictRequest:
    """Everything that a prediction depends on.

    Attributes
    ----------
    method : str
    inputs : tuple of Path
        One per input of the method.
    output : Path
    weights : str, optional
        A file, or a name of the catalogue.
    method_options : object
        An instance of the method's `predict_options`.
    """

    method: str
    inputs: tuple[Path, ...]
    output: Path
    weights: str | None
    method_options: Any
    input: InputOptions = field(default_factory=InputOptions)
    writing: OutputOptions = field(default_factory=OutputOptions)
    tiling: TilingOptions = field(default_factory=TilingOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    run: RunOptions = field(default_factory=RunOptions)
    spread: SpreadOptions = field(default_factory=SpreadOptions)


OPTION_GROUPS: dict[str, type[Any]] = {
    "input": InputOptions,
    "writing": OutputOptions,
    "tiling": TilingOptions,
    "compute": ComputeOptions,
    "run": RunOptions,
    "spread": SpreadOptions,
}
"""Field of `PredictRequest` to the dataclass of its options, in the order of the help."""
