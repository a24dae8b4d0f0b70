"""exem on a CUDA device: the same result as on the CPU, in every precision that is offered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_exem.method import PredictOptions
from vemctl_exem.network import Generator
from vemctl_exem.train_options import TrainOptions
from vemctl_exem.trainer import make_trainer

from vemctl.nn.gradients import GradientSteps
from vemctl.plugin import TrainingRequest, VolumeFacts
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
PATCH = (4, 64, 64)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 1e-1)])
def test_cuda_equals_the_original(precision: str, tolerance: float, tmp_path: Path) -> None:
    """Float32 keeps the tolerance of the specification; half precision stays close."""
    _, arrays, state = load_fixture("exem_tiled")
    torch.save(state, tmp_path / "G_AB_1.pth")
    np.save(tmp_path / "in.npy", arrays["volume"][1:8, :, 5:70])
    output = tmp_path / "out.npy"
    predict(
        PredictRequest(
            "exem",
            (tmp_path / "in.npy",),
            output,
            str(tmp_path / "G_AB_1.pth"),
            PredictOptions(),
            writing=OutputOptions(dtype="float32"),
            tiling=TilingOptions(tile=(4, 32, 32), overlap=(2, 16, 16), batch=2),
            compute=ComputeOptions(device="cuda", precision=precision),
        )
    )
    assert np.abs(np.load(output) - arrays["result"]).max() < tolerance


def test_bf16_keeps_some_hundredths() -> None:
    """Of the norm of what the network says in float32; seeded weights have no mean to speak of."""
    _, arrays, state = load_fixture("exem_generator")
    network = Generator().eval()
    network.load_state_dict(state)
    network.cuda()
    volume = torch.from_numpy(arrays["x"]).cuda()
    with torch.inference_mode():
        exact = network(volume)
        with torch.autocast("cuda", torch.bfloat16):
            coarse = network(volume).float()
    assert (coarse - exact).norm() < 3e-2 * exact.norm()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_learns_and_takes_what_it_says(precision: str, checkpointing: bool) -> None:
    """The peak of a float32 step is within a fifth of what is reckoned; losses are numbers."""
    facts = {role: [VolumeFacts(PATCH, "uint8")] for role in ("lm", "em")}
    options = TrainOptions(
        lm=(Path("a.tif"),), em=(Path("b.tif"),), patch=PATCH, checkpointing=checkpointing
    )
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trainer = make_trainer(
        options,
        TrainingRequest(data=facts, gradients=GradientSteps("cuda", precision), device="cuda"),
    )
    batch = {role: torch.rand(1, 1, *PATCH, device="cuda") for role in ("lm", "em")}
    for _ in range(3):
        losses = trainer.step([batch])
    assert all(bool(loss.isfinite()) for loss in losses.values())
    if precision == "fp32":
        taken = torch.cuda.max_memory_allocated() - before
        assert trainer.memory(1) == pytest.approx(taken, rel=0.2)
