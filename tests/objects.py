"""Real servers on this machine that fail on request: S3-compatible (moto), and a web server."""

from __future__ import annotations

import functools
import http.server
import itertools
import os
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SILENCE = 1.0
"""Seconds that an impatient client waits for an answer."""

_NUMBERS = itertools.count()
"""Of buckets: what moto holds is shared by all servers of a process."""


@dataclass
class Fault:
    """What happens to requests.

    Attributes
    ----------
    kind : {"hang", "cut"} or int
        No answer in time, half of an answer, or a status.
    left : int
        How many requests it still happens to.
    method, part : str
        Only to requests with that method, and with that part in their path; "" is any.
    """

    kind: str | int
    left: int
    method: str = ""
    part: str = ""


class Faults:
    """A WSGI middleware that lets requests fail, and notes all.

    Attributes
    ----------
    requests : list of (method, path with query)
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str]] = []

    def add(self, kind: str | int, times: int = 1, *, method: str = "", part: str = "") -> Fault:
        """Let requests fail so many times."""
        fault = Fault(kind, times, method, part)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let nothing fail any more, and forget what was asked."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()

    def count(self, method: str, part: str = "") -> int:
        """Count what was asked."""
        return sum(asked == method and part in path for asked, path in list(self.requests))

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        path = f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}"
        fault = self._next(method, path)
        if fault is None:
            return self._application(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if isinstance(fault, int):
            start(f"{fault} Trouble", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please slow\ndown.</Message></Error>"]
        if fault == "hang":
            time.sleep(2 * SILENCE)
            start("500 Late", [])
            return [b""]
        return self._cut(environ, start)

    def _next(self, method: str, path: str) -> str | int | None:
        with self._lock:
            self.requests.append((method, path))
            for fault in self._faults:
                if fault.left and fault.method in ("", method) and fault.part in path:
                    fault.left -= 1
                    return fault.kind
        return None

    def _cut(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Promise the whole answer and send its first half."""
        told: list[Any] = []
        body = b"".join(self._application(environ, lambda *answer: told.extend(answer)))
        start(told[0], [*told[1]])
        yield body[: len(body) // 2]


class Server:
    """The S3 server.

    Attributes
    ----------
    url : str
    faults : Faults
    """

    def __init__(self) -> None:
        from moto.server import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from werkzeug.serving import make_server

        class Silent(MotoRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *_: Any) -> None:
                """Print nothing."""

        self.faults = Faults(DomainDispatcherApplication(create_backend_app))
        self._server = make_server(
            "127.0.0.1", 0, self.faults, threaded=True, request_handler=Silent
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What a client, in this process or another, needs to know."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "VEMCTL_REMOTE_TIMEOUT": "30",
            "VEMCTL_REMOTE_RETRIES": "3",
        }

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"bucket{os.getpid()}x{next(_NUMBERS)}"
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        with urllib.request.urlopen(request):
            return name

    def objects(self, place: str) -> dict[str, bytes]:
        """Read all that lies below ``s3://bucket/key``, without vemctl."""
        import boto3

        name, _, key = place.removeprefix("s3://").partition("/")
        session = boto3.session.Session("key", "secret", region_name="us-east-1")
        bucket = session.resource("s3", endpoint_url=self.url).Bucket(name)
        prefix = f"{key}/" if key else ""
        return {
            found.key.removeprefix(prefix): found.get()["Body"].read()
            for found in bucket.objects.filter(Prefix=prefix)
        }


@pytest.fixture(scope="session")
def running_server() -> Iterator[Server]:
    """Return an S3 server of this test process."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(name="s3_server")
def named_server(running_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return an S3 server that the environment names, and that fails in nothing."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    for name, value in running_server.environment.items():
        monkeypatch.setenv(name, value)
    running_server.faults.clear()
    return running_server


@pytest.fixture(name="faults")
def request_faults(s3_server: Server) -> Faults:
    """Return what lets the S3 server fail."""
    return s3_server.faults


@pytest.fixture(name="impatient")
def short_silence(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for `SILENCE` only, on a machine that may be busy with other tests."""
    monkeypatch.setenv("VEMCTL_REMOTE_TIMEOUT", str(SILENCE))


@pytest.fixture(name="bucket")
def fresh_bucket(s3_server: Server) -> str:
    """Return ``s3://<name>`` of a fresh bucket."""
    return f"s3://{s3_server.new_bucket()}"


class WebHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and parts of files, lists nothing, and fails on request.

    Attributes
    ----------
    failures : int
        How many of the next requests are answered with 503.
    whole_only : bool
        Send no parts, as Python's own web server.
    no_ends : bool
        Refuse to send the last bytes of a file where their number is all that is asked for.
    """

    protocol_version = "HTTP/1.1"
    failures = 0
    whole_only = False
    no_ends = False

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def list_directory(self, path: Any) -> None:
        """List nothing, as object stores behind a web server do."""
        self.send_error(404)

    def do_GET(self) -> None:
        """Send a file, or not now."""
        if WebHandler.failures:
            WebHandler.failures -= 1
            self.send_error(503)
            return
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or self.whole_only or not path.is_file():
            super().do_GET()
            return
        if self.no_ends and not asked[1]:
            self.send_error(400)
            return
        data = path.read_bytes()
        start = int(asked[1]) if asked[1] else len(data) - int(asked[2])
        stop = min(int(asked[2]) + 1, len(data)) if asked[1] and asked[2] else len(data)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        self.end_headers()
        self.wfile.write(data[start:stop])


@pytest.fixture(name="web")
def web_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address of a web server, and the folder whose files it serves."""
    folder = tmp_path / "web"
    folder.mkdir()
    WebHandler.failures, WebHandler.whole_only, WebHandler.no_ends = 0, False, False
    handler = functools.partial(WebHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()
