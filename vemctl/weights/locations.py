"""Where a file of weights lies: the short forms of the catalogue and of ``--weights``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from vemctl.errors import WeightsError
from vemctl.weights.digests import Digest

ADDRESSES = ("doi:", "https://", "http://")
_GITHUB = re.compile(r"github:([\w.-]+/[\w.-]+)@([0-9a-f]{40})/(.+)")
_DOI = re.compile(r"doi:(10\.\d{4,9}/[^\s#?]+)/([^/#?]+)")


@dataclass(frozen=True)
class InPackage:
    """A file that an installed package carries."""

    package: str
    file: str


@dataclass(frozen=True)
class OnGitHub:
    """A file of a repository at a commit."""

    repository: str
    commit: str
    path: str

    @property
    def url(self) -> str:
        """Of the file itself."""
        place = f"{self.repository}/{self.commit}/{quote(self.path)}"
        return f"https://raw.githubusercontent.com/{place}"

    @property
    def large_file_url(self) -> str:
        """Of the file that a Git LFS pointer at this place stands for."""
        place = f"{self.repository}/{self.commit}/{quote(self.path)}"
        return f"https://media.githubusercontent.com/media/{place}"


@dataclass(frozen=True)
class InRepository:
    """A file of a data repository such as Zenodo or a Dataverse, found by its name."""

    doi: str
    file: str


@dataclass(frozen=True)
class AtUrl:
    """A file at an address, with what pins it if that is known."""

    url: str
    digest: Digest | None = None

    @property
    def file(self) -> str:
        """The last part of the path."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2]) or "weights"


Location = InPackage | OnGitHub | InRepository | AtUrl


def is_address(asked: str) -> bool:
    """Tell whether `asked` is an address rather than a name or a path."""
    return asked.startswith(ADDRESSES)


def parse_location(text: str) -> Location:
    """Return where `text` says that a file lies.

    Parameters
    ----------
    text : str
        ``package:PACKAGE/FILE``, ``github:OWNER/REPOSITORY@COMMIT/PATH``, ``doi:DOI/FILE`` or
        ``https://...``, the last with ``#sha256=HEX`` where nothing else pins the file.

    Raises
    ------
    WeightsError
        It is of no such form.
    """
    kind = text.partition(":")[0]
    if kind == "package":
        package, _, file = text.removeprefix("package:").partition("/")
        if package and file:
            return InPackage(package, file)
    elif kind == "github" and (found := _GITHUB.fullmatch(text)):
        return OnGitHub(found[1], found[2], found[3])
    elif kind == "doi" and (found := _DOI.fullmatch(text)):
        return InRepository(found[1], unquote(found[2]))
    elif kind in ("http", "https") and urlsplit(text).hostname:
        url, _, fragment = text.partition("#")
        if not fragment:
            return AtUrl(url)
        return AtUrl(url, Digest.parse(fragment.replace("=", ":", 1), text))
    raise WeightsError(
        f"{text}: no address of a file; expected doi:10.5281/zenodo.N/FILE or "
        f"https://HOST/FILE#sha256=HEX"
    )
