"""The discriminators of rldfn against reference outputs of the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture, load_shapes
from vemctl_rldfn.discriminator import SMALLEST_SIDE, Discriminator


@torch.no_grad()
def test_gives_what_the_published_discriminator_gives() -> None:
    """With the same weights the output is the reference's."""
    _, arrays, state_dict = load_fixture("rldfn_discriminator")
    network = Discriminator().eval()
    network.load_state_dict(state_dict)
    made = network(torch.from_numpy(arrays["x"]))
    np.testing.assert_allclose(made.numpy(), arrays["y"], rtol=0, atol=1e-5)


def test_state_dict_is_the_published_one() -> None:
    """Keys, their order, shapes and the number of parameters are those of the checkpoints."""
    with torch.device("meta"):
        network = Discriminator()
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert list(shapes.items()) == list(load_shapes("rldfn_discriminator_keys.json").items())
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_764_481


@pytest.mark.parametrize("sides", [(SMALLEST_SIDE, SMALLEST_SIDE), (11, 30), (24, 17)])
@torch.no_grad()
def test_judges_every_place(sides: tuple[int, int]) -> None:
    """Half as many per axis, less four, each between 0 and 1."""
    torch.manual_seed(0)
    judged = Discriminator()(torch.rand(2, 1, *sides))
    assert judged.shape == (2, 1, *(side // 2 - 4 for side in sides))
    assert ((judged > 0) & (judged < 1)).all()


@pytest.mark.parametrize("shape", [(1, 1, 9, 20), (1, 1, 20, 9), (1, 2, 20, 20)])
def test_refuses_what_is_too_small(shape) -> None:
    """And several channels, with what is expected."""
    with pytest.raises(ValueError, match="sides of at least 10"):
        Discriminator()(torch.zeros(shape))


def test_sees_28_pixels() -> None:
    """A place of the judgement depends on as many per axis, and on no others."""
    torch.manual_seed(0)
    sections = torch.rand(1, 1, 64, 64, requires_grad=True)
    judged = Discriminator().eval()(sections)
    judged[0, 0, 14, 14].backward()
    seen = sections.grad[0, 0] != 0
    assert seen.any(0).sum() == seen.any(1).sum() == 28
