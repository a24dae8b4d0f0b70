"""Memory of rldfn, and the calls that are measured; `rldfn.py` runs what is here.

On a CPU what is measured is done in a fresh process: this file, with the work as JSON.
"""

from __future__ import annotations

import gc
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import torch
from literal_exem import by, say
from literal_rldfn import LiteralDeconvolution, LiteralModel, loaded, seeded
from pssr_memory import NO_HOLES, WITHIN, begin_peak, held_now, peak_now, tell_memory
from torch import Tensor, nn
from vemctl_rldfn.deconvolving import DualViewDeconvolution
from vemctl_rldfn.fusing import fused
from vemctl_rldfn.memory import call_bytes
from vemctl_rldfn.network import FusionNetwork

from vemctl.nn import device as devices
from vemctl.samples import DualView, dual_view

Triple = tuple[int, int, int]
Call = Callable[[Tensor, Tensor], Tensor]


def tiles_of(sample: DualView, device: str) -> tuple[Tensor, Tensor]:
    """Return both views, each divided by its maximum, (1, 1, z, y, x)."""
    a, b = (
        torch.from_numpy((view / view.max()).astype(np.float32))[None, None].to(device)
        for view in (sample.view_a, sample.view_b)
    )
    return a, b


def ours_of(device: str) -> nn.Module:
    """Return our network as predictions have it."""
    network = FusionNetwork()
    network.load_state_dict(seeded())  # strictly: the keys are the same
    return fused(network.eval()).to(device)


def literal_call(sample: DualView, shape: Triple, device: str, *, degrade: bool = True) -> Call:
    """Return what the published test class does with a tile."""
    deconvolution = LiteralDeconvolution(sample.psf_a, sample.psf_b, shape, device)
    return LiteralModel(loaded(seeded(), device), deconvolution, degrade=degrade)


def our_call(sample: DualView, shape: Triple, device: str) -> Call:
    """Return what ours does with it."""
    deconvolution = DualViewDeconvolution(sample.psf_a, sample.psf_b, shape, device)
    network = ours_of(device)

    def call(view_a: Tensor, view_b: Tensor) -> Tensor:
        with torch.inference_mode():
            y: Tensor = network(*deconvolution.ratios(view_a, view_b))
        return y

    return call


def memory(shape: Triple, device: str) -> None:
    """Print what calls take per voxel, and what ours is reckoned to take."""
    voxels, taken = math.prod(shape), {}
    for name in ("literal", "ours"):
        if device == "cpu":
            text = json.dumps([torch.get_num_threads(), name, shape])
            command = [sys.executable, __file__, text]
            done = subprocess.check_output(command, env=os.environ | NO_HOLES)
            taken[name] = json.loads(done.splitlines()[-1])
        else:
            taken[name] = peak_of(name, shape, device)
    literal, ours = taken["literal"][0], taken["ours"][0]
    where = f"{by(shape)}, {device}"
    each = f"{literal / voxels:.0f} over {ours / voxels:.0f} bytes per voxel"
    found = f"{literal / ours:.2f} ({each})"
    say(f"literal tile over ours, {where}: memory", found, "more than 1")
    whole = taken["ours"][1]
    tell_memory(f"call with weights, {where}", call_bytes(shape, 1), whole, WITHIN)


def peak_of(name: str, shape: Triple, device: str) -> tuple[int, int]:
    """Return the bytes that a call takes at its peak, and those with what lasts from call to call.

    What lasts are weights and transfer functions. The views are not among either.
    """
    make = {"literal": literal_call, "ours": our_call}[name]
    small = dual_view(5, (8, 8, 8))
    make(small, (8, 8, 8), device)(*tiles_of(small, device))  # loads libraries
    sample = dual_view(5, shape)
    views = tiles_of(sample, device)
    before = held_now(device)
    call = make(sample, shape, device)
    held = held_now(device)
    begin_peak(device)
    call(*views)
    peak = peak_now(device)
    del call
    gc.collect()
    return peak - held, peak - before


def main() -> None:
    threads, name, shape = json.loads(sys.argv[1])
    devices.be_exact()
    torch.set_num_threads(threads)
    print(json.dumps(peak_of(name, tuple(shape), "cpu")))


if __name__ == "__main__":
    main()
