"""How tiles are brought to the size of a network, against the published program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_pssr.resize import averaged, fastai_resize, target_size

TOLERANCE = 2e-6
SIZES = [16, 64, 32, 16, 20, 32, 25]


@pytest.mark.parametrize("case", range(7))
def test_tiles_are_the_published_ones(case: int) -> None:
    """Smaller, larger, unchanged, and not square, of one channel or several."""
    spec, arrays, _ = load_fixture("pssr_fastai_resize")
    assert [each["size"] for each in spec["params"]] == SIZES
    images = torch.from_numpy(arrays[f"input_{case}"])[None]
    found = fastai_resize(images, SIZES[case])[0].numpy()
    np.testing.assert_allclose(found, arrays[f"output_{case}"], rtol=0, atol=TOLERANCE)


def test_a_batch_is_its_images() -> None:
    """Each is resized as if it were alone."""
    images = torch.rand(3, 2, 50, 70, generator=torch.Generator().manual_seed(0))
    found = fastai_resize(images, 21)
    assert found.shape == (3, 2, 21, 21)
    for number in range(3):
        torch.testing.assert_close(found[number], fastai_resize(images[number, None], 21)[0])


def test_a_tile_of_the_right_size_is_not_touched() -> None:
    """It is the same memory; of a longer one the middle is cut out."""
    images = torch.rand(1, 1, 16, 25, generator=torch.Generator().manual_seed(0))
    assert fastai_resize(images[..., :16], 16).data_ptr() == images.data_ptr()
    # int((25 - 16 + 1) / 2) = 5, where the exact middle would be 4.5
    assert torch.equal(fastai_resize(images, 16), images[..., 5:21])


def test_sizes_are_rounded_half_to_even() -> None:
    """As Python does; the shorter edge becomes the size."""
    assert target_size(32, 45, 16) == (16, 22)
    assert target_size(47, 32, 16) == (24, 16)
    assert target_size(20, 20, 32) == (32, 32)


def test_corners_keep_their_values() -> None:
    """For coordinates are those of the centres of the corner pixels."""
    images = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    found = fastai_resize(images, 33)
    for row in (0, -1):
        for column in (0, -1):
            torch.testing.assert_close(found[..., row, column], images[..., row, column])


def test_averages_are_taken_of_what_is_much_larger_only() -> None:
    """More than twice, in the part that is looked at; then to twice the size."""
    images = torch.rand(1, 1, 60, 60, generator=torch.Generator().manual_seed(0))
    assert averaged(images, (30, 30)) is images
    assert averaged(images, (10, 10)).shape == (1, 1, 20, 20)
    torch.testing.assert_close(averaged(images, (10, 10)).mean(), images.mean())
    # three times larger: the whole, 1.5 times larger: what is looked at
    assert averaged(images, (10, 10), extent=0.6) is images
    assert averaged(images, (10, 10), extent=0.7).shape == (1, 1, 20, 20)
