"""The report of an output: how it was made, what that took, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl import registry
from vemctl.errors import MethodError
from vemctl.events import Listener
from vemctl.pages.page import contents, folded, notes, page, paragraph, section
from vemctl.pages.tables import code, facts, table
from vemctl.pages.words import duration_text, shape_text, size_text, value_text
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance
from vemctl.volumes.volume import Header
from vemctl.workflows.evaluate import evaluate
from vemctl.workflows.evaluate_options import EvaluateRequest
from vemctl.workflows.options import OPTION_GROUPS
from vemctl.workflows.report_checks import (
    PLAN_CHECKS,
    PROVENANCE_CHECKS,
    RECORD_CHECKS,
    by_name,
    refuse_wrong,
    usable,
)
from vemctl.workflows.report_options import changed_options, option_tables
from vemctl.workflows.report_planes import Planes, planes_parts, read_both
from vemctl.workflows.report_quality import quality_parts
from vemctl.workflows.run_record import read_record

MOST_WARNINGS = 50
NOT_RECORDED = (
    "What the run took is not recorded: the output was made by an earlier version, or the record "
    "was removed."
)


@dataclass(frozen=True)
class Gathered:
    """What there is to say of an output.

    Attributes
    ----------
    path : Path
    header : Header
    channel, timepoint : int
        Which was looked at.
    provenance : dict
    record : dict, optional
        What the run took.
    evaluation : dict
        See `vemctl.workflows.evaluate.evaluate`.
    planes : Planes
    """

    path: Path
    header: Header
    channel: int
    timepoint: int
    provenance: dict[str, Any]
    record: dict[str, Any] | None
    evaluation: dict[str, Any]
    planes: Planes


def gather(path: Path, *, channel: int, timepoint: int, listen: Listener) -> Gathered:
    """Read and measure what the report of an output tells; bounded, whatever the volume's size.

    Parameters
    ----------
    path : Path
        A finished output.
    channel, timepoint : int
    listen : Listener

    Raises
    ------
    InputError, OptionError
        The output cannot be read, or has no such channel or time point.
    """
    provenance = read_provenance(path) or {}
    groups = dict.fromkeys(("method_options", *OPTION_GROUPS), by_name(lambda _: True))
    refuse_wrong(provenance, PROVENANCE_CHECKS, path, "an output of vemctl predict")
    refuse_wrong(provenance["request"], groups, path, "an output of vemctl predict")
    volume = open_volume(path)
    header = volume.header
    volume.close()
    planes = read_both(path, provenance, channel=channel, timepoint=timepoint)
    request = EvaluateRequest(prediction=path, channel=str(channel), timepoint=str(timepoint))
    evaluation = evaluate(request, listen)
    # What is lost of it is lost without harm to the output.
    record = usable(read_record(path) or {}, RECORD_CHECKS) or None
    return Gathered(path, header, channel, timepoint, provenance, record, evaluation, planes)


def prediction_page(gathered: Gathered, budget: int) -> str:
    """Return the report of an output as HTML.

    Parameters
    ----------
    gathered : Gathered
    budget : int
        Bytes that pictures may take.
    """
    parts = {
        "Summary": _summary(gathered),
        "Before and after": planes_parts(gathered.planes, budget),
        "Quality": quality_parts(gathered.evaluation),
        "Plan and what happened": _run(gathered.record),
        "How it was made": _provenance(gathered.provenance),
        "Options": _options(gathered.provenance),
    }
    method = gathered.provenance.get("method")
    return page(
        f"Restored volume {gathered.path.name}",
        [contents(list(parts)), *(section(title, content) for title, content in parts.items())],
        description=f"How vemctl {method} made it, what that took, and how good it is.",
    )


def _summary(gathered: Gathered) -> list[str]:
    header, provenance = gathered.header, gathered.provenance
    counts = ((header.num_channels, "channels"), (header.num_timepoints, "time points"))
    more = [f"{count} {name}" for count, name in counts if count and count > 1]
    voxel = header.voxel_size
    size = "not known" if voxel is None else f"{shape_text(voxel)} nm (z, y, x)"
    shown: dict[str, object] = {
        "Volume": code(gathered.path.resolve()),
        "Method": provenance.get("method"),
        "Weights": (provenance.get("weights") or {}).get("name") or "none",
        "Size": ", ".join([f"{shape_text(header.shape)} voxels (z, y, x)", *more]),
        "Voxel size": size,
        "Type": header.dtype.name,
        "Made by": f"vemctl {provenance.get('vemctl')}",
    }
    if gathered.record:
        shown["Made at"] = gathered.record.get("began")
    seen = gathered.evaluation["looked_at"]["text"]
    if more:
        seen = f"channel {gathered.channel}, time point {gathered.timepoint}: {seen}"
    shown["Looked at for this report"] = seen
    warnings = list(gathered.evaluation["warnings"])
    hidden = len(warnings) - MOST_WARNINGS
    listed = warnings[:MOST_WARNINGS] + [f"and {hidden} more"] * (hidden > 0)
    return [facts(shown), notes(listed)]


def _run(record: Mapping[str, Any] | None) -> list[str]:
    if record is None:
        return [paragraph(NOT_RECORDED)]
    plan = usable(record.get("plan") or {}, PLAN_CHECKS)
    planned, measured = plan.get("block_memory_bytes"), record.get("peak_memory_bytes")
    rows: list[tuple[str, str | None, str | None]] = []

    def row(name: str, before: str | None, after: str | None) -> None:
        if before is not None or after is not None:
            rows.append((name, before, after))

    tiles, computed = plan.get("tiles_computed"), record.get("tiles_computed")
    row("Time", None, _given(record, "seconds", duration_text))
    row(
        "Time in the network",
        _given(record, "estimated_network_seconds", _early),
        _network(record),
    )
    row(
        "Main memory",
        None if planned is None else f"{size_text(planned)} for blocks",
        None if measured is None else f"{size_text(measured)} at most, by the whole process",
    )
    own = _given(record, "peak_device_memory_bytes", size_text)
    row(
        "Memory for the network",
        _given(plan, "network_memory_bytes", size_text),
        own and f"{own} at most, on the device",
    )
    row("Tiles computed", tiles and str(tiles), _given(record, "tiles_computed", str))
    row("Redundancy", *(_redundancy(each, plan.get("tiles")) for each in (tiles, computed)))
    shown: dict[str, object] = {
        "Began": record.get("began"),
        "Device": record.get("device_name"),
        "Resumed": "yes: times are of the last part only" if record.get("resumed") else "no",
        "Tiles per network call": record.get("batch", plan.get("batch")),
        "Blocks": plan.get("blocks"),
        "Block": _sizes(plan, "block_shape"),
        "Version of vemctl": record.get("version"),
    }
    return [
        table(rows, ("What", "Planned", "Happened"), caption="What was planned, and what happened"),
        facts({name: value for name, value in shown.items() if value is not None}),
    ]


def _early(seconds: float) -> str:
    return f"{duration_text(seconds)}, by the time of an early call"


def _given(mapping: Mapping[str, Any], name: str, show: Any) -> str | None:
    value = mapping.get(name)
    return None if value is None else str(show(value))


def _network(record: Mapping[str, Any]) -> str | None:
    seconds, whole = record.get("network_seconds"), record.get("seconds")
    if seconds is None:
        return None
    share = f", {100 * seconds / whole:.0f} % of all" if whole else ""
    return duration_text(seconds) + share


def _redundancy(computed: float | None, tiles: float | None) -> str | None:
    # The last part of a run that was resumed has fewer tiles than there are.
    if not computed or not tiles or computed < tiles:
        return None
    if computed == tiles:
        return "none: every tile was computed once"
    return f"{computed / tiles:.3g} times, as tiles at the borders of blocks are computed again"


def _sizes(plan: Mapping[str, Any], name: str) -> str | None:
    return f"{shape_text(plan[name])} voxels" if plan.get(name) else None


def _provenance(provenance: Mapping[str, Any]) -> list[str]:
    weights = provenance.get("weights") or {}
    doi = provenance.get("doi")
    shown: dict[str, object] = {
        "Please cite": provenance.get("citation"),
        "Publication": f"https://doi.org/{doi}" if doi else None,
        "Weights": weights.get("name"),
        "SHA-256 of the weights": code(weights["sha256"]) if weights.get("sha256") else None,
    }
    for key, file in (provenance.get("files") or {}).items():
        shown[f"File {key}"] = code(f"{file.get('name') or file.get('path')}: {file.get('sha256')}")
    shown["Device"] = provenance.get("device")
    shown["Threads"] = provenance.get("threads")
    versions = {"vemctl": provenance.get("vemctl"), **(provenance.get("versions") or {})}
    shown["Versions"] = ", ".join(f"{name} {each}" for name, each in versions.items())
    tiling = provenance.get("tiling") or {}
    for name in ("tile", "overlap", "halo", "window", "batch"):
        if name in tiling:
            shown[name.capitalize()] = value_text(tiling[name])
    for name in ("settled", "statistics"):
        if any(provenance.get(name) or []):
            shown[name.capitalize()] = value_text(provenance[name])
    request = provenance["request"]
    rows = [
        (path, shape_text(each.get("shape") or ()), each.get("axes"), each.get("dtype"))
        for path, each in zip(
            request.get("inputs") or [], provenance.get("input") or [], strict=False
        )
    ]
    return [
        facts({name: value for name, value in shown.items() if value is not None}),
        table(
            rows[:MOST_WARNINGS], ("Input", "Shape", "Axes", "Type"), caption="What was restored"
        ),
    ]


def _options(provenance: Mapping[str, Any]) -> list[str]:
    request, method = provenance["request"], provenance.get("method")
    titles = {"method_options": f"Method {method}"}
    titles |= {name: name.capitalize() for name in OPTION_GROUPS}
    options = {title: request[name] for name, title in titles.items() if request.get(name)}
    classes: dict[str, type[Any] | None] = {
        titles[name]: each for name, each in OPTION_GROUPS.items()
    }
    try:
        classes[titles["method_options"]] = registry.get(str(method)).predict_options
    except MethodError:
        classes[titles["method_options"]] = None
    return [
        changed_options(options, classes),
        folded("All options", option_tables(options, classes)),
    ]
