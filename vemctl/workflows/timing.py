"""How long a prediction will take, from a few of its tiles."""

from __future__ import annotations

import itertools

from vemctl.prediction.calls import Job, seconds_per_tile
from vemctl.prediction.filling import tile_jobs
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import Prepared

TIMED_TILES = 2


def time_tiles(request: PredictRequest, prepared: Prepared) -> float:
    """Return the seconds that a tile takes, measured on the first of the first block.

    Parameters
    ----------
    request : PredictRequest
    prepared : Prepared
    """
    plan = prepared.plan
    block = next(plan.blocks())
    one = plan.series[0]
    jobs: list[Job] = []
    for index in itertools.islice(plan.grid.touching(block), TIMED_TILES):
        region = plan.grid.contribution(index)
        read = [
            volume.read(plan.grid.source(region), channel=one.channel, timepoint=one.timepoint)
            for volume in prepared.sources.seen
        ]
        jobs += itertools.islice(tile_jobs(plan, None, region, read), 1)
    if len(jobs) == 1:
        jobs *= TIMED_TILES
    return seconds_per_tile(
        prepared.restorer, prepared.device, request.compute.precision, plan.batch, jobs
    )
