"""The training of rldfn: the published step, what it changes, and how it goes on."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_rldfn import building
from vemctl_rldfn.building import PREFIXES, build
from vemctl_rldfn.checkpoints import build_discriminators, build_fusion, read_networks
from vemctl_rldfn.data import MAXIMUM, MINIMUM, ROLES
from vemctl_rldfn.deconvolving import DualViewDeconvolution
from vemctl_rldfn.optics import Optics
from vemctl_rldfn.section_plans import Offset, SectionPlan, StepOffsets
from vemctl_rldfn.train_options import FinetuneOptions, TrainOptions
from vemctl_rldfn.trainer import FusionTrainer, make_trainer

from vemctl.errors import InputError, OptionError
from vemctl.nn.gradients import GradientSteps
from vemctl.nn.own_weights import write_weights
from vemctl.plugin import TrainingRequest, VolumeFacts

PATCH = (16, 16, 20)
FACTS = VolumeFacts(
    (20, 24, 28), "uint16", (60.0,) * 3, each_series={MAXIMUM: [900.0], MINIMUM: [0.0]}
)
SMALL = TrainOptions(
    view_a=(Path("a.tif"),),
    view_b=(Path("b.tif"),),
    patch=PATCH,
    psf_size=13,
    checkpointing="off",
)
PRECISIONS = ("fp32", "bf16")
ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
TOLD = ["loss", "cycle_a", "cycle_b", "gan_a", "gan_b", "d_a", "d_b", "tv"]


class Taught(NamedTuple):
    """A trainer after a step, its weights before, and the losses of it."""

    trainer: FusionTrainer
    before: dict[str, torch.Tensor]
    losses: dict[str, torch.Tensor]


def request_for(gradients, **wishes) -> TrainingRequest:
    """Return a request on one pair of views, with wishes."""
    wishes = {"data": {role: [FACTS] for role in ROLES}, "seed": 3, **wishes}
    return TrainingRequest(gradients=gradients, **wishes)


@pytest.fixture
def make(gradients):
    """Return what makes a trainer on small patches, with changes of options and wishes."""

    def made(changes=None, *, options=SMALL, **wishes) -> FusionTrainer:
        own = wishes.pop("gradients", gradients)
        torch.manual_seed(0)
        return make_trainer(replace(options, **(changes or {})), request_for(own, **wishes))

    return made


@pytest.fixture(scope="module")
def taught() -> Taught:
    """Return a trainer after a step on the first batch, which is not to be changed."""
    torch.manual_seed(0)
    trainer = make_trainer(replace(SMALL, section_every=1), request_for(GradientSteps()))
    before = copied(trainer)
    return Taught(trainer, before, trainer.step([batch_of()]))


@pytest.fixture(scope="module")
def unusual() -> Taught:
    """Return the same of rates and weights of losses that are not the usual ones."""
    torch.manual_seed(0)
    options = replace(
        SMALL, discriminator_learning_rate=0.0, learning_rate=2e-4,
        gan_weight=3.0, cycle_weight=10.0, tv_weight=0.01,
    )  # fmt: skip
    trainer = make_trainer(options, request_for(GradientSteps()))
    before = copied(trainer)
    return Taught(trainer, before, trainer.step([batch_of()]))


def batch_of(count: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return views of random values, and the seeds of their sections."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, count, 1, *PATCH, generator=generator)
    return {"view_a": first, "view_b": second, "seed": torch.arange(count) + 10 * seed}


def copied(trainer: FusionTrainer) -> dict[str, torch.Tensor]:
    """Return what its weights are now."""
    return {key: value.clone() for key, value in trainer.weights().items()}


class FixedSections:
    """The sections of the published step; remembers which steps asked."""

    def __init__(self, params) -> None:
        angle = math.degrees(params["theta_off_rad"])
        self._plan = SectionPlan(
            params["H"], params["W"], params["theta_deg"], angle, params["pixel_off"]
        )
        drawn = [(Offset(*each),) for each in params["offsets"]]
        self._offsets = StepOffsets(tuple(drawn[:4]), tuple(drawn[4:]))
        self.steps: list[int] = []
        self.largest = (self._plan.height, self._plan.width)

    def plan(self, step: int) -> SectionPlan:
        """Return the plan."""
        self.steps.append(step)
        return self._plan

    def offsets(self, plan: SectionPlan, seeds) -> StepOffsets:
        """Return the offsets of one sample."""
        assert (plan, list(seeds)) == (self._plan, [7])
        return self._offsets


def test_makes_the_published_step(gradients) -> None:
    """Losses, parameters and running statistics after it, and what is fused then."""
    spec, arrays, weights = load_fixture("rldfn_train_step")
    params = spec["params"]
    options = replace(SMALL, patch=tuple(params["patch_zyx"]))
    request = request_for(gradients, data={role: [FACTS] for role in ROLES})
    optics = Optics(arrays["psfA"], arrays["psfB"], "files", {})
    sections = FixedSections(params)
    facts = replace(FACTS, shape=(40, 48, 64))
    request = replace(request, data={role: [facts] for role in ROLES})
    built = replace(build(options, request), optics=optics, schedule=sections)
    for name, network in built.networks.items():
        state = {key: weights[PREFIXES[name] + key] for key in network.state_dict()}
        for key, value in state.items():
            if key.endswith("num_batches_tracked"):
                state[key] = torch.zeros_like(value, dtype=torch.int64)
        network.load_state_dict(state)
    trainer = FusionTrainer(built, options, request)
    views = {f"view_{name.lower()}": torch.from_numpy(arrays[f"view_{name}"]) for name in "AB"}
    losses = trainer.step([views | {"seed": torch.tensor([7])}])
    published = params["losses"]
    for name, expected in (
        ("loss", published["G_total"]),
        ("cycle_a", published["cycle1"] / 10),
        ("cycle_b", published["cycle2"] / 10),
        ("gan_a", published["G_A"]),
        ("gan_b", published["G_B"]),
        ("d_a", published["D_A"] * 2),  # the published program logs the half
        ("d_b", published["D_B"] * 2),
        ("tv", published["TV_inner"] * 1e4),
    ):
        assert losses[name].item() == pytest.approx(expected, rel=1e-4), name
    after, compared = trainer.weights(), 0
    for key, expected, size in zip(weights, arrays["sum_after"], arrays["abs_after"], strict=True):
        if key not in params["noise_grad"]:
            found = after[key].double().sum().item()
            assert found == pytest.approx(expected, abs=1e-5 * size + 1e-4), key
            compared += 1
    assert compared == len(weights) - len(params["noise_grad"]) > 140
    assert sections.steps == [0]
    found = trainer.validate([views])
    expected = arrays["fake_after_eval"][0, 0, :, params["patch_zyx"][1] // 2]
    np.testing.assert_allclose(found.panels["fused"], expected, rtol=0, atol=5e-3)
    error = np.abs(arrays["deg_A_eval"] - arrays["view_A"]).mean()
    assert found.metrics["val_cycle_a"] == pytest.approx(error, rel=5e-3)


@pytest.mark.parametrize(
    ("device", "precision"),
    [("cpu", "fp32"), *(pytest.param("cuda", each, marks=ON_GPU) for each in PRECISIONS)],
)
def test_everything_learns_but_the_spare_network(
    device: str, precision: str, make, taught: Taught
) -> None:
    """Whatever the precision; point spread functions and what published files have beside stay."""
    trainer, before, losses = taught
    if device != "cpu":
        trainer = make(gradients=GradientSteps(device, precision), device=device)
        before = copied(trainer)
        losses = trainer.step([{name: each.to(device) for name, each in batch_of().items()}])
    assert list(losses) == TOLD
    assert all(value.isfinite() and not value.requires_grad for value in losses.values())
    assert all(value.dtype == torch.float32 for value in losses.values())
    same = {key for key, value in trainer.weights().items() if torch.equal(value, before[key])}
    assert same == {key for key in before if key.startswith(("net_FB.", "psf_"))}
    networks = trainer.networks
    assert [name for name, each in networks.items() if not next(each.parameters()).requires_grad]\
        == ["FB"]  # fmt: skip


def test_rates_are_told_and_used(unusual: Taught) -> None:
    """Of the fusion and of the discriminators; one of 0 leaves its networks."""
    trainer, before, _ = unusual
    assert trainer.learning_rates() == {"G": 2e-4, "D": 0.0}
    for name, network in trainer.networks.items():
        kept = [
            torch.equal(parameter, before[PREFIXES[name] + key])
            for key, parameter in network.named_parameters()
        ]
        assert kept
        assert all(kept) is (name in {"D_A", "D_B", "FB"}), name
    last = trainer.networks["G"].one_by_one.weight
    step = (last - before[f"{PREFIXES['G']}one_by_one.weight"]).abs().max().item()
    assert step == pytest.approx(2e-4, rel=1e-2)


def test_weights_of_the_losses_are_told_by_the_options(unusual: Taught) -> None:
    """The loss is what its terms add up to with them."""
    terms = {name: value.item() for name, value in unusual.losses.items()}
    expected = (
        3 * (terms["gan_a"] + terms["gan_b"])
        + 10 * (terms["cycle_a"] + terms["cycle_b"])
        + 0.01 * terms["tv"]
    )
    assert terms["loss"] == pytest.approx(expected, rel=1e-5)


def test_continues_as_if_never_stopped(make, taught: Taught, tmp_path) -> None:
    """Networks, optimisers and sections come back from a file; rates are what the options say."""
    trainer = copy.deepcopy(taught.trainer)
    torch.save(trainer.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(5)
    other = make({"section_every": 1})
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    losses = [each.step([batch_of(1, 1)]) for each in (trainer, other)]
    assert losses[0] == losses[1]
    weights = other.weights()
    for key, value in trainer.weights().items():
        assert torch.equal(value, weights[key]), key
    assert other.state_dict()["step"] == 2
    lower = make({"learning_rate": 1e-5, "discriminator_learning_rate": 1e-6})
    lower.load_state_dict(trainer.state_dict())
    assert lower.learning_rates() == {"G": 1e-5, "D": 1e-6}


def gradients_of(trainer: FusionTrainer, parts) -> dict[str, torch.Tensor]:
    """Return what a step uses, by network and key, and its losses as they are.

    Batch norms take running statistics, for those of a batch depend on what else is in it.
    """
    found = {}
    for network in (trainer._built.network, *trainer._built.discriminators):
        network.eval()
        network.train = lambda: None

    def note(optimizer, *_) -> None:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, network in trainer.networks.items():
            for key, parameter in network.named_parameters():
                if id(parameter) in own:
                    found[f"{name}.{key}"] = parameter.grad.clone()

    for optimizer in trainer._optimizers.values():
        optimizer.register_step_pre_hook(note)
    losses = trainer.step(parts)
    return found | losses


def test_two_parts_make_one_batch(make) -> None:
    """Two samples at once and one after the other, sparing memory: the same losses, gradients."""
    both = batch_of(2)
    singles = [{name: each[i : i + 1] for name, each in both.items()} for i in range(2)]
    at_once = gradients_of(make(batch=2), [both])
    in_turn = gradients_of(make({"checkpointing": "on"}, batch=2), singles)
    assert at_once.keys() == in_turn.keys()
    assert {name.partition(".")[0] for name in at_once} == {"FA", "G", "D_A", "D_B", *TOLD}
    for name, value in at_once.items():
        difference = (in_turn[name] - value).norm() / value.norm()
        assert difference < 2e-3, name


def test_checkpointing_gives_the_same_step(make, taught: Taught) -> None:
    """Running statistics too, which are updated once for each view."""
    plain, spared = taught.trainer, make({"checkpointing": "on", "section_every": 1})
    spared.step([batch_of()])
    weights = spared.weights()
    for key, value in plain.weights().items():
        if "running" in key or "tracked" in key:
            torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5, msg=key)
    assert weights["net_FA.mid_conv.convolution.1.num_batches_tracked"] == 2
    assert spared.memory(1) < plain.memory(1) < plain.memory(2)


@pytest.mark.parametrize(("free", "expected"), [(2**50, False), (2**20, True)])
def test_memory_decides_about_checkpointing(free: int, expected: bool, make, monkeypatch) -> None:
    """Where nobody else does."""
    monkeypatch.setattr(building, "free_memory", lambda _: free)
    assert make({"checkpointing": "auto"})._built.network.checkpointed is expected
    assert make({"checkpointing": "auto"})._built.network.net_G.checkpointed is expected
    assert make({"checkpointing": "off"})._built.network.checkpointed is False


def test_validation_is_that_of_a_prediction(taught: Taught) -> None:
    """In evaluation mode, of which running statistics know nothing, with x-z sections to see."""
    trainer = copy.deepcopy(taught.trainer)
    before, samples = copied(trainer), [batch_of(1, seed) for seed in (2, 3)]
    found = trainer.validate(samples)
    assert trainer.best.metric in found.metrics
    network, fused, errors = trainer._built.network.eval(), [], []
    with torch.no_grad():
        for sample in samples:
            views = sample["view_a"], sample["view_b"]
            fused.append(network(*trainer._deconvolution.ratios(*views)))
            blurred = trainer._degradation(fused[-1])
            errors.append([(b - v).abs().mean() for b, v in zip(blurred, views, strict=True)])
    of_a, of_b = np.mean(errors, 0)
    expected = {"val_cycle": (of_a + of_b) / 2, "val_cycle_a": of_a, "val_cycle_b": of_b}
    assert found.metrics == pytest.approx(expected, rel=1e-4)
    assert list(found.panels) == ["view A", "view B", "fused"]
    shown = (samples[0]["view_a"], samples[0]["view_b"], fused[0])
    for panel, volume in zip(found.panels.values(), shown, strict=True):
        np.testing.assert_allclose(panel, volume[0, 0, :, PATCH[1] // 2], atol=1e-4)
    for key, value in trainer.weights().items():
        assert torch.equal(value, before[key]), key


def test_weights_and_facts_are_what_a_prediction_needs(make, tmp_path) -> None:
    """All five networks behind their published names and the optics, in a file of their own."""
    trainer = make({"tilt": 25.0})
    weights = trainer.weights()
    path = tmp_path / "weights.safetensors"
    facts = json.loads(json.dumps(trainer.facts()))
    assert facts == trainer.facts()
    write_weights(path, weights, facts)
    loaded = read_networks(path)
    assert set(loaded.tensors) == set(weights)
    assert loaded.facts == facts
    state = build_fusion(loaded.tensors, path).state_dict()
    expected = trainer._built.network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    judges = build_discriminators(loaded.tensors, path)
    for judge, name in zip(judges, ("D_A", "D_B"), strict=True):
        own = trainer.networks[name].state_dict()
        assert all(torch.equal(value, own[key]) for key, value in judge.state_dict().items())
    assert facts["tile"] == list(PATCH)
    assert (facts["tilt"], facts["voxel_size"], facts["end_padding"]) == (25.0, [60.0] * 3, 30)
    assert facts["psf"]["source"] == "theoretical"
    assert facts["psf"]["tilt"] == 25.0
    assert weights["psf_A"].shape == (13, 13, 13)


def test_a_fine_tuning_begins_with_the_weights(make, tmp_path) -> None:
    """Its networks, point spread functions and tilt; discriminators too where they are there."""
    trainer = make({"tilt": 25.0})
    told: list[str] = []
    path, alone = tmp_path / "all.safetensors", tmp_path / "alone.safetensors"
    write_weights(path, trainer.weights(), trainer.facts())
    fusion = {
        key: value
        for key, value in trainer.weights().items()
        if key.startswith(("net_FA.", "net_G."))
    }
    write_weights(alone, fusion, {})
    usual = {name: getattr(SMALL, name) for name in ("view_a", "view_b", "patch", "checkpointing")}
    options = FinetuneOptions(**usual)
    torch.manual_seed(9)
    tuned = make_trainer(options, request_for(GradientSteps(), weights=path, warn=told.append))
    weights = tuned.weights()
    for key, value in trainer.weights().items():
        assert torch.equal(weights[key], value), key
    assert tuned.facts()["tilt"] == 25.0
    assert tuned.facts()["psf"] == trainer.facts()["psf"]
    assert not any("discriminators" in text and "anew" in text for text in told)
    bare = make_trainer(options, request_for(GradientSteps(), weights=alone, warn=told.append))
    assert any("without discriminators, which begin anew" in text for text in told)
    weights = bare.weights()
    for key, value in fusion.items():
        assert torch.equal(weights[key], value), key
    assert not torch.equal(
        weights["netD_A.model.0.weight"], trainer.networks["D_A"].model[0].weight
    )
    assert bare.facts()["psf"]["size"] == 33
    bare.step([batch_of()])


def test_files_of_point_spread_functions_are_used(make, tmp_path) -> None:
    """They come with the weights, and their digests with the facts."""
    rng = np.random.default_rng(0)
    files = {}
    for name in ("psf_a", "psf_b"):
        files[name] = tmp_path / f"{name}.npy"
        np.save(files[name], rng.random((5, 5, 5)).astype(np.float32))
    unknown = replace(FACTS, voxel_size=None)
    options = {"psf_a": "x", "psf_b": "y", "psf_size": None}
    trainer = make(options, files=files, data={role: [unknown] for role in ROLES})
    for name, path in files.items():
        stored = trainer.weights()[f"psf_{name[-1].upper()}"]
        np.testing.assert_array_equal(stored, np.load(path))
        assert len(trainer.facts()["psf"][f"{name}_sha256"]) == 64
    assert trainer.facts()["voxel_size"] is None


def test_lengths_are_the_published_ones(make) -> None:
    """A thousand samples make an epoch, ten of these a training."""
    trainer = make()
    assert (trainer.batch, trainer.steps_per_epoch, trainer.num_epochs) == (1, 1000, 10)
    assert make(batch=3).steps_per_epoch == 334
    assert (trainer.num_validation, trainer.sampler.crop) == (4, PATCH)


def test_patches_reach_beyond_thin_volumes(make) -> None:
    """What is read of a volume is no larger than it is, also of those to validate on."""
    thin, thinner = (replace(FACTS, shape=(planes, 24, 28)) for planes in (14, 10))
    trainer = make(
        {"validation_a": (Path("c.tif"),), "validation_b": (Path("d.tif"),)},
        data={role: [thin] for role in ROLES},
        validation={role: [thinner] for role in ROLES},
    )
    assert trainer.sampler.patch == (14, *PATCH[1:])
    assert trainer.sampler.validation_patch == (10, *PATCH[1:])


@pytest.mark.parametrize(
    ("changes", "shape", "words"),
    [
        ({"patch": (16, 18, 20)}, (20, 24, 28), "--patch 16,18,20: expected multiples of 4"),
        ({"patch": (12, 16, 20)}, (20, 24, 28), "--patch 12,16,20: fitted sections"),
        ({"sections": "original"}, (20, 24, 28), "--sections fitted"),
        ({"patch": (64, 32, 32)}, (28, 24, 30), "a.tif: its shape 28,24,30 .* --patch 56,24,28"),
        ({"end_padding": 4}, (11, 24, 28), "a.tif: its shape .*: expected larger volumes"),
    ],
)
def test_patches_without_room_are_refused(changes, shape, words: str, make) -> None:
    """In one line, with a patch that fits where there is one."""
    facts = replace(FACTS, shape=shape)
    with pytest.raises((OptionError, InputError), match=words) as error:
        make(changes, data={role: [facts] for role in ROLES})
    assert "\n" not in str(error.value)


def test_volumes_that_cannot_be_learned_from_are_refused(make) -> None:
    """Without light, or without a size of voxels where it is needed."""
    dark = replace(FACTS, each_series={MAXIMUM: [0.0], MINIMUM: [0.0]})
    with pytest.raises(InputError, match=r"b\.tif: its largest value is 0"):
        make(data={"view_a": [FACTS], "view_b": [dark]})
    unknown = {role: [replace(FACTS, voxel_size=None)] for role in ROLES}
    with pytest.raises(OptionError, match="--voxel-size"):
        make(data=unknown)
    assert make({"voxel_size": 70.0}, data=unknown).facts()["voxel_size"] == [70.0] * 3


@pytest.mark.parametrize("swapped", [False, True])
def test_swapped_views_are_told(swapped: bool, make) -> None:
    """From samples of them, before anything is learned."""
    rng = np.random.default_rng(1)
    shape = (32, 32, 32)
    points = torch.from_numpy((rng.random(shape) > 0.998).astype(np.float32))
    optics = make({"psf_size": 29})._built.optics
    blur = DualViewDeconvolution(optics.psf_a, optics.psf_b, shape, "cpu")
    views = [blur.blurred(points, view)[None].numpy() for view in ("ba" if swapped else "ab")]
    asked, told = [], []

    def look(sampler, count: int):
        asked.append((sampler.foreground, count))
        yield from [dict(zip(ROLES, views, strict=True))] * count

    facts = replace(FACTS, shape=(40, 40, 40))
    make(
        {"patch": shape, "psf_size": 29},
        look=look,
        warn=told.append,
        data={role: [facts] for role in ROLES},
    )
    assert asked == [(True, 8)]
    assert any("fit better with their point spread functions swapped" in t for t in told) is swapped


def test_small_sections_are_told(make) -> None:
    """Those on which discriminators cannot learn anything."""
    told: list[str] = []
    make(warn=told.append)
    assert any("sections of a patch are 11 x 13 voxels" in text for text in told)
    told.clear()
    facts = replace(FACTS, shape=(40, 40, 60))
    make({"patch": (36, 36, 52)}, warn=told.append, data={role: [facts] for role in ROLES})
    assert not any("sections" in text for text in told)
