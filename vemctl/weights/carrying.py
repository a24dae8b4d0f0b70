"""A store in one tar file, for machines without a network, and back; every file is verified."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vemctl.durable import free_bytes, replacing, show_bytes
from vemctl.errors import OutputError, WeightsError
from vemctl.events import Noted, StageAdvanced, StageFinished, StageStarted
from vemctl.published import Weights
from vemctl.weights.access import Access
from vemctl.weights.archives import Entry, check_size, entries, write_entry
from vemctl.weights.keeping import problems
from vemctl.weights.record import Record

LISTING = "vemctl-weights.json"
FORMAT = 1
MOST_LISTING_BYTES = 16 * 2**20


def pack(records: Sequence[Record], archive: Path, access: Access) -> int:
    """Write weights of the stores into a tar file; equal content gives equal bytes.

    Parameters
    ----------
    records : sequence of Record
        Whose files some store holds.
    archive : Path
        That is not there yet.
    access : Access

    Returns
    -------
    int
        Bytes of the archive.

    Raises
    ------
    WeightsError
        Files are missing or damaged.
    OutputError
        The archive exists.
    """
    if archive.exists():
        raise OutputError(f"{archive}: exists; choose another name, or remove it first")
    places = [(record, _folder_of(record, access)) for record in records]
    listing = {"format": FORMAT, "weights": [record.to_json() for record in records]}
    began = time.monotonic()
    access.listen(StageStarted("pack", sum(record.num_bytes for record in records), "bytes"))
    with replacing(archive) as temporary, tarfile.open(temporary, "w") as tarred:
        text = json.dumps(listing, indent=2).encode()
        info = tarfile.TarInfo(LISTING)
        info.size = len(text)
        tarred.addfile(info, io.BytesIO(text))
        for record, folder in places:
            for file in record.files:
                info = tarfile.TarInfo(f"{record.name}/{file.name}")
                info.size = file.num_bytes
                with (folder / file.name).open("rb") as content:
                    tarred.addfile(info, content)
                access.listen(StageAdvanced("pack", file.num_bytes))
    access.listen(StageFinished("pack", time.monotonic() - began))
    return archive.stat().st_size


def unpack(
    archive: Path, catalogue: Mapping[str, Weights], access: Access, *, overwrite: bool
) -> list[Record]:
    """Take the weights of a tar file that `pack` wrote into the store.

    Parameters
    ----------
    archive : Path
    catalogue : mapping of str to Weights
        Whose digests hold for what is published.
    access : Access
    overwrite : bool
        Replace weights of the store that have the same name and other files.

    Returns
    -------
    list of Record
        What was taken in; what was there already is left out.

    Raises
    ------
    WeightsError
        The archive is none of ours, or damaged; files are not what the archive or the catalogue
        says; the store has others under that name. What was taken in before stays.
    """
    if not archive.is_file():
        raise WeightsError(f"{archive}: no such file; expected what vemctl weights pack writes")
    with entries(archive) as found:
        by_path = {entry.path: entry for entry in found}
        records = _listing(by_path, archive)
        total = sum(entry.num_bytes for entry in found)
        check_size(total, archive.name)
        if total > (free := free_bytes(access.own.folder)):
            raise WeightsError(
                f"{archive}: needs {show_bytes(total)} in {access.own.folder}, where "
                f"{show_bytes(free)} are free; make room, or name another folder by VEMCTL_CACHE"
            )
        return [
            record
            for record in records
            if _take(record, by_path, archive, catalogue, access, overwrite=overwrite)
        ]


def _folder_of(record: Record, access: Access) -> Path:
    for store in access.stores:
        if store.record(record.name) == record and store.holds(record):
            folder = store.folder_of(record)
            if wrong := problems(None, record, folder):
                raise WeightsError(f"{record.name}: {wrong[0]}; fetch or register it again")
            return folder
    raise WeightsError(f"{record.name}: its files are not in a store; fetch it first")


def _listing(by_path: Mapping[str, Entry], archive: Path) -> list[Record]:
    where = f"{archive}: no archive of weights, or a damaged one"
    cure = "expected what vemctl weights pack writes; carry it over again"
    entry = by_path.get(LISTING)
    if entry is None or entry.num_bytes > MOST_LISTING_BYTES:
        raise WeightsError(f"{where}: {LISTING} is not in it; {cure}")
    try:
        with entry.open() as listing:
            form: Any = json.loads(listing.read())
        if form["format"] != FORMAT:
            raise WeightsError(f"{archive}: of another version of vemctl; pack it with this one")
        records = [Record.from_json(each, f"{archive}, {LISTING}") for each in form["weights"]]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{where}: {LISTING} cannot be read; {cure}") from error
    for record in records:
        for file in record.files:
            if f"{record.name}/{file.name}" not in by_path:
                raise WeightsError(f"{where}: {record.name}/{file.name} is not in it; {cure}")
    return records


def _take(
    record: Record,
    by_path: Mapping[str, Entry],
    archive: Path,
    catalogue: Mapping[str, Weights],
    access: Access,
    *,
    overwrite: bool,
) -> bool:
    store = access.own
    published = catalogue.get(record.name)
    with store.locked(record.name, access.listen, access.stop):
        before = store.record(record.name)
        same = before is not None and before.files == record.files
        if same and not problems(published, record, store.folder_of(record)):
            access.listen(Noted(f"{record.name} is here already"))
            return False
        if before is not None and not same and not overwrite:
            raise WeightsError(
                f"{record.name}: {archive} has SHA-256 {record.sha256}, but the store knows it "
                f"with {before.sha256}; if the new one is right, use --overwrite"
            )
        with store.filling() as folder:
            for file in record.files:
                write_entry(by_path[f"{record.name}/{file.name}"], folder / file.name, archive.name)
            if wrong := problems(published, record, folder):
                raise WeightsError(
                    f"{archive}: {record.name} is damaged, or not what was published: {wrong[0]}; "
                    f"carry it over again"
                )
            store.keep(record, folder)
    return True
