"""Normalisation and activation in one, for both layouts of memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from vemctl_exem.normalising import PIECE, lies_channels_last, normalised

LAST = torch.channels_last_3d


def seeded_norm(channels: int, groups: int) -> nn.GroupNorm:
    """Return a normalisation whose parameters are not ones and zeros."""
    norm = nn.GroupNorm(groups, channels)
    torch.manual_seed(1)
    nn.init.normal_(norm.weight, 1, 0.2)
    nn.init.normal_(norm.bias, 0, 0.2)
    return norm


def volume(*shape: int, offset: float = 0.0) -> torch.Tensor:
    """Return noise about an offset, with a mean of its own for every channel."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(shape[1], 1, 1, 1, generator=generator)
    return torch.randn(shape, generator=generator) + means + offset


def expected_of(norm: nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    """Return the same in double precision, by torch."""
    weight, bias = norm.weight.double(), norm.bias.double()
    return functional.elu(
        functional.group_norm(x.double(), norm.num_groups, weight, bias, norm.eps)
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST], ids=["first", "last"])
@pytest.mark.parametrize("offset", [0.0, -40.0, 50.0])
@pytest.mark.parametrize(
    ("shape", "groups"), [((2, 16, 3, 20, 24), 4), ((1, 8, 1, 7, 5), 1), ((1, 32, 4, 32, 80), 8)]
)
@torch.no_grad()
def test_is_elu_of_the_group_norm(shape, groups: int, offset: float, layout):
    """To single precision, also far from zero, and over several pieces."""
    norm, x = seeded_norm(shape[1], groups), volume(*shape, offset=offset)
    expected = expected_of(norm, x).float()
    made = normalised(norm, x.contiguous(memory_format=layout))
    assert made.is_contiguous(memory_format=layout)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_pieces_make_a_whole():
    """A volume of more than a piece, whose slices are unlike, has one mean and one spread."""
    x = volume(1, 32, 3, 64, 64) + torch.arange(3.0).view(3, 1, 1) ** 2
    assert x.numel() > PIECE
    norm = seeded_norm(32, 8)
    expected = expected_of(norm, x).float()
    torch.testing.assert_close(
        normalised(norm, x.contiguous(memory_format=LAST)), expected, rtol=0, atol=1e-5
    )


@torch.no_grad()
def test_a_constant_volume_becomes_the_bias():
    """Nothing is divided by zero."""
    norm, x = seeded_norm(8, 4), torch.full((1, 8, 2, 4, 4), 0.7)
    made = normalised(norm, x.contiguous(memory_format=LAST))
    expected = functional.elu(norm.bias).view(8, 1, 1, 1).expand(8, 2, 4, 4)
    torch.testing.assert_close(made[0], expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_what_lies_channels_last_is_overwritten():
    """No memory is taken for the result; what lies otherwise is left alone."""
    norm = seeded_norm(8, 4)
    x = volume(1, 8, 2, 4, 4)
    kept = x.clone()
    normalised(norm, x)
    assert torch.equal(x, kept)
    other = x.contiguous(memory_format=LAST)
    assert normalised(norm, other).data_ptr() == other.data_ptr()


@torch.no_grad()
def test_low_precision_is_that_of_the_result_only():
    """Sums of bfloat16 values are made in more than that, and the result is rounded once."""
    norm = seeded_norm(16, 4)
    x = volume(1, 16, 2, 16, 16, offset=5.0).bfloat16().contiguous(memory_format=LAST)
    expected = expected_of(norm, x)
    made = normalised(norm, x)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.double(), expected, rtol=2**-8, atol=1e-4)


def test_gradients_are_those_of_torch():
    """Where there are any, volumes lie channels first."""
    norm, x = seeded_norm(8, 4), volume(1, 8, 2, 6, 6)
    found, expected = (x.double().clone().requires_grad_() for _ in range(2))
    normalised(norm.double(), found).square().sum().backward()
    expected_of(norm, expected).square().sum().backward()
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize(
    ("shape", "layout", "last"),
    [
        ((1, 4, 2, 4, 4), LAST, True),
        ((1, 4, 2, 4, 4), torch.contiguous_format, False),
        ((1, 1, 2, 4, 4), LAST, False),  # one channel lies as one likes
        ((1, 4, 1, 1, 1), LAST, False),  # so do the channels of one voxel
    ],
)
def test_layout_is_told_where_there_is_one(shape, layout, last: bool):
    """What could be either counts as channels first, which all layers take."""
    assert lies_channels_last(torch.zeros(shape).contiguous(memory_format=layout)) is last
