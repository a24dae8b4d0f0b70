"""Which volumes a training reads, and which of their grey values are 0 and 1. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vemctl.errors import OptionError
from vemctl.plugin import Patches, TrainingData, Triple, draw_place, volumes_at
from vemctl_exem.ranges import Rule, parse_rules
from vemctl_exem.train_options import TrainOptions

ROLES = ("lm", "em")
LOOKED_AT = 16
LOOK: Triple = (8, 128, 128)
RARE = 0.02
"""Share of voxels below which a group hardly exists."""
GREY = 255.0


def training_data(options: TrainOptions, volumes: Sequence[Path]) -> TrainingData:
    """Return the volumes of both kinds; folders stand for what is in them.

    Raises
    ------
    OptionError
        A kind is missing, or volumes were named without saying of which kind they are.
    """
    if volumes:
        raise OptionError(
            f"{volumes[0]}: of which kind is it? Name volumes with --lm (expansion microscopy) and "
            f"--em (electron microscopy)"
        )
    missing = [f"--{role}" for role in ROLES if not getattr(options, role)]
    if missing:
        raise OptionError(
            f"no volumes for {' and '.join(missing)}: exem learns from volumes of both kinds; name "
            f"at least one with --lm and one with --em"
        )
    if bool(options.validation_lm) != bool(options.validation_em):
        raise OptionError(
            "--validation-lm and --validation-em: expected some of both, or none; name the other"
        )
    validation = {
        role: _expanded(getattr(options, f"validation_{role}"))
        for role in ROLES
        if getattr(options, f"validation_{role}")
    }
    return TrainingData(
        {role: _expanded(getattr(options, role)) for role in ROLES}, validation=validation
    )


def rules_of(options: TrainOptions, role: str) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """Return the rules of a kind's files to train on, and of those to validate on.

    Raises
    ------
    OptionError
        Their number does not fit, or one means nothing.
    """
    data = training_data(options, ())
    given: tuple[str, ...] = getattr(options, f"{role}_range")
    counts = len(data.volumes[role]), len(data.validation.get(role, ()))
    return parse_rules(given, f"--{role}-range", *counts)


def warnings_of(options: TrainOptions, patches: Patches) -> list[str]:
    """Return what in the grey values would keep the group loss from working.

    Some patches of each kind are looked at, always the same.
    """
    if options.content_weight == 0:
        return []
    low, high = options.em_thresholds
    bright = float(np.mean(_values(options, patches, "lm") > options.lm_threshold))
    em = _values(options, patches, "em")
    middle = float(np.mean((em > low) & (em < high)))
    warnings = []
    for share, what, flags in (
        (bright, f"LM voxels are above {options.lm_threshold:g}", "--lm-range or --lm-threshold"),
        (middle, f"EM voxels are between {low:g} and {high:g}", "--em-range or --em-thresholds"),
    ):
        if not RARE <= share <= 1 - RARE:
            warnings.append(
                f"{share:.1%} of {what} (of 255 after scaling): the group loss, which fixes the "
                f"polarity of contrast, expects both sides; set {flags}"
            )
    return warnings


def _values(options: TrainOptions, patches: Patches, role: str) -> np.ndarray:
    """Return grey values of patches spread over the volumes, scaled to 0..255."""
    rules, _ = rules_of(options, role)
    rng = np.random.default_rng(0)
    values = []
    for facts_number in range(LOOKED_AT):
        everything = patches.facts(role)
        index = facts_number % len(everything)
        facts = everything[index]
        z, y, x = (min(n, size) for n, size in zip(LOOK, facts.shape, strict=True))
        _, corner = draw_place([facts], (z, y, x), rng)
        block = patches.read(role, index, corner, (z, y, x)).astype(np.float32)
        values.append(rules[facts.file_index].range_of(facts).to_network(block).ravel() * GREY)
    return np.concatenate(values)


def _expanded(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(each for path in paths for each in volumes_at(path))
