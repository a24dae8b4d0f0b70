"""What dask.distributed logs is kept for a message instead of going to the terminal."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = (
    "distributed",
    "distributed.client",
    "distributed.gc",
    "distributed.http.proxy",
    "dask_jobqueue",
    "tornado",
    "tornado.application",
    "asyncio",
)


class Kept(logging.Handler):
    """Keeps the last things that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[str] = deque(maxlen=50)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one of them, in one line."""
        self._lines.append(" ".join(record.getMessage().split()))

    def last(self) -> str:
        """Return the last thing that was logged, to be put behind a message; or nothing."""
        return f" ({self._lines[-1]})" if self._lines else ""


@contextmanager
def quiet() -> Iterator[Kept]:
    """Keep what dask.distributed logs in this process, and give it; to the end of one that ends."""
    kept = Kept()
    before = []
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        before.append((logger, logger.handlers[:], logger.propagate))
        logger.handlers[:] = [kept]
        logger.propagate = False
    ending = False
    try:
        yield kept
    except (KeyboardInterrupt, SystemExit):
        ending = True  # threads of dask's go on for a moment, and complain
        raise
    finally:
        for logger, handlers, propagate in before if not ending else ():
            logger.handlers[:] = handlers
            logger.propagate = propagate
