"""How far a crew has come, told so that it never goes back."""

from __future__ import annotations

from collections.abc import Callable


class Tally:
    """Adds up what tries report; what was in vain is taken off what follows.

    Parameters
    ----------
    advanced : callable
        Takes how much more is done than ever before.
    """

    def __init__(self, advanced: Callable[[int], None]) -> None:
        self._advanced = advanced
        self._running: dict[int, int] = {}
        self._finished = 0
        self._told = 0

    def begin(self, number: int) -> None:
        """Count a try in from now on."""
        self._running[number] = 0

    def report(self, number: int, total: int) -> None:
        """Note how far a try has come; one that is over comes no further."""
        if number in self._running:
            self._running[number] = total

    def finish(self, number: int, total: int) -> None:
        """Note that a try came to its end with `total`."""
        del self._running[number]
        self._finished += total

    def fail(self, number: int) -> None:
        """Note that a try was in vain."""
        del self._running[number]

    def tell(self) -> None:
        """Tell of the progress since the last time, if there is any."""
        total = self._finished + sum(self._running.values())
        if total > self._told:
            more, self._told = total - self._told, total
            self._advanced(more)
