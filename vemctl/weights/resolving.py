"""From a name, a path or an address to a verified file of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vemctl.errors import WeightsError, nearest
from vemctl.events import Noted
from vemctl.plugin import Method
from vemctl.published import Weights
from vemctl.weights.access import Access
from vemctl.weights.digests import sha256_of
from vemctl.weights.keeping import Held, keep_address, keep_published, problems
from vemctl.weights.locations import is_address
from vemctl.weights.record import combined, measured, stored_files
from vemctl.weights.runs import is_run, split_choice, weights_of_run

Catalogue = Mapping[str, Weights]


@dataclass(frozen=True)
class Resolved:
    """Weights that are there.

    Attributes
    ----------
    name : str
        Name, path or address, as given; of files beside the weights, paths are absolute.
    path : Path
        A file; a folder for weights of several files.
    sha256 : str
        Hexadecimal digest of the file, or of the list of the files' digests.
    """

    name: str
    path: Path
    sha256: str


def resolve(
    asked: str | None,
    method: Method,
    catalogue: Catalogue,
    access: Access,
    *,
    needed: bool = True,
) -> Resolved | None:
    """Return the weights that `asked` stands for, fetched if need be.

    Parameters
    ----------
    asked : str, optional
        A name of the catalogue or of the store such as ``denoise/demo``, a file, a training run
        (``runs/d1``, ``runs/d1@last``), ``doi:DOI/FILE`` or ``https://HOST/FILE#sha256=HEX``. None
        for the method's default.
    method : Method
    catalogue : mapping of str to Weights
        What is published for the method, by name.
    access : Access
    needed : bool
        Whether the method's default, or an error, stands for weights that were not asked for.

    Returns
    -------
    Resolved, optional
        None where the method takes no weights, or needs none and none were asked for.

    Raises
    ------
    WeightsError
        Nothing of that name; they cannot be had; or they are not what was published.
    Interrupted
        `access.stop` was set during a download.
    """
    if not method.takes_weights:
        if asked is not None:
            raise WeightsError(f"{asked}: {method.name} takes no weights; leave out --weights")
        return None
    if asked is None and not needed:
        return None
    if asked is None:
        asked = _default(method, catalogue)
    if asked in catalogue:
        published = catalogue[asked]
        if published.kind != "network":
            raise WeightsError(
                f"{asked}: no weights of a network but files of a microscope, which other options "
                f"name; for --weights there is {_names(catalogue)}"
            )
        return _held(asked, keep_published(published, access))
    if is_address(asked):
        return _held(asked, keep_address(asked, access))
    if method.takes_folders and (found := _published_folder(asked, method)):
        return found
    file = file_of(asked, method.name)
    if file is not None:
        if is_run(Path(asked)):  # which has no best weights before its first validation
            access.listen(Noted(f"{asked}: taking the run's {file.stem} weights"))
        return Resolved(asked, file, sha256_of(file))
    local = stored(asked, access)
    if local is not None and local.record.name.startswith(f"{method.name}/"):
        return _held(asked, local)
    if local is not None:
        other = local.record.name.partition("/")[0]
        raise WeightsError(f"{asked}: weights for {other}; expected some for {method.name}")
    raise WeightsError(
        f"{asked}: no such file, and no weights of that name for {method.name}."
        f"{nearest(asked, catalogue)} Names: {_names(catalogue)}"
    )


def resolve_file(asked: str, method: Method, catalogue: Catalogue, access: Access) -> Resolved:
    """Return the file or the folder that `asked` stands for, fetched if need be; no weights.

    Parameters
    ----------
    asked : str
        A name of the catalogue, or a path. Of a folder, hidden files do not count.
    method : Method
    catalogue : mapping of str to Weights
        What is published for the method, by name.
    access : Access

    Raises
    ------
    WeightsError
        Nothing of that name; it cannot be had; or it is not what was published.
    Interrupted
        `access.stop` was set during a download.
    """
    published = catalogue.get(asked)
    if published is not None and published.kind != "network":
        return _held(asked, keep_published(published, access))
    path = Path(asked)
    place = str(path.absolute())  # what is recorded does not depend on where one is
    if path.is_file():
        return Resolved(place, path, sha256_of(path))
    if path.is_dir():
        # Hidden files, such as .DS_Store, come and go by themselves.
        seen = [file for file in stored_files(path) if not file.name.startswith(".")]
        return Resolved(place, path, combined(seen))
    names = [name for name, each in catalogue.items() if each.kind != "network"]
    raise WeightsError(
        f"{asked}: no such file or folder, and {method.name} has none of that name."
        f"{nearest(asked, names)} Names: {', '.join(names) or 'none'}"
    )


def _published_folder(asked: str, method: Method) -> Resolved | None:
    """Return the published program's folder that `asked` names, or a file of it; None otherwise.

    Raises
    ------
    WeightsError
        Of what is in it nothing belongs together.
    """
    path = Path(asked)
    if path.is_file():
        try:
            files = list(method.original_files(path.parent, None).values())
        except WeightsError:
            return None
        if path not in files:
            return None
        return Resolved(asked, path.parent, combined([measured(file) for file in files]))
    folder, choice = (path, None) if path.is_dir() else split_choice(asked)
    if not folder.is_dir() or is_run(folder):
        return None
    files = list(method.original_files(folder, choice).values())
    return Resolved(asked, files[0].parent, combined([measured(file) for file in files]))


def file_of(asked: str, method: str | None) -> Path | None:
    """Return the file that `asked` names as a path or as a run; None where nothing is there.

    Raises
    ------
    WeightsError
        It is a folder and no run, or the run has no such weights.
    """
    if Path(asked).is_file():
        return Path(asked)
    folder, choice = (Path(asked), None) if Path(asked).is_dir() else split_choice(asked)
    if not folder.is_dir():
        return None
    if not is_run(folder):
        raise WeightsError(
            f"{folder}: a folder, but no training run; expected a file of weights, such as a .pth "
            f"in it"
        )
    return weights_of_run(folder, choice, method)


def stored(name: str, access: Access) -> Held | None:
    """Return what the user registered under a name, or fetched as ``address/...``; verified.

    Raises
    ------
    WeightsError
        The files of that name are damaged or gone.
    """
    for store in access.stores:
        record = next((each for each in store.records() if each.name == name), None)
        if record is None:
            continue
        if wrong := problems(None, record, store.folder_of(record)):
            raise WeightsError(
                f"{name}: {wrong[0]}; register it again: vemctl weights add {name} FILE"
            )
        return Held(record, store.folder_of(record))
    return None


def absolute(asked: str, catalogue: Catalogue) -> str:
    """Return `asked` so that it means the same in another folder: a path becomes absolute."""
    if asked in catalogue or is_address(asked):
        return asked
    folder, choice = split_choice(asked)
    if Path(asked).exists():
        return str(Path(asked).absolute())
    if folder.exists():
        return f"{folder.absolute()}@{choice}"
    return asked


def _default(method: Method, catalogue: Catalogue) -> str:
    for published in catalogue.values():
        if published.default:
            return published.name
    why = (
        "none are published for it: train some, or"
        if _names(catalogue) == "none"
        else (f"has no default: choose one of {_names(catalogue)}, or")
    )
    raise WeightsError(
        f"{method.name} needs weights, and {why} name a file, the folder of a training run, "
        f"doi:DOI/FILE or https://HOST/FILE#sha256=HEX with -w"
    )


def _names(catalogue: Catalogue) -> str:
    networks = [name for name, published in catalogue.items() if published.kind == "network"]
    return ", ".join(networks) or "none"


def _held(asked: str, found: Held) -> Resolved:
    return Resolved(asked, found.path, found.record.sha256)
