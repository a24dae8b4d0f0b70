"""Asking a server again: when that helps, how long to wait, and what to say when it does not."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit

from vemctl.errors import Interrupted, WeightsError
from vemctl.events import Listener, Noted


@dataclass(frozen=True)
class Patience:
    """How often a server is asked, and for how long it is waited for, in seconds."""

    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0

    @property
    def timeout(self) -> tuple[float, float]:
        """As `requests` takes it."""
        return (self.connect_timeout, self.read_timeout)


class Failure(Exception):  # noqa: N818 - it ends one attempt, not the undertaking
    """One attempt failed.

    Parameters
    ----------
    url : str
        Where.
    problem, cure : str
        What went wrong, and what the user does about it.
    again : bool
        Another attempt may do better.
    wait : float, optional
        How many seconds the server asked to wait before that.
    """

    def __init__(
        self, url: str, problem: str, cure: str, *, again: bool = False, wait: float | None = None
    ) -> None:
        super().__init__(f"{shown(url)}: {problem}; {cure}")
        self.url, self.problem = shown(url), problem
        self.again, self.wait = again, wait


class Attempts:
    """The attempts at one undertaking, counted.

    Parameters
    ----------
    patience : Patience
    doing : str
        What is undertaken, for the message of an interruption.
    listen : Listener
        Is told of each wait.
    stop : threading.Event, optional
        Set from outside to end it.
    """

    def __init__(
        self, patience: Patience, doing: str, listen: Listener, stop: threading.Event | None
    ) -> None:
        self._patience, self._doing, self._listen = patience, doing, listen
        self._stop = stop or threading.Event()
        self._failed = 0

    def begin_anew(self) -> None:
        """Forget earlier failures, because something was achieved."""
        self._failed = 0

    @property
    def stopped(self) -> bool:
        """Whether `stop` is set."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise Interrupted if `stop` is set."""
        if self.stopped:
            raise Interrupted(f"{self._doing}: stopped; the same command continues it")

    def wait_after(self, failure: Failure) -> None:
        """Return when it is time for another attempt.

        Raises
        ------
        WeightsError
            Another attempt is in vain, there were enough, or the server wants a long wait.
        Interrupted
            `stop` was set.
        """
        self._failed += 1
        patience = self._patience
        if not failure.again:
            raise WeightsError(str(failure)) from failure
        asked = failure.wait or 0.0
        if asked > patience.longest_wait:
            until = datetime.now().astimezone() + timedelta(seconds=asked)
            raise WeightsError(
                f"{failure.url}: {failure.problem}, and asks to be left alone for {asked:.0f} s; "
                f"try again after {until:%Y-%m-%d %H:%M}"
            ) from failure
        if self._failed >= patience.attempts:
            raise WeightsError(f"{failure} ({self._failed} attempts)") from failure
        doubled = patience.first_wait * 2 ** min(self._failed - 1, 30)
        wait = max(asked, min(doubled, patience.longest_wait))
        self._listen(
            Noted(
                f"{failure.url}: {failure.problem}; trying again in {wait:.3g} s "
                f"(attempt {self._failed + 1} of {patience.attempts})",
                "warning",
            )
        )
        self._stop.wait(wait)
        self.check()


def check_address(url: str) -> None:
    """Raise WeightsError unless `url` is a plain http or https address."""
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        fit = False
    if not fit or not url.isprintable() or " " in url:
        raise WeightsError(f"{shown(url)}: cannot be fetched; expected https://HOST/FILE")


def shown(url: str) -> str:
    """Return `url` on one line, without what may be secret: user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return repr(url)
    host = parts.netloc.rpartition("@")[2]
    text = urlunsplit((parts.scheme, host, parts.path, "", "")) if host else url
    return text if text.isprintable() else repr(text)


def seconds_asked(retry_after: str | None) -> float | None:
    """Return what a Retry-After header asks for; None where it says nothing sensible."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]{1,8}", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
