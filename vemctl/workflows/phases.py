"""The phases of finishing an output, told as events and stopped between their parts."""

from __future__ import annotations

import math
import threading
import time

from vemctl.errors import Interrupted
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted


class Phases:
    """Turns the phases of finishing an output into stages."""

    def __init__(self, listen: Listener, stop: threading.Event) -> None:
        self._listen = listen
        self._stop = stop
        self._name = ""
        self._done = 0
        self._began = math.nan

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Tell that `done` of `total` parts of `phase` are done.

        Raises
        ------
        Interrupted
            The run was asked to stop.
        """
        if self._stop.is_set():
            raise Interrupted(f"stopped in the {phase} of the output")
        if phase != self._name:
            self._name, self._done, self._began = phase, 0, time.monotonic()
            self._listen(StageStarted(phase, total, "parts"))
        if done > self._done:
            self._listen(StageAdvanced(phase, done - self._done))
            self._done = done
        if done == total:
            self._listen(StageFinished(phase, time.monotonic() - self._began))
