"""Checkpoints: whatever happens, there is a whole one to continue from, and whole weights."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vemctl import durable
from vemctl.errors import MethodError, OutputError, ResumeError, VemctlError
from vemctl.events import Noted
from vemctl.nn.own_weights import read_own_weights
from vemctl.training.checkpoints import Checkpoints

FACTS = {"method": "probe", "network": {"depth": 3}}


def weights(step: int) -> dict[str, torch.Tensor]:
    return {"layer.weight": torch.full((4, 5), float(step))}


def state(step: int) -> dict[str, Any]:
    return {"network": weights(step), "progress": {"step": step}}


def save(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        checkpoints.save(step, state(step), weights(step), FACTS)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def last(run: Path, name: str = "last") -> int:
    """Return of which step the weights are, of which their facts must be as well."""
    tensors, facts = read_own_weights(run / "checkpoints" / f"{name}.safetensors")
    step = int(tensors["layer.weight"][0, 0])
    assert torch.equal(tensors["layer.weight"], weights(step)["layer.weight"])
    assert facts["step"] == step
    return step


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Tensors of every kind and plain values come back equal, with their types."""
    everything = {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]},
        "half": torch.arange(3).to(torch.bfloat16),
        "random": torch.get_rng_state(),
        "numpy": np.random.default_rng(0).bit_generator.state,
        "ordered": OrderedDict(a=1),
        "milestones": Counter([3, 3, 5]),
        "plain": [None, True, -1, 2**100, 0.1, math.inf, "ü", b"\x00\xff", (1, (2,))],
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    path = Checkpoints(tmp_path, 3).save(7, everything, weights(7), FACTS)
    assert path.name == "step-00000007.pt"
    checkpoints = Checkpoints(tmp_path, 3)
    assert checkpoints.newest() == (7, path)
    loaded = checkpoints.load(path)
    assert list(loaded) == list(everything)
    for name in ("numpy", "ordered", "milestones", "plain"):
        assert loaded[name] == everything[name]
        assert type(loaded[name]) is type(everything[name])
    for name in ("half", "random", "parameter"):
        assert torch.equal(loaded[name], everything[name])
        assert loaded[name].dtype == everything[name].dtype
    assert loaded["optimizer"]["param_groups"] == [{"lr": 1e-4}]
    assert loaded["optimizer"]["state"][0]["step"] == 3


def test_the_last_weights_are_those_of_the_step(tmp_path: Path) -> None:
    """Their facts are those given, and the step."""
    checkpoints = Checkpoints(tmp_path, 3)
    save(checkpoints, 10, 20)
    assert last(tmp_path) == 20
    _, facts = read_own_weights(tmp_path / "checkpoints" / "last.safetensors")
    assert facts == {**FACTS, "step": 20}


@pytest.mark.parametrize("keep", [0, 1, 2, 3])
def test_the_newest_few_are_kept(tmp_path: Path, keep: int) -> None:
    """At least one, by number and not by name; files of others stay."""
    checkpoints = Checkpoints(tmp_path, keep)
    other = tmp_path / "checkpoints" / "step-mine.pt"
    other.touch()
    save(checkpoints, 9, 99_999_999, 100_000_000, 100_000_001)
    states = [name for name in names(tmp_path) if name not in (other.name, "last.safetensors")]
    assert len(states) == max(1, keep)
    assert "step-100000001.pt" in states
    assert other.exists()


def test_a_history_that_was_left_is_removed(tmp_path: Path) -> None:
    """Who goes back to an earlier step does not later continue from what came after it."""
    checkpoints = Checkpoints(tmp_path, 3)
    save(checkpoints, 10, 20, 30)
    checkpoints.load(tmp_path / "checkpoints" / "step-00000010.pt")
    save(checkpoints, 15)
    assert checkpoints.newest() == (15, tmp_path / "checkpoints" / "step-00000015.pt")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.index(np.full(4, 30, np.float32).tobytes())
    data[place + 5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [cut, flip, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(bytes(5000))],
)
def test_a_damaged_state_is_passed_over_with_a_note(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """The one before is found; loading the damaged one is one line; the next save removes it."""
    told: list[Any] = []
    checkpoints = Checkpoints(tmp_path, 1, told.append)
    save(checkpoints, 20)
    kept = (tmp_path / "checkpoints" / "step-00000020.pt").read_bytes()
    save(checkpoints, 30)
    (tmp_path / "checkpoints" / "step-00000020.pt").write_bytes(kept)
    broken = tmp_path / "checkpoints" / "step-00000030.pt"
    damage(broken)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest[0] == 20
    (note,) = told
    assert isinstance(note, Noted)
    assert note.level == "warning"
    assert str(broken) in note.text
    with pytest.raises(ResumeError, match="damaged checkpoint") as raised:
        checkpoints.load(broken)
    assert "\n" not in str(raised.value)
    checkpoints.load(newest[1])
    save(checkpoints, 25)
    assert names(tmp_path) == ["last.safetensors", "step-00000025.pt"]


def test_without_a_whole_state_there_is_none(tmp_path: Path) -> None:
    """A new run, or one in which all are damaged."""
    checkpoints = Checkpoints(tmp_path, 1)
    assert checkpoints.newest() is None
    (tmp_path / "checkpoints" / "step-00000001.pt").touch()
    assert checkpoints.newest() is None


@pytest.mark.parametrize("content", [[1], {"state": {}}, {"format": 2, "state": {}}, torch.ones(2)])
def test_what_is_no_state_of_ours_is_one_line(tmp_path: Path, content: Any) -> None:
    """A file that torch reads need not be a checkpoint of vemctl."""
    path = tmp_path / "step-00000001.pt"
    torch.save(content, path)
    with pytest.raises(ResumeError) as raised:
        Checkpoints(tmp_path, 1).load(path)
    assert "\n" not in str(raised.value)


def test_loading_runs_no_code(tmp_path: Path) -> None:
    """A state from a stranger is not believed."""
    path = tmp_path / "step-00000001.pt"
    torch.save({"format": 1, "step": 1, "state": {"x": Path("x")}}, path)
    with pytest.raises(ResumeError, match="damaged checkpoint"):
        Checkpoints(tmp_path, 1).load(path)


@pytest.mark.parametrize("value", [np.float64(1), np.ones(2), {1}, Path("x"), 1j, signal.SIGINT])
def test_a_state_that_could_not_be_loaded_is_not_saved(tmp_path: Path, value: Any) -> None:
    """Found at the first checkpoint, not when the run is resumed; the place is named."""
    checkpoints = Checkpoints(tmp_path, 1)
    with pytest.raises(MethodError, match=r"at state\.optimizer\.1\.rate") as raised:
        checkpoints.save(1, {"optimizer": [{}, {"rate": value}]}, weights(1), FACTS)
    assert type(value).__name__ in str(raised.value)
    assert names(tmp_path) == []


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    """Only temporaries."""
    checkpoints = Checkpoints(tmp_path, 1)
    save(checkpoints, 1)
    before = names(tmp_path)
    for name in ("step-00000002.pt.0a.partial", "last.safetensors.0b.partial"):
        (tmp_path / "checkpoints" / name).write_bytes(b"half")
    Checkpoints(tmp_path, 1)
    assert names(tmp_path) == before


@pytest.mark.parametrize("step", ["sync_file", "sync_folder", "torch.save", "save_file", "unlink"])
@pytest.mark.parametrize("when", [0, 1, 2])
def test_whatever_step_of_saving_fails_a_whole_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: int
) -> None:
    """The newest state loads, the last weights are whole, no temporaries are left."""
    checkpoints = Checkpoints(tmp_path, 1)
    save(checkpoints, 10)
    calls = 0

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > when:
                raise OSError(errno.EIO, "Input/output error")
            return real(*arguments, **keywords)

        return call

    import safetensors.torch

    where, name = {
        "torch.save": (torch, "save"),
        "save_file": (safetensors.torch, "save_file"),
        "unlink": (Path, "unlink"),
    }.get(step, (durable, step))
    with monkeypatch.context() as patched:
        patched.setattr(where, name, failing(getattr(where, name)))
        with contextlib.suppress(OutputError):
            checkpoints.save_best(20, weights(20), FACTS)
            save(checkpoints, 20)
    newest = Checkpoints(tmp_path, 1).newest()
    assert newest is not None
    assert newest[0] in (10, 20)
    assert last(tmp_path) in (10, 20)
    assert last(tmp_path) <= newest[0]
    assert checkpoints.load(newest[1])["progress"] == {"step": newest[0]}
    if step != "unlink":
        assert not [name for name in names(tmp_path) if name.endswith(".partial")]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, r"disk full, .* free; the checkpoint of step 10 is intact: make room"),
        (errno.EDQUOT, "quota exceeded; the checkpoint of step 10 is intact: make room"),
        (errno.EROFS, "Read-only file system; the checkpoint of step 10 is intact: mend that"),
    ],
)
def test_a_disk_that_takes_no_more_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """It says that the checkpoint before is intact, and how to continue."""

    def fail(content: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(number, os.strerror(number))

    checkpoints = Checkpoints(tmp_path, 3)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", fail)
        with pytest.raises(OutputError, match="no checkpoint is there yet"):
            save(checkpoints, 10)
    save(checkpoints, 10)
    before = names(tmp_path)
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OutputError, match=words) as raised:
        save(checkpoints, 20)
    assert "--resume" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert names(tmp_path) == before


def test_an_error_that_torch_hides_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch tries to finish a file that could not be written, and complains about that."""

    def fail(content: Any, file: Any) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(complain)
            write(b"half")

    def write(data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def complain() -> None:
        raise RuntimeError("unexpected pos 832 vs 726")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OutputError, match="disk full"):
        save(Checkpoints(tmp_path, 1), 1)


def test_a_bug_is_not_taken_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of torch without a system's error behind them stay what they are."""

    def fail(content: Any, file: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        save(Checkpoints(tmp_path, 1), 1)
    assert names(tmp_path) == []


def test_a_state_without_its_weights_still_says_what_is_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Safetensors tells a full disk in words only; the state was written before."""
    import safetensors.torch
    from safetensors import SafetensorError

    def fail(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    checkpoints = Checkpoints(tmp_path, 1)
    save(checkpoints, 10)
    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OutputError, match=r"disk full, .*the checkpoint of step 20 is intact"):
        save(checkpoints, 20)
    assert last(tmp_path) == 10


def test_weights_that_a_kill_left_behind_are_written_on_resume(tmp_path: Path) -> None:
    """The state came first; whoever continues from it has its weights too."""
    checkpoints = Checkpoints(tmp_path, 2)
    save(checkpoints, 10)
    old = (tmp_path / "checkpoints" / "last.safetensors").read_bytes()
    save(checkpoints, 20)
    new = (tmp_path / "checkpoints" / "last.safetensors").read_bytes()
    for content in (old, new[:-3], b"", None):
        if content is None:
            (tmp_path / "checkpoints" / "last.safetensors").unlink()
        else:
            (tmp_path / "checkpoints" / "last.safetensors").write_bytes(content)
        checkpoints.complete(20, weights(20), FACTS)
        assert (tmp_path / "checkpoints" / "last.safetensors").read_bytes() == new
    time_before = (tmp_path / "checkpoints" / "last.safetensors").stat().st_mtime_ns
    checkpoints.complete(20, weights(20), FACTS)
    assert (tmp_path / "checkpoints" / "last.safetensors").stat().st_mtime_ns == time_before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """For instance one within a file."""
    (tmp_path / "run").touch()
    with pytest.raises(OutputError, match="cannot write") as raised:
        Checkpoints(tmp_path / "run", 1)
    assert "\n" not in str(raised.value)


def test_a_folder_that_cannot_be_read_into_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's reason, and what is still there."""
    checkpoints = Checkpoints(tmp_path, 1)
    save(checkpoints, 10)
    shutil.rmtree(tmp_path / "checkpoints")
    tmp_path.joinpath("checkpoints").touch()
    with pytest.raises(VemctlError) as raised:
        save(checkpoints, 20)
    assert "\n" not in str(raised.value)


WRITER = """
import os, sys
from pathlib import Path
import torch
from vemctl.training.checkpoints import Checkpoints

for _ in sys.stdin:  # torch is imported once; each writer is a copy of this process
    writer = os.fork()
    if not writer:
        break
    os.waitpid(writer, 0)
    print("killed", flush=True)
else:
    sys.exit()
print(os.getpid(), flush=True)
run = Path(sys.argv[1])
checkpoints = Checkpoints(run, 2)
newest = checkpoints.newest()
step = newest[0] if newest else 0
print("ready", flush=True)
if newest:
    state = checkpoints.load(newest[1])
    assert state["progress"] == {"step": step}
    checkpoints.complete(step, state["network"], {})
while True:
    step += 1
    weights = {"layer.weight": torch.full((4, 5), float(step)), "large": torch.zeros(300_000)}
    state = {"network": weights, "progress": {"step": step}}
    checkpoints.save_best(step, weights, {})
    checkpoints.save(step, state, weights, {})
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_time_leaves_whole_files(tmp_path: Path) -> None:
    """Again and again: what was told to be saved is there, or something newer, and loads."""
    chance = random.Random(0)
    told = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(6):
            print("write", file=process.stdin, flush=True)
            writer = int(process.stdout.readline())
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.02, 0.4))
            os.kill(writer, signal.SIGKILL)
            lines = list(iter(process.stdout.readline, "killed\n"))
            told = max([told, *map(int, lines)])
            checkpoints = Checkpoints(tmp_path, 2)
            newest = checkpoints.newest()
            assert newest is not None or told == 0
            if newest is None:
                continue
            assert newest[0] >= told
            assert checkpoints.load(newest[1])["progress"] == {"step": newest[0]}
            if "last.safetensors" in names(tmp_path):  # killed before, the first time
                assert last(tmp_path) in (newest[0] - 1, newest[0])
            else:
                assert newest[0] == 1
            assert last(tmp_path, "best") in (newest[0], newest[0] + 1)
            assert not any(name.endswith(".partial") for name in names(tmp_path))
    assert told > 3


SMALL_DISK = """
import sys
from pathlib import Path
import torch
from vemctl.errors import OutputError
from vemctl.training.checkpoints import Checkpoints

run = Path(sys.argv[1])
checkpoints = Checkpoints(run, 1)
for step, size in ((1, 100), (2, 300_000), (3, 140_000), (4, 100)):
    weights = {"w": torch.zeros(size)}
    try:
        checkpoints.save(step, {"network": weights}, weights, {})
    except OutputError as error:
        print(error)
    found = Checkpoints(run, 1).newest()
    print(found[0], sorted(path.name for path in (run / "checkpoints").iterdir()))
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """With a file system of a megabyte; the state, or the weights alone, do not fit."""
    shell = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'
    unshare = shutil.which("unshare")
    words = [unshare or "", "-Urm", "sh", "-c"]
    probe = [*words, 'mount -t tmpfs -o size=1m none "$1"', "sh", str(tmp_path)]
    if not unshare or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    ran = subprocess.run(
        [*words, shell, "sh", str(tmp_path), sys.executable, SMALL_DISK],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    first, error, second, other, third, fourth = ran.stdout.splitlines()
    assert first == "1 ['last.safetensors', 'step-00000001.pt']"
    assert "step-00000002.pt: disk full" in error
    assert "the checkpoint of step 1 is intact" in error
    assert second == first
    assert "last.safetensors: disk full" in other
    assert "the checkpoint of step 3 is intact" in other
    assert third == "3 ['last.safetensors', 'step-00000001.pt', 'step-00000003.pt']"
    assert fourth == "4 ['last.safetensors', 'step-00000004.pt']"
