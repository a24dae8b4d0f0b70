"""Networks that torch compiles, where the user wants that and they can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vemctl.errors import DeviceError, OptionError

if TYPE_CHECKING:
    from torch import nn

Network = TypeVar("Network", bound=Callable[..., Any])


def compiled(network: Network, *, wanted: bool, parts: tuple[type[nn.Module], ...] = ()) -> Network:
    """Return what does the same as `network`, compiled at its first calls if that is wanted.

    Parameters
    ----------
    network : callable
        A module on its device, or a function of tensors; its parameters change no more.
    wanted : bool
        Otherwise it is returned as it is.
    parts : tuple of type
        Of a module's parts that occur many times: these are compiled, each kind but once, instead
        of the whole, which may take a hundred times as long. They are changed in place.

    Returns
    -------
    callable
        Results differ from those of `network` by rounding. It has no attributes of the network,
        and raises DeviceError where torch cannot compile here.

    Notes
    -----
    Where torch can be told so, it does not choose among kernels by how long they take: what
    processes compile by themselves then rounds alike.
    """
    if not wanted:
        return network
    import torch
    from torch._dynamo.exc import TorchDynamoException

    options: dict[str, Any] = {}
    if "deterministic" in torch._inductor.list_options():  # noqa: SLF001 - its public name
        options["deterministic"] = True
    made: Callable[..., Any] = network
    if parts:
        assert isinstance(network, torch.nn.Module)
        for part in network.modules():
            if isinstance(part, parts):
                part.compile(options=options)
    else:
        made = torch.compile(network, options=options)

    def call(*inputs: Any, **named: Any) -> Any:
        try:
            return made(*inputs, **named)
        except TorchDynamoException as error:
            if "out of memory" in str(error).lower():
                raise
            raise DeviceError(
                f"--compile: torch cannot compile the network here ({_first_line(error)}); install "
                f"a C++ compiler (on a GPU also Triton), or leave out --compile"
            ) from error

    return cast("Network", call)


def refuse_compiling(method: str, *, wanted: bool) -> None:
    """Refuse `--compile` for networks whose layers are joined, and laid out, for calls already.

    Parameters
    ----------
    method : str
    wanted : bool

    Raises
    ------
    OptionError
        It is wanted.
    """
    if wanted:
        raise OptionError(
            f"--compile: the networks of {method} are made quick by hand, which torch cannot "
            f"compile; leave it out"
        )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
