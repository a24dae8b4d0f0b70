"""The report of a training run: what was trained, on what, how, and how it went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vemctl import registry
from vemctl.errors import MethodError
from vemctl.pages.page import contents, notes, page, paragraph, section
from vemctl.pages.picker import picker
from vemctl.pages.tables import code, facts, table
from vemctl.pages.words import number_text, shape_text
from vemctl.workflows.report_curves import MOST_ROWS, curves_parts, spread, validation_parts
from vemctl.workflows.report_images import Picture, images, stored_picture
from vemctl.workflows.report_options import option_tables
from vemctl.workflows.report_run import ENDED, VALIDATION, Run, read
from vemctl.workflows.train_options import TRAIN_GROUPS

MOST_PREVIEWS = 24

Part = tuple[str, list[str]]


def training_page(folder: Path, budget: int) -> str:
    """Return the report of a run as HTML.

    Parameters
    ----------
    folder : Path
        Of the run; nothing in it is changed.
    budget : int
        Bytes that pictures may take.

    Raises
    ------
    InputError
        The run is damaged or cannot be read.
    """
    run = read(folder)
    described = run.described
    parts: list[Part] = [
        ("Summary", _summary(run)),
        ("Losses and learning rates", curves_parts(run)),
        ("Validation", validation_parts(run)),
        ("Previews", _previews(run, budget)),
        ("Options", _options(described)),
        ("Data", _data(described)),
        ("Changes", _changes(described)),
    ]
    parts = [(title, content) for title, content in parts if content]
    sections = [section(title, content) for title, content in parts]
    return page(
        f"Training of {described['method']}: {folder.resolve().name}",
        [contents([title for title, _ in parts]), *sections],
        description="What was learned from, how, and how it went.",
    )


def _summary(run: Run) -> list[str]:
    described = run.described
    of = f" of {run.total}" if run.total and run.total != run.reached else ""
    shown: dict[str, object] = {
        "Method": described["method"],
        "Command": code(f"vemctl {described.get('command') or 'train'} {described['method']}"),
        "State": _state(run),
        "Steps": f"{run.reached}{of}",
    }
    if run.best_step is not None:
        best = run.table.at(run.best_step)
        found = [f"{k} {number_text(v)}" for k, v in best.items() if k.startswith(VALIDATION)]
        shown["Best weights"] = f"of step {run.best_step}: " + (
            ", ".join(found) or "not in the table"
        )
    shown["Weights that stand for the run"] = described.get("default_weights")
    shown["Started from"] = _started_from(described)
    if run.began:
        shown["Began"] = run.began
        shown["Last entry of the log"] = run.told
    shown["Device"] = described.get("device")
    shown["Seed"] = described.get("seed")
    shown["Versions"] = ", ".join(f"{k} {v}" for k, v in (described.get("versions") or {}).items())
    shown["Run"] = code(run.folder.resolve())
    shown["Identifier"] = described.get("id")
    hidden = len(run.warnings) - MOST_ROWS
    warnings = list(run.warnings[:MOST_ROWS])
    if hidden > 0:
        warnings.append(f"and {hidden} more in log.txt")
    return [facts(shown), notes(warnings)]


def _state(run: Run) -> str:
    if run.ending is not None:
        _, _, reason = run.ending.removeprefix(ENDED).partition(": ")
        # After how many steps and which are best stands beside it.
        return f"ended: {reason.partition('; best ')[0]}"
    if not run.table.steps:
        return "unfinished: no step is recorded yet"
    if run.began is None:
        return "not known: the run has no log"
    return "unfinished: it is still running, or was killed (--resume continues it)"


def _started_from(described: dict[str, Any]) -> object:
    weights = (described.get("data") or {}).get("weights") or []
    if not weights:
        return "nothing: new networks"
    return "; ".join(f"{each['path']} (SHA-256 {each['sha256']})" for each in weights)


def _previews(run: Run, budget: int) -> list[str]:
    if not run.previews:
        return [paragraph("The run has no previews.")]
    steps = list(run.previews)
    chosen = spread(steps, MOST_PREVIEWS, run.best_step)
    method = run.described["method"]
    found: dict[str, Picture] = {}
    for step in chosen:
        alt = f"What the validation of step {step} saw: panels of {method} side by side"
        picture = stored_picture(run.previews[step], alt)
        if picture is not None:
            best = ", the best weights" if step == run.best_step else ""
            found[f"Step {step}{best}"] = picture
    encoded = images(list(found.values()), budget)
    if not encoded:
        return [paragraph("The previews cannot be shown: they are damaged, or too many.")]
    remarks = [f"{len(encoded)} of {len(steps)} previews are shown." * (len(encoded) < len(steps))]
    return [
        picker(dict(zip(found, encoded, strict=True)), name="Validation"),
        *(paragraph(text, quiet=True) for text in remarks if text),
    ]


def _options(described: dict[str, Any]) -> list[str]:
    options, method = described.get("options") or {}, described["method"]
    titles = {name: name.capitalize() for name in options} | {"method": f"Method {method}"}
    classes: dict[str, type[Any] | None] = {
        titles[k]: v for k, v in TRAIN_GROUPS.items() if k in titles
    }
    try:
        loaded = registry.get(method)
    except MethodError:
        loaded = None
    if loaded is not None:
        tuned = described.get("command") == "finetune"
        classes[titles["method"]] = loaded.finetune_options if tuned else loaded.train_options
    ordered = sorted(options, key=lambda name: name != "method")
    return [
        paragraph("What is not the default stands out.", quiet=True),
        *option_tables({titles[name]: options[name] for name in ordered}, classes),
    ]


def _data(described: dict[str, Any]) -> list[str]:
    data = described.get("data") or {}
    rows = [
        (
            role,
            each.get("path"),
            shape_text(each.get("shape") or ()),
            each.get("axes"),
            each.get("dtype"),
            code(str(each.get("sample_sha256", ""))[:16]),
        )
        for role, volumes in (data.get("volumes") or {}).items()
        for each in volumes
    ]
    header = ("As", "Volume", "Shape", "Axes", "Type", "Digest")
    parts = [table(rows[:MOST_ROWS], header, caption="Volumes that were learned from")]
    if len(rows) > MOST_ROWS:
        parts.append(paragraph(f"and {len(rows) - MOST_ROWS} more; run.json has all.", quiet=True))
    text = "Digests are the first 16 digits of the SHA-256 of a sample; run.json has all 64."
    parts.append(paragraph(text, quiet=True))
    found = data.get("files") or {}
    files = [(key, file["path"], code(file["sha256"])) for key, file in found.items()]
    if files:
        parts.append(table(files, ("As", "File", "SHA-256"), caption="Files that were read too"))
    return parts


def _changes(described: dict[str, Any]) -> list[str]:
    changes = described.get("changes") or []
    rows = [(c.get("step"), c.get("what"), c.get("from"), c.get("to")) for c in changes]
    if not rows:
        return []
    parts = [
        paragraph("The run was continued with other settings than it began with."),
        table(rows[:MOST_ROWS], ("From step", "What", "Was", "Became"), caption="Changes"),
    ]
    if len(rows) > MOST_ROWS:
        parts.append(paragraph(f"and {len(rows) - MOST_ROWS} more; run.json has all.", quiet=True))
    return parts
