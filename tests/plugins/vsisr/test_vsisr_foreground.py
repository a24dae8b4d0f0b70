"""Where pairs are cut from, against the published program and by construction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from parity import load_fixture
from vemctl_vsisr.foreground import (
    ENOUGH,
    Candidates,
    ForegroundSearch,
    blur_difference,
    lowered,
)
from vemctl_vsisr.patch_places import PatchPlaces


@pytest.fixture(scope="module")
def published() -> tuple[dict, dict[str, np.ndarray], np.ndarray]:
    """Return parameters and arrays of the fixture, and its truth as (z, y, x)."""
    spec, arrays, _ = load_fixture("vsisr_prepare")
    truth = (arrays["gt"].astype(np.float32) / np.float32(65535)).astype(np.float64)
    return spec["params"], arrays, truth.transpose(2, 0, 1)


def search(
    truth: np.ndarray, margins: Sequence[int] = (0, 0, 0), allowed: tuple[int, int] | None = None
) -> ForegroundSearch:
    """Return a search in an array."""
    limits = float(truth.min()), float(truth.max())
    return ForegroundSearch(lambda z: truth[z], truth.shape, limits, tuple(margins), allowed)


def whole_mask(found: Candidates) -> np.ndarray:
    """Return the mask of all slices."""
    return np.stack([found.mask(z) for z in range(found.shape[0])])


def literal(
    truth: np.ndarray, margins: Sequence[int], threshold: float
) -> tuple[np.ndarray, float]:
    """Do what the published program does, with the whole volume in memory."""
    stretched = (truth - truth.min()) / (truth.max() - truth.min())
    sums = truth.sum(axis=(0, 2), dtype=np.float64)
    lit = np.flatnonzero(sums > truth.max() * 1e-3)

    def cleared(mask: np.ndarray) -> np.ndarray:
        mask = mask.copy()
        mask[:, : lit[0] + 1] = False
        mask[:, lit[-1] :] = False
        for axis, margin in enumerate(margins):
            moved = np.moveaxis(mask, axis, 0)
            moved[:margin] = False
            moved[len(moved) - margin :] = False
        return mask

    mask = cleared(np.stack([blur_difference(plane) >= threshold for plane in stretched]))
    differences = np.stack([blur_difference(plane) for plane in truth])
    for _ in range(1000):
        if mask.sum() >= 1000:
            break
        threshold *= 0.8
        mask = cleared(differences >= threshold)
    return mask, threshold


def spots(peaks: Sequence[float], shape: tuple[int, int, int] = (6, 60, 70)) -> np.ndarray:
    """Return a dark volume with a blob of each height, slice after slice."""
    volume = np.zeros(shape)
    y, x = np.ogrid[: shape[1], : shape[2]]
    for number, peak in enumerate(peaks):
        blob = np.exp(-((y - 25 - number) ** 2 + (x - 30 - 2 * number) ** 2) / 60)
        volume[number % shape[0]] += peak * blob
    return volume


def test_blurs_are_the_published_ones(published) -> None:
    """Of even kernels, whose middle is before the middle, with a border that is repeated."""
    _, arrays, truth = published
    stretched = (truth[0] - truth.min()) / (truth.max() - truth.min())
    expected = arrays["fd0"] - arrays["bg0"]
    np.testing.assert_allclose(blur_difference(stretched), expected, rtol=0, atol=1e-12)


def test_candidates_are_the_published_ones(published) -> None:
    """Every voxel of the mask, before and after borders are cleared."""
    told, arrays, truth = published
    margins = PatchPlaces((told["Nz"], told["Ny"], told["Nx"])).margins
    found = search(truth, margins).find(told["threshold_start"])
    np.testing.assert_array_equal(whole_mask(found), arrays["mask"].transpose(2, 0, 1))
    assert (len(found), found.threshold) == (told["candidates"], told["threshold_used"])
    stretched = (truth - truth.min()) / (truth.max() - truth.min())
    raw = np.stack([blur_difference(plane) >= told["threshold_start"] for plane in stretched])
    np.testing.assert_array_equal(raw, arrays["raw_mask"].transpose(2, 0, 1))


def test_candidates_are_numbered_by_column() -> None:
    """The last axis of a slice is gone through slowest, then slices; each number is a voxel."""
    mask = np.random.default_rng(0).random((5, 7, 9)) < 0.3
    mask[2] = False
    packed = [np.packbits(plane.T) if plane.any() else np.zeros(0, np.uint8) for plane in mask]
    found = Candidates(mask.shape, 0.1, packed, mask.sum(axis=(1, 2)))
    numbered = np.flatnonzero(mask.transpose(1, 2, 0).ravel(order="F"))
    y, x, z = np.unravel_index(numbered, (7, 9, 5), order="F")
    assert [found.place(n) for n in range(len(found))] == list(zip(z, y, x, strict=True))
    np.testing.assert_array_equal(whole_mask(found), mask)


@pytest.mark.parametrize("dim", [0.3, 0.02, 0.003])
def test_the_threshold_is_lowered_until_there_is_enough(dim: float) -> None:
    """As the published loop does that computes the mask anew each time."""
    volume = spots([dim, dim / 2, dim / 3, dim / 4, dim, dim])
    volume[0, 3, 3] = 1  # a hot pixel, so that the rest is faint
    expected, threshold = literal(volume, (1, 5, 6), 0.05)
    found = search(volume, (1, 5, 6)).find(0.05)
    assert found.threshold == threshold < 0.05
    assert len(found) >= ENOUGH
    np.testing.assert_array_equal(whole_mask(found), expected)


def test_lower_thresholds_are_for_the_volume_as_it_is() -> None:
    """The first mask is of the volume stretched to [0, 1], later ones are not."""
    volume = 0.5 * spots([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]) + 0.1
    expected, threshold = literal(volume, (0, 2, 2), 0.3)
    found = search(volume, (0, 2, 2)).find(0.3)
    assert found.threshold == threshold < 0.3
    np.testing.assert_array_equal(whole_mask(found), expected)


def test_the_search_for_enough_ends() -> None:
    """Where there are less voxels than that, all that stand out are taken; of a flat one none."""
    few = spots([1.0], (3, 20, 24))
    expected, threshold = literal(few, (1, 4, 4), 0.05)
    found = search(few, (1, 4, 4)).find(0.05)
    assert found.threshold == threshold < 1e-90
    np.testing.assert_array_equal(whole_mask(found), expected)
    assert len(search(np.zeros((3, 30, 30))).find(0.05)) == 0
    assert lowered(0.5, 0.5) == 0.4
    assert lowered(0.5, -np.inf) == pytest.approx(0.5 * 0.8**1000)


def test_rows_without_anything_are_no_candidates() -> None:
    """From the border to the first and the last row that has something in it, these included."""
    volume = np.zeros((2, 80, 60))
    volume[:, 20:60] = np.random.default_rng(0).random((2, 40, 60)) ** 8
    found = search(volume).find(0.05)
    rows = np.flatnonzero(whole_mask(found).any(axis=(0, 2)))
    assert (rows[0], rows[-1]) == (21, 58)
    np.testing.assert_array_equal(whole_mask(found), literal(volume, (0, 0, 0), 0.05)[0])


def test_nothing_beyond_what_an_input_reaches() -> None:
    """An end of rows and columns may be given besides the margins."""
    volume = spots(np.ones(8), (8, 80, 60))
    mask = whole_mask(search(volume, (0, 5, 5), (30, 40)).find(0.05))
    np.testing.assert_array_equal(
        mask[:, :30, :40], literal(volume, (0, 5, 5), 0.05)[0][:, :30, :40]
    )
    assert not mask[:, 30:].any()
    assert not mask[:, :, 40:].any()


def test_slices_are_read_one_by_one_and_once() -> None:
    """Unless the threshold is lowered: then those inside the margins twice more."""
    volume = spots(np.ones(8), (8, 80, 60))
    read: list[int] = []

    def plane(z: int) -> np.ndarray:
        read.append(z)
        return volume[z]

    told: list[None] = []
    ForegroundSearch(
        plane, volume.shape, (0, 1), (2, 0, 0), advance=lambda: told.append(None)
    ).find(0.05)
    assert read == list(range(8))
    assert len(told) == 8
    read.clear()
    ForegroundSearch(plane, volume.shape, (0, 1), (2, 0, 0)).find(0.99)
    assert read == [*range(8), *range(2, 6), *range(2, 6)]
