"""Which grey values of a volume are 0 and 1 to the networks. Imports no torch.

A rule is a text: ``dtype`` (0 to the maximum of an integer type, [0, 1] of a floating one),
``LOW,HIGH`` in the volume's units, or ``P%,Q%``, percentiles of the volume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vemctl.errors import OptionError
from vemctl.plugin import VolumeFacts, percentile

DTYPE = "dtype"


@dataclass(frozen=True)
class Range:
    """Values of a volume to the networks' [0, 1]; for arrays and tensors alike."""

    low: float
    span: float

    def to_network(self, values: Any) -> Any:
        """Scale floats; for 8 bit exactly the published ``value / 255``."""
        return values / self.span if self.low == 0 else (values - self.low) / self.span


@dataclass(frozen=True)
class Rule:
    """How a range is found.

    Attributes
    ----------
    text : str
        As it was given.
    ends : (low, high), optional
        In the volume's units or, if `percent`, in percent; None for those of the type.
    percent : bool
    """

    text: str = DTYPE
    ends: tuple[float, float] | None = None
    percent: bool = False

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the statistics of a volume without which its range is not known."""
        if self.ends is None or not self.percent:
            return ()
        return percentile(self.ends[0]), percentile(self.ends[1])

    def range_of(self, facts: VolumeFacts) -> Range:
        """Return the range of a volume.

        Raises
        ------
        OptionError
            Its percentiles are one and the same value.
        """
        if self.ends is None:
            kind = np.dtype(facts.dtype)
            return Range(0.0, 1.0 if kind.kind == "f" else float(np.iinfo(kind).max))
        low, high = self.ends
        if self.percent:
            low, high = (facts.statistics[name] for name in self.statistics)
        if not high > low:
            raise OptionError(
                f"{self.text}: both percentiles of the volume are {low:g}; expected a range, such "
                f"as 0%,100%, or LOW,HIGH in its units"
            )
        return Range(low, high - low)


def parse_rule(text: str, flag: str) -> Rule:
    """Return the rule that a text means.

    Parameters
    ----------
    text : str
    flag : str
        That it was given to, for errors.

    Raises
    ------
    OptionError
        It means none.
    """
    words = text.strip().lower()
    if words == DTYPE:
        return Rule()
    parts = [part.strip() for part in words.split(",")]
    percent = all(part.endswith("%") for part in parts)
    numbers = [_number(part.removesuffix("%") if percent else part) for part in parts]
    within = not percent or all(0 <= number <= 100 for number in numbers)
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)) or not within:
        raise OptionError(
            f"{flag} {text}: expected dtype, two values LOW,HIGH of the volume, or two percentiles "
            f"such as 0.5%,99.5%"
        )
    low, high = numbers
    if not low < high:
        raise OptionError(f"{flag} {text}: expected the lower end first, and below the other")
    unit = "%" if percent else ""
    return Rule(f"{_exact(low)}{unit},{_exact(high)}{unit}", (low, high), percent)


def parse_rules(
    texts: Sequence[str], flag: str, num_volumes: int, num_validation: int
) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """Return the rules of the files to train on and of those to validate on.

    Parameters
    ----------
    texts : sequence of str
        None for the range of the type, one for all files, or one for each, those to validate on
        last.
    flag : str
    num_volumes, num_validation : int
        Files.

    Raises
    ------
    OptionError
        There are fewer or more, or one means nothing.
    """
    total = num_volumes + num_validation
    rules = [parse_rule(text, flag) for text in texts] or [Rule()]
    if len(rules) == 1:
        rules = rules * total
    if len(rules) != total:
        those = f"{num_volumes} volumes" + (
            f" and {num_validation} to validate on" if num_validation else ""
        )
        raise OptionError(
            f"{len(texts)} times {flag} for {those}: expected one for all of them, or one for each "
            f"in their order"
        )
    return tuple(rules[:num_volumes]), tuple(rules[num_volumes:])


def rule_of_training(facts: Mapping[str, Any], domain: str) -> Rule:
    """Return by which rule a domain was scaled when weights were trained.

    Parameters
    ----------
    facts : mapping
        What is stored beside the weights; the published program's say nothing, and were trained
        with the range of the type.
    domain : {"lm", "em"}

    Raises
    ------
    OptionError
        Its volumes had several, of which none is that of another volume.
    """
    stored = facts.get("normalisation")
    if not isinstance(stored, Mapping):
        return Rule()
    text = stored.get(domain)
    if not isinstance(text, str):
        raise OptionError(
            f"the weights were trained on {domain.upper()} volumes with ranges of their own; say "
            f"which this one has: --input-range {DTYPE}, LOW,HIGH or P%,Q%"
        )
    return parse_rule(text, f"{domain} range of the weights")


def common_rule(rules: Sequence[Rule]) -> str | None:
    """Return the text of a rule that all volumes had, for the facts of weights; else None."""
    texts = {rule.text for rule in rules}
    return texts.pop() if len(texts) == 1 else None


def _exact(number: float) -> str:
    """Return a text that means this very number."""
    return str(int(number)) if number.is_integer() else repr(number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
