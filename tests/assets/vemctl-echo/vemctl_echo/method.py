"""What vemctl knows of echo before it runs. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vemctl.plugin import Method, Request, Restorer, option


@dataclass(frozen=True)
class EchoOptions:
    """Options of `vemctl predict echo`."""

    gain: float = option(1.0, min=0, max=16, help="Factor on every voxel.")
    offset: float = option(0.0, help="Added after the gain, in the input's grey values.")
    smooth: Literal["none", "box"] = option(
        "none", help="Before the gain, average over 3 x 3 x 3 voxels (box) or leave it (none)."
    )


class Echo(Method):
    """Returns its input; the smallest method that is complete."""

    name = "echo"
    summary = "Return the input, brighter or smoother; restores nothing."
    takes_weights = False
    has_original = False
    predict_options = EchoOptions

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Return what runs echo; see `vemctl_echo.restorer`."""
        from vemctl_echo.restorer import EchoRestorer

        return EchoRestorer(options, request.tiling)


METHOD = Echo()
