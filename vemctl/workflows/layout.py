"""What an output volume will be: type, chunks, voxel size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import OptionError
from vemctl.plugin import Output, Triple
from vemctl.tiles.grid import TileGrid
from vemctl.volumes.checks import output_kind
from vemctl.volumes.chunks import default_chunks
from vemctl.volumes.volume import Layout, VoxelSize
from vemctl.workflows.options import OutputOptions
from vemctl.workflows.sources import Sources

DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")


def make_layout(
    options: OutputOptions, sources: Sources, grid: TileGrid, scale: Any, output: Output
) -> Layout:
    """Return what the output volume will be: the input's axes, voxel size divided by the scale."""
    header = sources.header
    dtype = np.dtype(choose_dtype(options.dtype, output, header.dtype))
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

    The edge, not the centre, of the first produced voxel stays where it was. A part of a volume
    says so even where it begins with the volume's first voxel.
    """
    start = sources.header.translation or (0.0, 0.0, 0.0)
    z, y, x = (
        offset + (axis.lost - 0.5) * before + 0.5 * after
        for offset, axis, before, after in zip(start, grid.axes, old, new, strict=True)
    )
    return (z, y, x) if any((z, y, x)) or sources.header.translation else None


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


def choose_dtype(asked: str | None, output: Output, stored: np.dtype[Any]) -> str:
    """Return the name of the output's type: as asked, as the method says, or the input's.

    Raises
    ------
    OptionError
        No such type, or one that would lose the input's values, which keep their units.
    """
    if asked is None:
        return output.dtype or output.usual_dtype or stored.name
    if asked not in DTYPES:
        raise OptionError(f"--dtype {asked}: expected one of {', '.join(DTYPES)}")
    if output.dtype is not None and asked != output.dtype:
        raise OptionError(
            f"--dtype {asked}: with these options the result is {output.dtype}; leave it out"
        )
    wanted = np.dtype(asked)
    if not output.unit_range and wanted.kind != "f" and not np.can_cast(stored, wanted):
        raise OptionError(
            f"--dtype {asked}: values keep the units of the input, which is {stored.name}, and "
            f"would be cut off; expected a type that holds them, such as float32"
        )
    return asked


def whole_chunks(shard: Triple, chunk: Triple) -> Triple:
    """Return `shard` rounded up to whole chunks."""
    z, y, x = (-(-s // c) * c for s, c in zip(shard, chunk, strict=True))
    return z, y, x


def _text(triple: Triple) -> str:
    return ",".join(map(str, triple))
