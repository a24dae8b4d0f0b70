"""What files of weights say, and what a network's normalisation does to a tile."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vemctl_pssr.architecture import Architecture, standard
from vemctl_pssr.checkpoints import Checkpoint, Normalisation, forget, read_checkpoint
from vemctl_pssr.network import build
from vemctl_pssr.upscaling import Upscaler

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.own_weights import write_weights

EXPORT = Path(__file__).parents[2] / "assets" / "pssr_export"
GREY = standard("wnresnet18", 1, 2)
FIVE = standard("wnresnet18", 5, 2)
RGB = standard("resnet18", 1, 2)
RGB_WRAPPED = replace(RGB, wrapped=True)
OWN = {"resample": "direct", "tile": [1, 64, 64], "voxel_size": [50.0, 8.0, 9.0]}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def checkpoint(architecture: Architecture = GREY, **facts: Any) -> Checkpoint:
    """Return what a file without tensors would say."""
    return Checkpoint(Path("file.pth"), {}, facts, architecture)


def images(*shape: int) -> torch.Tensor:
    """Return random images."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_an_export_tells_all_that_a_prediction_needs() -> None:
    """A real one, whose network then gives what it gave."""
    found = read_checkpoint(EXPORT / "small_export.pkl")
    with np.load(EXPORT / "small_export_check.npz") as stored:
        check = {key: stored[key] for key in stored.files}
    assert (found.size, found.is_own, found.from_notebook, found.voxel_size) == (
        int(check["size_y"]), False, False, None
    )  # fmt: skip
    normalisation = found.normalisation()
    assert normalisation == Normalisation(
        tuple(check["mean"].ravel().tolist()), tuple(check["std"].ravel().tolist())
    )
    upscaler = Upscaler(found.network().eval(), found.architecture, normalisation)
    clamped = Upscaler(found.network().eval(), found.architecture, normalisation, clamp=True)
    tile, large = (torch.from_numpy(check[name])[None] for name in ("input", "input_large"))
    with torch.no_grad():
        for made, expected in (
            (upscaler(tile), "prediction"),
            (clamped(tile), "prediction_clamped"),
            (upscaler.of_enlarged(large), "prediction_large"),
        ):
            np.testing.assert_allclose(made.numpy(), check[expected], rtol=0, atol=1e-5)


def test_a_network_comes_back_from_its_file(tmp_path: Path) -> None:
    """In float32; the file is read again only where it has changed, or was let go of."""
    network, path = build(FIVE), tmp_path / "own.safetensors"
    tensors = {key: value.half() for key, value in network.state_dict().items()}
    write_weights(path, tensors, OWN)
    found = read_checkpoint(path)
    assert (found.architecture, found.facts["tile"]) == (FIVE, [1, 64, 64])
    assert read_checkpoint(path) is found
    for key, value in found.network().state_dict().items():
        assert value.dtype == network.state_dict()[key].dtype
        np.testing.assert_array_equal(value.numpy(), tensors[key].to(value.dtype).numpy())
    forget()
    assert read_checkpoint(path) is not found
    write_weights(path, tensors, OWN | {"tile": [1, 32, 32]})
    os.utime(path, ns=(1, 1))
    assert read_checkpoint(path).size == 128
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pkl")


@pytest.mark.parametrize(
    ("architecture", "facts", "size"),
    [
        (GREY, {"tile": {"input": 32, "target": 100}}, 100),
        (GREY, {"tile": {"input": 32}}, 128),  # the network enlarges
        (RGB, {"tile": {"input": 1024}}, 1024),  # the tile was enlarged before
        (RGB, {"tile": {"input": 1024, "target": 1024}}, 1024),
        (GREY, {"tile": {"target": [256, 512]}}, 512),
        (GREY, {"tile": {"target": 0, "input": 16}}, 64),
        (GREY, {"tile": {}}, None),
        (GREY, {}, None),
        (GREY, OWN, 256),
        (RGB_WRAPPED, OWN, 256),
        (RGB, OWN, 256),  # as everywhere in facts of our own, in pixels of poor images
        (GREY, {"tile": []}, None),
    ],
)
def test_the_size_of_tiles_is_told_in_enlarged_pixels(
    architecture: Architecture, facts: dict[str, Any], size: int | None
) -> None:
    """By exports for both images, by our own files for poor ones."""
    assert checkpoint(architecture, **facts).size == size


@pytest.mark.parametrize(
    ("architecture", "facts", "own", "notebook", "voxel_size"),
    [
        (RGB, {}, False, True, (8, 8)),  # the published model for electron microscopy
        (RGB_WRAPPED, {}, False, False, None),  # of the published training script
        (GREY, {}, False, False, None),
        (RGB, OWN, True, False, (8, 9)),
        (GREY, OWN, True, False, (8, 9)),
        (GREY, OWN | {"voxel_size": None}, True, False, None),
        (RGB, OWN | {"voxel_size": None}, True, False, None),
    ],
)
def test_whose_weights_they_are_follows_from_network_and_facts(
    architecture: Architecture, facts: dict[str, Any], own: bool, notebook: bool, voxel_size: Any
) -> None:
    """And with that, which pixels they were trained on."""
    found = checkpoint(architecture, **facts)
    assert (found.is_own, found.from_notebook, found.voxel_size) == (own, notebook, voxel_size)
    assert found.scale_within == (1 if architecture is RGB else 4)


@pytest.mark.parametrize(
    ("architecture", "mean", "std", "expected"),
    [
        (GREY, "0.11", "0.08", Normalisation((0.11,), (0.08,))),
        (RGB, "0.1, 0.2,0.3", ".4,.5,6e-1", Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))),
        (RGB, "0.1", "0.2", Normalisation((0.1,), (0.2,))),
        (FIVE, "-0.1", "2", Normalisation((-0.1,), (2.0,))),
    ],
)
def test_statistics_may_be_given(
    architecture: Architecture, mean: str, std: str, expected: Normalisation
) -> None:
    """They are taken rather than those that are stored."""
    for facts in ({}, {"normalisation": {"mean": [9.0], "std": [9.0]}}):
        assert checkpoint(architecture, **facts).normalisation(mean, std) == expected


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        ("0.1", None, "--mean and --std belong together: expected both, or neither"),
        (None, "0.1", "--mean and --std belong together: expected both, or neither"),
        ("a", "0.1", "--mean a: expected a number, or one per channel"),
        ("0.1,", "0.1", "--mean 0.1,: expected a number, or one per channel"),
        ("nan", "0.1", "--mean nan: expected a number"),
        ("0.1", "inf", "--std inf: expected a number"),
        ("0.1,0.2", "0.1", "--mean 0.1,0.2: has 2 numbers, and the network takes 3 channels; "
         "expected one number, or as many"),
        ("0.1", "1,1,1,1", "--std 1,1,1,1: has 4 numbers, and the network takes 3"),
        ("1,1,1", "1", "--mean 1,1,1 and --std 1: expected as many numbers in both"),
        ("0.1", "0", "--std 0: expected numbers above 0"),
        ("1,1,1", "1,-1,1", "--std 1,-1,1: expected numbers above 0"),
    ],
)  # fmt: skip
def test_other_statistics_are_refused(mean: str | None, std: str | None, words: str) -> None:
    """In one line with the flag, what it has, and what is expected."""
    with pytest.raises(OptionError) as error:
        checkpoint(RGB, normalisation=IMAGENET).normalisation(mean, std)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_stored_statistics_are_found() -> None:
    """As exports and our own files have them; some networks were trained without."""
    stored = {**IMAGENET, "input": True, "target": False, "range": "max"}
    assert checkpoint(RGB, normalisation=stored).normalisation() == Normalisation(
        tuple(IMAGENET["mean"]), tuple(IMAGENET["std"]), inputs=True, outputs=False
    )
    own = Normalisation((0.3,), (0.1,))
    assert checkpoint(normalisation={**own.to_json(), "range": "dtype"}).normalisation() == own
    without = checkpoint(classes={"input": "", "target": ""}).normalisation()
    assert (without.inputs, without.outputs) == (False, False)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "without the mean and standard deviation of its training; expected an export (.pkl), "
         "or --mean and --std"),
        ({"normalisation": IMAGENET},
         "a normalisation of 3 channels, and a network that takes 1; expected --mean and --std"),
        ({"normalisation": {"mean": [0.1], "std": [0.0]}},
         "a standard deviation of 0.0; expected --mean and --std"),
    ],
)  # fmt: skip
def test_files_without_usable_statistics_are_refused(facts: dict[str, Any], words: str) -> None:
    """A bare state dict tells none; the error names the file and the options."""
    with pytest.raises(WeightsError) as error:
        checkpoint(GREY, **facts).normalisation()
    assert str(error.value).startswith(f"file.pth: {words}")
    assert "\n" not in str(error.value)


class Twice(torch.nn.Module):
    """Stands for a network: doubles the first channel, and remembers what it was given."""

    seen: torch.Tensor

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        self.seen = tiles
        return torch.cat((2 * tiles[:, :1], torch.full_like(tiles, 1e6)), dim=1)


@pytest.mark.parametrize(
    ("normalisation", "before", "after"),
    [
        (Normalisation((0.5,), (0.25,)), lambda x: (x - 0.5) / 0.25, lambda y: y * 0.25 + 0.5),
        (Normalisation((0.5,), (0.25,), outputs=False), lambda x: (x - 0.5) / 0.25, lambda y: y),
        (Normalisation((0.5,), (0.25,), inputs=False), lambda x: x, lambda y: y * 0.25 + 0.5),
        (Normalisation(inputs=False, outputs=False), lambda x: x, lambda y: y),
    ],
)
def test_tiles_are_normalised_and_results_are_not(
    normalisation: Normalisation, before, after
) -> None:
    """Of what comes out the first channel counts; it is limited only where that is wanted."""
    tiles = images(2, 5, 8, 8)
    for clamp in (False, True):
        network = Twice()
        made = Upscaler(network, FIVE, normalisation, clamp=clamp)(tiles)
        torch.testing.assert_close(network.seen, before(tiles))
        expected = after(2 * before(tiles[:, 0]))
        torch.testing.assert_close(made, expected.clamp(0, 1) if clamp else expected)
        assert made.dtype == torch.float32


def test_grey_is_normalised_as_each_colour() -> None:
    """Red's statistics undo it; tiles for networks that do not enlarge keep their size."""
    network, tiles = Twice(), images(2, 1, 12, 12)
    normalisation = Normalisation(tuple(IMAGENET["mean"]), tuple(IMAGENET["std"]))
    made = Upscaler(network, RGB, normalisation).of_enlarged(tiles)
    for channel, (mean, std) in enumerate(zip(*IMAGENET.values(), strict=True)):
        torch.testing.assert_close(network.seen[:, channel], (tiles[:, 0] - mean) / std)
    torch.testing.assert_close(made, 2 * (tiles[:, 0] - 0.485) + 0.485)


def test_enlarged_tiles_are_shrunk_for_networks_that_enlarge() -> None:
    """To a quarter, between the centres of the corner pixels: a ramp stays the same ramp."""
    network = Twice()
    ramp = torch.linspace(0, 1, 64).expand(1, 5, 64, 64)
    Upscaler(network, FIVE, Normalisation(inputs=False, outputs=False)).of_enlarged(ramp)
    assert network.seen.shape == (1, 5, 16, 16)
    expected = torch.linspace(0, 1, 16).expand(16, 16)
    torch.testing.assert_close(network.seen[0, 2, :, 1:-1], expected[:, 1:-1], rtol=0, atol=0.02)
