"""Whether bright LM becomes middle EM, and what is said if it does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from vemctl_exem.polarity import Correlation, Polarity


def judged(*values: float) -> list[list[str]]:
    """Return what is said of each of several validations."""
    polarity = Polarity()
    return [polarity.judge(value) for value in values]


@pytest.mark.parametrize("slope", [1.0, -0.2, 0.0])
def test_correlation_is_that_of_numpy(slope: float) -> None:
    """In parts of any shape and precision."""
    rng = np.random.default_rng(0)
    one = rng.random((3, 1, 2, 8, 8), np.float32)
    other = (slope * one + 0.1 * rng.random(one.shape, np.float32)).astype(np.float32)
    correlation = Correlation()
    for part in (slice(0, 1), slice(1, 3)):
        correlation.add(torch.from_numpy(one[part]), torch.from_numpy(other[part]))
    expected = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert correlation.value == pytest.approx(expected, abs=1e-9)


def test_correlation_far_from_zero_is_exact() -> None:
    """Sums of large values do not cancel."""
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0)) + 1000
    correlation = Correlation()
    correlation.add(x, x)
    assert correlation.value == pytest.approx(1, abs=1e-6)


def test_low_precision_is_widened_first() -> None:
    """Only the rounding of what comes counts."""
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    correlation = Correlation()
    correlation.add(x, -x.bfloat16())
    expected = np.corrcoef(x.numpy(), -x.bfloat16().float().numpy())[0, 1]
    assert correlation.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.5, 0.1, 76 / 255])
@pytest.mark.parametrize("count", [64, 4097])
def test_a_constant_correlates_with_nothing(constant: float, count: int) -> None:
    """Not a number, whichever of them it is; nor if there is nothing."""
    x = torch.rand(count, generator=torch.Generator().manual_seed(0))
    flat = torch.full_like(x, constant)
    for pair in ((x, flat), (flat, x), (flat, flat)):
        correlation = Correlation()
        correlation.add(*pair)
        assert math.isnan(correlation.value)
    assert math.isnan(Correlation().value)


def test_an_inverted_contrast_is_told_every_time() -> None:
    """With the value, and what to do."""
    for warnings in judged(-0.5, -0.11):
        (warning,) = warnings
        assert "inverted" in warning
        assert "--content-weight" in warning
        assert "\n" not in warning
    assert "polarity -0.50" in judged(-0.5)[0][0]


def test_a_contrast_that_turns_is_told() -> None:
    """Once it was clear and no longer is, with the best it was."""
    first, clear, lost, inverted, back = judged(0.2, 0.6, 0.05, -0.3, 0.4)
    assert first == clear == back == []
    assert "turns" in lost[0]
    assert "polarity 0.05, at best it was 0.60" in lost[0]
    assert "inverted" in inverted[0]
    assert len(lost) == len(inverted) == 1


@pytest.mark.parametrize("values", [(0.0, 0.05, 0.2, -0.1), (0.25, 0.05), (0.5, 0.1), (math.nan,)])
def test_what_is_weak_or_unknown_is_no_turn(values) -> None:
    """A training begins without contrast, and a constant image tells nothing."""
    assert not any(judged(*values))


def test_the_best_comes_back() -> None:
    """A training that goes on remembers, also after a validation that told nothing."""
    polarity, other = Polarity(), Polarity()
    for value in (0.7, math.nan, 0.4):
        polarity.judge(value)
    other.load_state_dict(polarity.state_dict())
    assert "at best it was 0.70" in other.judge(0.0)[0]
    fresh = Polarity()
    fresh.load_state_dict(Polarity().state_dict())
    assert fresh.judge(0.0) == []
