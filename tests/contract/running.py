"""Volumes of several channels and time points, and runs that are killed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vemctl.events import Event, StageAdvanced
from vemctl.volumes.destination import Destination
from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Layout
from vemctl.workflows.checksums import NAME as CHECKSUMS
from vemctl.workflows.run_record import RECORD


def written(path: Path, values: np.ndarray) -> Path:
    """Write (t, c, z, y, x) as OME-Zarr."""
    times, channels, *shape = values.shape
    layout = Layout(
        "tczyx", tuple(shape), channels, times, values.dtype, None, None, (2, 16, 16), (2, 32, 32)
    )
    destination = Destination.create(path, layout)
    whole = tuple(slice(0, n) for n in shape)
    for t, c in np.ndindex(times, channels):
        destination.store.write(whole, values[t, c], channel=c, timepoint=t)
    destination.finish({}, lambda *_: None)
    return destination.path


def everything(path: Path) -> np.ndarray:
    """Read a volume of five axes."""
    volume = open_volume(path)
    assert volume.header.axes == "tczyx"
    whole = tuple(slice(0, n) for n in volume.header.shape)
    times, channels = (volume.header.num_timepoints, volume.header.num_channels)
    read = [volume.read(whole, channel=c, timepoint=t) for t, c in np.ndindex(times, channels)]
    return np.stack(read).reshape(times, channels, *volume.header.shape)


def _content(path: Path) -> bytes:
    """Read a file, of the checksums only those of units: the metadata tell the store's name."""
    data = path.read_bytes()
    return data.partition(b"\n")[2] if path.name == CHECKSUMS else data


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of a store, but for what tells its name or times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / "zarr.json" and path.name != RECORD
    }


class Killed(BaseException):
    """Ends a run as kill -9 does: nothing of ours tidies up."""


def kill_after(count: int, stage: str = "restoring") -> Callable[[Event], None]:
    """Return a listener that ends a run when so many tiles, or units, are done."""
    done = 0

    def listen(event: Event) -> None:
        nonlocal done
        if isinstance(event, StageAdvanced) and event.name == stage:
            done += event.amount
            if done >= count:
                raise Killed

    return listen
