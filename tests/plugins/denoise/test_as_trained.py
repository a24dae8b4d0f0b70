"""Weights of our own trainings say how they want to be used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity import load_fixture
from vemctl_denoise.as_trained import options_as_trained, tile_as_trained
from vemctl_denoise.method import METHOD, PredictOptions

from vemctl.nn.own_weights import write_weights
from vemctl.plugin import Request, Tiling, VolumeFacts

FACTS = {
    "normalisation": {"low": 20.0, "high": 200.0},
    "tile": [9, 48, 48],
    "z_edge": "repeat",
}


@pytest.mark.parametrize(
    ("options", "facts", "expected"),
    [
        (PredictOptions(), {}, PredictOptions(z_edge="cyclic")),
        (PredictOptions(), FACTS, PredictOptions(z_edge="repeat", low=20.0, high=200.0)),
        (
            PredictOptions(z_edge="cyclic", high=100.0),
            FACTS,
            PredictOptions(z_edge="cyclic", high=100.0),
        ),
        (
            PredictOptions(high_percentile=99.0),
            FACTS,
            PredictOptions(high_percentile=99.0, z_edge="repeat"),
        ),
        (
            PredictOptions(),
            {"normalisation": {"low": 0.0, "high": "maximum of the type"}, "z_edge": 7},
            PredictOptions(z_edge="cyclic", low=0.0),
        ),
        (PredictOptions(), {"normalisation": "odd"}, PredictOptions(z_edge="cyclic")),
    ],
)
def test_what_the_user_leaves_open_is_as_it_was_trained(
    options: PredictOptions, facts: dict, expected: PredictOptions
) -> None:
    """A range that is given in part is the user's alone."""
    assert options_as_trained(options, facts) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [({}, 5), (FACTS, 9), ({"tile": None}, 5), ({"tile": []}, 5), ({"tile": [0, 1, 1]}, 5)],
)
def test_blocks_are_as_deep_as_those_of_the_training(facts: dict, expected: int) -> None:
    """Height and width stay, which the published program too has larger than its patches."""
    assert tile_as_trained((5, 256, 256), facts) == (expected, 256, 256)


def test_a_prediction_takes_over_range_edge_and_depth(tmp_path: Path) -> None:
    """Unless flags, or --as-original, say otherwise."""
    state = load_fixture("denoise_tiled")[2]
    state = {key.removeprefix("module."): value for key, value in state.items()}
    write_weights(tmp_path / "bare.safetensors", state, {})
    write_weights(tmp_path / "told.safetensors", state, FACTS)
    block = torch.rand(1, 1, 9, 16, 16, generator=torch.Generator().manual_seed(0)) * 255

    def restored(name: str, options: PredictOptions, tile=None, *, as_original: bool = False):
        request = Request(
            [VolumeFacts((9, 16, 16), "uint8")], as_original=as_original, tiling=Tiling(tile)
        )
        restorer = METHOD.restorer(tmp_path / f"{name}.safetensors", options, request)
        with torch.no_grad():
            return restorer.footprint.tile, restorer([block], [])

    flags = PredictOptions(low=20.0, high=200.0, z_edge="repeat")
    expected = restored("bare", flags, (9, 256, 256))
    found = restored("told", PredictOptions())
    assert found[0] == expected[0] == (9, 256, 256)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)
    plain = restored("bare", PredictOptions(z_edge="cyclic", low=0.0, high=255.0), (9, 256, 256))
    again = restored("told", PredictOptions(z_edge="cyclic", low=0.0, high=255.0))
    torch.testing.assert_close(again[1], plain[1], rtol=0, atol=0)
    assert restored("told", PredictOptions(), as_original=True)[0] == (5, 256, 256)
