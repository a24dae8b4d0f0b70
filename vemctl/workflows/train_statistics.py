"""What a training wants to know of whole volumes, measured once before it begins."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vemctl.events import Listener
from vemctl.method import Method
from vemctl.prediction.plan import Series
from vemctl.prediction.statistics import facts_of, measure
from vemctl.restoring import VolumeFacts
from vemctl.training.patches import DataDescription, Part, VolumeSource
from vemctl.volumes.open import open_volume

Known = dict[tuple[Any, ...], dict[str, Any]]
"""Statistics by file, series and names."""


def with_statistics(
    method: Method,
    options: Any,
    data: DataDescription,
    listen: Listener,
    stop: threading.Event,
    *,
    preparing: bool = False,
) -> DataDescription:
    """Return the data with the statistics that the method wants in the facts of its volumes.

    Parameters
    ----------
    method : Method
    options : object
        Of the method.
    data : DataDescription
    listen : Listener
    stop : threading.Event
    preparing : bool
        Whether the data are for `vemctl prepare` rather than for a training.

    Raises
    ------
    Interrupted
        `stop` was set.
    """

    def wanted(role: str, index: int, *, validation: bool) -> Sequence[str]:
        if preparing:
            return method.preparation_statistics(options, role, index)
        return method.training_statistics(options, role, index, validation=validation)

    known: Known = {}  # some trainings are judged on what they learn from

    def measured(part: Part, *, validation: bool) -> Part:
        facts = {
            role: _measured(
                role_facts,
                part.sources[role],
                lambda index, role=role: wanted(role, index, validation=validation),
                known,
                listen,
                stop,
            )
            for role, role_facts in part.facts.items()
        }
        return replace(part, facts=facts)

    own = data.validation
    return replace(
        data,
        training=measured(data.training, validation=False),
        validation=None if own is None else measured(own, validation=True),
    )


def _measured(
    facts: Sequence[VolumeFacts],
    sources: Sequence[VolumeSource],
    wanted: Any,
    known: Known,
    listen: Listener,
    stop: threading.Event,
) -> tuple[VolumeFacts, ...]:
    statistics: dict[int, dict[str, Any]] = {}
    for index in dict.fromkeys(each.file_index for each in facts):
        names = wanted(index)
        if not names:
            continue
        mine = [s for s, f in zip(sources, facts, strict=True) if f.file_index == index]
        path, axes, level = mine[0].key
        series = tuple(Series(s.timepoint, s.channel, 0, 0) for s in mine)
        what = (mine[0].key, series, tuple(names))
        if what not in known:
            with contextlib.closing(open_volume(path, axes=axes, level=level)) as volume:
                known[what] = measure(volume, series, names, listen, stop, check_finite=True)
        statistics[index] = known[what]
    numbers: Counter[int] = Counter()
    informed = []
    for each in facts:
        found = statistics.get(each.file_index, {})
        number = numbers[each.file_index]
        numbers[each.file_index] += 1
        informed.append(replace(each, **facts_of(found, each.shape[0], [number])))
    return tuple(informed)
