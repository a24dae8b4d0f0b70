"""Other people's files, read on a machine that makes plain values and records the rest."""

from __future__ import annotations

import argparse
import copyreg
import functools
import pickle
import random
import sys
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pickles as p
import pytest
import torch
from torch import nn

from vemctl.errors import WeightsError
from vemctl.nn import inert
from vemctl.nn.state_dict import read_weights

EXPORT = Path(__file__).parents[1] / "assets" / "pssr_export"


def save(content: Any, path: Path, *, new: bool = True, protocol: int = 2) -> Path:
    """Write what torch writes now, or wrote before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    return path


def test_a_fastai_export_is_read_without_fastai_or_torchs_unpickler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every tensor, in order, and nothing stale; the statistics and the sizes beside them."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(torch, "load", never)
    monkeypatch.setattr(pickle, "Unpickler", never)
    for name in ("fastai", "utils", "utils.unet"):
        monkeypatch.setitem(sys.modules, name, None)
    loaded = read_weights(EXPORT / "small_export.pkl")
    with np.load(EXPORT / "small_export_check.npz") as check:
        assert list(loaded.tensors) == check["keys"].tolist()
        for i, value in enumerate(loaded.tensors.values()):
            assert " ".join(map(str, value.shape)) == check["shapes"][i]
            assert str(value.dtype) == f"torch.{check['dtypes'][i]}"
            np.testing.assert_allclose(value.double().sum(), check["sums"][i], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(value.double().abs().sum(), check["abssums"][i], rtol=1e-9)
        assert loaded.facts == {
            "normalisation": {
                "mean": check["mean"].astype(float).tolist(),
                "std": check["std"].astype(float).tolist(),
                "input": True,
                "target": True,
            },
            "tile": {"input": int(check["size"]), "target": int(check["size_y"])},
            "classes": {
                "input": "fastai.vision.data.ImageImageList",
                "target": "fastai.vision.data.ImageList",
            },
            "multi_frame": False,
        }


def test_what_an_export_names_is_recorded() -> None:
    """A call of ``getattr`` too."""
    content = inert.read(EXPORT / "small_export.pkl")
    assert "__builtin__.getattr" in content.foreign
    assert "utils.unet.BilinearWrapper" in content.foreign
    assert "torch.FloatStorage" not in content.foreign
    assert content.root["model"].name == "utils.unet.BilinearWrapper"
    assert content.root["model"].state["scale"] == 4


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        ({}, {"multi_frame": False, "classes": {"input": "", "target": ""}}),
        (
            {
                "x_cls": p.name("utils.multi", "MultiImageImageList"),
                "tfmargs": p.value({"size": [8, 9]}),
            },
            {
                "multi_frame": True,
                "classes": {"input": "utils.multi.MultiImageImageList", "target": ""},
                "tile": {"input": [8, 9]},
            },
        ),
        (
            {"normalize": p.entries(mean=p.tensor(0, (2,), (1,)), std=p.tensor(2, (2,), (1,)))},
            {
                "multi_frame": False,
                "classes": {"input": "", "target": ""},
                "normalisation": {"mean": [0, 1], "std": [2, 3], "input": True, "target": False},
            },
        ),
    ],
)
def test_facts_of_an_export_are_plain_values(
    data: dict[str, bytes], facts: dict[str, Any], tmp_path: Path
) -> None:
    """Those that the file does not tell are left out."""
    state = p.entries(_modules=b"}", _parameters=p.entries(w=p.GOOD), _buffers=b"}")
    model = p.call(p.name("nets", "Net")) + state + b"b"
    numbers = np.arange(4, dtype=np.float32).tobytes()
    pushed = p.entries(model=model, data=p.entries(**data))
    (tmp_path / "w.pkl").write_bytes(p.pickles(pushed, {"0": numbers}))
    assert read_weights(tmp_path / "w.pkl").facts == facts


@pytest.mark.parametrize("mean", [p.value(0.5), p.value([0.5]), p.tensor(0, (0,), (1,)), b"N"])
def test_statistics_that_are_no_numbers_are_refused(mean: bytes, tmp_path: Path) -> None:
    """Nothing is restored on a guess."""
    state = p.entries(_modules=b"}", _parameters=p.entries(w=p.GOOD))
    model = p.call(p.name("nets", "Net")) + state + b"b"
    data = p.entries(normalize=p.entries(mean=mean, std=p.GOOD))
    (tmp_path / "w.pkl").write_bytes(p.pickles(p.entries(model=model, data=data)))
    with pytest.raises(WeightsError, match=r"w.pkl: .*a normalisation whose mean"):
        read_weights(tmp_path / "w.pkl")


class Part(nn.Module):
    """Parameters, buffers that are saved and not, and one that is None."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.utils.spectral_norm(nn.Linear(3, 2))
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("kept", torch.arange(4))
        self.register_buffer("passing", torch.arange(5), persistent=False)
        self.register_parameter("absent", None)
        self.register_buffer("nothing", None)
        self.gone = None
        self.stale = torch.zeros(3)


class Net(nn.Module):
    """A part under two names, and layers of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Part()
        self.again = self.first
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        self.listed = nn.ModuleList([nn.Linear(2, 2), Part()])
        self.body[0].weight = nn.Parameter(self.body[0].weight.half())
        self.void = None


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: {"model": n, "epoch": 3}])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_pickled_network_gives_its_state_dict(wrap: Any, new: bool, tmp_path: Path) -> None:
    """In torch's order, as stored, also where a part occurs twice."""
    net = Net()
    found = read_weights(save(wrap(net), tmp_path / "w.pth", new=new))
    expected = net.state_dict()
    assert list(found.tensors) == list(expected)
    for name, value in expected.items():
        assert value.dtype == found.tensors[name].dtype
        assert torch.equal(value, found.tensors[name])
    assert found.facts == {}


def test_a_network_of_parallel_training_loses_its_prefix(tmp_path: Path) -> None:
    """`DataParallel` is a network with one part."""
    net = nn.DataParallel(nn.Linear(2, 1))
    found = read_weights(save(net, tmp_path / "w.pth"))
    assert list(found.tensors) == ["weight", "bias"]


def module(state: bytes) -> bytes:
    """Return opcodes that push a network with a state."""
    return p.call(p.name("nets", "Net")) + state + b"b"


CYCLE = (
    p.call(p.name("nets", "Net"))
    + b"q\x63"
    + p.entries(_modules=p.entries(a=b"h\x63"), _parameters=b"}")
    + b"b"
)
DOUBLING = module(p.entries(_modules=b"}", _parameters=p.entries(w=p.GOOD))) + b"".join(
    b"q\x630" + module(p.entries(_modules=p.entries(a=b"h\x63", b=b"h\x63"), _parameters=b"}"))
    for _ in range(40)
)


@pytest.mark.parametrize(
    "pushed",
    [
        CYCLE,
        DOUBLING,
        module(p.entries(_modules=b"}", _parameters=p.entries(w=p.value(1)))),
        module(p.entries(_modules=p.entries(a=p.value(1)), _parameters=b"}")),
        module(p.entries(_modules=b"}", _parameters=p.entries(w=p.GOOD), _buffers=p.value([1]))),
        module(p.entries(_modules=b"}", _parameters=b"}" + p.value(1) + p.GOOD + b"s")),
    ],
)
def test_a_network_that_torch_cannot_make_is_refused(pushed: bytes, tmp_path: Path) -> None:
    """Containing itself, growing without end, of parts that are none."""
    (tmp_path / "w.pth").write_bytes(p.pickles(p.GOOD + b"0" + pushed))
    with pytest.raises(WeightsError, match=r"w.pth: not a readable file.*a (part of a )?network"):
        read_weights(tmp_path / "w.pth")


def optimiser() -> dict[str, Any]:
    """Return the state of an optimiser after a step."""
    net = nn.Linear(3, 2)
    made = torch.optim.Adam(net.parameters(), betas=(0.5, 0.9))
    net(torch.ones(1, 3)).sum().backward()
    made.step()
    return {"model": net.state_dict(), "opt": made.state_dict(), "epoch": 3, "loss": 0.25}


def tied() -> dict[str, Any]:
    """Return tensors that share memory."""
    whole = torch.arange(12.0).reshape(3, 4)
    return {
        "a": whole,
        "b": whole,
        "transposed": whole.t(),
        "row": whole[1],
        "every": whole[:, ::2],
    }


KINDS = [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int16, torch.int32]
MORE_KINDS = [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.complex128]
ORDINARY = {
    "optimiser": optimiser(),
    "tied": tied(),
    "kinds": {str(kind): torch.arange(6).to(kind) for kind in (*KINDS, *MORE_KINDS)},
    "kinds without storages": {
        "a": torch.arange(6).to(torch.uint16),
        "b": torch.ones(3).to(torch.float8_e5m2),
    },
    "shapes": {"scalar": torch.tensor(3.0), "empty": torch.zeros(0, 3), "one": torch.ones(1, 1, 1)},
    "parameters": dict(nn.Linear(2, 2).named_parameters()),
    "metadata": nn.BatchNorm2d(3).state_dict(),
    "values": {
        "plain": [None, True, -1, 2**70, -(2**31), 0.5, float("inf"), "täxt", b"\xff\0", 1 + 2j],
        "nested": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {1, 2}, {}, {"a": [{}]}],
        "keys": {1: 2, None: 3, (1, "a"): 4, 0.5: 5, b"b": 6},
        "ordered": OrderedDict([("b", 1), ("a", torch.Size([1, 2]))]),
        "random": random.Random(1).getstate(),
    },
}


def assert_equal(expected: Any, actual: Any, content: inert.Content) -> None:
    """Compare values, their types, and tensors with their layout."""
    if isinstance(expected, torch.Tensor):
        found = content.materialise({"": actual})[""]
        assert (expected.dtype, expected.shape) == (found.dtype, found.shape)
        assert expected.stride() == found.stride()
        assert torch.equal(
            expected.view(torch.uint8) if "float8" in str(expected.dtype) else expected,
            found.view(torch.uint8) if "float8" in str(found.dtype) else found,
        )
    elif isinstance(expected, dict):
        assert type(expected) is type(actual)
        assert list(expected) == list(actual)
        for key, value in expected.items():
            assert_equal(value, actual[key], content)
    elif isinstance(expected, (list, tuple)):
        assert isinstance(actual, tuple if isinstance(expected, tuple) else list)
        for one, other in zip(expected, actual, strict=True):
            assert_equal(one, other, content)
    else:
        assert type(expected) is type(actual)
        assert expected == actual


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_files_are_what_torch_reads(kind: str, new: bool, tmp_path: Path) -> None:
    """Values, types, sizes and strides; nothing in them is foreign."""
    if kind == "kinds without storages" and not new:
        pytest.skip("torch does not read what it writes")
    path = save(ORDINARY[kind], tmp_path / "w.pth", new=new)
    content = inert.read(path)
    assert content.foreign == ()
    assert_equal(torch.load(path, weights_only=True), content.root, content)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("kind", ORDINARY)
def test_all_protocols_are_read(kind: str, protocol: int, tmp_path: Path) -> None:
    """Also those that torch's own safe reader does not know."""
    content = inert.read(save(ORDINARY[kind], tmp_path / "w.pth", protocol=protocol))
    assert_equal(ORDINARY[kind], content.root, content)


def test_tensors_that_shared_memory_share_it_again(tmp_path: Path) -> None:
    """Each storage is read once."""
    content = inert.read(save(tied(), tmp_path / "w.pth", new=False))
    read = content.materialise(content.root)
    assert len({value.untyped_storage().data_ptr() for value in read.values()}) == 1
    read["a"].zero_()
    assert not read["row"].any()


def test_numpy_scalars_are_numbers(tmp_path: Path) -> None:
    """Of all numeric types and both byte orders; arrays are only recorded."""
    numbers = {
        kind: np.dtype(kind).type(3) for kind in ("f2", "f4", "f8", "i1", "u8", "i8", "c16", "?")
    }
    content = inert.read(
        save(
            {**numbers, "array": np.ones(2), "text": np.str_("a"), "day": np.datetime64("2001")},
            tmp_path / "w",
        )
    )
    assert {name: content.root[name] for name in numbers} == {
        name: value.item() for name, value in numbers.items()
    }
    assert type(content.root["f4"]) is float
    assert isinstance(content.root["array"], inert.Inert)
    assert isinstance(content.root["day"], inert.Inert)
    assert "numpy.dtype" in content.foreign


class Old:
    """An object of Python 2."""

    def __init__(self) -> None:
        self.rate = 0.5

    def __reduce__(self) -> Any:
        return copyreg._reconstructor, (Old, object, None), self.__dict__


class Many(dict[str, int]):
    """A dict of another class."""


def test_objects_are_records(tmp_path: Path) -> None:
    """With their arguments, their state and their items, and nothing that can be called."""
    content = inert.read(
        save(
            {
                "space": argparse.Namespace(lr=0.5),
                "path": Path("a/b"),
                "call": functools.partial(int, base=8),
                "default": defaultdict(list, a=[1]),
                "many": Many(a=1),
                "old": Old(),
                "count": Counter("aab"),
                "device": torch.device("cpu"),
                "type": torch.float32,
            },
            tmp_path / "w.pth",
        )
    )
    root = content.root
    assert root["space"].name == "argparse.Namespace"
    assert root["space"].state == {"lr": 0.5}
    assert root["path"].arguments == ("a", "b")
    assert root["call"].name == "functools.partial"
    assert root["default"].items == [("a", [1])]
    assert root["many"].items == [("a", 1)]
    assert root["old"].name == f"{__name__}.Old"
    assert root["old"].state == {"rate": 0.5}
    assert root["count"].arguments == ({"a": 2, "b": 1},)
    assert root["device"].arguments == ("cpu",)
    assert root["type"].name == "torch.float32"
    assert "torch.float32" not in content.foreign
    assert not any(callable(value) for value in root.values())
    assert repr(root["space"]) == "<inert argparse.Namespace>"


def test_a_tensor_with_attributes_is_a_tensor(tmp_path: Path) -> None:
    """What was attached to it is left out."""
    value = nn.Parameter(torch.ones(2))
    value.note = "a"
    other = torch.zeros(2)
    other.note = "b"
    found = read_weights(save({"value": value, "other": other}, tmp_path / "w.pth")).tensors
    assert found["value"].tolist() == [1, 1]
    assert found["other"].tolist() == [0, 0]


def test_damage_in_the_numbers_is_found(tmp_path: Path) -> None:
    """By the checksum of the archive."""
    path = save({"a": torch.full((50,), 7.0), "b": argparse.Namespace()}, tmp_path / "w.pth")
    content = inert.read(path)
    path.write_bytes(path.read_bytes().replace(b"\0\0\xe0\x40" * 3, b"\0\0\xe0\x41" * 3))
    with pytest.raises(WeightsError, match="a wrong checksum"):
        content.materialise({"a": content.root["a"]})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError, match="it ends early"):
        content.materialise({"a": content.root["a"]})
    path.unlink()
    with pytest.raises(WeightsError, match=r"w.pth: cannot be read"):
        content.materialise({"a": content.root["a"]})
