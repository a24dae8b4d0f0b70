"""From a request to a frozen plan: everything that is decided before anything is written."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import OptionError
from vemctl.events import Listener, Noted
from vemctl.nn import device as devices
from vemctl.plugin import Method, Output, Request, Restorer, Tiling, Triple, VolumeFacts
from vemctl.prediction.plan import Plan, make_plan
from vemctl.prediction.statistics import measure
from vemctl.tiles.grid import TileGrid, tile_grid
from vemctl.volumes.checks import output_kind
from vemctl.volumes.chunks import default_chunks
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.volume import Layout, VoxelSize
from vemctl.weights import Resolved
from vemctl.workflows.options import OutputOptions, PredictRequest
from vemctl.workflows.sources import Sources
from vemctl.workflows.weights import resolve_for

MOST_MEMORY = 4 * 2**30
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
         "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}  # fmt: skip
DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")


@dataclass(frozen=True)
class Prepared:
    """What a prediction needs, complete.

    Attributes
    ----------
    plan : Plan
    restorer : Restorer
    device : str
        A torch device.
    weights : Resolved, optional
    statistics : list of dict
        Per input, what was measured.
    """

    plan: Plan
    restorer: Restorer
    device: str
    weights: Resolved | None
    statistics: list[dict[str, float]]


def prepare(
    request: PredictRequest,
    method: Method,
    sources: Sources,
    listen: Listener,
    stop: threading.Event,
    *,
    known: dict[str, Any] | None = None,
) -> Prepared:
    """Resolve weights and device, measure the inputs, make the restorer, lay the plan.

    Parameters
    ----------
    known : dict, optional
        The identity of the run that is being resumed, whose statistics and number of threads are
        taken over.

    Raises
    ------
    VemctlError
        Whatever the user can mend; nothing is written.
    Interrupted
        `stop` was set while an input was being measured.
    """
    weights = resolve_for(method, request.weights, listen, stop)
    device = devices.resolve(request.compute.device)
    if known and isinstance(known.get("threads"), int):
        devices.use_threads(known["threads"])
    as_original = request.run.as_original
    if as_original and not method.has_original:
        raise OptionError(f"--as-original: {method.name} has no original program; leave it out")
    names = method.statistics(
        request.method_options,
        weights=weights.path if weights else None,
        as_original=as_original,
    )
    statistics = _measured_before(known, names, len(sources.volumes)) or [
        measure(
            volume, sources.series, names, listen, stop, check_finite=not request.input.nan_to_num
        )
        for volume in sources.volumes
    ]
    for volume in sources.volumes:
        if volume.header.dtype.kind in "iu" and volume.header.dtype.itemsize > 2:
            text = f"{volume.header.path}: {volume.header.dtype.name} is restored in float32, which"
            listen(Noted(f"{text} rounds integers above 16777216", "warning"))
    facts = [
        VolumeFacts(v.header.shape, v.header.dtype.name, v.header.voxel_size, measured)
        for v, measured in zip(sources.volumes, statistics, strict=True)
    ]
    tiling = Tiling(request.tiling.tile, request.tiling.overlap, request.tiling.blend)
    restorer = method.restorer(
        weights.path if weights else None,
        request.method_options,
        Request(
            facts,
            device,
            request.compute.precision,
            as_original,
            tiling,
            lambda text: listen(Noted(text, "warning")),
        ),
    )
    grid = tile_grid(sources.header.shape, restorer.footprint)
    layout = make_layout(request.writing, sources, grid, restorer.footprint.scale, restorer.output)
    batch = request.tiling.batch or 1
    plan = make_plan(
        grid=grid,
        footprint=restorer.footprint,
        output=restorer.output,
        layout=layout,
        headers=tuple(volume.header for volume in sources.volumes),
        series=sources.series,
        batch=batch,
        budget=memory_budget(request.compute.memory),
        device=device,
        network_bytes=restorer.memory(grid.tile_shape, batch),
        block=request.compute.block,
    )
    return Prepared(plan, restorer, device, weights, statistics)


def _measured_before(
    known: dict[str, Any] | None, names: Sequence[str], count: int
) -> list[dict[str, float]] | None:
    """Return the statistics of the run that is being resumed, if they are those asked for."""
    found = (known or {}).get("statistics")
    if not isinstance(found, list) or len(found) != count:
        return None
    return found if all(set(each) == set(names) for each in found) else None


def make_layout(
    options: OutputOptions, sources: Sources, grid: TileGrid, scale: Any, output: Output
) -> Layout:
    """Return what the output volume will be: the input's axes, voxel size divided by the scale."""
    header = sources.header
    dtype = np.dtype(
        choose_dtype(options.dtype, output.dtype, header.dtype, any_type=output.unit_range)
    )
    chunk, shard = default_chunks(grid.output_shape, dtype)
    for flag, wish in (("chunk", options.chunk_shape), ("shard", options.shard_shape)):
        if wish and min(wish) < 1:
            raise OptionError(f"--{flag}-shape {_text(wish)}: expected at least 1 voxel per axis")
    if options.chunk_shape or options.shard_shape:
        chunk = options.chunk_shape or chunk
        shard = options.shard_shape or whole_chunks(shard, chunk)
        if any(s % c for s, c in zip(shard, chunk, strict=True)):
            raise OptionError(
                f"--shard-shape {_text(shard)}: expected a multiple of the chunk {_text(chunk)} "
                f"along every axis; change it or --chunk-shape"
            )
    if options.ome_zarr == "0.4":
        if options.shard_shape:
            raise OptionError("--shard-shape: OME-Zarr 0.4 has no shards; leave it out")
        shard = chunk
    voxel_size = translation = None
    if header.voxel_size:
        factors = [float(factor) for factor in scale]
        sizes = [size / f for size, f in zip(header.voxel_size, factors, strict=True)]
        voxel_size = (sizes[0], sizes[1], sizes[2])
        translation = _translation(sources, grid, header.voxel_size, voxel_size)
    return Layout(
        axes=sources.axes,
        shape=grid.output_shape,
        num_channels=len({s.output_channel for s in sources.series})
        if "c" in sources.axes
        else None,
        num_timepoints=len({s.output_timepoint for s in sources.series})
        if "t" in sources.axes
        else None,
        dtype=dtype,
        voxel_size=voxel_size,
        translation=translation,
        chunk_shape=chunk,
        shard_shape=shard,
        ome_zarr=options.ome_zarr,
    )


def _translation(
    sources: Sources, grid: TileGrid, old: VoxelSize, new: VoxelSize
) -> VoxelSize | None:
    """Return the centre of the first output voxel in the input's coordinates, in nanometres.

    The edge, not the centre, of the first produced voxel stays where it was.
    """
    start = sources.header.translation or (0.0, 0.0, 0.0)
    z, y, x = (
        offset + (axis.lost - 0.5) * before + 0.5 * after
        for offset, axis, before, after in zip(start, grid.axes, old, new, strict=True)
    )
    return (z, y, x) if any((z, y, x)) else None


def refuse_unused(output: Path, options: OutputOptions) -> None:
    """Refuse options that say nothing about the format of `output`.

    Raises
    ------
    OptionError
        An option of TIFF for another format, or one of OME-Zarr.
    """
    kind, usual = output_kind(output), OutputOptions()
    for name, asked, default, wanted, suffix in (
        ("tiff-format", options.tiff_format, usual.tiff_format, "tiff", ".tif"),
        ("ome-zarr", options.ome_zarr, usual.ome_zarr, "zarr", ".zarr"),
    ):
        if asked != default and kind != wanted:
            raise OptionError(
                f"--{name} {asked}: {output} is no such file; leave it out, or name the output "
                f"{suffix}"
            )


def choose_dtype(
    asked: str | None, method: str | None, stored: np.dtype[Any], *, any_type: bool = False
) -> str:
    """Return the name of the output's type: as asked, as the method says, or the input's.

    Raises
    ------
    OptionError
        No such type, or one that would lose the input's values, which keep their units.
    """
    if asked is None:
        return method or stored.name
    if asked not in DTYPES:
        raise OptionError(f"--dtype {asked}: expected one of {', '.join(DTYPES)}")
    if method is not None and asked != method:
        raise OptionError(
            f"--dtype {asked}: with these options the result is {method}; leave it out"
        )
    wanted = np.dtype(asked)
    if not any_type and wanted.kind != "f" and not np.can_cast(stored, wanted):
        raise OptionError(
            f"--dtype {asked}: values keep the units of the input, which is {stored.name}, and "
            f"would be cut off; expected a type that holds them, such as float32"
        )
    return asked


def memory_budget(text: str | None) -> int:
    """Return the bytes that ``--memory`` means; None: a quarter of what is free, at most 4 GiB."""
    if text is None:
        return min(MOST_MEMORY, devices.free_main_memory() // 4)
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?I?)B?\s*", text.upper())
    if match is None or float(match[1]) == 0 or match[2] not in UNITS:
        raise OptionError(
            f"--memory {text}: expected a size such as 2GiB, 500MB or 1e9 bytes in digits"
        )
    return int(float(match[1]) * UNITS[match[2]])


def identity(
    request: PredictRequest, prepared: Prepared, sources: Sources, recorded: dict[str, Any]
) -> dict[str, Any]:
    """Return everything on which the output's bytes depend, as JSON types.

    Parameters
    ----------
    recorded : dict
        The recorded request, see `vemctl.workflows.config.request_to_json`.
    """
    layout = prepared.plan.layout
    options = {key: value for key, value in recorded.items() if key not in {"inputs", "weights"}}
    # Of the device only the kind counts: another card of the same kind may take over.
    options["compute"] = {k: v for k, v in options["compute"].items() if k != "device"}
    return {
        "method": request.method,
        "weights_sha256": prepared.weights.sha256 if prepared.weights else None,
        "device": prepared.device.partition(":")[0],
        "threads": devices.num_threads(prepared.device),
        "versions": {name: version(name) for name in ("vemctl", "torch", "numpy")},
        "batch": prepared.plan.batch,
        "options": options,
        "input": [fingerprint(volume) for volume in sources.volumes],
        "statistics": prepared.statistics,
        "output": {
            "axes": layout.axes,
            "shape": list(layout.shape),
            "dtype": layout.dtype.name,
            "chunk_shape": list(layout.chunk_shape),
            "shard_shape": list(layout.shard_shape),
        },
    }


def whole_chunks(shard: Triple, chunk: Triple) -> Triple:
    """Return `shard` rounded up to whole chunks."""
    z, y, x = (-(-s // c) * c for s, c in zip(shard, chunk, strict=True))
    return z, y, x


def _text(triple: Triple) -> str:
    return ",".join(map(str, triple))
