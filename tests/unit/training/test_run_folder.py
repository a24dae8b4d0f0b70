"""The folder of a run: made once, continued only by the training that it is of."""

from __future__ import annotations

import copy
import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vemctl import durable
from vemctl.errors import OutputError, ResumeError
from vemctl.events import (
    CheckpointSaved,
    Finished,
    Noted,
    StageAdvanced,
    StageFinished,
    StageStarted,
    StepsDone,
    Validated,
)
from vemctl.training import run_folder
from vemctl.training.checkpoints import Checkpoints
from vemctl.training.log import Log
from vemctl.training.run_folder import create, reopen, run_id
from vemctl.weights.runs import is_run, weights_of_run

FREE = {"workers", "schedule.steps"}
DESCRIPTION: dict[str, Any] = {
    "method": "probe",
    "default_weights": "best",
    "command": "train",
    "options": {
        "schedule": {"steps": 100, "batch": 4},
        "compute": {"workers": 2, "precision": "fp32"},
        "method": {"rate": 0.1, "patch": (1, 64, 64), "steps": 3, "mask": None},
    },
    "data": {"fast": [{"path": "/a.tif", "shape": [4, 5, 6], "sha256": "aa"}]},
    "seed": 0,
    "versions": {"torch": "2.13"},
}


def changed(**values: Any) -> dict[str, Any]:
    """Return the description with other values, such as ``options__compute__workers=3``."""
    description = copy.deepcopy(DESCRIPTION)
    for name, value in values.items():
        *path, key = name.split("__")
        part = description
        for each in path:
            part = part[int(each) if each.isdecimal() else each]
        part[key] = value
    return description


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run that was just made."""
    create(tmp_path / "run", DESCRIPTION)
    return tmp_path / "run"


def recorded(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def test_a_new_run_says_what_it_is_of(run: Path) -> None:
    """run.json has the description and the run's name, and the folder is one of weights."""
    form = recorded(run)
    plain = json.loads(json.dumps(DESCRIPTION))
    assert {key: form[key] for key in plain} == plain
    assert (form["id"], form["changes"]) == (run_id(DESCRIPTION), [])
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "previews", "run.json"]
    assert is_run(run)
    weights = {"w": torch.ones(2)}
    checkpoints = Checkpoints(run, 1)
    checkpoints.save(1, {}, weights, {})
    assert weights_of_run(run, None, "probe") == run / "checkpoints" / "last.safetensors"


def test_the_name_of_a_run_depends_on_its_description_alone() -> None:
    """Twelve hexadecimal digits; neither the order of keys nor tuples matter."""
    name = run_id(DESCRIPTION)
    assert len(name) == 12
    assert int(name, 16) >= 0
    assert name == run_id(dict(reversed(DESCRIPTION.items())))
    assert name == run_id(json.loads(json.dumps(DESCRIPTION)))
    assert name != run_id(changed(seed=1))


@pytest.mark.parametrize("prepare", [lambda path: None, Path.mkdir])
def test_a_folder_that_is_new_or_empty_is_taken(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    """Missing parents are made as well."""
    folder = tmp_path / "runs" / "one"
    folder.parent.mkdir()
    prepare(folder)
    create(folder, DESCRIPTION)
    create(tmp_path / "deep" / "er" / "two", DESCRIPTION)


def test_what_was_killed_while_it_was_made_is_taken(tmp_path: Path) -> None:
    """A folder with a torn run.json alone is as good as empty."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json.0123.partial").write_text("{")
    create(folder, DESCRIPTION)
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("run.json", "--resume, or choose another name"), ("notes.txt", "choose another name")],
)
def test_a_folder_in_use_is_refused(tmp_path: Path, name: str, words: str) -> None:
    """One line with the cure; nothing in it changes."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=words) as raised:
        create(tmp_path, DESCRIPTION)
    assert "\n" not in str(raised.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    """Neither a file nor a folder within a file can be a run."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match="a file; expected a new folder"):
        create(file, DESCRIPTION)
    with pytest.raises(OutputError, match="choose another folder"):
        create(file / "run", DESCRIPTION)


def test_a_parent_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's reason, and another folder as the cure."""

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=r"Permission denied; choose another folder") as raised:
        create(tmp_path / "run", DESCRIPTION)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("step", ["sync_file", "sync_folder"])
def test_a_run_is_made_whole_or_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whatever fails on the way, the next command makes the run or continues it."""

    def fail(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(durable, step, fail)
        with pytest.raises(OutputError, match="No space left"):
            create(folder, DESCRIPTION)
    if (folder / "run.json").exists():
        reopen(folder, DESCRIPTION, free=FREE)
    else:
        create(folder, DESCRIPTION)


def test_the_same_training_goes_on(run: Path) -> None:
    """Nothing is written for it, and what killed writers left is swept."""
    before = (run / "run.json").read_bytes()
    leftover = run / "checkpoints" / "step-00000001.pt.12.partial"
    leftover.touch()
    assert reopen(run, DESCRIPTION, free=FREE) == json.loads(before)
    assert (run / "run.json").read_bytes() == before
    assert not leftover.exists()


def test_parts_that_were_removed_are_made_again(run: Path) -> None:
    """Somebody may have thrown the previews away."""
    (run / "previews").rmdir()
    reopen(run, DESCRIPTION, free=FREE)
    assert (run / "previews").is_dir()


@pytest.mark.parametrize(
    "changes",
    [
        {"options__compute__workers": 8, "options__schedule__steps": 900},
        {"data__fast__0__path": "/elsewhere/a.tif"},
    ],
)
def test_what_decides_nothing_may_change(run: Path, changes: dict[str, Any]) -> None:
    """Free settings, and places of the same data; the newest are recorded."""
    name = recorded(run)["id"]
    form = reopen(run, changed(**changes), free=FREE)
    assert form["changes"] == []
    assert form["id"] == name
    assert recorded(run) == form
    assert form["options"] == json.loads(json.dumps(changed(**changes)["options"]))
    assert form["data"] == changed(**changes)["data"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options__method__rate": 0.2}, "options.method.rate: recorded 0.1, now 0.2"),
        ({"options__method__steps": 4}, "options.method.steps: recorded 3, now 4"),
        ({"options__method__mask": "m"}, 'options.method.mask: recorded nothing, now "m"'),
        (
            {"options__method__patch": [1, 32, 32]},
            "options.method.patch: recorded [1, 64, 64], now [1, 32, 32]",
        ),
        ({"seed": 1}, "seed: recorded 0, now 1"),
        ({"command": "finetune"}, 'command: recorded "train", now "finetune"'),
        ({"data__fast__0__sha256": "bb"}, 'data.fast.0.sha256: recorded "aa", now "bb"'),
        ({"data__fast": []}, "data.fast: recorded 1 entry, now []"),
        ({"data__slow": [{"sha256": "cc"}]}, "data.slow: recorded nothing, now"),
    ],
)
def test_other_settings_are_refused(run: Path, changes: dict[str, Any], words: str) -> None:
    """One line names what differs and both values; the run stays as it is."""
    before = (run / "run.json").read_bytes()
    with pytest.raises(ResumeError, match="cannot resume") as raised:
        reopen(run, changed(**changes), free=FREE)
    assert words in str(raised.value)
    assert "--allow-changes" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (run / "run.json").read_bytes() == before


def test_the_first_three_differences_are_named(run: Path) -> None:
    """More are counted, and long values shortened."""
    other = changed(
        seed=1,
        options__method__rate=1,
        options__method__steps=9,
        options__schedule__batch=2,
        options__method__mask="m" * 200,
    )
    with pytest.raises(ResumeError) as raised:
        reopen(run, other, free=FREE)
    text = str(raised.value)
    assert text.count(": recorded ") == 3
    assert "and 2 more" in text
    assert len(text) < 400 + len(str(run))


def test_allowed_changes_are_recorded_with_their_step(run: Path) -> None:
    """The description is the new one, its history is kept, and the new one goes on freely."""
    checkpoints = Checkpoints(run, 2)
    other = changed(options__method__rate=0.2)
    reopen(run, other, free=FREE, allow_changes=True)
    checkpoints.save(40, {}, {"w": torch.ones(2)}, {})
    again = changed(options__method__rate=0.3, data__fast__0__sha256="bb")
    form = reopen(run, again, free=FREE, allow_changes=True)
    rate, sha = "options.method.rate", "data.fast.0.sha256"
    assert form["changes"] == [
        {"step": 0, "what": rate, "from": 0.1, "to": 0.2},
        {"step": 40, "what": rate, "from": 0.2, "to": 0.3},
        {"step": 40, "what": sha, "from": "aa", "to": "bb"},
    ]
    assert recorded(run) == form == reopen(run, again, free=FREE)
    assert form["id"] == run_id(DESCRIPTION)


def test_other_versions_are_noted_and_need_no_leave(run: Path) -> None:
    """A newer torch is no reason to throw a run away."""
    form = reopen(run, changed(versions__torch="2.14"), free=FREE)
    assert form["changes"] == [{"step": 0, "what": "versions.torch", "from": "2.13", "to": "2.14"}]


def test_another_method_is_refused_in_any_case(run: Path) -> None:
    """No leave makes a run one of another method."""
    with pytest.raises(ResumeError, match="a run of probe, not of other"):
        reopen(run, changed(method="other"), free=FREE, allow_changes=True)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe", b'{"run": 1}', b"null"])
def test_what_is_no_run_is_refused(run: Path, content: bytes | None) -> None:
    """Missing or damaged: one line with the cure."""
    if content is None:
        (run / "run.json").unlink()
    else:
        (run / "run.json").write_bytes(content)
    with pytest.raises(ResumeError, match=r"no run to resume|damaged") as raised:
        reopen(run, DESCRIPTION, free=FREE)
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_not_there_is_no_run(tmp_path: Path) -> None:
    """A mistyped name is answered in one line."""
    with pytest.raises(ResumeError, match="no run to resume there; start one without --resume"):
        reopen(tmp_path / "none", DESCRIPTION, free=FREE)


def test_a_run_of_a_newer_version_is_refused(run: Path) -> None:
    """Its meaning may be another."""
    (run / "run.json").write_text(json.dumps(recorded(run) | {"run": 2}))
    with pytest.raises(ResumeError, match="update vemctl"):
        reopen(run, DESCRIPTION, free=FREE)


def test_a_run_that_became_read_only_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's reason, in one line."""

    def refuse(path: Path, content: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(run_folder, "write_json", refuse)
    with pytest.raises(OutputError, match=r"Read-only file system; mend that"):
        reopen(run, changed(options__compute__workers=1), free=FREE)


def test_the_log_has_a_line_per_event(tmp_path: Path) -> None:
    """With date and time, appended to what was there, in plain text."""
    path = tmp_path / "log.txt"
    path.write_text("before\n")
    log = Log(path, now=lambda: "NOW")
    for event in (
        Noted("a note\nin two lines", "warning"),
        StageStarted("reading", 3),
        StageAdvanced("reading"),
        StageFinished("reading", 1.0),
        StepsDone(20, 100, {"l1": 0.25, "gan": 1e-9}, 0.3, 4.0, 10),
        StepsDone(30, 0, {"l1": 0.25}, 0.3, 0.0, 10),
        Validated(20, {"psnr": 31.2}, is_best=True),
        CheckpointSaved(20, Path("c.pt")),
        Finished(Path("run"), 7.0),
    ):
        log(event)
    log.close()
    log(Noted("too late"))
    assert path.read_text().splitlines() == [
        "before",
        "NOW warning: a note in two lines",
        "NOW reading: 0/3 blocks",
        "NOW reading took 1.0 s",
        "NOW step 20/100: l1 0.25, gan 1e-09, 2.5 steps/s",
        "NOW step 30: l1 0.25",
        "NOW validation at step 20: psnr 31.2, the best",
        "NOW checkpoint of step 20: c.pt",
        "NOW wrote run in 7.0 s",
    ]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """Listeners must not raise."""
    Log(tmp_path / "none" / "log.txt")(Noted("lost"))


def test_the_log_has_date_and_time(tmp_path: Path) -> None:
    """Local time, with its difference from UTC."""
    Log(tmp_path / "log.txt")(Noted("here"))
    assert len((tmp_path / "log.txt").read_text()) == len("2026-01-31 12:00:00+0000 here\n")
