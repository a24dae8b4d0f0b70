"""Compiled networks: the same results but for rounding, and one line where torch cannot."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn

from vemctl.errors import DeviceError, OptionError
from vemctl.nn.compiling import compiled, refuse_compiling


def test_a_network_is_left_alone_unless_asked() -> None:
    """Not even wrapped."""
    network = nn.Conv2d(1, 1, 3)
    assert compiled(network, wanted=False) is network


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.skipif(sys.platform == "win32", reason="needs a C++ compiler")
def test_a_compiled_network_does_the_same() -> None:
    """Without gradients, for more than one shape."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ELU()).eval().requires_grad_(False)
    quick = compiled(network, wanted=True)
    with torch.inference_mode():
        for shape in ((1, 1, 8, 8), (2, 1, 9, 8)):
            tile = torch.randn(shape)
            torch.testing.assert_close(quick(tile), network(tile))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.skipif(sys.platform == "win32", reason="needs a C++ compiler")
def test_parts_that_repeat_are_compiled_once() -> None:
    """The network stays what it is around them."""
    parts = [nn.Sequential(nn.Conv2d(1, 1, 3), nn.ELU()) for _ in range(3)]
    network = nn.Sequential(*parts).eval().requires_grad_(False)
    tile = torch.randn(1, 1, 12, 12)
    with torch.inference_mode():
        expected = network(tile)
        torch._dynamo.reset()
        quick = compiled(network, wanted=True, parts=(nn.Conv2d,))
        torch.testing.assert_close(quick(tile), expected)
    assert [part[0]._compiled_call_impl is not None for part in parts] == [True] * 3
    assert all(part[1]._compiled_call_impl is None for part in parts)


def test_a_method_that_cannot_be_compiled_says_so() -> None:
    """Only when it is asked to."""
    refuse_compiling("pssr", wanted=False)
    with pytest.raises(OptionError, match="--compile: the networks of pssr"):
        refuse_compiling("pssr", wanted=True)


@pytest.mark.parametrize("text", ["no compiler\nand more", "CUDA out of memory. Tried"])
def test_a_machine_that_cannot_compile_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Memory that runs out while compiling is a matter of the batch, and passes."""
    from torch._dynamo.exc import TorchDynamoException

    def refuse(network: Any, **_: Any) -> Any:
        def call(*_: Any) -> Any:
            raise TorchDynamoException(text)

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    network = compiled(nn.Identity(), wanted=True)
    expected = DeviceError if "compiler" in text else TorchDynamoException
    with pytest.raises(expected) as raised:
        network(torch.zeros(1))
    assert type(raised.value) is expected
    if expected is DeviceError:
        assert "(no compiler)" in str(raised.value)
        assert "leave out --compile" in str(raised.value)
        assert "\n" not in str(raised.value)
