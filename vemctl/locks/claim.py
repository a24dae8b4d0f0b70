"""Who holds which part of an output: the names, and the record that is left for others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

FILE = re.compile(r"(run|beginning|shard-(\d+)-of-(\d+))\.(?:lock|(\d+)\.lease)")


@dataclass(frozen=True)
class Slot:
    """A part of an output that one process at a time may hold."""

    kind: Literal["run", "shard", "beginning"]
    shard: int = 0
    count: int = 0

    @property
    def stem(self) -> str:
        """Begin the names of its files."""
        return self.kind if self.kind != "shard" else f"shard-{self.shard}-of-{self.count}"

    @property
    def name(self) -> str:
        """Say it to people."""
        named = {"run": "the run", "beginning": "beginning"}
        return named.get(self.kind, f"shard {self.shard}/{self.count}")

    def excludes(self, other: Slot) -> bool:
        """Tell whether not both may be held."""
        return self == other or "run" in (self.kind, other.kind)


def slot_of(name: str) -> tuple[Slot, int | None] | None:
    """Read the name of a file: its slot, and the generation of a lease but None of a lock."""
    if (found := FILE.fullmatch(name)) is None:
        return None
    kind, shard, count, generation = found.groups()
    slot = Slot("shard", int(shard), int(count)) if shard else Slot(kind)  # type: ignore[arg-type]
    return slot, int(generation) if generation else None


@dataclass(frozen=True)
class Holder:
    """Who holds an output or a part of it.

    Attributes
    ----------
    name : str
        ``"the run"``, ``"shard 3/16"`` or ``"beginning"``.
    host, pid, since : str, int, str
        As the holder wrote them, its own clock in ISO 8601; ``""`` and 0 where nothing can be read.
    alive : bool or None
        None if it cannot be known without watching it for a while.
    """

    name: str
    host: str
    pid: int
    since: str
    alive: bool | None

    def __str__(self) -> str:
        named = {"the run": "another run", "beginning": "a shard that begins it"}
        who = named.get(self.name, self.name)
        if not self.host:
            return who
        since = self.since[:16].replace("T", " ")
        return f"{who} on {self.host} (process {self.pid}, since {since})"


def own_record(slot: Slot) -> dict[str, Any]:
    """Describe this process as the holder of a slot."""
    return {
        "what": slot.name,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "kernel": _kernel(),
        "started": _state_and_start(os.getpid())[1],
        "owner": uuid.uuid4().hex,
    }


def to_line(record: Mapping[str, Any]) -> bytes:
    """Write a record as one line, whose end tells that it is whole."""
    return json.dumps(record).encode() + b"\n"


def read_record(data: bytes) -> dict[str, Any]:
    """Read a record; what is unreadable, or half written, is an empty one."""
    with contextlib.suppress(ValueError):
        record = json.loads(data) if data.endswith(b"\n") else None
        if isinstance(record, dict):
            return record
    return {}


def holder_of(slot: Slot, record: Mapping[str, Any], alive: bool | None) -> Holder:
    """Name whoever left a record."""
    host, pid, since = (record.get(key) for key in ("host", "pid", "since"))
    if isinstance(host, str) and isinstance(pid, int) and isinstance(since, str):
        return Holder(slot.name, host, pid, since, alive)
    return Holder(slot.name, "", 0, "", alive)


def is_gone(record: Mapping[str, Any]) -> bool:
    """Tell whether the process that left a record is known to have ended.

    That can be known only of this machine, since it was started, and of processes that share their
    numbers with this one; a number may have been given to another process since.
    """
    kernel, pid = _kernel(), record.get("pid")
    if not kernel or record.get("kernel") != kernel or not isinstance(pid, int) or pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        pass
    state, started = _state_and_start(pid)
    return state in ("Z", "X") or (started != "" and started != record.get("started", started))


def _kernel() -> str:
    """Name the running kernel and the numbering of processes; empty where there is no such name."""
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{booted} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return a process's state, one letter, and when it started, in ticks; empty if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
