"""Upkeep of the store: verify, register, remove, carry to another machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl import registry
from vemctl.errors import OutputError, WeightsError, nearest
from vemctl.weights import Access, carrying, keeping
from vemctl.weights.record import Record, check_file_name, check_name, now, stored_files
from vemctl.weights.resolving import file_of
from vemctl.weights.runs import is_run
from vemctl.weights.store import Store
from vemctl.workflows.weights import find, kept_by_name


def verify(names: Sequence[str], access: Access) -> list[dict[str, Any]]:
    """Read stored weights again and compare them with their digests.

    Parameters
    ----------
    names : sequence of str
        Of weights; all that are here where none is given.
    access : Access

    Returns
    -------
    list of dict
        Name, store and problems of each; no problems where it is sound.

    Raises
    ------
    WeightsError
        A name is not here.
    """
    catalogue, _ = registry.catalogue()
    checked = []
    for name, record, store in _held_everywhere(access):
        if not names or name in names:
            wrong = keeping.problems(catalogue.get(name), record, store.folder_of(record))
            checked.append({"name": name, "store": str(store.folder), "problems": wrong})
    missing = [name for name in names if name not in {row["name"] for row in checked}]
    checked += [
        {"name": name, "store": str(find(name, access).folder), "problems": []} for name in missing
    ]
    return sorted(checked, key=lambda row: str(row["name"]))


def _held_everywhere(access: Access) -> Iterator[tuple[str, Record, Store]]:
    for store in access.stores:
        for record in store.records():
            if store.folder_of(record).exists():
                yield record.name, record, store


@dataclass(frozen=True)
class Added:
    """What was registered."""

    name: str
    path: Path
    sha256: str


def add(name: str, source: str, access: Access, *, overwrite: bool) -> Added:
    """Copy weights into the store under a name of the user's own.

    Parameters
    ----------
    name : str
        ``"<method>/<what>"``.
    source : str
        A file, a folder of files, or a training run.
    access : Access
    overwrite : bool
        Replace what has that name.

    Raises
    ------
    WeightsError
        The name is taken, or no name; the source is missing or holds no weights.
    """
    from vemctl.nn.state_dict import read_state_dict

    check_name(name)
    catalogue, _ = registry.catalogue()
    method = name.partition("/")[0]
    if name in catalogue or method == keeping.ADDRESS:
        raise WeightsError(f"{name}: a name of the catalogue; choose another")
    folder = Path(source)
    if folder.is_dir() and not is_run(folder):
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    else:
        found = file_of(source, method)
        paths = [found] if found else []
    if not paths:
        raise WeightsError(f"{source}: no such file; expected weights, or a training run")
    for path in paths:
        check_file_name(path.name)
        if path.suffix != ".json":  # settings that lie beside weights
            read_state_dict(path)
    store = access.own
    with store.locked(name, access.listen, access.stop), store.filling() as filling:
        before = store.record(name)
        if before is not None and not overwrite:
            raise OutputError(f"{name}: exists; use --overwrite, or choose another name")
        for path in paths:
            shutil.copyfile(path, filling / path.name)
        record = Record(name, "local", stored_files(filling), str(folder.absolute()), "", now())
        store.keep(record, filling)
    held = keeping.Held(record, store.folder_of(record))
    return Added(name, held.path, record.sha256)


def remove(name: str, access: Access, *, forget: bool) -> int:
    """Remove the files of weights from the store; return the bytes that became free.

    Parameters
    ----------
    name : str
    access : Access
    forget : bool
        Forget also the digest that a repository's file had at its first fetch.

    Raises
    ------
    WeightsError
        The store has nothing of that name.
    """
    store = access.own
    record = next((each for each in store.records() if each.name == name), None)
    if record is None or not (forget or record.kind == "local" or store.holds(record)):
        known = [each.name for each in store.records()]
        raise WeightsError(f"{name}: not in {store.folder}.{nearest(name, known)}")
    with store.locked(name, access.listen, access.stop):
        return store.remove(name, forget=forget or record.kind == "local")


def pack(names: Sequence[str], archive: Path, access: Access) -> dict[str, Any]:
    """Write weights of the stores into a tar file; all that are here where no name is given."""
    kept = {name: record for name, (record, store) in kept_by_name(access).items() if store}
    missing = [name for name in names if name not in kept]
    if missing:
        find(missing[0], access)
        raise WeightsError(f"{missing[0]}: in the package, hence wherever vemctl is; leave it out")
    records = [kept[name] for name in (names or kept)]
    if not records:
        raise WeightsError(
            f"{access.own.folder}: holds no weights to pack; fetch some: vemctl weights fetch --all"
        )
    num_bytes = carrying.pack(records, archive, access)
    return {"archive": str(archive), "names": [r.name for r in records], "bytes": num_bytes}


def unpack(archive: Path, access: Access, *, overwrite: bool) -> dict[str, Any]:
    """Take weights that `pack` wrote into the store."""
    catalogue, _ = registry.catalogue()
    taken = carrying.unpack(archive, catalogue, access, overwrite=overwrite)
    return {"store": str(access.own.folder), "names": [record.name for record in taken]}
