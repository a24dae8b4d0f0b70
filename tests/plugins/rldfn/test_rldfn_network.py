"""The fusion network of rldfn against reference outputs of the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture, load_shapes
from vemctl_rldfn.deconvolving import DualViewDeconvolution
from vemctl_rldfn.network import FeatureNet, FusionNetwork, FusionUNet

TOLERANCE = 1e-5
SHAPE = (1, 1, 4, 8, 12)


def ratios(*shape: int, seed: int = 0) -> list[torch.Tensor]:
    """Return two volumes around 1."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) + 0.5 for _ in range(2)]


def network_of(seed: int = 0, **options) -> FusionNetwork:
    """Return a network with random parameters, the same every time."""
    torch.manual_seed(seed)
    return FusionNetwork(**options)


def statistics(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the norms' running statistics."""
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


@pytest.mark.parametrize(("name", "kind"), [("feature_net", FeatureNet), ("unet", FusionUNet)])
@torch.no_grad()
def test_gives_what_the_published_networks_give(name: str, kind) -> None:
    """With the same weights the output is the reference's."""
    _, arrays, state_dict = load_fixture(f"rldfn_{name}")
    network = kind().eval()
    network.load_state_dict(state_dict)
    made = network(torch.from_numpy(arrays["x"]))
    np.testing.assert_allclose(made.numpy(), arrays["y"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("learning", [True, False])
def test_gives_what_the_published_program_gives(learning: bool) -> None:
    """Both views through one feature net, and what comes in stays as it is."""
    _, arrays, state_dict = load_fixture("rldfn_forward")
    network = FusionNetwork().eval()
    network.load_state_dict(state_dict)
    views = [torch.from_numpy(arrays[name].copy()) for name in ("cur_A", "cur_B")]
    with torch.set_grad_enabled(learning):
        made = network(*views)
    np.testing.assert_allclose(made.detach().numpy(), arrays["fake"], rtol=0, atol=2 * TOLERANCE)
    for view, name in zip(views, ("cur_A", "cur_B"), strict=True):
        np.testing.assert_array_equal(view.numpy(), arrays[name])


def test_trains_as_the_published_program() -> None:
    """In training mode the output is the reference's, and so are running statistics behind it.

    Though it spares memory; without, it gives the same, and makes the whole published step.
    """
    spec, arrays, state_dict = load_fixture("rldfn_train_step")
    network = FusionNetwork(checkpointed=True)
    wanted = network.state_dict()
    network.load_state_dict({key: value for key, value in state_dict.items() if key in wanted})
    views = [torch.from_numpy(arrays[name]) for name in ("view_A", "view_B")]
    psfs = [torch.from_numpy(arrays[name]) for name in ("psfA", "psfB")]
    step = DualViewDeconvolution(*psfs, tuple(views[0].shape[2:]), "cpu")
    made = network(*step.ratios(*views))
    made.mean().backward()
    np.testing.assert_allclose(made.detach().numpy(), arrays["fake_train"], rtol=0, atol=1e-4)
    keys = load_shapes(spec["keys"], spec["key_prefix"])
    sums = dict(zip(keys, arrays["sum_after"], strict=True))
    for key, buffer in network.named_buffers():
        assert float(buffer.double().sum()) == pytest.approx(sums[key], rel=1e-4, abs=1e-4), key
    assert network.net_FA.mid_conv.convolution[1].num_batches_tracked == 2
    assert network.net_G.ex_conv1_1.convolution[1].num_batches_tracked == 1


@pytest.mark.parametrize(
    ("network", "keys", "count"),
    [
        (FeatureNet, "rldfn_feature_net_keys.json", 225_856),
        (FusionUNet, "rldfn_unet_keys.json", 7_189_059),
        (FusionNetwork, "rldfn_fusion_keys.json", 7_414_915),
    ],
)
def test_state_dict_is_the_published_one(network, keys: str, count: int) -> None:
    """Keys, their order, shapes and the number of parameters are those of the checkpoints."""
    with torch.device("meta"):
        made = network()
    shapes = {key: tuple(value.shape) for key, value in made.state_dict().items()}
    assert list(shapes.items()) == list(load_shapes(keys).items())
    assert sum(parameter.numel() for parameter in made.parameters()) == count


@pytest.mark.parametrize("training", [True, False])
def test_checkpointing_changes_nothing_but_memory(training: bool) -> None:
    """Output, gradients and running statistics are the same; these are updated once."""
    outcomes = []
    for checkpointed in (False, True):
        network = network_of(checkpointed=checkpointed).train(training)
        made = network(*ratios(2, *SHAPE[1:]))
        made.square().mean().backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        outcomes.append((made.detach(), gradients, statistics(network)))
    plain, spared = outcomes
    torch.testing.assert_close(spared, plain, rtol=1e-5, atol=1e-7)
    assert all(gradient is not None for gradient in plain[1].values())
    tracked = [value for name, value in spared[2].items() if name.endswith("num_batches_tracked")]
    expected = {1, 2} if training else {0}
    assert {int(value) for value in tracked} == expected


def test_statistics_take_in_view_a_before_view_b() -> None:
    """The view that came last weighs more."""
    first, second = ratios(*SHAPE)
    one, other = network_of(), network_of()
    one(first, second)
    other(second, first)
    mean = "mid_conv.convolution.1.running_mean"
    assert not torch.equal(one.net_FA.get_buffer(mean), other.net_FA.get_buffer(mean))
    by_hand = network_of().net_FA
    with torch.no_grad():
        by_hand(first)
        by_hand(second)
    torch.testing.assert_close(one.net_FA.get_buffer(mean), by_hand.get_buffer(mean))


def test_checkpointing_keeps_less() -> None:
    """What the way back needs is less than a quarter."""
    kept = []
    for checkpointed in (False, True):
        network = network_of(checkpointed=checkpointed)
        own = {parameter.data_ptr() for parameter in network.parameters()}
        sizes: dict[int, int] = {}

        def note(tensor, own=own, sizes=sizes):
            if tensor.data_ptr() not in own:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            made = network(*ratios(1, 1, 4, 32, 32))
        kept.append(sum(sizes.values()))
        del made
    assert kept[1] < kept[0] / 4


@torch.no_grad()
def test_evaluation_sees_each_sample_by_itself() -> None:
    """A batch equals its samples one by one."""
    network, views = network_of().eval(), ratios(2, *SHAPE[1:])
    singles = [network(*(view[index : index + 1] for view in views)) for index in range(2)]
    torch.testing.assert_close(network(*views), torch.cat(singles), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 8, 8), (4, 10, 8), (4, 8, 9)])
@torch.no_grad()
def test_refuses_wrong_shapes(shape) -> None:
    """Sides that are no multiples of four, with the reason."""
    with pytest.raises(ValueError, match="multiples of 4"):
        network_of()(*ratios(1, 1, *shape))


@pytest.mark.parametrize("checkpointed", [True, False])
def test_autocast_stays_close(checkpointed: bool) -> None:
    """Under bfloat16 the result is nearly the same, in float32, and gradients are there."""
    network = network_of(checkpointed=checkpointed).eval()
    exact = network(*ratios(*SHAPE)).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(*ratios(*SHAPE))
    assert rounded.dtype == torch.float32
    assert (rounded.detach() - exact).norm() < 3e-2 * exact.norm()
    rounded.mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
