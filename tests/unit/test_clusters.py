"""Processes here, on a cluster that is there, and by SLURM: they come, work, and are gone."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import pytest
from distributed import versions

from vemctl.crew import asking, link
from vemctl.crew.asking import ask_all, ask_one
from vemctl.crew.clusters import existing_cluster, local_workers, slurm_workers
from vemctl.crew.slurm_text import SlurmJobs
from vemctl.crew.tasks import Report, carry_out
from vemctl.crew.work import process_name
from vemctl.errors import DeviceError, Interrupted, MissingExtraError, OptionError, WorkerError
from vemctl.events import Event, Noted

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def run(client: Any, work: Callable[[Any, Report], Any], tasks: Any, **options: Any) -> list[Any]:
    """Carry out tasks and return what came of them."""
    results: list[Any] = []
    given: dict[str, Any] = {
        "name": str,
        "done": lambda task, result, process: results.append(result),
        "advanced": lambda count: None,
        "note": lambda text: None,
        "stop": threading.Event(),
        "fatal": (),
    }
    assert carry_out(client, work, tasks, **{**given, **options}) == []
    return results


def lives(pid: int) -> bool:
    """Whether a process is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def surroundings(task: int, report: Report) -> dict[str, Any]:
    """Tell where this runs."""
    time.sleep(0.05)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    return {
        "pid": os.getpid(),
        "torch": "torch" in sys.modules,
        "blocked": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        **{name: os.environ.get(name) for name in names},
    }


def test_each_local_worker_has_its_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Threads and device are set before torch is there; afterwards nothing is left or changed."""
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    environments = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    with local_workers(2, threads=3, environments=environments, folder=tmp_path) as client:
        told = run(client, surroundings, range(12))
        assert list(tmp_path.iterdir())
    assert {each["CUDA_VISIBLE_DEVICES"] for each in told} == {"0", "1"}
    assert len({(each["pid"], each["CUDA_VISIBLE_DEVICES"]) for each in told}) == 2
    assert {each[f"{library}_NUM_THREADS"] for each in told for library in ("OMP", "MKL")} == {"3"}
    assert {each["OPENBLAS_NUM_THREADS"] for each in told} == {"3"}
    assert not any(each["torch"] for each in told)
    assert all(each["blocked"] for each in told)
    assert os.environ["MKL_NUM_THREADS"] == "7"
    assert not any(lives(each["pid"]) for each in told)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_workers_that_cannot_start_are_told_of(tmp_path: Path) -> None:
    """One line says that they do not start."""
    before = threading.active_count()
    with (
        dask.config.set({"distributed.worker.preload": ["no_such_module"]}),
        pytest.raises(DeviceError, match=r"1 worker processes do not start.*no_such") as raised,
        local_workers(1, threads=1, environments=[{}], folder=tmp_path),
    ):
        pass
    assert "\n" not in str(raised.value)
    assert threading.active_count() <= before + 3


SCRIPT = """
import os, sys, threading, time
from pathlib import Path
from vemctl.errors import Interrupted
from vemctl.crew.clusters import local_workers
from vemctl.crew.tasks import carry_out
import signal
FOLDER = sys.argv[-1]
stop = threading.Event()
signal.signal(signal.SIGINT, lambda *_: stop.set())

def work(task, report):
    Path(FOLDER, str(os.getpid())).touch()
    while True:
        time.sleep(0.1)
        report(1)

if __name__ == "__main__":
    with local_workers(2, threads=1, environments=[{}, {}]) as client:
        try:
            carry_out(client, work, range(9), name=str, done=print, advanced=lambda n: None,
                      note=print, stop=stop, fatal=())
        except Interrupted as error:
            print("interrupted:", error)
"""


@contextlib.contextmanager
def client_process(script: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run a client in a process group of its own until it has two workers at work."""
    path = folder / "client.py"
    path.write_text(textwrap.dedent(script))
    traces = folder / "traces"
    traces.mkdir()
    process = subprocess.Popen(
        [sys.executable, path, traces],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(
            lambda: process.poll() is not None or len(list(traces.iterdir())) == 2, 60, "workers"
        )
        yield process, [int(trace.name) for trace in traces.iterdir()]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_local_workers_end_with_a_killed_client(tmp_path: Path) -> None:
    """No process survives the kill -9 of the one that started it for more than seconds."""
    with client_process(SCRIPT, tmp_path) as (client, workers):
        assert len(workers) == 2
        assert all(lives(worker) for worker in workers)
        client.kill()
        wait_until(lambda: not any(lives(worker) for worker in workers), 10, "they live on")


def test_the_terminals_interrupt_is_for_the_client(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group of processes; only the client answers, without traceback."""
    with client_process(SCRIPT, tmp_path) as (client, workers):
        os.killpg(client.pid, signal.SIGINT)
        out, errors = client.communicate(timeout=30)
        assert out == "interrupted: stopped; 0 tasks are done\n"
        assert errors == ""
        assert client.returncode == 0
        assert not any(lives(worker) for worker in workers)


@contextlib.contextmanager
def running(command: str, *arguments: str, **changed: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of dask's until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{command}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **changed},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def scheduler(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a dask scheduler and give its address."""
    import json

    file = folder / "scheduler.json"
    arguments = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file")
    with running("scheduler", *arguments, str(file)) as process:
        wait_until(lambda: file.exists() and file.stat().st_size > 0, 30, "no scheduler")
        yield json.loads(file.read_text())["address"], process


def worker(
    address: str, **changed: str
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """Run a dask worker that nobody starts again, in an environment that is changed."""
    words = ("--nthreads", "2", "--no-nanny", "--no-dashboard")
    return running("worker", address, *words, **changed)


def hold(task: str, report: Report) -> int:
    """Write how long this is at it, until it is withdrawn or a file is there."""
    while not Path(task).exists():
        Path(f"{task}.{os.getpid()}").write_text(str(time.time()))
        time.sleep(0.05)
        report(1)
    return os.getpid()


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for workers often."""
    monkeypatch.setattr(link, "SECONDS_BETWEEN_LOOKS", 0.1)


def test_an_existing_cluster(tmp_path: Path) -> None:
    """Workers may come late, die and be replaced; the scheduler's death ends the run."""
    heard: list[Event] = []
    notes: list[str] = []
    results: list[int] = []
    stop = threading.Event()
    with scheduler(tmp_path) as (address, process), contextlib.ExitStack() as stack:
        late = threading.Timer(0.1, stop.set)
        late.start()
        with (
            pytest.raises(Interrupted),
            existing_cluster(address, listen=heard.append, stop=stop),
        ):
            pass
        (note,) = heard
        assert isinstance(note, Noted)
        assert "no workers yet" in note.text
        first = stack.enter_context(worker(address))
        with existing_cluster(address, listen=heard.append) as client:
            assert heard[1:] in ([], [note])
            (place,) = client.nthreads()
            with pytest.raises(DeviceError, match="that is a worker"), existing_cluster(place):
                pass
            task = str(tmp_path / "task")
            stop.clear()

            def carry_on() -> None:
                results.extend(run(client, hold, [task], note=notes.append, stop=stop))

            thread = threading.Thread(target=carry_on)
            thread.start()
            wait_until(lambda: Path(f"{task}.{first.pid}").exists(), 30, "the task does not begin")
            first.kill()
            wait_until(lambda: any("no worker" in each for each in notes), 30, "no word of it")
            second = stack.enter_context(worker(address))
            trace = Path(f"{task}.{second.pid}")
            wait_until(trace.exists, 30, "the task does not go elsewhere")
            Path(task).touch()
            thread.join(30)
            assert results == [second.pid]
            assert any("a worker has come" in each for each in notes)

            # A run that is stopped takes its tasks back from workers that live on.
            threading.Timer(1.0, stop.set).start()
            trace.unlink()
            with pytest.raises(Interrupted):
                run(client, hold, [str(tmp_path / "other")], stop=stop)
            time.sleep(0.5)
            left = Path(tmp_path / f"other.{second.pid}")
            assert time.time() - float(left.read_text()) > 0.2
            assert second.poll() is None

            threading.Timer(1.0, process.kill).start()
            began = time.monotonic()
            with pytest.raises(DeviceError, match=rf"scheduler at {address} is gone") as raised:
                run(client, hold, [str(tmp_path / "third")])
            assert time.monotonic() - began < 10
            assert "\n" not in str(raised.value)


WITHOUT_US = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "vemctl":
            raise ModuleNotFoundError("No module named 'vemctl'", name="vemctl")
sys.meta_path.insert(0, Nowhere())
"""


def test_questions_to_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A free worker answers; busy ones are waited for; who lacks vemctl is named with the cure."""
    monkeypatch.setattr(asking, "SECONDS_UNTIL_TOLD", 0.2)
    heard: list[Event] = []
    stop = threading.Event()
    ours = versions.get_versions()
    ours["packages"]["toolz"] = "0.1"
    monkeypatch.setattr(versions, "get_versions", lambda *_, **__: ours)
    with (
        scheduler(tmp_path) as (address, _),
        worker(address),
        warnings.catch_warnings(record=True) as warned,
        existing_cluster(address) as client,
    ):
        assert not warned
        assert ask_one(client, max, 3, 5, listen=heard.append, stop=stop) == 5
        heard.clear()  # of a worker that was slow
        for question, told in (
            (SlurmJobs.parse, "--slurm: 'x' is no key=value"),
            (int, "ValueError: invalid"),
        ):
            with pytest.raises(WorkerError, match=rf"^on the worker \S+:\d+: {told}"):
                ask_one(client, question, "x", listen=heard.append, stop=stop)

        busy = client.map(time.sleep, [3, 3.1], pure=False)
        threading.Timer(1.0, stop.set).start()
        with pytest.raises(Interrupted, match="waiting for a free worker"):
            ask_one(client, max, 3, 5, listen=heard.append, stop=stop)
        assert heard == [Noted("waiting for a free worker")]
        (there,) = ask_all(client, process_name, seconds=10).values()
        assert re.fullmatch(r"\S+:\d+", there)
        stop.clear()
        assert ask_one(client, max, 7, 5, listen=heard.append, stop=stop) == 7
        assert client.gather(busy) == [None, None]

        (tmp_path / "sitecustomize.py").write_text(WITHOUT_US)
        with worker(address, PYTHONPATH=str(tmp_path)):
            client.wait_for_workers(2, timeout=30)
            said = (
                r"^worker tcp://\S+: cannot import vemctl \(.*vemctl.*\): install the same version"
            )
            with pytest.raises(WorkerError, match=said) as raised:
                ask_one(client, max, 3, 5, listen=heard.append, stop=stop)
            assert "\n" not in str(raised.value)


def test_no_scheduler_there() -> None:
    """An address that is none, or where nobody answers, is said in one line, and soon."""
    for address in ("here", "tcp://host", "http://host:80", "host:8786"):
        with pytest.raises(OptionError, match="HOST:PORT"), existing_cluster(address):
            pass
    began = time.monotonic()
    with (
        pytest.raises(DeviceError, match=r"tcp://127\.0\.0\.1:9: no dask scheduler") as raised,
        existing_cluster("tcp://127.0.0.1:9", wait_seconds=1),
    ):
        pass
    assert time.monotonic() - began < 5
    assert "\n" not in str(raised.value)


def test_something_else_there() -> None:
    """A server that speaks another language is no scheduler, and so is one that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(DeviceError, match="no dask scheduler answered within 1 s") as raised,
            existing_cluster(address, wait_seconds=1),
        ):
            pass
        assert "\n" not in str(raised.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The missing package is named with the command that installs it."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(MissingExtraError, match=r"vemctl\[dask\]"),
        local_workers(1, threads=1, environments=[{}]),
    ):
        pass
    with (
        pytest.raises(MissingExtraError, match=r"vemctl\[dask\]"),
        existing_cluster("tcp://127.0.0.1:9"),
    ):
        pass
    with (
        pytest.raises(MissingExtraError, match=r"vemctl\[slurm\]"),
        slurm_workers("jobs=1", folder=tmp_path),
    ):
        pass


def test_what_slurm_is_asked_for() -> None:
    """Words as in a shell: keys, and options of sbatch."""
    assert SlurmJobs.parse(
        "jobs=4 partition=gpu account=x cores=4 memory=32GB walltime=04:00:00 interface=ib0 "
        "python=/opt/p --gres=gpu:1 '--comment=two words'"
    ) == SlurmJobs(
        jobs=4,
        queue="gpu",
        account="x",
        cores=4,
        memory="32GB",
        walltime="04:00:00",
        interface="ib0",
        python="/opt/p",
        directives=("--gres=gpu:1", "--comment=two words"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queue=gpu", "jobs= is missing"),
        ("", "jobs= is missing"),
        ("jobs=0", "from 1 on"),
        ("jobs=-1", "from 1 on"),
        ("jobs=two", "from 1 on"),
        ("jobs=2 cores=", "no key=value"),
        ("jobs=2 gpu", "no key=value"),
        ("jobs=2 mem=4GB", "Did you mean 'memory'"),
        ("jobs=2 memory=lots", "memory=32GB"),
        ("jobs=2 queue=a partition=b", "twice"),
        ("jobs=2 queue='a", "No closing quotation"),
    ],
)
def test_what_slurm_cannot_be_asked_for(text: str, said: str) -> None:
    """Mistakes are told with what is expected."""
    with pytest.raises(OptionError, match=said) as raised:
        SlurmJobs.parse(text)
    assert "\n" not in str(raised.value)


SBATCH = """\
#!{python}
import os, subprocess, sys
from pathlib import Path
jobs = Path({jobs!r})
number = 100 + len(list(jobs.glob("*.sh")))
script = Path(sys.argv[1]).read_text()
(jobs / f"{{number}}.sh").write_text(script)
log = open(jobs / f"{{number}}.log", "w")
started = subprocess.Popen(["bash", jobs / f"{{number}}.sh"], stdin=subprocess.DEVNULL,
                           stdout=log, stderr=log, start_new_session=True)
(jobs / f"{{number}}.pid").write_text(str(started.pid))
print("Submitted batch job", number)
"""

SCANCEL = """\
#!{python}
import os, signal, sys
from pathlib import Path
os.killpg(int((Path({jobs!r}) / (sys.argv[1] + ".pid")).read_text()), signal.SIGTERM)
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a stand-in for SLURM on PATH that starts jobs at once; give the folder of its jobs."""
    commands, jobs = tmp_path / "bin", tmp_path / "jobs"
    commands.mkdir()
    jobs.mkdir()
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(script.format(python=sys.executable, jobs=str(jobs)))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    yield jobs
    for pid in jobs.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)


def test_workers_by_slurm(slurm: Path, tmp_path: Path) -> None:
    """Jobs are submitted as asked, their workers work, and scancel ends them."""
    heard: list[Event] = []
    text = "jobs=2 queue=gpu account=x cores=4 memory=3GB walltime=04:00:00 --gres=gpu:1"
    logs = tmp_path / "logs of jobs"
    with slurm_workers(text, folder=logs, listen=heard.append) as client:
        told = run(client, surroundings, range(20))
        pids = {each["pid"] for each in told}
        assert pids
        assert {each["OMP_NUM_THREADS"] for each in told} == {"4"}
        assert set(client.nthreads().values()) == {2}
    scripts = [path.read_text().splitlines() for path in slurm.glob("*.sh")]
    assert len(scripts) == 2
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH -A x",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=3G",
        "#SBATCH -t 04:00:00",
        "#SBATCH --gres=gpu:1",
        f'#SBATCH --output="{logs}/slurm-%j.log"',
    ):
        assert all(line in script for script in scripts)
    wait_until(lambda: not any(lives(pid) for pid in pids), 10, "workers live on")


def test_slurm_that_is_not_there_or_refuses(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words are told in one line."""
    (slurm.parent / "bin" / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n"
    )
    with (
        pytest.raises(DeviceError, match="refused a job: sbatch: error: invalid partition") as told,
        slurm_workers("jobs=1 queue=gpu", folder=tmp_path),
    ):
        pass
    assert "\n" not in str(told.value)
    monkeypatch.setenv("PATH", "/nowhere")
    with (
        pytest.raises(DeviceError, match="sbatch is not on PATH"),
        slurm_workers("jobs=1", folder=tmp_path),
    ):
        pass


def test_slurm_jobs_end_with_a_killed_client(slurm: Path, tmp_path: Path) -> None:
    """Without anybody to call scancel, workers end when their scheduler is gone."""
    script = SCRIPT.replace(
        "local_workers(2, threads=1, environments=[{}, {}])",
        'slurm_workers("jobs=2", folder=Path(sys.argv[1]).parent)',
    ).replace("import local_workers", "import slurm_workers")
    with client_process(script, tmp_path) as (client, workers):
        jobs = [int(pid.read_text()) for pid in slurm.glob("*.pid")]
        assert len(jobs) == len(workers) == 2
        client.kill()
        wait_until(lambda: not any(map(lives, workers + jobs)), 60, "they live on")


@pytest.mark.parametrize(
    ("error", "said"), [(KeyboardInterrupt, ""), (SystemExit, ""), (Interrupted, "too late")]
)
def test_dask_says_nothing_in_a_process_that_ends(error: type[BaseException], said: str) -> None:
    """After a second Ctrl-C its threads go on for a moment; after one, the process may go on."""
    script = textwrap.dedent(f"""
        import logging, contextlib
        import distributed
        from vemctl.crew.quiet import quiet
        from vemctl.errors import Interrupted
        with contextlib.suppress({error.__name__}):
            with quiet():
                raise {error.__name__}
        logging.getLogger("distributed.core").error("too late")
    """)
    ended = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert ended.stdout == ""
    assert ended.stderr == "" if not said else said in ended.stderr
