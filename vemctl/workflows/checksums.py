"""Checksums of finished outputs, so that damage is found years later.

A Zarr store has them in a file of its own: first a line of JSON, with those of the metadata, then
one line per unit of every level, in the order of their numbers. Of other formats the sidecar has
that of the one file.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.durable import output_errors, replacing
from vemctl.errors import InputError, Interrupted, OutputError
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted
from vemctl.prediction.ledger import Ledger
from vemctl.prediction.units import UnitGrid
from vemctl.remote_path import RemotePath
from vemctl.volumes.pyramid import level_layouts
from vemctl.volumes.sidecar import DIGEST, digest_file, read_noted, sidecar_path
from vemctl.volumes.unit_files import (
    DIGEST_BYTES,
    checksum,
    checksum_of,
    metadata_paths,
    unit_path,
)
from vemctl.volumes.volume import Layout, Region, show_region
from vemctl.workflows.job import is_begun
from vemctl.workflows.phases import Phases

NAME = ".vemctl-checksums.jsonl"
"""In the folder of a Zarr store."""
REMOTE_READS = 8
"""Objects that are read at once, each of which one waits for; a disk is best read in order."""
BATCH = 1024
"""Units that are asked for, and lines that are written, at once."""

Checksums = npt.NDArray[np.uint8]
"""(units, `DIGEST_BYTES`)"""


def seal_store(
    folder: Path,
    described: Mapping[str, bytes],
    layout: Layout,
    ledger: Ledger,
    listen: Listener,
    stop: threading.Event,
) -> None:
    """Write the checksums of a Zarr store of which every level is there.

    Parameters
    ----------
    folder : Path
    described : mapping of str to bytes
        The metadata of the group, which may still have to be written.
    layout : Layout
        Of its finest level.
    ledger : Ledger
        Has the checksums of that; those of the others are computed.
    listen : Listener
    stop : threading.Event

    Raises
    ------
    InputError
        What was written cannot be read back.
    OutputError
        The disk is full or refuses, or something vanished.
    Interrupted
        `stop` was set.
    """
    layouts = level_layouts(layout)
    metadata = {name: checksum_of(content).hex() for name, content in described.items()}
    for level, one in enumerate(layouts):
        for name in metadata_paths(level, one):
            metadata[name] = _there(folder, name, _read(folder / name)).hex()
    noted = np.zeros((sum(UnitGrid.of(one).total for one in layouts), DIGEST_BYTES), np.uint8)
    for entry in ledger.entries("final"):
        number = ledger.units.number(entry.timepoint, entry.channel, entry.start)
        noted[number] = np.frombuffer(bytes.fromhex(entry.checksum), np.uint8)
    began = time.monotonic()
    listen(StageStarted("checksums", len(noted) - ledger.units.total, "units"))
    units = _units(folder, layouts, stop, first_level=1)
    for number, (where, found) in enumerate(units, start=ledger.units.total):
        noted[number] = np.frombuffer(_there(folder, where, found), np.uint8)
        listen(StageAdvanced("checksums"))
    listen(StageFinished("checksums", time.monotonic() - began))
    head = {
        "algorithm": "blake2b",
        "metadata": metadata,
        "levels": [each.to_json() for each in layouts],
    }
    with output_errors(folder), replacing(folder / NAME) as path, path.open("wb") as file:
        file.write((json.dumps(head) + "\n").encode())
        for start in range(0, len(noted), BATCH):
            lines = noted[start : start + BATCH].tobytes().hex("\n", DIGEST_BYTES)
            file.write((lines + "\n").encode())


def compare(
    output: Path, listen: Listener, stop: threading.Event
) -> tuple[int, list[dict[str, str]]]:
    """Compare a finished output with its checksums.

    Returns
    -------
    checked : int
        Files.
    damaged : list of dict
        ``where`` and ``what``.

    Raises
    ------
    InputError
        There are no checksums, they are damaged themselves, or something cannot be read.
    Interrupted
        `stop` was set.
    """
    try:
        known = _read_noted(output / NAME)
        if known is None and not output.is_dir():
            return 1, _compare_file(output, listen, stop)
    except OSError as error:
        raise _unreadable(output, error) from error
    if known is None:
        raise _none(output, output / NAME)
    metadata, layouts, noted = known
    checked = len(metadata) + len(noted)
    began = time.monotonic()
    listen(StageStarted("verifying", checked, "files"))
    damaged = []
    for name, checksum_noted in metadata.items():
        damaged += _damage(name, _read(output / name), checksum_noted)
        listen(StageAdvanced("verifying"))
    for (where, found), one in zip(_units(output, layouts, stop), noted, strict=True):
        damaged += _damage(where, found, one.tobytes())
        listen(StageAdvanced("verifying"))
    listen(StageFinished("verifying", time.monotonic() - began))
    return checked, damaged


def _compare_file(output: Path, listen: Listener, stop: threading.Event) -> list[dict[str, str]]:
    sidecar = read_noted(output) or {}
    if DIGEST not in sidecar:
        raise _none(output, sidecar_path(output), is_ours="provenance" in sidecar)
    try:
        digest, expected = str(sidecar[DIGEST]), int(sidecar["file"]["bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(sidecar_path(output), error) from error
    try:
        size = output.stat().st_size
    except FileNotFoundError:
        return [{"where": output.name, "what": "missing"}]
    if size != expected:
        return [{"where": output.name, "what": f"{size} bytes, expected {expected}"}]
    same = digest_file(output, Phases(listen, stop)) == digest
    return [] if same else [{"where": output.name, "what": "other bytes"}]


def _read_noted(path: Path) -> tuple[dict[str, bytes], list[Layout], Checksums] | None:
    """Read what `seal_store` wrote: of the metadata, the levels, and of their units."""
    try:
        with path.open("rb") as file:
            head: Any = json.loads(file.readline())
            metadata = {str(k): bytes.fromhex(v) for k, v in head["metadata"].items()}
            layouts = [Layout.from_json(each) for each in head["levels"]]
            noted = np.zeros(
                (sum(UnitGrid.of(one).total for one in layouts), DIGEST_BYTES), np.uint8
            )
            count = 0
            for count, line in enumerate(file, start=1):
                noted[count - 1] = np.frombuffer(bytes.fromhex(line.decode()), np.uint8)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    if count != len(noted):
        raise _damaged(path, f"{count} lines of checksums, expected {len(noted)}")
    return metadata, layouts, noted


def _units(
    folder: Path, layouts: Sequence[Layout], stop: threading.Event, *, first_level: int = 0
) -> Iterator[tuple[str, bytes | None]]:
    """Yield where every unit lies, in words, and its checksum; None if it is missing."""
    with ThreadPoolExecutor(REMOTE_READS if isinstance(folder, RemotePath) else 1) as pool:
        for level, layout in enumerate(layouts[first_level:], start=first_level):
            grid = UnitGrid.of(layout)

            def read(
                number: int, level: int = level, layout: Layout = layout, grid: UnitGrid = grid
            ) -> tuple[str, bytes | None]:
                if stop.is_set():
                    raise Interrupted("stopped while reading for the checksums")
                timepoint, channel, *ends = grid.place(number)
                z, y, x = (slice(*along) for along in zip(*ends, strict=True))
                path = unit_path(folder, level, layout, (z, y, x), channel, timepoint)
                return _place(level, (z, y, x), channel, timepoint), _read(path)

            # all at once would be a future for each of millions
            for start in range(0, grid.total, BATCH):
                yield from pool.map(read, range(start, min(start + BATCH, grid.total)))


def _read(path: Path) -> bytes | None:
    try:
        return checksum([path])
    except OSError as error:
        raise _unreadable(path, error) from error


def _there(folder: Path, where: str, found: bytes | None) -> bytes:
    if found is None:
        raise OutputError(
            f"{folder}: {where} was written but is not there; run the same command with --resume"
        )
    return found


def _damage(where: str, found: bytes | None, noted: bytes) -> list[dict[str, str]]:
    if found == noted:
        return []
    return [{"where": where, "what": "missing" if found is None else "other bytes"}]


def _place(level: int, unit: Region, channel: int, timepoint: int) -> str:
    return f"level {level}, {show_region(unit)}, channel {channel}, time point {timepoint}"


def _none(output: Path, expected: Path, *, is_ours: bool = False) -> InputError:
    if not is_ours:
        is_begun(output)  # refuses what vemctl predict has not made
    return InputError(
        f"{output}: its checksums are not in {expected.name}: lost, or not noted when it was "
        "finished; copy it again with that file, or make it again with --overwrite"
    )


def _damaged(path: Path, why: object) -> InputError:
    return InputError(f"{path}: damaged ({why}); copy the output again")


def _unreadable(path: Path, error: OSError) -> InputError:
    reason = error.strerror or error
    return InputError(f"{path}: cannot be read back ({reason}); mend that and try again")
