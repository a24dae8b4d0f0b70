"""Batches: the same for any number of workers and devices; nothing is left when they are closed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit.training.samplers import (
    BrokenSampler,
    CountingSampler,
    PlainSampler,
    SlowSampler,
)

from vemctl.errors import InputError, MissingExtraError, OptionError, TrainingError
from vemctl.restoring import VolumeFacts
from vemctl.sampling import Sampler, TrainingData
from vemctl.training.decoded import DecodedPatches, decode_all
from vemctl.training.loader import ValidationSamples, batches
from vemctl.training.patches import VolumePatches, open_data, split

Steps = list[list[dict[str, torch.Tensor]]]


@pytest.fixture
def patches(noisy_path: Path) -> Iterator[VolumePatches]:
    """Return all of a small volume."""
    training, _ = split(open_data(TrainingData({"noisy": (noisy_path,)})), PlainSampler(), 0)
    yield training
    training.close()


def drawn(patches: Any, sampler: Sampler | None = None, **options: Any) -> Steps:
    """Draw all batches of a few steps."""
    options = {"seed": 3, "batch": 4, "last_step": 5, **options}
    with closing(batches(sampler or PlainSampler(), patches, **options)) as coming:
        return list(coming)


def equal(one: Steps, other: Steps) -> bool:
    """Compare batches, order and all."""
    return len(one) == len(other) and all(
        len(a) == len(b)
        and all(x.keys() == y.keys() for x, y in zip(a, b, strict=True))
        and all(torch.equal(x[key], y[key]) for x, y in zip(a, b, strict=True) for key in x)
        for a, b in zip(one, other, strict=True)
    )


def places(step: Sequence[dict[str, torch.Tensor]]) -> list[list[int]]:
    """Return where the samples of a step come from."""
    return [place for part in step for place in part["place"].tolist()]


def worker_processes() -> list[int]:
    """Return the processes of this one's loaders that live."""
    return [process.pid for process in multiprocessing.active_children() if process.pid]


def gone(pid: int, seconds: float = 10) -> bool:
    """Wait for a process to end."""
    until = time.monotonic() + seconds
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.02)


def test_samples_depend_on_seed_step_and_number_alone(patches: VolumePatches):
    """Each is what the sampler draws with a generator of its own."""
    steps = drawn(patches)
    assert [len(step) for step in steps] == [1] * 5
    for s, (part,) in enumerate(steps):
        for k in range(4):
            expected = PlainSampler().draw(patches, np.random.default_rng([3, s, k]), 0)
            assert np.array_equal(part["image"][k].numpy(), expected["image"].astype("f4"))
            assert part["place"][k].tolist() == expected["place"].tolist()
    assert part["image"].dtype == torch.float32
    assert part["image"].is_contiguous()
    assert part["place"].dtype == torch.int64
    assert not equal(steps, drawn(patches, seed=4))


@given(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]), st.integers(1, 2), st.integers(0, 5))
def test_devices_and_micro_batches_divide_a_batch(world_size, accumulate, size, first):
    """Sample k is for device k modulo their number, in order, wherever the training begins."""
    facts = (VolumeFacts((20, 40, 36), "uint16"),)
    memory = _InMemory(facts)
    batch = world_size * accumulate * size
    whole = drawn(memory, batch=batch)
    for rank in range(world_size):
        steps = drawn(
            memory,
            batch=batch,
            accumulate=accumulate,
            rank=rank,
            world_size=world_size,
            first_step=first,
        )
        assert len(steps) == 5 - first
        for step, expected in zip(steps, whole[first:], strict=True):
            assert [len(part["place"]) for part in step] == [size] * accumulate
            assert places(step) == places(expected)[rank::world_size]


class _InMemory(DecodedPatches):
    """Numbers that are made when they are read."""

    def __init__(self, facts: Sequence[VolumeFacts]) -> None:
        super().__init__({"noisy": facts}, {})

    def read(self, role: str, index: int, corner: Any, size: Any):
        """Return the sum of the corner's coordinates."""
        return np.full(size, sum(corner), "uint16")


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_draws_the_same(patches: VolumePatches, workers: int):
    """And leaves torch's own random numbers alone."""
    state = torch.random.get_rng_state()
    options = {"batch": 6, "accumulate": 3, "last_step": 7}
    assert equal(drawn(patches, workers=workers, **options), drawn(patches, **options))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert worker_processes() == []


def test_workers_continue_where_a_training_stopped(patches: VolumePatches):
    """On one of two devices, from shared files."""
    options = {"batch": 8, "accumulate": 2, "rank": 1, "world_size": 2}
    assert equal(drawn(patches, workers=2, first_step=3, **options), drawn(patches, **options)[3:])


def test_workers_share_what_was_decoded(patches: VolumePatches, tmp_path: Path):
    """The volumes are not needed any more."""
    expected = drawn(patches)
    whole = decode_all(patches, tmp_path)
    assert equal(drawn(whole, workers=2), expected)


def test_there_need_be_no_last_step(patches: VolumePatches):
    """Where only time limits a training."""
    with closing(batches(PlainSampler(), patches, seed=3, batch=4)) as coming:
        taken = [next(coming) for _ in range(5)]
    assert equal(taken, drawn(patches))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("input", InputError, "v.zarr: a chunk is damaged; copy it again"),
        (
            "extra",
            MissingExtraError,
            "reading this needs an optional package: pip install 'vemctl[codecs]'",
        ),
    ],
)
def test_errors_of_workers_are_their_own(patches: VolumePatches, workers, how, kind, text):
    """Of the same type and text, with nothing added, attributes too."""
    with pytest.raises(kind) as caught:
        drawn(patches, BrokenSampler(how=how), last_step=50, workers=workers)
    assert str(caught.value) == text
    assert type(caught.value) is kind
    if how == "extra":
        assert caught.value.extra == "codecs"
    assert worker_processes() == []


def test_bugs_in_workers_keep_their_traceback(patches: VolumePatches):
    """They are for those who mend the sampler."""
    with pytest.raises(KeyError, match=r"(?s)in draw.*no such thing"):
        drawn(patches, BrokenSampler(how="bug"), last_step=50, workers=1)


def test_a_killed_worker_is_told(patches: VolumePatches):
    """In one line, and the others end."""
    with pytest.raises(TrainingError, match=r"killed by signal 9: .*--workers") as caught:
        drawn(patches, BrokenSampler(how="kill"), last_step=50, workers=2)
    assert "\n" not in str(caught.value)
    assert worker_processes() == []


@pytest.mark.parametrize("ending", ["close", "drop"])
def test_closing_early_ends_the_workers_at_once(patches: VolumePatches, ending: str):
    """In the middle of a batch that takes seconds."""
    coming = batches(SlowSampler(), patches, seed=0, batch=40, workers=2)
    next(coming)
    pids = worker_processes()
    assert len(pids) == 2
    began = time.monotonic()
    if ending == "close":
        coming.close()
    del coming
    assert time.monotonic() - began < 1.5
    assert all(gone(pid, 0) for pid in pids)


PROGRAM = """
import os, signal, sys
from pathlib import Path
from unit.training.samplers import SlowSampler
from vemctl.sampling import TrainingData
from vemctl.training.loader import batches
from vemctl.training.patches import open_data, split

def main():
    data = open_data(TrainingData({"noisy": (Path(sys.argv[1]),)}))
    training, _ = split(data, SlowSampler(), 0)
    coming = batches(SlowSampler(), training, seed=0, batch=2, workers=2)
    next(coming)
    print(*(p.pid for p in __import__("multiprocessing").active_children()), flush=True)
    if sys.argv[2] == "exit":
        return coming
    for step in coming:
        pass

if __name__ == "__main__":
    kept = main()
"""


def test_workers_end_with_their_process(noisy_path: Path, tmp_path: Path):
    """However it ends, they do not stay behind; nor does it wait for them."""
    (tmp_path / "program.py").write_text(PROGRAM)
    root = Path(__file__).parents[3]
    ends = {"exit": 0, "SIGTERM": -signal.SIGTERM}
    with ExitStack() as stack:
        processes = {
            end: stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(tmp_path / "program.py"), str(noisy_path), end],
                    stdout=subprocess.PIPE,
                    env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
                )
            )
            for end in ends
        }
        for end, process in processes.items():
            assert process.stdout is not None
            pids = [int(word) for word in process.stdout.readline().split()]
            assert len(pids) == 2
            if end != "exit":
                os.kill(process.pid, signal.Signals[end])
            assert process.wait(20) == ends[end]
            assert all(gone(pid) for pid in pids)


def test_workers_leave_signals_to_the_main_process(patches: VolumePatches):
    """Ctrl-C and a cluster's SIGTERM reach all processes; the main one saves before it ends."""
    coming = batches(PlainSampler(), patches, seed=3, batch=4, last_step=5, workers=2)
    taken = [next(coming)]
    for pid in worker_processes():
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    assert equal([*taken, *coming], drawn(patches))


@pytest.mark.parametrize("options", [{"batch": 6, "world_size": 4}, {"batch": 0}])
def test_a_batch_that_cannot_be_divided_is_refused(patches: VolumePatches, options):
    """At once, not with the first batch."""
    with pytest.raises(OptionError, match=r"--batch .*--devices .*--accumulate"):
        batches(PlainSampler(), patches, seed=0, accumulate=1, **options)


@pytest.mark.parametrize("kept_bytes", [0, 4 * 1000, 2**30])
def test_samples_to_validate_on_are_the_same_every_time(patches: VolumePatches, kept_bytes: int):
    """Kept or not, and even if somebody writes into them."""
    samples = ValidationSamples(PlainSampler(), patches, seed=3, count=6, kept_bytes=kept_bytes)
    first = []
    for sample in samples:
        first.append({name: tensor.clone() for name, tensor in sample.items()})
        sample["image"].zero_()
    assert len(first) == len(samples) == 6
    assert first[0]["image"].shape == (1, 1, 3, 8, 8)
    assert len({tuple(sample["place"][0].tolist()) for sample in first}) > 1
    assert equal([list(samples)], [first])
    sizes = [sum(t.nbytes for t in sample.values()) for sample in samples._kept.values()]
    assert len(sizes) == min(6, kept_bytes // 800)


@pytest.mark.parametrize("world_size", [1, 2])
def test_samples_are_numbered_through_the_training(patches: VolumePatches, world_size: int):
    """Whatever device draws them, and wherever a training continues."""
    numbers = {
        number
        for rank in range(world_size)
        for step in drawn(patches, CountingSampler(), first_step=2, last_step=5,
                          rank=rank, world_size=world_size, accumulate=2)
        for part in step
        for number in part["number"].flatten().tolist()
    }  # fmt: skip
    assert numbers == set(range(8, 20))
    judged = ValidationSamples(CountingSampler(), patches, seed=1, count=3)
    assert [int(sample["number"]) for sample in judged] == [0, 1, 2]
