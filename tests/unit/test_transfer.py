"""Downloads over real connections: whole, continued, refused, and what is said of each."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webworld import World

from vemctl.errors import Interrupted, WeightsError
from vemctl.events import Event, Noted, StageAdvanced, StageFinished, StageStarted
from vemctl.weights import transfer
from vemctl.weights.patience import Patience
from vemctl.weights.transfer import download

URL = "https://host.example/weights/net.pth"
CONTENT = bytes(range(256)) * 12_000  # 3 MB
QUICK = Patience(first_wait=0.01, connect_timeout=5, read_timeout=5)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Lead this process into a world of the test's own."""
    with World() as world:
        world.enter(monkeypatch)
        world.serve(URL, CONTENT)
        yield world


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Name a file that is not there."""
    return tmp_path / "net.pth.part"


def fetch(part: Path, url: str = URL, patience: Patience = QUICK, **how: Any) -> list[Event]:
    """Download; return what was told."""
    told: list[Event] = []
    download(url, part, stage="fetch", listen=told.append, patience=patience, **how)
    return told


def warnings_of(told: list[Event]) -> list[str]:
    return [event.text for event in told if isinstance(event, Noted) and event.level == "warning"]


def refused(part: Path, url: str = URL, **how: Any) -> str:
    """Return the line with which a download is refused."""
    with pytest.raises(WeightsError) as raised:
        fetch(part, url, **how)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def bytes_told(told: list[Event]) -> int:
    """Check that a stage adds up, or several that follow each other; return the last one's end."""
    done = total = -1
    running = False
    for event in told:
        if isinstance(event, StageStarted):
            assert not running
            assert (event.name, event.unit) == ("fetch", "bytes")
            running, done, total = True, event.done, event.total
        elif isinstance(event, StageAdvanced):
            assert running
            done += event.amount
            assert event.amount > 0
            assert done <= (total or done)
        elif isinstance(event, StageFinished):
            running = False
    assert not running
    assert total in (0, done)
    return done


def test_a_file_comes_whole_and_the_events_add_up(world: World, part: Path) -> None:
    """In few chunks; the server sees who asks, and that nothing is to be compressed."""
    told = fetch(part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert told[0] == StageStarted("fetch", len(CONTENT), "bytes")
    assert isinstance(told[-1], StageFinished)
    assert bytes_told(told) == len(CONTENT)
    assert len(told) < 10
    assert world.log == ["GET host.example /weights/net.pth"]
    assert world.requests[0].headers["user-agent"].startswith("vemctl/")
    assert world.requests[0].headers["accept-encoding"] == "identity"


def test_the_permissions_are_those_of_the_umask(world: World, part: Path) -> None:
    """A store may be shared with a group."""
    before = os.umask(0o022)
    try:
        fetch(part)
    finally:
        os.umask(before)
    assert part.stat().st_mode & 0o777 == 0o644


def test_an_empty_file_is_a_file(world: World, part: Path) -> None:
    """Whatever it may be good for."""
    world.serve(URL, b"")
    assert bytes_told(fetch(part)) == 0
    assert part.read_bytes() == b""


def test_a_length_may_be_unknown(world: World, part: Path) -> None:
    """Then the total of the stage is 0, or what the caller expects."""
    world.serve(URL, CONTENT, chunked=True)
    told = fetch(part)
    assert told[0] == StageStarted("fetch", 0, "bytes")
    assert bytes_told(told) == len(CONTENT)
    part.unlink()
    assert fetch(part, size=len(CONTENT))[0] == StageStarted("fetch", len(CONTENT), "bytes")
    assert part.read_bytes() == CONTENT


def test_plain_http_works_too(world: World, part: Path) -> None:
    """The caller verifies the content."""
    fetch(part, URL.replace("https", "http"))
    assert part.read_bytes() == CONTENT
    assert not world.requests[0].secure


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "HTTP 404, no such file; it was moved or withdrawn: download it by hand and run "),
        (401, "HTTP 401, not public; ask its authors"),
        (403, "HTTP 403, not public; ask its authors for access, or download it by hand and run "),
        (410, "HTTP 410, no such file"),
        (204, "HTTP 204 instead of a file"),
        (416, "HTTP 416, the server refuses"),
    ],
)
def test_a_refusal_is_final(world: World, part: Path, status: int, words: str) -> None:
    """It is not asked again; the line names the place and the cure, and no file is left."""
    world.status(URL, status)
    text = refused(part)
    assert text.startswith(URL)
    assert words in text
    assert "vemctl weights add NAME FILE" in text
    assert len(world.log) == 1
    assert not part.exists()


def test_a_busy_server_is_asked_again(world: World, part: Path) -> None:
    """Twice busy, then ready; each wait is told."""
    world.fail(URL, 503, times=2)
    told = fetch(part)
    assert part.read_bytes() == CONTENT
    assert [text.split("; ")[0] for text in warnings_of(told)] == [
        f"{URL}: HTTP 503, the server is busy or down"
    ] * 2
    assert len(world.log) == 3
    assert bytes_told(told) == len(CONTENT)


def test_a_server_that_stays_busy_is_given_up(world: World, part: Path) -> None:
    """After the attempts that patience allows."""
    world.fail("host.example", 502, times=None)
    assert "HTTP 502, the server is busy or down; try again later (5 attempts)" in refused(part)
    assert len(world.log) == 5


def test_the_wait_that_a_server_asks_for_is_kept(world: World, part: Path) -> None:
    """In seconds, on a real clock."""
    world.fail(URL, 429, headers={"Retry-After": "1"})
    began = time.monotonic()
    fetch(part)
    assert time.monotonic() - began >= 1
    assert part.read_bytes() == CONTENT


def test_a_wait_that_is_too_long_is_the_users(world: World, part: Path) -> None:
    """It says until when, and nobody sits there."""
    world.fail(URL, 429, headers={"Retry-After": "3600"})
    assert "asks to be left alone for 3600 s; try again after 2" in refused(part)
    assert len(world.log) == 1


def test_a_broken_connection_is_continued(world: World, part: Path) -> None:
    """From the byte where it broke, of the same content, in one stage."""
    world.drop_after(URL, 1_000_000, times=2)
    told = fetch(part)
    assert part.read_bytes() == CONTENT
    assert [request.headers.get("range") for request in world.requests] == [
        None,
        "bytes=1000000-",
        "bytes=2000000-",
    ]
    assert world.requests[1].headers["if-range"].startswith('"')
    assert sum(isinstance(event, StageStarted) for event in told) == 1
    assert bytes_told(told) == len(CONTENT)


def test_many_breaks_are_endured_while_bytes_come(world: World, part: Path) -> None:
    """The attempts are counted anew from each byte that is new."""
    world.drop_after(URL, 300_000, times=10)
    fetch(part, patience=Patience(attempts=2, first_wait=0.001))
    assert part.read_bytes() == CONTENT


def test_a_server_that_cannot_continue_sends_all_again(world: World, part: Path) -> None:
    """The stage is restarted, so that progress never goes beyond the total."""
    world.ranges = False
    world.drop_after(URL, 1_000_000)
    told = fetch(part)
    assert part.read_bytes() == CONTENT
    assert sum(isinstance(event, StageStarted) for event in told) == 2
    assert bytes_told(told) == len(CONTENT)


def test_breaks_without_progress_come_to_an_end(world: World, part: Path) -> None:
    """A server that cannot continue and always breaks is not asked for ever."""
    world.ranges = False
    world.drop_after(URL, 1_000_000, times=None)
    text = refused(part, patience=Patience(attempts=3, first_wait=0.001))
    assert text.endswith("(3 attempts)")
    assert len(world.log) == 3


def test_fewer_bytes_than_promised_are_a_break(world: World, part: Path) -> None:
    """A server that promises too much never delivers it."""
    world.serve(URL, CONTENT, stated=len(CONTENT) + 5)
    world.ranges = False
    assert "attempts)" in refused(part, patience=Patience(attempts=2, first_wait=0.001))


def test_a_connection_that_ends_early_without_a_length_is_continued(
    world: World, part: Path
) -> None:
    """The size that the caller expects tells that there is more."""
    world.serve(URL, CONTENT[:1000], chunked=True)

    def listen(event: Event) -> None:
        if isinstance(event, Noted):
            assert "the connection ended after 1000 of 3072000 bytes" in event.text
            world.serve(URL, CONTENT)

    download(URL, part, stage="s", listen=listen, patience=QUICK, size=len(CONTENT))
    assert part.read_bytes() == CONTENT


def test_a_server_that_hangs_up_is_asked_again(world: World, part: Path) -> None:
    """It may be restarting."""
    world.hang_up(URL, times=2)
    assert len(warnings_of(fetch(part))) == 2
    assert part.read_bytes() == CONTENT


def test_what_a_killed_process_left_is_continued(world: World, part: Path) -> None:
    """Progress begins where it stopped."""
    part.write_bytes(CONTENT[:1_234_567])
    told = fetch(part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert told[0] == StageStarted("fetch", len(CONTENT), "bytes", 1_234_567)
    assert bytes_told(told) == len(CONTENT)
    assert world.log == ["GET host.example /weights/net.pth bytes=1234567-"]
    assert "if-range" not in world.requests[0].headers


def test_a_part_that_is_whole_is_recognised(world: World, part: Path) -> None:
    """Without the size by an answer of 416, with it without asking."""
    part.write_bytes(CONTENT)
    told = fetch(part)
    assert told[0] == StageStarted("fetch", len(CONTENT), "bytes", len(CONTENT))
    assert bytes_told(told) == len(CONTENT)
    assert len(world.log) == 1
    assert bytes_told(fetch(part, size=len(CONTENT))) == len(CONTENT)
    assert len(world.log) == 1
    assert part.read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(world: World, part: Path) -> None:
    """It is of another file."""
    for how in ({}, {"size": len(CONTENT)}):
        part.write_bytes(CONTENT + b"more")
        assert bytes_told(fetch(part, **how)) == len(CONTENT)
        assert part.read_bytes() == CONTENT


def test_a_part_is_thrown_away_where_the_server_cannot_continue(world: World, part: Path) -> None:
    """What is there is not appended to."""
    world.ranges = False
    part.write_bytes(b"earlier")
    fetch(part)
    assert part.read_bytes() == CONTENT


def test_a_file_that_is_replaced_meanwhile_is_not_mixed(world: World, part: Path) -> None:
    """Its tag tells; without one, its length does."""
    for headers in ({}, {"ETag": 'W/"weak"'}):
        part.unlink(missing_ok=True)
        world.serve(URL, CONTENT, headers=headers)
        world.drop_after(URL, 1_000_000)
        other = CONTENT[::-1] + b"longer"

        def listen(event: Event, other: bytes = other, headers=headers) -> None:
            if isinstance(event, Noted):
                world.serve(URL, other, headers=headers)

        download(URL, part, stage="s", listen=listen, patience=QUICK)
        assert part.read_bytes() == other


def test_redirects_are_followed(world: World, part: Path) -> None:
    """Repositories keep their files elsewhere."""
    world.redirect(URL, "https://store.example/1")
    world.serve("https://store.example/1", CONTENT)
    world.drop_after("https://store.example/1", 1_000_000)
    fetch(part)
    assert part.read_bytes() == CONTENT
    assert world.log[-1] == "GET store.example /1 bytes=1000000-"


def test_the_world_has_github_with_its_large_files(world: World, part: Path) -> None:
    """A path there may have spaces; a large file is a pointer, and lies elsewhere."""
    world.github("owner/nets", "c0ffee", {"a b/net.pth": CONTENT}, large=True)
    place = "owner/nets/c0ffee/a%20b/net.pth"
    fetch(part, f"https://raw.githubusercontent.com/{place}")
    assert part.read_bytes().startswith(b"version https://git-lfs.github.com/spec/v1\noid sha256:")
    part.unlink()
    fetch(part, f"https://media.githubusercontent.com/media/{place}")
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["http://store.example/1", "ftp://store.example/1", "http://[x"])
def test_a_redirect_does_not_leave_tls(world: World, part: Path, target: str) -> None:
    """It is refused before the other address is asked."""
    world.redirect(URL, "https://middle.example/2")
    world.redirect("https://middle.example/2", target)
    text = refused(part)
    assert "https://middle.example/2: refused, because it redirects from https to an" in text
    assert len(world.log) == 2


def test_redirects_end(world: World, part: Path) -> None:
    """A circle is no file."""
    world.redirect(URL, URL)
    assert "redirects without end" in refused(part)


def test_a_server_that_stalls_is_given_up(world: World, part: Path) -> None:
    """Before the first byte, after some attempts."""
    world.delay(URL, 5)
    quick = Patience(attempts=2, first_wait=0.01, read_timeout=0.15)
    text = refused(part, patience=quick)
    assert "timed out; the server or the network is slow: try again later (2 attempts)" in text


def test_a_transfer_that_stalls_is_continued(world: World, part: Path) -> None:
    """What came before the silence is kept."""
    world.stall_after(URL, 1_000_000)
    fetch(part, patience=Patience(first_wait=0.01, read_timeout=0.3))
    assert part.read_bytes() == CONTENT
    assert "range" in world.requests[-1].headers


def test_no_network_is_said_at_once(monkeypatch: pytest.MonkeyPatch, part: Path) -> None:
    """A name that does not resolve is not asked for again; the cure is another machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    text = refused(part, "https://no-such-host.invalid/x", patience=Patience(first_wait=60))
    assert "the name of the host cannot be resolved" in text
    assert "vemctl weights pack" in text
    assert "vemctl weights unpack" in text


def test_a_server_that_is_not_there_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, part: Path
) -> None:
    """It may be restarting."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    told: list[Event] = []
    with pytest.raises(WeightsError, match="cannot connect; try again later; without a network"):
        download(
            "http://127.0.0.1:1/x",
            part,
            stage="s",
            listen=told.append,
            patience=Patience(attempts=2, first_wait=0.01),
        )
    assert len(warnings_of(told)) == 1


def test_a_proxy_that_is_not_there_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, part: Path
) -> None:
    """It is a matter of configuration, so nobody waits."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://somebody:secret@127.0.0.1:1")
    text = refused(part, patience=Patience(first_wait=60))
    assert f"{URL}: the proxy cannot be used; check HTTPS_PROXY" in text
    assert "secret" not in text


@pytest.mark.parametrize("proxy", ["http://", "socks5://127.0.0.1:1"])
def test_a_proxy_that_makes_no_sense_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, part: Path, proxy: str
) -> None:
    """Requests has several errors for these."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    assert "check HTTPS_PROXY" in refused(part, patience=Patience(attempts=1))


def test_a_proxy_that_refuses_is_named(world: World, part: Path) -> None:
    """With what it answered; where that is of the moment, it is asked again."""
    world.fail_tunnel("host.example", 403)
    assert "the proxy answers HTTP 403; check HTTPS_PROXY" in refused(part)
    world.fail_tunnel("other.example", 502, times=2)
    world.serve("https://other.example/x", CONTENT)
    assert len(warnings_of(fetch(part, "https://other.example/x"))) == 2


def test_a_certificate_that_nobody_vouches_for_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, part: Path
) -> None:
    """At once, and with the variable that helps behind a proxy that inspects."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    text = refused(part, patience=Patience(first_wait=60))
    assert "its certificate is not trusted (" in text
    assert "REQUESTS_CA_BUNDLE" in text
    assert world.log == []


@pytest.mark.parametrize("content", [None, b"no certificates"])
def test_a_bad_file_of_certificates_is_named(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    part: Path,
    tmp_path: Path,
    content: bytes | None,
) -> None:
    """One that is not there, and one that is something else."""
    if content:
        (tmp_path / "ca.pem").write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    assert "REQUESTS_CA_BUNDLE" in refused(part, patience=Patience(attempts=1))


def test_room_is_measured_before_anything_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch, part: Path
) -> None:
    """Only what is missing counts."""
    usage = shutil.disk_usage(part.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
    text = refused(part)
    assert "needs 3.1 MB, 2.0 MB free" in text
    assert "VEMCTL_CACHE" in text
    assert not part.exists()
    part.write_bytes(CONTENT[:2_000_000])
    fetch(part)
    assert part.read_bytes() == CONTENT


def test_a_disk_that_fills_up_meanwhile_is_one_line(world: World, tmp_path: Path) -> None:
    """Somebody else may write there too."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    part = tmp_path / "net.part"
    part.symlink_to(full)
    text = refused(part)
    assert f"{tmp_path}: disk full or quota exceeded" in text
    assert "VEMCTL_CACHE" in text


def test_a_file_that_cannot_be_written_is_one_line(world: World, tmp_path: Path) -> None:
    """It is no failure of the network, and is not tried again."""
    text = refused(tmp_path / "absent" / "net.part", size=None)
    assert f"net.part: cannot be written: {os.strerror(errno.ENOENT)}" in text
    assert len(world.log) == 1


def test_another_size_than_expected_is_refused(world: World, part: Path) -> None:
    """Before it is downloaded, where the server states it."""
    assert f"the file there has {len(CONTENT)} bytes, expected 5;" in refused(part, size=5)
    assert not part.exists()
    world.serve(URL, CONTENT, chunked=True)
    assert "sends more than 5 bytes" in refused(part, size=5)
    assert part.stat().st_size == 0


def test_what_is_far_too_large_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, part: Path
) -> None:
    """Stated or not: no disk is filled by an address of something else."""
    monkeypatch.setattr(transfer, "LARGEST_BYTES", 1_000_000)
    assert "has 3.1 MB, which cannot be the file of weights" in refused(part)
    world.serve(URL, CONTENT, chunked=True)
    assert "sends more than 1000000 bytes" in refused(part)
    assert part.stat().st_size == 0


def test_stop_while_waiting(world: World, part: Path) -> None:
    """Nobody waits for the server any more."""
    world.fail(URL, times=None)
    stop = threading.Event()

    def listen(event: Event) -> None:
        stop.set()

    with pytest.raises(Interrupted, match="s: stopped; the same command continues it"):
        download(URL, part, stage="s", listen=listen, stop=stop, patience=Patience(first_wait=60))


def test_stop_while_streaming_keeps_what_is_there(world: World, part: Path) -> None:
    """The next call continues it."""
    stop = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced):
            stop.set()

    with pytest.raises(Interrupted):
        download(URL, part, stage="s", listen=listen, stop=stop, patience=QUICK)
    there = part.stat().st_size
    assert 0 < there < len(CONTENT)
    assert CONTENT.startswith(part.read_bytes())
    assert bytes_told(fetch(part)) == len(CONTENT)
    assert world.log[-1].endswith(f"bytes={there}-")
    assert part.read_bytes() == CONTENT


def test_a_stop_that_is_set_asks_nobody(world: World, part: Path) -> None:
    """Not even once."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        fetch(part, stop=stop)
    assert world.log == []


@pytest.mark.parametrize("url", ["ftp://host.example/x", "file:///etc/hosts", "net.pth"])
def test_only_the_web_is_asked(world: World, part: Path, url: str) -> None:
    """Other schemes are refused before anything happens."""
    assert "cannot be fetched; expected https://HOST/FILE" in refused(part, url)


def test_another_process_is_led_there_by_its_environment(world: World, part: Path) -> None:
    """As tests of the command line need; requests is not loaded before a download."""
    program = (
        "import sys; from pathlib import Path; from vemctl.weights.transfer import download; "
        "assert 'requests' not in sys.modules; from vemctl.events import ignore; "
        "download(sys.argv[1], Path(sys.argv[2]), stage='s', listen=ignore)"
    )
    subprocess.run(
        [sys.executable, "-c", program, URL, str(part)],
        env={**os.environ, **world.environment},
        check=True,
    )
    assert part.read_bytes() == CONTENT
