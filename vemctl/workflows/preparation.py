"""From a request to a frozen plan: everything that is decided before anything is written."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from vemctl.errors import OptionError
from vemctl.events import Listener, Noted
from vemctl.nn import device as devices
from vemctl.plugin import Method, Request, Restorer, Tiling, Triple, VolumeFacts
from vemctl.prediction.batching import largest_batch
from vemctl.prediction.plan import Plan, make_plan
from vemctl.prediction.statistics import facts_of, measure
from vemctl.tiles.grid import tile_grid
from vemctl.volumes.fingerprint import fingerprint
from vemctl.weights import Resolved
from vemctl.workflows.layout import make_layout
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.sources import Sources, seen_through
from vemctl.workflows.trial import first_jobs
from vemctl.workflows.weights import digests_of, read_by

MOST_MEMORY = 4 * 2**30
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
         "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """Where a run's networks are, as far as its plan depends on that.

    Attributes
    ----------
    device : str, optional
        The torch device of its workers; None where this process restores itself.
    threads : int, optional
        Of each process, where the user says nothing else.
    processes : int
        How many share this machine's memory.
    at_once : int
        How many restore blocks, here and elsewhere.
    block : (z, y, x), optional
        Output voxels, where the blocks are laid already.
    """

    device: str | None = None
    threads: int | None = None
    processes: int = 1
    at_once: int = 1
    block: Triple | None = None


HERE = Site()


@dataclass(frozen=True)
class Prepared:
    """What a prediction needs, complete.

    Attributes
    ----------
    plan : Plan
    restorer : Restorer
    device : str
        A torch device.
    weights : Resolved, optional
    sources : Sources
        What is read: the inputs, where the method sees several time points at once.
    statistics : list of dict
        Per input, what was measured.
    files : mapping of str to Resolved
        What the method reads beside the weights.
    """

    plan: Plan
    restorer: Restorer
    device: str
    weights: Resolved | None
    sources: Sources
    statistics: list[dict[str, Any]]
    files: Mapping[str, Resolved]

    @property
    def settled(self) -> dict[str, Any]:
        """How the method settled what the user left to it, as JSON types."""
        return dict(getattr(self.restorer, "settled", {}))


def prepare(
    request: PredictRequest,
    method: Method,
    sources: Sources,
    listen: Listener,
    stop: threading.Event,
    *,
    known: dict[str, Any] | None = None,
    site: Site = HERE,
) -> Prepared:
    """Resolve weights and device, measure the inputs, make the restorer, lay the plan.

    Parameters
    ----------
    known : dict, optional
        The identity of the run that is being resumed, whose statistics and number of threads are
        taken over.
    site : Site
        Where the network runs; its plan is made here.

    Raises
    ------
    VemctlError
        Whatever the user can mend; nothing is written.
    Interrupted
        `stop` was set while an input was being measured.
    """
    weights, files = read_by(request, method, listen, stop)
    device = site.device or devices.resolve(request.compute.device)
    threads = request.compute.threads or (known or {}).get("threads") or site.threads
    if isinstance(threads, int):
        devices.use_threads(threads)
    as_original = request.run.as_original
    if as_original and not method.has_original:
        raise OptionError(f"--as-original: {method.name} has no original program; leave it out")
    window = method.time_window(
        request.method_options,
        weights=weights.path if weights else None,
        as_original=as_original,
        num_timepoints=sources.header.num_timepoints or 1,
    )
    everything, sources = sources, seen_through(sources, window)
    names = method.statistics(
        request.method_options,
        weights=weights.path if weights else None,
        as_original=as_original,
    )
    statistics = _measured_before(known, names, len(sources.volumes)) or [
        measure(
            volume,
            everything.series,
            names,
            listen,
            stop,
            check_finite=not request.input.nan_to_num,
        )
        for volume in sources.volumes
    ]
    for volume in sources.volumes:
        if volume.header.dtype.kind in "iu" and volume.header.dtype.itemsize > 2:
            text = f"{volume.header.path}: {volume.header.dtype.name} is restored in float32, which"
            listen(Noted(f"{text} rounds integers above 16777216", "warning"))
    places = {(one.timepoint, one.channel): n for n, one in enumerate(everything.series)}
    kept = [places[one.timepoint, one.channel] for one in sources.series]
    facts = [
        VolumeFacts(
            v.header.shape,
            v.header.dtype.name,
            v.header.voxel_size,
            num_channels=len({one.channel for one in sources.series}),
            **facts_of(measured, v.header.shape[0], kept),
        )
        for v, measured in zip(sources.volumes, statistics, strict=True)
    ]
    tiling = Tiling(request.tiling.tile, request.tiling.overlap, request.tiling.blend)
    restorer = method.restorer(
        weights.path if weights else None,
        request.method_options,
        Request(
            facts,
            "cpu" if site.device else device,  # there it works, here it only tells its geometry
            request.compute.precision,
            as_original,
            tiling,
            request.tiling.batch or 1,
            window,
            lambda text: listen(Noted(text, "warning")),
            {name: found.path for name, found in files.items()},
            compile=request.compute.compile and not site.device,
        ),
    )
    grid = tile_grid(sources.header.shape, restorer.footprint)
    layout = make_layout(request.writing, sources, grid, restorer.footprint.scale, restorer.output)
    lay = partial(
        make_plan,
        grid=grid,
        footprint=restorer.footprint,
        output=restorer.output,
        layout=layout,
        headers=tuple(volume.header for volume in sources.seen),
        series=sources.series,
        budget=memory_budget(request.compute.memory, site.processes),
        device=device,
        block=site.block or request.compute.block,
        processes=site.at_once,
        sharing=site.processes,
    )
    batch = _batch(request, restorer, known)
    if batch is None:
        if site.device:
            raise OptionError(
                "--batch 0: is found by trial in one process; --dry-run without workers tells it, "
                "then give that number"
            )
        plan = lay(batch=1, network_bytes=restorer.memory(grid.tile_shape, 1))
        jobs = first_jobs(plan, sources, 1)
        spare = plan.memory.blending
        batch = largest_batch(restorer, device, request.compute.precision, jobs, spare=spare)
        listen(Noted(f"--batch {batch} is what fits and helps on {device}"))
    plan = lay(batch=batch, network_bytes=restorer.memory(grid.tile_shape, batch))
    return Prepared(plan, restorer, device, weights, sources, statistics, files)


def _batch(request: PredictRequest, restorer: Restorer, known: dict[str, Any] | None) -> int | None:
    """Return how many tiles a call takes; None where that is to be found by trial."""
    if not restorer.footprint.batched:
        return 1
    if request.tiling.batch == 0:
        found = (known or {}).get("batch")
        return found if isinstance(found, int) else None
    return request.tiling.batch or 1


def _measured_before(
    known: dict[str, Any] | None, names: Sequence[str], count: int
) -> list[dict[str, Any]] | None:
    """Return the statistics of the run that is being resumed, if they are those asked for."""
    found = (known or {}).get("statistics")
    if not isinstance(found, list) or len(found) != count:
        return None
    return found if all(set(each) == set(names) for each in found) else None


def memory_budget(text: str | None, processes: int = 1) -> int:
    """Return the bytes that ``--memory`` leaves each of several processes.

    None means a quarter of what is free, at most 4 GiB for each.
    """
    if text is None:
        return min(MOST_MEMORY, devices.free_main_memory() // 4 // processes)
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?I?)B?\s*", text.upper())
    if match is None or float(match[1]) == 0 or match[2] not in UNITS:
        raise OptionError(
            f"--memory {text}: expected a size such as 2GiB, 500MB or 1e9 bytes in digits"
        )
    return int(float(match[1]) * UNITS[match[2]]) // processes


def identity(
    request: PredictRequest, prepared: Prepared, sources: Sources, recorded: dict[str, Any]
) -> dict[str, Any]:
    """Return everything on which the output's bytes depend, as JSON types.

    Parameters
    ----------
    recorded : dict
        The recorded request, see `vemctl.workflows.config.request_to_json`.
    """
    layout = prepared.plan.layout
    options = {key: value for key, value in recorded.items() if key not in {"inputs", "weights"}}
    # Of the device only the kind counts: another card of the same kind may take over.
    options["compute"] = {k: v for k, v in options["compute"].items() if k != "device"}
    return {
        "method": request.method,
        "weights_sha256": prepared.weights.sha256 if prepared.weights else None,
        "device": prepared.device.partition(":")[0],
        "threads": devices.num_threads(prepared.device),
        "versions": {name: version(name) for name in ("vemctl", "torch", "numpy")},
        "batch": prepared.plan.batch,
        "options": options,
        "input": [fingerprint(volume) for volume in sources.volumes],
        **digests_of(prepared.files),
        "statistics": prepared.statistics,
        "output": {
            "axes": layout.axes,
            "shape": list(layout.shape),
            "dtype": layout.dtype.name,
            "chunk_shape": list(layout.chunk_shape),
            "shard_shape": list(layout.shard_shape),
        },
    }
