"""A method with two inputs and an option of every kind; it restores nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.plugin import Method, Triple, Weights, option, packaged


@dataclass(frozen=True)
class ProbeOptions:
    """One option of every kind."""

    rounds: int = option(help="How often; a [bracket] stays.", min=1, max=9, short="-r")
    strength: float = option(0.5, help="How much, in nm.", min=0)
    mode: Literal["fast", "fine"] = option("fast", help="Which way.")
    window: Triple = option((1, 8, 8), help="Where.", metavar="Z,Y,X")
    mask: Path | None = option(None, help="A file.")
    reference: tuple[Path, ...] = option((), help="A file to compare with; may be repeated.")
    sharpen: bool = option(True, help="Whether to sharpen.")
    network_depth: int | None = option(None, help="How deep.", panel="Network")


class Probe(Method):
    """A method for tests of the command line."""

    name = "probe"
    summary = "Do nothing, on two views."
    citation = "Nobody et al. 2020"
    doi = "10.1000/probe"
    inputs = ("view_a", "view_b")
    weights = (
        Weights("probe/one", packaged("vemctl_probe/one.bin", "0" * 64), "CC0-1.0", "no data"),
    )
    predict_options = ProbeOptions

    def restorer(self, weights, options, request):
        """Is never called."""
        raise NotImplementedError


METHOD = Probe()
