"""From options and data to what a trainer is made of: networks, optics, sampler, facts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vemctl.nn.device import free_memory
from vemctl.nn.state_dict import LoadedWeights, load
from vemctl.plugin import TrainingRequest
from vemctl_rldfn.checkpoints import build_discriminators, build_fusion, check, read_networks
from vemctl_rldfn.data import ROLES
from vemctl_rldfn.discriminator import Discriminator
from vemctl_rldfn.memory import step_bytes
from vemctl_rldfn.network import FeatureNet, FusionNetwork
from vemctl_rldfn.network_sets import PSFS
from vemctl_rldfn.optics import Optics, choose_optics, edge_of, tilt_of
from vemctl_rldfn.orientation import OrientationCheck
from vemctl_rldfn.psf_options import WIDTHS
from vemctl_rldfn.samples import FusionSampler
from vemctl_rldfn.section_schedule import SectionSchedule
from vemctl_rldfn.train_options import FusionOptions
from vemctl_rldfn.volume_checks import check_volumes, thinnest

LOOKED_AT = 8
"""Samples by which it is told whether views and point spread functions fit."""
JUDGED_SIDE = 28
"""Voxels of a section that a discriminator sees at once."""
SPARE = "net_FB."
PREFIXES = {"FA": "net_FA.", "FB": SPARE, "G": "net_G.", "D_A": "netD_A.", "D_B": "netD_B."}
"""Of published keys, by the names of the networks."""


@dataclass(frozen=True)
class Built:
    """What a training begins with.

    Attributes
    ----------
    network : FusionNetwork
    spare : FeatureNet
        Of published files: nothing uses it, nothing trains it.
    discriminators : pair of Discriminator
        Of views A and B.
    optics : Optics
    sampler : FusionSampler
    schedule : SectionSchedule
    facts : mapping
        JSON types.
    """

    network: FusionNetwork
    spare: FeatureNet
    discriminators: tuple[Discriminator, Discriminator]
    optics: Optics
    sampler: FusionSampler
    schedule: SectionSchedule
    facts: Mapping[str, Any]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All of them by name, in the order of `PREFIXES`."""
        judges = dict(zip(("D_A", "D_B"), self.discriminators, strict=True))
        return {"FA": self.network.net_FA, "FB": self.spare, "G": self.network.net_G, **judges}

    def tensors(self) -> dict[str, Tensor]:
        """Return all parameters by their published keys, and the point spread functions."""
        tensors = {
            PREFIXES[name] + key: value
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        psfs = zip(PSFS, (self.optics.psf_a, self.optics.psf_b), strict=True)
        return tensors | {key: torch.from_numpy(psf) for key, psf in psfs}


def build(options: FusionOptions, request: TrainingRequest) -> Built:
    """Make or load the networks, and settle what they are shown.

    Raises
    ------
    WeightsError
        The weights to start from are of other networks, or a file is no point spread function.
    OptionError
        An option does not fit the data.
    InputError
        A volume cannot be learned from.
    """
    found = LoadedWeights({}, {}) if request.weights is None else read_networks(request.weights)
    views = [each for role in ROLES for each in request.data[role]]
    optics = choose_optics(
        options,
        request.files,
        found.tensors,
        found.facts,
        views,
        request.warn,
        replacing=WIDTHS,  # the tilt is of sections, too
    )
    tilt = tilt_of(options, found.facts)
    crop = options.patch
    check_volumes(options, request, tilt)
    optics.warn_of_cuts(crop, request.warn)
    optics.warn_of_kernels(request.warn)
    schedule = SectionSchedule(
        options.sections,
        crop,
        tilt,
        options.section_every,
        request.seed,
        options.section_y_offset,
    )
    if min(schedule.largest) < JUDGED_SIDE:
        height, width = schedule.largest
        request.warn(
            f"sections of a patch are {height} x {width} voxels, and discriminators look at "
            f"{JUDGED_SIDE} x {JUDGED_SIDE} at once: they learn little; use a larger --patch"
        )
    judged = request.validation or request.data
    sampler = FusionSampler(
        crop,
        (thinnest(request.data, crop[0]), *crop[1:]),
        (thinnest(judged, crop[0]), *crop[1:]),
        options.end_padding,
        options.foreground,
    )
    _check_orientation(sampler, optics, request)
    network, spare, discriminators = _networks(request, found)
    checkpointed = _is_checkpointed(options, request, schedule)
    for part in (network, network.net_G):
        part.checkpointed = checkpointed
    facts = {
        "normalisation": {"views": "maximum of each volume"},
        "tile": list(crop),
        "end_padding": options.end_padding,
        "tilt": tilt,
        "psf": _described(optics, request, found),
        "voxel_size": _voxel_size(edge_of(options, views), found),
    }
    built = Built(network, spare, discriminators, optics, sampler, schedule, facts)
    where = request.weights or Path("networks made anew")
    return replace(built, facts={"network": check(built.tensors(), where), **facts})


def _networks(
    request: TrainingRequest, found: LoadedWeights
) -> tuple[FusionNetwork, FeatureNet, tuple[Discriminator, Discriminator]]:
    """Make or load all networks, on their device."""
    network, spare = FusionNetwork(), FeatureNet()
    discriminators: tuple[Discriminator, Discriminator] | None = None
    if request.weights is not None:
        network = build_fusion(found.tensors, request.weights)
        own = {
            key.removeprefix(SPARE): value
            for key, value in found.tensors.items()
            if key.startswith(SPARE)
        }
        if own:
            load(spare, own, request.weights, name="the spare feature net of rldfn")
        discriminators = build_discriminators(found.tensors, request.weights)
        if discriminators is None:
            request.warn(f"{request.weights}: without discriminators, which begin anew")
    judges = discriminators or (Discriminator(), Discriminator())
    for each in (network, spare, *judges):
        each.to(request.device)
    spare.requires_grad_(requires_grad=False)
    return network, spare, judges


def _is_checkpointed(
    options: FusionOptions, request: TrainingRequest, schedule: SectionSchedule
) -> bool:
    if options.checkpointing != "auto":
        return options.checkpointing == "on"
    needed = step_bytes(request.batch or 1, options.patch, schedule.largest, checkpointed=False)
    return needed > free_memory(request.device)


def _check_orientation(sampler: FusionSampler, optics: Optics, request: TrainingRequest) -> None:
    """Warn where samples fit the point spread functions better the other way round."""
    orientation = OrientationCheck(optics.psf_a, optics.psf_b)
    for sample in request.look(replace(sampler, foreground=True), LOOKED_AT):
        views = (torch.from_numpy(sample[role]).to(request.device) for role in ROLES)
        text = orientation.check(*views)
        if text is not None:
            request.warn(text)
        if orientation.verdict is not None:
            break


def _described(optics: Optics, request: TrainingRequest, found: LoadedWeights) -> dict[str, Any]:
    """Return where the point spread functions are from, as JSON types."""
    if optics.source == "weights":
        known = found.facts.get("psf")
        return dict(known) if isinstance(known, Mapping) else {"source": "weights"}
    digests = {
        f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in request.files.items()
        if path.is_file()
    }
    return {"source": optics.source, **optics.told, **digests}


def _voxel_size(edge: float | None, found: LoadedWeights) -> Any:
    return found.facts.get("voxel_size") if edge is None else [edge] * 3
