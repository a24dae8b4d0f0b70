"""Tasks on many processes: what fails is tried again, what kills is found out, nobody else is."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from distributed import Client

from vemctl.crew import foreman as crew_foreman
from vemctl.crew import link as crew_link
from vemctl.crew.clusters import local_workers
from vemctl.crew.link import Begun, Died, Ended, Gone, Link, Message, Seen
from vemctl.crew.roster import Roster
from vemctl.crew.tally import Tally
from vemctl.crew.tasks import Failure, Report, carry_out
from vemctl.crew.work import Outcome, Raised
from vemctl.errors import DeviceError, Interrupted, MissingExtraError, OutputError, VemctlError

# Workers need not import pytest and what else this module needs.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass
class Run:
    """A run of a crew and all that its caller heard."""

    client: Client
    work: Callable[[Any, Report], Any]
    fatal: tuple[type[BaseException], ...] = (VemctlError,)
    results: dict[Any, Any] = field(default_factory=dict)
    processes: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    threads: set[int] = field(default_factory=set)
    on_done: Callable[[str], None] = lambda process: None

    def done(self, task: Any, result: Any, process: str) -> None:
        assert task not in self.results
        self.results[task] = result
        self.processes.append(process)
        self.threads.add(threading.get_ident())
        self.on_done(process)

    def __call__(self, tasks: Iterable[Any], **options: Any) -> list[Failure[Any]]:
        return carry_out(
            self.client,
            self.work,
            tasks,
            name=lambda task: f"task {task}",
            done=self.done,
            advanced=self.steps.append,
            note=self.notes.append,
            stop=self.stop,
            fatal=self.fatal,
            **options,
        )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Two workers."""
    folder = tmp_path_factory.mktemp("pair")
    with local_workers(2, threads=1, environments=[{}, {}], folder=folder) as client:
        yield client
    assert not list(folder.iterdir())


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One worker."""
    folder = tmp_path_factory.mktemp("single")
    with local_workers(1, threads=1, environments=[{}], folder=folder) as client:
        yield client


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses before another try, and between looks for workers."""
    monkeypatch.setattr(crew_foreman, "SECONDS_OF_PAUSE", 0.05)
    monkeypatch.setattr(crew_link, "SECONDS_BETWEEN_LOOKS", 0.1)


def double(task: int, report: Report) -> int:
    """Report as much as the task's number, in two steps."""
    report(task)
    report(task)
    return 2 * task


def test_every_task_is_done_once_and_progress_adds_up(pair: Client) -> None:
    """Results, places and progress arrive in the caller's thread; nothing stays in the client."""
    run = Run(pair, double)
    drawn = []

    def tasks() -> Iterator[int]:
        for i in range(300):
            drawn.append(i)
            yield i

    run.on_done = lambda _: ahead.append(len(drawn) - len(run.results))
    ahead: list[int] = []
    assert run(tasks()) == []
    assert run.results == {i: 2 * i for i in range(300)}
    assert sum(run.steps) == 2 * sum(range(300))
    assert min(run.steps) > 0
    assert run.threads == {threading.get_ident()}
    assert len(set(run.processes)) == 2
    assert all(process.rpartition(":")[2].isdigit() for process in run.processes)
    assert max(ahead) <= 41  # two workers' rooms, as many that came together, one looked at
    assert not pair.futures
    assert run.notes == []


def test_no_task_at_all(pair: Client) -> None:
    """Nothing to do is done at once."""
    assert Run(pair, double)([]) == []


@dataclass(frozen=True)
class Sulky:
    """Raises until a task was tried `times` times; leaves a trace of each try."""

    folder: Path
    times: int

    def __call__(self, task: int, report: Report) -> str:
        report(task)
        (self.folder / f"{task}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if task % 5 == 0 and len(list(self.folder.glob(f"{task}-*"))) < self.times:
            raise ValueError(f"task {task}\nis sulky")
        report.note(f"{task} goes well")
        return "good"


def test_what_raises_is_tried_again_elsewhere(pair: Client, tmp_path: Path) -> None:
    """A task may fail twice; in the end all is done and no progress is counted twice."""
    run = Run(pair, Sulky(tmp_path, 3))
    assert run(range(1, 12)) == []
    assert set(run.results) == set(range(1, 12))
    assert sum(run.steps) == sum(range(1, 12))
    tries = Counter(path.name.split("-")[0] for path in tmp_path.iterdir())
    assert tries == {**{str(i): 1 for i in range(1, 12)}, "5": 3, "10": 3}
    pids = {path.name.split("-")[1] for path in tmp_path.glob("5-*")}
    assert len(pids) == 2, "never tried on the other worker"
    assert sum("sulky" in note for note in run.notes) == 4
    assert "10 goes well" in run.notes


def test_what_goes_on_raising_is_given_up(pair: Client, tmp_path: Path) -> None:
    """After three tries it is a failure with a reason of one line; the rest is done."""
    run = Run(pair, Sulky(tmp_path, 99))
    (failure,) = run(range(1, 9))
    assert failure.task == 5
    assert failure.tries == 3
    assert failure.reason.startswith("ValueError: task 5 is sulky (on ")
    assert set(run.results) == {1, 2, 3, 4, 6, 7, 8}
    assert len(list(tmp_path.glob("5-*"))) == 3


def full_disk(task: int, report: Report) -> int:
    """Fail in a way that concerns all."""
    if task == 3:
        raise OutputError("out.zarr: disk full")
    if task == 103:
        raise MissingExtraError("reading LZW-compressed TIFF", "codecs")
    return task


@pytest.mark.parametrize(
    ("first", "kind", "text"),
    [(0, OutputError, "out.zarr: disk full"), (100, MissingExtraError, "pip install")],
)
def test_a_fatal_error_ends_the_run(
    pair: Client, first: int, kind: type[Exception], text: str
) -> None:
    """It comes here with its own type and text; no more tasks are begun."""
    run = Run(pair, full_disk)
    with pytest.raises(kind, match=text) as raised:
        run(range(first, first + 1000))
    assert type(raised.value) is kind
    assert len(run.results) < 50
    assert not pair.futures


def sleep(seconds: float, report: Report) -> None:
    """Take time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
        report(1)


def test_a_run_can_be_stopped(pair: Client) -> None:
    """It ends within a second or two, and tasks that report end on the workers too."""
    run = Run(pair, sleep)
    threading.Timer(0.7, run.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted, match="stopped"):
        run([60.0, 61.0, 62.0, 63.0, 64.0])
    assert time.monotonic() - began < 3
    assert run.steps, "no progress while the tasks ran"
    other = Run(pair, double)
    began = time.monotonic()
    assert other(range(4)) == []  # all threads of the workers are free again
    assert time.monotonic() - began < 10


def test_killed_workers_cost_nothing_but_time(pair: Client) -> None:
    """A worker killed in mid-run is replaced; its tasks are done elsewhere or later."""
    run = Run(pair, double)
    killed = []

    def kill(process: str) -> None:
        if len(run.results) in {5, 40}:
            killed.append(process)
            os.kill(int(process.rpartition(":")[2]), signal.SIGKILL)

    run.on_done = kill
    assert run(range(60)) == []
    assert len(killed) == 2
    assert set(run.results) == set(range(60))
    assert sum(run.steps) == 2 * sum(range(60))


@dataclass(frozen=True)
class Poison:
    """Kills its process at a task, while others are at work beside it."""

    folder: Path

    def __call__(self, task: int, report: Report) -> int:
        if task == 3:
            (self.folder / f"{task}-{time.monotonic_ns()}").touch()
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)
        return task


def test_poison_is_found_out_and_nothing_else(single: Client, tmp_path: Path) -> None:
    """A task that kills its worker is given up after three tries; those beside it are done."""
    run = Run(single, Poison(tmp_path))
    (failure,) = run(range(8))
    assert (failure.task, failure.tries) == (3, 3)
    assert "died" in failure.reason
    assert set(run.results) == set(range(8)) - {3}
    assert len(list(tmp_path.iterdir())) == 3


class FakeLink(Link):
    """A link whose workers are told what to do by a test."""

    def __init__(self) -> None:
        self.given: dict[int, tuple[Any, str, bool]] = {}

    def give(self, number: int, task: Any, worker: str, *, suspect: bool) -> None:
        self.given[number] = task, worker, suspect

    def forget(self, number: int) -> None:
        self.given.pop(number, None)

    @property
    def is_connected(self) -> bool:
        return True

    @property
    def address(self) -> str:
        return "tcp://somewhere:1"


def foreman(tasks: Iterable[Any], notes: list[str]) -> crew_foreman.Foreman[Any]:
    """Return a foreman of a FakeLink."""
    link = FakeLink()
    made = crew_foreman.Foreman(
        link, iter(tasks), str, notes.append, Tally(lambda _: None), (), 3, 2
    )
    made.link = link  # type: ignore[attr-defined]
    return made


def play(boss: crew_foreman.Foreman[Any], *messages: Message) -> dict[int, tuple[Any, str, bool]]:
    """Tell a foreman what happened, and return what runs then."""
    for message in messages:
        boss.take(message)
    boss.give()
    boss.check(60)
    time.sleep(0.06)
    boss.give()
    given: dict[int, tuple[Any, str, bool]] = boss.link.given  # type: ignore[attr-defined]
    return given


@pytest.mark.parametrize("heard", [0, 1])
def test_poisons_on_one_worker_are_told_from_innocents(heard: int) -> None:
    """Two poisons, one worker at a time, and a worker that may vanish before a task begins."""
    boss = foreman("aPbQc", [])
    done = []
    for look in range(40):
        given = play(boss, Seen(float(look), {f"tcp://host:{look}": 2}))
        if not given:
            break
        poison = {"P", "Q"} & {task for task, _, _ in given.values()}
        for number, (task, _, suspect) in list(given.items()):
            if suspect:
                assert len(given) == 1
                if look % 2 == heard:
                    boss.take(Begun(number))
            if not poison:
                boss.take(Ended(number, Outcome(task, None, 0, "host:1")))
        done += [task for task, _, _ in boss.finished()]
    assert sorted(done) == ["a", "b", "c"]
    assert {(failure.task, failure.tries) for failure in boss.failures} == {("P", 3), ("Q", 3)}


def test_a_suspect_whose_worker_left_before_it_began_is_not_blamed() -> None:
    """Deaths count against a task only where it was heard to begin, alone."""
    notes: list[str] = []
    boss = foreman("a", notes)
    for look in range(10):  # ten workers that vanish, each with the task on it
        threads = {f"tcp://host:{look}": 2}
        given = play(boss, Seen(float(look), threads))
        assert [each[0] for each in given.values()] == ["a"]
    play(boss, Seen(99.0, {}))
    assert boss.failures == []
    assert boss.give()
    assert any("no worker" in note for note in notes)


def test_workers_that_die_without_end_end_the_run() -> None:
    """When nothing gets done and workers die one after the other, that is told as the reason."""
    boss = foreman(range(1000), [])
    looks = (float(look) for look in range(100))

    def die() -> None:
        for look in looks:
            given = play(boss, Seen(look, {f"tcp://host:{look:.0f}": 2}))
            for number in list(given):
                boss.take(Died(number))

    with pytest.raises(DeviceError, match="memory"):
        die()
    assert 20 < next(looks) < 40
    assert boss.failures == []


def test_a_scheduler_that_is_gone_or_silent_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says so; and that no worker came within the time given."""
    boss = foreman(range(3), [])
    boss.take(Gone("the connection to it broke"))
    with pytest.raises(DeviceError, match=r"tcp://somewhere:1 is gone.*--resume"):
        boss.check(60)
    monkeypatch.setattr(crew_foreman, "SECONDS_OF_SILENCE", 0.0)
    boss = foreman(range(3), [])
    time.sleep(0.01)
    with pytest.raises(DeviceError, match="no answer"):
        boss.check(60)
    monkeypatch.setattr(crew_foreman, "SECONDS_OF_SILENCE", 9.0)
    with pytest.raises(DeviceError, match="no worker"):
        boss.check(0.0)


def test_what_is_over_is_not_counted_again() -> None:
    """An outcome that arrives after its worker was found dead changes nothing."""
    boss = foreman("a", [])
    (number,) = play(boss, Seen(0.0, {"tcp://host:1": 2}))
    boss.take(Seen(1.0, {"tcp://host:2": 2}))
    boss.take(Ended(number, Outcome("late", None, 1, "host:1")))
    assert boss.finished() == []
    assert [each[2] for each in play(boss).values()] == [True]


def test_a_worker_that_died_is_not_taken_for_a_new_one() -> None:
    """A list of workers that was asked for before a death does not bring the dead back."""
    roster = Roster(2)
    roster.see(1.0, {"a": 4, "b": 1, "c": 0})
    assert len(roster) == 2
    roster.put(1, "a", alone=False)
    assert roster.free() == "b"
    roster.put(2, "b", alone=False)
    assert roster.free("a") == "a"
    roster.put(3, "a", alone=False)
    assert roster.free() is None
    assert roster.leave("a", 5.0)
    assert not roster.leave("a", 5.0)
    assert roster.see(4.0, {"a": 4, "b": 1}) == []
    assert len(roster) == 1
    assert roster.see(6.0, {"b": 1}) == [1, 3]
    for number in (1, 3):
        roster.take(number, "a")
    roster.take(2, "b")
    assert roster.empty() == "b"
    roster.put(4, "b", alone=True)
    assert roster.empty() is None
    assert roster.see(7.0, {"a": 1, "b": 1}) == []
    assert roster.empty() == "a"


def test_progress_never_goes_back() -> None:
    """What a failed try reported is taken off what follows."""
    told: list[int] = []
    tally = Tally(told.append)
    tally.begin(1)
    tally.begin(2)
    tally.report(1, 5)
    tally.tell()
    tally.fail(1)
    tally.report(1, 9)
    tally.report(2, 4)
    tally.tell()
    assert told == [5]
    tally.finish(2, 7)
    tally.tell()
    assert told == [5, 2]
    tally.begin(3)
    tally.finish(3, 3)
    tally.tell()
    assert sum(told) == 10


def test_exceptions_travel_whole_or_as_their_nearest_base() -> None:
    """Type, text and attributes survive; a class that only exists here arrives as its base."""

    class Local(ValueError):
        def __init__(self) -> None:
            super().__init__("a text")
            self.lock = threading.Lock()

    extra = Raised.pack(MissingExtraError("a purpose", "dask")).unpack()
    assert type(extra) is MissingExtraError
    assert extra.extra == "dask"
    assert str(extra) == str(MissingExtraError("a purpose", "dask"))
    with pytest.raises(FileNotFoundError) as raised:
        Path("/no/such/file").read_bytes()
    missing = Raised.pack(raised.value).unpack()
    assert isinstance(missing, FileNotFoundError)
    assert missing.errno == 2
    local = Raised.pack(Local()).unpack()
    assert type(local) is ValueError
    assert str(local) == "a text"
