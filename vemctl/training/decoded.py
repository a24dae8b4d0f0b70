"""All that a training may draw from, decoded once: ``--cache all``."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vemctl.durable import free_bytes, show_bytes
from vemctl.errors import Interrupted, OptionError
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted, ignore
from vemctl.geometry import Triple
from vemctl.nn.device import free_main_memory
from vemctl.restoring import VolumeFacts
from vemctl.training.volume_patches import VolumePatches
from vemctl.volumes.array_volume import ArrayVolume, make_header
from vemctl.volumes.npy_volume import open_npy
from vemctl.volumes.volume import Array, Volume


class DecodedPatches:
    """Volumes that are decoded as a whole, in memory or in files that all processes share.

    Parameters
    ----------
    facts : mapping of str to sequence of VolumeFacts
        By role.
    volumes : mapping of str to sequence of Volume
        What is read.
    """

    def __init__(
        self,
        facts: Mapping[str, Sequence[VolumeFacts]],
        volumes: Mapping[str, Sequence[Volume]],
    ) -> None:
        self._facts = facts
        self._volumes = volumes

    def facts(self, role: str) -> Sequence[VolumeFacts]:
        """Return what is known of the volumes of a role."""
        return self._facts[role]

    def read(self, role: str, index: int, corner: Triple, size: Triple) -> Array:
        """Read a patch: see `Patches.read`."""
        z, y, x = (slice(begin, begin + n) for begin, n in zip(corner, size, strict=True))
        return self._volumes[role][index].read((z, y, x))

    def close(self) -> None:
        """Release nothing: there are no open files."""


def decoded_bytes(facts: Mapping[str, Sequence[VolumeFacts]]) -> int:
    """Return what the voxels of all volumes of all roles take together, uncompressed."""
    return sum(
        math.prod(each.shape) * np.dtype(each.dtype).itemsize
        for role in facts.values()
        for each in role
    )


def decode_all(
    patches: VolumePatches,
    folder: Path | None,
    listen: Listener = ignore,
    stop: threading.Event | None = None,
) -> DecodedPatches:
    """Decode once all that may be drawn from; it takes `decoded_bytes` of its facts.

    Parameters
    ----------
    patches : VolumePatches
    folder : Path, optional
        For one .npy file per volume, which worker processes share through the page cache; the
        caller removes it. None for this process' memory.
    listen : Listener
    stop : threading.Event, optional
        Set from outside to end the run.

    Raises
    ------
    OptionError
        There is no room in the folder, or in memory.
    Interrupted
        `stop` was set.
    """
    facts = {role: patches.facts(role) for role in patches.roles}
    needed = decoded_bytes(facts)
    if folder is not None and needed > (free := free_bytes(folder)):
        raise OptionError(
            f"--cache all: needs {show_bytes(needed)} in {folder}, where {show_bytes(free)} are "
            "free: make room, set TMPDIR to another disk, or leave --cache all out"
        )
    if folder is None and needed > (free := free_main_memory()):
        raise OptionError(
            f"--cache all: needs {show_bytes(needed)} of memory, {show_bytes(free)} are free: "
            "leave it out, or use --workers, which share a file"
        )
    stage, began = "decoding the volumes", time.monotonic()
    listen(StageStarted(stage, needed, "bytes"))
    volumes: dict[str, list[Volume]] = {}
    for role, parts in facts.items():
        volumes[role] = []
        for index, part in enumerate(parts):
            path = None if folder is None else folder / f"{role}-{index}.npy"
            dtype = np.dtype(part.dtype)
            array: Array = (
                np.empty(part.shape, dtype)
                if path is None
                else np.lib.format.open_memmap(path, "w+", dtype, part.shape)
            )
            for (z, y, x), block in patches.blocks(role, index):
                if stop is not None and stop.is_set():
                    raise Interrupted(f"stopped while {stage}")
                array[z, y, x] = block
                listen(StageAdvanced(stage, block.nbytes))
            if path is None:
                header = make_header(Path(f"{role}-{index}"), "array in memory", "zyx", array)
                volumes[role].append(ArrayVolume(header, array))
            else:
                array.flush()  # type: ignore[attr-defined]
                volumes[role].append(open_npy(path, "zyx"))
    listen(StageFinished(stage, time.monotonic() - began))
    return DecodedPatches(facts, volumes)
