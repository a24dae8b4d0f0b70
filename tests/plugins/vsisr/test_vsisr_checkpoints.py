"""Which network of vsisr a file is of, and that network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity import load_fixture
from vemctl_vsisr.checkpoints import (
    GeneratorConfiguration,
    build_discriminator,
    build_generator,
    check,
    is_discriminator,
    recognise,
)
from vemctl_vsisr.discriminator import Discriminator
from vemctl_vsisr.network import Generator

from vemctl.errors import WeightsError
from vemctl.nn.own_weights import write_weights
from vemctl.nn.state_dict import read_state_dict

PATH = Path("file.pth")


def tensors_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a state dict that may be changed."""
    return dict(network.state_dict())


def parallel(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return them as training on several devices writes them."""
    return {f"module.{key}": value for key, value in tensors.items()}


def refusal(tensors: dict[str, torch.Tensor], load=check) -> str:
    """Return the one line with which they are refused."""
    with pytest.raises(WeightsError) as error:
        load(tensors, PATH)
    assert str(error.value).startswith("file.pth: ")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("wrap", [dict, parallel])
def test_the_published_generator_is_recognised_and_built(wrap) -> None:
    """Bare, and as several devices wrote it."""
    _, arrays, state_dict = load_fixture("vsisr_generator")
    tensors = wrap(state_dict)
    assert check(tensors, PATH) == recognise(tensors, PATH) == GeneratorConfiguration(7, 16, 3)
    network = build_generator(tensors, PATH)
    planes = torch.from_numpy(arrays["input"][..., :12, :10].copy())
    own = Generator()
    own.load_state_dict(state_dict)
    with torch.no_grad():
        torch.testing.assert_close(network(planes), own(planes), rtol=0, atol=0)


@pytest.mark.parametrize(
    "configuration",
    [GeneratorConfiguration(7, 1, 3), GeneratorConfiguration(5, 3, 1), GeneratorConfiguration()],
)
def test_a_configuration_is_found_built_and_stored(configuration: GeneratorConfiguration) -> None:
    """From parameters alone, and told as JSON types."""
    network = configuration.build()
    assert check(tensors_of(network), PATH) == configuration
    stored = configuration.to_json()
    sizes = (network.in_channels, network.num_blocks, network.out_channels)
    assert sizes == tuple(stored.values())


@pytest.mark.parametrize("key", ["vars.2", "vars.77", "vars.131", "vars.132", "vars.133"])
def test_a_missing_tensor_is_told(key: str) -> None:
    """By its name; one lost tensor makes no other network."""
    tensors = tensors_of(Generator())
    del tensors[key]
    said = refusal(tensors)
    assert f"of 134 tensors 1 missing ({key})" in said
    assert "Fetch it again" in said


def test_what_is_too_much_or_of_another_shape_is_told() -> None:
    """With the names and shapes."""
    tensors = tensors_of(Generator(num_groups=1, blocks_per_group=1))
    assert "1 unknown (optimiser.step)" in refusal({**tensors, "optimiser.step": torch.ones(())})
    wrong = {**tensors, "vars.8": torch.zeros(64, 8, 1, 1)}
    assert "vars.8 (64, 8, 1, 1) for (64, 4, 1, 1)" in refusal(wrong)


@pytest.mark.parametrize("first", [None, torch.zeros(48, 7, 3, 3), torch.zeros(64)])
def test_other_networks_are_refused(first) -> None:
    """With what is expected, and which file to give."""
    tensors = {"layer.weight": torch.zeros(3)} | ({} if first is None else {"vars.0": first})
    said = refusal(tensors)
    assert "expected (64, slices, 3, 3)" in said
    assert "Give the file of a generator of vsisr" in said
    assert ("no vars.0" if first is None else str(tuple(first.shape))) in said


@pytest.mark.parametrize("wrap", [dict, parallel])
@pytest.mark.parametrize("aliases", [True, False])
def test_a_discriminator_is_no_generator(wrap, aliases: bool) -> None:
    """It is told as what it is, and loaded by what loads discriminators."""
    discriminator = Discriminator()
    tensors = {
        key: value for key, value in tensors_of(discriminator).items()
        if aliases or key.startswith("vars.")
    }  # fmt: skip
    assert is_discriminator(wrap(tensors))
    for load in (check, recognise, build_generator):
        assert "weights of a discriminator" in refusal(wrap(tensors), load)
    loaded = build_discriminator(wrap(tensors), PATH)
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, discriminator.state_dict()[key], rtol=0, atol=0)


def test_other_discriminators_are_refused() -> None:
    """Generators, foreign networks, damaged files, and tensors that contradict their own name."""
    generator = tensors_of(Generator(num_groups=1, blocks_per_group=1))
    assert not is_discriminator(generator)
    assert "weights of a generator; expected" in refusal(generator, build_discriminator)
    assert "another network" in refusal({"a": torch.ones(1)}, build_discriminator)
    tensors = tensors_of(Discriminator(1))
    lost = {key: value for key, value in tensors.items() if key != "vars.25"}
    assert "1 missing (vars.25)" in refusal(lost, build_discriminator)
    torn = {**tensors, "conv2d3.vars.1": tensors["vars.11"] + 1}
    assert "conv2d3.vars.1 and vars.11 differ" in refusal(torn, build_discriminator)


@pytest.mark.parametrize("wrapped", [True, False])
def test_files_are_read(tmp_path: Path, wrapped: bool) -> None:
    """As the published program writes them, and as vemctl does, with shared tensors."""
    generator, discriminator = Generator(num_groups=1, blocks_per_group=1), Discriminator(1)
    for network, build in ((generator, build_generator), (discriminator, build_discriminator)):
        stored = network.state_dict()
        published, own = tmp_path / "latest.pth", tmp_path / "own.safetensors"
        torch.save({"model": stored, "optim": {}, "step": 3} if wrapped else stored, published)
        write_weights(own, stored, {})
        for path in (published, own):
            loaded = build(read_state_dict(path), path).state_dict()
            assert list(loaded) == list(stored)
            assert all(torch.equal(loaded[key], stored[key]) for key in stored)
