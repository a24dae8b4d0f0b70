"""The generator of vsisr against reference outputs of the published one, and its own ways."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from parity import load_fixture, load_shapes
from vemctl_vsisr import memory, network
from vemctl_vsisr.memory import strip_rows
from vemctl_vsisr.network import Generator
from vemctl_vsisr.proportions import enlarged_size

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
WIDE = 4 * memory.TAIL_CHANNELS
"""Bytes of a pixel of the widest map."""
both_ways = pytest.mark.parametrize("learning", [True, False], ids=["learning", "calling"])


@lru_cache(maxsize=1)
def published() -> tuple[dict[str, np.ndarray], Generator]:
    """Return the fixture's arrays and the generator with its weights."""
    _, arrays, state_dict = load_fixture("vsisr_generator")
    generator = Generator()
    generator.load_state_dict(state_dict)
    return arrays, generator


def small_generator() -> Generator:
    """Return a generator of two blocks, the same every time."""
    torch.manual_seed(0)
    return Generator(num_groups=1, blocks_per_group=2)


def windows(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random grey values."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@both_ways
def test_gives_what_the_published_generator_gives(learning: bool, monkeypatch) -> None:
    """With the same weights the output and what comes between are the reference's."""
    arrays, generator = published()
    made = [network._convolved(torch.from_numpy(arrays["input"]), tuple(generator.vars[:2]))]
    block = network._block

    def noting(x, layers):
        made.append(block(x, layers))
        return made[-1].clone()  # the next one may overwrite it

    monkeypatch.setattr(network, "_block", noting)
    with torch.set_grad_enabled(learning):
        output = generator(torch.from_numpy(arrays["input"]))
    assert len(made) == 17
    for found, name in ((made[0], "probe_head"), (made[4], "probe_group0")):
        seen = found[:, ::8, ::4, ::4].detach().numpy()
        np.testing.assert_allclose(seen, arrays[name], **TOLERANCE)
    np.testing.assert_allclose(output.detach().numpy(), arrays["output"], **TOLERANCE)


def test_state_dict_is_the_published_one() -> None:
    """Keys, their order, shapes and the number of parameters are those of the checkpoints."""
    with torch.device("meta"):
        generator = Generator()
    shapes = {key: tuple(value.shape) for key, value in generator.state_dict().items()}
    assert list(shapes.items()) == list(load_shapes("vsisr_generator_keys.json").items())
    assert sum(parameter.numel() for parameter in generator.parameters()) == 1_349_699
    assert [*map(id, generator.parameters())] == [*map(id, generator.vars)]


def test_parameters_are_drawn_as_torch_draws_them() -> None:
    """Evenly, up to the inverse root of the number of inputs, weights and biases alike."""
    torch.manual_seed(0)
    layers = list(Generator(num_groups=1, blocks_per_group=1).vars)
    for weight, bias in zip(layers[::2], layers[1::2], strict=True):
        limit = weight[0].numel() ** -0.5
        assert 0.9 * limit < weight.abs().max() <= limit
        assert 0.3 * limit < bias.abs().max() <= limit


@pytest.mark.parametrize("groups", [(1, 1), (2, 3), (6, 1)])
def test_any_number_of_blocks(groups: tuple[int, int]) -> None:
    """The tail follows the last; a block whose gates are shut changes nothing."""
    num_blocks = groups[0] * groups[1]
    generator = Generator(5, *groups, 2)
    assert len(generator.vars) == 6 + 8 * num_blocks
    planes = windows(1, 5, 9, 8)
    with torch.no_grad():
        before = generator(planes)
        assert before.shape == (1, 2, 13, 12)
        shut = list(generator.vars)
        for block in range(num_blocks):
            shut[9 + 8 * block] = torch.full((64,), -200.0)
        trunk = torch.nn.functional.conv2d(planes, *shut[:2], padding=1)
        expected = network.enlarge(trunk, tuple(shut[-4:-2]), tuple(shut[-2:]))
        torch.testing.assert_close(generator(planes, shut), expected, rtol=0, atol=1e-6)
    assert not torch.allclose(before, expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (16, 15)])
def test_planes_of_any_size(size: tuple[int, int]) -> None:
    """Are enlarged by one and a half, rounded down."""
    with torch.no_grad():
        made = small_generator()(windows(2, 7, *size))
    assert made.shape == (2, 3, *enlarged_size(*size))
    assert made.shape[-2:] == tuple(int(1.5 * length) for length in size)


def test_weights_may_be_others() -> None:
    """They are used instead of its own, and get the gradients."""
    generator, planes = small_generator(), windows(2, 7, 8, 10)
    other = Generator(num_groups=1, blocks_per_group=2)
    given = list(other.vars)
    torch.testing.assert_close(generator(planes, given), other(planes), rtol=0, atol=0)
    gradients = torch.autograd.grad(generator(planes, given).square().sum(), given)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert all(parameter.grad is None for parameter in generator.vars)


def test_gradients_of_gradients() -> None:
    """Are those of differences, although activations are made in place."""
    generator = Generator(2, 1, 1, 1).double()
    fixed = [parameter.detach() for parameter in generator.vars]
    planes = windows(1, 2, 4, 4).double()

    def of_biases(*biases: torch.Tensor) -> torch.Tensor:
        weights = list(fixed)
        weights[5], weights[13] = biases
        return generator(planes, weights)

    # Straight lines but for the gates, so gradients of gradients are of these alone.
    inputs = [fixed[place].clone().requires_grad_() for place in (5, 13)]
    assert torch.autograd.gradgradcheck(of_biases, inputs)


@pytest.mark.parametrize("shape", [(1, 7, 40, 21), (3, 7, 17, 16), (2, 7, 1, 30)])
def test_learning_and_calling_agree(shape) -> None:
    """The layout and what is overwritten change rounding only; the input stays as it was."""
    generator, planes = small_generator(), windows(*shape)
    learning = generator(planes).detach()
    with torch.no_grad():
        calling = generator(planes)
    torch.testing.assert_close(calling, learning, rtol=0, atol=1e-6)
    torch.testing.assert_close(planes, windows(*shape), rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(generator(planes), calling, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 16, 44])
def test_strips_change_nothing(rows: int, dtype: torch.dtype, monkeypatch) -> None:
    """Wherever they are cut, of samples one by one, they give what is made at once."""
    generator, planes = small_generator().to(dtype), windows(2, 7, 30, 13).to(dtype)
    whole, seen = generator(planes), []
    tail = network._tail

    def noting(enlarged, *layers):
        seen.append(enlarged.shape)
        return tail(enlarged, *layers)

    monkeypatch.setattr(network, "strip_rows", lambda *_: rows)
    monkeypatch.setattr(network, "_tail", noting)
    strips = generator(planes)
    assert len(seen) == 2 * -(-45 // rows)
    assert all(shape[0] == 1 and shape[2] <= rows + memory.STRIP_HALO for shape in seen)
    torch.testing.assert_close(
        strips, whole, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14
    )
    with torch.enable_grad():  # the way back needs it all
        generator(planes)
    assert seen[-1] == (2, 64, 45, 19)


@torch.no_grad()
def test_the_widest_map_is_bounded(monkeypatch) -> None:
    """Of a large plane it never is as large as it would be at once."""
    generator, planes, limit = small_generator(), windows(1, 7, 60, 40), WIDE * 60 * 50
    monkeypatch.setattr(memory, "STRIP_BYTES", limit)
    sizes = []
    convolved = network._convolved

    def noting(x, layer):
        made = convolved(x, layer)
        sizes.append(made.numel() * made.element_size())
        return made

    monkeypatch.setattr(network, "_convolved", noting)
    generator(planes)
    assert limit / 2 < max(sizes) <= limit < WIDE * 60 * 90


def test_rows_of_strips_follow_from_the_shape() -> None:
    """All that fit into the limit, and no fewer than a few."""
    assert strip_rows(1, 96, 96) == 96
    assert strip_rows(20, 96, 96) < 96
    for batch, height, width in ((1, 1000, 1500), (4, 384, 384), (1, 3072, 3072)):
        rows = strip_rows(batch, height, width)
        assert batch * WIDE * width * (rows + memory.STRIP_HALO) <= memory.STRIP_BYTES
        assert batch * WIDE * width * (rows + memory.STRIP_HALO + 1) > memory.STRIP_BYTES
    assert strip_rows(1, 10**6, 10**6) == memory.LEAST_ROWS
    assert strip_rows(1, 5, 10**6) == 5


@both_ways
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_close(learning: bool, dtype: torch.dtype, monkeypatch) -> None:
    """Under half precision the result is nearly the same: its rounding, through the blocks."""
    generator, planes = small_generator(), windows(1, 7, 16, 12)
    monkeypatch.setattr(network, "strip_rows", lambda *_: 10)
    with torch.set_grad_enabled(learning):
        exact = generator(planes)
        with torch.autocast("cpu", dtype):
            rounded = generator(planes)
    assert rounded.dtype == dtype
    assert rounded.shape == exact.shape
    assert (rounded.float() - exact).norm() < 2e-2 * exact.norm()


@pytest.mark.parametrize("shape", [(1, 6, 8, 8), (7, 8, 8), (1, 7, 1, 8, 8)])
def test_refuses_wrong_shapes(shape) -> None:
    """Other windows are refused with what is expected."""
    with pytest.raises(ValueError, match=r"expected \(n, 7, y, x\)"):
        small_generator()(windows(*shape))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
@pytest.mark.parametrize("rows", [20, 10**6])
def test_cuda_gives_what_the_published_generator_gives(rows: int, monkeypatch) -> None:
    """In strips and at once."""
    from vemctl.nn.device import be_exact

    be_exact()
    arrays, generator = published()
    monkeypatch.setattr(network, "strip_rows", lambda *_: min(rows, 48))
    made = generator.cuda()(torch.from_numpy(arrays["input"]).cuda()).cpu()
    generator.cpu()
    np.testing.assert_allclose(made.numpy(), arrays["output"], rtol=1e-4, atol=1e-4)
