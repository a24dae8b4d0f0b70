"""One share of a prediction, for the tasks of a job array: no process knows of another.

Blocks are numbered over the whole output; share i of n has the i-th n-th of them. Whoever comes
first makes the output and measures its inputs, the others take that over.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vemctl.errors import OptionError
from vemctl.events import Noted
from vemctl.journal import journals
from vemctl.locks.claim import Slot
from vemctl.locks.exclusive import beginning, holders, shard_lock
from vemctl.locks.lease import PATIENCE_S
from vemctl.prediction.finishing import verify
from vemctl.prediction.ledger import PARTS, Entry
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.destination import Destination
from vemctl.workflows.beginning import Begun, begin, describe_job, go_on, known_identity, writer
from vemctl.workflows.completing import refuse_failures
from vemctl.workflows.job import Job, read_job
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import Prepared, prepare
from vemctl.workflows.request_checks import check_place, needed_bytes
from vemctl.workflows.restoring import Run, restore_blocks

ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")


@dataclass(frozen=True)
class Share:
    """Which part of the blocks is one's own.

    Attributes
    ----------
    number : int
        From 1.
    count : int
    array : (first, step), optional
        Of the numbers of the job array's tasks, if it was found out from these.
    """

    number: int
    count: int
    array: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """As people write it, for instance ``"3/16"``."""
        return f"{self.number}/{self.count}"

    def owns(self, block: int, blocks: int) -> bool:
        """Return whether a block, from 0, of so many is in this share."""
        return owner(block, blocks, self.count) == self.number


def owner(block: int, blocks: int, count: int) -> int:
    """Return which of `count` shares, from 1, has a block, from 0, of so many."""
    return block * count // blocks + 1


def parse_share(text: str, job: Job | None) -> Share:
    """Return the share that ``--shard`` means.

    Parameters
    ----------
    text : str
        ``"i/n"``, or ``"auto"`` for what SLURM says of this task of an array.
    job : Job, optional
        What was begun: when a part of an array is run again, it knows how many there were.

    Raises
    ------
    OptionError
        It is neither, or this is no task of an array.
    """
    if text == "auto":
        try:
            task, first, count = (int(os.environ[name]) for name in ARRAY)
            step = int(os.environ.get("SLURM_ARRAY_TASK_STEP", "1"))
        except (KeyError, ValueError):
            raise OptionError(
                f"--shard auto: {', '.join(ARRAY)} are not set: expected a task of a SLURM job "
                "array (sbatch --array=1-16); else use --shard I/N"
            ) from None
        begun = "the array"
        if job and job.shards and job.array is not None:
            (first, step), count = job.array, job.shards
            begun = "the array with which the output was begun"
        number, rest = divmod(task - first, max(1, step))
        if rest or not 0 <= number < count:
            raise OptionError(
                f"--shard auto: task {task} is none of {count} tasks from {first} by {step}: "
                f"expected numbers of {begun}, evenly spaced such as --array=1-16; or use "
                "--shard I/N"
            )
        return Share(number + 1, count, (first, max(1, step)))
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise OptionError(f"--shard {text}: expected I/N with I from 1 to N, such as 3/16, or auto")
    return Share(int(match[1]), int(match[2]))


def asked_share(request: PredictRequest) -> Share | None:
    """Return the share that a request is for; None for the whole.

    Raises
    ------
    OptionError
        See `parse_share`.
    """
    if request.spread.shard is None:
        return None
    return parse_share(request.spread.shard, _begun_job(request.output))


def predict_share(run: Run) -> dict[str, Any]:
    """Restore the blocks of one share; the output is finished later, by `finish`.

    Raises
    ------
    VemctlError
        Whatever the user can mend.
    UnfinishedError
        Some blocks failed, all others of the share are written.
    Interrupted
        The run's `stop` was set.
    """
    output, listen, stop = run.request.output, run.listen, run.stop
    share = asked_share(run.request)
    assert share is not None
    with shard_lock(output, share.number, share.count, listen, stop=stop, lost=stop):
        with beginning(output, listen, stop, lost=stop):
            job = _begun_job(output)
            if job is None:
                begun, prepared = _begin(run, share)
            else:
                _agree(output, job, share, stop)
        if job is not None:
            prepared = _prepare(run, share, job)
            asked = describe_job(run.request, run.method, prepared, run.sources, listen, stop)
            begun = _join(run, share, asked)
        return _restore_share(run, share, prepared, begun)


def _begun_job(output: Path) -> Job | None:
    """Return what was begun; None if nothing was, or somebody was killed over it.

    Raises
    ------
    ResumeError
        Something was begun, perhaps others are at work on it, but what cannot be read.
    """
    if not journals(partial_folder(output), PARTS):  # which come after the job
        return None
    return read_job(output)


def _begin(run: Run, share: Share) -> tuple[Begun, Prepared]:
    request = run.request
    prepared = _prepare(run, share, None)
    check_place(request, needed_bytes(request, prepared), prepared)
    if partial_folder(request.output).exists():  # somebody was killed while beginning it
        Destination(request.output, {}, None).discard()
    job = describe_job(request, run.method, prepared, run.sources, run.listen, run.stop)
    begin(request, replace(job, shards=share.count, array=share.array))
    return _join(run, share, job), prepared


def _prepare(run: Run, share: Share, job: Job | None) -> Prepared:
    known = known_identity(run.request)
    at_once = run.site.at_once * share.count
    site = replace(run.site, block=job.block if job else None, at_once=at_once)
    return prepare(
        run.request, run.method, run.sources, run.listen, run.stop, known=known, site=site
    )


def _join(run: Run, share: Share, job: Job) -> Begun:
    part = f"shard-{share.number}-of-{share.count}"
    return go_on(run.request.output, job, overwrite=run.request.writing.overwrite, part=part)


def _agree(output: Path, job: Job, share: Share, stop: threading.Event) -> None:
    """See to it that all shards share out the blocks in the same way.

    Raises
    ------
    OptionError
        Others are at work that do it in another way.
    """
    if job.shards == share.count:
        return
    ours = {Slot("shard", share.number, share.count).name, Slot("beginning").name}
    watched = holders(output, patience=PATIENCE_S + 1, stop=stop)
    others = [each for each in watched if each.alive and each.name not in ours]
    if job.shards and others:
        raise OptionError(
            f"--shard {share.name}: {output} was begun in {job.shards} shares and {others[0].name} "
            f"is at work; use --shard I/{job.shards}, or wait"
        )
    replace(job, shards=share.count, array=share.array).write(output)


def _restore_share(run: Run, share: Share, prepared: Prepared, begun: Begun) -> dict[str, Any]:
    plan, listen, stop = prepared.plan, run.listen, run.stop
    slot = Slot("shard", share.number, share.count)
    begun.ledger.sign(writer(slot.name, prepared.device))
    blocks = begun.job.blocks
    total = blocks.total

    def is_ours(entry: Entry) -> bool:
        return share.owns(blocks.number(entry.timepoint, entry.channel, entry.start), total)

    torn = verify(
        begun.ledger, plan.stage, begun.store, listen, stop, only=is_ours, everywhere=False
    )
    if torn:
        listen(Noted(f"{torn} damaged units are restored again", "warning"))
    failures, facts = restore_blocks(
        run, prepared, begun, lambda block: share.owns(block, total), keep_going=True
    )
    refuse_failures(begun, plan, failures, f"run --shard {share.name} again")
    listen(
        Noted(
            f"shard {share.name} of {run.request.output} is done; when all are: vemctl finish "
            f"{run.request.output}"
        )
    )
    return facts | {"shard": share.number, "shards": share.count}
