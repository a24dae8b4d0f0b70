"""From losses to updates: precision, clipping, and averages over several devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Average = Callable[[Sequence["torch.nn.Parameter"]], None]


class GradientSteps:
    """What `vemctl.learning.Gradients` promises.

    Parameters
    ----------
    device : str
        A torch device.
    precision : {"fp32", "bf16", "fp16"}
        Of the network's arithmetic; parameters stay float32. With fp16 losses are scaled, and an
        update whose gradients overflow is left out.
    clip : float, optional
        Largest norm of the gradients of each group of an optimiser's parameters.
    average : callable, optional
        Replaces the gradients of parameters by their mean over all devices.
    """

    def __init__(
        self,
        device: str = "cpu",
        precision: str = "fp32",
        clip: float | None = None,
        average: Average | None = None,
    ) -> None:
        import torch

        self._kind = torch.device(device).type
        self._clip = clip
        self._average = average
        kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        self._dtype = kinds[precision]
        self._scaler = torch.amp.GradScaler(self._kind, enabled=precision == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the network's arithmetic has the precision asked for."""
        import torch

        enabled = self._dtype != torch.float32
        return torch.autocast(self._kind, dtype=self._dtype if enabled else None, enabled=enabled)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, (), to the parameters'."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Average the gradients over the devices, clip them, update, and clear them."""
        import torch

        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self._average is not None:
            self._average(parameters)
        if self._clip is not None:
            self._scaler.unscale_(optimizer)
            for group in optimizer.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], self._clip)
        self._scaler.step(optimizer)
        self._scaler.update()
        optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the scale of losses; empty where they are not scaled."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the scale that `state_dict` returned."""
        if state:
            self._scaler.load_state_dict(dict(state))
