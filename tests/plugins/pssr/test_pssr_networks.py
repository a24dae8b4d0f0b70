"""The networks of pssr against reference outputs of the published ones, as trained and fused."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import PARITY_PATH, load_fixture, load_shapes
from torch import nn
from torch.nn import functional
from vemctl_pssr import layers
from vemctl_pssr.architecture import Architecture, recognise, standard
from vemctl_pssr.fusing import fused
from vemctl_pssr.layers import BN_BIAS, NormedConv, SelfAttention, SpectralConv, attend
from vemctl_pssr.network import build

from vemctl.nn.device import be_exact
from vemctl.nn.state_dict import load, read_weights

EXPORT = Path(__file__).parents[2] / "assets" / "pssr_export"
TOLERANCE = 3e-5
PUBLISHED = [
    ("pssr_wnresnet34_unet", "pssr_wnresnet34_keys.json"),
    ("pssr_wnresnet34_unet_5", "pssr_wnresnet34_5_keys.json"),
    ("pssr_resnet34_unet", "pssr_resnet34_keys.json"),
    ("pssr_resnet34_unet_wrapped", "pssr_resnet34_attention_keys.json"),
    ("pssr_rrdb", "pssr_rrdb_keys.json"),
]
KINDS = {
    "wnresnet18": standard("wnresnet18", width=4),
    "frames": standard("wnresnet34", frames=3, width=3),
    "deep": standard("wnresnet50", width=2),
    "bare": standard("wnresnet18", width=4, wrapped=False, attention=False, bottle=False),
    "resnet18": standard("resnet18", width=4),
    "wrapped": standard("resnet34", width=4, wrapped=True, attention=True, bottle=True),
    "rrdb": standard("rrdb", frames=2, filters=4, blocks=2, growth=3),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@lru_cache(maxsize=len(KINDS))
def small(kind: str) -> nn.Module:
    """Return a network of few channels of which everything counts, in evaluation mode."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)
    network = build(KINDS[kind])
    with torch.no_grad():
        for name, value in network.state_dict().items():
            drawn = torch.rand(value.shape, generator=generator)
            if name.endswith("weight_v") and value.dim() == 4:
                value.copy_((2 * drawn - 1) / math.sqrt(math.prod(value.shape[1:])))
            elif value.dim() == 1 and not name.endswith(("weight_u", "weight_v")):
                value.copy_(0.2 + drawn)  # statistics, biases, gamma
            elif name.endswith("weight_g"):
                value.copy_(0.5 + drawn)
    return network.eval()


def grey(architecture: Architecture, *size: int, samples: int = 1, seed: int = 0) -> torch.Tensor:
    """Return random normalised tiles."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((samples, architecture.in_channels, *size), generator=generator)


def same(made: torch.Tensor, expected: torch.Tensor, tolerance: float = 5e-5) -> None:
    """Compare relative to the largest value."""
    scale = float(expected.detach().abs().max().clamp(min=1))
    torch.testing.assert_close(made, expected, rtol=0, atol=tolerance * scale)


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name, _ in PUBLISHED])
def test_gives_what_the_published_network_gives(name: str) -> None:
    """As trained and fused in both layouts; also in the middle, where the reference tells it."""
    spec, arrays, state_dict = load_fixture(name)
    network = build(recognise(state_dict, Path(name))).eval()
    load(network, state_dict, Path(name))
    x = torch.from_numpy(arrays["input"])
    met: dict[str, torch.Tensor] = {}
    for key in arrays:
        if key.startswith("aux_"):
            layer = network.get_submodule(f"{spec['key_prefix']}{key[4:].replace('_', '.')}")
            layer.register_forward_hook(lambda *parts, key=key: met.update({key: parts[2]}))
    networks = [network, fused(network), fused(network, channels_last=False)]
    for made in (each(x) for each in networks):
        np.testing.assert_allclose(made.numpy(), arrays["output"], rtol=0, atol=TOLERANCE)
    assert set(met) == {key for key in arrays if key.startswith("aux_")}
    for key, value in met.items():
        same(value, torch.from_numpy(arrays[key]), 1e-5)


@pytest.mark.parametrize(("name", "keys"), PUBLISHED)
def test_state_dict_is_the_published_one(name: str, keys: str) -> None:
    """Keys, their order, shapes and the number of parameters are those of the checkpoints."""
    spec = json.loads((PARITY_PATH / name / "spec.json").read_text(encoding="utf-8"))
    shapes = load_shapes(keys, spec["key_prefix"])
    with torch.device("meta"):
        stored = {key: torch.empty(shape) for key, shape in shapes.items()}
        network = build(recognise(stored, Path(name)))
    made = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert list(made.items()) == list(shapes.items())
    assert sum(each.numel() for each in network.parameters()) == spec["n_parameters"]


@torch.no_grad()
def test_gives_what_the_exported_network_gives() -> None:
    """A file as fastai writes it, of reduced widths and half precision."""
    path = EXPORT / "small_export.pkl"
    tensors = read_weights(path).tensors
    network = build(recognise(tensors, path)).eval()
    load(network, tensors, path)
    with np.load(EXPORT / "small_export_check.npz") as check:
        x, expected = torch.from_numpy(check["net_input"]), check["net_output"]
    for each in (network, fused(network)):
        np.testing.assert_allclose(each(x).numpy(), expected, rtol=0, atol=TOLERANCE)


@every_kind
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (9, 4), (13, 18)])
def test_any_size_will_do(kind: str, size: tuple[int, int]) -> None:
    """Also a single pixel and odd ones; fused gives the same, and leaves its input as it was."""
    architecture, network = KINDS[kind], small(kind)
    x = grey(architecture, *size, samples=2)
    scale = 4 if architecture.upsamples else 1
    with torch.inference_mode():
        y = network(x)
        assert y.shape == (2, architecture.out_channels, scale * size[0], scale * size[1])
        assert y.std() > 0
        for channels_last in (True, False):
            same(fused(network, channels_last=channels_last)(x), y)
    torch.testing.assert_close(x, grey(architecture, *size, samples=2), rtol=0, atol=0)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["resnet18", "bare"])
def test_odd_edges_are_repeated(kind: str) -> None:
    """And what is restored of the repetition is cut off."""
    network, x = small(kind), grey(KINDS[kind], 9, 11)
    repeated = torch.cat([x, x[:, :, -1:]], 2)
    repeated = torch.cat([repeated, repeated[..., -1:]], 3)
    same(network(x), network(repeated)[..., :9, :11], 0)


@torch.inference_mode()
@every_kind
def test_a_batch_equals_its_tiles_one_by_one(kind: str) -> None:
    """In evaluation no tile knows of the others."""
    x = grey(KINDS[kind], 8, 6, samples=3)
    for network in (small(kind), fused(small(kind))):
        same(torch.cat([network(tile[None]) for tile in x]), network(x))


@every_kind
def test_fused_is_a_network_of_its_own(kind: str) -> None:
    """Nothing is shared, nothing takes gradients, and the other one stays as it was."""
    network, x = small(kind), grey(KINDS[kind], 8, 8)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.inference_mode():
        expected = network(x)
    made = fused(network)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in made.parameters())
    held = {value.data_ptr() for value in made.state_dict().values()}
    assert not held & {value.data_ptr() for value in network.state_dict().values()}
    assert not any(isinstance(layer, NormedConv | SpectralConv) for layer in made.modules())
    with torch.inference_mode():
        same(made(x), expected)
        same(made(x), expected)  # nothing is left over from the first call


@every_kind
def test_half_precision_stays_close(kind: str) -> None:
    """Under autocast, as calls are made, to some hundredths of what there is."""
    network, x = small(kind), grey(KINDS[kind], 8, 8)
    with torch.inference_mode():
        expected = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            for each in (network, fused(network)):
                error = (each(x).float() - expected).square().mean().sqrt()
                assert error < 0.1 * expected.std()


@every_kind
def test_a_gradient_comes_to_every_parameter(kind: str) -> None:
    """In training mode, with attention as soon as its share is not zero."""
    torch.manual_seed(0)
    network = build(KINDS[kind])
    for layer in network.modules():
        if isinstance(layer, SelfAttention):
            nn.init.constant_(layer.gamma, 0.5)
    network(grey(KINDS[kind], 16, 16, samples=4)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    flows = [bool(parameter.grad.any()) for parameter in network.parameters()]
    assert sum(flows) > 0.95 * len(flows)  # a ReLU may be dead where there are few channels


def encoder_gradients(*, detach_skips: bool, cut: bool) -> torch.Tensor:
    """Return how far the encoder is moved, with or without its deepest level."""
    torch.manual_seed(1)
    network = build(standard("wnresnet18", width=8), detach_skips=detach_skips)
    unet = network.get_submodule("model.layers")
    if cut:
        unet[1].register_forward_hook(lambda *parts: parts[2].detach())
    network(grey(KINDS["wnresnet18"], 16, 16, samples=2)).square().mean().backward()
    gradients = [parameter.grad for parameter in unet[0].parameters()]
    found = [gradient.abs().sum() for gradient in gradients if gradient is not None]
    return torch.stack(found).sum() if found else torch.zeros(())


def test_detached_skips_let_no_gradient_through() -> None:
    """The encoder then learns by its deepest level alone, as in the published training."""
    assert encoder_gradients(detach_skips=True, cut=True) == 0
    assert encoder_gradients(detach_skips=True, cut=False) > 0
    assert encoder_gradients(detach_skips=False, cut=True) > 0


def test_detached_skips_change_no_result() -> None:
    """Only gradients."""
    plain, detached = build(KINDS["wnresnet18"]), build(KINDS["wnresnet18"], detach_skips=True)
    detached.load_state_dict(plain.state_dict())
    x = grey(KINDS["wnresnet18"], 8, 8)
    same(detached.eval()(x), plain.eval()(x), 0)


def test_fresh_parameters_are_as_published() -> None:
    """Kaiming normal on the way up, torch's in the encoder, attention without a share."""
    torch.manual_seed(0)
    network = build(standard("wnresnet34", width=16))
    state = network.state_dict()
    for name, lengths in state.items():
        if name.endswith("weight_g"):
            kernels = state[f"{name[:-1]}v"]
            torch.testing.assert_close(lengths, kernels.flatten(1).norm(dim=1).view_as(lengths))
            bound = 1 / math.sqrt(math.prod(kernels.shape[1:]))
            if name.startswith("model.layers.0."):
                assert kernels.abs().max() <= bound
                assert f"{name[:-8]}bias" not in state
            else:
                assert kernels.std() == pytest.approx(math.sqrt(2) * bound, rel=0.35)
                assert not state[f"{name[:-8]}bias"].any()
    assert not state["model.layers.6.conv2.2.gamma"].any()
    for name in ("model.layers.1", "model.layers.4.bn", "model.layers.8.bn"):
        assert (state[f"{name}.weight"] == 1).all()
        assert (state[f"{name}.bias"] == BN_BIAS).all()


def test_spectral_norm_is_learnt_in_training_only() -> None:
    """One power iteration for each call, as torch's own does it."""
    torch.manual_seed(0)
    ours = SpectralConv(16, 4)
    theirs = nn.utils.spectral_norm(nn.Conv1d(16, 4, 1, bias=False))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 16, 5)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(ours.weight_u, theirs.weight_u)
        torch.testing.assert_close(ours.weight_v, theirs.weight_v)
    learnt = {key: value.clone() for key, value in ours.state_dict().items()}
    ours(x)
    assert all(torch.equal(value, learnt[key]) for key, value in ours.state_dict().items())
    for layer in (ours, theirs):
        layer.train()(x).square().sum().backward()
    torch.testing.assert_close(ours.weight_orig.grad, theirs.weight_orig.grad)


def test_several_calls_may_come_before_the_gradients() -> None:
    """What a later call learns does not spoil what an earlier one keeps."""
    layer, x = SpectralConv(16, 4).train(), torch.randn(2, 16, 5)
    (layer(x).sum() + layer(x).sum()).backward()
    assert torch.isfinite(layer.weight_orig.grad).all()


@pytest.mark.parametrize("bytes_at_once", [4 * 30, 4 * 30 * 7, 4 * 30 * 30 * 2, 2**26])
def test_attention_in_parts_is_the_whole(bytes_at_once: int, monkeypatch) -> None:
    """Whatever may be held at once; the softmax is over those that are looked at."""
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 3, 30, 4, generator=generator)
    value = torch.randn(3, 30, 8, generator=generator)
    weights = torch.softmax(query @ key.transpose(1, 2), 1)  # (n, looked at, looking)
    monkeypatch.setattr(layers, "ATTENTION_BYTES", bytes_at_once)
    same(attend(query, key, value), weights.transpose(1, 2) @ value)


def test_kernels_have_the_length_that_they_are_given() -> None:
    """Whatever the length of what is stored as their direction, per output channel."""
    torch.manual_seed(0)
    conv = NormedConv(3, 4, 3, stride=2)
    with torch.no_grad():
        conv.weight_g.uniform_(0.5, 2)
    direction = functional.normalize(conv.weight_v.flatten(1), dim=1).view_as(conv.weight_v)
    expected = functional.conv2d(torch.ones(1, 3, 7, 8), conv.weight_g * direction, conv.bias, 2, 1)
    torch.testing.assert_close(conv(torch.ones(1, 3, 7, 8)), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("channels_last", [True, False])
def test_cuda_gives_the_same_in_little_memory(channels_last: bool) -> None:
    """In float32 too, where cuDNN would transform 40 GiB for the sizes of the published network."""
    be_exact()
    torch.manual_seed(0)
    network = build(standard("wnresnet34")).eval()
    nn.init.constant_(network.get_parameter("model.layers.6.conv2.2.gamma"), 0.5)
    x = grey(network.architecture, 96, 128)
    with torch.inference_mode():
        expected = network(x)
        made = fused(network, channels_last=channels_last).cuda()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        same(made(x.cuda()).cpu(), expected)
    assert torch.cuda.max_memory_allocated() - before < 2**30
