"""Windows of the input and of the truth, against the published program and by construction."""

from __future__ import annotations

import numpy as np
import pytest
from parity import load_fixture
from vemctl_vsisr.foreground import ForegroundSearch
from vemctl_vsisr.patch_places import PatchPlaces, Window, middle_patch, pair_of, whole_cell


def cropped(volume: np.ndarray, window: Window) -> np.ndarray:
    """Return what is in a window."""
    return volume[tuple(slice(c, c + n) for c, n in zip(window.corner, window.size, strict=True))]


def test_windows_are_the_published_ones() -> None:
    """Around candidates by their numbers, in all three axes."""
    spec, arrays, _ = load_fixture("vsisr_prepare")
    told = spec["params"]
    seen, truth = (
        (arrays[name].astype(np.float32) / np.float32(65535)).transpose(2, 0, 1)
        for name in ("lr", "gt")
    )
    places = PatchPlaces((told["Nz"], told["Ny"], told["Nx"]))
    limits = float(truth.min()), float(truth.max())
    found = ForegroundSearch(lambda z: truth[z], truth.shape, limits, places.margins).find(0.05)
    for number, fraction in enumerate(told["fractions"]):
        z, y, x = place = found.place(int(len(found) * fraction))
        assert (y + 1, x + 1, z + 1) == tuple(arrays["points"][number])
        given, true = places.input(place), places.truth(place)
        bounds = []
        for window, axes in ((given, (1, 2, 0)), (true, (1, 2))):
            for axis in axes:
                first = window.corner[axis] + 1
                bounds += [first, first + window.size[axis] - 1]
        np.testing.assert_array_equal(bounds, arrays["bounds"][number])
        if fraction == 0:
            for name, volume, window in (("lr", seen, given), ("gt", truth, true)):
                np.testing.assert_array_equal(
                    cropped(volume, window), arrays[f"{name}_patch0"].transpose(2, 0, 1)
                )


def test_a_pair_has_the_slices_about_its_middle() -> None:
    """Seven of the input and three of the truth, both about the slice of the voxel."""
    seen, truth = pair_of(PatchPlaces(), (10, 100, 120))
    assert (seen.corner[0], seen.size) == (7, (7, 64, 64))
    assert (truth.corner[0], truth.size) == (9, (3, 96, 96))
    assert truth.corner[1:] == (100 - 47, 120 - 47)
    with pytest.raises(ValueError, match="windows of 4 slices"):
        pair_of(PatchPlaces((4, 8, 8)), (3, 20, 20))


@pytest.mark.parametrize("length", range(40, 46))
@pytest.mark.parametrize("beyond", [-2, 0, 2])
def test_the_input_has_all_that_a_candidate_needs(length: int, beyond: int) -> None:
    """Though the truth may be a little longer than its input is."""
    places = PatchPlaces((8, 16, 20))
    truth_length = length * 3 // 2 + beyond
    for axis in (1, 2):
        margin = places.margins[axis]
        end = min(truth_length - margin, places.last_middle(length, axis))
        starts = []
        for middle in range(margin, end):
            place = [10, 50, 50]
            place[axis] = middle
            window = places.input(tuple(place))
            starts.append(window.corner[axis])
        assert min(starts) >= 0
        assert max(starts) + places.size[axis] <= length
        # It is no stricter than it must be.
        if end == places.last_middle(length, axis):
            place = [10, 50, 50]
            place[axis] = end
            assert places.input(tuple(place)).corner[axis] + places.size[axis] == length + 1


@pytest.mark.parametrize("given", [(40, 41), (42, 43), (512, 700), (44, 46)])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_whole_cells_lose_their_border(given: tuple[int, int], beyond: int) -> None:
    """As published, but for a row that the truth would have too many."""
    truth = tuple(int(1.5 * n) + beyond for n in given)
    seen, true = whole_cell(given, truth)
    for axis in (1, 2):
        length, truth_length = given[axis - 1], truth[axis - 1]
        size = seen.size[axis]
        assert size == (length - 4 if length % 2 == 0 else length - 5)
        assert true.size[axis] == size * 3 // 2
        middle = (truth_length + 1) // 2  # halves up, counted from 1
        assert true.corner[axis] == middle - int(np.floor(0.75 * size + 0.5))
        assert seen.corner[axis] == int(np.floor(middle / 1.5 + 0.5)) - size // 2
        assert 0 <= seen.corner[axis] <= length - size
        assert 0 <= true.corner[axis] <= truth_length - true.size[axis]
        # They show the same: their middles are less than a pixel apart.
        shift = (true.corner[axis] + true.size[axis] / 2) / 1.5 - seen.corner[axis] - size / 2
        assert abs(shift) < 1


@pytest.mark.parametrize(
    ("given", "edge"), [((20, 400, 300), 256), ((7, 65, 26), 20), ((12, 263, 264), 256)]
)
def test_a_square_in_the_middle_is_looked_at(given: tuple[int, int, int], edge: int) -> None:
    """Of 256 pixels, or of a multiple of 4 that fits."""
    truth = (given[0], *(int(1.5 * n) for n in given[1:]))
    seen, true = middle_patch(given, truth)
    assert seen.size == (7, edge, edge)
    assert true.size == (3, edge * 3 // 2, edge * 3 // 2)
    assert seen.corner[0] == (given[0] - 7) // 2 == true.corner[0] - 2
    for axis in (1, 2):
        assert abs(seen.corner[axis] + edge / 2 - given[axis] / 2) <= 1.5
        assert 0 <= seen.corner[axis] <= given[axis] - edge
        assert 0 <= true.corner[axis] <= truth[axis] - true.size[axis]
