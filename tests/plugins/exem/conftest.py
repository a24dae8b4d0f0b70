"""What the tests of exem share: small networks, small patches, and volumes that are files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from vemctl_exem.network_sets import NETWORKS
from vemctl_exem.train_options import TrainOptions
from vemctl_exem.trainer import ExemTrainer, make_trainer

from vemctl.plugin import TrainingRequest, VolumeFacts

FACTS = VolumeFacts((4, 64, 64), "uint8")


@pytest.fixture
def small() -> TrainOptions:
    """Return options of the smallest networks of a fixture, on the smallest patches."""
    return TrainOptions(
        lm=(Path("lm.tif"),),
        em=(Path("em.tif"),),
        patch=(2, 32, 32),
        generator_channels=(4, 8, 8, 16, 32),
        discriminator_filters=8,
    )


@pytest.fixture
def make(small, gradients) -> Callable[..., ExemTrainer]:
    """Return what makes a trainer of the small options, with changes and wishes."""

    def made(changes=None, **wishes) -> ExemTrainer:
        request = {"data": {"lm": [FACTS], "em": [FACTS]}, "gradients": gradients, **wishes}
        torch.manual_seed(0)
        return make_trainer(replace(small, **(changes or {})), TrainingRequest(**request))

    return made


@pytest.fixture
def batch_of() -> Callable[..., dict[str, torch.Tensor]]:
    """Return what draws a batch of random grey values."""

    def drawn(count: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        lm, em = torch.rand(2, count, 1, 2, 32, 32, generator=generator)
        return {"lm": lm, "em": em}

    return drawn


@pytest.fixture
def tensors(make) -> dict[str, dict[str, torch.Tensor]]:
    """Return the parameters of four small networks, each by its published keys."""
    networks = make().networks
    return {name: dict(networks[name].state_dict()) for name in NETWORKS}


@pytest.fixture
def files(array_patches) -> type:
    """Return the class of patches of arrays of which each is a file, with statistics if given."""

    class FilePatches(array_patches):
        statistics: dict = {}  # noqa: RUF012 - by role, a dict for each file

        def facts(self, role: str) -> list[VolumeFacts]:
            told = self.statistics.get(role, [{} for _ in self.roles[role]])
            return [
                replace(facts, file_index=index, statistics=told[index])
                for index, facts in enumerate(super().facts(role))
            ]

    return FilePatches
