"""What rldfn minimises: adversarial and cycle terms, and total variation.

Source: the published program. Weights here are those by which terms are multiplied in effect; the
published options are 50 for 50000 (its code multiplies by 100, and by 10) and 0.001 for 1e-7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl_rldfn.section_plans import DISCRIMINATOR_AXES, GENERATOR_AXES, Offset, SectionPlan
from vemctl_rldfn.sections import section

PLANE_SHARE = 1 / 3
"""Of each section of a fused volume that discriminators judge."""
AXIS_WEIGHTS = (5.0, 1.0, 1.0)
"""Of differences along z, y and x in the total variation."""
VARIATION_FACTOR = 3.0

Pair = tuple[Tensor, Tensor]
"""Of views A and B."""


@dataclass(frozen=True)
class LossWeights:
    """The effective weights of a generator's terms.

    Attributes
    ----------
    gan : float
        Of the sum of both adversarial terms.
    cycle : float
        Of the sum of both mean absolute errors.
    tv : float
        Of the total variation.
    """

    gan: float = 1.0
    cycle: float = 50000.0
    tv: float = 1e-7


def adversarial(judged: Tensor, *, is_real: bool) -> Tensor:
    """Return the cross-entropy of a judgement, ().

    It is between 0.313 and 1.314: as published, the judgement is taken as logits, though it is a
    sigmoid's output.

    Parameters
    ----------
    judged : tensor
        What a discriminator gave, 0 to 1.
    is_real : bool
        Whether it should have been 1 rather than 0.
    """
    judged = _precise(judged)
    target = torch.full_like(judged, float(is_real))
    return functional.binary_cross_entropy_with_logits(judged, target)


def cycle(blurred: Tensor, view: Tensor) -> Tensor:
    """Return the mean absolute error of a fused volume as a view would see it, ()."""
    return (_precise(blurred) - _precise(view)).abs().mean()


def total_variation(volume: Tensor) -> Tensor:
    """Return the mean over items of the sum of squared differences of neighbours, ().

    Along each axis the sum is over all voxels, divided by the number of differences along that
    axis; so it grows with the area of a patch, as published.

    Parameters
    ----------
    volume : tensor, (n, 1, z, y, x)
        Sides of at least 2.
    """
    volume = _precise(volume)
    terms = []
    for axis, weight in zip((2, 3, 4), AXIS_WEIGHTS, strict=True):
        squares = torch.diff(volume, dim=axis).square()
        terms.append(weight * squares.sum() / squares.shape[axis])
    return VARIATION_FACTOR * torch.stack(terms).sum() / len(volume)


def generator_losses(
    fused: Tensor,
    blurred: Pair,
    views: Pair,
    discriminators: tuple[nn.Module, nn.Module],
    plan: SectionPlan,
    offsets: Sequence[Sequence[Offset]],
    weights: LossWeights,
) -> dict[str, Tensor]:
    """Return the loss of a fusion, and its terms, () each.

    Discriminators judge one section like their view and one across, and get no gradients.

    Parameters
    ----------
    fused : tensor, (n, 1, z, y, x)
    blurred : pair of tensor, (n, 1, z, y, x)
        The same as each view would see it.
    views : pair of tensor, (n, 1, z, y, x)
        A and B as measured, normalised.
    discriminators : pair of Module
        Of A and of B, which learn from batch to batch: in training mode.
    plan : SectionPlan
    offsets : sequence of sequence of Offset
        Of the four sections: `StepOffsets.generator`.
    weights : LossWeights

    Returns
    -------
    dict of tensor
        ``loss``, with a gradient; and without a gradient and without their weights ``G_A``,
        ``G_B``, ``cycle_A``, ``cycle_B`` and ``tv``.
    """
    judged = []
    with _frozen(*discriminators):
        for n, axis in enumerate(GENERATOR_AXES):
            cut = section(fused, axis, plan, offsets[n])
            judged.append(adversarial(discriminators[n % 2](cut), is_real=True))
    terms = {
        "G_A": PLANE_SHARE * (judged[0] + judged[2]),
        "G_B": PLANE_SHARE * (judged[1] + judged[3]),
        "cycle_A": cycle(blurred[0], views[0]),
        "cycle_B": cycle(blurred[1], views[1]),
        "tv": total_variation(fused),
    }
    loss = (
        weights.gan * (terms["G_A"] + terms["G_B"])
        + weights.cycle * (terms["cycle_A"] + terms["cycle_B"])
        + weights.tv * terms["tv"]
    )
    return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}


def discriminator_losses(
    fused: Tensor,
    views: Pair,
    discriminators: tuple[nn.Module, nn.Module],
    plan: SectionPlan,
    offsets: Sequence[Sequence[Offset]],
) -> dict[str, Tensor]:
    """Return the loss of both discriminators, and of each, () each.

    Parameters
    ----------
    fused : tensor, (n, 1, z, y, x)
        As it was before the generator's update; it gets no gradient.
    views : pair of tensor, (n, 1, z, y, x)
        A and B as measured, normalised.
    discriminators : pair of Module
        Of A and of B.
    plan : SectionPlan
    offsets : sequence of sequence of Offset
        Of the four sections: `StepOffsets.discriminators`.

    Returns
    -------
    dict of tensor
        ``loss``, with a gradient; and without a gradient ``D_A`` and ``D_B``, of which the
        published program logs the half.
    """
    fused = fused.detach()
    volumes = (views[0], fused, views[1], fused)
    judged = []
    for n, axis in enumerate(DISCRIMINATOR_AXES):
        cut = section(volumes[n], axis, plan, offsets[n])
        judged.append(adversarial(discriminators[n // 2](cut), is_real=n % 2 == 0))
    of_a, of_b = (0.5 * (real + made) for real, made in (judged[:2], judged[2:]))
    return {"loss": of_a + of_b, "D_A": of_a.detach(), "D_B": of_b.detach()}


@contextmanager
def _frozen(*networks: nn.Module) -> Iterator[None]:
    """Compute no gradients of these parameters meanwhile."""
    learnt = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in learnt:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in learnt:
            parameter.requires_grad = True


def _precise(values: Tensor) -> Tensor:
    """Return values in no less than single precision, whatever the networks computed in."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
