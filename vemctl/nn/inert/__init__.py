"""Files of weights that somebody else made, read without executing or importing anything.

What torch pickles is run on a machine of our own that makes plain values and references to
tensors; classes and functions that a file names are recorded and never looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vemctl.errors import WeightsError
from vemctl.nn.inert.containers import Contents, read_contents
from vemctl.nn.inert.modules import export_facts, is_module, walk_module
from vemctl.nn.inert.storages import check_total, read_tensors
from vemctl.nn.inert.values import DamagedError, Inert, RefusedError, TensorReference, shown

if TYPE_CHECKING:
    import torch

__all__ = ["Content", "Inert", "TensorReference", "read", "shown"]

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes
    ----------
    path : Path
    root : Any
        Plain values, `Inert` records and `TensorReference`.
    foreign : tuple of str
        Names of the records, sorted; those that torch itself reads safely are left out.
    """

    path: Path
    root: Any = field(repr=False)
    foreign: tuple[str, ...]
    _contents: Contents = field(repr=False)

    def materialise(self, references: Mapping[str, TensorReference]) -> dict[str, torch.Tensor]:
        """Read tensors of the file, on the CPU, each storage once.

        Raises
        ------
        WeightsError
            They are damaged, or together more than 4 times as large as the file.
        """

        def read_them() -> dict[str, torch.Tensor]:
            check_total(references.values(), self.path.stat().st_size)
            return read_tensors(self.path, self._contents.places, references)

        return _mended(self.path, read_them)

    def network(self, value: Any) -> dict[str, TensorReference] | None:
        """Return the state dict of a pickled network; None where `value` is none.

        Raises
        ------
        WeightsError
            A parameter of it is no tensor, or it contains itself.
        """
        if not is_module(value):
            return None
        return _mended(self.path, lambda: walk_module(value))

    def facts(self) -> dict[str, Any]:
        """Return what a fastai export tells beside its network; of other files nothing.

        Returns
        -------
        dict
            normalisation : dict, optional
                ``mean`` and ``std`` per channel, of images in [0, 1]; whether they are of the
                ``input`` and of the ``target``.
            tile : dict, optional
                Size of ``input`` and ``target`` in pixels.
            classes : dict
                Names of the classes of ``input`` and ``target``.
            multi_frame : bool

        Raises
        ------
        WeightsError
            Its statistics are no finite numbers.
        """
        return _mended(self.path, lambda: export_facts(self.root, self.materialise))


def read(path: Path) -> Content:
    """Read everything but the numbers of the tensors.

    Parameters
    ----------
    path : Path
        What ``torch.save`` writes, now or before version 1.6.

    Raises
    ------
    WeightsError
        The file is damaged or no such file, or names what no file of weights needs.
    """
    contents = _mended(path, lambda: read_contents(path))
    return Content(path, contents.root, contents.foreign, contents)


def _mended(path: Path, work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except RefusedError as error:
        raise WeightsError(f"{path}: refused, {error}") from error
    except DamagedError as error:
        raise WeightsError(
            f"{path}: not a readable file of weights, or a damaged one ({error}); expected "
            f"safetensors or a torch checkpoint: fetch it again"
        ) from error
    except (OSError, MemoryError, RuntimeError) as error:
        reason = shown(str(error) or "no memory left")
        raise WeightsError(
            f"{path}: cannot be read ({reason}); mend that, or fetch it again"
        ) from error
