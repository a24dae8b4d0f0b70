"""Demo: a synthetic volume with known truth, restored end to end through the real engine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl import registry
from vemctl.events import Listener, Noted, ignore
from vemctl.samples import em_pair
from vemctl.volumes.chunks import default_chunks
from vemctl.volumes.destination import Destination, check_output
from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Layout, Region, VoxelSize
from vemctl.workflows.options import ComputeOptions, OutputOptions, PredictRequest
from vemctl.workflows.predict import predict

METHOD, WEIGHTS = "denoise", "denoise/demo"
SHAPE = (9, 256, 256)
SEED = 2026


def run_demo(
    folder: Path, *, device: str = "auto", overwrite: bool = False, listen: Listener = ignore
) -> dict[str, Any]:
    """Make a noisy volume in `folder`, restore it, and compare with the truth.

    Parameters
    ----------
    folder : Path
        Gets ``noisy.tif``, ``truth.tif`` and ``restored.zarr``.
    device : str
    overwrite : bool
        Replace what an earlier demo left there.
    listen : Listener

    Returns
    -------
    dict
        JSON types: paths, ``psnr_before``, ``psnr_after``, ``gain_db`` in dB, ``seconds``, and
        ``what``, lines for people.

    Raises
    ------
    VemctlError
        The folder cannot be written, or holds an earlier demo and `overwrite` is False.
    """
    began = time.monotonic()
    noisy, truth, output = (folder / name for name in ("noisy.tif", "truth.tif", "restored.zarr"))
    for path in (noisy, truth, output):
        check_output(path, inputs=(), overwrite=overwrite, resume=False, needed_bytes=0)
    listen(Noted(f"making a synthetic EM volume of {'x'.join(map(str, SHAPE))} voxels"))
    pair = em_pair(SHAPE, seed=SEED)
    write_array(truth, pair.truth, pair.voxel_size_nm, overwrite=overwrite)
    write_array(noisy, pair.noisy, pair.voxel_size_nm, overwrite=overwrite)
    options = registry.get(METHOD).predict_options()
    result = predict(
        PredictRequest(
            METHOD,
            (noisy,),
            output,
            WEIGHTS,
            options,
            writing=OutputOptions(overwrite=overwrite),
            compute=ComputeOptions(device=device),
        ),
        listen,
    )
    before, after = psnr(noisy, truth), psnr(output, truth)
    plan = result.facts["plan"]
    return {
        "input": str(noisy),
        "truth": str(truth),
        "output": str(output),
        "weights": WEIGHTS,
        "psnr_before": round(before, 2),
        "psnr_after": round(after, 2),
        "gain_db": round(after - before, 2),
        "seconds": round(time.monotonic() - began, 1),
        "what": [
            f"made {noisy}: synthetic EM with the noise of a fast scan, and {truth}, what it shows",
            f"restored it with {METHOD} ({WEIGHTS}) in {plan['tiles_computed']} tiles of "
            f"{'x'.join(map(str, plan['tile_shape']))} voxels on {plan['blocks']} block(s)",
            f"PSNR against the truth: {before:.2f} dB before, {after:.2f} dB after "
            f"({after - before:+.2f} dB)",
            f"the result is {output} (OME-Zarr); look at it in a viewer, or with `vemctl preview "
            f"{output} look.png --compare {noisy}`; `vemctl report {output}` tells all of it",
        ],
    }


def write_array(
    path: Path, values: npt.NDArray[Any], voxel_size: VoxelSize, *, overwrite: bool = False
) -> None:
    """Write a volume that is in memory.

    Parameters
    ----------
    path : Path
        Its suffix decides on the format.
    values : ndarray, (z, y, x)
    voxel_size : (z, y, x)
        Nanometres.
    overwrite : bool
    """
    z, y, x = values.shape
    chunk, shard = default_chunks((z, y, x), values.dtype)
    layout = Layout("zyx", (z, y, x), None, None, values.dtype, voxel_size, None, chunk, shard)
    destination = Destination.create(path, layout, overwrite=overwrite)
    destination.store.write(_whole((z, y, x)), values)
    destination.finish({"made_by": "vemctl demo"}, lambda *_: None)


def psnr(path: Path, truth_path: Path) -> float:
    """Return the peak signal-to-noise ratio of an 8-bit volume against the truth, in dB."""
    from skimage.metrics import peak_signal_noise_ratio  # untyped

    volumes = []
    for each in (truth_path, path):
        volume = open_volume(each)
        volumes.append(volume.read(_whole(volume.header.shape)).astype(np.float64))
        volume.close()
    return float(peak_signal_noise_ratio(*volumes, data_range=255))  # type: ignore[no-untyped-call]


def _whole(shape: tuple[int, int, int]) -> Region:
    z, y, x = (slice(0, n) for n in shape)
    return z, y, x
