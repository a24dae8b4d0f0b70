"""pssr on a CUDA device: the results of the CPU, in every precision that is offered."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_pssr.architecture import recognise
from vemctl_pssr.building import make_trainer
from vemctl_pssr.fusing import fused
from vemctl_pssr.method import PredictOptions
from vemctl_pssr.network import build
from vemctl_pssr.train_options import TrainOptions

from vemctl.nn.device import be_exact
from vemctl.nn.gradients import GradientSteps
from vemctl.nn.own_weights import write_weights
from vemctl.plugin import TrainingRequest, VolumeFacts
from vemctl.volumes.open import open_volume
from vemctl.workflows.options import (
    ComputeOptions,
    OutputOptions,
    PredictRequest,
    RunOptions,
    TilingOptions,
)
from vemctl.workflows.predict import predict

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
EDGE, SAMPLES = 32, 4
STEPS = 12  # of which the first may be left out in fp16, until the scale of losses fits


@pytest.fixture(autouse=True)
def exact() -> None:
    """Let float32 be float32."""
    be_exact()


def published(folder: Path, name: str) -> tuple[dict[str, np.ndarray], Path]:
    """Write a fixture's input and weights, with what its export tells; return its arrays."""
    spec, arrays, tensors = load_fixture(name)
    told = spec["params"]
    mean, std = (np.atleast_1d(told[key]).tolist() for key in ("mean", "std"))
    facts = {
        "normalisation": {"mean": mean, "std": std, "input": True, "target": True},
        "tile": {"input": told["x_size"], "target": told["size"]},
        "classes": {"input": "fastai.vision.image.ImageImageList", "target": ""},
    }
    write_weights(folder / "weights.safetensors", tensors, facts)
    np.save(folder / "in.npy", arrays["volume"])
    return arrays, folder / "weights.safetensors"


def predicted(
    folder: Path, options: PredictOptions | None = None, *, as_original: bool = False, **how: Any
) -> np.ndarray:
    """Return what `vemctl predict pssr` makes of a fixture's input on a CUDA device."""
    output = folder / "out.npy"
    predict(
        PredictRequest(
            "pssr",
            (folder / "in.npy",),
            output,
            str(folder / "weights.safetensors"),
            options or PredictOptions(),
            writing=OutputOptions(overwrite=True, dtype=None if as_original else "float32"),
            tiling=TilingOptions(batch=how.get("batch", 1), overlap=how.get("overlap")),
            compute=ComputeOptions(device="cuda", precision=how.get("precision", "fp32")),
            run=RunOptions(as_original=as_original),
        )
    )
    volume = open_volume(output)
    z, y, x = (slice(0, n) for n in volume.header.shape)
    return volume.read((z, y, x))


@pytest.mark.parametrize(
    ("name", "result", "precision", "largest", "mean"),
    [
        ("pssr_pipeline", "result8", "fp32", 1, 0.01),
        ("pssr_pipeline_em", "result16", "fp32", 1, 0.2),
        ("pssr_pipeline", "result8", "fp16", 4, 0.5),
        ("pssr_pipeline_em", "result16", "fp16", 4 * 257, 0.5 * 257),
        ("pssr_pipeline", "result8", "bf16", 20, 1),
        ("pssr_pipeline_em", "result16", "bf16", 4 * 257, 0.5 * 257),
    ],
)
def test_cuda_equals_the_published_programs(
    name: str, result: str, precision: str, largest: float, mean: float, tmp_path: Path
) -> None:
    """To one grey level in float32; half precision to 4 of 255, but bf16 of wnresnet to 20.

    Random weights let wnresnet double its range, and bf16 has 8 bits; on average it is off by one.
    """
    arrays, _ = published(tmp_path, name)
    made = predicted(tmp_path, as_original=True, precision=precision)
    expected = arrays[result].reshape(made.shape)
    assert made.dtype == expected.dtype
    difference = np.abs(made.astype(int) - expected)
    assert difference.max() <= largest
    assert difference.mean() < mean


@pytest.mark.parametrize("name", ["pssr_pipeline", "pssr_pipeline_em"])
@pytest.mark.parametrize("tiling", ["original", "even"])
def test_tiles_of_a_batch_are_what_they_are_alone(
    name: str, tiling: Literal["original", "even"], tmp_path: Path
) -> None:
    """One tile to a call or four: the same values, in [0, 255], but for rounding."""
    published(tmp_path, name)
    options = PredictOptions(tiling=tiling)
    overlap = (0, 2, 2) if tiling == "even" else None
    one, four = (predicted(tmp_path, options, batch=batch, overlap=overlap) for batch in (1, 4))
    assert one.std() > 1
    np.testing.assert_allclose(four, one, rtol=0, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "pssr_wnresnet34_unet",
        "pssr_wnresnet34_unet_5",
        "pssr_resnet34_unet",
        "pssr_resnet34_unet_wrapped",
        "pssr_rrdb",
    ],
)
def test_networks_for_calls_keep_their_accuracy(name: str, channels_last: bool) -> None:
    """In float32 to a ten thousandth of the largest value, in either layout."""
    _, arrays, tensors = load_fixture(name)
    network = build(recognise(tensors, Path(name)))
    network.load_state_dict(tensors)
    network = fused(network.eval(), channels_last=channels_last).cuda()
    with torch.inference_mode():
        output = network(torch.from_numpy(arrays["input"]).cuda()).cpu().numpy()
    expected = arrays["output"]
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_learns_and_takes_what_it_says(precision: str) -> None:
    """Losses are numbers, and parameters change; float32 takes what is reckoned to a factor 1.5."""
    images = np.random.default_rng(0).random((1, EDGE, EDGE), np.float32)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trainer = make_trainer(
        TrainOptions(hr=(Path("good.tif"),), patch=(1, EDGE, EDGE), hr_range="0,255"),
        TrainingRequest(
            data={"hr": [VolumeFacts((1, 4 * EDGE, 4 * EDGE), "uint8")]},
            gradients=GradientSteps("cuda", precision),
            device="cuda",
            batch=SAMPLES,
            steps=100,
            look=lambda _, count: [{"lr": images}] * count,
        ),
    )
    before_steps = list(trainer.weights().values())[-1].clone()
    batch = {
        "lr": torch.rand(SAMPLES, 1, EDGE, EDGE, device="cuda"),
        "hr": torch.rand(SAMPLES, 1, 4 * EDGE, 4 * EDGE, device="cuda"),
    }
    losses = [trainer.step([batch]) for _ in range(STEPS)]
    assert all(bool(loss.isfinite()) for step in losses for loss in step.values())
    assert not torch.equal(list(trainer.weights().values())[-1], before_steps)
    if precision == "fp32":
        taken = torch.cuda.max_memory_allocated() - before
        assert 1 / 1.5 < trainer.memory(SAMPLES) / taken < 1.5
