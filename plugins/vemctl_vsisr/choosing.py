"""From weights and options to a restorer: network, directions, transfer functions, geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vemctl.errors import InputError, OptionError, WeightsError
from vemctl.nn.compiling import refuse_compiling
from vemctl.nn.state_dict import read_weights
from vemctl.plugin import Footprint, Output, Request, VolumeFacts
from vemctl_vsisr.checkpoints import build_generator
from vemctl_vsisr.intensities import Limits, limit_names, limits_of, profiles_of
from vemctl_vsisr.microscope import SAME_PIXEL, Pixel, optics_of
from vemctl_vsisr.predict_options import PredictOptions
from vemctl_vsisr.proportions import FRAMES, PLANES, enlarged_size
from vemctl_vsisr.published import META_BLOB

if TYPE_CHECKING:
    from torch import Tensor

    from vemctl_vsisr.directions import Network
    from vemctl_vsisr.restorer import VsisrRestorer

LOST = 3
"""Slices without a result at each end, for windows are of seven."""
CONTEXT = LOST + 1
"""Slices beside a core: the windows of its neighbours say something of its ends."""
CORE = 4
"""Slices of a core at least, for each window of a batch: they bound what is held at once."""
SCALE = (Fraction(1), Fraction(3, 2), Fraction(3, 2))
LEAST_ORIGINAL = 9
LEAST_ADJUSTED = 17


def make_restorer(weights: Path, options: PredictOptions, request: Request) -> VsisrRestorer:
    """Load the network and settle everything else.

    Raises
    ------
    WeightsError
        The file belongs to another network, or to a discriminator.
    OptionError
        The options contradict each other or the volume.
    InputError
        The volume is too thin.
    """
    from vemctl_vsisr.corners import RotatedCall
    from vemctl_vsisr.directions import Direction, Span
    from vemctl_vsisr.recombining import JointReconstruction
    from vemctl_vsisr.restorer import VsisrRestorer
    from vemctl_vsisr.rotating import Rotation

    refuse_compiling("vsisr", wanted=request.compile)
    (facts,) = request.inputs
    if request.as_original:
        _check_original(options, facts)
    footprint = _footprint(options, request, facts)
    _check_effects(options)
    _warn_of_pixels(facts, request)
    pixel = Pixel.of(facts.voxel_size, options)
    optics = optics_of(options, request.files, pixel, facts.num_channels, request.warn)
    loaded = read_weights(weights)
    _warn_of_meta(weights, loaded.facts, request)
    network = build_generator(loaded.tensors, weights).to(request.device).eval()
    if (network.in_channels, network.out_channels) != (FRAMES, PLANES):
        raise WeightsError(
            f"{weights}: a generator that makes {network.out_channels} planes of "
            f"{network.in_channels} slices; expected one that makes {PLANES} of {FRAMES}"
        )

    z, y, x = facts.shape
    plane = (x, y) if options.sr_axis == "y" else (y, x)
    angles = [180 / options.orientations * number for number in range(options.orientations)]
    lost = footprint.lost[0]
    span = Span(lost, z - 1 - lost, z)
    core = (footprint.tile[0] or z) - 2 * CONTEXT
    repeated = _repeated(z - 2 * lost, core)
    overlap = repeated if repeated < CORE else 0  # to compute again is better than to hold as many
    common = (options.time_range or _usual_range(options, request)) == "series"
    limits = limits_of(facts, options, as_original=request.as_original)
    _warn_of_blank(limits, options, request)
    calls = [RotatedCall(network, plane, angle) for angle in angles]
    directions = [
        Direction(
            _in_precision(call, request),
            Rotation(plane, angle, reshape=True, device=request.device),
            span,
            request.batch,
            overlap,
            network_bytes=call.memory(request.batch),
        )
        for call, angle in zip(calls, angles, strict=True)
    ]
    joints = {
        id(each): JointReconstruction(
            enlarged_size(*plane),
            each,
            angles=angles,
            otf_weight=options.otf_weight,
            wiener=options.wiener,
            otf_grid=options.otf_grid,
            registration=options.registration,
            pixel=pixel.size,
            device=request.device,
        )
        for each in optics
    }
    return VsisrRestorer(
        directions,
        [joints[id(each)] for each in optics],
        limits,
        profiles_of(facts, options, limits, lost, common=common),
        options.intensity_percentile,
        span,
        footprint,
        Output(
            rounding="truncate",
            dtype="uint16" if request.as_original else None,
            stretch="channel" if common else "series",
            unit_range=True,
        ),
        transposed=options.sr_axis == "y",
        settled={
            "orientations": ", ".join(f"{angle:g}" for angle in angles),
            "time_range": "series" if common else "timepoint",
            "pixel_size": pixel.size,
        },
    )


def _footprint(options: PredictOptions, request: Request, facts: VolumeFacts) -> Footprint:
    """Return the geometry: whole planes, a few slices at a time."""
    wishes = request.tiling
    if wishes.overlap is not None or wishes.window is not None:
        flag = "--overlap" if wishes.overlap is not None else "--blend"
        raise OptionError(
            f"{flag}: vsisr restores whole planes, which are not blended; leave it out"
        )
    lost = 0 if options.z_ends == "mirror" else LOST
    if facts.shape[0] <= 2 * lost:
        raise InputError(
            f"slices of the volume: {facts.shape[0]}, of which vsisr loses {lost} at each end; "
            f"expected {2 * lost + 1} or more, or --z-ends mirror, which loses none"
        )
    num_slices = 2 * CONTEXT + _core(facts.shape[0] - 2 * lost, request.batch)
    if wishes.tile is not None:
        num_slices, *plane = wishes.tile
        _, y, x = facts.shape
        if plane != [y, x] or num_slices <= 2 * CONTEXT:
            raise OptionError(
                f"--tile {','.join(map(str, wishes.tile))}: vsisr restores whole planes and takes "
                f"{CONTEXT} slices on each side; expected Z,{y},{x} with Z of at least "
                f"{2 * CONTEXT + 1}, or leave it out and cut with --roi"
            )
    return Footprint(
        tile=(num_slices, None, None),
        halo=(CONTEXT, 0, 0),
        lost=(lost, 0, 0),
        scale=SCALE,
        padding="clip",
        batched=False,
    )


def _core(num_slices: int, batch: int) -> int:
    """Return how many slices a core has, so that the last one repeats as few as can be."""
    sizes = range(CORE * batch, 2 * CORE * batch, batch)
    return min(sizes, key=lambda core: _repeated(num_slices, core))


def _repeated(num_slices: int, core: int) -> int:
    """Return by how many slices the last core is shifted back to end with the volume."""
    return -num_slices % core if num_slices > core else 0


def _usual_range(options: PredictOptions, request: Request) -> str:
    # Without the input's profile the brightness of a result says nothing of the input's.
    as_published = request.as_original or not options.adjust_intensity
    return "timepoint" if as_published else "series"


def _in_precision(network: Network, request: Request) -> Network:
    """Return the network so that it calculates in the precision that is asked for."""
    import torch

    kind = request.device.partition(":")[0]
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(request.precision)

    def autocast() -> AbstractContextManager[object]:
        return nullcontext() if dtype is None else torch.autocast(kind, dtype)

    def call(windows: Tensor) -> Tensor:
        with autocast():
            restored = network(windows)
        return restored.float()

    return call


def _warn_of_meta(weights: Path, facts: Mapping[str, object], request: Request) -> None:
    """Tell users who predict with weights that are meant to be fine-tuned first."""
    content = weights.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if blob == META_BLOB or facts.get("stage") == "meta":
        request.warn(
            f"{weights.name} was meta-trained and never fine-tuned: its results are poor until "
            f"vemctl finetune vsisr has adapted it to the specimen by a few pairs"
        )


def _warn_of_blank(limits: Limits, options: PredictOptions, request: Request) -> None:
    """Tell which time points and channels have no range, and so no result but zeros."""
    import numpy as np

    told = "is blank, all of one value: so is its result"
    if limit_names(options) != limit_names(PredictOptions()):
        told = f"has one value at both percentiles of --limits {options.limits}: its result is 0"
    for series in np.flatnonzero(limits.low == limits.high):
        channels = request.inputs[0].num_channels
        request.warn(f"time point {series // channels}, channel {series % channels} {told}")


def _warn_of_pixels(facts: VolumeFacts, request: Request) -> None:
    """Tell users whose pixels are not square, for planes are rotated."""
    if facts.voxel_size is None:
        return
    _, y, x = facts.voxel_size
    if abs(y / x - 1) > SAME_PIXEL:
        request.warn(
            f"pixels of {y:g} x {x:g} nm (y, x) are not square, but planes are rotated: the result "
            f"is distorted; scale the volume to square pixels first, or mend its voxel size"
        )


def _check_effects(options: PredictOptions) -> None:
    """Refuse options that would have no effect."""
    if not options.adjust_intensity:
        usual = PredictOptions()
        if options.intensity_percentile != usual.intensity_percentile:
            raise OptionError("--intensity-percentile: no effect with --no-adjust-intensity")
        if options.time_range == "series":
            raise OptionError(
                "--time-range series with --no-adjust-intensity: slices then have no brightness of "
                "the input's; leave out one or the other"
            )


def _check_original(options: PredictOptions, facts: VolumeFacts) -> None:
    """Refuse what the published program has not, and volumes on which it fails."""
    ours = {
        "--orientations": options.orientations != 3,
        "--otf-grid physical": options.otf_grid == "physical",
        "--registration exact": options.registration == "exact",
        "--z-ends mirror": options.z_ends == "mirror",
        "--limits": limit_names(options) != limit_names(PredictOptions()),
        "--time-range series": options.time_range == "series",
    }
    given = [flag for flag, differs in ours.items() if differs]
    if given:
        raise OptionError(
            f"--as-original with {', '.join(given)}: the original has no such option; leave out "
            f"one or the other"
        )
    least = LEAST_ADJUSTED if options.adjust_intensity else LEAST_ORIGINAL
    if facts.shape[0] < least:
        how = " that adjusts intensities" if options.adjust_intensity else ""
        raise OptionError(
            f"--as-original: the original{how} fails on fewer than {least} slices, the volume has "
            f"{facts.shape[0]}; leave out --as-original"
        )
