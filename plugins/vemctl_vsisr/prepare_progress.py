"""How far a preparation has come, as one number for all that it does."""

from __future__ import annotations

from collections.abc import Callable


class Progress:
    """Counts slices and patches; what is more than was expected shows no progress.

    Parameters
    ----------
    advance : callable
        Of the workplace.
    phase : str
    total : int
        Parts that are expected.
    """

    def __init__(self, advance: Callable[[str, int, int], None], phase: str, total: int) -> None:
        self._advance = advance
        self._phase = phase
        self._total = total
        self._done = 0

    def __call__(self) -> None:
        """Tell that the next part begins; does not return where the run is to stop."""
        self._advance(self._phase, min(self._done, self._total - 1), self._total)
        self._done += 1

    def finish(self) -> None:
        """Tell that all is done."""
        self._advance(self._phase, self._total, self._total)
