"""One run per output at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vemctl.errors import OutputError
from vemctl.volumes.durable import output_errors


@contextlib.contextmanager
def exclusive(output: Path) -> Iterator[None]:
    """Keep other runs off `output`, by a lock on a hidden file beside it that ends with us.

    Two writers of one output would each take the other's blocks for their own.

    Parameters
    ----------
    output : Path

    Raises
    ------
    OutputError
        Another run is writing it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    path = output.absolute().with_name(f".{output.name}.lock")
    with output_errors(output):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(
                f"{output}: another run is writing it; wait for it, stop it, or choose another "
                f"output"
            ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
