"""The writers of an output, as they show themselves to one another.

In a hidden folder beside the output, ``.<output>.locks``, every writer has a file: one that the
system has locked, or where it has no locks that all machines know, and in object stores, a lease.
Whoever wants a part first takes that, then looks whether another part is held that excludes it: of
two who do so at the same time at least one sees the other. Nothing of it is left in the end.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.errors import Interrupted, OutputError
from vemctl.events import Listener, Noted, ignore
from vemctl.locks import lease
from vemctl.locks.claim import (
    Holder,
    Slot,
    holder_of,
    is_gone,
    own_record,
    read_record,
    slot_of,
)
from vemctl.locks.lease import Lease, Watch
from vemctl.locks.system_lock import (
    GRACE_S,
    PROBE,
    SystemLock,
    has_locks,
    is_locked,
    remove_unlocked,
)
from vemctl.remote_path import RemotePath

TOLD_AFTER_S = 3.0
"""After how long a wait is mentioned."""
POLL_S = 0.1
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True)
class _Other:
    """Another writer's file, and who it is; `generation` is of a lease, None of a lock."""

    path: Path
    generation: int | None
    holder: Holder


class Writers:
    """The folder beside an output, as one process sees it.

    Parameters
    ----------
    output : Path
    listen : Listener
        Is told what takes time, and of whom a lease is taken over.
    stop : Event, optional
        Ends a wait.
    lost : Event, optional
        Is set when a lease of ours is lost.
    """

    def __init__(
        self,
        output: Path,
        listen: Listener = ignore,
        stop: threading.Event | None = None,
        lost: threading.Event | None = None,
    ) -> None:
        self.output = output
        self.folder = output.absolute().with_name(f".{output.name}.locks")
        self._listen = listen
        self._stop = stop or threading.Event()
        self._lost = lost or threading.Event()
        self._watch = Watch()
        self._told: set[str] = set()

    def take(self, slot: Slot) -> SystemLock | Lease:
        """Take a slot; that of the beginning as soon as it is free.

        Raises
        ------
        OutputError
            Another process has it, or one that excludes it.
        Interrupted
            We were stopped while waiting.
        """
        try:
            while True:
                held, dead = self._rivals(slot)
                claim = None if held else self._claim(slot, dead)
                if claim is not None:
                    held = self._look_again(slot, claim)
                    if not held and not claim.lost:
                        claim.when_lost(self._lost)
                        return claim
                    self.release(claim)
                if held:
                    self._wait_or_refuse(slot, held)
                self._pause(random.uniform(0, POLL_S))  # noqa: S311 - two must not stay in step
        except BaseException:
            self._tidy()
            raise

    def release(self, claim: SystemLock | Lease) -> None:
        """Let go; what cannot be removed now ends with this process, or lapses."""
        with contextlib.suppress(OSError):
            claim.release()
        self._tidy()

    def files(self) -> list[tuple[Path, Slot, int | None]]:
        """List what all writers have there: locks, and leases with their generation."""
        try:
            paths = list(self.folder.iterdir())
        except FileNotFoundError:
            return []
        named = ((path, slot_of(path.name)) for path in paths)
        return [(path, *found) for path, found in named if found is not None]

    def look(self, path: Path, generation: int | None) -> tuple[bool | None, dict[str, Any]]:
        """Tell whether the holder of a file is alive, None if that is not known, and its record.

        Raises
        ------
        FileNotFoundError
            The file is not there any more.
        """
        if generation is not None:
            return self._watch.look(path)
        locked = is_locked(path)
        try:
            record = read_record(path.read_bytes())
        except PermissionError:  # some systems let nobody read what is locked
            record = {}
        return (False if locked is None and is_gone(record) else locked), record

    def _claim(self, slot: Slot, dead: list[_Other]) -> SystemLock | Lease | None:
        if not isinstance(self.folder, RemotePath):
            if has_locks(self.folder):
                return SystemLock.take(self.folder / f"{slot.stem}.lock", own_record(slot))
            self._tell_once(
                f"{self.folder.parent}: no locks there that all machines know: {self.output.name} "
                "is kept by a file with a counter"
            )
        # Only those that were seen to be dead are succeeded: who has come meanwhile has this name.
        generations = [one.generation or 0 for one in dead if one.holder.name == slot.name]
        path = self.folder / f"{slot.stem}.{max(generations, default=0) + 1}.lease"
        return Lease.take(path, own_record(slot))

    def _look_again(self, slot: Slot, claim: SystemLock | Lease) -> list[_Other]:
        """Return who excludes us, now that others can see us; remove what the dead have left.

        The claim may have been lost in the meantime.
        """
        try:
            held, dead = self._rivals(slot, claim.path)
            for other in dead if not held and claim.is_ours() else []:
                if other.generation is None:
                    remove_unlocked(other.path)
                    continue
                self._listen(
                    Noted(f"{self.output}: no sign of life of {other.holder}: taking over")
                )
                other.path.unlink(missing_ok=True)
        except BaseException:
            self.release(claim)
            raise
        return held

    def _rivals(self, slot: Slot, own: Path | None = None) -> tuple[list[_Other], list[_Other]]:
        """Return who holds what excludes a slot, a whole run first, and who died over it."""
        if not isinstance(self.folder, RemotePath):
            has_locks(self.folder)  # so that the listing is a fresh one
        began = time.monotonic()
        while True:
            others = self._others(slot, own)
            held = [other for other in others if self._counts(other)]
            doubtful = [one for one in others if one.holder.alive is None and one not in held]
            waited = time.monotonic() - began
            if held and waited > GRACE_S:
                return sorted(held, key=lambda one: one.holder.name != Slot("run").name), []
            if not held and not doubtful:
                return [], others
            if doubtful and waited > 1:
                self._tell_once(
                    f"{self.output}: waiting for a sign of life of {doubtful[0].holder}, at most "
                    f"{lease.PATIENCE_S:.0f} s"
                )
            self._pause(POLL_S)

    def _others(self, slot: Slot, own: Path | None) -> list[_Other]:
        found = []
        for path, other, generation in self.files():
            if path != own and slot.excludes(other):
                with contextlib.suppress(FileNotFoundError):
                    alive, record = self.look(path, generation)
                    found.append(_Other(path, generation, holder_of(other, record, alive)))
        return found

    @staticmethod
    def _counts(other: _Other) -> bool:
        """Tell whether one must be taken for alive; watching tells nothing more of a lock."""
        alive = other.holder.alive
        return bool(alive) or (alive is None and other.generation is None)

    def _wait_or_refuse(self, slot: Slot, held: list[_Other]) -> None:
        first, *more = held
        if slot.kind == "beginning" and first.holder.name == slot.name:
            self._wait(first)
            return
        cure = "" if first.holder.alive else f"; if it has ended, remove {first.path}"
        raise OutputError(
            f"{self.output}: is being written by {first.holder}"
            f"{f' and {len(more)} more' if more else ''}: wait for it, stop it, or choose another "
            f"output{cure}"
        )

    def _wait(self, other: _Other) -> None:
        """Wait until another has done with its slot; asks for no more, as many may wait."""
        began = time.monotonic()
        pause = POLL_S
        with contextlib.suppress(FileNotFoundError):
            while self.look(other.path, other.generation)[0] is not False:
                if time.monotonic() - began > TOLD_AFTER_S:
                    self._tell_once(f"{self.output}: waiting for {other.holder}")
                self._pause(pause)
                pause = min(1.2 * pause, LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted(f"stopped while waiting for {self.output}")

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._listen(Noted(text))

    def _tidy(self) -> None:
        """Remove the folder if nobody has anything there; in object stores there is none."""
        if isinstance(self.folder, RemotePath):
            return
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f"{PROBE}*"):  # of killed processes, or of no more use
                path.unlink(missing_ok=True)
            self.folder.rmdir()
