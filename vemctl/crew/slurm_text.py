"""What ``--slurm "jobs=4 queue=gpu --gres=gpu:1"`` asks for."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, fields
from typing import Any

from vemctl.errors import OptionError, nearest

_EXAMPLE = 'expected for instance --slurm "jobs=4 queue=gpu cores=4 memory=32GB --gres=gpu:1"'


@dataclass(frozen=True)
class SlurmJobs:
    """Jobs to ask SLURM for; None where dask's own configuration (jobqueue.yaml) decides.

    Attributes
    ----------
    jobs : int
        How many; each is one worker.
    queue : str, optional
        Partition.
    account : str, optional
    cores : int, optional
        Of a job.
    memory : str, optional
        Of a job, for instance ``32GB``.
    walltime : str, optional
        For instance ``04:00:00``.
    interface : str, optional
        Network by which the nodes reach this machine, for instance ``ib0``.
    python : str, optional
        On the nodes; this one by default.
    directives : tuple of str
        Further options of sbatch.
    """

    jobs: int
    queue: str | None = None
    account: str | None = None
    cores: int | None = None
    memory: str | None = None
    walltime: str | None = None
    interface: str | None = None
    python: str | None = None
    directives: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> SlurmJobs:
        """Read words as in a shell: ``key=value``, and options of sbatch as they are.

        Raises
        ------
        OptionError
            A word is none of these, a key is unknown or twice there, or a value unusable.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise OptionError(f"--slurm {text!r}: {error}; {_EXAMPLE}") from None
        known = {each.name for each in fields(cls)} - {"directives"}
        values: dict[str, Any] = {}
        directives = []
        for word in words:
            if word.startswith("--"):
                directives.append(word)
                continue
            key, equals, value = word.partition("=")
            if not (equals and value):
                raise OptionError(f"--slurm: {word!r} is no key=value and no --option; {_EXAMPLE}")
            key = "queue" if key == "partition" else key
            if key not in known:
                raise OptionError(
                    f"--slurm: unknown key {key!r}.{nearest(key, known)} Known are "
                    f"{', '.join(sorted(known))}; options of sbatch begin with --"
                )
            if key in values:
                raise OptionError(f"--slurm: {key} is there twice")
            values[key] = _count(key, value) if key in {"jobs", "cores"} else value
        if "jobs" not in values:
            raise OptionError(f"--slurm {text!r}: jobs= is missing; {_EXAMPLE}")
        memory = values.get("memory")
        if memory and not re.fullmatch(r"\d+(\.\d+)?\s*[kKMGT]i?B", memory):
            raise OptionError(f"--slurm: memory={memory}: expected for instance memory=32GB")
        return cls(**values, directives=tuple(directives))


def _count(key: str, value: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", value):
        raise OptionError(f"--slurm: {key}={value}: expected a whole number from 1 on")
    return int(value)
