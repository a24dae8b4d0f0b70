"""Checksums of finished outputs, so that damage is found years later.

A Zarr store has them in a file of its own, one line per file of every level, in the order of their
numbers; of other formats the sidecar holds that of the one file.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from vemctl.durable import output_errors, write_json, write_whole
from vemctl.errors import InputError, Interrupted
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted
from vemctl.prediction.ledger import Entry, Ledger
from vemctl.prediction.units import UnitGrid
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.pyramid import level_layouts
from vemctl.volumes.sidecar import read_sidecar, sidecar_path
from vemctl.volumes.volume import Layout, show_region

NAME = ".vemctl-checksums.jsonl"
"""In the folder of a Zarr store."""
KEY = "blake2b"
"""In a sidecar."""
STEP = 2**24
"""Bytes of a file that are read at once."""


def seal_store(folder: Path, layout: Layout, ledger: Ledger, stop: threading.Event) -> None:
    """Write the checksums of a Zarr store of which every level is there.

    Parameters
    ----------
    folder : Path
    layout : Layout
        Of its finest level.
    ledger : Ledger
        Has the checksums of that; those of the others are computed.
    stop : threading.Event

    Raises
    ------
    OutputError
        The disk is full or refuses.
    Interrupted
        `stop` was set.
    """
    finest = [""] * ledger.units.total
    for entry in ledger.entries("final"):
        finest[ledger.units.number(entry.timepoint, entry.channel, entry.start)] = entry.checksum
    layouts = level_layouts(layout)
    lines = [json.dumps({"algorithm": "blake2b", "levels": [each.to_json() for each in layouts]})]
    lines += finest
    for level, one in enumerate(layouts[1:], start=1):
        store = BlockStore(folder, one, level=level)
        for unit in _units(one):
            if stop.is_set():
                raise Interrupted("stopped while noting checksums")
            lines.append(_checksum(store, unit) or "")
    with output_errors(folder):
        write_whole(folder / NAME, ("\n".join(lines) + "\n").encode())


def seal_file(output: Path, listen: Listener) -> None:
    """Note the checksum of a finished file in its sidecar.

    Parameters
    ----------
    output : Path
    listen : Listener

    Raises
    ------
    OutputError
        It cannot be written; the output itself is not concerned.
    """
    sidecar = read_sidecar(output)
    if sidecar is not None:
        digest = _digest(output, listen, threading.Event())
        with output_errors(output):
            write_json(sidecar_path(output), {**sidecar, KEY: digest})


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
        There are no checksums, or they are damaged themselves.
    Interrupted
        `stop` was set.
    """
    if not output.is_dir():
        known = (read_sidecar(output) or {}).get(KEY)
        if not isinstance(known, str):
            raise InputError(_none(output))
        same = _digest(output, listen, stop) == known
        return 1, [] if same else [{"where": output.name, "what": "other bytes"}]
    try:
        head, *known_lines = (output / NAME).read_bytes().decode().splitlines()
        layouts = [Layout.from_json(each) for each in json.loads(head)["levels"]]
    except FileNotFoundError:
        raise InputError(_none(output)) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{output / NAME}: damaged ({error}); copy the output again") from error
    if len(known_lines) != sum(_grid(layout).total for layout in layouts):
        raise InputError(f"{output / NAME}: damaged, lines are missing; copy the output again")
    began = time.monotonic()
    listen(StageStarted("verifying", len(known_lines), "units"))
    damaged, lines = [], iter(known_lines)
    for level, layout in enumerate(layouts):
        store = BlockStore(output, layout, level=level)
        for unit in _units(layout):
            if stop.is_set():
                raise Interrupted("stopped while verifying")
            found = _checksum(store, unit)
            if found != next(lines):
                damaged.append(
                    {
                        "where": f"level {level}, {_place(unit)}",
                        "what": "missing" if found is None else "other bytes",
                    }
                )
            listen(StageAdvanced("verifying"))
    listen(StageFinished("verifying", time.monotonic() - began))
    return len(known_lines), damaged


def _none(output: Path) -> str:
    return (
        f"{output}: no checksums are noted for it: expected an output of vemctl predict that was "
        "finished by this version or a newer one"
    )


def _grid(layout: Layout) -> UnitGrid:
    return UnitGrid(
        layout.shape, layout.shard_shape, layout.num_channels or 1, layout.num_timepoints or 1
    )


def _units(layout: Layout) -> Iterator[Entry]:
    grid = _grid(layout)
    for number in range(grid.total):
        timepoint, channel, start, stop = grid.place(number)
        yield Entry("final", timepoint, channel, start, stop, "")


def _checksum(store: BlockStore, unit: Entry) -> str | None:
    z, y, x = (slice(*ends) for ends in zip(unit.start, unit.stop, strict=True))
    return store.checksum((z, y, x), channel=unit.channel, timepoint=unit.timepoint)


def _place(unit: Entry) -> str:
    z, y, x = (slice(*ends) for ends in zip(unit.start, unit.stop, strict=True))
    return f"{show_region((z, y, x))}, channel {unit.channel}, time point {unit.timepoint}"


def _digest(path: Path, listen: Listener, stop: threading.Event) -> str:
    total = hashlib.blake2b(digest_size=16)
    began = time.monotonic()
    listen(StageStarted("checksum", path.stat().st_size, "bytes"))
    with path.open("rb") as file:
        while part := file.read(STEP):
            if stop.is_set():
                raise Interrupted("stopped while reading for the checksum")
            total.update(part)
            listen(StageAdvanced("checksum", len(part)))
    listen(StageFinished("checksum", time.monotonic() - began))
    return total.hexdigest()
