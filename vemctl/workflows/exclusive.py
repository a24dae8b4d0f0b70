"""One run per output at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vemctl.durable import output_errors
from vemctl.errors import OutputError
from vemctl.events import Listener, Noted, ignore


@contextlib.contextmanager
def exclusive(output: Path, listen: Listener = ignore) -> Iterator[None]:
    """Keep other runs off `output`, by a lock on a hidden file beside it that ends with us.

    Two writers of one output would each take the other's blocks for their own.

    Parameters
    ----------
    output : Path
    listen : Listener
        Is told where the file system has no locks.

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
        except NotImplementedError:
            listen(
                Noted(f"{path.parent}: no locks there; see that only one run writes {output.name}",
                      "warning")
            )  # fmt: skip
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
