"""Every error that a user can cause and mend.

::

    VemctlError            one line: what, where, what was expected, how to mend it (exit code 2)
    |-- OptionError        a flag or a configuration key has an unusable value
    |-- MethodError        no such method, or its plugin does not load
    |-- InputError         an input is missing, damaged, ambiguous or of the wrong kind
    |-- OutputError        an output exists, cannot be written, or the disk is full
    |-- WeightsError       weights are missing, damaged, or belong to another network
    |-- DeviceError        a device was asked for that is not there, or its memory is too small
    |-- ResumeError        a run cannot be continued as asked
    |-- WorkerError        a process elsewhere cannot take part in a run, or is out of reach
    |-- UnfinishedError    some blocks could not be restored, all others are (exit code 1)
    |-- TrainingError      a training went astray: a loss is no number, a worker died
    `-- MissingExtraError  an optional package is needed; names the install command
    Interrupted            the run was stopped and can be resumed (exit code 130)

Anything else that is raised is a bug of ours and shows a traceback (exit code 1).
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class VemctlError(Exception):
    """An error that the user can mend; its text is one line."""

    exit_code = 2


class OptionError(VemctlError):
    """A flag or a configuration key has an unusable value."""


class MethodError(VemctlError):
    """No such method, or its plugin does not load."""


class InputError(VemctlError):
    """An input is missing, damaged, ambiguous or of the wrong kind."""


class OutputError(VemctlError):
    """An output exists, cannot be written, or the disk is full."""


class WeightsError(VemctlError):
    """Weights are missing, damaged, or belong to another network."""


class DeviceError(VemctlError):
    """A device was asked for that is not there, or its memory is too small."""


class ResumeError(VemctlError):
    """A run cannot be continued as asked."""


class WorkerError(VemctlError):
    """A process elsewhere cannot take part in a run, or is out of reach."""


class UnfinishedError(VemctlError):
    """Some blocks could not be restored; all others are, and the run can be resumed."""

    exit_code = 1


class TrainingError(VemctlError):
    """A training went astray: a loss is no number any more, or a worker process died."""


class MissingExtraError(VemctlError):
    """An optional package is needed.

    Parameters
    ----------
    purpose : str
        What it is needed for, for instance ``"reading LZW-compressed TIFF"``.
    extra : str
        The extra of the distribution, for instance ``"codecs"``.
    """

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs an optional package: pip install 'vemctl[{extra}]'")
        self.extra = extra


class Interrupted(Exception):  # noqa: N818 - it is no error of anybody's
    """The run was stopped by a signal; what is written stays and can be resumed."""

    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known word nearest to `word`, or nothing.

    Upper and lower case are alike.

    Parameters
    ----------
    word : str
        What was asked for.
    known : iterable of str
        What there is.
    """
    cased = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), list(cased), n=1)
    return f" Did you mean {cased[near[0]]!r}?" if near else ""
