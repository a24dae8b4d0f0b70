"""The part of a pickle machine that builds plain values: no names, no calls."""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from typing import Any

from vemctl.nn.inert.bounds import LARGEST_INT, Bounds, Stream
from vemctl.nn.inert.values import DamagedError, Inert, RefusedError

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTIES: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}
LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINUNICODE", "BINBYTES", "BINBYTES8", "SHORT_BINBYTES", "BYTEARRAY8"),
    }
)


class PlainMachine:
    """Runs one pickle after the other.

    Parameters
    ----------
    stream : Stream
        Stands behind the pickle after each run.

    Attributes
    ----------
    foreign : set of str
        What was named, or used in another way, than torch reads safely.
    """

    def __init__(self, stream: Stream) -> None:
        self.foreign: set[str] = set()
        self._stream = stream
        self._bounds = Bounds()
        self._memo: dict[int, Any] = {}
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._handlers: dict[str, Callable[[Any], None]] = {
            "MARK": self._mark,
            "POP": self._discard,
            "POP_MARK": self._discard_items,
            "DUP": self._duplicate,
            "TUPLE": self._tuple,
            "LIST": self._list,
            "DICT": self._dict,
            "FROZENSET": self._frozenset,
            "TUPLE1": self._tuple_of_1,
            "TUPLE2": self._tuple_of_2,
            "TUPLE3": self._tuple_of_3,
            "APPEND": self._append,
            "APPENDS": self._extend,
            "ADDITEMS": self._extend,
            "SETITEM": self._set_item,
            "SETITEMS": self._set_items,
            "MEMOIZE": self._memoize,
            "PUT": self._put,
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "GET": self._get,
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "PROTO": self._ignore,
            "FRAME": self._ignore,
        }

    def run(self) -> Any:
        """Return what the next pickle holds.

        Raises
        ------
        DamagedError
            It is no pickle, a truncated one, or needs more than a file of weights may.
        RefusedError
            It names what no file of weights needs.
        """
        self._memo, self._stack, self._outer = {}, [], []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in damaged texts
                for opcode, argument, _ in pickletools.genops(self._stream):  # type: ignore[arg-type]
                    self._step(opcode.name, argument)
        except (DamagedError, RefusedError):
            raise
        except Exception as error:
            # The library says in many ways that what it reads is no pickle.
            raise DamagedError(f"no whole pickle ({type(error).__name__})") from error
        if self._outer or len(self._stack) != 1:
            raise DamagedError("a pickle that leaves something over")
        return self._stack[0]

    def _step(self, name: str, argument: Any) -> None:
        self._bounds.step()
        if name in LITERALS:
            if type(argument) is int and not -LARGEST_INT < argument < LARGEST_INT:
                raise DamagedError("an integer of thousands of digits")
            self._stack.append(bytes(argument) if name == "BYTEARRAY8" else argument)
        elif name in CONSTANTS:
            self._stack.append(CONSTANTS[name])
        elif name in EMPTIES:
            self._bounds.spend(1)
            self._stack.append(EMPTIES[name]())
        elif name in self._handlers:
            self._handlers[name](argument)
        elif name != "STOP":  # the registry of extensions, buffers elsewhere, ids as text
            raise DamagedError(f"the opcode {name}, which torch never writes")

    # The stack of Python's machine: a mark puts it aside and starts another.

    def _pop(self) -> Any:
        if not self._stack:
            raise DamagedError("a pickle that takes more than it made")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise DamagedError("a pickle that takes more than it made")
        return self._stack[-1]

    def _items(self) -> list[Any]:
        if not self._outer:
            raise DamagedError("a pickle without a mark")
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _mark(self, _: Any) -> None:
        self._bounds.spend(1)
        self._outer.append(self._stack)
        self._stack = []

    def _discard(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._items()

    def _discard_items(self, _: Any) -> None:
        self._items()

    def _duplicate(self, _: Any) -> None:
        self._stack.append(self._top())

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _memoize(self, _: Any) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise DamagedError("a pickle that asks for what it never kept")
        self._stack.append(self._memo[index])

    def _ignore(self, _: Any) -> None:
        pass

    # Plain values.

    def _tuple(self, _: Any) -> None:
        items = self._items()
        self._stack.append(tuple(items))

    def _tuple_of_1(self, _: Any) -> None:
        self._stack.append((self._pop(),))

    def _tuple_of_2(self, _: Any) -> None:
        second, first = self._pop(), self._pop()
        self._stack.append((first, second))

    def _tuple_of_3(self, _: Any) -> None:
        third, second, first = self._pop(), self._pop(), self._pop()
        self._stack.append((first, second, third))

    def _list(self, _: Any) -> None:
        items = self._items()
        self._bounds.spend(1)
        self._stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._items()
        self._bounds.spend(1)
        self._stack.append({})
        self._store(items)

    def _frozenset(self, _: Any) -> None:
        items = self._items()
        self._bounds.spend(1)
        self._stack.append(frozenset(self._bounds.check_key(item) for item in items))

    def _append(self, _: Any) -> None:
        self._add([self._pop()])

    def _extend(self, _: Any) -> None:
        self._add(self._items())

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._store([key, value])

    def _set_items(self, _: Any) -> None:
        self._store(self._items())

    def _add(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            target.update(self._bounds.check_key(item) for item in items)
        elif isinstance(target, Inert):
            self.foreign.add(target.name)
            target.appended = [] if target.appended is None else target.appended
            target.appended.extend(items)
        else:
            raise DamagedError("a pickle that appends to what is no list")

    def _store(self, items: list[Any]) -> None:
        target = self._top()
        if len(items) % 2:
            raise DamagedError("a key without a value")
        pairs = zip(items[::2], items[1::2], strict=True)
        if isinstance(target, dict):
            target.update((self._bounds.check_key(key), value) for key, value in pairs)
        elif isinstance(target, Inert):
            self.foreign.add(target.name)
            target.items = [] if target.items is None else target.items
            target.items.extend(pairs)
        else:
            raise DamagedError("a pickle that stores by key in what is no dictionary")
