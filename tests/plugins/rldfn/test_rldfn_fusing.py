"""The fusion network as it is called: what it gives, whatever the slabs, and that it is quick."""

from __future__ import annotations

import copy
from functools import lru_cache

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_rldfn import memory
from vemctl_rldfn.fused_layers import Conv, Doubling, Stage
from vemctl_rldfn.fusing import FusedNetwork, fused
from vemctl_rldfn.network import FusionNetwork

RELATIVE = 1e-5


@lru_cache(maxsize=1)
def networks() -> tuple[dict[str, np.ndarray], FusionNetwork, torch.nn.Module]:
    """Return the fixture's arrays, the network with its weights, and what is made of it."""
    _, arrays, state_dict = load_fixture("rldfn_forward")
    network = FusionNetwork()
    network.load_state_dict(state_dict)
    return arrays, network.eval(), fused(network)


def ratios(*shape: int) -> list[torch.Tensor]:
    """Return two volumes around 1."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) + 0.5 for _ in range(2)]


def assert_near(made: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare with the largest value as the measure."""
    assert made.shape == expected.shape
    assert made.dtype == expected.dtype
    assert (made - expected).abs().max() < RELATIVE * expected.abs().max()


def test_gives_what_the_published_program_gives() -> None:
    """To rounding."""
    arrays, _, quick = networks()
    made = quick(*(torch.from_numpy(arrays[name]) for name in ("cur_A", "cur_B")))
    np.testing.assert_allclose(made.numpy(), arrays["fake"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "shape", [(1, 4, 4, 4), (1, 4, 8, 12), (1, 8, 4, 8), (1, 20, 12, 8), (2, 8, 16, 4)]
)
@pytest.mark.parametrize("slab_bytes", [1, memory.SLAB_BYTES])
@torch.no_grad()
def test_agrees_with_the_network(shape, slab_bytes: int, monkeypatch) -> None:
    """For few layers and many, in thin slabs and all at once, and for batches."""
    monkeypatch.setattr(memory, "SLAB_BYTES", slab_bytes)
    _, network, quick = networks()
    views = ratios(shape[0], 1, *shape[1:])
    before = copy.deepcopy(views)
    assert_near(quick(*views), network(*views))
    torch.testing.assert_close(views, before, rtol=0, atol=0)


@torch.no_grad()
def test_repeats_itself_and_tells_views_apart() -> None:
    """To the bit, for batches too; views are not exchangeable, at least not to rounding."""
    _, _, quick = networks()
    views = ratios(2, 1, 8, 8, 12)
    made = quick(*views)
    assert torch.equal(quick(*views), made)
    assert torch.equal(quick(*(view[1:] for view in views)), made[1:])
    with torch.inference_mode():
        assert torch.equal(quick(*views), made)


@torch.no_grad()
def test_other_ways_to_convolve_agree(monkeypatch) -> None:
    """What takes the place of pairs of layers, elsewhere than in float32 on a CPU."""
    _, network, quick = networks()
    views = ratios(1, 1, 12, 8, 8)
    expected = network(*views)
    monkeypatch.setattr("vemctl_rldfn.fused_layers.onednn_takes", lambda _: False)
    assert_near(quick(*views), expected)
    contiguous = torch.contiguous_format
    monkeypatch.setattr("vemctl_rldfn.fused_layers.layout", lambda _: contiguous)
    assert_near(quick(*views), expected)


@torch.no_grad()
def test_double_precision_is_kept() -> None:
    """And nearer to what double precision gives than 1e-12."""
    _, network, _ = networks()
    network = copy.deepcopy(network).double()
    views = [view.double() for view in ratios(1, 1, 8, 8, 8)]
    made, expected = fused(network)(*views), network(*views)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_autocast_stays_close_and_gives_float32() -> None:
    """Rounded as the network itself is."""
    _, network, quick = networks()
    views = ratios(1, 1, 8, 12, 12)
    exact = network(*views)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = quick(*views)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).norm() < 3e-2 * exact.norm()


def test_nothing_takes_gradients_or_shares_memory() -> None:
    """The network may go on learning."""
    network = FusionNetwork()
    quick = fused(network)
    assert isinstance(quick, FusedNetwork)
    views = ratios(1, 1, 4, 4, 4)
    made = quick(*views)
    assert not made.requires_grad
    assert list(quick.parameters()) == []
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    assert torch.equal(quick(*views), made)


@pytest.mark.parametrize("shapes", [((4, 4, 6), (4, 4, 6)), ((4, 4, 4), (4, 4, 8))])
def test_refuses_wrong_shapes(shapes) -> None:
    """Sides that are no multiples of four, and views of two sizes."""
    _, _, quick = networks()
    with pytest.raises(ValueError, match="multiples of 4"):
        quick(*(torch.ones(1, 1, *shape) for shape in shapes))


@pytest.mark.parametrize("cuts", [(7,), (1, 2, 3, 4, 5, 6, 7), (3, 5, 6, 7), (4, 6, 7)])
@torch.no_grad()
def test_a_stage_does_not_depend_on_where_it_is_cut(cuts: tuple[int, ...]) -> None:
    """Two of them, one behind the other, give the whole convolutions; layers are made once."""
    torch.manual_seed(0)
    x = torch.rand(1, 16, 7, 5, 6)
    convs = [torch.nn.Conv3d(16, 16, 3, padding=1) for _ in range(2)]
    expected = convs[1](convs[0](x).relu()).relu()
    asked: list[int] = []

    def source(start: int, stop: int, out: torch.Tensor) -> None:
        asked.extend(range(start, stop))
        out.copy_(x[:, :, start:stop])

    first, second = (Conv(conv.weight, conv.bias) for conv in convs)
    stage = Stage(second, Stage(first, source, 7), 7)
    made = torch.empty_like(expected).contiguous(memory_format=torch.channels_last_3d)
    for start, stop in zip((0, *cuts), cuts, strict=False):
        stage(start, stop, made[:, :, start:stop])
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    assert asked == list(range(7))


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (0, 1), (1, 4), (3, 6), (5, 6)])
@torch.no_grad()
def test_doubled_layers_are_those_of_the_whole(start: int, stop: int) -> None:
    """Wherever they begin and end."""
    torch.manual_seed(0)
    conv = torch.nn.ConvTranspose3d(8, 4, 2, stride=2)
    x = torch.rand(1, 8, 3, 5, 4)
    out = torch.full((1, 4, stop - start, 10, 8), torch.nan)
    Doubling(conv)(x, start, stop, out)
    torch.testing.assert_close(out, conv(x)[:, :, start:stop])


@torch.no_grad()
def test_makes_fewer_multiplications(monkeypatch) -> None:
    """Of the network's as written less than three fifths, counted by the convolutions' sizes."""
    counts = {"network": 0, "quick": 0}
    running = ["network"]

    def counted(name: str):
        original = getattr(torch, name, None) or getattr(torch.nn.functional, name)

        def run(x, weight, *rest, **named):
            y = original(x, weight, *rest, **named)
            places = x[0, 0].numel() if "transpose" in name else y[0, 0].numel()
            counts[running[0]] += places * weight.numel()
            return y

        return run

    _, network, quick = networks()
    for name in ("conv3d", "conv_transpose3d"):
        monkeypatch.setattr(torch.nn.functional, name, counted(name))
    views = ratios(1, 1, 8, 16, 16)
    network(*views)
    running[0] = "quick"
    monkeypatch.setattr(torch.nn.functional, "conv2d", counted("conv2d"))
    monkeypatch.setattr(torch, "mkldnn_convolution", counted("mkldnn_convolution"))
    quick(*views)
    voxels = views[0].numel()
    assert counts["network"] / voxels == pytest.approx(1.22e6, rel=0.01)
    assert 0.3 < counts["quick"] / counts["network"] < 0.6
