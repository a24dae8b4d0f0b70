"""Keep the heap small and its pages warm, so that a long run is within its memory and quick.

glibc gives every thread an arena of its own and keeps there what the thread frees. The threads
that decode and encode chunks would so hold, over hundreds of blocks, a quarter more than the
buffers that are in use. C libraries without these knobs do not have the arenas.

It also learns, from the sizes that are freed, which buffers to keep instead of giving their pages
back each time; but not where a threshold came from the environment, as dask sets one for its
workers. A network would then take half of its time to have its pages cleared again and again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc

KEPT = 32 * 2**20
"""Bytes up to which a buffer that was freed is used again: as much as glibc would learn."""


@cache
def settle_heap() -> bool:
    """Let threads of this process that start from now on share one arena, and keep its pages.

    Returns
    -------
    bool
        Whether the C library can do that.
    """
    knob = _function("mallopt")
    return bool(
        knob
        and knob(M_ARENA_MAX, 1)
        and knob(M_MMAP_THRESHOLD, KEPT)
        and knob(M_TRIM_THRESHOLD, 2 * KEPT)
    )


def give_back() -> None:
    """Return the free pages of the heap to the system."""
    trim = _function("malloc_trim")
    if trim:
        trim(0)


@cache
def _function(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    return found
