"""Which network of pssr parameters are of, and what it takes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parity import load_shapes
from vemctl_pssr.architecture import BLOCK_COUNTS, Architecture, recognise, standard
from vemctl_pssr.memory import (
    CALL_BYTES,
    COPIES_IN_TRAINING,
    FLOAT,
    STEP_BYTES,
    STEP_WORKSPACE,
    call_bytes,
    num_parameters,
    step_bytes,
)
from vemctl_pssr.network import build

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.state_dict import load, read_weights

EXPORT = Path(__file__).parents[2] / "assets" / "pssr_export" / "small_export.pkl"
SWITCHES = [{}, {"wrapped": True}, {"attention": True, "bottle": False}, {"bottle": True}]
PARAMETERS = {  # of the published networks, as their authors' library counts them
    ("wnresnet34", 1): 48_945_614,
    ("wnresnet34", 5): 48_954_450,
    ("wnresnet18", 1): 43_330_382,
    ("resnet34", 1): 41_229_213,
    ("resnet18", 1): 31_121_053,
    ("rrdb", 1): 13_329_666,
}


def parameters_of(keys: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return tensors of the published shapes that hold nothing."""
    shapes = load_shapes(keys, prefix)
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def tensors_of(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Return the state dict of a network without values."""
    with torch.device("meta"):
        return dict(build(architecture).state_dict())


def _tuple(value: object) -> object:
    """Return a tuple for what JSON has as a list."""
    return tuple(value) if isinstance(value, list) else value


def refusal(tensors: dict, path: str = "x.pth") -> str:
    """Return the one line with which a state dict is refused."""
    with pytest.raises(WeightsError) as error:
        recognise(tensors, Path(path))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


@pytest.mark.parametrize(("keys", "prefix", "expected"), [
    ("pssr_wnresnet34_keys.json", "model.", standard("wnresnet34")),
    ("pssr_wnresnet34_5_keys.json", "model.", standard("wnresnet34", frames=5)),
    ("pssr_wnresnet34_keys.json", "", standard("wnresnet34", wrapped=False)),
    ("pssr_resnet34_keys.json", "", standard("resnet34")),
    ("pssr_resnet34_attention_keys.json", "", standard("resnet34", attention=True, bottle=True)),
    ("pssr_resnet34_attention_keys.json", "model.",
     standard("resnet34", attention=True, bottle=True, wrapped=True)),
    ("pssr_rrdb_keys.json", "model.", standard("rrdb")),
])  # fmt: skip
def test_published_networks_are_recognised(keys: str, prefix: str, expected) -> None:
    """From keys and shapes alone."""
    assert recognise(parameters_of(keys, prefix), Path("x.pkl")) == expected


def test_the_exported_network_is_recognised() -> None:
    """Of reduced widths, which no name tells."""
    found = recognise(read_weights(EXPORT).tensors, EXPORT)
    assert found == Architecture(
        "wnresnet", 1, 1, (8, 8, 12), (12, 16, 24, 32), (1, 1, 2, 1),
        attention=True, bottle=True, wrapped=True,
    )  # fmt: skip
    assert found.name == "wnresnet-1-1-2-1 (reduced)"


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("name", BLOCK_COUNTS)
def test_what_is_built_is_recognised(name: str, switches: dict) -> None:
    """Every standard network, also narrow ones; what is told of it goes through JSON."""
    narrow = (6, 1 if name.startswith("resnet") else 3)
    for width, frames in ((64, 1), narrow) if switches in SWITCHES[1:3] else ((64, 1),):
        architecture = standard(name, frames, width, **switches)
        assert recognise(tensors_of(architecture), Path("x")) == architecture
        told = json.loads(json.dumps(architecture.to_json()))
        assert Architecture(**{k: _tuple(v) for k, v in told.items()}) == architecture
        assert architecture.name == (name if width == 64 else f"{name} (reduced)")
        assert architecture.frames == frames


def test_what_is_built_of_dense_blocks_is_recognised() -> None:
    """Of any number and width."""
    for sizes in ({}, {"filters": 3, "blocks": 2, "growth": 5}, {"blocks": 11}):
        architecture = standard("rrdb", 3, **sizes)
        assert recognise(tensors_of(architecture), Path("x")) == architecture
    assert standard("rrdb").name == "rrdb"
    assert standard("rrdb", filters=3, blocks=2).name == "rrdb (2 blocks of 3)"


def test_what_a_network_takes_and_gives() -> None:
    """Frames or colours, and whether it makes more pixels."""
    told = {
        name: (made.in_channels, made.out_channels, made.frames, made.is_rgb, made.upsamples)
        for name, made in {
            "wnresnet34": standard("wnresnet34", 5),
            "resnet34": standard("resnet34"),
            "wrapped": standard("resnet34", wrapped=True),
            "bare": standard("wnresnet34", wrapped=False),
            "rrdb": standard("rrdb", 3),
        }.items()
    }
    assert told == {
        "wnresnet34": (5, 1, 5, False, True),
        "resnet34": (3, 3, 1, True, False),
        "wrapped": (3, 3, 1, True, True),
        "bare": (1, 1, 1, False, False),
        "rrdb": (3, 1, 3, False, True),
    }


def test_successors_are_told_from_others() -> None:
    """Weights of PSSR2 look like ours to a user, but not to us."""
    words = refusal({"encoder.0.0.weight": torch.zeros(8, 1, 3, 3), "head.weight": torch.zeros(1)})
    assert "weights of PSSR2" in words
    assert "PSSR2" not in refusal({"encoder.weight": torch.zeros(8, 1, 3, 3)})


def test_other_networks_are_refused() -> None:
    """Also parts of ours without their first or last layers, and tensors that are no kernels."""
    ours = tensors_of(standard("wnresnet18", width=4))
    plain = tensors_of(standard("resnet18", width=4))
    dense = tensors_of(standard("rrdb", filters=4, blocks=1, growth=4))
    empty, flat = torch.zeros(4, 0, 3, 3), torch.zeros(4, 4)
    for stored in (
        {},
        {"weight": torch.zeros(3)},
        {"first_conv.weight": torch.zeros(4, 1, 1, 5, 5), "tripleconv1.conv1.weight": flat},
        {key: value for key, value in ours.items() if ".layers.0." not in key},
        {key: value for key, value in ours.items() if not key.startswith("model.layers.12")},
        {key: value for key, value in plain.items() if not key.startswith("layers.10")},
        {key: value for key, value in dense.items() if ".RDB1." not in key},
        {**plain, "layers.0.0.weight": empty},
        {**plain, "layers.0.7.0.conv1.weight": flat},
    ):
        assert "weights of another network" in refusal(stored)


@pytest.mark.parametrize("lost", [
    "model.layers.0.5.1.convs.1.0.weight_v", "model.layers.4.bn.running_var",
    "model.layers.6.conv2.2.query.weight_u", "model.layers.9.conv.0.bias",
])  # fmt: skip
def test_a_truncated_file_is_refused(lost: str) -> None:
    """Where it is loaded, by the name of what is missing."""
    tensors = build(standard("wnresnet18", width=4)).state_dict()
    del tensors[lost]
    with pytest.raises(WeightsError, match=lost) as error:
        load(build(recognise(tensors, Path("x.pth"))), tensors, Path("x.pth"))
    assert "\n" not in str(error.value)


def test_no_memory_is_made_for_networks_of_which_little_is_there() -> None:
    """A small file cannot ask for a large network."""
    tensors = {
        key: value
        for key, value in tensors_of(standard("resnet34")).items()
        if key.endswith((".0.conv1.weight", "layers.0.0.weight", "weight_v"))
        and not key.startswith(("layers.3", "layers.4", "layers.5", "layers.6", "layers.7"))
    }
    wide = dict.fromkeys([key for key in tensors if ".conv1." in key], torch.zeros(4096, 1, 1, 1))
    assert "of a network that would have" in refusal({**tensors, **wide})


def test_unknown_names_are_refused() -> None:
    """With what there is instead."""
    for arguments, words in (
        (("resnet50",), "expected one of wnresnet18"),
        (("resnet34", 5), "takes one frame, not 5; use wnresnet34"),
        (("wnresnet34", 1, 1), "a width of 2"),
        (("rrdb", 0), "at least one"),
    ):
        with pytest.raises(OptionError, match=words):
            standard(*arguments)
    with pytest.raises(OptionError, match="at least one"):
        standard("rrdb", blocks=0)


@pytest.mark.parametrize("name", [*BLOCK_COUNTS, "rrdb"])
def test_parameters_are_counted(name: str) -> None:
    """As many as the network has."""
    for architecture in (
        standard(name, width=6, filters=5, growth=3, blocks=2),
        standard(name, attention=True, bottle=True),
    ):
        with torch.device("meta"):
            network = build(architecture)
        assert num_parameters(architecture) == sum(each.numel() for each in network.parameters())


def test_published_networks_have_as_many_parameters_as_told() -> None:
    """By the numbers of the specification."""
    made = {(name, frames): num_parameters(standard(name, frames)) for name, frames in PARAMETERS}
    assert made == PARAMETERS


@pytest.mark.parametrize("name", ["wnresnet34", "wnresnet50", "resnet34", "rrdb"])
def test_calls_and_steps_grow_with_everything(name: str) -> None:
    """With pixels and tiles, beyond the parameters; a step takes more than a call."""
    architecture = standard(name)
    fixed = FLOAT * num_parameters(architecture) + CALL_BYTES
    sizes = [call_bytes(architecture, (64, 64), batch) for batch in (1, 2, 4)]
    assert fixed < sizes[0] < sizes[1] < sizes[2]
    assert call_bytes(architecture, (64, 128), 1) > sizes[0]
    steps = [step_bytes(architecture, (64, 64), samples) for samples in (1, 2, 4)]
    assert 4 * FLOAT * num_parameters(architecture) < steps[0] < steps[1] < steps[2]
    assert all(step > size for step, size in zip(steps, sizes, strict=True))
    if name != "rrdb":
        assert step_bytes(replace(architecture, attention=True), (64, 64), 1) >= steps[0]
        assert call_bytes(replace(architecture, bottle=False), (64, 64), 1) >= sizes[0]


@pytest.mark.parametrize("architecture", [
    standard("wnresnet18", width=8), standard("wnresnet50", width=4, attention=False),
    standard("resnet18", width=8), standard("resnet34", width=8, wrapped=True, attention=True),
    standard("rrdb", filters=8, growth=8, blocks=2),
], ids=lambda each: each.name)  # fmt: skip
def test_activations_are_about_what_is_kept(architecture: Architecture) -> None:
    """Counted by what torch saves for the way back."""
    kept: dict[int, int] = {}
    size = (16, 24) if architecture.upsamples else (64, 96)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network = build(architecture)
    x = torch.rand(2, architecture.in_channels, *size)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made = network(x)
    of_kernels = 3 * FLOAT * num_parameters(architecture)  # themselves, normed, and as they go
    fixed = FLOAT * COPIES_IN_TRAINING * num_parameters(architecture) + STEP_BYTES
    told = (step_bytes(architecture, size, 2) - fixed) / STEP_WORKSPACE
    measured = sum(kept.values())
    assert made.grad_fn is not None
    assert 0.9 * (measured - of_kernels) < told < 1.6 * measured
    assert math.prod(made.shape) * FLOAT < told
