"""What a training says when a step does not fit into memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vemctl.errors import DeviceError
from vemctl.nn import device as devices
from vemctl.training.world import World
from vemctl.workflows.train_options import SavingOptions, ScheduleOptions, TrainComputeOptions
from vemctl.workflows.train_session import make_schedule, no_memory

GIB = 2**30


def ready(batch: int, per_sample: int = 8 * GIB) -> Any:
    """Return a session whose samples take so many bytes."""
    trainer = SimpleNamespace(
        batch=batch,
        memory=lambda samples: samples * per_sample,
        facts=lambda: {"tile": [5, 128, 128]},
    )
    return SimpleNamespace(trainer=trainer, device="cpu")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: not enough memory"),
    ],
)
def test_the_patch_that_fits_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the memory holds half of each side."""
    monkeypatch.setattr(devices, "free_memory", lambda device: 2 * GIB)
    found = no_memory(error, ready(1), 1, World())
    assert isinstance(found, DeviceError)
    assert "about 8.0 GiB; a patch that fits is about --patch 5,64,64" in str(found)


def test_a_batch_is_taken_in_parts_before_patches_shrink() -> None:
    """It gives the same gradients."""
    found = no_memory(MemoryError(), ready(4), 1, World())
    assert "step of 4 sample(s), which takes about 32.0 GiB; use --accumulate 2" in str(found)
    found = no_memory(MemoryError(), ready(4), 1, World(0, 4))
    assert "step of 1 sample(s)" in str(found)


def test_other_errors_stay_what_they_are() -> None:
    """A bug of a network is no lack of memory."""
    assert no_memory(RuntimeError("shapes do not match"), ready(1), 1, World()) is None


def test_validations_are_never_too_far_apart() -> None:
    """An epoch, but no more than a thousand steps; or what is asked for."""
    for epoch, asked, expected in ((540, None, 540), (70_000, None, 1000), (70_000, 5000, 5000)):
        request: Any = SimpleNamespace(
            schedule=ScheduleOptions(validate_every=asked),
            saving=SavingOptions(checkpoint_steps=asked),
            compute=TrainComputeOptions(),
        )
        made = make_schedule(request, SimpleNamespace(steps_per_epoch=epoch, num_epochs=2))  # type: ignore[arg-type]
        assert (made.validate_every, made.checkpoint_steps) == (expected, expected)
        assert made.steps == 2 * epoch
