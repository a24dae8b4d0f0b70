"""What tells one volume from another."""

from __future__ import annotations

import hashlib
from typing import Any

from vemctl.volumes.volume import Header, Region, Volume

PROBE_EDGE = 32
PROBES = 4
CHEAP = 2**22
"""Bytes to decode for a glance at a time point between the first and the last."""


def fingerprint(volume: Volume) -> dict[str, Any]:
    """Return what tells one input from another: its facts and a digest of small samples.

    Neither path nor time of change counts, so that a run may be resumed on another machine. The
    first and the last time point are looked at in several places, those between, of which there
    may be thousands of files, in the middle.
    """
    header = volume.header
    found = hashlib.sha256()
    for i in range(PROBES):
        starts = [i * max(0, n - PROBE_EDGE) // (PROBES - 1) for n in header.shape]
        z, y, x = (
            slice(s, min(s + PROBE_EDGE, n)) for s, n in zip(starts, header.shape, strict=True)
        )
        for timepoint in {0, (header.num_timepoints or 1) - 1}:
            for channel in {0, (header.num_channels or 1) - 1}:
                found.update(volume.read((z, y, x), channel=channel, timepoint=timepoint).tobytes())
    for timepoint in range(1, (header.num_timepoints or 1) - 1):
        for channel in {0, (header.num_channels or 1) - 1}:
            block = volume.read(_middle(header), channel=channel, timepoint=timepoint)
            found.update(block.tobytes())
    return {
        "shape": list(header.shape),
        "dtype": header.dtype.name,
        "axes": header.axes,
        "sample_sha256": found.hexdigest(),
    }


def _middle(header: Header) -> Region:
    """Choose voxels in the middle, as many planes as are decoded quickly."""
    depth, height, width = header.chunk_shape
    quick = CHEAP // (depth * height * width * header.dtype.itemsize) * depth
    edges = (max(1, min(quick, PROBE_EDGE)), PROBE_EDGE, PROBE_EDGE)
    z, y, x = (
        slice(max(0, n - edge) // 2, min(n, max(0, n - edge) // 2 + edge))
        for n, edge in zip(header.shape, edges, strict=True)
    )
    return z, y, x
