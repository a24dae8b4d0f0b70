"""How long a prediction will take, from a few of its tiles."""

from __future__ import annotations

from vemctl.prediction.calls import seconds_per_tile
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import Prepared
from vemctl.workflows.trial import first_jobs

TIMED_TILES = 2


def time_tiles(request: PredictRequest, prepared: Prepared) -> float:
    """Return the seconds that a tile takes, measured on the first of the first block.

    Parameters
    ----------
    request : PredictRequest
    prepared : Prepared
    """
    jobs = first_jobs(prepared.plan, prepared.sources, TIMED_TILES)
    if len(jobs) == 1:
        jobs *= TIMED_TILES
    return seconds_per_tile(
        prepared.restorer,
        prepared.device,
        request.compute.precision,
        prepared.plan.batch,
        jobs,
        compiles=request.compute.compile,
    )
