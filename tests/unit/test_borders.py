"""Where tiles meet, and the record from which they are laid again."""

from __future__ import annotations

import json
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.errors import InputError, OptionError
from vemctl.plugin import Footprint, Place, Triple
from vemctl.tiles.borders import borders, borders_of, borders_of_step, period_of
from vemctl.tiles.grid import tile_grid
from vemctl.workflows.provenance import provenance

RICH = Footprint(
    tile=(5, None, 24), overlap=(0, 0, 8), halo=(1, 0, 0), lost=(2, 0, 0), multiple_of=(1, 4, 8),
    aligned=(1, 1, 2), scale=(Fraction(1), Fraction(3, 2), Fraction(4)), window="bump",
    bump_sigma=0.25, padding="edge", fit=False, batched=False,
)  # fmt: skip


@st.composite
def footprints(draw: st.DrawFn) -> Footprint:
    def triple(least: int, most: int) -> Triple:
        return tuple(draw(st.integers(least, most)) for _ in range(3))

    tile = tuple(draw(st.one_of(st.none(), st.integers(6, 20))) for _ in range(3))
    window = draw(st.sampled_from(["crop", "linear", "bump", "mean"]))
    scale = tuple(Fraction(draw(st.integers(1, 3))) for _ in range(3))
    return Footprint(tile, triple(0, 2), triple(0, 1), triple(0, 1), scale=scale, window=window)


def contributors(footprint: Footprint, shape: Triple, axis: int) -> list[set[int]]:
    """Return which tiles contribute to each output voxel along one axis, tile by tile."""
    grid = tile_grid(shape, footprint)
    found: list[set[int]] = [set() for _ in range(grid.output_shape[axis])]
    for k in range(grid.axes[axis].num_tiles):
        index = tuple(k if each == axis else 0 for each in range(3))
        part = grid.contribution(index)[axis]
        for voxel in range(part.start, part.stop):
            found[voxel].add(k)
    return found


@given(footprints(), st.tuples(*[st.integers(8, 40)] * 3))
def test_borders_are_where_the_contributing_tiles_change(
    footprint: Footprint, shape: Triple
) -> None:
    """Compared with the set of tiles of every single voxel."""
    found = borders(tile_grid(shape, footprint))
    for axis in range(3):
        tiles = contributors(footprint, shape, axis)
        expected = [p for p in range(1, len(tiles)) if tiles[p - 1] != tiles[p]]
        assert list(found[axis]) == expected


def test_cropped_tiles_meet_once_and_blended_ones_begin_and_end() -> None:
    """The last tile is shifted back to end with the volume."""
    tile, overlap = (4, 16, 16), (0, 4, 4)
    cropped = borders(tile_grid((8, 16, 30), Footprint(tile, overlap)))
    assert cropped == ((4,), (), (14, 16))
    blended = borders(tile_grid((8, 16, 30), Footprint(tile, overlap, window="linear")))
    assert blended == ((4,), (), (12, 14, 16, 28))


def test_a_footprint_comes_back_from_its_record() -> None:
    """All fields, through the text of JSON."""
    record = json.loads(json.dumps(RICH.to_json()))
    assert record["scale"] == ["1", "3/2", "4"]
    assert record["tile"] == [5, None, 24]
    assert Footprint.from_json(record) == RICH


@given(footprints())
def test_every_footprint_comes_back_from_its_record(footprint: Footprint) -> None:
    """So does any other."""
    assert Footprint.from_json(json.loads(json.dumps(footprint.to_json()))) == footprint


def test_what_a_record_does_not_name_has_its_default() -> None:
    """Records stay readable when footprints learn more."""
    assert Footprint.from_json({"tile": [4, 8, 8]}) == Footprint((4, 8, 8))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tile": [4, 8]}, "tile is"),
        ({"tile": [4, 8, 0]}, "tile is"),
        ({"tile": "all"}, "tile is"),
        ({"overlap": [0, 0, None]}, "overlap is"),
        ({"halo": [0, -1, 0]}, "halo is"),
        ({"lost": [0, True, 0]}, "lost is"),
        ({"aligned": [0, 1, 1]}, "aligned is"),
        ({"scale": ["1", "1/0", "1"]}, "scale is"),
        ({"scale": ["1", "-1", "1"]}, "scale is"),
        ({"scale": ["1", "two", "1"]}, "scale is"),
        ({"scale": [1.0, 1.0, 1.0]}, "scale is"),
        ({"window": "cosine"}, "window is 'cosine', expected one of crop, linear, bump, mean"),
        ({"window": ["crop"]}, "window is"),
        ({"padding": None}, "padding is"),
        ({"bump_sigma": 0}, "bump_sigma is"),
        ({"bump_sigma": float("inf")}, "bump_sigma is"),
        ({"fit": 1}, "fit is 1, expected true or false"),
        ({"tyle": 3}, "unknown key 'tyle'"),
    ],
)
def test_nonsense_is_no_footprint(change: dict[str, Any], named: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(ValueError, match=named):
        Footprint.from_json(RICH.to_json() | change)


@pytest.mark.parametrize("record", [{}, {"overlap": [0, 0, 0]}, [4, 8, 8], None, "crop"])
def test_a_record_without_a_tile_is_no_footprint(record: Any) -> None:
    """A tile has no default."""
    with pytest.raises(ValueError, match="footprint"):
        Footprint.from_json(record)


def test_a_recorded_tiling_gives_the_borders_of_its_grid() -> None:
    """With the shape that was recorded, or with another that is given."""
    tiling = {"tile": [5, 40, 24], "footprint": RICH.to_json(), "shape": [12, 40, 100]}
    assert borders_of(tiling) == borders(tile_grid((12, 40, 100), RICH))
    assert borders_of(tiling, (20, 40, 60)) == borders(tile_grid((20, 40, 60), RICH))


def test_an_older_output_does_not_say_where_its_tiles_are() -> None:
    """Its record lacks what the grid needs, or the shape of the input."""
    older = {"tile": [4, 16, 16], "overlap": [0, 0, 0], "halo": [0, 0, 0], "window": "crop"}
    assert borders_of({**older, "batch": 1}) is None
    assert borders_of({**older, "footprint": RICH.to_json()}) is None
    assert period_of(older) == (1, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"footprint": {"tile": 3}},
        {"footprint": None},
        {"shape": [12, 40]},
        {"shape": [12, 40, "x"]},
        {"shape": 0},
        {"shape": [4, 40, 100]},
    ],
)
def test_a_damaged_record_is_the_users_to_mend(change: dict[str, Any]) -> None:
    """Nonsense, and a volume that is too small for the footprint, are refused in one line."""
    with pytest.raises(InputError, match="recorded tiling cannot be laid again") as refused:
        borders_of({"footprint": RICH.to_json(), "shape": [12, 40, 100]} | change)
    assert "\n" not in str(refused.value)


def test_borders_of_a_step_are_its_multiples() -> None:
    """An axis that was not cut, or is no longer than a step, has none."""
    assert borders_of_step((6, 10, 12), (0, 4, 4)) == ((), (4, 8), (4, 8))
    assert borders_of_step((6, 10, 12), (6, 20, 1)) == ((), (), tuple(range(1, 12)))
    with pytest.raises(OptionError, match="-4"):
        borders_of_step((6, 10, 12), (0, -4, 4))


class NoMethod:
    """Something that has a name and says whom to cite."""

    name, citation, doi = "none", "Nobody", "10.0/0"


def test_an_output_says_how_its_tiles_are_laid() -> None:
    """What users read stays, and the grid can be laid again from the record alone."""
    grid = tile_grid((12, 40, 100), RICH)
    prepared = SimpleNamespace(
        restorer=SimpleNamespace(footprint=RICH),
        plan=SimpleNamespace(grid=grid, batch=1),
        weights=None,
        files={},
        settled={},
        statistics={},
    )
    belongs = {"input": [], "device": "cpu", "threads": 1}
    record = provenance(NoMethod(), prepared, belongs, {})
    again = provenance(NoMethod(), prepared, belongs, {})
    assert json.dumps(record) == json.dumps(again)
    tiling = json.loads(json.dumps(record))["tiling"]
    assert tiling["tile"] == list(grid.tile_shape)
    assert (tiling["overlap"], tiling["halo"]) == ([0, 0, 8], [1, 0, 0])
    assert (tiling["window"], tiling["batch"]) == ("bump", 1)
    assert tile_grid(tuple(tiling["shape"]), Footprint.from_json(tiling["footprint"])) == grid
    assert borders_of(tiling) == borders(grid)
    assert period_of(tiling) == (1, 3, 4)


def test_a_seam_is_where_a_border_is_said_to_be() -> None:
    """Cropped tiles that each write their own number differ just there."""
    footprint = Footprint(
        (3, 8, 8), overlap=(0, 2, 2), scale=(Fraction(1), Fraction(2), Fraction(1))
    )
    grid = tile_grid((7, 20, 21), footprint)
    written = np.full(grid.output_shape, -1)
    whole = tuple(slice(0, n) for n in grid.output_shape)
    for number, index in enumerate(grid.touching(whole)):
        assert isinstance(grid.place(index), Place)
        written[grid.contribution(index)] = number
    for axis, expected in enumerate(borders(grid)):
        line = np.moveaxis(written, axis, 0)[:, 0, 0]
        assert (np.flatnonzero(np.diff(line)) + 1).tolist() == list(expected)
