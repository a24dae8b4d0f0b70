"""From a URL into a file: streamed, continued where a connection or a process was cut off."""

from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vemctl import __version__
from vemctl.durable import free_bytes, show_bytes, sync_file
from vemctl.errors import WeightsError
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted
from vemctl.weights.network import BY_HAND, network, refuse
from vemctl.weights.patience import Attempts, Failure, Patience, check_address, shown

if TYPE_CHECKING:
    from requests import Response, Session

CHUNK_BYTES = 1 << 20
LARGEST_BYTES = 16 << 30
USER_AGENT = f"vemctl/{__version__}"
_QUIET_SECONDS = 0.5
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


def download(
    url: str,
    part: Path,
    *,
    stage: str,
    listen: Listener,
    stop: threading.Event | None = None,
    patience: Patience = Patience(),  # noqa: B008 - it is frozen
    size: int | None = None,
) -> None:
    """Write what `url` holds into the file `part`, after what is there from an earlier call.

    The content is not verified. It is taken byte for byte as it is sent, without undoing a
    Content-Encoding.

    Parameters
    ----------
    url : str
        http or https; proxies and certificates are taken from the environment.
    part : Path
        Its folder exists.
    stage : str
        Its name in the events; the unit is bytes.
    listen : Listener
    stop : threading.Event, optional
        Set from outside to end the transfer.
    patience : Patience, optional
    size : int, optional
        How many bytes are expected.

    Raises
    ------
    WeightsError
        It cannot be had, is not of the expected size, or has no room here.
    Interrupted
        `stop` was set; `part` stays, to be continued.
    """
    check_address(url)
    transfer = _Transfer(url, part, stage, listen, Attempts(patience, stage, listen, stop), size)
    with _writing(part):
        transfer.run(patience)


class _Transfer:
    """One file on its way, over as many connections as it takes."""

    def __init__(
        self,
        url: str,
        part: Path,
        stage: str,
        listen: Listener,
        attempts: Attempts,
        size: int | None,
    ) -> None:
        self.url, self.part, self.stage, self.listen = url, part, stage, listen
        self.attempts, self.size = attempts, size
        self.total = size
        self.done = part.stat().st_size if part.is_file() else 0
        self.furthest = self.done
        self.etag: str | None = None
        self.began: float | None = None

    def run(self, patience: Patience) -> None:
        """Make attempts until all is there."""
        from requests import Session

        if self.size is not None and self.done > self.size:
            self._start_over()
        complete = self.size is not None and self.done == self.size > 0
        with Session() as session:
            while not complete:
                self.attempts.check()
                try:
                    complete = self._attempt(session, patience)
                except Failure as failure:
                    self.attempts.wait_after(failure)
        sync_file(self.part)
        self._finish_stage(self._start_stage())

    def _attempt(self, session: Session, patience: Patience) -> bool:
        """Ask for what is missing and take what comes; tell whether that was all."""
        headers = {"Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if self.etag:
                headers["If-Range"] = self.etag
        with network(self.url):
            response = session.get(
                self.url,
                headers=headers,
                stream=True,
                timeout=patience.timeout,
                hooks={"response": refuse},
            )
        with response:
            return self._accept(response)

    def _accept(self, response: Response) -> bool:
        offset, stated = _extent(response)
        if response.status_code == 416:
            if stated == self.done and stated == (self.size or stated):
                self.total = stated
                return True
            self._start_over()
            return False
        continues = response.status_code == 206
        if response.status_code != 200 and not (continues and self.done):
            raise Failure(self.url, f"HTTP {response.status_code} instead of a file", BY_HAND)
        if continues and (offset != self.done or (stated or self.total) != (self.total or stated)):
            # Another file than before, or another piece of it than was asked for.
            self._start_over()
            return False
        if not continues:
            self.total = self.size
            if self.done:
                self._start_over()
        self._expect(stated)
        etag = response.headers.get("ETag", "")
        self.etag = etag if etag.startswith('"') else None
        self._start_stage()
        with self.part.open("ab") as file, self._hanging_up(response):
            self._copy(response, file, endless=stated is None)
        return True

    @contextmanager
    def _hanging_up(self, response: Response) -> Iterator[None]:
        """Hang up when `stop` is set, rather than wait for a server that sends nothing."""
        hang_up = getattr(response.raw, "shutdown", lambda: None)  # of urllib3 2.3 and newer
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_QUIET_SECONDS):
                if self.attempts.stopped:
                    with suppress(Exception):  # the connection may have ended by itself
                        hang_up()
                    return

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _expect(self, stated: int | None) -> None:
        """Refuse what is not the expected file, or has no room, before a byte of it is written."""
        if self.size is not None and stated not in (None, self.size):
            raise WeightsError(
                f"{shown(self.url)}: the file there has {stated} bytes, expected {self.size}; it "
                f"was replaced, or this is a page about it: look in a browser, or {BY_HAND}"
            )
        self.total = self.total if stated is None else stated
        if self.total is None:
            return
        if self.total > LARGEST_BYTES:
            raise self._too_large(f"has {show_bytes(self.total)}")
        needed, free = self.total - self.done, free_bytes(self.part.parent)
        if needed > free:
            raise WeightsError(
                f"{self.part.parent}: {self.stage} needs {show_bytes(needed)}, "
                f"{show_bytes(free)} free; make room there, or let VEMCTL_CACHE name a folder on "
                f"another disk"
            )

    def _copy(self, response: Response, file: BinaryIO, *, endless: bool) -> None:
        # read1 hands out what has arrived: a slow or broken connection loses nothing, and `stop`
        # is soon seen. Older urllib3 has only read, which waits for all that it is asked for.
        read, most = getattr(response.raw, "read1", None), CHUNK_BYTES
        if read is None:
            read, most = response.raw.read, 1 << 16
        untold, told_at = 0, time.monotonic()
        try:
            while endless or self.done < (self.total or 0):
                self.attempts.check()
                with network(self.url):
                    data: bytes = read(most, decode_content=False)
                if not data:
                    break
                if self.done + len(data) > (self.total or LARGEST_BYTES):
                    file.truncate(0)
                    raise self._too_large(f"sends more than {self.total or LARGEST_BYTES} bytes")
                file.write(data)
                self.done += len(data)
                untold += len(data)
                if self.done > self.furthest:
                    self.furthest = self.done
                    self.attempts.begin_anew()
                if untold >= CHUNK_BYTES or time.monotonic() - told_at > _QUIET_SECONDS:
                    self.listen(StageAdvanced(self.stage, untold))
                    untold, told_at = 0, time.monotonic()
        finally:
            if untold:
                self.listen(StageAdvanced(self.stage, untold))
        self.attempts.check()
        if self.done < (self.total or 0):
            problem = f"the connection ended after {self.done} of {self.total} bytes"
            raise Failure(self.url, problem, "run the same command again to continue", again=True)

    def _too_large(self, what: str) -> WeightsError:
        return WeightsError(
            f"{shown(self.url)}: {what}, which cannot be the file of weights; look in a browser "
            f"what is there, or {BY_HAND}"
        )

    def _start_over(self) -> None:
        self.part.unlink(missing_ok=True)
        self.done, self.total, self.etag = 0, self.size, None
        if self.began is not None:
            self._finish_stage(self.began)
            self.began = None

    def _start_stage(self) -> float:
        if self.began is None:
            self.began = time.monotonic()
            self.listen(StageStarted(self.stage, self.total or 0, "bytes", self.done))
        return self.began

    def _finish_stage(self, began: float) -> None:
        self.listen(StageFinished(self.stage, time.monotonic() - began))


def _extent(response: Response) -> tuple[int | None, int | None]:
    """Return where the answer begins in the file, and how long the file is, as far as stated."""
    if response.status_code in (206, 416):
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if not found:
            return None, None
        return (
            int(found[1]) if found[1] else None,
            int(found[2]) if found[2] != "*" else None,
        )
    length = response.headers.get("Content-Length", "")
    chunked = "Transfer-Encoding" in response.headers
    return 0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) and not chunked else None


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    """Say in one line why `part` cannot be written; what the network does is no OSError here."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(
                f"{part.parent}: disk full or quota exceeded, {show_bytes(free_bytes(part.parent))}"
                f" free; make room there, or let VEMCTL_CACHE name a folder on another disk"
            ) from error
        reason = error.strerror or str(error)
        raise WeightsError(
            f"{part}: cannot be written: {reason}; mend that, or let VEMCTL_CACHE name another "
            f"folder"
        ) from error
