"""A method with an option whose flag vemctl has already."""

from dataclasses import dataclass

from vemctl.plugin import Method, option


@dataclass(frozen=True)
class ClashOptions:
    """One option too many."""

    tile: int = option(1, help="A flag that is taken.")


class Clash(Method):
    """A method for tests of the command line."""

    name = "clash"
    summary = "Clash."
    predict_options = ClashOptions

    def restorer(self, weights, options, request):
        """Is never called."""
        raise NotImplementedError


METHOD = Clash()
