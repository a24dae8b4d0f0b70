"""What zarr's event loop still does when a program stopped or failed and is about to end."""

from __future__ import annotations

import asyncio
import contextlib
import sys

SECONDS = 5.0
"""The longest that its end is waited for: cancelling takes milliseconds."""


def abandon_reads() -> None:
    """Cancel what zarr still reads or decodes for nobody, if it was imported at all.

    Its tasks would go on while the interpreter ends, fail, and each print that.
    """
    sync = sys.modules.get("zarr.core.sync")
    loop: asyncio.AbstractEventLoop | None = getattr(sync, "loop", [None])[0]
    if loop is None or not loop.is_running():
        return
    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result(SECONDS)


async def _cancel_others() -> None:
    """Cancel all tasks of the running loop but this one, and wait for their ends."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
