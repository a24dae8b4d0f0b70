"""Files of networks, as the published program writes them and as vemctl does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from vemctl_exem.method import METHOD
from vemctl_exem.network_sets import (
    NETWORKS,
    check_channels,
    generator_for,
    load_discriminator,
    load_generator,
    networks_in,
)

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.own_weights import write_weights
from vemctl.nn.state_dict import read_state_dict

CHANNELS = (4, 8, 8, 16, 32)
GENERATOR_OF = {"lm-to-em": "G_AB", "em-to-lm": "G_BA"}


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the same with something before their keys."""
    return {prefix + key: value for key, value in tensors.items()}


def joined(tensors: dict[str, dict], names=NETWORKS) -> dict[str, torch.Tensor]:
    """Return networks in one dict, as vemctl lays them out."""
    parts = (prefixed(f"{name}.", tensors[name]) for name in names)
    return {key: value for part in parts for key, value in part.items()}


def is_of(network: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    """Tell whether a network has these parameters."""
    state = network.state_dict()
    return list(state) == list(tensors) and all(
        torch.equal(value, tensors[key]) for key, value in state.items()
    )


def refusal(direction: str, stored: dict, path: str = "x.pth") -> str:
    """Return the one line with which a file is refused for a direction."""
    with pytest.raises(WeightsError) as error:
        generator_for(direction, stored, Path(path))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


@pytest.mark.parametrize("name", ["G_AB", "G_BA", "D_A", "D_B"])
@pytest.mark.parametrize("file", ["{}_6000.pth", "{}.pt", "{}-latest.safetensors"])
def test_a_network_by_itself_is_what_its_file_begins_with(name: str, file: str, tensors) -> None:
    """As the published program names it, at whatever iteration."""
    found = networks_in(tensors[name], Path("folder") / file.format(name))
    assert list(found) == [name]
    assert found[name] == tensors[name]


@pytest.mark.parametrize("direction", GENERATOR_OF)
def test_a_generator_without_a_name_does_what_it_is_asked(direction: str, tensors) -> None:
    """Nothing in it tells the direction."""
    network = generator_for(direction, tensors["G_BA"], Path("weights.pth"))
    assert is_of(network, tensors["G_BA"])
    assert network.channels == CHANNELS
    assert list(networks_in(tensors["D_B"], Path("weights.pth"))) == ["D_A"]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_forms_of_the_published_file_are_read(prefix, wrapper, tensors, tmp_path: Path) -> None:
    """Bare, of parallel training, and wrapped."""
    path = tmp_path / "G_BA_12000.pth"
    stored = prefixed(prefix, tensors["G_BA"])
    torch.save({wrapper: stored, "epoch": 3} if wrapper else stored, path)
    network = generator_for("em-to-lm", read_state_dict(path), path)
    assert is_of(network, tensors["G_BA"])
    assert "holds G_BA, but --direction lm-to-em needs G_AB" in refusal(
        "lm-to-em", read_state_dict(path), str(path)
    )


@pytest.mark.parametrize("direction", GENERATOR_OF)
def test_our_files_hold_all_networks(direction: str, tensors, tmp_path: Path) -> None:
    """Whatever they are called; the direction picks one."""
    path = tmp_path / "D_A.safetensors"
    write_weights(path, joined(tensors), {})
    stored = read_state_dict(path)
    assert list(networks_in(stored, path)) == list(NETWORKS)
    assert is_of(generator_for(direction, stored, path), tensors[GENERATOR_OF[direction]])
    assert METHOD.check_weights(stored, path) == {
        "name": "ExEM",
        "networks": list(NETWORKS),
        "channels": list(CHANNELS),
        "discriminator": {"scales": 2, "filters": 8},
    }


def test_what_a_file_holds_is_told(tensors) -> None:
    """Of JSON types, also of a single network."""
    facts = METHOD.check_weights(tensors["G_AB"], Path("G_AB_1.pth"))
    assert facts == {"name": "ExEM", "networks": ["G_AB"], "channels": list(CHANNELS)}
    facts = METHOD.check_weights(tensors["D_B"], Path("D_B_1.pth"))
    assert facts["networks"] == ["D_B"]
    assert facts["discriminator"] == {"scales": 2, "filters": 8}


def test_the_other_direction_is_offered(tensors) -> None:
    """Where the file has it; discriminators translate nothing."""
    words = refusal("em-to-lm", tensors["G_AB"], "G_AB_1.pth")
    assert "holds G_AB, but --direction em-to-lm needs G_BA" in words
    assert "use --direction lm-to-em" in words
    words = refusal("lm-to-em", joined(tensors, ("G_BA", "D_A")))
    assert "holds G_BA, D_A, but" in words
    assert "use --direction em-to-lm" in words
    words = refusal("lm-to-em", tensors["D_B"], "D_B_1.pth")
    assert "holds D_B, but --direction lm-to-em needs G_AB; give the file of G_AB" in words
    assert "holds D_A, D_B" in refusal("lm-to-em", joined(tensors, ("D_A", "D_B")))


@pytest.mark.parametrize(("name", "called", "kind"), [
    ("G_AB", "D_A_6000.pth", "generator"), ("D_A", "G_AB_6000.pth", "discriminator"),
])  # fmt: skip
def test_a_name_that_belies_the_tensors_is_told(name, called, kind, tensors) -> None:
    """Rather than guessed at."""
    words = refusal("lm-to-em", tensors[name], called)
    assert f"by its name {called[:-9]}, but its tensors are of a {kind}" in words


def test_other_networks_are_refused(tensors) -> None:
    """Also mixtures, with one line that says what is expected."""
    generator = tensors["G_AB"]
    narrow = {**generator, "first_conv.weight": torch.zeros(3, 1, 1, 5, 5)}
    flat = {**generator, "first_conv.weight": torch.zeros(4, 1, 5, 5)}
    headless = {key: value for key, value in generator.items() if "tripleconv5" not in key}
    for stored in (
        {"weight": torch.zeros(3)},
        {"conv.weight": torch.zeros(2, 2), "first_conv.bias": torch.zeros(4)},
        {"models.other.0.weight": torch.zeros(1)},
        narrow,
        flat,
        headless,
        joined(tensors) | {"stray": torch.zeros(1)},
        joined(tensors) | generator,
    ):
        assert "weights of another network" in refusal("lm-to-em", stored)
        with pytest.raises(WeightsError, match="weights of another network"):
            METHOD.check_weights(stored, Path("x.pth"))


def test_damaged_networks_are_refused(tensors) -> None:
    """What is missing, unknown or of a wrong shape is named, in every network of a file."""
    generator, discriminator = tensors["G_AB"], tensors["D_A"]
    lacking = {key: value for key, value in generator.items() if key != "final_conv.bias"}
    with pytest.raises(WeightsError, match=r"1 missing \(final_conv\.bias\)"):
        load_generator(lacking, Path("x"))
    with pytest.raises(WeightsError, match=r"1 unknown \(extra\)"):
        load_generator({**generator, "extra": torch.zeros(1)}, Path("x"))
    odd = {**generator, "tripleconv2.conv1.weight": torch.zeros(16, 4, 1, 3, 3)}
    with pytest.raises(WeightsError, match="of wrong shape"):
        load_generator(odd, Path("x"))
    with pytest.raises(WeightsError, match="weights of another network than Discriminator"):
        load_discriminator({**discriminator, "models.disc_7.0.bias": torch.zeros(8)}, Path("x"))
    damaged = joined(tensors)
    del damaged["D_B.models.disc_1.11.bias"]
    with pytest.raises(WeightsError, match="missing"):
        METHOD.check_weights(damaged, Path("x"))


def test_discriminators_tell_their_size(tensors) -> None:
    """Scales and filters are those of the tensors."""
    network = load_discriminator(tensors["D_A"], Path("x"))
    assert (network.num_scales, network.num_filters) == (2, 8)
    single = {key: value for key, value in tensors["D_A"].items() if "disc_0" in key}
    assert load_discriminator(single, Path("x")).num_scales == 1


@pytest.mark.parametrize("channels", [(32, 64, 128, 256, 513), (3, 8, 8, 16, 32)])
def test_channels_without_groups_are_refused(channels) -> None:
    """With those that have some."""
    with pytest.raises(
        OptionError, match=r"--generator-channels .*(513|3) channels have no groups"
    ):
        check_channels(channels)
    check_channels((1, 2, 4, 8, 16))
