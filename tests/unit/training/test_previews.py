"""Previews: one PNG, panels on one contrast; TensorBoard shows them where it is installed."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vemctl import durable
from vemctl.errors import MethodError, OutputError
from vemctl.events import Noted
from vemctl.training.previews import BACKGROUND, GAP, MARGIN, write_preview
from vemctl.training.tensorboard import open_tensorboard

EDGE = 256


def ramp(low: float, high: float, edge: int = EDGE) -> np.ndarray:
    """Return an image whose rows go from one value to another."""
    return np.repeat(np.linspace(low, high, edge)[:, None], edge, 1)


def panels_of(path: Path, count: int, height: int = EDGE, width: int = EDGE) -> list[np.ndarray]:
    """Return the panels of a preview, without captions, gap and margin."""
    with Image.open(path) as image:
        assert image.mode == "L"
        pixels = np.asarray(image)
    assert pixels.shape[1] == 2 * MARGIN + count * width + (count - 1) * GAP
    top = 2 * MARGIN + 13
    starts = [MARGIN + i * (width + GAP) for i in range(count)]
    return [pixels[top : top + height, x : x + width] for x in starts]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a preview goes, in a folder that is not there yet."""
    return tmp_path / "previews" / "step-00000001.png"


def test_all_panels_have_the_contrast_of_the_target(path: Path) -> None:
    """A value has one gray wherever it stands; what is beyond is cut off."""
    target = ramp(100, 200)
    panels = {"input": target + 50, "output": target, "target": target}
    write_preview(path, panels, ["step 1"])
    shifted, output, shown = panels_of(path, 3)
    assert np.array_equal(output, shown)
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.all(np.diff(shown[:, 0].astype(int)) >= 0)
    assert abs(int(shifted[0, 0]) - 128) < 4
    assert shifted[-1, 0] == 255


def test_a_few_hot_pixels_do_not_change_the_contrast(path: Path) -> None:
    """Percentiles decide, not the extremes."""
    target = ramp(0, 1)
    write_preview(path, {"target": target})
    (before,) = panels_of(path, 1)
    target[0, :20] = 1e9
    write_preview(path, {"target": target})
    (after,) = panels_of(path, 1)
    assert np.abs(after[1:].astype(int) - before[1:]).max() <= 2


def test_without_a_target_the_input_decides(path: Path) -> None:
    """And without an input, the first panel."""
    write_preview(path, {"output": ramp(0, 1), "input": ramp(0, 10)})
    output, shown = panels_of(path, 2)
    assert shown.max() == 255
    assert output.max() < 30
    write_preview(path, {"xz": ramp(0, 10), "xy": ramp(0, 1)})
    first, second = panels_of(path, 2)
    assert first.max() == 255
    assert second.max() < 30


def test_smaller_panels_grow_by_whole_pixels(path: Path) -> None:
    """A network that enlarges has its input beside its output at the same size."""
    small = np.arange(64 * 64).reshape(64, 64) % 7
    large = np.repeat(np.repeat(small, 4, 0), 4, 1)
    write_preview(path, {"input": small, "target": large})
    grown, shown = panels_of(path, 2)
    assert np.array_equal(grown, shown)


def test_other_proportions_are_kept(path: Path) -> None:
    """A flat section stands in the middle of its place."""
    write_preview(path, {"xz": np.ones((64, 256)), "target": ramp(0, 1)})
    flat, _ = panels_of(path, 2)
    assert (flat[96:160] == 255).all()
    assert (flat[:96] == BACKGROUND).all()
    assert (flat[160:] == BACKGROUND).all()


def test_tiny_panels_are_shown_larger(path: Path) -> None:
    """So that there is something to see, and room for captions."""
    write_preview(path, {"input": np.eye(16)})
    (shown,) = panels_of(path, 1)
    assert np.array_equal(shown, np.kron(np.eye(16), np.full((16, 16), 255)))


@pytest.mark.parametrize(
    "values",
    [
        np.full((EDGE, EDGE), np.nan),
        np.full((EDGE, EDGE), np.inf),
        np.zeros((EDGE, EDGE), np.uint8),
        np.full((EDGE, EDGE), 7.0, np.float16),
        np.eye(EDGE, dtype=bool),
        np.where(np.eye(EDGE, dtype=bool), np.nan, ramp(0, 1)),
        ramp(0, 60_000).astype(np.uint16),
    ],
)
def test_any_values_can_be_shown(path: Path, values: np.ndarray) -> None:
    """NaN, infinity and constant images are images too, of any type."""
    write_preview(path, {"input": ramp(0, 1), "target": values})
    assert len(panels_of(path, 2)) == 2


def test_nan_is_black(path: Path) -> None:
    """And does not reach into the contrast."""
    values = ramp(1, 2)
    values[:, :10] = np.nan
    write_preview(path, {"target": values})
    (shown,) = panels_of(path, 1)
    assert (shown[:, :10] == 0).all()
    assert shown[-1, 20] == 255


def test_captions_stay_in_their_place(path: Path) -> None:
    """A long name is cut rather than written over its neighbour; texts stand below."""
    write_preview(path, {"x" * 200: ramp(0, 1), "": ramp(0, 1)}, ["psnr 30" * 100])
    with Image.open(path) as image:
        pixels = np.asarray(image)
    top = 2 * MARGIN + 13
    assert (pixels[:top, :EDGE] != BACKGROUND).any()
    assert (pixels[:top, MARGIN + EDGE :] == BACKGROUND).all()
    assert (pixels[top + EDGE :] != BACKGROUND).any()
    assert (pixels[:, -MARGIN:] == BACKGROUND).all()


def test_equal_panels_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    """There is no time in the file, and nothing else is left beside it."""
    for name in ("a.png", "b.png"):
        write_preview(path.parent / name, {"input": ramp(0, 1)}, ["step 1"])
    first, second = sorted(path.parent.iterdir())
    assert first.read_bytes() == second.read_bytes()


def test_without_panels_there_is_no_file(path: Path) -> None:
    """A method need not show anything."""
    write_preview(path, {})
    assert not path.exists()


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4), (0, 4), ()])
def test_what_is_no_image_is_the_plugins_error(path: Path, shape: tuple[int, ...]) -> None:
    """The panel is named."""
    with pytest.raises(MethodError, match=r"panel 'out' .*expected \(y, x\)"):
        write_preview(path, {"out": np.zeros(shape)})


def test_a_full_disk_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with every output; the preview before stays whole."""
    write_preview(path, {"input": ramp(0, 1)})
    before = path.read_bytes()

    def fail(each: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(each))

    monkeypatch.setattr(durable, "sync_file", fail)
    with pytest.raises(OutputError, match="disk full") as raised:
        write_preview(path, {"input": ramp(1, 0)})
    assert "\n" not in str(raised.value)
    assert [each.read_bytes() for each in path.parent.iterdir()] == [before]


class Writer:
    """Stands in for TensorBoard's own."""

    error: OSError | None = None

    def __init__(self, folder: str, purge_step: int | None) -> None:
        self.told: list[Any] = [(folder, purge_step)]
        Writer.last = self

    def add_scalar(self, *what: Any) -> None:
        if self.error:
            raise self.error
        self.told.append(what)

    def add_image(self, name: str, pixels: np.ndarray, step: int, dataformats: str) -> None:
        self.told.append((name, pixels.ndim, step, dataformats))

    def flush(self) -> None:
        self.told.append("flush")

    def close(self) -> None:
        self.told.append("close")


@pytest.fixture
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    """Make TensorBoard look installed."""
    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Writer, "error", None)
    return Writer


def test_without_tensorboard_one_note_tells_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written, and nothing fails."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    told: list[Any] = []
    board = open_tensorboard(tmp_path, 0, told.append)
    board.scalars(1, {"l1": 0.5})
    board.preview(1, tmp_path / "none.png")
    board.close()
    (note,) = told
    assert isinstance(note, Noted)
    assert "pip install 'vemctl[tensorboard]'" in note.text
    assert note.level == "info"
    assert not list(tmp_path.iterdir())


def test_curves_and_previews_reach_tensorboard(
    tmp_path: Path, path: Path, tensorboard: type[Writer]
) -> None:
    """Under their names; a run that goes on hides what came after its checkpoint."""
    write_preview(path, {"input": ramp(0, 1)})
    board = open_tensorboard(tmp_path, 20, lambda event: None)
    board.scalars(21, {"l1": 0.5, "psnr": 30.0})
    board.preview(21, path)
    board.preview(22, tmp_path / "none.png")
    board.close()
    assert tensorboard.last.told == [
        (str(tmp_path / "tensorboard"), 21),
        ("l1", 0.5, 21),
        ("psnr", 30.0, 21),
        "flush",
        ("preview", 2, 21, "HW"),
        "close",
    ]


def test_a_full_disk_ends_tensorboard_alone(tmp_path: Path, tensorboard: type[Writer]) -> None:
    """One warning, and the training goes on."""
    told: list[Any] = []
    board = open_tensorboard(tmp_path, 0, told.append)
    tensorboard.error = OSError(errno.ENOSPC, "No space left on device")
    for step in range(3):
        board.scalars(step, {"l1": 0.5})
    board.close()
    assert [note.level for note in told] == ["warning"]
    assert "No space left" in told[0].text


def test_real_tensorboard_takes_what_we_write(tmp_path: Path, path: Path) -> None:
    """Where the extra is installed."""
    pytest.importorskip("torch.utils.tensorboard")
    write_preview(path, {"input": ramp(0, 1)})
    board = open_tensorboard(tmp_path, 3, lambda event: None)
    board.scalars(4, {"l1": 0.5})
    board.preview(4, path)
    board.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"preview" in events.read_bytes()


def test_panels_of_another_kind_have_a_contrast_of_their_own(path: Path) -> None:
    """Each is shown on the scale of the panel that it is said to be like."""
    panels = {"LM": ramp(0, 1), "EM": ramp(100, 200), "virtual EM": ramp(100, 200) + 50}
    write_preview(path, panels, scaled_as={"LM": "LM", "EM": "EM", "virtual EM": "EM"})
    lm, em, virtual = panels_of(path, 3)
    assert np.array_equal(lm, em)
    assert abs(int(virtual[0, 0]) - 128) < 4
