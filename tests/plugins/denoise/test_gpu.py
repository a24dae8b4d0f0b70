"""denoise on a CUDA device: the same result as on the CPU, in every precision that is offered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_denoise.method import PredictOptions

from vemctl.events import Event, Noted
from vemctl.plugin import Request, VolumeFacts
from vemctl.prediction.calls import Caller
from vemctl.prediction.sinks import Nowhere
from vemctl.workflows.options import (
    ComputeOptions,
    OutputOptions,
    PredictRequest,
    TilingOptions,
)
from vemctl.workflows.predict import predict

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return seeded weights."""
    path = tmp_path_factory.mktemp("weights") / "checkpoint.pth"
    torch.save({"state_dict": load_fixture("denoise_tiled")[2]}, path)
    return path


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 5e-2), ("fp16", 1e-2)]
)
@pytest.mark.parametrize("batch", [1, 4])
def test_cuda_equals_the_original(
    precision: str, tolerance: float, batch: int, checkpoint: Path, tmp_path: Path
) -> None:
    """Float32 keeps the tolerance of the specification; half precisions stay close."""
    arrays = load_fixture("denoise_tiled")[1]
    np.save(tmp_path / "in.npy", arrays["volume"])
    output = tmp_path / "out.npy"
    predict(
        PredictRequest(
            "denoise",
            (tmp_path / "in.npy",),
            output,
            str(checkpoint),
            PredictOptions(),
            writing=OutputOptions(dtype="float32"),
            tiling=TilingOptions(tile=(5, 32, 40), batch=batch),
            compute=ComputeOptions(device="cuda", precision=precision),
        )
    )
    difference = np.abs(np.load(output) / 255 - arrays["float_volume"])
    assert difference.max() < tolerance


def test_too_large_a_batch_is_halved(checkpoint: Path) -> None:
    """When the device's memory runs out the batch is halved, and the run goes on."""
    from vemctl_denoise.restorer import make_restorer

    facts = VolumeFacts((5, 512, 512), "uint8")
    restorer = make_restorer(checkpoint, PredictOptions(), Request([facts], device="cuda:0"))
    free = torch.cuda.mem_get_info()[0]
    tile = (5, 512, 512)
    batch = 2 ** int(np.ceil(np.log2(2 * free / restorer.memory(tile, 1))))
    heard: list[Event] = []
    caller = Caller(restorer, "cuda:0", "fp32", batch, heard.append)
    values = np.zeros(tile, np.float32)
    from vemctl.plugin import Place

    place = Place((0, 0, 0), tile, (0, 0, 0), (0, 0, 0))
    whole = (slice(None), slice(None), slice(None))
    jobs = [((0, 0, i), place, whole, (values,)) for i in range(3)]
    assert sum(caller.run(jobs, Nowhere("cuda:0"))) == 3
    assert caller.batch < batch
    assert any(isinstance(event, Noted) for event in heard)
