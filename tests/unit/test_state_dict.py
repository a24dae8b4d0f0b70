"""Weights from files into networks: every layout that is published, and no code ever run."""

from __future__ import annotations

import pickle
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vemctl.errors import WeightsError
from vemctl.nn.state_dict import load, read_state_dict, read_weights

Tensors = dict[str, torch.Tensor]


class Net(nn.Module):
    """Two layers, of which the second may go unused."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.spare = nn.Linear(2, 2)


def tensors(kind: torch.dtype = torch.float32) -> Tensors:
    """Return parameters of `Net`."""
    shapes = {name: value.shape for name, value in Net().state_dict().items()}
    return {
        name: (torch.arange(float(shape.numel())).reshape(shape) / 4 + i).to(kind)
        for i, (name, shape) in enumerate(shapes.items())
    }


def save_new(content: Any, path: Path) -> None:
    """Write what torch writes today, a zip archive."""
    torch.save(content, path)


def save_old(content: Any, path: Path) -> None:
    """Write what torch wrote before 1.6, pickles one after the other."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


SAVERS = {"zip": save_new, "before 1.6": save_old, "safetensors": save_file}
Saver = Callable[[Any, Path], None]


def assert_equal(expected: Tensors, actual: Tensors) -> None:
    """Compare names, in their order, types and values."""
    assert list(expected) == list(actual)
    for name, value in expected.items():
        assert value.dtype == actual[name].dtype
        assert torch.equal(value, actual[name])


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        *((kind, suffix) for kind in SAVERS for suffix in (".pth", ".ckpt", "")),
        ("safetensors", ".safetensors"),
        ("zip", ".safetensors"),
        ("before 1.6", ".safetensors"),
    ],
)
def test_every_kind_of_file_is_read_whatever_its_name(
    kind: str, suffix: str, tmp_path: Path
) -> None:
    """The content decides, not the suffix."""
    path = tmp_path / f"weights{suffix}"
    SAVERS[kind](tensors(), path)
    found = read_state_dict(path)
    assert_equal(tensors(), {name: found[name] for name in tensors()})
    assert len(found) == len(tensors())


@pytest.mark.parametrize("save", [save_new, save_old])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        OrderedDict,
        lambda t: {"state_dict": t, "epoch": 3, "best": 0.5},
        lambda t: {"model": t},
        lambda t: {"model_state_dict": t, "optimizer": {"lr": 0.1}},
        lambda t: {"params": t},
        lambda t: {"model": {"state_dict": t}, "args": ["a"]},
        lambda t: {f"module.{name}": value for name, value in t.items()},
        lambda t: {"state_dict": {f"module.{name}": value for name, value in t.items()}},
    ],
)
def test_wrappers_and_the_prefix_of_parallel_training_are_taken_off(
    save: Saver, wrap: Callable[[Tensors], Any], tmp_path: Path
) -> None:
    """Bare, wrapped, wrapped twice, from several GPUs: the same tensors."""
    path = tmp_path / "weights.pth"
    save(wrap(tensors()), path)
    assert_equal(tensors(), read_state_dict(path))


def test_a_network_with_a_part_called_module_keeps_its_names(tmp_path: Path) -> None:
    """The prefix is taken off only where all keys have it."""
    content = {"module.weight": torch.ones(2), "weight": torch.zeros(2)}
    save_new(content, tmp_path / "w.pth")
    assert_equal(content, read_state_dict(tmp_path / "w.pth"))


def test_a_note_under_the_name_of_a_wrapper_does_not_hide_the_tensors(tmp_path: Path) -> None:
    """A checkpoint may say which model it is of."""
    save_new({"model": "net-small", "params": tensors()}, tmp_path / "w.pth")
    assert_equal(tensors(), read_state_dict(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"state_dict": {}},
        [torch.ones(2)],
        torch.ones(2),
        {"epoch": 3},
        {"weight": torch.ones(2), "epoch": 3},
    ],
)
def test_a_file_without_tensors_by_name_is_refused(content: Any, tmp_path: Path) -> None:
    """The line names the wrappers that are known."""
    save_new(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w.pth: no state dict in it.*model_state_dict"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_take_the_precision_of_the_network(kind: torch.dtype, tmp_path: Path) -> None:
    """Half-precision files are widened, without changing what they hold."""
    save_new(tensors(kind), tmp_path / "w.pth")
    net = Net()
    load(net, read_state_dict(tmp_path / "w.pth"), tmp_path / "w.pth")
    assert_equal(
        {name: value.float() for name, value in tensors(kind).items()}, dict(net.state_dict())
    )


def test_tensors_are_copied() -> None:
    """The network does not share memory with what was read."""
    given, net = tensors(), Net()
    load(net, given, Path("w.pth"))
    given["head.weight"].zero_()
    assert torch.equal(net.head.weight, tensors()["head.weight"])


def test_parts_that_are_never_used_may_be_absent() -> None:
    """Only keys with a prefix that the method names; where they are there they are loaded."""
    without = {name: value for name, value in tensors().items() if not name.startswith("spare.")}
    load(Net(), without, Path("w.pth"), unused=("spare.",))
    with pytest.raises(WeightsError, match=r"2 missing \(spare.weight, spare.bias\)"):
        load(Net(), without, Path("w.pth"), unused=("other.",))
    net = Net()
    load(net, tensors(), Path("w.pth"), unused=("spare.",))
    assert torch.equal(net.spare.weight, tensors()["spare.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head.bias": None}, r"of 4 tensors 1 missing \(head.bias\)\."),
        ({"tail.bias": torch.ones(1)}, r"1 unknown \(tail.bias\)"),
        ({"head.bias": torch.ones(5)}, r"1 of wrong shape \(head.bias \(5,\) for \(2,\)\)"),
        ({"spare.bias": torch.ones(5)}, r"1 of wrong shape \(spare.bias"),
        (
            {"head.bias": None, "a": torch.ones(1), "spare.weight": torch.ones(2)},
            r"1 missing \(head.bias\); 1 unknown \(a\); 1 of wrong shape \(spare.weight",
        ),
        (
            dict.fromkeys(tensors()),
            r"4 missing \(head.weight, head.bias, spare.weight and 1 more\)",
        ),
    ],
)
def test_weights_of_another_network_are_refused_and_the_keys_named(
    change: dict[str, Any], words: str
) -> None:
    """Missing, unknown and misshapen keys are counted, the first of them named; none is loaded."""
    given = {name: value for name, value in (tensors() | change).items() if value is not None}
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match=r"^folder/w.pth: weights of another network than Net"):
        load(net, given, Path("folder/w.pth"))
    with pytest.raises(WeightsError, match=words) as raised:
        load(net, given, Path("folder/w.pth"))
    assert "\n" not in str(raised.value)
    assert_equal(before, dict(net.state_dict()))


@pytest.mark.parametrize(
    ("change", "cure"),
    [
        ({"head.bias": None}, "Fetch it again, or give a file made for this method"),
        ({"head.bias": torch.ones(5)}, "Fetch it again, or give a file made for this method"),
        ({"head.bias": None, "spare.bias": torch.ones(5)}, "Give a file made for this method"),
        ({"head.bias": None, "a": torch.ones(1)}, "Give a file made for this method"),
        ({"a": torch.ones(1)}, "Give a file made for this method"),
    ],
)
def test_a_damaged_file_is_fetched_again(change: dict[str, Any], cure: str) -> None:
    """One in which little is amiss and nothing unknown; the network has the name it was given."""
    given = {name: value for name, value in (tensors() | change).items() if value is not None}
    with pytest.raises(WeightsError) as raised:
        load(Net(), given, Path("w.pth"), name="our network")
    assert str(raised.value).startswith("w.pth: weights of another network than our network: of 4 ")
    assert str(raised.value).endswith(f"). {cure}")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """So is a folder."""
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(WeightsError, match="no such file"):
            read_state_dict(path)


def refused(path: Path, content: bytes) -> str:
    """Return the line with which a file is refused."""
    path.write_bytes(content)
    with pytest.raises(WeightsError) as raised:
        read_state_dict(path)
    text = str(raised.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def shortened(save: Saver, folder: Path) -> list[bytes]:
    """Return beginnings of a file, of many lengths."""
    save(tensors(), folder / "whole")
    content = (folder / "whole").read_bytes()
    return [content[:length] for length in range(0, len(content), len(content) // 60)]


@pytest.mark.parametrize("kind", ["zip", "safetensors"])
def test_a_truncated_file_is_refused(kind: str, tmp_path: Path) -> None:
    """Wherever a download ended: one line."""
    for content in shortened(SAVERS[kind], tmp_path):
        refused(tmp_path / "w.pth", content)


def test_a_truncated_file_of_old_torch_is_refused(tmp_path: Path) -> None:
    """Wherever a download ended: one line, also for pickles one after the other."""
    for content in shortened(save_old, tmp_path):
        refused(tmp_path / "w.pth", content)


OTHER_FILES = {
    "a page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "text": b"hello, this is no file of weights",
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "zeros": bytes(500),
    "empty": b"",
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_what_is_no_file_of_weights_is_refused(name: str, tmp_path: Path) -> None:
    """What the web serves instead of a file does not get a traceback."""
    refused(tmp_path / "w.pth", OTHER_FILES[name])


@pytest.mark.parametrize("name", OTHER_FILES)
def test_what_is_no_safetensors_file_is_refused(name: str, tmp_path: Path) -> None:
    """The same where the file is called after safetensors."""
    refused(tmp_path / "w.safetensors", OTHER_FILES[name])


@pytest.mark.parametrize("name", ["a page", "git-lfs pointer", "JPEG", "HDF5"])
def test_what_is_no_file_of_weights_is_not_called_dangerous(name: str, tmp_path: Path) -> None:
    """A page or a picture holds no code; the cure is to fetch the file again."""
    assert "could run code" not in refused(tmp_path / "w.pth", OTHER_FILES[name])


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [save_new, save_old, lambda c, p: p.write_bytes(pickle.dumps(c))])
@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"state_dict": tensors(), "note": e}])
def test_a_pickle_that_runs_code_is_refused_without_running_it(
    save: Saver, wrap: Callable[[Any], Any], tmp_path: Path
) -> None:
    """Neither zip, nor old file, nor bare pickle is ever executed."""
    path = tmp_path / "w.pth"
    save(wrap(Evil(tmp_path / "pwned")), path)
    refused(path, path.read_bytes())
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("save", [save_new, save_old])
def test_what_is_beside_the_weights_does_not_hide_them(save: Saver, tmp_path: Path) -> None:
    """Settings and numbers of whatever class, which are recorded and never made."""
    beside = {"args": Namespace(folder=Path("a")), "best": np.float64(0.5), "all": np.ones(2)}
    save({"state_dict": tensors(), **beside}, tmp_path / "w.pth")
    loaded = read_weights(tmp_path / "w.pth")
    assert_equal(tensors(), loaded.tensors)
    assert loaded.facts == {}


@pytest.mark.parametrize("save", [save_new, save_old])
def test_a_whole_network_is_as_good_as_its_weights(save: Saver, tmp_path: Path) -> None:
    """Also one that is wrapped."""
    net = Net()
    for content in (net, {"model": net}, {"state_dict": "none", "model": net}):
        save(content, tmp_path / "w.pth")
        assert_equal(dict(net.state_dict()), read_state_dict(tmp_path / "w.pth"))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"params": t, "args": Namespace()}])
def test_half_precision_is_read_as_it_is_stored(
    wrap: Callable[[Tensors], Any], kind: torch.dtype, tmp_path: Path
) -> None:
    """Whether torch reads the file or not."""
    save_new(wrap(tensors(kind)), tmp_path / "w.pth")
    assert_equal(tensors(kind), read_state_dict(tmp_path / "w.pth"))


def test_what_holds_no_weights_says_what_it_holds(tmp_path: Path) -> None:
    """The first of the names, on one line."""
    save_new({"args": Namespace(a=Path("a"))}, tmp_path / "w.pth")
    text = refused(tmp_path / "w.pth", (tmp_path / "w.pth").read_bytes())
    assert "no state dict in it" in text
    assert "it holds argparse.Namespace, pathlib.PosixPath" in text


def test_wrappers_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    """Each is opened once."""
    content: dict[str, Any] = {}
    content["model"] = content["state_dict"] = content
    save_new(content, tmp_path / "w.pth")
    assert "no state dict" in refused(tmp_path / "w.pth", (tmp_path / "w.pth").read_bytes())


def test_tensors_of_other_layouts_are_not_called_dangerous(tmp_path: Path) -> None:
    """Sparse ones are recorded, and the weights beside them read."""
    content = {"state_dict": tensors(), "mask": torch.eye(3).to_sparse()}
    save_new(content, tmp_path / "w.pth")
    assert_equal(tensors(), read_state_dict(tmp_path / "w.pth"))
