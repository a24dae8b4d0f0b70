"""What a validation of exem measures, shows, and warns of."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
import torch
from torch import nn
from vemctl_exem.judging import SCALED_AS, judge
from vemctl_exem.losses import Groups

METRICS = ["val_cycle_A", "val_cycle_B", "val_polarity", "val_correlation"]


class Straight(nn.Module):
    """Makes bright LM middle EM, and dark LM dark EM; the other way is its inverse."""

    slope, offset = 0.5, 0.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map 0.1 to 0.15 and 0.9 to 0.55."""
        return self.slope * x + self.offset


class Inverted(Straight):
    """Makes bright LM dark EM, and dark LM middle EM."""

    slope, offset = -0.5, 0.6


class Back(Straight):
    """Undoes `Straight`."""

    slope, offset = 2.0, -0.2


def sample(seed: int = 0, depth: int = 3) -> dict[str, torch.Tensor]:
    """Return dark and bright voxels in halves, and noise."""
    generator = torch.Generator().manual_seed(seed)
    lm = 0.1 + 0.8 * (torch.rand(1, 1, depth, 8, 8, generator=generator) > 0.5).float()
    return {"lm": lm, "em": torch.rand(1, 1, depth, 8, 8, generator=generator)}


def judged(there: nn.Module, back: nn.Module, *samples):
    """Return what a validation finds."""
    translate = {"G_AB": there, "G_BA": back}
    return judge(translate, samples or (sample(),), Groups(), contextlib.nullcontext)


def test_a_right_translation_is_known() -> None:
    """All comes back, and bright LM is middle EM."""
    found = judged(Straight(), Back()).metrics
    assert list(found) == METRICS
    assert found["val_cycle_A"] == pytest.approx(0, abs=1e-6)
    assert found["val_cycle_B"] == pytest.approx(0, abs=1e-6)
    assert found["val_polarity"] == pytest.approx(1, abs=1e-2)
    assert found["val_correlation"] == pytest.approx(1, abs=1e-6)


def test_an_inverted_translation_is_known() -> None:
    """It may cycle as well as it likes."""
    found = judged(Inverted(), Inverted()).metrics
    assert found["val_polarity"] == pytest.approx(-1, abs=1e-2)
    assert found["val_correlation"] == pytest.approx(-1, abs=1e-6)


def test_metrics_are_of_all_samples() -> None:
    """Means of the cycles, and one correlation over all voxels."""
    samples = [sample(seed) for seed in range(3)]
    found = judged(Straight(), Straight(), *samples).metrics
    cycles, virtual = {"lm": [], "em": []}, []
    for each in samples:
        for kind, values in each.items():
            twice = 0.5 * (0.5 * values.numpy() + 0.1) + 0.1
            cycles[kind].append(np.abs(twice - values.numpy()).mean())
        virtual.append((0.5 * each["lm"] + 0.1).numpy())
    assert found["val_cycle_A"] == pytest.approx(np.mean(cycles["lm"]), rel=1e-5)
    assert found["val_cycle_B"] == pytest.approx(np.mean(cycles["em"]), rel=1e-5)
    lm, em = (torch.from_numpy(np.stack(parts)) for parts in (
        [each["lm"].numpy() for each in samples], virtual
    ))  # fmt: skip
    bright, middle = Groups().of_lm(lm)[0].numpy(), Groups().of_em(em)[0].numpy()
    expected = np.corrcoef(bright.ravel(), middle.ravel())[0, 1]
    assert found["val_polarity"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_panels_are_middle_slices_of_the_first_sample(depth: int) -> None:
    """Six of them, each on the scale of the kind that it shows."""
    first = sample(depth=depth)
    found = judged(Straight(), Back(), first, sample(1, depth))
    lm, em = (first[kind][0, 0, depth // 2].numpy() for kind in ("lm", "em"))
    expected = {
        "LM": lm,
        "virtual EM": 0.5 * lm + 0.1,
        "reconstructed LM": lm,
        "EM": em,
        "virtual LM": 2 * em - 0.2,
        "reconstructed EM": em,
    }
    assert list(found.panels) == list(expected) == list(found.scaled_as)
    for name, panel in expected.items():
        assert found.panels[name].dtype == np.float32
        np.testing.assert_allclose(found.panels[name], panel, atol=1e-6, err_msg=name)
    assert set(SCALED_AS.values()) == {"LM", "EM"}
    kinds = ["LM", "EM", "LM", "EM", "LM", "EM"]
    assert [found.scaled_as[name] for name in expected] == kinds


def test_a_volume_without_contrast_has_no_polarity() -> None:
    """It is not a number, and no error."""
    flat = {kind: torch.full((1, 1, 2, 8, 8), 0.5) for kind in ("lm", "em")}
    found = judged(Straight(), Back(), flat).metrics
    assert math.isnan(found["val_correlation"])


def test_the_trainer_warns_of_contrast(make) -> None:
    """As long as the group loss has a weight; each validation is judged after those before."""
    trainer = make()
    trainer.networks["G_AB"], trainer.networks["G_BA"] = Straight(), Back()
    assert trainer.validate([sample()]).warnings == []
    trainer.networks["G_AB"] = Inverted()
    found = trainer.validate([sample()])
    assert list(found.metrics) == METRICS
    (warning,) = found.warnings
    assert "inverted" in warning
    other = make({"content_weight": 0.0})
    other.networks["G_AB"] = Inverted()
    other.networks["G_BA"] = Back()
    assert list(other.validate([sample()]).warnings) == []


def test_a_validation_changes_nothing(make, batch_of) -> None:
    """Neither parameters nor gradients, nor the next step."""
    one, other = make(), make()
    before = {name: value.clone() for name, value in one.weights().items()}
    found = one.validate([batch_of(), batch_of(1, 1)])
    assert len(found.panels) == 6
    assert all(panel.shape == (32, 32) for panel in found.panels.values())
    assert all(math.isfinite(value) for value in found.metrics.values())
    assert all(torch.equal(value, before[name]) for name, value in one.weights().items())
    parameters = [p for network in one.networks.values() for p in network.parameters()]
    assert all(parameter.grad is None for parameter in parameters)
    one.validated(found.metrics)
    same = {name: loss.item() for name, loss in other.step([batch_of()]).items()}
    assert {name: loss.item() for name, loss in one.step([batch_of()]).items()} == same


def test_validation_samples_are_counted(make) -> None:
    """As many as the option says."""
    assert make({"validation_samples": 7}).num_validation == 7
