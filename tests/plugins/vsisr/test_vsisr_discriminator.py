"""The discriminator of vsisr against reference outputs of the published one."""

from __future__ import annotations

import copy

import pytest
import torch
from parity import load_fixture, load_shapes
from vemctl_vsisr.discriminator import ALIASES, Discriminator, with_aliases

from vemctl.errors import WeightsError


def planes(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random grey values."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_gives_what_the_published_discriminator_gives() -> None:
    """Loaded from a state dict without second names; learning or not."""
    _, arrays, state_dict = load_fixture("vsisr_discriminator")
    discriminator = Discriminator()
    discriminator.load_state_dict(state_dict)
    expected = torch.from_numpy(arrays["output"])
    for learning in (True, False):
        with torch.set_grad_enabled(learning):
            made = discriminator(torch.from_numpy(arrays["input"])).detach()
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


def test_state_dict_is_the_published_one() -> None:
    """The 26 tensors in order, and behind them twenty of them by their second names."""
    spec, _, _ = load_fixture("vsisr_discriminator")
    assert spec["params"]["aliases"] == ALIASES
    discriminator = Discriminator()
    shapes = load_shapes("vsisr_discriminator_keys.json")
    shapes |= {alias: shapes[key] for alias, key in ALIASES.items()}
    stored = discriminator.state_dict()
    assert [(k, tuple(v.shape)) for k, v in stored.items()] == list(shapes.items())
    assert len(shapes) == 46
    for alias, key in ALIASES.items():
        assert stored[alias].data_ptr() == stored[key].data_ptr()
    own = list(discriminator.parameters())
    assert [*map(id, own)] == [*map(id, discriminator.vars)]
    assert sum(parameter.numel() for parameter in own) == 4_853_057


@pytest.mark.parametrize("change", [
    lambda each: each, copy.deepcopy, lambda each: each.double(),
], ids=["none", "copy", "double"])  # fmt: skip
def test_both_names_stay_one_tensor(change) -> None:
    """However the network is copied or converted."""
    changed = change(Discriminator(1))
    parameters = dict(changed.named_parameters(remove_duplicate=False))
    assert all(parameters[alias] is parameters[key] for alias, key in ALIASES.items())
    assert len(list(changed.parameters())) == 26


@pytest.mark.parametrize("kept", [[], list(ALIASES), ["conv2d2.vars.1"]], ids=len)
def test_state_dicts_with_and_without_second_names_are_read(kept: list[str]) -> None:
    """All of them give the same network."""
    stored = Discriminator().state_dict()
    given = {k: v for k, v in stored.items() if k not in ALIASES or k in kept}
    read = Discriminator()
    read.load_state_dict(given)
    for key, value in read.state_dict().items():
        torch.testing.assert_close(value, stored[key], rtol=0, atol=0)
    inside = torch.nn.Sequential(Discriminator())
    inside.load_state_dict({f"0.{key}": value for key, value in given.items()})
    torch.testing.assert_close(inside[0].vars[5], stored["vars.5"], rtol=0, atol=0)


@pytest.mark.parametrize("alias", ["conv2d1.vars.0", "conv2d5.vars.3"])
def test_names_that_contradict_each_other_are_refused(alias: str) -> None:
    """In one line that says which, and where."""
    stored = dict(Discriminator().state_dict())
    stored[alias] = stored[alias] + 1
    with pytest.raises(WeightsError, match=rf"^d\.pth: .*{alias} and {ALIASES[alias]} differ"):
        with_aliases(stored, "d.pth")
    with pytest.raises(WeightsError, match=r"state dict: .* differ; expected") as error:
        Discriminator().load_state_dict(stored)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_still_told() -> None:
    """Second names do not stand in for first ones."""
    stored = dict(Discriminator().state_dict())
    del stored["vars.6"]
    with pytest.raises(RuntimeError, match=r"vars\.6"):
        Discriminator().load_state_dict(stored)


def test_weights_may_be_others() -> None:
    """They are used instead of its own, and get the gradients, also those of gradients."""
    discriminator, other = Discriminator(1), Discriminator(1)
    grey, given = planes(2, 1, 6, 5), list(other.vars)
    torch.testing.assert_close(discriminator(grey, given), other(grey), rtol=0, atol=0)
    first = torch.autograd.grad(discriminator(grey, given).sum(), given, create_graph=True)
    second = torch.autograd.grad(sum(each.square().sum() for each in first), given[0])[0]
    assert all(gradient.abs().sum() > 0 for gradient in first)
    assert second.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.vars)


def test_probabilities_are_whole_under_autocast() -> None:
    """Rounded to half precision their logarithm would be coarse."""
    discriminator, grey = Discriminator(), planes(2, 3, 8, 8)
    exact = discriminator(grey)
    with torch.autocast("cpu", torch.bfloat16):
        made = discriminator(grey)
    assert made.dtype == exact.dtype == torch.float32
    torch.testing.assert_close(made, exact, rtol=0, atol=5e-3)
    assert discriminator.double()(grey.double()).dtype == torch.float64


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (3, 8, 8)])
def test_refuses_wrong_shapes(shape) -> None:
    """Other groups of planes are refused with what is expected."""
    with pytest.raises(ValueError, match=r"expected \(n, 3, y, x\)"):
        Discriminator()(planes(*shape))
