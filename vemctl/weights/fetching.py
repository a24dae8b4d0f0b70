"""One published file from the network: sources in turn, verified before anybody sees it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from vemctl.errors import WeightsError
from vemctl.events import Noted
from vemctl.published import PublishedFile
from vemctl.weights.access import Access
from vemctl.weights.digests import Digest
from vemctl.weights.locations import AtUrl, InPackage, InRepository, OnGitHub, parse_location
from vemctl.weights.repositories import look_up
from vemctl.weights.transfer import download

_LARGE_FILE = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)


@dataclass(frozen=True)
class _Place:
    """A file at an address, with what pins it."""

    url: str
    digests: tuple[Digest, ...]
    size: int | None = None
    where: str = ""


def fetch_file(file: PublishedFile, name: str, access: Access) -> tuple[Path, str]:
    """Download a file from the first of its sources that has it.

    Parameters
    ----------
    file : PublishedFile
    name : str
        Of the weights that it belongs to; the caller holds the store's lock on it.
    access : Access

    Returns
    -------
    path : Path
        A verified file, which the caller moves away.
    source : str
        Where it came from.

    Raises
    ------
    WeightsError
        No source has it as it was published; the line says why, for each.
    Interrupted
        `access.stop` was set; a later call continues the download.
    """
    complaints = []
    for source in file.sources:
        try:
            return _fetch_from(source, file, name, access), source
        except WeightsError as error:
            complaints.append(str(error))
            if len(complaints) < len(file.sources):
                access.listen(Noted(f"{error}; trying the next source", "warning"))
    if len(complaints) == 1:
        raise WeightsError(complaints[0])
    raise WeightsError(f"{name}: no source has {file.name}: {'; '.join(complaints)}")


def _fetch_from(source: str, file: PublishedFile, name: str, access: Access) -> Path:
    location = parse_location(source)
    pinned = (Digest.parse(file.digest, name),) if file.digest else ()
    if isinstance(location, InPackage):
        raise WeightsError(f"{name}: {source} belongs to a package and is not fetched")
    if isinstance(location, InRepository):
        place = _in_repository(location, pinned, access)
    elif isinstance(location, OnGitHub):
        place = _Place(location.url, pinned)
    else:
        place = _at_url(location, pinned)
    if not place.digests:
        raise WeightsError(
            f"{place.where or place.url}: nothing pins its content; append #sha256=HEX to the "
            f"address, or download it by hand, check it, and use vemctl weights add"
        )
    key = hashlib.sha256(f"{name} {source}".encode()).hexdigest()[:12]
    part = access.own.part_path(key, file.name)
    _fetch_verified(place, part, name, access)
    if isinstance(location, OnGitHub) and (pointer := _pointer(part)):
        # The commit pins the pointer, and the pointer pins the file that it stands for.
        part.unlink()
        large = _Place(location.large_file_url, (pointer[0],), pointer[1])
        _fetch_verified(large, part, name, access)
    return part


def _in_repository(location: InRepository, pinned: tuple[Digest, ...], access: Access) -> _Place:
    remote = look_up(
        location.doi,
        location.file,
        listen=access.listen,
        stop=access.stop,
        patience=access.patience,
    )
    stated = (Digest.parse(remote.digest, remote.url),) if remote.digest else ()
    return _Place(remote.url, (*pinned, *stated), remote.size, f"doi:{location.doi}")


def _at_url(location: AtUrl, pinned: tuple[Digest, ...]) -> _Place:
    return _Place(location.url, (*pinned, *([location.digest] if location.digest else [])))


def _fetch_verified(place: _Place, part: Path, name: str, access: Access) -> None:
    """Download into `part`; remove it if it is not what was published."""
    part.parent.mkdir(parents=True, exist_ok=True)
    continued = part.exists() and part.stat().st_size > 0
    download(
        place.url,
        part,
        stage=f"fetch {name}",
        listen=access.listen,
        stop=access.stop,
        patience=access.patience,
        size=place.size,
    )
    wrong = [(digest, other) for digest in place.digests if (other := digest.contradiction(part))]
    if not wrong:
        return
    part.unlink()
    if continued:
        access.listen(Noted(f"{name}: the earlier part was of another file; starting over"))
        _fetch_verified(place, part, name, access)
        return
    expected, other = wrong[0]
    raise WeightsError(
        f"{name}: {place.url} is not the file that was published, and was removed: it has {other}, "
        f"expected {expected}; try again, and if that does not help, the server's file has changed "
        f"or somebody tampers with it"
    )


def _pointer(path: Path) -> tuple[Digest, int] | None:
    """Return what a Git LFS pointer points to, or None where the file is no such pointer."""
    if path.stat().st_size > 1024:
        return None
    found = _LARGE_FILE.fullmatch(path.read_bytes())
    return (Digest("sha256", found[1].decode()), int(found[2])) if found else None
