"""The schedule and the optimiser of pssr against the published ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_pssr.one_cycle import DIV, FINAL_DIV, MOMENTA, rate_and_momentum, set_step

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def fixture() -> tuple[dict, dict[str, np.ndarray], int]:
    """Return parameters, arrays, and the number of steps."""
    spec, arrays, _ = load_fixture("pssr_one_cycle")
    params = spec["params"]
    return params, arrays, params["epochs"] * params["batches_per_epoch"]


def test_rates_and_momenta_are_the_published_ones(fixture) -> None:
    """At all steps, in both groups."""
    params, arrays, total = fixture
    assert (params["div_factor"], params["final_div"]) == (DIV, FINAL_DIV)
    assert list(MOMENTA) == list(params["moms"])
    for group, peak in enumerate(params["lr_max"]):
        found = [
            rate_and_momentum(
                step,
                total,
                peak,
                pct_start=params["pct_start"],
            )
            for step in range(total)
        ]
        assert found == [rate_and_momentum(step, total, peak) for step in range(total)]
        rates, momenta = np.transpose(found)
        np.testing.assert_allclose(rates, arrays["lr"][:, group], rtol=1e-12)
        np.testing.assert_allclose(momenta, arrays["mom"], rtol=1e-12)


def test_parameters_are_the_published_ones(fixture) -> None:
    """After every step, those of biases too."""
    params, arrays, total = fixture
    tensors = [torch.nn.Parameter(torch.tensor(arrays[f"p{number}_0"])) for number in range(4)]
    groups = [{"params": tensors[:2]}, {"params": tensors[2:]}]
    optimizer = torch.optim.AdamW(groups, weight_decay=params["wd"])
    for step in range(total):
        set_step(optimizer, step, total, params["lr_max"])
        for number, tensor in enumerate(tensors):
            tensor.grad = torch.tensor(arrays[f"g{number}"][step])
        optimizer.step()
        for number, tensor in enumerate(tensors):
            expected = arrays[f"p{number}"][step]
            np.testing.assert_allclose(tensor.detach(), expected, rtol=0, atol=TOLERANCE)


def test_small_gradients_are_damped_as_published() -> None:
    """The small number is added before the bias is corrected, which torch does not."""
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], weight_decay=0)
    first = second = value = 0.0
    for step in range(5):
        set_step(optimizer, step, 10, [1e-3])
        parameter.grad = torch.full((1,), 1e-8, dtype=torch.float64)
        optimizer.step()
        rate, momentum = rate_and_momentum(step, 10, 1e-3)
        first = momentum * first + (1 - momentum) * 1e-8
        second = 0.99 * second + 0.01 * 1e-16
        size = rate * math.sqrt(1 - 0.99 ** (step + 1)) / (1 - momentum ** (step + 1))
        value -= size * first / (math.sqrt(second) + 1e-8)
        assert parameter.item() == pytest.approx(value, rel=1e-9)


def test_every_group_has_its_peak() -> None:
    """And all have the momentum; a number of peaks that is not theirs is refused."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer = torch.optim.AdamW([{"params": [each]} for each in parameters])
    set_step(optimizer, 30, 100, [1e-5, 1e-5, 1e-4])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-5, 1e-5, 1e-4])
    assert {group["betas"] for group in optimizer.param_groups} == {(0.85, 0.99)}
    set_step(optimizer, 30, 100, [1, 1, 1], pct_start=0.6)
    assert optimizer.param_groups[2]["lr"] == pytest.approx((1 + 1 / 25) / 2)
    assert optimizer.param_groups[2]["betas"] == pytest.approx((0.9, 0.99))
    with pytest.raises(ValueError, match="shorter"):
        set_step(optimizer, 0, 100, [1e-3])


def test_a_cycle_ends_and_stays() -> None:
    """At the rate of the peak over 250,000, for any number of further steps."""
    assert rate_and_momentum(0, 100, 1.0) == pytest.approx((1 / 25, 0.95))
    assert rate_and_momentum(30, 100, 1.0) == pytest.approx((1, 0.85))
    end = rate_and_momentum(100, 100, 1.0)
    assert end == pytest.approx((1 / 250_000, 0.95))
    assert rate_and_momentum(101, 100, 1.0) == rate_and_momentum(10**9, 100, 1.0) == end


@pytest.mark.parametrize("total", [0, 1, 2, 3, 4])
def test_short_cycles_do_not_fail(total: int) -> None:
    """Those without a rising part begin at the peak."""
    for step in range(total + 2):
        rate, momentum = rate_and_momentum(step, total, 1.0)
        assert 1 / 250_000 <= rate <= 1
        assert 0.85 <= momentum <= 0.95 + 1e-12
    if 0 < total < 4:
        assert rate_and_momentum(0, total, 1.0) == pytest.approx((1, 0.85))


def test_a_cycle_may_only_rise() -> None:
    """It ends at its peak then."""
    assert rate_and_momentum(0, 10, 1.0, pct_start=1) == pytest.approx((1 / 25, 0.95))
    assert rate_and_momentum(10, 10, 1.0, pct_start=1) == pytest.approx((1, 0.85))
