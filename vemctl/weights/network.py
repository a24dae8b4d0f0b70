"""What goes wrong between here and a server, and what to do about each."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from vemctl.weights.patience import Failure, seconds_asked

if TYPE_CHECKING:
    from requests import Response

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""What a server answers that may do better a little later."""

BY_HAND = "download it by hand and run vemctl weights add NAME FILE"
_LATER = "try again later"
_ASK = f"ask its authors for access, or {BY_HAND}"
_PROXY = "check HTTPS_PROXY, or unset it where no proxy is needed"
_CERTIFICATE = (
    "behind a proxy that inspects traffic, let REQUESTS_CA_BUNDLE name a file with its certificate"
)
_NO_NETWORK = (
    "without a network here, fetch on a machine that has one and carry it here: "
    "vemctl weights pack, then vemctl weights unpack"
)


@contextmanager
def network(url: str) -> Iterator[None]:
    """Turn what `requests` and urllib3 raise about `url` into a Failure."""
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (RequestException, HTTPError, OSError) as error:
        request = getattr(error, "request", None)
        raise _failure(getattr(request, "url", None) or url, error) from error


def refuse(response: Response, *_: Any, **__: Any) -> None:
    """Raise a Failure for a refusal, or for a redirect that leaves TLS: a hook of `requests`."""
    if response.is_redirect:
        try:
            target = urlsplit(urljoin(response.url, response.headers["location"]))
        except ValueError:
            target = urlsplit("")
        if response.url.startswith("https:") and target.scheme != "https":
            response.close()
            problem = "refused, because it redirects from https to an address without TLS"
            raise Failure(response.url, problem, BY_HAND)
    status = response.status_code
    beyond_the_end = status == 416 and "Range" in response.request.headers
    if status >= 400 and not beyond_the_end:
        response.close()
        raise refusal(response.url, status, response.headers.get("Retry-After"))


def refusal(url: str, status: int, retry_after: str | None = None) -> Failure:
    """Return the Failure for an HTTP status of 400 or more."""
    if status in (401, 403):
        return Failure(url, f"HTTP {status}, not public", _ASK)
    if status in (404, 410):
        return Failure(
            url, f"HTTP {status}, no such file", f"it was moved or withdrawn: {BY_HAND} if you can"
        )
    if status == 407:
        return Failure(url, f"HTTP {status}, the proxy wants a password", _PROXY)
    again, wait = status in RETRIED, seconds_asked(retry_after)
    if status == 429 or status >= 500:
        problem = f"HTTP {status}, the server is busy or down"
        return Failure(url, problem, _LATER, again=again, wait=wait)
    return Failure(url, f"HTTP {status}, the server refuses", BY_HAND, again=again, wait=wait)


def _failure(url: str, error: Exception) -> Failure:
    from requests import exceptions as of_requests
    from urllib3 import exceptions as of_urllib3

    causes = list(_causes(error))

    def first(*kinds: type[BaseException]) -> Any:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    # urllib3 blames the proxy also where the server behind it hangs up.
    hung_up = first(ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
    of_proxy = first(of_requests.ProxyError, of_requests.InvalidProxyURL) and not hung_up
    if of_proxy or "SOCKS" in str(error):
        # What a proxy says about the server behind it is only in the text.
        answered = re.search(r"Tunnel connection failed: (\d{3})", str(error))
        status = int(answered[1]) if answered else 0
        problem = f"the proxy answers HTTP {status}" if status else "the proxy cannot be used"
        return Failure(url, problem, _PROXY, again=status in RETRIED)
    if untrusted := first(ssl.SSLCertVerificationError):
        why = untrusted.verify_message or "it is for another host"
        return Failure(url, f"its certificate is not trusted ({why})", _CERTIFICATE)
    if first(ssl.SSLError) and not first(ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return Failure(url, "no TLS connection", f"{_PROXY}; {_CERTIFICATE}")
    if first(socket.gaierror):
        return Failure(url, "the name of the host cannot be resolved", _NO_NETWORK)
    if first(of_urllib3.NewConnectionError):
        return Failure(url, "cannot connect", f"{_LATER}; {_NO_NETWORK}", again=True)
    if first(of_requests.Timeout, of_urllib3.TimeoutError, TimeoutError):
        cure = f"the server or the network is slow: {_LATER}"
        return Failure(url, "timed out", cure, again=True)
    if isinstance(error, of_requests.TooManyRedirects):
        return Failure(url, "redirects without end", BY_HAND)
    dropped = (of_requests.ConnectionError, of_requests.ChunkedEncodingError)
    if first(*dropped, of_urllib3.ProtocolError):
        return Failure(url, "the connection dropped", _LATER, again=True)
    if not isinstance(error, (of_requests.RequestException, of_urllib3.HTTPError)):
        # requests' way to say that the file of certificates is not there
        return Failure(url, "no file of trusted certificates", "check REQUESTS_CA_BUNDLE")
    return Failure(url, f"cannot be fetched ({type(error).__name__})", BY_HAND)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Return `error` and what it was made of; the libraries nest it in four ways."""
    from urllib3.exceptions import NewConnectionError

    yield error
    inner = [error.__cause__, getattr(error, "reason", None), *error.args]
    if isinstance(error, NewConnectionError):
        inner.append(error.__context__)
    for cause in inner:
        if isinstance(cause, BaseException) and cause is not error:
            yield from _causes(cause)
