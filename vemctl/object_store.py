"""Object stores and web servers by obstore: made once, patient, and clear about what goes wrong.

Credentials, region and endpoint are what obstore reads in the environment: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``, ``AWS_SKIP_SIGNATURE`` (public
data), ``GOOGLE_APPLICATION_CREDENTIALS``, ``GOOGLE_SKIP_SIGNATURE`` and their like. Requests that
fail for a moment (5xx, 429, time-outs, broken connections) are repeated.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from vemctl.errors import MissingExtraError, OptionError
from vemctl.store_credentials import require_credentials
from vemctl.store_failures import broke_off, translated

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "https", "http")
"""Known beginnings of remote places; the last two are read only."""
OFFLINE = "VEMCTL_OFFLINE"
"""The variable that forbids connections; unset, empty and "0" allow them."""
SECONDS = 60.0
"""How long a server may be silent, a part's upload included: VEMCTL_REMOTE_TIMEOUT."""
RETRIES = 8
"""How often a request is repeated: VEMCTL_REMOTE_RETRIES."""
PART_BYTES = 5 * 2**20
"""Larger objects are sent in parts of this size, and appear when the last one is there."""
PARTS_AT_ONCE = 4

BROKEN_OFF = 3
"""How often a request is made whose answer begins and breaks off, which obstore does not repeat."""

T = TypeVar("T")

_stores: dict[tuple[Any, ...], ObjectStore] = {}
_lock = threading.Lock()


class Place(NamedTuple):
    """Where an object is.

    Attributes
    ----------
    scheme : {"s3", "gs", "https", "http"}
    host : str
        Bucket, or host and port.
    key : str
        Without a slash at either end; "" is the bucket itself.
    """

    scheme: str
    host: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + (f"/{self.key}" if self.key else "")

    @property
    def can_list(self) -> bool:
        """Whether the server tells what it has; web servers do not."""
        return self.scheme in ("s3", "gs")


def is_offline() -> bool:
    """Tell whether VEMCTL_OFFLINE forbids to open a connection."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def connect(place: Place) -> ObjectStore:
    """Return the store of a place, the same one to all threads.

    Parameters
    ----------
    place : Place

    Raises
    ------
    OSError
        Connections are forbidden, or there are no credentials.
    MissingExtraError
        obstore is not installed.
    """
    if is_offline():
        reason = "VEMCTL_OFFLINE or --offline forbids connections"
        raise OSError(errno.ENETDOWN, reason, str(place))
    marks = ("AWS_", "GOOGLE_", "VEMCTL_REMOTE_")
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith(marks)))
    key = (place.scheme, place.host, settings)
    with _lock:
        if key not in _stores:
            _stores[key] = _make(place)
        return _stores[key]


def _make(place: Place) -> ObjectStore:
    try:
        from obstore import store
    except ImportError as error:
        purpose = f"reading and writing {place.scheme}:// places"
        raise MissingExtraError(purpose, "remote") from error
    seconds = _number("VEMCTL_REMOTE_TIMEOUT", SECONDS)
    named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "GOOGLE_BASE_URL")
    plain = any(os.environ.get(name, "").startswith("http://") for name in named)
    plain = plain or place.scheme == "http"
    # obstore forgets this setting of the environment when it is given others
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("true", "1", "yes", "on")
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=min(10.0, seconds)),
            "read_timeout": timedelta(seconds=seconds),
            "timeout": timedelta(hours=1),
            "allow_http": plain or allowed,
        },
        "retry_config": {
            "max_retries": int(_number("VEMCTL_REMOTE_RETRIES", RETRIES)),
            "retry_timeout": timedelta(minutes=3),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=15),
                "base": 2,
            },
        },
    }
    require_credentials(place.scheme, str(place))
    with translated(str(place)):
        if place.scheme == "s3":
            return store.S3Store(place.host, **options)
        if place.scheme == "gs":
            return store.GCSStore(place.host, **options)
        return store.HTTPStore(f"{place.scheme}://{place.host}", **options)


def _number(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 3600:
        raise OptionError(f"{name}={text}: expected a number between 0 and 3600")
    return number


def _repeating(place: Place, ask: Callable[[ObjectStore], T]) -> T:
    """Ask a store what may be asked twice."""
    for attempt in range(BROKEN_OFF):
        try:
            with translated(str(place)):
                return ask(connect(place))
        except OSError as error:
            if attempt == BROKEN_OFF - 1 or not broke_off(error):
                raise
            time.sleep(0.1 * 4**attempt)
    raise AssertionError


def get(place: Place) -> bytes:
    """Return what an object holds.

    Raises
    ------
    OSError
        It is not there (FileNotFoundError), or cannot be read.
    """
    return _repeating(place, lambda store: bytes(store.get(place.key).bytes()))


def stream(place: Place, offset: int = 0) -> tuple[int, Iterator[bytes]]:
    """Return the size of an object and, in pieces, what it holds from `offset` on.

    Raises
    ------
    OSError
        Here, or while the pieces are read.
    """
    with translated(str(place)):
        options: Any = {"range": {"offset": offset}} if offset else None
        found = connect(place).get(place.key, options=options)
        return found.meta["size"], _pieces(place, iter(found.stream(PART_BYTES)))


def _pieces(place: Place, source: Iterator[bytes]) -> Iterator[bytes]:
    while True:
        with translated(str(place)):
            piece = next(source, None)
        if piece is None:
            return
        yield bytes(piece)


def put(place: Place, data: Any) -> None:
    """Store an object, whole or not at all.

    Parameters
    ----------
    place : Place
    data : bytes-like or binary file
        Not an iterator: obstore asks one in a thread in which no other request can be made.
    """
    if not place.can_list:
        raise OSError(errno.EROFS, f"{place.scheme}:// is read only", str(place))

    def send(store: ObjectStore) -> None:
        if hasattr(data, "seek"):
            data.seek(0)
        store.put(place.key, data, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    _repeating(place, send)


def size(place: Place) -> int:
    """Return the bytes of an object.

    Raises
    ------
    OSError
        It is not there (FileNotFoundError), or cannot be asked for.
    """
    return _repeating(place, lambda store: int(store.head(place.key)["size"]))


def delete(place: Place, keys: Sequence[str]) -> None:
    """Remove objects; those that are not there do not matter.

    Parameters
    ----------
    place : Place
        Of the bucket.
    keys : sequence of str
    """
    if not place.can_list:
        raise OSError(errno.EROFS, f"{place.scheme}:// is read only", str(place))
    many = 1000 if place.scheme == "s3" else 1  # as many as one request may name
    for start in range(0, len(keys), many):
        named = list(keys[start : start + many])
        with suppress(FileNotFoundError):
            _repeating(place, partial(_delete, keys=named))


def _delete(store: ObjectStore, keys: list[str]) -> None:
    store.delete(keys)


def below(place: Place) -> Iterator[tuple[str, int]]:
    """List keys and sizes of all objects below a place, in any order."""
    _require_listing(place)
    pages: Any = None
    last: str | None = None

    def more(store: ObjectStore) -> Any:
        nonlocal pages
        try:
            pages = pages or iter(store.list(place.key or None, offset=last))
            return next(pages, None)
        except Exception:
            pages = None  # the next attempt goes on after what is known
            raise

    while (page := _repeating(place, more)) is not None:
        for found in page:
            last = found["path"]
            yield found["path"], found["size"]


def holds_any(place: Place) -> bool:
    """Tell whether there is an object below a place."""
    _require_listing(place)
    return _repeating(
        place, lambda store: bool(next(iter(store.list(place.key or None, chunk_size=1)), None))
    )


def children(place: Place) -> tuple[list[str], list[str]]:
    """List the keys of what looks like folders, and of objects, directly below a place."""
    _require_listing(place)
    found: Any = _repeating(place, lambda store: store.list_with_delimiter(place.key or None))
    return list(found["common_prefixes"]), [entry["path"] for entry in found["objects"]]


def _require_listing(place: Place) -> None:
    if not place.can_list:
        raise OSError(errno.ENOTSUP, "web servers do not list what they have", str(place))
