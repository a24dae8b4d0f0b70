"""Whether a prediction can be carried out as asked, before anything is written."""

from __future__ import annotations

import threading

from vemctl import registry
from vemctl.errors import OptionError, ResumeError
from vemctl.events import Listener
from vemctl.plugin import Method
from vemctl.prediction.ledger import differences
from vemctl.volumes.destination import check_output
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.provenance import read_provenance
from vemctl.workflows.layout import refuse_unused
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import Prepared
from vemctl.workflows.provenance import made_by
from vemctl.workflows.sources import Sources
from vemctl.workflows.weights import read_by


def method_of(request: PredictRequest) -> Method:
    """Return the method of a request.

    Raises
    ------
    MethodError
        It is not installed.
    OptionError
        It takes another number of inputs.
    """
    method = registry.get(request.method)
    if len(request.inputs) != len(method.inputs):
        raise OptionError(
            f"{method.name} takes {len(method.inputs)} inputs ({', '.join(method.inputs)}), "
            f"{len(request.inputs)} were given"
        )
    return method


def check_place(request: PredictRequest, needed: int = 0, prepared: Prepared | None = None) -> None:
    """Refuse an output that could not be written in the end.

    Parameters
    ----------
    request : PredictRequest
    needed : int
        Bytes of disk space.
    prepared : Prepared, optional
        What is known of the output by then.

    Raises
    ------
    OptionError
        An option does not concern this kind of output.
    OutputError
        It exists or cannot be written.
    """
    refuse_unused(request.output, request.writing)
    check_output(
        request.output,
        inputs=request.inputs,
        overwrite=request.writing.overwrite,
        resume=request.run.resume or request.spread.shard is not None,
        needed_bytes=needed,
        layout=prepared.plan.layout if prepared else None,
        tiff_format=request.writing.tiff_format,
    )


def needed_bytes(request: PredictRequest, prepared: Prepared) -> int:
    """Return the disk space without which a run cannot end: how well Zarr compresses is unknown."""
    plan = prepared.plan
    kept = plan.output_bytes if request.output.suffix != ".zarr" else 0
    return kept + plan.output_bytes // 20


def is_done(
    request: PredictRequest,
    method: Method,
    sources: Sources,
    listen: Listener,
    stop: threading.Event,
) -> bool:
    """Return whether the output is there and this request made it; there is no unfinished one.

    Raises
    ------
    ResumeError
        The output was made otherwise, and may not be replaced.
    """
    if not request.output.exists():
        return False
    found, files = read_by(request, method, listen, stop)
    wanted = made_by(request, found, files, [fingerprint(volume) for volume in sources.volumes])
    there = read_provenance(request.output) or {}
    other = differences({key: there.get(key) for key in wanted}, wanted)
    if other and not request.writing.overwrite:
        raise ResumeError(
            f"{request.output}: finished, and made otherwise: {'; '.join(other[:3])}. Use "
            f"--overwrite to make it anew, or choose another output"
        )
    return not other
