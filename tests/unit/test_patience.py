"""Waiting and asking again: the loop alone, on a clock that only counts."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from vemctl.errors import Interrupted, WeightsError
from vemctl.events import Event, Noted, ignore
from vemctl.weights.network import refusal
from vemctl.weights.patience import (
    Attempts,
    Failure,
    Patience,
    check_address,
    seconds_asked,
    shown,
)

URL = "https://somebody:secret@host.org/net.pth?token=hidden"


class Clock(threading.Event):
    """Records what is waited for and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


def attempts(clock: Clock, listen=ignore, **patience) -> Attempts:
    return Attempts(Patience(**patience), "fetch probe/small", listen, clock)


def busy(retry_after: str | None = None) -> Failure:
    return refusal(URL, 503, retry_after)


def complaint(trying: Attempts, failure: Failure) -> str:
    with pytest.raises(WeightsError) as raised:
        trying.wait_after(failure)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "hidden" not in str(raised.value)
    return str(raised.value)


def test_waits_double_up_to_the_longest() -> None:
    """The last attempt is followed by no wait but by the error."""
    clock = Clock()
    trying = attempts(clock, attempts=5, first_wait=1.0, longest_wait=3.0)
    for _ in range(4):
        trying.wait_after(busy())
    assert clock.waits == [1.0, 2.0, 3.0, 3.0]
    text = complaint(trying, busy())
    assert text.startswith("https://host.org/net.pth: HTTP 503, the server is busy or down")
    assert "try again later (5 attempts)" in text


def test_each_wait_is_told() -> None:
    """As a warning, with the number of the attempt to come."""
    told: list[Event] = []
    attempts(Clock(), told.append).wait_after(busy())
    assert told == [
        Noted(
            "https://host.org/net.pth: HTTP 503, the server is busy or down; trying again in "
            "0.5 s (attempt 2 of 5)",
            "warning",
        )
    ]


def test_success_begins_the_count_anew() -> None:
    """Bytes that came show that the server lives."""
    clock = Clock()
    trying = attempts(clock, attempts=2)
    for _ in range(4):
        trying.wait_after(busy())
        trying.begin_anew()
    assert clock.waits == [0.5] * 4


def test_what_the_server_asks_for_is_waited() -> None:
    """Longer than it asks where we would wait longer anyway, never shorter."""
    clock = Clock()
    trying = attempts(clock, first_wait=2.0)
    trying.wait_after(busy("7"))
    trying.wait_after(busy("1"))
    assert clock.waits == [7.0, 4.0]


def test_a_date_is_understood() -> None:
    """HTTP dates are in GMT; one that is past asks for nothing."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert seconds_asked(soon) == pytest.approx(30, abs=2)
    past = format_datetime(datetime.now(UTC) - timedelta(days=3), usegmt=True)
    assert seconds_asked(past) == 0
    assert seconds_asked(soon.replace("GMT", "-0000")) == pytest.approx(30, abs=2)


@pytest.mark.parametrize("text", [None, "", "soon", "-3", "1.5", "²", "9" * 40, "Mon, 99 Foo"])
def test_nonsense_asks_for_nothing(text: str | None) -> None:
    """It comes from outside, so anything may stand there."""
    assert seconds_asked(text) is None


def test_a_wait_beyond_the_longest_is_the_users() -> None:
    """The line says until when."""
    text = complaint(attempts(Clock(), longest_wait=60), refusal(URL, 429, "7200"))
    until = datetime.now().astimezone() + timedelta(hours=2)
    assert "asks to be left alone for 7200 s; try again after" in text
    assert f"{until:%Y-%m-%d}" in text or f"{until + timedelta(minutes=1):%Y-%m-%d}" in text


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_some_answers_are_asked_again(status: int) -> None:
    """Those that may be of the moment."""
    clock = Clock()
    attempts(clock).wait_after(refusal(URL, status))
    assert len(clock.waits) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "HTTP 400, the server refuses; download it by hand and run vemctl weights add"),
        (401, "HTTP 401, not public; ask its authors for access, or download it by hand and run"),
        (403, "HTTP 403, not public; ask its authors"),
        (404, "HTTP 404, no such file; it was moved or withdrawn"),
        (407, "HTTP 407, the proxy wants a password; check HTTPS_PROXY"),
        (410, "HTTP 410, no such file"),
        (501, "HTTP 501, the server is busy or down; try again later"),
    ],
)
def test_others_are_final(status: int, words: str) -> None:
    """No wait; one line with the cure."""
    clock = Clock()
    assert words in complaint(attempts(clock), refusal(URL, status))
    assert clock.waits == []


def test_waiting_ends_when_stop_is_set() -> None:
    """At once, however long the wait would have been."""
    stop = threading.Event()
    trying = Attempts(Patience(first_wait=60), "fetch probe/small", ignore, stop)
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    with pytest.raises(Interrupted, match="fetch probe/small: stopped; the same command"):
        trying.wait_after(busy())
    timer.join()


def test_a_waiting_without_a_stop_ends_by_itself() -> None:
    """Libraries need no event."""
    Attempts(Patience(first_wait=0.001), "x", ignore, None).wait_after(busy())


@pytest.mark.parametrize("url", ["https://zenodo.org/a b".replace(" ", "%20"), "http://[::1]:80/x"])
def test_addresses_of_the_web_pass(url: str) -> None:
    """Also with a port, also without TLS: content is verified."""
    check_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host.org/x",
        "file:///etc/passwd",
        "https:///x",
        "https://[::1/x",
        "https://host:port/x",
        "https://host.org/a\nb",
        "https://host.org/a b",
        "net.pth",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    """In one line, whatever they contain."""
    with pytest.raises(WeightsError, match="cannot be fetched; expected https://HOST/F") as raised:
        check_address(url)
    assert "\n" not in str(raised.value)


def test_secrets_are_not_shown() -> None:
    """Messages end up in logs and in bug reports."""
    assert shown(URL) == "https://host.org/net.pth"
