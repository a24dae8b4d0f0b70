"""Places with something in them."""

from __future__ import annotations

import numpy as np
import pytest
from vemctl_pssr.selecting import MOST_TRIES, PATIENCE, Selection, selection_statistics, share_above

from vemctl.plugin import VolumeFacts

SIZE = (16, 16)


def patches_of(array_patches: type, *volumes: np.ndarray):
    """Return patches that know the statistics of their volumes."""
    known = [
        VolumeFacts(volume.shape, volume.dtype.name, statistics=sketch(volume))
        for volume in volumes
    ]

    class Known(array_patches):
        def facts(self, role: str) -> list[VolumeFacts]:
            return known

    return Known(hr=[*volumes])


def sketch(volume: np.ndarray) -> dict[str, float]:
    """Measure what a choice of places needs."""
    names = selection_statistics()
    return {name: float(np.percentile(volume, float(name.partition(":")[2]))) for name in names}


def draw(patches, z: int = 0, index: int = 0, seed: int = 0) -> tuple[int, int]:
    """Draw a place."""
    return Selection().draw(patches, "hr", index, z, SIZE, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("empty", "share"), [(0, 0.98), (0.015, 0.98), (0.04, 0.98), (0.12, 0.9), (0.55, 0.5),
                         (0.97, 0.1), (1, 0.1)]
)  # fmt: skip
def test_a_sketch_tells_how_much_there_is(empty: float, share: float) -> None:
    """The share above the darkest values, to a tenth more and 2 % less than there is."""
    volume = np.random.default_rng(0).integers(10, 255, 10_000).astype(np.uint8)
    volume[: round(empty * volume.size)] = 0
    facts = VolumeFacts((1, 100, 100), "uint8", statistics=sketch(volume))
    found = share_above(facts)
    assert found == pytest.approx(share)
    threshold = facts.statistics["percentile:2.0"]
    assert np.mean(volume > threshold) - 0.02 <= found <= np.mean(volume > threshold) + 0.1001


def test_the_only_bright_place_is_found(array_patches: type) -> None:
    """In the slice that was drawn, of the volume that was drawn."""
    volume = np.zeros((3, 64, 80), np.uint16)
    volume[1, 40:50, 20:32] = 1000
    patches = patches_of(array_patches, np.ones((1, 64, 80), np.uint16), volume)
    places = [draw(patches, 1, 1, seed) for seed in range(20)]
    assert len(set(places)) > 10
    for y, x in places:
        assert volume[1, y : y + 16, x : x + 16].max() == 1000
        assert 0 <= y <= 64 - 16
        assert 0 <= x <= 80 - 16
    for role, index, (z, _, _), size in patches.reads:
        assert (role, index, z, size) == ("hr", 1, 1, (1, *SIZE))


def test_places_have_their_share_of_what_the_whole_has(array_patches: type) -> None:
    """Three tenths of it are enough, with which more than a corner of it must be there."""
    volume = np.zeros((1, 256, 256), np.uint8)
    volume[0, :, 128:] = 200
    patches = patches_of(array_patches, volume)
    places = [draw(patches, seed=seed) for seed in range(200)]
    filled = np.array([np.mean(volume[0, y : y + 16, x : x + 16] > 0) for y, x in places])
    assert filled.min() > 0.3 * 0.5
    assert 0.001 < np.mean(filled < 1) < 0.2  # what is at the edge is taken as well


def test_an_image_without_anything_is_drawn_from_all_the_same(array_patches: type) -> None:
    """After as many tries as published, of which the last is taken as it is."""
    patches = patches_of(array_patches, np.full((1, 40, 40), 7, np.uint8))
    places = {draw(patches, seed=seed) for seed in range(5)}
    assert len(patches.reads) == 5 * MOST_TRIES
    assert len(places) > 1
    one = np.zeros((1, 40, 40), np.uint8)
    one[0, 20, 20] = 1  # less than a share of anything
    lonely = patches_of(array_patches, one)
    y, x = draw(lonely)
    assert PATIENCE < len(lonely.reads) <= MOST_TRIES
    assert one[0, y : y + 16, x : x + 16].any()


def test_full_images_take_the_first_place(array_patches: type) -> None:
    """It is uniform, up to the last position; a tile may be all of the image."""
    noise = np.random.default_rng(0).integers(1, 255, (1, 18, 17)).astype(np.uint8)
    patches = patches_of(array_patches, noise)
    places = {draw(patches, seed=seed) for seed in range(60)}
    assert places == {(y, x) for y in range(3) for x in range(2)}
    assert len(patches.reads) == 60
    assert draw(patches_of(array_patches, noise[:, :16, :16])) == (0, 0)


def test_samples_of_several_slices_are_chosen_by_their_middle(array_patches: type) -> None:
    """The corner keeps its slice; the same generator draws the same place."""
    volume = np.zeros((7, 64, 64), np.uint8)
    volume[3, 30:40, 30:40] = 9
    patches = patches_of(array_patches, volume)
    corners = [
        Selection()(patches, "hr", 0, (1, 0, 0), (5, *SIZE), np.random.default_rng(seed))
        for seed in (4, 4)
    ]
    z, y, x = corners[0]
    assert corners[0] == corners[1]
    assert z == 1
    assert volume[3, y : y + 16, x : x + 16].any()
    assert {corner[0] for _, _, corner, _ in patches.reads} == {3}
