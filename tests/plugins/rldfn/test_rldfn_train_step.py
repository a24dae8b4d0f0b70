"""A whole step of the training against the published one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from parity import load_fixture
from torch import Tensor, nn
from vemctl_rldfn.deconvolving import DualViewDeconvolution
from vemctl_rldfn.degrading import Degradation
from vemctl_rldfn.discriminator import Discriminator
from vemctl_rldfn.losses import LossWeights, discriminator_losses, generator_losses
from vemctl_rldfn.network import FusionNetwork
from vemctl_rldfn.section_plans import Offset, SectionPlan, StepOffsets, largest_offset


class Stepped(NamedTuple):
    """What a step gave, and the published step.

    Attributes
    ----------
    losses : dict of float
        By their published names.
    before, after : dict of tensor
        All that networks hold, by the published keys.
    gradients : dict of tensor
        Of what got one.
    fused, fused_after, blurred_after : tensor, (1, 1, z, y, x)
        In training mode before the step, and in evaluation mode after it.
    keys : list of str
        Of the published arrays, in their order.
    params : dict
    arrays : dict of ndarray
    """

    losses: dict[str, float]
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    gradients: dict[str, Tensor]
    fused: Tensor
    fused_after: Tensor
    blurred_after: Tensor
    keys: list[str]
    params: dict[str, Any]
    arrays: dict[str, np.ndarray]


def state_of(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Return a copy of what networks hold, by the published keys."""
    return {
        prefix + key: value.clone()
        for prefix, network in networks.items()
        for key, value in network.state_dict().items()
    }


@pytest.fixture(scope="module")
def stepped() -> Stepped:
    """Return what one step gave on the fixture's views, from the fixture's weights."""
    spec, arrays, weights = load_fixture("rldfn_train_step")
    params = spec["params"]
    for key, value in weights.items():
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.zeros_like(value, dtype=torch.int64)
    network, judge_a, judge_b = FusionNetwork(), Discriminator(), Discriminator()
    networks: dict[str, nn.Module] = {"": network, "netD_A.": judge_a, "netD_B.": judge_b}
    for prefix, each in networks.items():
        each.load_state_dict({key: weights[prefix + key] for key in each.state_dict()})
        each.train()
    before = state_of(networks)
    views = tuple(torch.from_numpy(arrays[name]) for name in ("view_A", "view_B"))
    psfs = tuple(torch.from_numpy(arrays[name]) for name in ("psfA", "psfB"))
    deconvolution = DualViewDeconvolution(*psfs, tuple(params["patch_zyx"]), "cpu")
    degradation = Degradation(*psfs)
    plan = SectionPlan(
        params["H"],
        params["W"],
        params["theta_deg"],
        math.degrees(params["theta_off_rad"]),
        params["pixel_off"],
    )
    drawn = [(Offset(*each),) for each in params["offsets"]]
    offsets = StepOffsets(tuple(drawn[:4]), tuple(drawn[4:]))
    betas = tuple(params["betas"])
    rate_g, rate_d = params["lr_G"], params["lr_D"]
    adam_g = torch.optim.Adam(network.parameters(), rate_g, betas, params["adam_eps"])
    judging = [*judge_a.parameters(), *judge_b.parameters()]
    adam_d = torch.optim.Adam(judging, rate_d, betas, params["adam_eps"])

    fused = network(*deconvolution.ratios(*views))
    judges = judge_a, judge_b
    blurred = degradation(fused)
    of_g = generator_losses(fused, blurred, views, judges, plan, offsets.generator, LossWeights())
    of_g["loss"].backward()
    adam_g.step()
    of_d = discriminator_losses(fused, views, judges, plan, offsets.discriminators)
    of_d["loss"].backward()
    adam_d.step()

    gradients = {
        prefix + key: parameter.grad.clone()
        for prefix, each in networks.items()
        for key, parameter in each.named_parameters()
        if parameter.grad is not None
    }
    after = state_of(networks)
    network.eval()
    with torch.no_grad():
        fused_after = network(*deconvolution.ratios(*views))
        blurred_after = degradation(fused_after)[0]
    losses = {
        "D_A": 0.5 * of_d["D_A"].item(),  # as the published program logs them
        "D_B": 0.5 * of_d["D_B"].item(),
        "G_A": of_g["G_A"].item(),
        "G_B": of_g["G_B"].item(),
        "cycle1": 10 * of_g["cycle_A"].item(),
        "cycle2": 10 * of_g["cycle_B"].item(),
        "G_total": of_g["loss"].item(),
        "TV_inner": 1e-4 * of_g["tv"].item(),
    }
    return Stepped(
        losses,
        before,
        after,
        gradients,
        fused.detach(),
        fused_after,
        blurred_after,
        list(weights),
        params,
        arrays,
    )


def test_offsets_are_of_the_published_ranges(stepped) -> None:
    """Of every section of the step."""
    params = stepped.params
    plan = SectionPlan(
        params["H"], params["W"], params["theta_deg"], math.degrees(params["theta_off_rad"])
    )
    for axis, (along_x, along_z) in zip(
        (2, 3, 4, 4, 0, 2, 1, 3), params["offset_ranges"], strict=True
    ):
        assert along_x == [0, largest_offset(axis, plan, params["patch_zyx"])]
        assert along_z == [0, 1]


def test_losses_are_the_published_ones(stepped) -> None:
    """All that the published program logs, and what it minimises."""
    assert stepped.losses == pytest.approx(stepped.params["losses"], rel=1e-5)


def test_gradients_are_the_published_ones(stepped) -> None:
    """Their norms; those of biases before a batch norm are mere rounding."""
    compared = 0
    for key, expected in zip(stepped.keys, stepped.arrays["grad_norm"], strict=True):
        if key.startswith("net_FB."):  # the second feature network is in no use
            continue
        assert math.isnan(expected) == (key not in stepped.gradients), key
        if key in stepped.gradients and key not in stepped.params["noise_grad"]:
            found = stepped.gradients[key].double().norm().item()
            assert found == pytest.approx(expected, rel=3e-3), key
            compared += 1
    assert compared == 74


def test_updates_are_the_published_ones(stepped) -> None:
    """Sums of all that networks hold before and after, running statistics, too."""
    columns = (stepped.arrays[name] for name in ("sum_before", "sum_after", "abs_after"))
    compared = 0
    for key, before, after, size in zip(stepped.keys, *columns, strict=True):
        if key.startswith("net_FB.") or key in stepped.params["noise_grad"]:
            continue
        assert stepped.before[key].double().sum().item() == pytest.approx(before, abs=1e-9), key
        found = stepped.after[key].double().sum().item()
        assert found == pytest.approx(after, abs=2e-6 * size + 2e-5), key
        compared += 1
    assert compared == 128


def test_volumes_are_the_published_ones(stepped) -> None:
    """Fused in training mode before the step, and in evaluation mode after it; and blurred."""
    for found, name, tolerance in (
        (stepped.fused, "fake_train", 2e-4),
        (stepped.fused_after, "fake_after_eval", 2e-3),
        (stepped.blurred_after, "deg_A_eval", 1e-3),
    ):
        expected = stepped.arrays[name]
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance, err_msg=name)
