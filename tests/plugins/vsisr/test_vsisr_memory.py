"""What vsisr reckons that its networks take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from vemctl_vsisr.discriminator import Discriminator
from vemctl_vsisr.losses import reconstruction_loss
from vemctl_vsisr.memory import (
    AREA,
    CALL_BYTES,
    COPIES_IN_TRAINING,
    FLOAT,
    STEP_BYTES,
    STRIP_BYTES,
    WIDTHS,
    call_bytes,
    discriminator_parameters,
    generator_parameters,
    step_bytes,
)
from vemctl_vsisr.network import Generator

MEASURED = """
import torch
from vemctl_vsisr.discriminator import Discriminator
from vemctl_vsisr.losses import reconstruction_loss
from vemctl_vsisr.network import Generator

def most():
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

torch.set_num_threads(1)
n, y, x = {shape}
generator, before = Generator(7, 1, {blocks}), most()
planes, truth = torch.rand(n, 7, y, x), torch.rand(n, 3, 3 * y // 2, 3 * x // 2)
if "{kind}" == "call":
    with torch.inference_mode():
        generator(planes)
else:
    if "{kind}" == "judged":
        judge = Discriminator()
        made = generator(planes).detach()
        (judge(made).log().mean() - judge(truth).log().mean()).backward()
    made = generator(planes)
    loss = reconstruction_loss(truth, made, double=True)
    if "{kind}" == "judged":
        loss = loss - judge(made).log().mean()
    loss.backward()
print(most() - before)
"""


def count(network: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("frames", "blocks", "planes"), [(7, 16, 3), (5, 1, 2)])
def test_parameters_are_counted(frames: int, blocks: int, planes: int) -> None:
    """As many as the networks have."""
    with torch.device("meta"):
        generator, discriminator = Generator(frames, 1, blocks, planes), Discriminator(planes)
    told = generator_parameters(frames=frames, num_blocks=blocks, planes=planes)
    assert told == count(generator)
    assert discriminator_parameters(planes=planes) == count(discriminator)


@pytest.mark.parametrize(
    ("kind", "shape", "blocks"),
    [("call", (1, 300, 300), 1), ("step", (4, 40, 40), 3), ("judged", (2, 24, 24), 1)],
)  # fmt: skip
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="asks Linux for the most")
def test_no_more_is_taken_than_told(
    kind: str, shape: tuple[int, int, int], blocks: int, alone: Callable[[str], str]
) -> None:
    """By a process of its own; what is told is not far from what is taken either."""
    code = MEASURED.format(kind=kind, shape=shape, blocks=blocks)
    taken = int(alone(code))
    if kind == "call":
        told, rest = call_bytes(*shape, num_blocks=blocks), CALL_BYTES
    else:
        told, rest = step_bytes(*shape, num_blocks=blocks, judged=kind == "judged"), STEP_BYTES
    assert taken <= told < 2.5 * taken + rest


def test_a_call_grows_with_its_pixels_and_not_with_the_widest_map() -> None:
    """Beyond what a strip holds, only the trunk counts; blocks come one after the other."""
    assert call_bytes(1, 100, 100) < call_bytes(1, 100, 200) < call_bytes(2, 100, 200)
    assert call_bytes(1, 64, 64, num_blocks=1) < call_bytes(1, 64, 64)
    one, four = call_bytes(1, 1024, 1024), call_bytes(1, 2048, 2048)
    pixels = 3 * 1024**2
    assert (four - one) / pixels < 256 * FLOAT < 256 * AREA * FLOAT
    assert call_bytes(4, 1024, 1024) < 4 * one
    assert call_bytes(1, 2048, 2048) > 3 * 64 * FLOAT * 2048**2
    assert call_bytes(1, 2048, 16) < STRIP_BYTES + CALL_BYTES + 2**27


def test_a_step_grows_with_everything() -> None:
    """Patches, their size, blocks, and whether they are judged."""
    sizes = [step_bytes(samples, 64, 64, judged=False) for samples in (1, 2, 3)]
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], rel=1e-6)
    assert step_bytes(1, 64, 48, judged=False) < sizes[0] < step_bytes(1, 64, 64, judged=True)
    assert step_bytes(1, 64, 64, judged=False, num_blocks=4) < sizes[0]
    assert step_bytes(2, 64, 64, judged=False) > call_bytes(2, 64, 64)
    states = FLOAT * COPIES_IN_TRAINING * (1_349_699 + 4_853_057)
    assert states + STEP_BYTES < step_bytes(1, 14, 14, judged=True) < states + STEP_BYTES + 2**25


@pytest.mark.parametrize("judged", [False, True])
def test_activations_are_about_what_is_kept(judged: bool) -> None:
    """Counted by what torch saves for the way back; the gradients themselves come beside it."""
    kept: dict[int, int] = {}
    networks = [Generator(7, 1, 2, 3), Discriminator()]

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    planes, truth = torch.rand(2, 7, 24, 20), torch.rand(2, 3, 36, 30)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made = networks[0](planes)
        loss = reconstruction_loss(truth, made, double=True)
        if judged:
            loss = loss - networks[1](made).log().mean()
    for network in networks:
        for parameter in network.parameters():
            kept.pop(parameter.untyped_storage().data_ptr(), None)
    loss.backward()
    parameters = generator_parameters(num_blocks=2) + judged * discriminator_parameters()
    told = step_bytes(2, 24, 20, judged=judged, num_blocks=2)
    told -= STEP_BYTES + FLOAT * COPIES_IN_TRAINING * parameters
    measured = sum(kept.values())
    assert measured < told < (3 if judged else 2.2) * measured
    if judged:
        assert measured > FLOAT * AREA * sum(WIDTHS) * 2 * 24 * 20
