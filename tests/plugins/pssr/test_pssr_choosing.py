"""From options, weights and input to a restorer: what is decided, told and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from vemctl_pssr.architecture import Architecture, standard
from vemctl_pssr.checkpoints import Checkpoint
from vemctl_pssr.choosing import LARGE, Geometry, choose_geometry, make_restorer
from vemctl_pssr.method import METHOD, PredictOptions
from vemctl_pssr.network import build
from vemctl_pssr.restorer import EvenTiles, PublishedTiles

from vemctl.errors import InputError, OptionError, WeightsError
from vemctl.nn.own_weights import write_weights
from vemctl.plugin import Output, Request, Restorer, Tiling, TimeWindow, Triple, VolumeFacts
from vemctl.tiles.grid import tile_grid

GREY = standard("wnresnet18", 1, 2)
FIVE = standard("wnresnet18", 5, 2)
RGB = standard("resnet18", 1, 2)
STATISTICS = {"mean": [0.3], "std": [0.1]}
EXPORT = {"normalisation": STATISTICS, "tile": {"input": 16, "target": 64}}
OWN = {
    "normalisation": {**STATISTICS, "range": "0,200"}, "tile": [1, 24, 24], "resample": "direct",
    "voxel_size": [30.0, 8.0, 8.0],
}  # fmt: skip
PLAIN = PredictOptions()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write small networks with what is known of them."""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    for name, architecture, facts in (
        ("grey", GREY, EXPORT),
        ("five", FIVE, EXPORT),
        ("em", RGB, {"normalisation": STATISTICS, "tile": {"input": 64, "target": 64}}),
        ("own", GREY, OWN),
        ("own five", FIVE, OWN),
    ):
        found[name] = folder / f"{name}.safetensors"
        write_weights(found[name], build(architecture).state_dict(), facts)
    return found


def facts(shape: Triple = (6, 40, 44), **more: Any) -> VolumeFacts:
    """Return what is known of an input, with the statistics of all rules."""
    statistics = {"min": 0, "max": 200, "bound:min": 0, "bound:max": 255}
    return VolumeFacts(
        shape, "uint8", statistics=statistics, slices={"slices:max": [200.0] * shape[0]}, **more
    )


def request(given: VolumeFacts | None = None, **more: Any) -> tuple[Request, list[str]]:
    """Return a request, and the warnings that it will collect."""
    told: list[str] = []
    return Request([given or facts()], warn=told.append, **more), told


def checkpoint(architecture: Architecture = GREY, known: dict[str, Any] = EXPORT) -> Checkpoint:
    """Return weights without tensors."""
    return Checkpoint(Path("file.pkl"), {}, known, architecture)


def geometry(
    options: PredictOptions = PLAIN,
    found: Checkpoint | None = None,
    *,
    as_original: bool = False,
    **tiling: Any,
) -> Geometry:
    """Return how planes are cut."""
    asked, _ = request(tiling=Tiling(**tiling), as_original=as_original)
    return choose_geometry(options, asked, found or checkpoint())


def made(
    weights: Path, options: PredictOptions = PLAIN, given: VolumeFacts | None = None, **more: Any
) -> tuple[Restorer, list[str]]:
    """Return a restorer and what was told."""
    asked, told = request(given, **more)
    return make_restorer(weights, options, asked), told


@pytest.mark.parametrize(
    ("known", "asked", "expected"),
    [
        (EXPORT, {}, Geometry("original", "original", (1, 16, 16), (0, 8, 8), 2)),
        (EXPORT, {"resample": "direct"}, Geometry("direct", "even", (1, 16, 16), (0, 8, 8), 2)),
        (EXPORT, {"tiling": "even"}, Geometry("original", "even", (1, 16, 16), (0, 8, 8), 2)),
        (OWN, {}, Geometry("direct", "even", (1, 24, 24), (0, 12, 12), 4)),
        (OWN, {"tiling": "original"}, Geometry(
            "original", "original", (1, 24, 24), (0, 12, 12), 4)),
        (OWN, {"resample": "original"}, Geometry(
            "original", "original", (1, 24, 24), (0, 12, 12), 4)),
        ({}, {}, Geometry("original", "original", (1, 128, 128), (0, 32, 32), 24)),
        ({"tile": {"target": 1026}}, {}, Geometry(
            "original", "original", (1, 256, 256), (0, 32, 32), 50)),
    ],
)  # fmt: skip
def test_planes_are_cut_as_published_or_as_own_weights_learned(
    known: dict[str, Any], asked: dict[str, Any], expected: Geometry
) -> None:
    """Tiles have the size that the weights tell; parts of the choice bring the rest with them."""
    assert geometry(PredictOptions(**asked), checkpoint(known=known)) == expected


def test_wishes_of_the_tiling_are_taken() -> None:
    """Tile and overlap are input pixels; published overlaps are told in enlarged ones."""
    assert geometry(tile=(1, 20, 20)).tile == (1, 20, 20)
    assert geometry(found=checkpoint(FIVE), tile=(5, 20, 20)).tile == (1, 20, 20)
    assert geometry(overlap=(0, 7, 7)).published_overlap == 28
    even = geometry(PredictOptions(resample="direct"), tile=(1, 64, 80), overlap=(0, 3, 5))
    assert (even.tile, even.overlap) == ((1, 64, 80), (0, 3, 5))
    assert geometry(PredictOptions(tiling="even"), tile=(1, 12, 12)).overlap == (0, 6, 6)
    own_as_original = geometry(found=checkpoint(known=OWN), as_original=True)
    assert (own_as_original.resample, own_as_original.tiling) == ("original", "original")


@pytest.mark.parametrize(
    ("asked", "tiling", "words"),
    [
        ({}, {"tile": (2, 16, 16)}, "--tile 2,16,16: planes are enlarged one by one; expected 1"),
        ({}, {"tile": (1, 16, 20)},
         "--tile 1,16,20: expected as many pixels along y as along x, or --resample direct"),
        ({"tiling": "even"}, {"tile": (1, 16, 20)}, "--tile 1,16,20: expected as many"),
        ({}, {"tile": (1, 3, 3)}, "--tile 1,3,3: expected at least 4 along y and x"),
        ({"resample": "direct"}, {"tile": (1, 64, 3)}, "--tile 1,64,3: expected at least 4"),
        ({}, {"window": "bump"},
         "--blend belongs to --tiling even; give that too, or leave it out"),
        ({}, {"overlap": (0, 2, 3)},
         "--overlap 0,2,3: expected as much along y as along x, and less than half the tile"),
        ({}, {"overlap": (0, 8, 8)}, "--overlap 0,8,8: expected as much along y as along x"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(
    asked: dict[str, Any], tiling: dict[str, Any], words: str
) -> None:
    """In one line with what mends them."""
    with pytest.raises(OptionError) as error:
        geometry(PredictOptions(**asked), **tiling)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "as_original", "rule"),
    [
        ("grey", PLAIN, False, "max"),
        ("em", PLAIN, False, "first-slice"),
        ("em", PLAIN, True, "first-slice"),
        ("own", PLAIN, False, "0,200"),
        ("own", PLAIN, True, "max"),
        ("em", PredictOptions(scale_range="1%,2%"), False, "1%,2%"),
    ],
)
def test_statistics_are_those_of_the_range(
    name: str, options: PredictOptions, as_original: bool, rule: str, weights: dict[str, Path]
) -> None:
    """As asked, as trained, or as published."""
    expected = {
        "max": {"min", "max", "slices:max"}, "first-slice": {"min", "slices:max"}, "0,200": set(),
        "1%,2%": {"percentile:1.0", "percentile:2.0"},
    }  # fmt: skip
    asked = METHOD.statistics(options, weights=weights[name], as_original=as_original)
    assert set(asked) == expected[rule]


def test_what_no_input_could_mend_is_refused_before_any_is_read(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    """Contradictions, and weights that do not tell their normalisation."""
    bare = tmp_path / "bare.pth"
    torch.save({"model": build(GREY).state_dict()}, bare)
    both = {"resample": "direct", "tiling": "original"}
    for path, asked, kind, words in (
        (weights["grey"], both, OptionError, "--resample direct with --tiling original: .*; leave"),
        (weights["grey"], {"mean": "0.1"}, OptionError, "--mean and --std belong together"),
        (weights["grey"], {"scale_range": "x"}, OptionError, "--scale-range x: expected max,"),
        (bare, {}, WeightsError, "bare.pth: without the mean and standard deviation of its train"),
    ):
        with pytest.raises(kind, match=words) as error:
            METHOD.statistics(PredictOptions(**asked), weights=path, as_original=False)
        assert "\n" not in str(error.value)
    given = PredictOptions(mean="0.1", std="0.2")
    assert METHOD.statistics(given, weights=bare, as_original=False) == (
        "min", "max", "slices:max",
    )  # fmt: skip
    assert isinstance(made(bare, given)[0], PublishedTiles)


@pytest.mark.parametrize(
    ("name", "frames", "points", "as_original", "window"),
    [
        ("grey", "t", 9, False, TimeWindow()),
        ("five", None, 9, False, TimeWindow(2, 2)),
        ("five", None, 9, True, TimeWindow(2, 2, lost=True)),
        ("five", "t", 5, False, TimeWindow(2, 2)),
        ("five", "z", 9, True, TimeWindow()),
        ("five", None, 1, False, TimeWindow()),
        ("em", None, 9, False, TimeWindow()),
    ],
)
def test_time_windows(
    name: str, frames: Any, points: int, as_original: bool, window: TimeWindow,
    weights: dict[str, Path],
) -> None:  # fmt: skip
    """Frames are time points where there are several, unless they are to be slices."""
    found = METHOD.time_window(
        PredictOptions(frames=frames), weights=weights[name], as_original=as_original,
        num_timepoints=points,
    )  # fmt: skip
    assert found == window


@pytest.mark.parametrize(("frames", "points"), [("t", 4), (None, 3), ("t", 1)])
def test_too_few_time_points_are_refused(
    frames: Any, points: int, weights: dict[str, Path]
) -> None:
    """With how many there are and how many it takes."""
    with pytest.raises(OptionError) as error:
        METHOD.time_window(
            PredictOptions(frames=frames), weights=weights["five"], as_original=False,
            num_timepoints=points,
        )  # fmt: skip
    assert str(error.value) == (
        f"--frames t: the input has {points} time points, the weights take 5 at once; expected at "
        f"least as many, --frames z, or weights for single frames"
    )


@pytest.mark.parametrize(
    ("name", "options", "as_original", "kind", "output"),
    [
        ("grey", PLAIN, False, PublishedTiles, Output()),
        ("grey", PredictOptions(values="full"), False, PublishedTiles, Output(unit_range=True)),
        ("grey", PLAIN, True, PublishedTiles, Output("truncate", "uint8", unit_range=True)),
        ("em", PLAIN, True, PublishedTiles, Output("truncate", "uint16", unit_range=True)),
        ("em", PredictOptions(tiling="even"), False, EvenTiles, Output()),
        ("own", PLAIN, False, EvenTiles, Output()),
        ("own", PLAIN, True, PublishedTiles, Output("truncate", "uint8", unit_range=True)),
    ],
)
def test_restorers_and_what_they_store(
    name: str, options: PredictOptions, as_original: bool, kind: type, output: Output,
    weights: dict[str, Path],
) -> None:  # fmt: skip
    """The published programs write 8 bit, or 16 bit of electron microscopy; we the input's."""
    restorer, told = made(weights[name], options, as_original=as_original)
    assert isinstance(restorer, kind)
    assert restorer.output == output
    assert restorer.footprint.scale == (1, 4, 4)
    assert told == []


@pytest.mark.parametrize(
    ("shape", "as_original", "in_time", "depth", "lost"),
    [
        ((6, 40, 44), False, False, 5, 0),
        ((6, 40, 44), True, False, 5, 2),
        ((1, 40, 44), True, False, 5, 0),  # one page, which the published program repeats
        ((1, 40, 44), False, True, 1, 0),
        ((6, 40, 44), True, True, 1, 0),  # time points are lost by the core
    ],
)
def test_slices_are_a_halo_and_time_points_are_not(
    shape: Triple, as_original: bool, in_time: bool, depth: int, lost: int,
    weights: dict[str, Path],
) -> None:  # fmt: skip
    """The published program loses the ends of a stack."""
    window = TimeWindow(2, 2) if in_time else TimeWindow()
    restorer, _ = made(
        weights["five"], given=facts(shape), as_original=as_original, time_window=window
    )
    footprint = restorer.footprint
    assert (footprint.tile[0], footprint.halo[0], footprint.lost[0]) == (depth, depth // 2, lost)


def test_even_tiles_are_joined_as_asked(weights: dict[str, Path]) -> None:
    """With tile and overlap of the geometry, and the pixel around that enlarging looks at."""
    window, told = made(
        weights["own"], tiling=Tiling(tile=(1, 24, 24), overlap=(0, 4, 4), window="bump")
    )
    assert window.footprint.window == "bump"
    assert [n - 2 * h for n, h in zip(
        window.footprint.tile[1:], window.footprint.halo[1:], strict=True
    )] == [24, 24]  # fmt: skip
    assert window.footprint.overlap == (0, 4, 4)
    assert told == []
    assert made(weights["own"])[0].footprint.window == "linear"


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("grey", (6, 1, 40), "the input has 1 x 40 pixels (y, x): expected at least 2 x 2; use "
         "--axes if these are other axes"),
        ("five", (4, 40, 40), "the input has 4 slices, the weights take 5 at once: expected at "
         "least as many, or time points with --frames t; else use weights for single frames"),
        ("five", (1, 40, 40), "the input has 1 slices, the weights take 5 at once:"),
    ],
)  # fmt: skip
def test_inputs_that_are_too_small_are_refused(
    name: str, shape: Triple, words: str, weights: dict[str, Path]
) -> None:
    """With what they have."""
    with pytest.raises(InputError) as error:
        made(weights[name], given=facts(shape))
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_errors_of_ranges_name_the_input(weights: dict[str, Path]) -> None:
    """And the option."""
    dark = replace(facts(), slices={"slices:max": [0.0] * 6})
    with pytest.raises(InputError, match=r"^the input: slice 0 is black, and --scale-range first"):
        made(weights["em"], given=dark)


def test_what_the_original_has_not_is_refused_with_it(weights: dict[str, Path]) -> None:
    """All of it at once; what it has may be named."""
    ours = PredictOptions(scale_range="max", values="full", resample="direct", tiling="even")
    tiling = Tiling(overlap=(0, 2, 2), window="linear")
    with pytest.raises(OptionError) as error:
        made(weights["grey"], ours, as_original=True, tiling=tiling)
    assert str(error.value) == (
        "--as-original with --scale-range, --values, --resample direct, --tiling even, --overlap, "
        "--blend: the original has no such option; leave out one or the other"
    )
    fine = PredictOptions(resample="original", tiling="original", mean="0.1", std="0.2")
    assert made(weights["grey"], fine, as_original=True)[1] == []


@pytest.mark.parametrize(
    ("name", "voxel_size", "told"),
    [
        ("own", (30.0, 8.0, 8.0), None),
        ("own", (30.0, 8.9, 7.1), None),
        ("own", None, None),
        ("own", (30.0, 8.0, 4.0), "8 x 4 nm (y, x), and the weights were trained to enlarge 8 x 8"),
        ("em", (30.0, 2.0, 2.0), "2 x 2 nm (y, x), and the weights were trained to enlarge 8 x 8"),
        ("em", (30.0, 8.5, 8.5), None),
        ("grey", (30.0, 2.0, 2.0), None),  # whose pixels nobody told
    ],
)
def test_other_pixels_than_those_of_the_training_are_told(
    name: str, voxel_size: Any, told: str | None, weights: dict[str, Path]
) -> None:
    """From a difference of 15 % on."""
    _, warnings = made(weights[name], given=facts(voxel_size=voxel_size))
    assert len(warnings) == (told is not None)
    if told:
        assert warnings[0].startswith(f"the input has pixels of {told}")
        assert "resample the input" in warnings[0]


@pytest.mark.parametrize(
    ("name", "tile", "trained"),
    [
        ("grey", (1, 32, 32), 16), ("own", (1, 24, 32), 24), ("own", (1, 32, 24), 24),
        ("own", (1, 24, 24), None), ("em", None, None),
    ],
)  # fmt: skip
def test_other_tiles_than_those_of_the_training_are_told(
    name: str, tile: Triple | None, trained: int | None, weights: dict[str, Path]
) -> None:
    """Along either axis, for the network averages over them."""
    _, warnings = made(weights[name], tiling=Tiling(tile=tile))
    assert len(warnings) == (trained is not None)
    if tile and trained:
        assert warnings[0].startswith(
            f"--tile {','.join(map(str, tile))}: the weights were trained on tiles of {trained} "
        )


def test_huge_networks_are_told(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With what they take."""
    monkeypatch.setattr("vemctl_pssr.choosing.LARGE", 1000)
    _, (told,) = made(weights["grey"])
    assert told.startswith("grey.safetensors: wnresnet18 (reduced) has 0 million parameters;")
    assert LARGE > 48_954_450  # of the largest published one


def test_results_have_the_units_of_the_input(weights: dict[str, Path]) -> None:
    """Twice as bright an input gives twice as bright a result, where its maximum becomes 1."""
    volume = torch.rand((1, 20, 24), generator=torch.Generator().manual_seed(0))
    results = []
    for factor in (1, 2):
        tops = [factor * float(volume.max())]
        given = VolumeFacts(
            (1, 20, 24), "float32", statistics={"min": 0}, slices={"slices:max": tops}
        )
        restorer, _ = made(weights["em"], given=given)
        grid = tile_grid(given.shape, restorer.footprint)
        assert grid.num_tiles == 1
        place = grid.place((0, 0, 0))
        with torch.inference_mode():
            results.append(restorer([factor * volume[None, None]], [place])[0, 0])
    assert results[0].shape == (1, 80, 96)
    torch.testing.assert_close(results[1], 2 * results[0], rtol=1e-4, atol=1e-4)
