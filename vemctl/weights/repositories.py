"""From a DOI and the name of a file to its address: Zenodo, figshare, and every Dataverse."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from vemctl.errors import WeightsError, nearest
from vemctl.events import Listener, Noted
from vemctl.weights.listings import Listed, files_of, plain
from vemctl.weights.network import BY_HAND, RETRIED, network, refuse
from vemctl.weights.patience import Attempts, Failure, Patience, check_address
from vemctl.weights.transfer import USER_AGENT

if TYPE_CHECKING:
    from requests import Response

_DOI = re.compile(r"10\.\d{4,9}/[-._;()/:A-Za-z0-9]+")
_DATASETS = "/api/datasets/"  # of a Dataverse


@dataclass(frozen=True)
class Remote:
    """A file in a data repository.

    Attributes
    ----------
    url : str
        Of its content.
    digest : str, optional
        What the repository says of it, ``"md5:..."`` or ``"sha1:..."`` for instance.
    size : int, optional
        In bytes.
    landing : str
        The page of the record, for people.
    """

    url: str
    digest: str | None
    size: int | None
    landing: str


def look_up(
    doi: str,
    file: str,
    *,
    listen: Listener,
    stop: threading.Event | None = None,
    patience: Patience = Patience(),  # noqa: B008 - it is frozen
) -> Remote:
    """Ask a data repository where a file of a record is.

    Parameters
    ----------
    doi : str
        Such as ``10.5281/zenodo.1234567``; one of a version, so that it means the same for ever.
    file : str
        Its name, in whatever folder of the record it is.
    listen : Listener
    stop : threading.Event, optional
        Set from outside to give up.
    patience : Patience, optional

    Raises
    ------
    WeightsError
        There is no such record or file, it is not public, or the repository cannot be asked.
    Interrupted
        `stop` was set.
    """
    if not _DOI.fullmatch(doi):
        raise WeightsError(f"{doi!r}: no DOI; expected the form 10.5281/zenodo.1234567")
    attempts = Attempts(patience, f"look up doi:{doi}", listen, stop)
    while True:
        attempts.check()
        try:
            return _Inquiry(doi).find(file, patience, listen)
        except Failure as failure:
            attempts.wait_after(failure)


class _Inquiry:
    """One attempt to find a file of the record `doi`."""

    def __init__(self, doi: str) -> None:
        self.doi = doi
        self.url, self.host = "https://doi.org/", "doi.org"  # that were asked last

    def find(self, file: str, patience: Patience, listen: Listener) -> Remote:
        """Return where `file` is."""
        from pooch.downloaders import doi_to_repository
        from requests import JSONDecodeError

        try:
            with network(f"https://doi.org/{self.doi}"), _told(listen):
                repository = doi_to_repository(
                    self.doi,
                    headers={"User-Agent": USER_AGENT},
                    timeout=patience.timeout,
                    hooks={"response": self._check},
                )
                answer = repository.api_response
            listed = self._listing(answer)
            chosen = self._choose(file, listed)
            url = str(repository.download_url(file))
        except Failure as failure:
            if isinstance(failure.__cause__, JSONDecodeError):
                # A page of maintenance, or half of an answer, which old urllib3 takes for all.
                problem = "answers with something that is not JSON"
                cure = f"try again later, or {BY_HAND}"
                raise Failure(self.url, problem, cure, again=True) from failure
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._complaint(
                f"{self.host} answers in a form that is not understood here; the record may not "
                f"be public: look in a browser, and {BY_HAND}"
            ) from error
        check_address(url)
        return Remote(url, chosen.digest, chosen.size, repository.archive_url)

    def _check(self, response: Response, *_: Any, **__: Any) -> None:
        """Judge every answer as it comes; pooch itself stumbles over refusals later."""
        status, parts = response.status_code, urlsplit(response.url)
        self.url, self.host = response.url, plain(parts.hostname or "")
        if self.host == "doi.org":
            self._check_resolver(response)
        elif status >= 400 and status not in RETRIED:
            if parts.path.startswith(_DATASETS):
                with response:
                    raise self._no_dataset(response)
            if parts.path.startswith("/api/") or self.host == "api.figshare.com":
                response.close()
                raise self._not_public(f"{self.host} answers HTTP {status}")
            # A page for people, which may turn programs away: what counts is the interface.
            response.status_code = 200
        refuse(response)

    def _check_resolver(self, response: Response) -> None:
        if response.status_code == 404:
            response.close()
            raise self._complaint("no such DOI; check its spelling")
        target = urljoin(response.url, response.headers.get("location", ""))
        if response.is_redirect and target.startswith("http://"):
            # Old DOIs lead to addresses of before their repositories had TLS.
            response.headers["location"] = "https://" + target.removeprefix("http://")

    def _no_dataset(self, response: Response) -> WeightsError:
        try:
            dataverse = response.json()["status"] == "ERROR"
        except (LookupError, TypeError, ValueError):
            return self._unknown_repository()
        if dataverse:
            return self._not_public(f"{self.host} answers HTTP {response.status_code}")
        return self._unknown_repository()

    def _listing(self, answer: Any) -> list[Listed]:
        """Return the files of the record, from what the repository's interface says."""
        if hasattr(answer, "json"):
            try:
                answer = answer.json()
            except ValueError as error:
                raise self._unknown_repository() from error
        listed = files_of(answer)
        if listed:
            return listed
        metadata = answer.get("metadata", {}) if isinstance(answer, dict) else {}
        access = plain(str(metadata.get("access_right", "open")))
        until = plain(str(metadata.get("embargo_date", "")))
        about = "" if access == "open" else f" ({access}{' until ' if until else ''}{until})"
        raise self._not_public(f"{self.host} lists no files of it{about}")

    def _choose(self, file: str, listed: list[Listed]) -> Listed:
        found = [one for one in listed if one.name == file]
        if not found:
            names = sorted({plain(one.name) for one in listed})
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            raise self._complaint(
                f"no file {file!r} there.{nearest(file, names)} "
                f"Files: {', '.join(names[:10])}{more}"
            )
        chosen = found[-1]  # which is the one that pooch takes
        if chosen.closed:
            raise self._not_public(f"{file} is {chosen.closed}")
        if len(found) > 1 and (len({one.digest for one in found}) > 1 or not chosen.digest):
            folders = " and ".join(repr(one.folder or "/") for one in found)
            raise self._complaint(
                f"{file} is there {len(found)} times, in the folders {folders}; {BY_HAND}"
            )
        return chosen

    def _complaint(self, text: str) -> WeightsError:
        return WeightsError(f"doi:{self.doi}: {text}")

    def _not_public(self, why: str) -> WeightsError:
        return self._complaint(
            f"{why}: restricted, embargoed, withdrawn or never public; ask its authors for access, "
            f"or {BY_HAND}"
        )

    def _unknown_repository(self) -> WeightsError:
        return self._complaint(
            f"leads to {self.host}, which is neither Zenodo nor figshare nor a Dataverse; give the "
            f"https address of the file instead, or {BY_HAND}"
        )


@contextmanager
def _told(listen: Listener) -> Iterator[None]:
    """Pass on what pooch warns of: a figshare DOI that names no version."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            listen(Noted(" ".join(str(warning.message).split()), "warning"))
