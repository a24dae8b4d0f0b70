"""Networks and samplers of a training: made anew, or taken from weights where these have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from vemctl.errors import OptionError
from vemctl.nn.state_dict import LoadedWeights
from vemctl.plugin import TrainingRequest, Triple
from vemctl_exem.data import ROLES, rules_of
from vemctl_exem.discriminator import NUM_FILTERS, NUM_SCALES, Discriminator, smallest_patch
from vemctl_exem.network import CHANNELS, MULTIPLE_OF, Generator
from vemctl_exem.network_sets import (
    GENERATORS,
    NETWORKS,
    check_channels,
    load_networks,
    read,
)
from vemctl_exem.ranges import common_rule
from vemctl_exem.samples import OriginalSampler, Rules, UniformSampler, epoch_length, grids_of
from vemctl_exem.train_options import TrainOptions


@dataclass(frozen=True)
class Built:
    """What a training begins with.

    Attributes
    ----------
    networks : dict of str to Module
        All four, by name, on their device.
    channels : tuple of int
        Of the generators.
    scales, filters : int
        Of the discriminators.
    sampler : UniformSampler
    epoch_length : int
        Samples.
    """

    networks: dict[str, nn.Module]
    channels: tuple[int, ...]
    scales: int
    filters: int
    sampler: UniformSampler
    epoch_length: int


def build(options: TrainOptions, request: TrainingRequest) -> Built:
    """Make or load the networks, and settle what they are shown.

    Raises
    ------
    WeightsError
        The weights to start from are of other networks.
    OptionError
        An option does not fit the networks or the data.
    """
    low, high = options.em_thresholds
    if not low < high:
        raise OptionError(f"--em-thresholds {low:g},{high:g}: expected the lower one first")
    found = read(request.weights) if request.weights else None
    networks, channels, scales, filters = _networks(options, request, found)
    _check_patch(options.patch, scales)
    overlap = options.patch_overlap or _half(options.patch)
    facts = {role: tuple(request.data[role]) for role in ROLES}
    rules = {role: rules_of(options, role) for role in ROLES}
    training = {role: rules[role][0] for role in ROLES}
    if found is not None:
        _compare_ranges(found.facts, training, request)
    # Where there are no volumes of their own, parts of the same ones are validated on.
    judged = {role: rules[role][1] for role in ROLES} if request.validation else training
    sampler = UniformSampler(options.patch, training, judged)
    if options.sampling == "original":
        sampler = OriginalSampler(options.patch, training, judged, overlap, request.seed)
    length = epoch_length(grids_of(facts, options.patch, overlap))
    return Built(networks, channels, scales, filters, sampler, length)


def _networks(
    options: TrainOptions, request: TrainingRequest, found: LoadedWeights | None
) -> tuple[dict[str, nn.Module], tuple[int, ...], int, int]:
    loaded = {}
    if found is not None and request.weights is not None:
        loaded = load_networks(found.tensors, request.weights)
    channels = options.generator_channels or CHANNELS
    scales, filters = options.discriminator_scales, options.discriminator_filters
    for network in loaded.values():
        if isinstance(network, Generator):
            channels = _agreed("--generator-channels", options.generator_channels, network.channels)
        else:
            scales = _agreed(
                "--discriminator-scales", options.discriminator_scales, network.num_scales
            )
            filters = _agreed(
                "--discriminator-filters", options.discriminator_filters, network.num_filters
            )
    check_channels(channels)
    scales, filters = scales or NUM_SCALES, filters or NUM_FILTERS
    missing = [name for name in NETWORKS if name not in loaded]
    if loaded and missing:
        request.warn(f"{request.weights}: without {', '.join(missing)}, which begin anew")
    networks: dict[str, nn.Module] = {}  # in the published order, so that a seed means the same
    for name in NETWORKS:
        if name in loaded:
            networks[name] = loaded[name]
        elif name in GENERATORS:
            networks[name] = Generator(channels)
        else:
            networks[name] = Discriminator(scales, filters)
    for made in networks.values():
        if isinstance(made, Generator):
            made.checkpointing = options.checkpointing
        made.to(request.device)
    return networks, tuple(channels), scales, filters


def _compare_ranges(facts: Mapping[str, Any], rules: Rules, request: TrainingRequest) -> None:
    """Warn where volumes are scaled otherwise than those that the weights were trained on."""
    stored = facts.get("normalisation")
    if not isinstance(stored, Mapping):
        return
    for role in ROLES:
        now = common_rule(rules[role])
        if now != stored.get(role):
            texts = [text or "a range for each volume" for text in (now, stored.get(role))]
            request.warn(
                f"{role.upper()} volumes are scaled by {texts[0]}, those that the weights were "
                f"trained on by {texts[1]}; --{role}-range sets it"
            )


def _agreed(flag: str, asked: Any, stored: Any) -> Any:
    """Return what the weights have, which must be what was asked for, if anything was."""
    if asked is not None and asked != stored:
        texts = [
            ",".join(map(str, each)) if isinstance(each, tuple) else str(each)
            for each in (asked, stored)
        ]
        raise OptionError(f"{flag} {texts[0]}: the weights have {texts[1]}; leave it out")
    return stored


def _check_patch(patch: Triple, scales: int) -> None:
    text = ",".join(map(str, patch))
    if any(length % MULTIPLE_OF for length in patch[1:]):
        raise OptionError(f"--patch {text}: expected multiples of {MULTIPLE_OF} along y and x")
    least = smallest_patch(scales, patch[0])
    if min(patch[1:]) < least:
        raise OptionError(
            f"--patch {text}: discriminators on {scales} scales need at least {least} along y and x"
        )


def _half(patch: Triple) -> Triple:
    z, y, x = (length // 2 for length in patch)
    return z, y, x
