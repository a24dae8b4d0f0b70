"""Windows of slices through the network in one orientation, averaged where they overlap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_vsisr.directions import Direction, Span, mean_of_planes
from vemctl_vsisr.proportions import COUNTS
from vemctl_vsisr.rotating import Rotation


class Recorded:
    """A network whose results are known; it is given planes that hold their own number."""

    def __init__(self, outputs: torch.Tensor, first: int = 3) -> None:
        self.outputs = outputs
        self.first = first
        self.calls: list[list[list[int]]] = []

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        numbers = [[int(plane[0, 0]) for plane in window] for window in windows]
        self.calls.append(numbers)
        return torch.stack([self.outputs[window[3] - self.first] for window in numbers])


STILL = Rotation((4, 4), 0, reshape=True, device="cpu")


def numbered(count: int) -> dict[int, torch.Tensor]:
    """Return planes that hold their own number."""
    return {z: torch.full((4, 4), float(z)) for z in range(count)}


def scaled(outputs: torch.Tensor) -> torch.Tensor:
    """Return outputs that scaling to [0, 1] leaves alone but for its epsilon."""
    outputs = outputs.clone()
    outputs[:, 0, 0, 0], outputs[:, 0, 0, 1] = 0.0, 1.0
    return outputs


def test_a_volume_is_averaged_as_published():
    """To one count of the 16 bits to which it is cut."""
    _, arrays, _ = load_fixture("vsisr_average")
    outputs = torch.from_numpy(arrays["normalized"])
    span = Span(3, 2 + len(outputs), len(outputs) + 6)
    made = Direction(Recorded(outputs), STILL, span, 1).slices(
        numbered(len(outputs) + 6), range(3, 3 + len(outputs))
    )
    expected = np.floor(COUNTS * arrays["output"])
    np.testing.assert_allclose(torch.stack(list(made)).numpy(), expected, rtol=0, atol=1)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_pieces_give_what_the_whole_gives(batch: int):
    """Whatever the batch, and whether or not the last windows are remembered."""
    outputs = scaled(torch.rand(9, 3, 6, 6))
    span = Span(3, 11, 15)
    whole = list(Direction(Recorded(outputs), STILL, span, 1).slices(numbered(15), range(3, 12)))
    direction = Direction(Recorded(outputs), STILL, span, batch)
    pieces = list(direction.slices(numbered(15), range(3, 7)))
    pieces += direction.slices(numbered(15), range(7, 9))
    direction.forget()
    pieces += direction.slices(numbered(15), range(9, 12))
    assert all(torch.equal(a, b) for a, b in zip(whole, pieces, strict=True))


def test_no_window_is_computed_twice_in_a_row():
    """A stream of tiles calls the network once for each window."""
    network = Recorded(scaled(torch.rand(9, 3, 6, 6)))
    direction = Direction(network, STILL, Span(3, 11, 15), 1)
    for start in (3, 6, 9):
        list(direction.slices(numbered(15), range(start, start + 3)))
    assert [call[0][3] for call in network.calls] == list(range(3, 12))


def test_each_slice_is_rotated_once():
    """Overlapping windows share their rotated slices."""
    turned = []

    class Turning:
        def __call__(self, planes: torch.Tensor) -> torch.Tensor:
            turned.extend(int(plane[0, 0]) for plane in planes)
            return planes

    direction = Direction(Recorded(scaled(torch.rand(9, 3, 6, 6))), Turning(), Span(3, 11, 15), 1)
    list(direction.slices(numbered(15), range(3, 12)))
    assert turned == list(range(15))


def test_the_ends_are_mirrored_where_none_are_lost():
    """The first window sees the slices behind it twice, and none beyond the volume."""
    network = Recorded(scaled(torch.rand(5, 3, 6, 6)), first=0)
    list(Direction(network, STILL, Span(0, 4, 5), 1).slices(numbered(5), range(5)))
    assert network.calls[0] == [[3, 2, 1, 0, 1, 2, 3]]
    assert network.calls[-1] == [[1, 2, 3, 4, 3, 2, 1]]


def test_a_volume_of_one_slice_is_its_own_neighbour():
    """The mirror image of one slice is that slice."""
    assert [Span(0, 0, 1).mirrored(z) for z in range(-3, 4)] == [0] * 7
    assert [Span(0, 1, 2).mirrored(z) for z in range(-3, 5)] == [1, 0, 1, 0, 1, 0, 1, 0]


def test_a_mean_is_added_in_its_order():
    """In single precision the order shows, and it is that of the arguments."""
    planes = [torch.tensor([[value]]) for value in (1e8, -1e8, 1.0)]
    assert mean_of_planes(planes).item() == pytest.approx(1 / 3)
    assert mean_of_planes([planes[2], planes[0], planes[1]]).item() == 0.0
