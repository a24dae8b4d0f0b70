"""How an output stands: what is written, what failed, how fast, and by whom."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vemctl.errors import InputError, ResumeError
from vemctl.locks.exclusive import Holder, holders
from vemctl.prediction.ledger import Ledger, as_entry, read_rows
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.provenance import read_provenance
from vemctl.workflows.job import Job, is_begun, read_job
from vemctl.workflows.shards import owner

WATCHED_S = 6.0
"""For which leases are watched: a little longer than it takes to renew one."""


@dataclass
class Writer:
    """A process that has noted blocks.

    Attributes
    ----------
    name : str
        As that of the holder of a lock.
    host, device, began : str
    pid : int
    units : int
        That it has noted, since it began last.
    seconds : float
        From then to its last note, by its own clock.
    workers : dict of str to int
        Units by the processes that restored them, where these are others.
    """

    name: str
    host: str = ""
    device: str = ""
    began: str = ""
    pid: int = 0
    units: int = 0
    seconds: float = 0.0
    workers: dict[str, int] = field(default_factory=dict)


def status(output: Path) -> dict[str, Any]:
    """Return how an output stands, as JSON types; disturbs nobody who is writing it.

    Parameters
    ----------
    output : Path
        Finished or not.

    Returns
    -------
    dict
        ``state`` ("running", "perhaps running", where nobody renewed a lease in some seconds,
        "stopped" or "finished"), ``method``, ``units`` and ``blocks`` (done,
        missing, failed, total), ``units_per_second`` and ``seconds_left`` of those that run now,
        ``holders``, ``writers``, ``failures``, ``shards``.

    Raises
    ------
    InputError
        There is no such output.
    ResumeError
        The unfinished output is damaged.
    """
    if is_begun(output):
        with settled(output):
            return _unfinished(output)
    made = read_provenance(output) or {}
    return {"output": str(output), "state": "finished", "method": made.get("method")}


@contextlib.contextmanager
def settled(output: Path) -> Iterator[None]:
    """End in silence where an output that was looked at is finished by now.

    Raises
    ------
    InputError
        It is just being begun.
    ResumeError
        It is damaged.
    """
    try:
        yield
    except (ResumeError, FileNotFoundError) as error:
        if not is_begun(output):
            return
        if any(each.alive is not False for each in holders(output)):
            raise InputError(
                f"{output}: is just being begun or finished; ask again in a moment"
            ) from error
        raise


def _unfinished(output: Path) -> dict[str, Any]:
    job = read_job(output)
    ledger = Ledger.reopen(partial_folder(output), job.identity, job.units)
    held = holders(output, patience=WATCHED_S)
    writers, failed = _read(partial_folder(output), job.stage)
    complete = job.blocks.complete(ledger.done(job.stage))
    failures = {
        (f["timepoint"], f["channel"], *f["start"]): f
        for f in failed
        if not complete[job.blocks.number(f["timepoint"], f["channel"], tuple(f["start"]))]
    }
    done, total = ledger.count(job.stage), job.units.total
    names = {each.name for each in held if each.alive}
    rate = sum(w.units / w.seconds for w in writers if w.name in names and w.seconds > 0)
    return {
        "output": str(output),
        "state": _state(held),
        "method": job.method,
        "units": {"done": done, "missing": total - done, "total": total},
        "blocks": {
            "done": int(complete.sum()),
            "failed": len(failures),
            "missing": job.blocks.total - int(complete.sum()) - len(failures),
            "total": job.blocks.total,
        },
        **({"stretched": ledger.count("final")} if job.stage == "scratch" else {}),
        "shards": _shards(job, complete) if job.shards else [],
        "units_per_second": round(rate, 4) if rate else None,
        "seconds_left": round((total - done) / rate, 1) if rate else None,
        "holders": [asdict(each) for each in held],
        "writers": [asdict(each) for each in writers],
        "failures": list(failures.values()),
    }


def _shards(job: Job, complete: Any) -> list[dict[str, int]]:
    """Return of every shard how many of its blocks are done."""
    blocks = job.blocks.total
    shards = [{"shard": i + 1, "done": 0, "total": 0} for i in range(job.shards)]
    for number, is_done in enumerate(complete):
        shard = shards[owner(number, blocks, job.shards) - 1]
        shard["total"] += 1
        shard["done"] += int(is_done)
    return shards


def _state(held: Sequence[Holder]) -> str:
    if any(each.alive for each in held):
        return "running"
    return "perhaps running" if held else "stopped"


def _read(folder: Path, stage: str) -> tuple[list[Writer], list[dict[str, Any]]]:
    writers: list[Writer] = []
    failed: list[dict[str, Any]] = []
    for _, rows in read_rows(folder):
        writer = _follow(rows, failed, stage)
        if writer:
            writers.append(writer)
    return writers, failed


def _follow(
    rows: Iterator[Mapping[str, Any]], failed: list[dict[str, Any]], stage: str
) -> Writer | None:
    """Read one process' file; return who wrote it last."""
    writer: Writer | None = None
    for row in rows:
        if isinstance(row.get("writer"), dict):
            facts = row["writer"]
            known = {key: facts[key] for key in ("name", "host", "device", "began", "pid")}
            writer = Writer(**known)
        elif isinstance(row.get("failed"), dict):
            failed.append(row["failed"])
        elif writer and row.get("stage") == stage and as_entry(row):
            writer.units += 1
            writer.seconds = float(row.get("at", 0.0))
            if by := row.get("by"):
                writer.workers[by] = writer.workers.get(by, 0) + 1
    return writer
