"""From a name or a path to a verified file of weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vemctl.errors import WeightsError, nearest
from vemctl.plugin import Method, Weights


@dataclass(frozen=True)
class Resolved:
    """A file of weights that is there.

    Attributes
    ----------
    name : str
        Catalogue name, or the path as given.
    path : Path
    sha256 : str
        Hexadecimal digest of the file.
    """

    name: str
    path: Path
    sha256: str


def resolve(asked: str | None, method: Method) -> Resolved | None:
    """Return the file that `asked` stands for.

    Parameters
    ----------
    asked : str, optional
        A path, or a name of the method's catalogue such as ``denoise/demo``.
    method : Method

    Returns
    -------
    Resolved, optional
        None where the method takes no weights.

    Raises
    ------
    WeightsError
        Nothing of that name; none was given; or the file's digest is not the declared one.
    """
    catalogue = {weights.name: weights for weights in method.weights}
    if not method.takes_weights:
        if asked is not None:
            raise WeightsError(f"{asked}: {method.name} takes no weights; leave out --weights")
        return None
    if asked is None:
        names = f", or a name: {', '.join(catalogue)}" if catalogue else ""
        raise WeightsError(f"{method.name} needs weights: pass -w FILE{names}")
    if asked in catalogue:
        return _packaged(catalogue[asked])
    path = Path(asked)
    if path.is_file():
        return Resolved(asked, path, digest(path))
    if path.is_dir():
        raise WeightsError(f"{path}: a folder; expected a file of weights, such as a .pth in it")
    raise WeightsError(
        f"{asked}: no such file, and no weights of that name for {method.name}."
        f"{nearest(asked, catalogue)} Names: {', '.join(catalogue) or 'none'}"
    )


def digest(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packaged(weights: Weights) -> Resolved:
    package, _, name = weights.package_file.partition(":")
    try:
        path = Path(str(files(package) / name))
    except (ModuleNotFoundError, TypeError) as error:
        raise WeightsError(
            f"{weights.name}: {package} is not an installed package; install it again"
        ) from error
    if not path.is_file():
        raise WeightsError(
            f"{weights.name}: {name} is missing from package {package}; install it again"
        )
    found = digest(path)
    if found != weights.sha256:
        raise WeightsError(
            f"{weights.name}: {path} has SHA-256 {found}, expected {weights.sha256}; "
            f"install {package} again"
        )
    return Resolved(weights.name, path, found)
