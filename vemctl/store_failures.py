"""What object stores say when they fail, as the errors that files have, each in one plain line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

NO_CREDENTIALS = {
    "s3": "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "AWS_SKIP_SIGNATURE=true for public data",
    "gs": "no credentials: set GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for "
    "public data",
}
_METADATA = re.compile(r"169\.254\.|metadata\.google|/computeMetadata/|/latest/(api|meta-data)")
_STATUS = re.compile(r"status code: (\d{3})( [A-Z][A-Za-z' -]*[a-z])?")
_CODE = re.compile(r"<Code>\s*([^<]+?)\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]+?)\s*</Message>")
_REPEATED = re.compile(r"after (\d+) retries")
_CAUSE = re.compile(r'(?:message|error): "((?:[^"\\]|\\.)+)"')
_DENIED_CODES = ("AccessDenied", "Expired", "InvalidAccessKey", "InvalidToken", "Signature")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the exceptions of obstore about a place into OSErrors with its name.

    Parameters
    ----------
    where : str
        Becomes the `filename` of the error.

    Raises
    ------
    FileNotFoundError, PermissionError, FileExistsError, TimeoutError, OSError
        Its `strerror` is one line.
    """
    try:
        yield
    except Exception as error:
        if _is_ours(error):
            raise
        raise _translate(error, where) from error


def broke_off(error: OSError) -> bool:
    """Tell whether an answer had begun, after which obstore asks again only for objects."""
    broken = error.errno in (errno.ECONNRESET, errno.ETIMEDOUT)
    return broken and "(tried" not in (error.strerror or "")


def _is_ours(error: Exception) -> bool:
    """Tell whether it is said well already: everything but what comes out of obstore."""
    if isinstance(error, OSError):
        return error.errno is not None
    return not (type(error).__module__.startswith("obstore") or isinstance(error, ValueError))


def _translate(error: Exception, where: str) -> OSError:
    text = str(error)
    name = type(error).__name__
    scheme = where.partition(":")[0]
    status, code = _STATUS.search(text), _CODE.search(text)
    number = int(status[1]) if status else 0
    repeated = _REPEATED.search(text)
    again = f" (tried {int(repeated[1]) + 1} times)" if repeated else ""
    if _METADATA.search(text) and scheme in NO_CREDENTIALS:
        return PermissionError(errno.EACCES, NO_CREDENTIALS[scheme], where)
    if code and code[1] == "NoSuchBucket":
        return FileNotFoundError(errno.ENOENT, "no such bucket", where)
    if "incorrectly configured region" in text:
        reason = "the bucket is in another region: set AWS_REGION"
        return OSError(errno.EINVAL, reason, where)
    if isinstance(error, FileNotFoundError) or number == 404:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where)
    if name == "AlreadyExistsError":
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), where)
    if "RangeNotSupported" in text:
        reason = (
            "the server does not send parts of files (HTTP ranges); serve it with another, such as "
            "nginx, or copy it here"
        )
        return OSError(errno.ENOTSUP, reason, where)
    answer = _answer(status, text)
    denied = name in ("PermissionDeniedError", "UnauthenticatedError") or number in (401, 403)
    if denied or (code and code[1].startswith(_DENIED_CODES)):
        return PermissionError(errno.EACCES, answer or os.strerror(errno.EACCES), where)
    if answer:
        return OSError(errno.EIO, answer + again, where)
    if "TimedOut" in text or "timed out" in text:
        return TimeoutError(errno.ETIMEDOUT, f"the server did not answer in time{again}", where)
    if "IncompleteBody" in text or "kind: Interrupted" in text:
        return OSError(errno.ECONNRESET, f"the connection broke{again}", where)
    cause = _CAUSE.search(text)
    if "kind: Connect" in text:
        reason = f"cannot connect: {cause[1]}" if cause else "cannot connect"
        return OSError(errno.EHOSTUNREACH, reason + again, where)
    first = text.partition("\n")[0].strip() or name
    return OSError(errno.EIO, (cause[1] if cause and len(first) > 300 else first)[:300], where)


def _answer(status: re.Match[str] | None, text: str) -> str:
    """Say what the server answered; nothing if it did not."""
    if status is None:
        return ""
    message = _MESSAGE.search(text)
    said = f": {' '.join(message[1].split())}" if message else ""
    return f"the server answered {status[1]}{status[2] or ''}{said}"
