"""Report: what is worth knowing of a training run or of an output, as one HTML file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vemctl.durable import write_whole
from vemctl.errors import InputError, OptionError, OutputError
from vemctl.events import Listener, ignore
from vemctl.pages.page import GENERATOR, START_BYTES
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.provenance import read_provenance
from vemctl.volumes.zarr_volume import read_node
from vemctl.weights.runs import is_run
from vemctl.workflows.places import check_folder

MOST_BYTES = 5_000_000
"""Of a report."""
BUDGETS = (3_900_000, 2_000_000, 500_000, 0)
"""Bytes for pictures, tried until the report is small enough."""
EXPECTED = (
    "expected a training run (run.json) or an output of vemctl predict; for other volumes use "
    "vemctl preview and vemctl evaluate"
)
SUFFIXES = (".html", ".htm")


def report(
    target: Path,
    output: Path | None = None,
    *,
    overwrite: bool = False,
    channel: int | None = None,
    timepoint: int | None = None,
    listen: Listener = ignore,
) -> Path:
    """Write the report of a training run or of an output.

    Parameters
    ----------
    target : Path
        The folder of a run, or a volume that vemctl predict has made.
    output : Path, optional
        By default ``RUN/report.html``, or ``clean.report.html`` beside ``clean.zarr``.
    overwrite : bool
        Replace whatever file is there; an earlier report is replaced anyway.
    channel, timepoint : int, optional
        Which of an output is looked at; by default the first.
    listen : Listener

    Returns
    -------
    Path
        Of the report.

    Raises
    ------
    InputError
        It is neither a run nor a finished output, or damaged.
    OptionError
        There is no such channel or time point, as a run has none.
    OutputError
        The report cannot be written, or another file is in its place.
    """
    target = _named(_whole_output(_named(target)))
    running = is_run(target)
    if running:
        _check_no_choice(target, channel=channel, timepoint=timepoint)
    else:
        check_is_output(target)
    place = output or default_place(target)
    check_folder(place)
    check_place(place, overwrite=overwrite)
    build: Callable[[int], str]
    if running:
        from vemctl.workflows.report_training import training_page

        def build(budget: int) -> str:
            return training_page(target, budget)

    else:
        from vemctl.workflows.report_prediction import gather, prediction_page

        gathered = gather(target, channel=channel or 0, timepoint=timepoint or 0, listen=listen)

        def build(budget: int) -> str:
            return prediction_page(gathered, budget)

    data = _small_enough(build)
    try:
        write_whole(place, data)
    except OSError as error:
        raise OutputError(
            f"{place}: cannot be written ({error.strerror or error}); choose another place with -o"
        ) from error
    return place


def default_place(target: Path) -> Path:
    """Return where the report of a run or of an output goes."""
    if is_run(target):
        return target / "report.html"
    whole = _named(target)
    stem = whole.name.removesuffix(whole.suffix).removesuffix(".ome")
    return whole.with_name(f"{stem}.report.html")


def check_place(place: Path, *, overwrite: bool) -> None:
    """Refuse a place where something else is than an earlier report.

    Raises
    ------
    OutputError
        It is taken, or not called as pages are.
    """
    if place.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"{place}: expected a name that ends with .html; choose one, such as "
            f"{place.with_suffix('.html').name}"
        )
    if place.is_dir():
        raise OutputError(f"{place}: a folder; expected a file: choose another name")
    if place.exists() and not overwrite and not _is_report(place):
        raise OutputError(
            f"{place}: exists and is no report of vemctl; pass --overwrite, or choose another file "
            "with -o"
        )


def check_is_output(target: Path) -> None:
    """Refuse what vemctl predict has not made, or not finished.

    Raises
    ------
    InputError
        What it is instead.
    """
    if not target.exists():
        if partial_folder(target).exists():
            raise InputError(
                f"{target}: not finished; run the command that makes it again with --resume, then "
                "report"
            )
        raise InputError(f"{target}: no such file or folder; {EXPECTED}")
    provenance = read_provenance(target)
    if provenance is None or not isinstance(provenance.get("request"), dict):
        raise InputError(f"{target}: {_kind(target)}; {EXPECTED}")


def _kind(target: Path) -> str:
    if target.name.endswith(partial_folder(Path("x")).name.removeprefix("x")):
        return "an output that is not finished"
    return "neither a run nor an output of vemctl predict"


def _check_no_choice(run: Path, **chosen: int | None) -> None:
    """Refuse what chooses a part of an output where there is a run."""
    for name, value in chosen.items():
        if value is not None:
            raise OptionError(
                f"--{name} {value}: {run} is a training run, which has no {name}s; leave it out"
            )


def _named(target: Path) -> Path:
    """Return a path that ends with the name of what it leads to, as ``.`` and ``..`` do not."""
    return target.resolve() if target.name in ("", "..") else target


def _whole_output(target: Path) -> Path:
    """Return the OME-Zarr image of which a path names one level."""
    above = target.absolute().parent
    if target.is_dir() and read_node(above) is not None and read_provenance(above):
        return target.parent
    return target


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return GENERATOR.encode() in file.read(START_BYTES)
    except OSError:
        return False


def _small_enough(build: Callable[[int], str]) -> bytes:
    data = b""
    for budget in BUDGETS:
        data = build(budget).encode("utf-8")
        if len(data) < MOST_BYTES:
            break
    return data
