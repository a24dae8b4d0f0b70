"""A pickle machine that builds plain values and records everything else.

The opcodes and their arguments are parsed by Python's own `pickletools`; no unpickler is used,
nothing is imported, looked up or called by a name from the file, and nothing recurses.
"""

from __future__ import annotations

from typing import Any

from vemctl.nn.inert.bounds import Stream
from vemctl.nn.inert.calls import CALLS, UNBUILT
from vemctl.nn.inert.names import KNOWN_TO_TORCH, check_name
from vemctl.nn.inert.plain import PlainMachine
from vemctl.nn.inert.storages import refer_to_storage
from vemctl.nn.inert.values import DamagedError, Inert, StorageReference

LONGEST_NAME = 250


class Machine(PlainMachine):
    """Runs one pickle after the other, also where they name classes and functions.

    Parameters
    ----------
    stream : Stream
        Stands behind the pickle after each run.

    Attributes
    ----------
    storages : dict of str to StorageReference
        All that were met, by key.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.storages: dict[str, StorageReference] = {}
        self._handlers |= {
            "GLOBAL": self._global,
            "STACK_GLOBAL": self._stack_global,
            "BUILD": self._build,
            "REDUCE": self._reduce,
            "NEWOBJ": self._new,
            "NEWOBJ_EX": self._new_with_keywords,
            "INST": self._instance,
            "OBJ": self._object,
            "BINPERSID": self._persistent,
        }

    def _name(self, module: Any, name: Any) -> Inert:
        if type(module) is not str or type(name) is not str:
            raise DamagedError("a name that is no text")
        if len(module) + len(name) > LONGEST_NAME:
            raise DamagedError(f"a name of more than {LONGEST_NAME} letters")
        self._bounds.spend(4)
        whole = check_name(module, name)
        if whole not in KNOWN_TO_TORCH:
            self.foreign.add(whole)
        return Inert(whole)

    def _global(self, both: str) -> None:
        module, _, name = both.partition(" ")
        self._stack.append(self._name(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(self._name(module, name))

    def _record(self, called: Any, arguments: Any) -> None:
        """Push a record of a call, whose arguments stay as they are: copies could fill memory."""
        if not isinstance(called, Inert) or not isinstance(arguments, tuple):
            raise DamagedError("a call of what cannot be called")
        self._bounds.spend(1)
        name = called.name
        if called.arguments is not None and not name.endswith("()"):
            name += "()"  # once, however often results are called
        self.foreign.add(name)
        self._stack.append(Inert(name, arguments))

    def _reduce(self, _: Any) -> None:
        arguments, called = self._pop(), self._pop()
        if isinstance(called, Inert) and called.arguments is None and isinstance(arguments, tuple):
            call = CALLS.get(called.name)
            made = UNBUILT if call is None else call(arguments, self._bounds)
            if made is not UNBUILT:
                self._stack.append(made)
                return
        self._record(called, arguments)

    def _new(self, _: Any) -> None:
        arguments, called = self._pop(), self._pop()
        self._record(called, arguments)

    def _new_with_keywords(self, _: Any) -> None:
        keywords, arguments, called = self._pop(), self._pop(), self._pop()
        self._record(called, (arguments, keywords))

    def _instance(self, both: str) -> None:
        module, _, name = both.partition(" ")
        items = self._items()
        self._record(self._name(module, name), tuple(items))

    def _object(self, _: Any) -> None:
        items = self._items()
        if not items:
            raise DamagedError("an object without a class")
        self._record(items[0], tuple(items[1:]))

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Inert):
            self.foreign.add(target.name)
            target.state = state
        elif not isinstance(target, dict):
            # Dictionaries of state may have attributes, which are no weights. Tensors must not:
            # their state could put them beside their storage.
            raise DamagedError("a state for what has none")

    def _persistent(self, _: Any) -> None:
        identity = self._pop()
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            self._stack.append(identity[1])  # with the path and the text of its source
            return
        self._bounds.spend(2)
        storage = refer_to_storage(identity)
        known = self.storages.setdefault(storage.key, storage)
        if (known.kind, known.width, known.count) != (storage.kind, storage.width, storage.count):
            raise DamagedError("a storage of two types or lengths")
        self._stack.append(known)
