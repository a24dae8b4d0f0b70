"""Settings of the whole test suite, and processes that need not import torch again."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is imported: the networks under test are small, and threads that wait for one
# another on a busy machine cost far more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "vemctl", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("vemctl")

# Whoever is forked from it has done nothing yet but imported what most commands need. Between
# them is a keeper that waits for its end. A new one leaves the loop, so it ends as any process.
FORKING = """
import json, os, signal, socket, sys
import torch, zarr
import vemctl.cli.app, vemctl.volumes.array_volume, vemctl.workflows.predict

link = socket.socket(fileno=int(sys.argv[1]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    message, files, *_ = socket.recv_fds(link, 1 << 20, 3)
    if not message:
        sys.exit()
    if os.fork():
        for file in files:
            os.close(file)
        continue
    out, err, status = files
    link.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child:
        os.write(status, b"%d\\n" % child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(status, b"%d\\n" % code)
        os._exit(0)
    break
os.setsid()
told = json.loads(message)
for file, number in ((out, 1), (err, 2)):
    os.dup2(file, number)
    os.close(file)
os.close(status)
os.chdir(told["folder"])
os.environ.clear()
os.environ.update(told["environment"])
sys.argv[1:] = []
sys.path[:0] = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
exec(told["code"], {"__name__": "__main__"})
"""


class Forked:
    """A process, as one of `subprocess.Popen` with pipes, that runs Python code.

    It leads a session, as with ``start_new_session``.

    Attributes
    ----------
    pid : int
    returncode : int or None
    """

    def __init__(
        self, link: socket.socket, code: str, folder: Path, environment: dict[str, str]
    ) -> None:
        self._files = contextlib.ExitStack()
        self._told = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        reader, writer = os.pipe()
        told = {"code": code, "folder": str(folder), "environment": environment}
        files = [*(file.fileno() for file in self._told), writer]
        socket.send_fds(link, [json.dumps(told).encode()], files)
        os.close(writer)
        for file in self._told:
            self._files.enter_context(file)
        self._status = self._files.enter_context(os.fdopen(reader, "rb", buffering=0))
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        return self._wait(0)

    def send_signal(self, number: int) -> None:
        """Send a signal if it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(9)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Wait for its end, and return what it wrote to standard output and error."""
        if self._wait(timeout) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        for file in self._told:
            file.seek(0)
        out, err = (file.read() for file in self._told)
        return out, err

    def close(self) -> None:
        """End it and what it has started, and close its files."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, 9)
        self._files.close()

    def _wait(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(self._status.readline())
        return self.returncode


@pytest.fixture(scope="session")
def forking() -> Iterator[socket.socket]:
    """Start a process that imports torch once, and forks for each message."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", FORKING, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        yield ours
    process.wait(timeout=60)


@pytest.fixture
def fork(forking: socket.socket, tmp_path: Path) -> Iterator[Callable[..., Forked]]:
    """Return what runs Python code in a new process, where torch is imported already.

    It is in the test's folder, and ends with the test at the latest.
    """
    begun: list[Forked] = []

    def begin(code: str, **changed: str) -> Forked:
        begun.append(Forked(forking, code, tmp_path, os.environ | changed))
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


@pytest.fixture
def alone(fork: Callable[..., Forked]) -> Callable[[str], str]:
    """Return what runs Python code in a new process, and returns what that prints."""

    def run(code: str) -> str:
        process = fork(code)
        out, err = process.communicate()
        assert process.returncode == 0, err
        return out

    return run
