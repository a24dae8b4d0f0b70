"""Losses of exem against the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_exem.losses import (
    CONTENT_SHARE,
    Groups,
    adversarial,
    content_decay,
    content_terms_of_em,
    content_terms_of_lm,
    cycle,
    precise,
)

TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def fixture() -> tuple[dict, dict[str, np.ndarray], dict[str, torch.Tensor]]:
    """Return parameters, arrays, and the same as tensors."""
    spec, arrays, _ = load_fixture("exem_content_loss")
    return spec["params"], arrays, {name: torch.as_tensor(each) for name, each in arrays.items()}


def scores_of(tensors: dict[str, torch.Tensor], name: str) -> list[torch.Tensor]:
    """Return what a discriminator gave on both scales."""
    return [tensors[f"{name}_{scale}"] for scale in range(2)]


def scalars_of(params: dict, tensors: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return all scalars of the fixture, put together as the trainer does."""
    real_a, real_b = tensors["real_A"], tensors["real_B"]
    terms = content_terms_of_lm(Groups(), real_a, tensors["fake_B"])
    terms |= content_terms_of_em(Groups(), real_b, tensors["fake_A"])
    step = params["epoch"] * params["batches_per_epoch"] + params["i"]
    decay = content_decay(step, params["content_loss_decay_batch"])
    found = {
        f"loss_content_{name[-2]}_group{name[-1]}": terms[f"content_{name[-2:]}"].item()
        for name in terms
    }
    found |= {
        "content_decay": decay,
        "loss_content": CONTENT_SHARE * decay * sum(terms.values()).item(),
        "loss_cycle_A": cycle(tensors["recov_A"], real_a).item(),
        "loss_cycle_B": cycle(tensors["recov_B"], real_b).item(),
        "loss_GAN_AB": adversarial(scores_of(tensors, "dB_fake"), 1.0).item(),
        "loss_GAN_BA": adversarial(scores_of(tensors, "dA_fake"), 1.0).item(),
    }
    for name in "AB":
        of_real = adversarial(scores_of(tensors, f"d{name}_real"), 1.0)
        of_fake = adversarial(scores_of(tensors, f"d{name}_fake"), 0.0)
        found[f"loss_D_{name}"] = 0.5 * (of_real + of_fake).item()
    found["loss_G"] = (
        found["loss_GAN_AB"]
        + found["loss_GAN_BA"]
        + params["lambda_cyc"] * (found["loss_cycle_A"] + found["loss_cycle_B"])
        + params["lambda_content"] * found["loss_content"]
    )
    return found


def test_every_scalar_is_the_published_one(fixture) -> None:
    """Terms, decay and sums."""
    params, arrays, tensors = fixture
    found = scalars_of(params, tensors)
    assert set(found) == {name for name, each in arrays.items() if each.ndim == 0}
    for name, value in found.items():
        assert value == pytest.approx(arrays[name].item(), abs=TOLERANCE, rel=TOLERANCE), name


def test_every_group_is_the_published_one(fixture) -> None:
    """How much each voxel is bright, dark, or in the middle."""
    _, arrays, tensors = fixture
    groups = Groups()
    masks = {}
    for kind in ("real", "fake"):
        for name, parts in (("A", groups.of_lm), ("B", groups.of_em)):
            for number, mask in enumerate(parts(tensors[f"{kind}_{name}"]), start=1):
                masks[f"{kind}_{name}_group{number}"] = mask
    assert set(masks) == {name for name in arrays if "group" in name and arrays[name].ndim}
    for name, mask in masks.items():
        np.testing.assert_allclose(mask, arrays[name], rtol=0, atol=TOLERANCE, err_msg=name)


def test_thresholds_move_the_groups() -> None:
    """In grey levels of 255; a voxel on a threshold is half in, half out."""
    groups = Groups(lm_threshold=51, em_low=102, em_high=204)
    bright, dark = groups.of_lm(torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(bright, torch.tensor([0.0, 0.5, 1.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(dark, 1 - bright, rtol=0, atol=1e-6)
    middle, dark, bright = groups.of_em(torch.tensor([0.3, 0.4, 0.6, 0.8, 0.9]))
    expected = torch.tensor([0.0, 0.5, 1.0, 0.5, 0.0])
    torch.testing.assert_close(middle, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(middle + dark + bright, torch.ones(5), rtol=0, atol=1e-6)


def test_the_right_translation_costs_nothing() -> None:
    """Bright becomes middle and dark the rest, both ways; the inverse costs most."""
    groups = Groups()
    lm = torch.tensor([0.9, 0.9, 0.1, 0.1]).view(1, 1, 1, 2, 2)
    em = torch.tensor([0.55, 0.55, 0.1, 0.95]).view(1, 1, 1, 2, 2)
    right = content_terms_of_lm(groups, lm, em) | content_terms_of_em(groups, em, lm)
    assert max(right.values()).item() < 1e-3
    wrong = content_terms_of_lm(groups, lm, em.flip(-2)) | content_terms_of_em(
        groups, em.flip(-2), lm
    )
    assert sum(wrong.values()).item() == pytest.approx(2.0, abs=1e-2)


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (500, 0.5), (1000, 0.25), (250, 0.5**0.5)])
def test_the_group_loss_has_a_half_life(step: int, factor: float) -> None:
    """In steps."""
    assert content_decay(step, 500.0) == pytest.approx(factor)


def test_losses_are_not_rounded_under_autocast(fixture) -> None:
    """A context of low precision changes nothing, and what comes out of it is widened first."""
    params, _, tensors = fixture
    exact = scalars_of(params, tensors)
    with torch.autocast("cpu", torch.bfloat16):
        assert scalars_of(params, tensors) == exact
    rounded = {name: each.bfloat16() for name, each in tensors.items()}
    widened = {name: each.float() for name, each in rounded.items()}
    assert scalars_of(params, rounded) == scalars_of(params, widened)
    for dtype in (torch.float32, torch.float64):
        assert precise(torch.zeros(1, dtype=dtype)).dtype == dtype
    assert precise(torch.zeros(1, dtype=torch.float16)).dtype == torch.float32


def test_all_terms_have_gradients() -> None:
    """Of what was made, not of what is real."""
    real = torch.rand(1, 1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    for terms in (content_terms_of_lm, content_terms_of_em):
        made = torch.full_like(real, 0.45).requires_grad_()
        for name, term in terms(Groups(), real, made).items():
            (gradient,) = torch.autograd.grad(term, made, retain_graph=True)
            assert gradient.abs().sum() > 0, name
