"""Keep the heap in few pieces, so that the plan's projection of memory holds over a long run."""

from __future__ import annotations

import ctypes
from functools import cache

M_ARENA_MAX = -8  # malloc.h of glibc
NUM_ARENAS = 2


@cache
def share_arenas() -> bool:
    """Let the threads of this process share two arenas of the heap; return whether they do.

    glibc gives every thread an arena of its own and keeps there what the thread frees. The
    threads that decode and encode chunks would so hold, over hundreds of blocks, a quarter more
    than the buffers that are in use. C libraries without this knob do not have the arenas.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, NUM_ARENAS))
    except (OSError, AttributeError, TypeError):
        return False
