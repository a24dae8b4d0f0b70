"""The proxy of `webworld`: ends TLS itself, and speaks for every host behind it."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import unquote, urlsplit

import trustme


@cache
def authority() -> trustme.CA:
    """Return the certificate authority of this process."""
    return trustme.CA()


@cache
def server_side(host: str) -> ssl.SSLContext:
    """Return what a server of that name proves itself with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(host).configure_cert(context)
    return context


def digest(algorithm: str, content: bytes) -> str:
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Request:
    """What a server was asked; `secure` tells whether over TLS."""

    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    secure: bool

    def __str__(self) -> str:
        range_ = self.headers.get("range")
        return " ".join([self.method, self.host, self.path, *([range_] if range_ else [])])


@dataclass
class Answer:
    """What lies at an address; `stated` is the Content-Length, None for the true one."""

    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stated: int | None = None
    chunked: bool = False


@dataclass
class Mishap:
    """What happens the next `times` times, or always where that is None."""

    times: int | None
    answer: Answer | None = None
    after: int | None = None
    stalls: bool = False

    def happens(self) -> bool:
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class Web(Protocol):
    """What the proxy knows of the world behind it."""

    ranges: bool

    def note(self, request: Request) -> None:
        """Remember a request."""

    def mishap(self, host: str, path: str) -> Mishap | None:
        """Return what goes wrong now."""

    def answer(self, host: str, path: str) -> Answer:
        """Return what lies there."""

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the end of the test."""


class Server(ThreadingHTTPServer):
    """The proxy; remembers its connections so that it can close them."""

    daemon_threads = False  # server_close waits for them
    request_queue_size = 64

    def __init__(self, world: Web) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.world = world
        self.bugs: list[BaseException] = []
        self.connections: set[socket.socket] = set()

    def hang_up_all(self) -> None:
        for connection in list(self.connections):
            hang_up(connection)

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that go away."""
        error = sys.exc_info()[1]
        if error and not isinstance(error, OSError):
            self.bugs.append(error)


def hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class Handler(BaseHTTPRequestHandler):
    """One connection of a client, first to the proxy and then, after CONNECT, to a host."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def setup(self) -> None:
        super().setup()
        self.origin = ""
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_CONNECT(self) -> None:
        host, world = self.path.rpartition(":")[0], self.server.world
        mishap = world.mishap(f"tunnel:{host}", "")
        if mishap and mishap.answer:
            self.send_error(mishap.answer.status)
            self.close_connection = True
            return
        self.send_response(200)
        self.end_headers()
        self.server.connections.discard(self.connection)
        self.rfile.close()
        try:
            tls = server_side(host).wrap_socket(self.connection, server_side=True)
        except OSError:  # the client does not trust us
            self.close_connection = True
            return
        self.origin, self.request = host, tls
        self.setup_again(tls)
        self.close_connection = False

    def setup_again(self, connection: socket.socket) -> None:
        self.connection = connection
        self.server.connections.add(connection)
        self.rfile = connection.makefile("rb")
        self.wfile.close()
        self.wfile = connection.makefile("wb", buffering=0)

    def do_GET(self) -> None:
        world = self.server.world
        parts = urlsplit(self.path)
        host = self.origin or parts.netloc
        asked = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        path = unquote(parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {name.lower(): value for name, value in self.headers.items()}
        world.note(Request(self.command, host, asked, headers, bool(self.origin)))
        mishap = world.mishap(host, path)
        if mishap and mishap.answer:
            self.send(mishap.answer, None)
        elif mishap and mishap.after is None:
            self.close_connection = True
            hang_up(self.connection)
        else:
            self.send(world.answer(host, path), mishap)

    def send(self, answer: Answer, mishap: Mishap | None) -> None:
        content, status, headers = answer.content, answer.status, dict(answer.headers)
        etag = f'"{digest("sha256", content)[:16]}"'
        if status == 200 and self.server.world.ranges:
            headers = {"Accept-Ranges": "bytes", "ETag": etag, **headers}
            range_ = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if range_ and self.headers.get("If-Range", etag) == etag:
                begin = int(range_[1])
                status = 206 if begin < len(content) else 416
                place = f"{begin}-{len(content) - 1}" if status == 206 else "*"
                headers["Content-Range"] = f"bytes {place}/{len(content)}"
                content = content[begin:] if status == 206 else b""
        self.send_response_only(status, responses.get(status, "Odd"))
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        else:
            self.send_header("Content-Length", str(answer.stated or len(content)))
        self.end_headers()
        if mishap and mishap.after is not None:
            self.wfile.write(content[: mishap.after])
            if mishap.stalls:
                self.server.world.sleep(20)
            self.close_connection = True
            hang_up(self.connection)
            return
        self.wfile.write(content)
        if answer.stated and answer.stated > len(content):
            self.close_connection = True
            hang_up(self.connection)
