"""Weights of the catalogue, or from an address, in a store: found there, or fetched into it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vemctl.errors import WeightsError
from vemctl.events import Noted
from vemctl.published import PublishedFile, Weights
from vemctl.weights.access import Access
from vemctl.weights.archives import unpack_members
from vemctl.weights.digests import Digest, sha256_of
from vemctl.weights.fetching import fetch_file
from vemctl.weights.locations import AtUrl, InPackage, InRepository, parse_location
from vemctl.weights.record import (
    Kind,
    Record,
    StoredFile,
    check_file_name,
    differences,
    now,
    stored_files,
)

ADDRESS = "address"
"""In the place of a method, in the names under which addresses are kept."""


@dataclass(frozen=True)
class Held:
    """Weights that are there and verified.

    Attributes
    ----------
    record : Record
    folder : Path
        That holds its files.
    """

    record: Record
    folder: Path

    @property
    def path(self) -> Path:
        """Of the only file, or of the folder."""
        files = self.record.files
        return self.folder / files[0].name if len(files) == 1 else self.folder


def in_package(weights: Weights) -> bool:
    """Tell whether a wheel carries the weights."""
    return all(isinstance(parse_location(f.sources[0]), InPackage) for f in weights.files)


def held(weights: Weights, access: Access) -> Held | None:
    """Return published weights if they are on this machine and sound; opens no connection.

    Raises
    ------
    WeightsError
        A package lacks the file that it should carry, or carries another.
    """
    if in_package(weights):
        return _packaged(weights)
    for store in access.stores:
        record = store.record(weights.name)
        if record is None or not store.holds(record):
            continue
        wrong = _changes(access.own.record(weights.name), record.files, weights)
        if wrong := wrong or problems(weights, record, store.folder_of(record)):
            access.listen(Noted(f"{wrong[0]}; it is not used", "warning"))
            continue
        return Held(record, store.folder_of(record))
    return None


def problems(weights: Weights | None, record: Record, folder: Path) -> list[str]:
    """Return what is wrong with files: against their record, and the catalogue's digests.

    Parameters
    ----------
    weights : Weights, optional
        None where the catalogue knows none of that name.
    record : Record
    folder : Path
        Where the files are.
    """
    wrong = differences(record, folder)
    if wrong or weights is None:
        return wrong
    for file in weights.files:
        path = folder / file.name
        if not file.digest or file.members:
            continue
        if not path.is_file():
            wrong.append(f"{path} is missing")
        elif other := Digest.parse(file.digest, weights.name).contradiction(path):
            wrong.append(f"{path} has {other}, expected {file.digest}")
    return wrong


def keep_published(weights: Weights, access: Access) -> Held:
    """Return published weights, fetched if they are not here yet.

    Raises
    ------
    WeightsError
        They cannot be had, or are not what was published.
    Interrupted
        `access.stop` was set.
    """
    found = held(weights, access)
    if found is not None:
        return found
    _refuse_offline(weights.name, f"vemctl weights fetch {weights.name}", access)
    store = access.own
    with store.locked(weights.name, access.listen, access.stop):
        found = held(weights, access)  # another process may have fetched it meanwhile
        if found is not None:
            return found
        store.sweep()
        before = store.record(weights.name)
        with store.filling() as folder:
            sources = [_fill(file, weights, folder, access) for file in weights.files]
            fetched = stored_files(folder)
            if changed := _changes(before, fetched, weights):
                raise WeightsError(
                    f"{changed[0]}; if its authors say so, accept it by vemctl weights remove "
                    f"--forget {weights.name}"
                )
            kind: Kind = "address" if weights.method == ADDRESS else "published"
            source = " ".join(dict.fromkeys(sources))
            record = Record(weights.name, kind, fetched, source, weights.licence, now())
            store.keep(record, folder)
    return Held(record, store.folder_of(record))


def keep_address(address: str, access: Access) -> Held:
    """Return the file at an address that the user gave, fetched if it is not here yet.

    Parameters
    ----------
    address : str
        ``doi:DOI/FILE`` or ``https://HOST/FILE#sha256=HEX``.
    access : Access

    Raises
    ------
    WeightsError
        It cannot be had, nothing pins it, or it is not what it should be.
    """
    location = parse_location(address)
    assert isinstance(location, AtUrl | InRepository), "the caller knows an address"
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    file = PublishedFile(check_file_name(location.file), (address,))
    return keep_published(Weights(f"{ADDRESS}/{key}", (file,), "", ""), access)


def _fill(file: PublishedFile, weights: Weights, folder: Path, access: Access) -> str:
    """Fetch one file into `folder`, out of its archive if it lies in one; return its source."""
    path, source = fetch_file(file, weights.name, access)
    if file.members:
        try:
            unpack_members(path, folder, file.members, file.extra_members)
        finally:
            path.unlink()
    else:
        shutil.move(path, folder / file.name)
    return source


def _changes(before: Record | None, files: tuple[StoredFile, ...], weights: Weights) -> list[str]:
    """Return which files changed since their first fetch, of those that only that fetch pins."""
    pinned = {file.name for file in weights.files if file.digest and not file.members}
    known = {file.name: file.sha256 for file in before.files} if before else {}
    return [
        f"{weights.name}: {file.name} changed since it was first fetched: SHA-256 {file.sha256}, "
        f"expected {known[file.name]}"
        for file in files
        if file.name not in pinned and known.get(file.name, file.sha256) != file.sha256
    ]


def _refuse_offline(name: str, command: str, access: Access) -> None:
    if access.offline:
        folders = ", ".join(str(store.folder) for store in access.stores)
        raise WeightsError(
            f"{name} is not on this machine (looked in {folders}), and VEMCTL_OFFLINE or --offline "
            f"forbids to fetch it: where there is a network, run {command} and vemctl weights pack "
            f"weights.tar; here, vemctl weights unpack weights.tar"
        )


def _packaged(weights: Weights) -> Held:
    found = []
    for file in weights.files:
        location = parse_location(file.sources[0])
        assert isinstance(location, InPackage), "the caller knows it lies in a package"
        path = _package_file(location, weights.name)
        expected = Digest.parse(file.digest, weights.name)
        sha256 = sha256_of(path)
        if sha256 != expected.value:
            raise WeightsError(
                f"{weights.name}: {path} has SHA-256 {sha256}, expected {expected.value}; install "
                f"{location.package} again"
            )
        found.append(StoredFile(file.name, sha256, path.stat().st_size))
    source = weights.files[0].sources[0]
    record = Record(weights.name, "published", tuple(found), source, weights.licence)
    return Held(record, path.parent)


def _package_file(location: InPackage, name: str) -> Path:
    try:
        path = Path(str(files(location.package) / location.file))
    except (ModuleNotFoundError, TypeError) as error:
        raise WeightsError(
            f"{name}: {location.package} is not an installed package; install it again"
        ) from error
    if not path.is_file():
        raise WeightsError(
            f"{name}: {location.file} is missing from package {location.package}; install it again"
        )
    return path
