"""Which workers there are, and what each has to do."""

from __future__ import annotations

from collections.abc import Mapping


class Roster:
    """Keeps book of workers and the tries that were given to them.

    Parameters
    ----------
    at_once : int
        How many tries a worker may have, if it has as many threads.
    """

    def __init__(self, at_once: int) -> None:
        self.queue = 0
        """How many tries may wait at a worker besides those that it is at."""
        self._at_once = at_once
        self._rooms: dict[str, int] = {}
        self._loads: dict[str, set[int]] = {}
        self._alone: set[str] = set()
        self._left: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many workers there are."""
        return len(self._rooms)

    def see(self, asked: float, threads: Mapping[str, int]) -> list[int]:
        """Note which workers there are, and return the tries of those that are gone.

        Parameters
        ----------
        asked : float
            When that was asked for; a worker that left later is not taken for a new one.
        threads : mapping of str to int
            Of each worker's address.
        """
        self._left = {worker: when for worker, when in self._left.items() if when >= asked}
        self._rooms = {
            # What waits at a worker with more threads would not wait.
            worker: min(count, self._at_once) + (self.queue if count <= self._at_once else 0)
            for worker, count in threads.items()
            if count and worker not in self._left
        }
        gone = [worker for worker in self._loads if worker not in threads]
        return [number for worker in gone for number in sorted(self._loads[worker])]

    def leave(self, worker: str, now: float) -> bool:
        """Note that a worker died; return whether that is new."""
        if worker in self._left:
            return False
        self._left[worker] = now
        self._rooms.pop(worker, None)
        return True

    def free(self, avoid: str = "") -> str | None:
        """Return a worker that has room, the idlest and rather another than `avoid`."""
        able = [
            worker
            for worker, room in self._rooms.items()
            if worker not in self._alone and len(self._loads.get(worker, ())) < room
        ]
        return min(
            able,
            key=lambda worker: (
                worker == avoid,
                len(self._loads.get(worker, ())) / self._rooms[worker],
            ),
            default=None,
        )

    def empty(self) -> str | None:
        """Return a worker that has nothing to do."""
        return next((worker for worker in self._rooms if worker not in self._loads), None)

    def put(self, number: int, worker: str, *, alone: bool) -> None:
        """Note that a worker got a try, and whether it gets no other beside it."""
        self._loads.setdefault(worker, set()).add(number)
        if alone:
            self._alone.add(worker)

    def take(self, number: int, worker: str) -> None:
        """Note that a worker no longer has a try."""
        self._loads[worker].discard(number)
        if not self._loads[worker]:
            del self._loads[worker]
            self._alone.discard(worker)
