"""Files of torch from opcodes, also such as no honest program writes."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"long": 4}}
FOUR = bytes(16)
"""The numbers of a storage of four float32."""


def value(content: Any) -> bytes:
    """Return opcodes that push a plain value."""
    return pickle.dumps(content, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    """Return opcodes that push a class or function."""
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    """Return opcodes that call what `function` pushes."""
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(count: Any = 4, kind: str = "FloatStorage", key: Any = "0", *rest: Any) -> bytes:
    """Return opcodes that push a storage."""
    parts = (value("storage"), name("torch", kind), *map(value, (key, "cpu", count, *rest)))
    return b"(" + b"".join(parts) + b"tQ"


def tensor(offset: Any, size: Any, stride: Any, of: bytes | None = None) -> bytes:
    """Return opcodes that push a tensor."""
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage() if of is None else of,
        *map(value, (offset, size, stride, False)),
        call(name("collections", "OrderedDict")),
    )


GOOD = tensor(0, (2, 2), (2, 1))


def entries(**items: bytes) -> bytes:
    """Return opcodes that push a dict of what others push."""
    return b"}(" + b"".join(value(key) + item for key, item in items.items()) + b"u"


def archive(
    pushed: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    more: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Return an archive as torch writes since 1.6."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as file:
        file.writestr("w/data.pkl", b"\x80\x02" + pushed + b".")
        for key, data in ({"0": FOUR} if storages is None else storages).items():
            file.writestr(f"w/data/{key}", data)
        for entry, data in ({} if more is None else more).items():
            file.writestr(entry, data)
    return written.getvalue()


def pickles(
    pushed: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    system: Any = SYSTEM,
    width: int = 4,
    keys: Any = None,
) -> bytes:
    """Return pickles one after the other, as torch wrote before 1.6."""
    data = {"0": FOUR} if storages is None else dict(storages)
    head = [pickle.dumps(part, 2) for part in (MAGIC, 1001, system)]
    listed = pickle.dumps(sorted(data) if keys is None else keys, 2)
    numbers = [(len(d) // width).to_bytes(8, "little") + d for _, d in sorted(data.items())]
    return b"".join([*head, b"\x80\x02" + pushed + b".", listed, *numbers])
