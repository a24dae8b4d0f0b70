"""From options, weights and input to the restorer that does it. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from vemctl.errors import InputError, OptionError
from vemctl.nn.compiling import refuse_compiling
from vemctl.plugin import Output, Request, Restorer, Tiling, TimeWindow, Triple
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.checkpoints import Checkpoint, forget, read_checkpoint
from vemctl_pssr.cutting import Geometry, choose_geometry
from vemctl_pssr.footprints import even_footprint, published_footprint
from vemctl_pssr.memory import LARGE, num_parameters
from vemctl_pssr.method import PredictOptions
from vemctl_pssr.ranges import RangeRule, parse_range, rule_as_trained

SMALLEST_PLANE = 2
OTHER_VOXELS = 0.15
"""From which relative difference a voxel size is another one."""
Frames = Literal["t", "z"]


def check_options(options: PredictOptions, weights: Path, *, as_original: bool) -> None:
    """Refuse what no input could mend, before any is read.

    Raises
    ------
    OptionError
        Options contradict each other.
    WeightsError
        The file is of another network, or lacks what is needed.
    """
    if options.tiling == "original" and options.resample == "direct":
        raise OptionError(
            "--resample direct with --tiling original: published tiles do not begin at whole "
            "pixels of the input; leave one of them out"
        )
    if as_original:
        _refuse_ours(options)
    found = read_checkpoint(weights)
    found.normalisation(options.mean, options.std)
    if options.frames is not None and found.architecture.frames == 1:
        raise OptionError(
            f"--frames {options.frames}: {weights.name} takes one frame; leave it out"
        )


def range_rule(options: PredictOptions, weights: Path, *, as_original: bool) -> RangeRule:
    """Return the rule by which an input is scaled: as asked, as trained, or as published."""
    if options.scale_range is not None and not as_original:
        return parse_range(options.scale_range, "--scale-range")
    found = read_checkpoint(weights)
    return rule_as_trained({} if as_original else found.facts, from_notebook=found.from_notebook)


def time_window(
    options: PredictOptions, weights: Path, num_timepoints: int, *, as_original: bool
) -> TimeWindow:
    """Return the time points that weights for several frames take at once.

    Raises
    ------
    OptionError
        The input has fewer.
    """
    frames = read_checkpoint(weights).architecture.frames
    if frames == 1 or frames_axis(options, num_timepoints) == "z":
        return TimeWindow()
    if num_timepoints < frames:
        raise OptionError(
            f"--frames t: the input has {num_timepoints} time points, the weights take {frames} at "
            f"once; expected at least as many, --frames z, or weights for single frames"
        )
    half = frames // 2
    return TimeWindow(half, half, lost=as_original)


def frames_axis(options: PredictOptions, num_timepoints: int) -> Frames:
    """Return along which axis frames are neighbours."""
    return options.frames or ("t" if num_timepoints > 1 else "z")


def make_restorer(weights: Path, options: PredictOptions, request: Request) -> Restorer:
    """Load the network and settle the geometry.

    Parameters
    ----------
    weights : Path
        Of the published programs, or of ours.
    options : PredictOptions
    request : Request

    Raises
    ------
    WeightsError
        The file is of another network, or lacks what is needed.
    OptionError
        The options contradict each other.
    InputError
        The input cannot be enlarged with these weights.
    """
    from vemctl_pssr.fusing import fused
    from vemctl_pssr.restorer import EvenTiles, PublishedTiles, Setup
    from vemctl_pssr.upscaling import Upscaler

    refuse_compiling("pssr", wanted=request.compile)
    (facts,) = request.inputs
    found = read_checkpoint(weights)
    if request.as_original:
        _refuse_ours(options, request)
    geometry = choose_geometry(options, request, found)
    in_time = len(request.time_window.offsets) > 1
    depth = 1 if in_time else found.architecture.frames
    _check_input(facts.shape, depth, request)
    rule = range_rule(options, weights, as_original=request.as_original)
    ranges = rule.ranges_of(facts, "the input")
    normalisation = found.normalisation(options.mean, options.std)
    # Quicker so, see docs/benchmarks.md; in float32 on CUDA the other way round.
    last = request.device == "cpu" or request.precision != "fp32"
    network = fused(found.network(), channels_last=last).to(request.device)
    _warn(found, geometry, request)
    notebook = request.as_original and found.from_notebook
    upscaler = Upscaler(network, found.architecture, normalisation, clamp=notebook)
    setup = Setup(
        upscaler,
        _output(options, request, found),
        ranges,
        facts.shape,
        in_time,
        request.device,
        {
            "network": found.architecture.name,
            "frames": found.architecture.frames,
            "frames_axis": "t" if in_time else "z",
            "resample": geometry.resample,
            "tiling": geometry.tiling,
            "tile": list(geometry.tile),
            "overlap_pixels": geometry.published_overlap
            if geometry.tiling == "original"
            else SCALE * geometry.overlap[2],
            "range": rule.text,
            "values": options.values,
            "normalisation": normalisation.to_json(),
        },
    )
    forget()
    if geometry.tiling == "even":
        footprint = even_footprint(depth, geometry.tile, geometry.overlap)
        if request.tiling.window is not None:
            footprint = replace(footprint, window=request.tiling.window)
        return EvenTiles(setup, footprint, straight=geometry.resample == "direct")
    size, overlap = SCALE * geometry.tile[2], geometry.published_overlap
    lost = depth // 2 if request.as_original and facts.shape[0] > 1 else 0
    return PublishedTiles(
        setup,
        published_footprint(depth, size, overlap, lost=lost),
        size=size,
        overlap=overlap,
        batch=request.batch,
    )


def _check_input(shape: Triple, depth: int, request: Request) -> None:
    if min(shape[1:]) < SMALLEST_PLANE:
        raise InputError(
            f"the input has {shape[1]} x {shape[2]} pixels (y, x): expected at least "
            f"{SMALLEST_PLANE} x {SMALLEST_PLANE}; use --axes if these are other axes"
        )
    one_page = request.as_original and shape[0] == 1  # which the published program repeats
    if shape[0] < depth and not one_page:
        raise InputError(
            f"the input has {shape[0]} slices, the weights take {depth} at once: expected at least "
            f"as many, or time points with --frames t; else use weights for single frames"
        )


def _output(options: PredictOptions, request: Request, found: Checkpoint) -> Output:
    if request.as_original:
        dtype = "uint16" if found.from_notebook else "uint8"
        return Output("truncate", dtype=dtype, unit_range=True)
    return Output(unit_range=options.values == "full")


def _refuse_ours(options: PredictOptions, request: Request | None = None) -> None:
    """Refuse what the published programs have not."""
    tiling = request.tiling if request else Tiling()
    ours = [
        flag
        for flag, given in (
            ("--scale-range", options.scale_range is not None),
            ("--values", options.values != "input"),
            ("--resample direct", options.resample == "direct"),
            ("--tiling even", options.tiling == "even"),
            ("--overlap", tiling.overlap is not None),
            ("--blend", tiling.window is not None),
        )
        if given
    ]
    if ours:
        raise OptionError(
            f"--as-original with {', '.join(ours)}: the original has no such option; leave out one "
            f"or the other"
        )


def _warn(found: Checkpoint, geometry: Geometry, request: Request) -> None:
    """Tell what is doubtful about weights, tile and voxel size."""
    (facts,) = request.inputs
    parameters = num_parameters(found.architecture)
    if parameters > LARGE:
        request.warn(
            f"{found.path.name}: {found.architecture.name} has {parameters / 1e6:.0f} million "
            f"parameters; expect it to be slow, and to take {4 * parameters / 2**30:.1f} GiB"
        )
    trained = None if found.size is None else found.size // SCALE
    if trained is not None and {trained} != {*geometry.tile[1:]}:
        request.warn(
            f"--tile {','.join(map(str, geometry.tile))}: the weights were trained on tiles of "
            f"{trained} pixels; the network averages over a tile, so that another one changes the "
            f"result"
        )
    expected, there = found.voxel_size, facts.voxel_size
    if expected and there:
        pairs = list(zip(there[1:], expected, strict=True))
        if any(abs(ours / theirs - 1) > OTHER_VOXELS for ours, theirs in pairs):
            request.warn(
                f"the input has pixels of {there[1]:g} x {there[2]:g} nm (y, x), and the weights "
                f"were trained to enlarge {expected[0]:g} x {expected[1]:g} nm; expect artefacts: "
                f"resample the input, or train on pixels like these"
            )
