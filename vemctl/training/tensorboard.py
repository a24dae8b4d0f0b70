"""Curves and previews for TensorBoard, where the extra is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vemctl.errors import MissingExtraError
from vemctl.events import Listener, Noted, ignore

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

BOARD = "tensorboard"
"""The folder within a run's."""


def open_tensorboard(run: Path, step: int, listen: Listener = ignore) -> Board:
    """Return what writes for TensorBoard; without the extra it writes nothing.

    Parameters
    ----------
    run : Path
    step : int
        At which the run begins or continues; what is there of later steps is hidden.
    listen : Listener
        Is told how to install what is missing, or why no more is written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        listen(Noted(str(MissingExtraError("showing the run in TensorBoard", "tensorboard"))))
        return Board(None, listen)
    writer = None
    with Board(None, listen).guarded():
        writer = SummaryWriter(str(run / BOARD), purge_step=step + 1 if step else None)
    return Board(writer, listen)


class Board:
    """Curves and images; a file that cannot be written is no reason to stop a training.

    Parameters
    ----------
    writer : SummaryWriter, optional
        None to write nothing.
    listen : Listener
    """

    def __init__(self, writer: SummaryWriter | None, listen: Listener) -> None:
        self._writer = writer
        self._listen = listen

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        if self._writer is not None:
            with self.guarded():
                for name, value in values.items():
                    self._writer.add_scalar(name, value, step)
                self._writer.flush()

    def preview(self, step: int, path: Path) -> None:
        """Add the image that `write_preview` wrote, if it did."""
        if self._writer is not None and path.exists():
            import numpy as np
            from PIL import Image

            with self.guarded():
                with Image.open(path) as image:
                    pixels = np.asarray(image)
                self._writer.add_image("preview", pixels, step, dataformats="HW")

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            with self.guarded():
                self._writer.close()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Give up writing where the system refuses it."""
        try:
            yield
        except OSError as error:
            self._writer = None
            reason = error.strerror or error
            self._listen(Noted(f"no more is written for TensorBoard: {reason}", "warning"))
