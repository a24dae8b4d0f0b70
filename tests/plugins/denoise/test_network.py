"""The grouped shift network against reference outputs of the published one, and its own options."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from parity import load_fixture, load_shapes
from vemctl_denoise.layers import shift_forward, shift_plane, shift_reverse
from vemctl_denoise.network import UNUSED_PREFIXES, GShiftNet

TOLERANCE = 1e-4


def seeded_network(name: str = "denoise_gshiftnet_stages", **options):
    """Return a network with the weights of a fixture, in evaluation mode."""
    _, _, state_dict = load_fixture(name)
    network = GShiftNet(**options)
    network.load_state_dict(state_dict)
    return network.eval()


shared = lru_cache(seeded_network)
"""For tests that only look at what it gives."""


def block(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random grey values."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "name", ["denoise_gshiftnet", "denoise_gshiftnet_9", "denoise_gshiftnet_stages"]
)
@torch.no_grad()
def test_gives_what_the_published_network_gives(name):
    """With the same weights the output is the reference's, for 5, 9 and 3 slices."""
    _, arrays, _ = load_fixture(name)
    restored = shared(name)(torch.from_numpy(arrays["x"]))
    torch.testing.assert_close(restored, torch.from_numpy(arrays["y"]), rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_every_stage_is_the_published_one():
    """The tensors between the layers agree too, so that errors cannot cancel."""
    _, arrays, _ = load_fixture("denoise_gshiftnet_stages")
    network, seen = seeded_network(), {}
    layers = {
        "feat_extract": network.feat_extract,
        "conv_trans": network.conv_trans,
        "down01": network.stage1.down01,
        "encoder_level1": network.stage1.encoder_level1,
        "stage1": network.stage1,
        "residual": network.conv_last,
    }
    for name, layer in layers.items():
        layer.register_forward_hook(
            lambda _layer, _inputs, output, name=name: seen.update({name: output})
        )
    network.conv_trans.register_forward_pre_hook(lambda _, inputs: seen.update(stage0=inputs[0]))
    network(torch.from_numpy(arrays["x"]))
    assert seen.keys() == arrays.keys() - {"x", "y"}
    for name, output in seen.items():
        expected = torch.from_numpy(arrays[name])
        torch.testing.assert_close(output, expected, rtol=0, atol=TOLERANCE, msg=name)


def test_shifts_are_the_published_ones():
    """Channels move between slices, and in the plane, exactly as in the reference."""
    _, arrays, _ = load_fixture("denoise_shift")
    features = torch.from_numpy(arrays["x"])
    shifted, moved, _ = shift_forward(features, 3)
    result = torch.cat([shifted, shift_plane(moved)], 1)
    assert torch.equal(result, torch.from_numpy(arrays["shift_forward"]))
    shifted, moved = shift_reverse(features, 3)
    result = torch.cat([shifted, shift_plane(moved)], 1)
    assert torch.equal(result, torch.from_numpy(arrays["shift_reverse"]))


def test_state_dict_is_the_published_one():
    """Keys, their order, shapes and the number of parameters are those of the checkpoints."""
    network = GShiftNet()
    state_dict = network.state_dict()
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    published = load_shapes("gshiftnet_keys.json")
    assert list(shapes.items()) == list(published.items())
    assert len(shapes) == 1838
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_704_994


def test_prefixed_keys_draw_other_weights():
    """The published checkpoints' ``module.`` is part of the key that seeds a weight."""
    spec, arrays, state_dict = load_fixture("denoise_tiled")
    assert spec["key_prefix"] == "module."
    assert arrays["volume"].shape == arrays["result"].shape
    assert list(state_dict) == ["module." + key for key in load_shapes("gshiftnet_keys.json")]


@pytest.mark.parametrize("temporal", ["cyclic", "repeat"])
@torch.no_grad()
def test_batch_equals_its_blocks_one_by_one(temporal):
    """Blocks of a batch do not see each other."""
    network = shared(temporal=temporal)
    blocks = block(3, 1, 4, 16, 12)
    singles = torch.cat([network(blocks[index : index + 1]) for index in range(3)])
    torch.testing.assert_close(network(blocks), singles, rtol=0, atol=1e-5)


@torch.no_grad()
def test_smallest_block():
    """One slice of 4 x 4 pixels, smaller than any offset of the shift, is restored."""
    assert shared(temporal="cyclic")(block(1, 1, 1, 4, 4)).shape == (1, 1, 1, 4, 4)


def test_plane_shift_leaves_small_planes():
    """Offsets beyond the plane leave zeros, not an error."""
    shifted = shift_plane(torch.ones(1, 32, 4, 8))
    assert shifted.shape == (1, 32, 4, 8)
    assert shifted.sum() == 4 * 4 * 4  # only (0, 4) and (0, -4), two channels each, keep 4 x 4


@pytest.mark.parametrize("shape", [(1, 1, 2, 6, 8), (1, 1, 2, 8, 6), (1, 2, 2, 8, 8)])
def test_refuses_wrong_shapes(shape):
    """Planes that are no multiple of four, or several channels, are refused with the reason."""
    with pytest.raises(ValueError, match="multiples of 4"):
        GShiftNet()(block(*shape))


def test_cyclic_and_repeat_differ_only_at_the_first_slice_going_forward():
    """The first slice gets its own channels instead of the last one's, the others what they got."""
    features = block(10, 64, 4, 4)  # two blocks of five
    cyclic, _, _ = shift_forward(features, 5, "cyclic")
    repeat, _, _ = shift_forward(features, 5, "repeat")
    same = torch.tensor([False, True, True, True, True] * 2)
    assert torch.equal(cyclic[same], repeat[same])
    assert torch.equal(cyclic[~same][:, :32], features[4::5, 32:])
    assert torch.equal(repeat[~same][:, :32], features[0::5, 32:])
    assert torch.equal(cyclic[:, 32:], repeat[:, 32:])


@pytest.mark.parametrize("temporal", ["cyclic", "repeat"])
@pytest.mark.parametrize("num_slices", [1, 2, 5])
def test_reverse_undoes_forward(temporal, num_slices):
    """Forward then reverse gives back every channel of every slice."""
    features = block(10, 64, 4, 4)
    shifted, _, left = shift_forward(features, num_slices, temporal)
    restored, moved = shift_reverse(shifted, num_slices, temporal, left)
    assert torch.equal(restored, features)
    assert torch.equal(moved, features[:, 32:])


@torch.no_grad()
def test_repeat_keeps_the_ends_of_a_block_apart():
    """One shift block carries the last slice into the first one only if it is cyclic."""
    for temporal, reaches in (("cyclic", True), ("repeat", False)):
        shift_block = shared(temporal=temporal).stage1.encoder_level1
        features = block(8, 64, 8, 8)
        other = features.clone()
        other[-1] += 1.0
        difference = (shift_block(other, 8) - shift_block(features, 8)).abs().amax((1, 2, 3))
        assert bool(difference[0] > 0) is reaches, temporal
        assert difference[-1] > 0


@torch.no_grad()
def test_repeat_changes_nothing_in_a_single_slice():
    """A block of one slice has no neighbours, whichever way its ends are treated."""
    single = block(2, 1, 1, 16, 16)
    cyclic, repeat = (shared(temporal=temporal) for temporal in ("cyclic", "repeat"))
    assert torch.equal(cyclic(single), repeat(single))


def test_every_used_weight_learns():
    """A backward pass reaches all tensors but those of the four unused U-Nets."""
    network = seeded_network()
    network(block(1, 1, 2, 8, 8)).square().mean().backward()
    idle = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert len(idle) == 280
    assert all(name.startswith(UNUSED_PREFIXES) for name in idle)
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@torch.no_grad()
def test_autocast_stays_close():
    """Under bfloat16 autocast the result has the same shape and is nearly the same."""
    network = shared(temporal="cyclic")
    grey = block(1, 1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        restored = network(grey)
    difference = (restored.float() - network(grey)).abs()
    assert restored.shape == grey.shape
    assert difference.mean() < 2e-2  # of a result that varies by about 0.9
    assert difference.max() < 1e-1
