"""What a training of exem begins with: weights, options, and whether they agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from vemctl_exem.network_sets import NETWORKS
from vemctl_exem.train_options import FinetuneOptions, TrainOptions

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.own_weights import write_weights
from vemctl.plugin import VolumeFacts

OPEN = {"generator_channels": None, "discriminator_filters": None}


@pytest.fixture
def ours(make, tmp_path: Path) -> Path:
    """Return a file of four small networks, as a training writes it."""
    trainer = make({"discriminator_scales": 1})
    path = tmp_path / "ours.safetensors"
    weights = {name: value + 0.01 for name, value in trainer.weights().items()}
    write_weights(path, weights, {**trainer.facts()})
    return path


@pytest.fixture
def bare(tensors, tmp_path: Path) -> Path:
    """Return a file of one small generator, as the published program writes it."""
    path = tmp_path / "G_AB_6000.pth"
    torch.save({key: value + 0.01 for key, value in tensors["G_AB"].items()}, path)
    return path


def equal(one: dict, other: dict) -> bool:
    """Tell whether parameters are the same."""
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_folder_is_no_file(make, tmp_path: Path) -> None:
    """The error says how to make one file of several."""
    with pytest.raises(WeightsError, match="vemctl weights import FOLDER@N"):
        make(OPEN, weights=tmp_path)


def test_the_seed_makes_the_networks(make) -> None:
    """Fresh parameters come from torch's generator alone, and no two networks are alike."""
    one, same = make(), make()
    assert equal(dict(one.weights()), dict(same.weights()))
    states = [one.networks[name].state_dict() for name in NETWORKS]
    assert not equal(states[0], states[1])
    assert not equal(states[2], states[3])


def test_finetuning_takes_all_four(make, ours: Path) -> None:
    """From a file of ours, however large its networks; nothing is warned of."""
    said: list[str] = []
    trainer = make(OPEN, weights=ours, warn=said.append)
    fresh = make({"discriminator_scales": 1})
    assert said == []
    for name, value in trainer.weights().items():
        assert torch.equal(value, fresh.weights()[name] + 0.01), name
    assert trainer.facts()["network"] == fresh.facts()["network"]
    assert trainer.facts()["network"]["discriminator"] == {"scales": 1, "filters": 8}
    told = make({"discriminator_scales": 1}, weights=ours)
    assert equal(dict(told.weights()), dict(trainer.weights()))


def test_what_a_file_lacks_begins_anew(make, bare: Path) -> None:
    """As wide as what it has; the user is told."""
    said: list[str] = []
    trainer = make({"generator_channels": None}, weights=bare, warn=said.append)
    assert said == [f"{bare}: without G_BA, D_A, D_B, which begin anew"]
    state, fresh = trainer.networks["G_AB"].state_dict(), make().networks["G_AB"].state_dict()
    assert all(torch.equal(value, fresh[key] + 0.01) for key, value in state.items())
    assert trainer.networks["G_BA"].channels == (4, 8, 8, 16, 32)
    assert trainer.facts()["network"]["discriminator"] == {"scales": 2, "filters": 8}
    again = make({"generator_channels": None}, weights=bare)
    assert equal(dict(trainer.weights()), dict(again.weights()))


def test_the_file_name_tells_which_network_it_is(make, tensors, tmp_path: Path) -> None:
    """A generator of the other direction, and a discriminator, go where they belong."""
    for name, rest in (("G_BA", "G_AB, D_A, D_B"), ("D_B", "G_AB, G_BA, D_A")):
        path, said = tmp_path / f"{name}_1.pth", []
        torch.save({key: value + 0.01 for key, value in tensors[name].items()}, path)
        trainer = make(weights=path, warn=said.append)
        assert said == [f"{path}: without {rest}, which begin anew"]
        state = trainer.networks[name].state_dict()
        assert all(torch.equal(state[key], tensors[name][key] + 0.01) for key in state)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"generator_channels": (8, 8, 8, 16, 32)},
            "--generator-channels 8,8,8,16,32: the weights have 4,8,8,16,32; leave it out",
        ),
        ({"discriminator_scales": 2}, "--discriminator-scales 2: the weights have 1;"),
        ({"discriminator_filters": 16}, "--discriminator-filters 16: the weights have 8;"),
    ],
)
def test_options_that_contradict_the_weights_are_refused(
    changes: dict, words: str, make, ours: Path
) -> None:
    """With what the weights have."""
    with pytest.raises(OptionError) as error:
        make(changes, weights=ours)
    assert str(error.value).startswith(words)


def test_weights_of_other_networks_are_refused(make, tmp_path: Path) -> None:
    """Before anything is learned."""
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="weights of another network"):
        make(weights=path)
    with pytest.raises(WeightsError, match="no such file"):
        make(weights=tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": (2, 40, 32)}, "--patch 2,40,32: expected multiples of 16"),
        ({"patch": (2, 32, 24)}, "--patch 2,32,24: expected multiples of 16"),
        ({"patch": (1, 48, 64)}, "--patch 1,48,64: discriminators on 2 scales need at least 64"),
        ({"patch": (2, 32, 16)}, "--patch 2,32,16: discriminators on 2 scales need at least 32"),
        ({"discriminator_scales": 3}, "--patch 2,32,32: discriminators on 3 scales need at least"),
        ({"patch_overlap": (2, 0, 0)}, "--patch-overlap 2,0,0: expected less than the patch"),
        ({"generator_channels": (3, 8, 8, 16, 32)}, "--generator-channels 3,8,8,16,32: 3 channels"),
        ({"lm_range": ("1,2", "1,2")}, "2 times --lm-range for 1 volumes"),
        ({"em_range": ("2,1",)}, "--em-range 2,1: expected the lower end first"),
        ({"em_thresholds": (160.0, 120.0)}, "--em-thresholds 160,120"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, words: str, make) -> None:
    """Before anything is learned, in one line."""
    with pytest.raises(OptionError) as error:
        make(changes)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_validation_has_rules_of_its_own(make) -> None:
    """Where it has volumes; else it is scaled as the training is."""
    changes = {
        "validation_lm": (Path("a.tif"),), "validation_em": (Path("b.tif"),),
        "lm_range": ("1,2", "3,4"),
    }  # fmt: skip
    facts = {role: [VolumeFacts((2, 32, 32), "uint8")] for role in ("lm", "em")}
    sampler = make(changes, validation=facts).sampler
    assert sampler.rules["lm"][0].text == "1,2"
    assert sampler.validation_rules["lm"][0].text == "3,4"
    assert sampler.validation_rules["em"][0].text == "dtype"
    sampler = make({"lm_range": ("1,2",)}).sampler
    assert sampler.validation_rules == sampler.rules


def test_defaults_are_the_published_ones() -> None:
    """Those of the script, but for a patch that it can train on."""
    options = TrainOptions()
    assert replace(FinetuneOptions()) == FinetuneOptions()
    assert (options.learning_rate, options.cycle_weight, options.content_weight) == (3e-4, 10, 50)
    assert (options.content_half_life, options.replay_buffer) == (1000, 0)
    assert (options.lm_threshold, options.em_thresholds) == (110, (120, 160))
    assert (options.rate_schedule, options.restart_steps) == ("constant", 10_000)
    assert options.patch == (16, 256, 256)
