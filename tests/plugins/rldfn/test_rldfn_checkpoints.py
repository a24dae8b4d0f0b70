"""The networks of rldfn in files: the published program's folders, and ours."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from parity import load_shapes, seeded_state_dict
from vemctl_rldfn.checkpoints import (
    build_discriminators,
    build_fusion,
    check,
    files_of_checkpoint,
    original_layout,
    read_networks,
)

from vemctl.errors import WeightsError
from vemctl.nn.own_weights import write_weights

NAMES = ("net_FA", "net_FB", "net_G", "netD_A", "netD_B")
FUSING = ("net_FA", "net_G")


@lru_cache(maxsize=1)
def published() -> dict[str, torch.Tensor]:
    """Return tensors of all five networks by the published keys; not to be changed."""
    tensors = seeded_state_dict(load_shapes("rldfn_checkpoint_keys.json"))
    tracked = {key for key in tensors if key.endswith("num_batches_tracked")}
    return {
        key: torch.tensor(7) if key in tracked else value.clone() for key, value in tensors.items()
    }


def of(*names: str) -> dict[str, torch.Tensor]:
    """Return the tensors of networks, by keys that begin with these."""
    return {key: value for key, value in published().items() if key.partition(".")[0] in names}


def alone(name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a network by its own keys."""
    return {key.removeprefix(f"{name}."): value for key, value in of(name).items()}


def folder_of(folder: Path, *names: str) -> Path:
    """Write published files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        torch.save(alone(name), folder / f"{name}.pth")
    return folder


def refusal(act, *given, told: Path | str | None = None) -> str:
    """Return the one line with which something is refused; it begins with the path."""
    with pytest.raises(WeightsError) as error:
        act(*given)
    said = str(error.value)
    assert "\n" not in said
    path = told or next(each for each in given if isinstance(each, Path))
    assert said.startswith(str(path))
    return said


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Compare keys in their order, types and values."""
    assert list(found) == list(expected)
    for key, value in found.items():
        assert value.dtype == expected[key].dtype
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("names", [FUSING, NAMES])
def test_a_published_folder_is_read_by_any_of_its_files(names, tmp_path: Path) -> None:
    """By its own path, by the path of a network that fuses, and by that of the run."""
    folder = folder_of(tmp_path / "checkpoints" / "iteration17600", *names)
    for path in (folder, folder / "net_G.pth", folder / "net_FA.pth", tmp_path):
        loaded = read_networks(path)
        assert_equal(loaded.tensors, of(*names))
        assert loaded.facts == {}
        assert check(loaded.tensors, path) == {"name": "RL-DFN", "networks": list(names)}


@pytest.mark.parametrize("names", [FUSING, NAMES])
def test_our_file_is_read_with_what_it_tells(names, tmp_path: Path) -> None:
    """Networks in one file, point spread functions beside them."""
    psfs = {"psf_A": torch.rand(5, 9, 7), "psf_B": torch.rand(5, 9, 5)}
    path = tmp_path / "best.safetensors"
    write_weights(path, {**of(*names), **psfs}, {"method": "rldfn", "step": 3})
    loaded = read_networks(path)
    assert loaded.facts["step"] == 3
    facts = check(loaded.tensors, path)
    expected = {"name": "RL-DFN", "networks": list(names), "psf_A": [5, 9, 7], "psf_B": [5, 9, 5]}
    assert facts == json.loads(json.dumps(facts)) == expected
    assert set(build_fusion(loaded.tensors, path).state_dict()) == set(of(*FUSING))


def test_networks_have_the_parameters_of_the_file() -> None:
    """All of them, also from half precision; there are discriminators or none."""
    tensors = of(*NAMES)
    assert_equal(dict(build_fusion(tensors, Path("x")).state_dict()), of(*FUSING))
    judges = build_discriminators(tensors, Path("x"))
    assert judges is not None
    for network, name in zip(judges, ("netD_A", "netD_B"), strict=True):
        assert_equal(dict(network.state_dict()), alone(name))
    assert build_discriminators(of(*FUSING), Path("x")) is None
    half = {key: value.half() for key, value in of(*FUSING).items()}
    network = build_fusion(half, Path("x"))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """With what there is."""
    folder = folder_of(tmp_path / "part", "net_FA", "netD_A")
    said = refusal(read_networks, folder)
    assert (
        "has no net_G.pth, only net_FA.pth, netD_A.pth; expected net_FA.pth and net_G.pth" in said
    )
    assert "net_G.pth: no such file" in refusal(read_networks, folder / "net_G.pth")
    assert "no networks of rldfn" in refusal(read_networks, tmp_path)
    assert "no such file" in refusal(read_networks, tmp_path / "absent.safetensors")


def test_a_discriminator_does_not_fuse(tmp_path: Path) -> None:
    """By its name, by its tensors, and by the name of the U-Net."""
    folder = folder_of(tmp_path, *NAMES)
    assert "weights of a discriminator" in refusal(read_networks, folder / "netD_A.pth")
    renamed = tmp_path / "weights.pth"
    torch.save(alone("netD_B"), renamed)
    assert "weights of a discriminator, which only judges" in refusal(read_networks, renamed)
    torch.save(alone("netD_A"), folder / "net_G.pth")
    path = folder / "net_G.pth"
    loaded = read_networks(path)
    for act in (build_fusion, check, build_discriminators):
        said = refusal(act, loaded.tensors, path)
        assert "weights of a discriminator by the name of net_G; expected those of a U-Net" in said


@pytest.mark.parametrize("name", FUSING)
def test_a_network_by_itself_is_told(name: str, tmp_path: Path) -> None:
    """Under another name than the published; both are needed."""
    path = tmp_path / "mine.pth"
    torch.save(alone(name), path)
    assert "by itself; expected the feature net and the U-Net together" in refusal(
        read_networks, path
    )
    assert f"has no {(set(FUSING) - {name}).pop()}, only {name}" in refusal(check, of(name), path)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    """Such as a generator of vsisr, with what to give instead."""
    path = tmp_path / "F-actin.pth"
    torch.save({"vars.0": torch.zeros(64, 7, 3, 3), "vars.1": torch.zeros(64)}, path)
    said = refusal(read_networks, path)
    assert "weights of another network: vars.0 is of none of rldfn" in said
    assert "Give net_G.pth with net_FA.pth beside it" in said
    assert "vars.0 is of none" in refusal(check, {**published(), "vars.0": torch.ones(1)}, path)
    assert "only no tensors" in refusal(check, {}, path)


def test_damage_is_told_with_the_file_it_is_in(tmp_path: Path) -> None:
    """What is missing, of another shape or too much, in every network."""
    folder = folder_of(tmp_path, *NAMES)
    for key in ("net_FA.last_conv.bias", "net_FB.last_conv.bias", "net_G.one_by_one.weight"):
        lacking = {name: value for name, value in published().items() if name != key}
        name, _, rest = key.partition(".")
        said = refusal(check, lacking, folder, told=f"{folder / name}.pth: ")
        assert f"1 missing ({rest})" in said
    wrong = {**published(), "netD_B.model.0.weight": torch.zeros(64, 1, 3, 3)}
    assert "model.0.weight (64, 1, 3, 3) for (64, 1, 4, 4)" in refusal(check, wrong, folder)
    more = {**of(*FUSING), "net_G.extra": torch.ones(1)}
    assert "1 unknown (extra)" in refusal(build_fusion, more, Path("own.safetensors"))
    flat = {**of(*FUSING), "psf_A": torch.ones(9, 9)}
    assert "psf_A has shape (9, 9); expected a point spread" in refusal(check, flat, Path("x"))
    single = of(*FUSING, "netD_A")
    assert "has netD_A but no netD_B" in refusal(check, single, Path("x"))


def test_iterations_of_a_run_are_found(tmp_path: Path) -> None:
    """The last by default, counted and not spelled; with the prefixes of one file."""
    for number in (0, 9000, 17000):
        place = tmp_path / "checkpoints" / f"iteration{number}"
        place.mkdir(parents=True)
        for name in (*FUSING, "net_FB"):
            (place / f"{name}.pth").touch()
    (tmp_path / "checkpoints" / "iteration99999.txt").touch()
    for folder in (tmp_path, tmp_path / "checkpoints"):
        for choice, number in ((None, 17000), ("9000", 9000), ("0", 0)):
            place = tmp_path / "checkpoints" / f"iteration{number}"
            assert files_of_checkpoint(folder, choice) == {
                f"{name}.": place / f"{name}.pth" for name in ("net_FA", "net_FB", "net_G")
            }
    said = refusal(files_of_checkpoint, tmp_path, "5", told=f"{tmp_path}@5: ")
    assert "no such iteration" in said
    assert f"{tmp_path}@17000" in said


def test_an_iteration_is_not_several(tmp_path: Path) -> None:
    """Its own number may be given, no other."""
    place = folder_of(tmp_path / "iteration50", *FUSING)
    assert files_of_checkpoint(place, "50") == files_of_checkpoint(place, None)
    with pytest.raises(WeightsError, match=r"iteration50@60: has the files of one iteration"):
        files_of_checkpoint(place, "60")


@pytest.mark.parametrize("names", [FUSING, NAMES])
def test_the_published_layout_has_all_five(names, tmp_path: Path) -> None:
    """What is there stays; what is not is drawn, the same each time; it can be read again."""
    tensors = {**of(*names), "psf_A": torch.ones(3, 3, 3)}
    before = torch.random.get_rng_state()
    made, again = (original_layout(tensors, tmp_path / "x").files for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert list(made) == [f"{name}.pth" for name in NAMES]
    for name in NAMES:
        part = made[f"{name}.pth"]
        assert_equal(part, again[f"{name}.pth"])
        if name in names:
            assert_equal(part, alone(name))
        else:
            assert list(part) == list(alone(name))
            assert any(value.std() > 0 for value in part.values() if value.ndim > 1)
        torch.save(part, tmp_path / f"{name}.pth")
    assert not torch.equal(
        made["netD_A.pth"]["model.0.weight"], made["netD_B.pth"]["model.0.weight"]
    )
    assert check(read_networks(tmp_path).tensors, tmp_path)["networks"] == list(NAMES)
