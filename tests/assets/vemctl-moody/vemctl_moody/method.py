"""What vemctl knows of moody before it runs. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.plugin import Method, Output, Request, Restorer, option


@dataclass(frozen=True)
class MoodyOptions:
    """Options of `vemctl predict moody`; none of the first four changes the result."""

    delay: float = option(0.0, min=0, help="Seconds that every tile takes.")
    poison: tuple[int, int, int] | None = option(
        None, min=0, help="Kill the process at the tile that starts there, in input voxels."
    )
    refuse: tuple[int, int, int] | None = option(
        None, min=0, help="Raise an error at the tile that starts there."
    )
    mood: str = option(
        "", help="A file: while it is there, poison and refuse count; it may vanish meanwhile."
    )
    stretch: bool = option(False, help="Stretch the result over the output type's range.")


class Moody(Method):
    """Averages over a box of 3 x 3 x 3 voxels."""

    name = "moody"
    summary = "Smooth the input, and fail when told to."
    takes_weights = False
    has_original = False
    predict_options = MoodyOptions

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Return what runs moody."""
        from vemctl_moody.restorer import MoodyRestorer

        output = Output("round", stretch="whole" if options.stretch else None)
        return MoodyRestorer(options, request.tiling, output)


METHOD = Moody()
