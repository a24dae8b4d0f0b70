"""The networks of exem against reference outputs of the published ones, and their own options."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from parity import load_fixture, load_shapes
from vemctl_exem.discriminator import Discriminator, smallest_patch
from vemctl_exem.network import Generator
from vemctl_exem.normalising import lies_channels_last

TOLERANCE = 1e-4
CHANNELS = (4, 8, 8, 16, 32)
both_layouts = pytest.mark.parametrize("learning", [True, False], ids=["first", "last"])


@lru_cache(maxsize=1)
def published() -> tuple[dict[str, np.ndarray], Generator]:
    """Return the fixture's arrays and the generator with its weights."""
    _, arrays, state_dict = load_fixture("exem_generator")
    network = Generator()
    network.load_state_dict(state_dict)
    return arrays, network.eval()


def small_generator(**options) -> Generator:
    """Return a generator of few channels, the same every time."""
    torch.manual_seed(0)
    return Generator(CHANNELS, **options)


def block(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random grey values."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@both_layouts
@pytest.mark.parametrize(("given", "expected"), [("x", "y"), ("x_2d", "y_2d")])
def test_gives_what_the_published_generator_gives(given: str, expected: str, learning: bool):
    """With the same weights the output is the reference's, for volumes, slices and both layouts."""
    arrays, network = published()
    layouts = []
    hook = network.tripleconv1.register_forward_pre_hook(
        lambda _, inputs: layouts.append(lies_channels_last(inputs[0]))
    )
    with torch.set_grad_enabled(learning):
        made = network(torch.from_numpy(arrays[given]))
    hook.remove()
    assert layouts == [not learning]
    np.testing.assert_allclose(made.detach().numpy(), arrays[expected], rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_gives_what_the_published_discriminator_gives():
    """On both scales, for sides that are no multiple of sixteen, in training and evaluation."""
    _, arrays, state_dict = load_fixture("exem_discriminator")
    network = Discriminator()
    network.load_state_dict(state_dict)
    for mode in (True, False):
        scores = network.train(mode)(torch.from_numpy(arrays["x"]))
        assert len(scores) == 2
        for scale, score in enumerate(scores):
            expected = torch.from_numpy(arrays[f"out_{scale}"])
            torch.testing.assert_close(score, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("network", "keys", "count"),
    [
        (Generator, "exem_generator_keys.json", 27_517_441),
        (Discriminator, "exem_discriminator_keys.json", 16_532_354),
        (lambda: Generator(CHANNELS), "exem_small_generator_keys.json", None),
        (lambda: Discriminator(2, 8), "exem_small_discriminator_keys.json", None),
    ],
)
def test_state_dict_is_the_published_one(network, keys: str, count: int | None):
    """Keys, their order, shapes and the number of parameters are those of the checkpoints."""
    with torch.device("meta"):
        made = network()
    shapes = {key: tuple(value.shape) for key, value in made.state_dict().items()}
    assert list(shapes.items()) == list(load_shapes(keys).items())
    if count:
        assert sum(parameter.numel() for parameter in made.parameters()) == count


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 16, 16), (1, 1, 2, 16, 16), (2, 1, 1, 16, 48), (2, 1, 3, 32, 16)]
)
def test_both_layouts_agree(shape):
    """Also where the coarsest level has one pixel, or one slice, and no layout is to be seen."""
    network, grey = small_generator(), block(*shape)
    with_gradients = network(grey)
    with torch.no_grad():
        without = network(grey)
    torch.testing.assert_close(without, with_gradients.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(grey, block(*shape), rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(network(grey), without, rtol=0, atol=0)


@torch.no_grad()
def test_a_batch_equals_its_tiles_one_by_one():
    """Normalisations see one tile at a time."""
    network, grey = small_generator(), block(3, 1, 2, 32, 16)
    singles = torch.cat([network(grey[index : index + 1]) for index in range(3)])
    torch.testing.assert_close(network(grey), singles, rtol=0, atol=1e-5)


def test_gradients_do_not_depend_on_checkpointing():
    """Activations that are computed again give the gradients of those that are kept."""
    plain, spared = small_generator(), small_generator(checkpointing=True)
    for network in (plain, spared):
        network(block(1, 1, 2, 32, 32)).square().mean().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in spared.named_parameters():
        assert torch.isfinite(parameter.grad).all()
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-5, atol=1e-7)


def test_checkpointing_keeps_less():
    """What the way back needs is less than half as large."""
    kept = []
    for checkpointing in (False, True):
        sizes = {}

        def note(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        network = small_generator(checkpointing=checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            made = network(block(1, 1, 2, 64, 64))
        kept.append(sum(sizes.values()))
        del made
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize(
    "shape", [(1, 1, 2, 24, 32), (1, 1, 2, 32, 40), (1, 2, 2, 32, 32), (1, 1, 1, 8, 16)]
)
def test_refuses_wrong_shapes(shape):
    """Planes that are no multiple of sixteen, or several channels, are refused with the reason."""
    with pytest.raises(ValueError, match="multiples of 16"):
        small_generator()(block(*shape))


@both_layouts
def test_autocast_stays_close(learning: bool):
    """Under bfloat16 the result is nearly the same: its rounding, through 29 convolutions."""
    arrays, network = published()
    grey = torch.from_numpy(arrays["x"][:1, :, :2, :16, :16].copy())
    with torch.set_grad_enabled(learning):
        exact = network(grey)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(grey)
    assert rounded.shape == exact.shape
    assert (rounded.float() - exact).norm() < 3e-2 * exact.norm()


@pytest.mark.parametrize(("num_scales", "depth"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)])
def test_the_smallest_patch_is_the_smallest(num_scales: int, depth: int):
    """A discriminator learns from it, and fails on half of it."""
    network, side = Discriminator(num_scales, 2), smallest_patch(num_scales, depth)
    scores = network(block(1, 1, depth, side, side))
    assert len(scores) == num_scales
    assert all(score.shape[:3] == (1, 1, depth) for score in scores)
    with pytest.raises((ValueError, RuntimeError)):
        network(block(1, 1, depth, side // 2, side // 2))
