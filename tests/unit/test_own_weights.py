"""Our own files of weights: what is written is read, and equal content gives equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vemctl.errors import WeightsError
from vemctl.nn.own_weights import read_facts, write_weights
from vemctl.nn.state_dict import read_weights

FACTS: dict[str, Any] = {
    "method": "pssr",
    "network": {"blocks": [3, 4, 6, 3], "attention": True},
    "normalisation": {"mean": [0.1], "std": [0.3], "input": True, "target": False},
    "tile": {"input": 32, "target": 128},
    "provenance": {"note": "über"},
}


def tensors() -> dict[str, torch.Tensor]:
    """Return tensors that share memory, are transposed, empty, and of several types."""
    whole = torch.arange(12.0).reshape(3, 4)
    return {
        "whole": whole,
        "same": whole,
        "transposed": whole.t(),
        "row": whole[1],
        "half": whole.half(),
        "count": torch.tensor(3),
        "none": torch.zeros(0, 2),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Tensors and facts; nothing else stays in the folder."""
    path = tmp_path / "w.safetensors"
    path.write_text("old")
    write_weights(path, tensors(), FACTS)
    loaded = read_weights(path)
    assert loaded.facts == FACTS
    assert set(loaded.tensors) == set(tensors())
    for name, value in tensors().items():
        assert loaded.tensors[name].dtype == value.dtype
        assert torch.equal(loaded.tensors[name], value)
    assert list(tmp_path.iterdir()) == [path]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    """Whatever the order of names, and whether memory was shared."""
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_weights(one, tensors(), FACTS)
    copies = {name: value.clone() for name, value in reversed(tensors().items())}
    write_weights(other, copies, dict(reversed(FACTS.items())))
    assert one.read_bytes() == other.read_bytes()


def test_others_files_tell_nothing(tmp_path: Path) -> None:
    """Metadata of others are no facts."""
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert read_weights(tmp_path / "w.safetensors").facts == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[" * 10**5, "is no JSON"),
        ("[]", "of another format than 1"),
        ("{}", "of another format than 1"),
        ('{"format": 2}', "of another format than 1; update vemctl"),
    ],
)
def test_facts_that_cannot_be_read_are_refused(text: str, words: str, tmp_path: Path) -> None:
    """One line that says what to do."""
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"vemctl": text})
    with pytest.raises(WeightsError, match=words) as raised:
        read_weights(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A file is no folder; the old one stays where the new one fails."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_weights(tmp_path / "file" / "w.safetensors", tensors(), {})
    (tmp_path / "file").unlink()
    (tmp_path / "w.safetensors").write_text("old")
    with pytest.raises(ValueError, match="JSON"):
        write_weights(tmp_path / "w.safetensors", tensors(), {"rate": float("nan")})
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_facts_are_read_without_tensors(tmp_path: Path) -> None:
    """Of our own files; others, and damaged ones, tell nothing."""
    ours, others, damaged = (tmp_path / name for name in ("ours", "others", "damaged"))
    write_weights(ours, tensors(), FACTS)
    torch.save({"a": torch.zeros(1)}, others)
    damaged.write_bytes(ours.read_bytes()[:40])
    assert read_facts(ours) == FACTS
    assert read_facts(others) == read_facts(damaged) == {}
