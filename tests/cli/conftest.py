"""What the tests of the command line share: plugins, a quick way to run it, a fake workflow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from vemctl import registry
from vemctl.__main__ import main
from vemctl.errors import Interrupted
from vemctl.events import Finished, Noted
from vemctl.workflows.options import PredictRequest

ROOT = Path(__file__).parents[2]
PLUGINS = [
    *(str(folder) for folder in sorted((Path(__file__).parent / "plugins").iterdir())),
    str(ROOT / "tests" / "assets" / "vemctl-broken"),
]


@dataclass
class Ran:
    """What one run of the command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the methods probe, clash, broken and (twice) twin look installed."""
    for folder in reversed(PLUGINS):
        monkeypatch.syspath_prepend(folder)
    registry.method_entry_points.cache_clear()
    yield
    registry.method_entry_points.cache_clear()


@pytest.fixture
def cli(
    plugins: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Return a function that runs the command line in this process."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> Ran:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Ran]:
    """Return a function that runs Python with the plugins in a process of its own."""

    def run(*words: str, **environment: str) -> Ran:
        path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *PLUGINS])
        done = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100", **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@dataclass
class FakeWorkflow:
    """Stands in for the prediction: keeps the requests, tells two events, restores nothing."""

    requests: list[PredictRequest] = field(default_factory=list)
    error: BaseException | None = None
    signal: int | None = None

    def predict(self, request, listen, stop):
        """Keep the request."""
        self.requests.append(request)
        listen(Noted("half a note", "warning"))
        if self.error is not None:
            raise self.error
        if self.signal is not None:
            os.kill(os.getpid(), self.signal)
            if stop.wait(5):
                raise Interrupted("stopped; --resume continues")
        listen(Finished(request.output, 2.0))
        return SimpleNamespace(output=request.output, facts={"blocks": 3})

    def plan(self, request, listen):
        """Keep the request and return a plan."""
        self.requests.append(request)
        return {"output_shape": [4, 5, 6], "output_bytes": 2048, "memory": {"block_bytes": 10}}

    @property
    def request(self) -> PredictRequest:
        """The only request."""
        (only,) = self.requests
        return only


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> FakeWorkflow:
    """Put the fake in the place of the real workflow, which would load torch."""
    fake = FakeWorkflow()
    module = ModuleType("vemctl.workflows.predict")
    module.predict, module.plan_prediction = fake.predict, fake.plan
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake
