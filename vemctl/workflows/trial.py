"""A few tiles of a prediction, to try its network on."""

from __future__ import annotations

import itertools

from vemctl.prediction.calls import Job
from vemctl.prediction.filling import tile_jobs
from vemctl.prediction.plan import Plan
from vemctl.workflows.sources import Sources


def first_jobs(plan: Plan, sources: Sources, count: int) -> list[Job]:
    """Return the first tiles of the first block, at least one and at most `count`.

    Parameters
    ----------
    plan : Plan
    sources : Sources
        What the plan is of.
    count : int
    """
    block = next(plan.blocks())
    one = plan.series[0]
    jobs: list[Job] = []
    for index in itertools.islice(plan.grid.touching(block), count):
        region = plan.grid.contribution(index)
        read = [
            volume.read(plan.grid.source(region), channel=one.channel, timepoint=one.timepoint)
            for volume in sources.seen
        ]
        jobs += itertools.islice(tile_jobs(plan, None, region, read), 1)
    return jobs
