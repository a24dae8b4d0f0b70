"""Losses of pssr against the published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_fixture
from torch import nn
from vemctl_pssr.losses import (
    FEATURE_LAYERS,
    FeatureLoss,
    VggFeatures,
    make_loss,
    parse_loss,
    read_vgg16,
)

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.quality import ssim


def stand_in() -> nn.Sequential:
    """Return the small network that stands for VGG16."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def published() -> tuple[FeatureLoss, dict[str, np.ndarray], list[str]]:
    """Return the loss of the fixture, its arrays, and the names of its parts."""
    spec, arrays, state = load_fixture("pssr_feature_loss")
    network = stand_in()
    network.load_state_dict(state)
    params = spec["params"]
    loss = FeatureLoss(network, params["layer_ids"], params["layer_weights"])
    return loss, arrays, params["parts"]


@pytest.fixture(scope="module")
def vgg_state() -> dict[str, torch.Tensor]:
    """Return weights of the real feature network, drawn at random, in half precision."""
    torch.manual_seed(0)
    return {
        key: value.half() if value.is_floating_point() else value
        for key, value in VggFeatures().state_dict().items()
    }


def pair(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a network gives, and what it should, (2, c, 20, 24)."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 2, channels, 20, 24, generator=generator)
    return first, second


def test_the_feature_loss_is_the_published_one(published) -> None:
    """Its sum, and every part."""
    loss, arrays, names = published
    prediction, target = (torch.from_numpy(arrays[name]) for name in ("input", "target"))
    parts = loss.parts(prediction, target)
    assert list(parts) == names
    found = [part.item() for part in parts.values()]
    np.testing.assert_allclose(found, arrays["parts"], rtol=3e-6)
    assert loss(prediction, target).item() == pytest.approx(float(arrays["total"]), rel=1e-6)


def test_only_the_prediction_learns_of_features(published) -> None:
    """The network is frozen, and the target is no result."""
    loss, arrays, _ = published
    prediction, target = (torch.tensor(arrays[name]) for name in ("input", "target"))
    prediction.requires_grad_()
    loss(prediction, target).backward()
    assert prediction.grad is not None
    assert prediction.grad.abs().sum() > 0
    found = loss(target, target)
    assert not found.requires_grad
    assert found.item() == 0


def test_one_channel_counts_as_three(published) -> None:
    """Three equal ones cost the same."""
    loss, arrays, _ = published
    images = [torch.tensor(arrays[name]) for name in ("input", "target")]
    thrice = [image.repeat(1, 3, 1, 1) for image in images]
    assert loss(*thrice).item() == pytest.approx(loss(*images).item(), rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_terms_are_summed_with_their_weights(channels: int) -> None:
    """The sum comes first, then each term as it enters it."""
    prediction, target = pair(channels)
    losses = make_loss("0.5*MSE + 2*L1")(prediction, target)
    assert list(losses) == ["loss", "loss_MSE", "loss_L1"]
    assert losses["loss_MSE"].item() == pytest.approx(
        0.5 * (prediction - target).square().mean().item()
    )
    assert losses["loss_L1"].item() == pytest.approx(2 * (prediction - target).abs().mean().item())
    total = losses["loss_MSE"] + losses["loss_L1"]
    assert losses["loss"].item() == pytest.approx(total.item())


def test_similarity_is_that_of_images() -> None:
    """Not of what the normalisation made of them, each channel by its own."""
    images = torch.rand(2, 2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    mean, std = [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]
    shape = (1, 3, 1, 1)
    normal = (images - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    losses = make_loss("1*SSIM", mean=mean, std=std)(*normal)
    assert losses["loss"].item() == pytest.approx(1 - ssim(*images, window=11).item(), abs=1e-5)
    (same,) = make_loss("3*SSIM", mean=[0.4], std=[0.1])(normal[0], normal[0])["loss"].view(1)
    assert same.item() == pytest.approx(0, abs=1e-5)


def test_losses_are_not_rounded_under_autocast(tmp_path: Path, vgg_state) -> None:
    """A context of low precision changes nothing, and what comes out of it is widened first."""
    path = tmp_path / "vgg.pth"
    torch.save(vgg_state, path)
    loss = make_loss("1*MSE+1*L1+1*SSIM+1*FEATURE", path)
    prediction, target = pair()
    exact = {name: each.item() for name, each in loss(prediction, target).items()}
    assert list(exact) == ["loss", "loss_MSE", "loss_L1", "loss_SSIM", "loss_FEATURE"]
    with torch.autocast("cpu", torch.bfloat16):
        found = {name: each.item() for name, each in loss(prediction, target).items()}
    assert found == exact
    rounded = loss(prediction.bfloat16(), target.bfloat16())
    widened = loss(prediction.bfloat16().float(), target.bfloat16().float())
    assert {each.dtype for each in rounded.values()} == {torch.float32}
    assert torch.equal(rounded["loss"], widened["loss"])


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("MSE", {"MSE": 1}),
        (" FEATURE ", {"FEATURE": 1}),
        ("L1+0.5*SSIM", {"L1": 1, "SSIM": 0.5}),
        ("1e-1*L1 + 2.5 * SSIM + MSE", {"L1": 0.1, "SSIM": 2.5, "MSE": 1}),
    ],
)
def test_texts_are_weights_by_name(text: str, weights: dict[str, float]) -> None:
    """A bare name has a weight of 1."""
    assert parse_loss(text) == weights


@pytest.mark.parametrize(
    "text", ["", "mse", "1*mse", "1*MSE+MSE", "0*L1", "-1*L1", "1*L1+", "*MSE", "1MSE", "2"]
)
def test_other_texts_mean_no_loss(text: str) -> None:
    """The error says what would."""
    with pytest.raises(OptionError, match=r"expected NAME or WEIGHT\*NAME") as caught:
        parse_loss(text)
    assert "\n" not in str(caught.value)


def test_feature_weights_and_the_feature_loss_belong_together(tmp_path: Path) -> None:
    """One without the other is an error; no file is read."""
    with pytest.raises(OptionError, match=r"expected --feature-weights"):
        make_loss("1*MSE+1*FEATURE")
    with pytest.raises(OptionError, match=r"no use for them"):
        make_loss("1*MSE", tmp_path / "missing.pth")


def test_the_feature_network_has_the_published_layers() -> None:
    """Thirteen convolutions; layers 22, 32 and 42 are what goes into poolings."""
    with torch.device("meta"):
        network = VggFeatures()
        x = torch.zeros(1, 3, 64, 64)
    assert sum(isinstance(layer, nn.Conv2d) for layer in network) == 13
    assert len(network) == FEATURE_LAYERS[-1] + 1
    shapes = {}
    for number, layer in enumerate(network):
        x = layer(x)
        shapes[number] = tuple(x.shape[1:])
    assert all(isinstance(network[number], nn.ReLU) for number in FEATURE_LAYERS)
    assert all(isinstance(network[number + 1], nn.MaxPool2d) for number in FEATURE_LAYERS[:-1])
    found = [shapes[number] for number in FEATURE_LAYERS]
    assert found == [(256, 16, 16), (512, 8, 8), (512, 4, 4)]


@pytest.mark.parametrize("prefix", ["", "features."])
@pytest.mark.parametrize("counters", [True, False])
def test_weights_of_vgg16_are_read(tmp_path: Path, vgg_state, prefix: str, counters: bool) -> None:
    """Whole files and the features alone, with counters and, as older ones, without."""
    state = {
        prefix + key: value
        for key, value in vgg_state.items()
        if counters or not key.endswith("num_batches_tracked")
    }
    if prefix:
        state["classifier.0.weight"] = torch.zeros(2, 2)
    path = tmp_path / "vgg16_bn.pth"
    torch.save(state, path)
    random = torch.get_rng_state()
    network = read_vgg16(path)
    assert torch.equal(torch.get_rng_state(), random)
    for key, value in network.state_dict().items():
        if counters or not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, vgg_state[key].to(value.dtype), rtol=0, atol=0)


def test_batch_statistics_are_not_learnt(tmp_path: Path, vgg_state) -> None:
    """The network has the stored ones, however often it looks."""
    path = tmp_path / "vgg.pth"
    torch.save(vgg_state, path)
    network = read_vgg16(path)
    loss = FeatureLoss(network)
    prediction, target = pair()
    found = loss(prediction, target).item()
    assert found > 0
    assert loss(prediction, target).item() == found
    assert torch.equal(network[1].running_mean, vgg_state["1.running_mean"].float())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_weights_of_another_network_are_refused(tmp_path: Path, vgg_state) -> None:
    """Such as VGG16 without normalisation; the error names the file."""
    path = tmp_path / "vgg16.pth"
    torch.save({"features.0.weight": vgg_state["0.weight"]}, path)
    with pytest.raises(WeightsError, match=r"vgg16\.pth: .*VggFeatures.* missing"):
        read_vgg16(path)
    with pytest.raises(WeightsError, match="no such file"):
        make_loss("1*FEATURE", tmp_path / "missing.pth")
