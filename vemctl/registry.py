"""Entry points to methods: listed without importing anything, loaded one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from vemctl.errors import MethodError, nearest
from vemctl.plugin import Method
from vemctl.published import Weights

GROUP = "vemctl.methods"
WEIGHTS_GROUP = "vemctl.weights"
"""Of distributions that publish weights for methods, their own or others'."""


@dataclass(frozen=True)
class Listed:
    """A method as lists show it.

    Attributes
    ----------
    name : str
    distribution : str
        The installed package that brings it, with its version.
    method : Method, optional
        None where the plugin does not load.
    reason : str
        Why it does not load; empty where it does.
    """

    name: str
    distribution: str
    method: Method | None
    reason: str


@cache
def method_entry_points() -> dict[str, tuple[EntryPoint, ...]]:
    """Return the entry points of all installed methods by name, sorted; imports nothing."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        known = found.setdefault(point.name, [])
        # One distribution may be found twice, once installed and once on the path.
        if all(distribution_of(point) != distribution_of(other) for other in known):
            known.append(point)
    return {name: tuple(points) for name, points in sorted(found.items())}


def distribution_of(point: EntryPoint) -> str:
    """Return ``"name version"`` of the distribution that declares `point`."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed distribution"


def get(name: str) -> Method:
    """Load the method called `name`.

    Raises
    ------
    MethodError
        No such method; two distributions bring it; or its plugin does not load.
    """
    points = method_entry_points().get(name)
    if not points:
        known = ", ".join(method_entry_points()) or "none are installed"
        raise MethodError(
            f"no method {name!r}.{nearest(name, method_entry_points())} Installed methods: {known}"
        )
    if len(points) > 1:
        both = " and ".join(distribution_of(point) for point in points)
        raise MethodError(f"method {name!r} is brought by {both}: uninstall one of them")
    (point,) = points
    try:
        method = point.load()
    except (Exception, SystemExit) as error:  # a plugin must not end our process
        raise MethodError(
            f"method {name!r} (from {distribution_of(point)}) does not load: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(method, Method):
        raise MethodError(
            f"method {name!r} (from {distribution_of(point)}): {point.value} is a "
            f"{type(method).__name__}, expected a vemctl.plugin.Method object"
        )
    if method.name != name:
        raise MethodError(
            f"method {name!r} (from {distribution_of(point)}) calls itself {method.name!r}: "
            f"expected one name; its author must mend it"
        )
    return method


def listing() -> list[Listed]:
    """Load every installed method; one that does not load is listed with the reason."""
    rows = []
    for name, points in method_entry_points().items():
        try:
            rows.append(Listed(name, distribution_of(points[0]), get(name), ""))
        except MethodError as error:
            rows.append(Listed(name, distribution_of(points[0]), None, str(error)))
    return rows


def published(method: Method) -> dict[str, Weights]:
    """Return the catalogue of a method: its own weights, then those that others publish for it.

    Parameters
    ----------
    method : Method
    """
    found = {weights.name: weights for weights in method.weights}
    for weights in _from_distributions([]):
        if weights.method == method.name:
            found.setdefault(weights.name, weights)
    return found


def catalogue() -> tuple[dict[str, Weights], list[str]]:
    """Return everything that is published, by name, and what is wrong with plugins, in words."""
    found: dict[str, Weights] = {}
    problems: list[str] = []
    for listed in listing():
        if listed.method is None:
            problems.append(listed.reason)
            continue
        found |= {weights.name: weights for weights in listed.method.weights}
    others = _from_distributions(problems)
    problems += [
        f"{weights.name} is published by two distributions; the first is used"
        for weights in others
        if found.setdefault(weights.name, weights) != weights
    ]
    return dict(sorted(found.items())), problems


def _from_distributions(problems: list[str]) -> list[Weights]:
    """Load what the group of weights names; one that does not load is told and passed over."""
    found: list[Weights] = []
    for point in sorted(entry_points(group=WEIGHTS_GROUP)):
        try:
            weights = tuple(point.load())
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin must not end our process
            reason = f"{type(error).__name__}: {error}"
            problems.append(f"weights of {distribution_of(point)} do not load: {reason}")
            continue
        if not all(isinstance(each, Weights) for each in weights):
            problems.append(
                f"weights of {distribution_of(point)}: {point.value} is no sequence of "
                f"vemctl.plugin.Weights"
            )
            continue
        found += weights
    return found
