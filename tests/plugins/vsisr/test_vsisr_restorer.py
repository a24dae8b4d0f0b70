"""Tiles to super-resolved cores: whatever the tiles, what the whole volume gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from e2e.vsisr_files import blobs, tops
from parity import load_fixture
from vemctl_vsisr.directions import Direction
from vemctl_vsisr.intensities import profiles_of
from vemctl_vsisr.predict_options import PredictOptions
from vsisr_restorers import facts_of, restored, restorer_of

DEEP = (17, 22, 18)
MEASURED = """
import sys
from pathlib import Path

import numpy as np
import torch

sys.path[:0] = {path!r}
from e2e.vsisr_files import blobs
from vsisr_restorers import restored, restorer_of

def most():
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

torch.set_num_threads(1)
small = blobs((9, 12, 14))
restored(restorer_of(Path("."), [small], batch={batch}), small, 3, 3)
volume = blobs({shape})
before = most()
restorer = restorer_of(Path("."), [volume], batch={batch})
restored(restorer, volume, 3, len(volume) - 6)
print(most() - before, restorer.memory(volume.shape, 1))
"""


def test_single_directions_are_those_of_the_published_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published network's three stacks, still rotated, to one count of 16 bits."""
    _, arrays, state = load_fixture("vsisr_rotation")
    torch.save(state, tmp_path / "full.pth")
    seen: list[list[np.ndarray]] = []
    slices = Direction.slices

    def remembered(*args):
        mine: list[np.ndarray] = []
        seen.append(mine)
        for plane in slices(*args):
            mine.append(plane.numpy())
            yield plane

    monkeypatch.setattr(Direction, "slices", remembered)
    volume = arrays["volume"]
    restored(restorer_of(tmp_path, [volume], weights=tmp_path / "full.pth"), volume, 3, 5)
    for angle, stack in zip((0, 60, 120), seen, strict=True):
        np.testing.assert_allclose(np.stack(stack), arrays[f"sr{angle}"], rtol=0, atol=1)


@pytest.mark.parametrize("cuts", [(11,), (4, 4, 3), (1, 10), (7, 2, 2)])
def test_tiles_give_what_the_whole_gives(cuts: tuple[int, ...], tmp_path: Path) -> None:
    """To the last bit; in their order, or backwards when nothing is remembered."""
    volume = blobs(DEEP)
    whole = restored(restorer_of(tmp_path, [volume]), volume, 3, 11)
    assert whole.shape == (11, 33, 27)
    assert whole.dtype == torch.float32
    starts = [3 + sum(cuts[:n]) for n in range(len(cuts))]
    restorer = restorer_of(tmp_path, [volume])
    places = list(zip(starts, cuts, strict=True))
    for order in (places, places[::-1]):
        pieces = {start: restored(restorer, volume, start, core) for start, core in order}
        assert torch.equal(torch.cat([pieces[start] for start in starts]), whole)


def test_tiles_that_overlap_are_not_computed_again(tmp_path: Path) -> None:
    """The last core is shifted back to end with the volume: its windows are still there."""
    volume = blobs(DEEP)
    restorer = restorer_of(tmp_path, [volume])
    assert restorer.footprint.tile[0] == 4 + 8
    calls = []
    network = restorer._directions[0]._network

    def counted(windows: torch.Tensor) -> torch.Tensor:
        calls.append(len(windows))
        return network(windows)

    for direction in restorer._directions:
        direction._network = counted
    pieces = [restored(restorer, volume, start, 4) for start in (3, 7, 10)]
    assert sum(calls) == 3 * 11
    assert torch.equal(pieces[1][3], pieces[2][0])


def test_series_are_not_mixed_up(tmp_path: Path) -> None:
    """Each is restored as if it were alone, by its own range and profile, in any order."""
    volumes = [blobs(DEEP, seed=n) // (n + 1) for n in range(2)]
    options = PredictOptions(otf=(tmp_path / "optics",), time_range="timepoint")
    alone = [restored(restorer_of(tmp_path, [v], options), v, 3, 11) for v in volumes]
    restorer = restorer_of(tmp_path, volumes, options)
    for start, core in ((3, 5), (8, 6)):
        for series in (1, 0):
            made = restored(restorer, volumes[series], start, core, series)
            assert torch.equal(made, alone[series][start - 3 : start - 3 + core])


def test_slices_are_as_bright_as_the_profile_says(tmp_path: Path) -> None:
    """By the mean above the percentile; without a profile, as they come."""
    volumes = [blobs(DEEP), blobs(DEEP, seed=2) // 3]
    options = PredictOptions(otf=(tmp_path / "optics",))
    restorer = restorer_of(tmp_path, volumes, options)
    profiles = profiles_of(facts_of(volumes, options), options, restorer._limits, 3, common=True)
    for series, volume in enumerate(volumes):
        made = restored(restorer, volume, 3, 11, series).numpy()
        np.testing.assert_allclose(tops(made), profiles[series], rtol=1e-5)
    assert profiles[1].max() < 0.5
    left = PredictOptions(otf=(tmp_path / "optics",), adjust_intensity=False)
    plain = restored(restorer_of(tmp_path, volumes, left), volumes[0], 3, 11).numpy()
    made = restored(restorer, volumes[0], 3, 11).numpy()
    for before, after in zip(plain, made, strict=True):
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 1 - 1e-6


def test_planes_may_lie_the_other_way(tmp_path: Path) -> None:
    """Super-resolved along y, a volume gives its transposed one's result, transposed."""
    volume = blobs(DEEP)
    lying = np.ascontiguousarray(volume.transpose(0, 2, 1))
    options = PredictOptions(otf=(tmp_path / "optics",), sr_axis="y")
    made = restored(restorer_of(tmp_path, [lying], options), lying, 3, 11)
    assert made.shape == (11, 27, 33)
    assert torch.equal(
        made.transpose(1, 2), restored(restorer_of(tmp_path, [volume]), volume, 3, 11)
    )


def test_the_ends_are_restored_from_mirrored_windows(tmp_path: Path) -> None:
    """As a volume is that is continued so before."""
    volume = blobs((9, *DEEP[1:]))
    longer = np.concatenate([volume[3:0:-1], volume, volume[-2:-5:-1]])
    left = {"otf": (tmp_path / "optics",), "adjust_intensity": False}
    mirrored = PredictOptions(**left, z_ends="mirror")
    made = restored(restorer_of(tmp_path, [volume], mirrored), volume, 0, 9)
    expected = restored(restorer_of(tmp_path, [longer], PredictOptions(**left)), longer, 3, 9)
    assert torch.equal(made, expected)


@pytest.mark.parametrize("adjust", [True, False])
def test_what_has_no_range_becomes_zero(adjust: bool, tmp_path: Path) -> None:
    """Whatever the network makes of its borders; the other time point is not touched."""
    volumes = [np.full(DEEP, 40, np.uint16), blobs(DEEP)]
    options = PredictOptions(otf=(tmp_path / "optics",), adjust_intensity=adjust)
    restorer = restorer_of(tmp_path, volumes, options)
    assert not restored(restorer, volumes[0], 3, 11, 0).any()
    assert restored(restorer, volumes[1], 3, 11, 1).mean() > 0


def test_batches_differ_by_rounding_alone(tmp_path: Path) -> None:
    """And whatever came before, a batched tile has the same bits."""
    volume = blobs(DEEP)
    whole = restored(restorer_of(tmp_path, [volume]), volume, 3, 11)
    batched = restorer_of(tmp_path, [volume], batch=3)
    first = restored(batched, volume, 8, 6)
    np.testing.assert_allclose(first, whole[5:], rtol=0, atol=2e-4 * float(whole.max()))
    restored(batched, volume, 3, 5)
    assert torch.equal(restored(batched, volume, 8, 6), first)


def test_memory_grows_with_everything(tmp_path: Path) -> None:
    """Tiles, planes, windows at once, microscopes."""
    volume, larger = blobs(DEEP), blobs((17, 44, 36))
    restorer = restorer_of(tmp_path, [volume])
    one = restorer.memory((12, 22, 18), 1)
    assert one < restorer.memory((17, 22, 18), 1)
    assert one < restorer_of(tmp_path, [volume], batch=4).memory((12, 22, 18), 1)
    assert one < restorer_of(tmp_path, [larger]).memory((12, 44, 36), 1)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "batch"), [((8, 140, 150), 1), ((9, 90, 100), 3)])
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="asks Linux for the most")
def test_no_more_is_taken_than_told(
    shape: tuple[int, int, int], batch: int, alone: Callable[[str], str]
) -> None:
    """By a process of its own; what is told is not far from what is taken either."""
    here = Path(__file__).parent
    code = MEASURED.format(path=[str(here), str(here.parent.parent)], shape=shape, batch=batch)
    taken, told = map(int, alone(code).split())
    assert taken <= told < 2.5 * taken + 64 * 2**20
