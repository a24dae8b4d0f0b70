"""The few calls in pickles of weights that give a value; all others are only recorded."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from vemctl.nn.inert.bounds import Bounds
from vemctl.nn.inert.storages import refer_to_tensor
from vemctl.nn.inert.values import Inert, TensorReference

UNBUILT = object()
"""Answer of a call with other arguments than torch and Python write."""

MOST_AXES = 64
BYTES_PER_OBJECT = 64
NUMBERS = {
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
    "c8": "ff",
    "c16": "dd",
}


Call = Callable[[tuple[Any, ...], Bounds], Any]


def _ordered_dict(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
    if not arguments:
        bounds.spend(4)
        return OrderedDict()
    if len(arguments) != 1 or not isinstance(arguments[0], list):
        return UNBUILT
    pairs = arguments[0]
    bounds.spend(4 + 2 * len(pairs))
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        return UNBUILT
    return OrderedDict((bounds.check_key(key), value) for key, value in pairs)


def _counter(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
    if arguments and not (len(arguments) == 1 and type(arguments[0]) is dict):
        return UNBUILT
    bounds.spend(1 + len(arguments[0]) if arguments else 1)
    return Inert("collections.Counter", arguments)


def _device(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
    if not 1 <= len(arguments) <= 2 or not all(type(a) in (str, int) for a in arguments):
        return UNBUILT
    bounds.spend(1)
    return Inert("torch.device", arguments)


def _size(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
    sizes = arguments[0] if len(arguments) == 1 else None
    if not isinstance(sizes, (tuple, list)) or len(sizes) > MOST_AXES:
        return UNBUILT
    bounds.spend(1)
    return tuple(sizes) if all(type(size) is int for size in sizes) else UNBUILT


def _collect(kind: type[set[Any] | frozenset[Any]]) -> Call:
    def build(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
        if not arguments:
            bounds.spend(4)
            return kind()
        if len(arguments) != 1 or not isinstance(arguments[0], (list, tuple)):
            return UNBUILT
        bounds.spend(4 + len(arguments[0]))
        return kind(bounds.check_key(member) for member in arguments[0])

    return build


def _complex(arguments: tuple[Any, ...], _: Bounds) -> Any:
    if len(arguments) != 2 or not all(type(part) is float for part in arguments):
        return UNBUILT
    return complex(*arguments)


def _bytes(arguments: tuple[Any, ...], _: Bounds) -> Any:
    if not arguments:
        return b""
    return arguments[0] if len(arguments) == 1 and type(arguments[0]) is bytes else UNBUILT


def _encode(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
    if len(arguments) != 2 or type(arguments[0]) is not str:
        return UNBUILT
    if arguments[1] not in ("latin1", "latin-1"):
        return UNBUILT
    bounds.spend(1 + len(arguments[0]) // BYTES_PER_OBJECT)
    return arguments[0].encode("latin-1")


def _scalar(arguments: tuple[Any, ...], _: Bounds) -> Any:
    """Return the Python number of a NumPy scalar, from its dtype and its bytes."""
    if len(arguments) != 2:
        return UNBUILT
    dtype, raw = arguments
    if isinstance(raw, str) and len(raw) <= 16:
        raw = raw.encode("latin-1")  # text of Python 2
    if not (isinstance(dtype, Inert) and dtype.name == "numpy.dtype" and isinstance(raw, bytes)):
        return UNBUILT
    code = dtype.arguments[0] if dtype.arguments else None
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "<"
    if not isinstance(code, str) or code not in NUMBERS or order not in ("<", ">", "|", "="):
        return UNBUILT
    layout = (">" if order == ">" else "<") + NUMBERS[code]
    if struct.calcsize(layout) != len(raw):
        return UNBUILT
    parts = struct.unpack(layout, raw)
    return parts[0] if len(parts) == 1 else complex(*parts)


def _new_object(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
    if not arguments or not isinstance(arguments[0], Inert):
        return UNBUILT
    bounds.spend(1)
    return Inert(arguments[0].name, arguments)


def _parameter(arguments: tuple[Any, ...], _: Bounds) -> Any:
    if not 3 <= len(arguments) <= 4 or not isinstance(arguments[0], TensorReference):
        return UNBUILT
    return arguments[0]


def _tensor(fewest: int, most: int, untyped: int | None = None) -> Call:
    """Return a call of `fewest` to `most` arguments, of which the one at `untyped` is the dtype."""

    def build(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
        if not fewest <= len(arguments) <= most:
            return UNBUILT
        if len(arguments) == most > fewest and arguments[most - 1]:
            return UNBUILT  # conjugated or negated at every reading
        bounds.spend(4)
        dtype = None if untyped is None else arguments[untyped]
        storage, offset, size, stride = arguments[:4]
        return refer_to_tensor(storage, offset, size, stride, dtype)

    return build


def _typed_tensor(arguments: tuple[Any, ...], bounds: Bounds) -> Any:
    """Return a tensor that had attributes of its own or another class; both are left out."""
    if len(arguments) != 4 or not isinstance(arguments[0], Inert):
        return UNBUILT
    call, inner = TENSORS.get(arguments[0].name), arguments[2]
    return call(inner, bounds) if call is not None and isinstance(inner, tuple) else UNBUILT


TENSORS: dict[str, Call] = {
    "torch._utils._rebuild_tensor": _tensor(4, 4),
    "torch._utils._rebuild_tensor_v2": _tensor(6, 7),
    "torch._utils._rebuild_tensor_v3": _tensor(7, 8, untyped=6),
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
CALLS: dict[str, Call] = {
    **TENSORS,
    "torch._tensor._rebuild_from_type_v2": _typed_tensor,
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "torch.device": _device,
    "torch.Size": _size,
    "_codecs.encode": _encode,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "copy_reg._reconstructor": _new_object,
    "copyreg._reconstructor": _new_object,
    "copyreg.__newobj__": _new_object,
    "copyreg.__newobj_ex__": _new_object,
    **{
        f"{module}.{name}": call
        for module in ("builtins", "__builtin__")
        for name, call in (
            ("set", _collect(set)),
            ("frozenset", _collect(frozenset)),
            ("complex", _complex),
            ("bytearray", _bytes),
            ("bytes", _bytes),
        )
    },
}
