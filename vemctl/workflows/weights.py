"""Weights: which there are, and those that a run needs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from vemctl import registry
from vemctl.errors import OptionError, WeightsError, nearest
from vemctl.events import Listener, Noted, ignore
from vemctl.plugin import Method
from vemctl.published import Weights
from vemctl.weights import Access, Resolved, keeping, resolve, resolve_file
from vemctl.weights.locations import is_address
from vemctl.weights.record import Record
from vemctl.weights.resolving import stored
from vemctl.weights.store import Store
from vemctl.workflows.options import PredictRequest


def resolve_for(
    method: Method,
    asked: str | None,
    listen: Listener = ignore,
    stop: threading.Event | None = None,
    *,
    needed: bool = True,
) -> Resolved | None:
    """Return the weights that a request names, or the method's default; see `vemctl.weights`."""
    access = Access.from_environment(listen, stop)
    return resolve(asked, method, registry.published(method), access, needed=needed)


def read_by(
    request: PredictRequest,
    method: Method,
    listen: Listener = ignore,
    stop: threading.Event | None = None,
) -> tuple[Resolved | None, dict[str, Resolved]]:
    """Return the weights of a prediction, and what the method reads beside them."""
    options = request.method_options
    needed = method.needs_weights(options)
    weights = resolve_for(method, request.weights, listen, stop, needed=needed)
    asked = method.files(options, as_original=request.run.as_original)
    return weights, files_for(method, asked, listen, stop)


def files_for(
    method: Method,
    asked: Mapping[str, str],
    listen: Listener = ignore,
    stop: threading.Event | None = None,
) -> dict[str, Resolved]:
    """Return the files that a method reads beside its weights, by its names for them."""
    if not asked:
        return {}
    published, access = registry.published(method), Access.from_environment(listen, stop)
    return {key: resolve_file(name, method, published, access) for key, name in asked.items()}


def digests_of(files: Mapping[str, Resolved]) -> dict[str, Any]:
    """Return the entry by which records know `files_for`; nothing where there are none."""
    known = {key: {"name": file.name, "sha256": file.sha256} for key, file in files.items()}
    return {"files": known} if known else {}


def rows(listen: Listener = ignore) -> list[dict[str, Any]]:
    """Return all weights, published and kept, as JSON types, by name.

    Parameters
    ----------
    listen : Listener
        Is told of plugins that do not load.
    """
    catalogue, problems = registry.catalogue()
    for problem in problems:
        listen(Noted(problem, "warning"))
    access = Access.from_environment(listen)
    kept = kept_by_name(access)
    names = sorted({*catalogue, *(name for name, (_, store) in kept.items() if store)})
    return [_row(name, catalogue.get(name), kept.get(name), access) for name in names]


def _row(
    name: str, published: Weights | None, kept: tuple[Record, Store | None] | None, access: Access
) -> dict[str, Any]:
    record, store = kept or (None, None)
    path, state = None, "not fetched"
    if published and keeping.in_package(published):
        state = "in the package"
        try:
            found = keeping.held(published, access)
        except WeightsError as error:
            access.listen(Noted(str(error), "warning"))
            found, state = None, "damaged"
        record, path = (found.record, found.path) if found else (None, None)
    elif record is not None and store is not None:
        state = "here" if store is access.own else "shared"
        path = keeping.Held(record, store.folder_of(record)).path
    source = " ".join(published.files[0].sources) if published else record.source if record else ""
    return {
        "name": name,
        "method": name.partition("/")[0],
        "default": bool(published and published.default),
        "kind": published.kind if published else record.kind if record else "",
        "state": state,
        "path": str(path) if path else None,
        "bytes": record.num_bytes if record else None,
        "sha256": record.sha256 if record else None,
        "licence": published.licence if published else record.licence if record else "",
        "source": source,
        "files": [file.name for file in published.files]
        if published
        else [file.name for file in record.files]
        if record
        else [],
        "note": published.note if published else "",
    }


def kept_by_name(access: Access) -> dict[str, tuple[Record, Store | None]]:
    """Return the records of all stores; the store is None where the files are gone."""
    found: dict[str, tuple[Record, Store | None]] = {}
    for store in access.stores:
        for record in store.records():
            known = found.get(record.name)
            if known is None or known[1] is None:
                found[record.name] = (record, store if store.holds(record) else None)
    return found


def fetch(
    names: Sequence[str], *, everything: bool, method: str | None, access: Access
) -> list[dict[str, Any]]:
    """Fetch weights that are not here yet, by name or address.

    Parameters
    ----------
    names : sequence of str
    everything : bool
        All that is published.
    method : str, optional
        All that is published for this method.
    access : Access

    Returns
    -------
    list of dict
        Name, path, SHA-256 and bytes of each.

    Raises
    ------
    OptionError
        Nothing, or too much, was asked for.
    WeightsError
        Some could not be had; the others are fetched all the same.
    """
    catalogue, _ = registry.catalogue()
    wanted = _choose(names, catalogue, everything=everything, method=method)
    fetched, complaints = [], []
    for name in wanted:
        try:
            if is_address(name):
                found = keeping.keep_address(name, access)
            else:
                found = keeping.keep_published(_named(name, catalogue), access)
        except WeightsError as error:
            complaints.append(str(error))
            continue
        fetched.append(
            {
                "name": name,
                "path": str(found.path),
                "sha256": found.record.sha256,
                "bytes": found.record.num_bytes,
            }
        )
    for complaint in complaints[:-1]:
        access.listen(Noted(complaint, "warning"))
    if complaints:
        count = f"{len(complaints)} of {len(wanted)} not fetched; " if len(wanted) > 1 else ""
        raise WeightsError(f"{count}{complaints[-1]}")
    return fetched


def _choose(
    names: Sequence[str], catalogue: dict[str, Weights], *, everything: bool, method: str | None
) -> list[str]:
    if bool(names) + everything + (method is not None) != 1:
        raise OptionError("name weights to fetch, or use --all or --method METHOD (one of these)")
    if everything:
        return list(catalogue)
    if method is None:
        return list(dict.fromkeys(names))
    chosen = [name for name, weights in catalogue.items() if weights.method == method]
    if not chosen:
        methods = sorted({weights.method for weights in catalogue.values()})
        raise OptionError(
            f"--method {method}: nothing is published for it.{nearest(method, methods)} There are "
            f"weights for {', '.join(methods)}"
        )
    return chosen


def _named(name: str, catalogue: dict[str, Weights]) -> Weights:
    if name not in catalogue:
        raise WeightsError(
            f"{name}: nothing of that name is published.{nearest(name, catalogue)} See vemctl "
            f"weights list"
        )
    return catalogue[name]


def find(name: str, access: Access) -> keeping.Held:
    """Return weights that are on this machine, verified; opens no connection.

    Raises
    ------
    WeightsError
        They are not here, or damaged.
    """
    catalogue, _ = registry.catalogue()
    published = catalogue.get(name)
    found = keeping.held(published, access) if published else stored(name, access)
    if found is None:
        known = [*catalogue, *kept_by_name(access)]
        if published:
            raise WeightsError(f"{name} is not here yet: vemctl weights fetch {name}")
        raise WeightsError(
            f"{name}: no weights of that name.{nearest(name, known)} See vemctl weights list"
        )
    return found
