"""Keep the heap small, so that the plan's projection of memory holds over a long run.

glibc gives every thread an arena of its own and keeps there what the thread frees. The threads
that decode and encode chunks would so hold, over hundreds of blocks, a quarter more than the
buffers that are in use. C libraries without these knobs do not have the arenas.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

M_ARENA_MAX = -8  # malloc.h of glibc


@cache
def share_arena() -> bool:
    """Let the threads that this process starts from now on share one arena; tell whether."""
    knob = _function("mallopt")
    return bool(knob and knob(M_ARENA_MAX, 1))


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
