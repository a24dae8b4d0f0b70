"""Files made to do harm: refused or inert, in bounded memory and time."""

from __future__ import annotations

import ast
import contextlib
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pickles as p
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vemctl.errors import WeightsError
from vemctl.nn.state_dict import read_weights

CONTAINERS = {"zip": p.archive, "before 1.6": p.pickles}
MEGABYTES = 700
SECONDS = 10

# One process that has imported the reader and forks for each file: the limit is that of the fork.
READ_BOUNDED = f"""
import os, resource, sys
from pathlib import Path
from vemctl.errors import WeightsError
from vemctl.nn import inert
for line in sys.stdin:
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as told:
            said = told.read()
        print(repr((os.waitpid(child, 0)[1], said)), flush=True)
        continue
    resource.setrlimit(resource.RLIMIT_AS, ({MEGABYTES} * 2**20,) * 2)
    try:
        inert.read(Path(line.removesuffix("\\n")))
    except WeightsError as error:
        said = str(error)
    else:
        said = "read"
    os.write(writer, said.encode())
    os._exit(0)
"""


@pytest.fixture(scope="module")
def bounded() -> Iterator[Callable[[Path], str]]:
    """Return what reads a file in a process of its own that may not have more memory."""
    with subprocess.Popen(
        [sys.executable, "-c", READ_BOUNDED],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        asking, telling = process.stdin, process.stdout
        assert asking is not None
        assert telling is not None

        def read(path: Path) -> str:
            asking.write(f"{path}\n")
            asking.flush()
            code, said = ast.literal_eval(telling.readline())
            assert code == 0, said
            return str(said)

        yield read


def refused(path: Path, content: bytes) -> str:
    """Return the line with which a file is refused."""
    path.write_bytes(content)
    with pytest.raises(WeightsError) as raised:
        read_weights(path)
    text = str(raised.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def text(words: str) -> bytes:
    """Return opcodes that push a text, and one that names it from the stack."""
    return b"\x8c" + bytes([len(words)]) + words.encode()


TOUCH = p.value("touch marker")
HARMFUL = {
    "os.system": p.call(p.name("os", "system"), TOUCH),
    "posix.system": p.call(p.name("posix", "system"), TOUCH),
    "nt.system": p.call(p.name("nt", "system"), TOUCH),
    "subprocess.Popen": p.call(p.name("subprocess", "Popen"), TOUCH),
    "builtins.eval": p.call(p.name("builtins", "eval"), p.value("open('marker', 'w')")),
    "__builtin__.eval": p.call(p.name("__builtin__", "eval"), p.value("open('marker', 'w')")),
    "builtins.exec": p.call(p.name("builtins", "exec"), p.value("open('marker', 'w')")),
    "builtins.__import__": p.call(p.name("builtins", "__import__"), p.value("os")),
    "builtins.open": p.call(p.name("builtins", "open"), p.value("marker"), p.value("w")),
    "torch.load": p.call(p.name("torch", "load"), p.value("nested.pth")),
    "torch.serialization.load": p.call(p.name("torch.serialization", "load"), p.value("a.pth")),
    "pickle.loads": p.call(p.name("pickle", "loads"), p.value("marker")),
    "runpy.run_path": p.call(p.name("runpy", "run_path"), p.value("marker")),
    "importlib.import_module": p.call(p.name("importlib", "import_module"), p.value("os")),
    "os.path.join": p.name("os.path", "join"),
    "posix.mkdir": b"(S'marker'\niposix\nmkdir\n",
    "posix.rmdir": b"(" + p.name("posix", "rmdir") + p.value("marker") + b"o",
    "sys.modules": text("sys") + text("modules") + b"\x93",
    "torch.serialization.os.system": text("torch.serialization") + text("os.system") + b"\x93",
    "fastai.basics.os.system": text("fastai.basics") + text("os.system") + b"\x93",
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("named", HARMFUL)
def test_what_no_file_of_weights_needs_is_refused_by_name(
    named: str, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside good weights; nothing runs."""
    monkeypatch.chdir(tmp_path)
    content = CONTAINERS[container](p.entries(state_dict=p.entries(w=p.GOOD), x=HARMFUL[named]))
    line = refused(tmp_path / "w.pth", content)
    assert f"refused, it names {named}, which no file of weights needs; do not trust it" in line
    assert not (tmp_path / "marker").exists()


GETATTR = p.name("__builtin__", "getattr")
INERT = {
    "a call of a result": p.call(p.call(p.call(p.name("a", "b"), TOUCH)), TOUCH),
    "getattr of a record": p.call(p.call(GETATTR, p.name("a", "b"), p.value("c")), TOUCH),
    "getattr of getattr": p.call(p.call(GETATTR, GETATTR, p.value("__self__")), TOUCH),
    "subclasses": p.call(GETATTR, p.name("builtins", "object"), p.value("__subclasses__")),
    "functools.partial": p.call(p.name("functools", "partial"), p.name("a", "b"), TOUCH),
    "operator": p.call(p.name("operator", "attrgetter"), p.value("system")),
    "a state with a setter": p.call(p.name("a", "b")) + p.value({"__setstate__": 1}) + b"b",
    "a state for a class": p.name("torch", "Size") + p.value({"__new__": 1}) + b"b",
    "a class made": p.call(p.name("builtins", "type"), p.value("A"), p.value(()), p.value({})),
    "a codec": p.call(p.name("_codecs", "encode"), p.value("a"), p.value("zlib")),
    "an object of torch": p.call(p.name("torch", "FloatTensor"), p.value(10**12)),
    "a list of bytes": p.call(p.name("builtins", "bytearray"), p.value(10**12)),
    "items": p.call(p.name("collections", "Counter")) + p.value("a") + p.value(1) + b"s",
    "an object with keywords": p.name("a", "b") + p.value(()) + p.value({"c": 1}) + b"\x92",
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("what", INERT)
def test_calls_are_recorded_and_the_weights_beside_them_read(
    what: str, container: str, tmp_path: Path
) -> None:
    """Whatever is called with whatever, nothing happens."""
    path = tmp_path / "w.pth"
    beside = p.entries(x=INERT[what], state_dict=p.entries(w=p.GOOD))
    path.write_bytes(CONTAINERS[container](beside))
    assert read_weights(path).tensors["w"].tolist() == [[0, 0], [0, 0]]
    assert list(tmp_path.iterdir()) == [path]


def of(pushed: bytes, **options: Any) -> list[bytes]:
    """Return both kinds of file of one object."""
    return [p.archive(pushed, **options), p.pickles(pushed, **options)]


BAD_TENSORS = {
    "negative stride": p.tensor(3, (2, 2), (-1, -2)),
    "negative size": p.tensor(0, (-2, -2), (2, 1)),
    "negative offset": p.tensor(-1, (2,), (1,)),
    "offset": p.tensor(4, (1,), (1,)),
    "large offset": p.tensor(2**62, (1,), (1,)),
    "offset that overflows": p.tensor(2**64 - 1, (2,), (1,)),
    "stride": p.tensor(0, (2, 2), (3, 1)),
    "stride that overflows": p.tensor(0, (2, 2), (2**63, 2**63)),
    "sum of strides that overflows": p.tensor(0, (3, 3), (2**61, 2**61)),
    "size": p.tensor(0, (5,), (1,)),
    "size that overflows": p.tensor(0, (2**32, 2**32), (0, 0)),
    "expanded": p.tensor(0, (1000, 1000), (0, 0)),
    "empty and huge": p.tensor(0, (0, 2**70), (1, 1)),
    "true for one": p.tensor(0, (True,), (1,)),
    "other number of strides": p.tensor(0, (2, 2), (1,)),
    "many axes": p.tensor(0, (1,) * 65, (1,) * 65),
    "no storage": p.tensor(0, (2,), (1,), p.value("storage")),
    "storage of more": p.tensor(0, (8,), (1,), p.storage(8)),
    "storage of less": p.tensor(0, (2,), (1,), p.storage(2)),
    "storage of 2 GB": p.tensor(0, (2**29,), (1,), p.storage(2**29)),
    "storage of negative length": p.tensor(0, (0,), (1,), p.storage(-4)),
    "storage of unknown type": p.tensor(0, (2,), (1,), p.storage(4, "QInt8Storage")),
    "storage of another type": p.tensor(0, (2,), (1,), p.storage(4, "DoubleStorage")),
    "storage without a name": p.tensor(0, (2,), (1,), p.storage(4, "FloatStorage", 0)),
    "storage that is not there": p.tensor(0, (2,), (1,), p.storage(4, "FloatStorage", "9")),
    "view": p.tensor(0, (2,), (1,), p.storage(4, "FloatStorage", "0", ("v", 0, 2))),
    "state": p.GOOD + p.value((0, (2**40,), (1,))) + b"b",
}


@pytest.mark.parametrize("what", BAD_TENSORS)
def test_a_tensor_outside_its_storage_is_refused(what: str, tmp_path: Path) -> None:
    """Before torch sees the file, which would make the storage larger."""
    for content in of(p.entries(w=BAD_TENSORS[what])):
        assert "damaged" in refused(tmp_path / "w.pth", content)


def test_a_storage_of_two_types_is_refused(tmp_path: Path) -> None:
    """One key, two meanings."""
    other = p.tensor(0, (2,), (1,), p.storage(4, "IntStorage"))
    for content in of(p.entries(a=p.GOOD, b=other)):
        assert "two types" in refused(tmp_path / "w.pth", content)


def test_one_storage_under_many_names_is_refused(tmp_path: Path) -> None:
    """Whoever copies the tensors would fill the memory."""
    large = p.tensor(0, (2**18,), (1,), p.storage(2**18))
    names = p.entries(**{f"w{i}": b"h\x63" for i in range(9)})
    pushed = p.call(p.name("a", "b"), large + b"q\x63") + b"0" + names
    for content in of(pushed, storages={"0": bytes(2**20)}):
        assert "9437184 bytes in a file of" in refused(tmp_path / "w.pth", content)


GOOD_DICT = p.entries(w=p.GOOD)
BAD_CONTAINERS = {
    "compressed": p.archive(GOOD_DICT, compression=zipfile.ZIP_DEFLATED),
    "zip bomb": p.archive(GOOD_DICT, {"0": bytes(10**8)}, compression=zipfile.ZIP_DEFLATED),
    "two pickles": p.archive(GOOD_DICT, more={"v/data.pkl": b"."}),
    "no pickle": p.archive(GOOD_DICT).replace(b"data.pkl", b"date.pkl"),
    "big-endian": p.archive(GOOD_DICT, more={"w/byteorder": b"big"}),
    "nested": p.archive(p.value("a"), more={"w/inner.zip": p.archive(GOOD_DICT)}),
    "short data": p.archive(GOOD_DICT, {"0": bytes(12)}),
    "long data": p.archive(GOOD_DICT, {"0": bytes(20)}),
    "no data": p.archive(GOOD_DICT, {}),
    "entry of more than the file": p.archive(GOOD_DICT).replace(
        b"\x10\0\0\0" * 2, b"\xff\xff\xff\x7f" * 2
    ),
    "big-endian, old": p.pickles(GOOD_DICT, system={"little_endian": False}),
    "other system": p.pickles(GOOD_DICT, system=[]),
    "short data, old": p.pickles(GOOD_DICT, {"0": bytes(12)}),
    "wrong count": p.pickles(GOOD_DICT, width=2),
    "more data": p.pickles(GOOD_DICT) + b"a",
    "no keys": p.pickles(GOOD_DICT, keys=[]),
    "two keys": p.pickles(GOOD_DICT, keys=["0", "0"]),
    "another key": p.pickles(GOOD_DICT, keys=["1"]),
    "keys of other type": p.pickles(GOOD_DICT, keys=[["0"]]),
    "keys in a dict": p.pickles(GOOD_DICT, keys={"0": 1}),
}


@pytest.mark.parametrize("what", BAD_CONTAINERS)
def test_a_container_that_torch_did_not_write_is_refused(what: str, tmp_path: Path) -> None:
    """Nothing is unpacked."""
    refused(tmp_path / "w.pth", BAD_CONTAINERS[what])


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    """Two readers would read two files."""
    content = p.archive(GOOD_DICT, more={"w/data/0": bytes(16)})
    assert "two entries of one name" in refused(tmp_path / "w.pth", content)


def test_a_program_of_torch_is_refused(tmp_path: Path) -> None:
    """TorchScript is code."""
    content = p.archive(GOOD_DICT, more={"w/constants.pkl": b".", "w/code/a.py": b""})
    assert "refused, it is a TorchScript archive" in refused(tmp_path / "w.pth", content)


LAUGHS = p.value("ha") + b"\x85" + b"2\x86" * 60
BOMBS = {
    "nested tuples as a key": b"}" + LAUGHS + b"Ns",
    "nested tuples in a set": b"\x8f(" + LAUGHS + b"\x90",
    "nested tuples in a frozen set": b"(" + LAUGHS + b"\x91",
    "nested tuples for a set": p.call(p.name("builtins", "set"), b"]" + LAUGHS + b"a"),
    "nested tuples for a counter": p.call(p.name("collections", "Counter"), b"]" + LAUGHS + b"a"),
    "pairs": p.call(p.name("collections", "OrderedDict"), b"]" + LAUGHS + b"N\x86a"),
    "long tuple as a key": b"}(" + b"K\x01" * 40 + b"tNs",
    "deep tuple as a key": b"}K\x01" + b"\x85" * 10**6 + b"Ns",
    "deep tuple": b"K\x01" + b"\x85" * 10**6,
    "deep list": b"]" * 10**6 + b"a" * (10**6 - 1),
    "deep dict": b"}" + b"N}" * 10**6 + b"s" * 10**6,
    "marks": b"(" * 10**6,
    "colliding integers": b"}("
    + b"".join(b"\x8a\x0c" + (i * (2**61 - 1)).to_bytes(12, "little") + b"N" for i in range(10**5))
    + b"u",
    "sets": b"\x8f0" * 2_400_000,
    "kept sets": b"(" + b"\x8f" * 4_000_000 + b"t",
    "memo index": b"Nr\xff\xff\xff\x7f",
    "memo index that is not there": b"j\xff\xff\xff\x7f",
    "integer of many digits": b"I" + b"9" * 10**6 + b"\n",
    "long integer of many digits": b"L" + b"9" * 10**6 + b"L\n",
    "long integer": b"\x8b" + (10**6).to_bytes(4, "little") + b"\x01" * 10**6,
    "BINBYTES8 of 2 GB": b"\x8e" + (2**31).to_bytes(8, "little") + b"a",
    "BINUNICODE8 of 2 GB": b"\x8d" + (2**31).to_bytes(8, "little") + b"a",
    "BYTEARRAY8 of 2 GB": b"\x96" + (2**31).to_bytes(8, "little") + b"a",
    "BINBYTES of 2 GB": b"B\xff\xff\xff\x7fa",
    "BINUNICODE of 2 GB": b"X\xff\xff\xff\x7fa",
    "BINSTRING of 2 GB": b"T\xff\xff\xff\x7fa",
    "LONG4 of 2 GB": b"\x8b\xff\xff\xff\x7fa",
    "FRAME of 2 GB": b"\x95" + (2**63 - 1).to_bytes(8, "little") + b"N",
    "extension 1": b"\x82\x01",
    "extension 2": b"\x83\x01\x01",
    "extension 4": b"\x84\x01\x01\x01\x01",
    "id as text": b"Pstorage\n",
    "next buffer": b"\x97",
    "too little": b"0",
    "no mark": b"t",
    "odd items": b"}(Nu",
    "key of a list": b"}]Ns",
    "append to a tuple": b")Na",
    "call of a number": b"K\x01)R",
    "arguments of no tuple": p.name("a", "b") + b"NR",
    "name of numbers": b"K\x01K\x01\x93",
    "long name": p.value("a" * 200) + p.value("b" * 200) + b"\x93",
    "texts copied": p.value("a" * 10**6)
    + b"q\x010("
    + p.call(p.name("_codecs", "encode"), b"h\x01", p.value("latin1")) * 5000
    + b"t",
    "lists copied": b"]("
    + b"N" * 10**6
    + b"eq\x010("
    + p.call(p.name("torch", "Size"), b"h\x01") * 5000
    + p.call(p.name("builtins", "set"), b"h\x01") * 5000
    + b"t",
    "too many steps": b"N0" * 2_600_000 + b"N",
}


@pytest.mark.parametrize(
    ("what", "container"),
    [(what, "before 1.6") for what in BOMBS] + [(w, "zip") for w in BOMBS if "2 GB" in w],
)
def test_a_bomb_takes_little_memory_and_time(
    what: str, container: str, bounded: Callable[[Path], str], tmp_path: Path
) -> None:
    """In a process that may not have more; refused, or read as plain values."""
    path = tmp_path / "w.pth"
    path.write_bytes(CONTAINERS[container](BOMBS[what], {}))
    start = time.monotonic()
    told = bounded(path)
    assert time.monotonic() - start < SECONDS
    assert told == "read" or told.startswith(f"{path}: not a readable file")
    assert "\n" not in told


FILES = [
    build(p.entries(state_dict=p.entries(w=p.GOOD, v=p.GOOD), x=p.call(p.name("a", "b"))))
    for build in CONTAINERS.values()
]


@settings(max_examples=300, deadline=None)
@given(
    content=st.sampled_from(FILES),
    length=st.integers(0, max(map(len, FILES))),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), max_size=4),
)
def test_a_damaged_file_is_read_or_refused(
    content: bytes, length: int, flips: list[tuple[int, int]], tmp_path_factory: Any
) -> None:
    """Truncated anywhere, or with any bits flipped: never another error."""
    damaged = bytearray(content if flips else content[:length])
    for place, bit in flips:
        damaged[place % len(damaged)] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(damaged)
    with contextlib.suppress(WeightsError):
        read_weights(path)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
@pytest.mark.parametrize("container", [lambda c: c, *CONTAINERS.values()])
def test_random_opcodes_are_read_or_refused(
    container: Callable[..., bytes], content: bytes, tmp_path_factory: Any
) -> None:
    """Also as the pickle of a whole container."""
    path = tmp_path_factory.getbasetemp() / "random.pth"
    path.write_bytes(container(content))
    with contextlib.suppress(WeightsError):
        read_weights(path)
