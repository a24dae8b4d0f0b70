"""What a trainer may look at before it trains: samples, volumes that options name, and names."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from unit.training.conftest import write
from unit.training.samplers import CountingSampler, PlainSampler
from unit.volumes.conftest import make_data

from vemctl.errors import InputError, OptionError
from vemctl.events import ignore
from vemctl.learning import TrainingRequest, see_nothing
from vemctl.plugin import Method, NoOptions, TrainingData
from vemctl.sampling import peek_at_nothing
from vemctl.training import loader
from vemctl.training.world import World
from vemctl.workflows.peek import peek
from vemctl.workflows.train_options import (
    DataOptions,
    TrainComputeOptions,
    TrainRequest,
)
from vemctl.workflows.train_session import session

SLICES = 12
SAMPLER = PlainSampler((2, 8, 8), (3, 8, 8))


@dataclass
class Looker(Method):
    """A method that keeps what its trainer is told."""

    name = "looker"
    summary = "For tests."
    train_options = NoOptions
    held: tuple[Path, ...] = ()
    sampler: Any = SAMPLER
    told: TrainingRequest | None = None

    def restorer(self, *_: Any) -> Any:
        raise NotImplementedError

    def training_data(self, options: Any, volumes: Sequence[Path]) -> TrainingData:
        return TrainingData(
            {"noisy": tuple(volumes)}, validation={"noisy": self.held} if self.held else {}
        )

    def trainer(self, options: Any, request: TrainingRequest) -> Any:
        self.told = request
        return SimpleNamespace(
            sampler=self.sampler, batch=4, networks={"network": torch.nn.Linear(1, 1)}, best=None,
            steps_per_epoch=10, num_epochs=1, num_validation=2,
        )  # fmt: skip


def opened(
    method: Looker, volumes: Sequence[Path], seed: int = 0, fraction: float = 0.25
) -> AbstractContextManager[Any]:
    """Open a training on the CPU."""
    request = TrainRequest(
        "train", method.name, tuple(volumes), Path("run"), None, NoOptions(),
        data=DataOptions(validation_fraction=fraction),
        compute=TrainComputeOptions(seed=seed, workers=0),
    )  # fmt: skip
    return session(request, method, World(), "cpu", ignore, threading.Event())


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Write a volume of twelve slices, of which three are kept."""
    np.save(tmp_path / "v.npy", make_data((SLICES, 20, 24), "uint16"))
    return tmp_path / "v.npy"


def places(samples: Any) -> list[tuple[int, ...]]:
    """Return where samples were drawn."""
    return [tuple(int(n) for n in np.asarray(each["place"])) for each in samples]


def test_what_is_looked_at_is_what_is_trained_on(volume: Path) -> None:
    """As many samples as asked for, never of the slices that are kept to validate on."""
    method = Looker()
    with opened(method, [volume]):
        assert method.told is not None
        seen = places(method.told.look(method.sampler, 300))
    assert len(seen) == 300
    assert len(set(seen)) > 200
    assert {corner[1] for corner in seen} == set(range(SLICES - 3 - 1))


def test_a_look_is_the_same_for_the_same_seed(volume: Path) -> None:
    """However often, and whenever one looks; another seed shows others."""
    looks = []
    for seed in (0, 0, 1):
        method = Looker()
        with opened(method, [volume], seed) as ready:
            assert method.told is not None
            looks.append(places(method.told.look(method.sampler, 20)))
            drawn = loader.batches(method.sampler, ready.training, seed=seed, batch=4, last_step=5)
            trained = [place for (batch,) in drawn for place in places([*_each(batch)])]
            assert places(method.told.look(method.sampler, 20)) == looks[-1]
            assert len(trained) == 20
            assert trained != looks[-1]
    assert looks[0] == looks[1] != looks[2]


def _each(batch: Any) -> list[dict[str, Any]]:
    return [{"place": place} for place in batch["place"]]


def test_a_look_may_end_early_and_counts_its_samples(volume: Path) -> None:
    """Numbers begin at 0; a sampler of another patch than the trainer's may be looked through."""
    method = Looker()
    with opened(method, [volume]):
        assert method.told is not None
        numbers = [int(s["number"][0]) for s in method.told.look(CountingSampler(), 5)]
        assert numbers == [0, 1, 2, 3, 4]
        other = PlainSampler((4, 16, 16), (4, 16, 16))
        (one,) = (sample for sample, _ in zip(method.told.look(other, 9), "x", strict=False))
        assert one["image"].shape == (1, 4, 16, 16)
        with pytest.raises(InputError, match="smaller than the patch 2 x 99 x 8"):
            list(method.told.look(PlainSampler((2, 99, 8)), 1))


def test_volumes_of_their_own_are_not_looked_at(volume: Path, tmp_path: Path) -> None:
    """With them all slices of the others are trained on."""
    held = tmp_path / "held.npy"
    np.save(held, np.zeros((4, 20, 24), np.uint16) + np.arange(24, dtype=np.uint16))
    method = Looker(held=(held,))
    with opened(method, [volume], fraction=0.1):
        assert method.told is not None
        samples = list(method.told.look(method.sampler, 200))
        assert {place[1] for place in places(samples)} == set(range(SLICES - 1))
        assert all(sample["image"].max() * 2 > 24 for sample in samples)


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_a_fraction_is_refused_beside_volumes_of_their_own(volume: Path, fraction: float) -> None:
    """It would have no effect; without such volumes it has one."""
    match = f"^--validation-fraction {fraction:g}: there are volumes of their own .*; leave it out$"
    with (
        pytest.raises(OptionError, match=match),
        opened(Looker(held=(volume,)), [volume], fraction=fraction),
    ):
        pass
    with opened(Looker(), [volume], fraction=fraction) as ready:
        assert (ready.validation is None) == (fraction == 0)


def test_a_trainer_is_told_the_names_that_were_typed(volume: Path) -> None:
    """And may read of a volume that is none of them."""
    method = Looker()
    with opened(method, [volume, volume]):
        assert method.told is not None
        assert list(method.told.volumes) == [volume, volume]
        assert np.array_equal(method.told.peek(volume), np.load(volume)[2:10])


def test_without_a_workflow_there_is_nothing_to_see(volume: Path) -> None:
    """The defaults of a request show no samples, and refuse to read."""
    assert list(see_nothing(PlainSampler(), 3)) == []
    with pytest.raises(RuntimeError, match=r"v\.npy cannot be read here"):
        peek_at_nothing(volume)


@pytest.mark.parametrize(
    ("shape", "middle"),
    [
        ((3, 20, 24), np.s_[:, :, :]),
        ((11, 20, 24), np.s_[1:9, :, :]),
        ((20, 20, 24), np.s_[6:14, :, :]),
        ((2, 3001, 20), np.s_[:, 476:2524, :]),
        ((2, 20, 2050), np.s_[:, :, 1:2049]),
    ],
)
def test_a_peek_is_the_middle(tmp_path: Path, shape: tuple[int, ...], middle: Any) -> None:
    """At most 8 x 2048 x 2048 voxels of the stored type."""
    values = make_data(shape, "uint16")
    np.save(tmp_path / "v.npy", values)
    read = peek(tmp_path / "v.npy")
    assert read.dtype == np.uint16
    assert np.array_equal(read, values[middle])


def test_a_peek_is_of_the_first_channel_and_time_point(tmp_path: Path) -> None:
    """A file that is not there is one line."""
    values = make_data((2, 3, 4, 9, 8), "uint16")
    path = write("sharded", tmp_path, values, "tczyx")
    assert np.array_equal(peek(path), values[0, 0])
    with pytest.raises(InputError, match=r"none\.zarr"):
        peek(tmp_path / "none.zarr")
