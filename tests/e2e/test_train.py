"""Training from the shell: runs, interruptions, several processes, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from e2e.conftest import Run, Start, digests
from vemctl import registry
from vemctl.__main__ import main

TINY = Path(__file__).parents[1] / "assets" / "vemctl-tiny"
FACTS = "Metadata-Version: 2.1\nName: vemctl-tiny\nVersion: 0.1.0\n"


def install(folder: Path) -> dict[str, str]:
    """Make the method tiny look installed, and return what a process needs to find it."""
    facts = folder / "site" / "vemctl_tiny-0.1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(FACTS)
    (facts / "entry_points.txt").write_text("[vemctl.methods]\ntiny = vemctl_tiny:METHOD\n")
    path = os.pathsep.join([str(facts.parent), str(TINY)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Install the method tiny beside the test's files."""
    return install(tmp_path)


@pytest.fixture
def vemctl(environment: dict[str, str], start: Start) -> Run:
    """Return a function that runs vemctl in a process of its own."""

    def run(*words: object, **changed: str) -> subprocess.CompletedProcess[str]:
        process = start(*words, **environment | changed)
        out, err = process.communicate()
        return subprocess.CompletedProcess([], process.returncode, out, err)

    return run


def write_volumes(folder: Path) -> None:
    """Write a volume, what it should become, and others of different shapes."""
    rng = np.random.default_rng(3)
    truth = gaussian_filter(rng.uniform(-2000, 2000, (12, 30, 28)), 2) + 128
    noisy = np.clip(truth + rng.normal(0, 20, truth.shape), 0, 255)
    np.save(folder / "truth.npy", truth.astype(np.uint8))
    np.save(folder / "noisy.npy", noisy.astype(np.uint8))
    np.save(folder / "small.npy", truth[:, :20].astype(np.uint8))
    np.save(folder / "thin.npy", truth[:2].astype(np.uint8))
    np.save(folder / "constant.npy", np.full((12, 30, 28), 7, np.uint8))


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path) -> None:
    """Write the volumes of a test."""
    write_volumes(tmp_path)


TRAIN = ("train", "tiny", "noisy.npy", "--target", "truth.npy", "--log-every", "4")


def enter(folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process work in `folder` and know what is installed in `environment`."""
    for place in reversed(environment["PYTHONPATH"].split(os.pathsep)):
        monkeypatch.syspath_prepend(place)
    monkeypatch.chdir(folder)
    registry.method_entry_points.cache_clear()


@pytest.fixture
def here(
    here: Run, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Return a function that runs vemctl in this process, which is quicker."""
    enter(tmp_path, environment, monkeypatch)
    yield here
    registry.method_entry_points.cache_clear()


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error of a run that the user can mend."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def same_run(first: Path, second: Path) -> None:
    """Compare what two trainings found and learned, byte by byte."""
    assert (first / "metrics.csv").read_text() == (second / "metrics.csv").read_text()
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = first / "checkpoints" / name, second / "checkpoints" / name
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_a_run_is_trained_recorded_and_used(here: Run, tmp_path: Path) -> None:
    """Loss falls; metrics, previews, checkpoints, log and record are there; predict takes it."""
    done = here(*TRAIN, "-o", "runs/a", "--steps", "160")
    assert done.returncode == 0, done.stderr
    assert "validation at step 10" in done.stderr
    run = tmp_path / "runs" / "a"
    lines = (run / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,mse,lr_adam,val_mse"
    losses = [float(line.split(",")[1]) for line in lines[1:]]
    assert losses[-1] < losses[0] / 2
    assert [line.split(",")[0] for line in lines[1:4]] == ["4", "8", "10"]
    assert len(list((run / "previews").glob("*.png"))) == 16
    recorded = json.loads((run / "run.json").read_text())
    assert recorded["method"] == "tiny"
    assert recorded["default_weights"] == "best"
    assert recorded["data"]["volumes"]["noisy"][0]["shape"] == [12, 30, 28]
    assert "step 160/160" in (run / "log.txt").read_text()
    for asked in ("runs/a", "runs/a@last", "runs/a@best"):
        out = f"{asked.replace('/', '-')}.npy"
        done = here("predict", "tiny", "noisy.npy", out, "-w", asked)
        assert done.returncode == 0, done.stderr
    before, after, truth = (
        np.load(tmp_path / name).astype(float) for name in ("noisy.npy", "runs-a.npy", "truth.npy")
    )
    assert np.mean((after - truth) ** 2) < np.mean((before - truth) ** 2)


def test_what_was_gained_is_told_once(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table, or in the last line of JSON, and not at all where only errors are wanted."""
    from vemctl_tiny.trainer import TinyTrainer

    short = (*TRAIN, "--steps", "4", "--validate-every", "2")
    assert here(*short, "-o", "plain").stdout == ""
    monkeypatch.setattr(TinyTrainer, "judge_first", True, raising=False)
    table = here(*short, "-o", "table").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["before", "val_mse"]
    assert here(*short, "-o", "quiet", "-q").stdout == ""
    events = [json.loads(line) for line in here(*short, "-o", "j", "--json").stdout.splitlines()]
    assert [event["event"] for event in events].count("finished") == 1
    assert events[-1]["event"] == "finished"
    before, after = events[-1]["gained"]["val_mse"]
    found = {e["step"]: e["metrics"]["val_mse"] for e in events if e["event"] == "validation"}
    step = min(found, key=lambda each: found[each])
    assert (before, after) == (found[0], found[step])
    assert table[0].endswith(f"after step {step}")
    assert table[1].split()[1:] == [f"{before:.4g}", f"{after:.4g}"]
    assert here(*short, "-o", "j", "--json", "-q", "--resume").returncode == 0


def test_batches_depend_on_nothing_but_the_seed(vemctl: Run, here: Run, tmp_path: Path) -> None:
    """Worker processes, a decoded cache, or the way of counting: the same bytes; a seed is not."""
    assert here(*TRAIN, "-o", "a", "--steps", "20").returncode == 0
    assert vemctl(*TRAIN, "-o", "b", "--epochs", "2", "--workers", "2").returncode == 0
    assert here(*TRAIN, "-o", "c", "--steps", "20", "--cache", "all").returncode == 0
    same_run(tmp_path / "a", tmp_path / "b")
    same_run(tmp_path / "a", tmp_path / "c")
    assert here(*TRAIN, "-o", "d", "--steps", "20", "--seed", "1").returncode == 0
    assert (tmp_path / "a/metrics.csv").read_text() != (tmp_path / "d/metrics.csv").read_text()


def test_a_stopped_run_continues_as_if_it_had_not_been(here: Run, tmp_path: Path) -> None:
    """Stopped by its budget at an odd step, then continued: the same rows and weights."""
    assert here(*TRAIN, "-o", "whole", "--steps", "30").returncode == 0
    assert here(*TRAIN, "-o", "parts", "--steps", "13", "--validate-every", "10").returncode == 0
    longer = here(*TRAIN, "-o", "parts", "--steps", "30", "--resume")
    assert "validate_every" in one_line(longer)
    done = here(*TRAIN, "-o", "parts", "--steps", "30", "--resume", "--validate-every", "10")
    assert done.returncode == 0, done.stderr
    assert "continuing after step 13" in done.stderr
    rows = (tmp_path / "parts/metrics.csv").read_text().splitlines()
    whole = (tmp_path / "whole/metrics.csv").read_text().splitlines()
    assert [row for row in rows if row in whole] == [
        row for row in whole if row.split(",")[0] != "16"
    ]  # the row at 13, the end of the first part, took the losses up to there
    ours, theirs = (
        tmp_path / name / "checkpoints" / "last.safetensors" for name in ("parts", "whole")
    )
    assert ours.read_bytes() == theirs.read_bytes()


LONG = (*TRAIN, "--steps", "40", "--checkpoint-steps", "5", "--validate-every", "8")
SLOWED = """
import sys, time
from vemctl_tiny.trainer import TinyTrainer
step, steps = TinyTrainer.step, iter(range(100))
def slowly(*given):
    if next(steps) > 5:
        time.sleep(0.2)
    return step(*given)
TinyTrainer.step = slowly
sys.argv[1:] = {words}
from vemctl.__main__ import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that nothing stopped, trained once for all that are compared with it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_volumes(folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(folder, install(folder), monkeypatch)
        assert main([*LONG, "-o", "whole", "-q"]) == 0
    registry.method_entry_points.cache_clear()
    return folder / "whole"


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_costs_nothing(
    kind: signal.Signals,
    uninterrupted: Path,
    here: Run,
    fork: Start,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """Killed, or asked to stop: --resume gives the very files of an uninterrupted run."""
    process = fork(SLOWED.format(words=[*LONG, "-o", "parts"]), **environment)
    checkpoints = tmp_path / "parts" / "checkpoints"
    while not list(checkpoints.glob("step-*.pt")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(kind)
    _, errors = process.communicate(timeout=60)
    if kind == signal.SIGKILL:
        assert process.returncode == -kind
    else:
        assert process.returncode == 130, errors
        assert "continue with: vemctl train tiny noisy.npy" in errors
        assert "--resume" in errors
    done = here(*LONG, "-o", "parts", "--resume")
    assert done.returncode == 0, done.stderr
    same_run(uninterrupted, tmp_path / "parts")


def test_several_processes_learn_what_one_does(vemctl: Run, here: Run, tmp_path: Path) -> None:
    """Two processes share the batch of one, or one takes it in parts: the same gradients."""
    words = (*TRAIN, "--steps", "10", "-b", "4", "--dropout", "0")
    for name, run, more in (
        ("one", here, ()),
        ("parts", here, ("--accumulate", "2")),
        ("both", vemctl, ("--devices", "2", "--accumulate", "2")),
    ):
        done = run(*words, "-o", name, *more)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("wrote") == 1
    from safetensors.torch import load_file

    expected = load_file(tmp_path / "one" / "checkpoints" / "last.safetensors")
    for name in ("parts", "both"):
        found = load_file(tmp_path / name / "checkpoints" / "last.safetensors")
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
    line = one_line(here(*TRAIN, "--steps", "4", "-b", "3", "--devices", "2", "-o", "odd"))
    assert "--batch" in line


def test_several_processes_stop_together_and_say_so_once(
    environment: dict[str, str], here: Run, start: Start, tmp_path: Path
) -> None:
    """The signal goes to the one that started them; nobody is left behind.

    That one turns SIGUSR1 into a SIGTERM to itself, so both are tried.
    """
    words = (*TRAIN, "--steps", "100000", "-b", "2", "--devices", "2", "-o", "run")
    process = start(*words, **environment)
    metrics = tmp_path / "run" / "metrics.csv"
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.count("stopped after step") == 1
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    (state,) = (tmp_path / "run" / "checkpoints").glob("*.pt")
    step = int(state.stem.removeprefix("step-"))
    longer = (*TRAIN, "--steps", str(step + 5), "-b", "2", "-o", "run")
    done = here(*longer, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"continuing after step {step}" in done.stderr


def test_torchrun_is_understood(environment: dict[str, str], tmp_path: Path, vemctl: Run) -> None:
    """As clusters start it, with one process per device."""
    words = (*TRAIN, "--steps", "6", "-b", "2", "-o", "run")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "vemctl", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()


def test_finetuning_starts_from_weights(here: Run, tmp_path: Path) -> None:
    """Of a run, by their name, and the run tells which."""
    assert here(*TRAIN, "-o", "a", "--steps", "20").returncode == 0
    words = ("finetune", *TRAIN[1:], "-o", "b", "--steps", "10", "-w", "a@last")
    done = here(*words)
    assert done.returncode == 0, done.stderr
    recorded = json.loads((tmp_path / "b" / "run.json").read_text())
    assert recorded["data"]["weights"][0]["path"] == "a@last"
    first, second = (
        float((tmp_path / name / "metrics.csv").read_text().splitlines()[1].split(",")[1])
        for name in ("a", "b")
    )
    assert second < first / 2
    assert "needs weights, and none are published" in one_line(here(*words[:-2], "-o", "c"))


def test_events_are_json_lines_and_a_plan_writes_nothing(here: Run, tmp_path: Path) -> None:
    """For pipelines."""
    done = here(*TRAIN, "-o", "a", "--steps", "8", "--json", "-q")
    assert done.stderr == ""
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds == ["steps", "steps", "validation", "checkpoint", "finished"]
    plan = here(*TRAIN, "-o", "p", "--dry-run", "--json")
    facts = json.loads(plan.stdout)
    assert facts["parameters"] == {"network": 10}
    assert facts["steps"] == 30
    assert facts["patch"] == [2, 12, 12]
    assert not (tmp_path / "p").exists()
    short = here(*TRAIN, "-o", "p", "--dry-run", "--json", "--steps", "1", "--devices", "2")
    assert json.loads(short.stdout)["samples_at_once"] == 1
    assert "--resume" in one_line(here(*TRAIN, "-o", "a", "--dry-run"))


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("noisy.npy",), "name each target by --target"),
        (("noisy.npy", "--target", "small.npy"), "different shape"),
        (("absent.npy", "--target", "truth.npy"), "absent.npy"),
        (("thin.npy", "--target", "thin.npy"), "--validation-fraction 0"),
        (("noisy.npy", "--target", "truth.npy", "--patch", "2,64,64"), "--patch"),
        (("constant.npy", "--target", "truth.npy"), "every voxel is 7"),
        (("noisy.npy", "--target", "truth.npy", "--steps", "3", "--epochs", "2"), "one of them"),
        (("noisy.npy", "--target", "truth.npy", "--device", "cuda:9"), "--device cuda:9"),
        (("noisy.npy", "--target", "truth.npy", "--resume"), "no run to resume"),
        (("noisy.npy", "--target", "truth.npy", "-b", "3", "--accumulate", "2"), "multiple of 2"),
        (
            ("noisy.npy", "--target", "truth.npy", "--patience", "1", "--validation-fraction", "0"),
            "nothing is kept for validation",
        ),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...], cure: str, here: Run, tmp_path: Path
) -> None:
    """And no folder is left behind."""
    assert cure in one_line(here("train", "tiny", *words, "-o", "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten_and_not_mixed_up(here: Run, tmp_path: Path) -> None:
    """Another name, the same settings, or leave to change them."""
    assert here(*TRAIN, "-o", "a", "--steps", "4").returncode == 0
    before = digests(tmp_path / "a")
    assert "--resume" in one_line(here(*TRAIN, "-o", "a", "--steps", "4"))
    changed = (*TRAIN, "-o", "a", "--steps", "8", "--resume", "--learning-rate", "0.01")
    line = one_line(here(*changed))
    assert "learning_rate: recorded 0.05, now 0.01" in line
    other = ("train", "denoise", "--self-supervised", "noisy.npy", "-o", "a", "--resume",
             "--patch", "2,12,12")  # fmt: skip
    assert "a run of tiny, not of denoise" in one_line(here(*other))
    assert digests(tmp_path / "a") == before
    assert here(*changed, "--allow-changes").returncode == 0
    (change,) = json.loads((tmp_path / "a" / "run.json").read_text())["changes"]
    assert change == {
        "step": 4, "what": "options.method.learning_rate", "from": 0.05, "to": 0.01
    }  # fmt: skip
    assert "--out is missing" in one_line(here(*TRAIN))


def test_a_loss_that_is_no_number_stops_the_training(here: Run, tmp_path: Path) -> None:
    """The line says which and when, and the checkpoint from before stays."""
    words = (*TRAIN, "-o", "a", "--checkpoint-steps", "2", "--log-every", "2")
    assert here(*words, "--steps", "2").returncode == 0
    line = one_line(here(*words, "--steps", "40", "--resume", "--allow-changes",
                           "--learning-rate", "1e30"))  # fmt: skip
    assert "the loss mse became" in line
    assert "is from before" in line
    kept = sorted(path.name for path in (tmp_path / "a" / "checkpoints").glob("*.pt"))
    assert torch.load(tmp_path / "a/checkpoints" / kept[-1], weights_only=True)["step"] >= 2
    assert list((tmp_path / "a").rglob("*.partial")) == []
