"""--config: a flat TOML file stands between defaults and flags, checked like flags."""

from __future__ import annotations

import pytest

PREDICT = ("predict", "probe", "a.tif", "--view-b", "b.tif", "out.zarr")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a configuration file."""

    def write_file(text: str) -> str:
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_file


def test_flags_win_over_the_file_and_the_file_over_defaults(cli, workflow, write):
    """Of three sources the nearest wins, even where a flag repeats the default."""
    path = write(
        'rounds = 4\nlevel = 2\ntile = [1, 2, 3]\nchunk-shape = "4,5,6"\nweights = "w.pt"\n'
        "sharpen = false\nstrength = 1\noverwrite = true\n"
    )
    ran = cli(*PREDICT, "--config", path, "--level", "0", "--no-overwrite")
    request = workflow.request
    assert ran.code == 0, ran.err
    assert (request.input.level, request.writing.overwrite) == (0, False)
    assert (request.tiling.tile, request.writing.chunk_shape) == ((1, 2, 3), (4, 5, 6))
    assert (request.weights, request.method_options.rounds) == ("w.pt", 4)
    assert (request.method_options.sharpen, request.method_options.strength) == (False, 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tyle = [1, 2, 3]", "unknown key 'tyle'. Did you mean 'tile'?"),
        ("chunk_shap = 1", "Did you mean 'chunk-shape'?"),
        ("batch = -1", "batch is -1, expected a whole number, at least 0"),
        ("batch = true", "batch is True, expected a whole number, at least 0"),
        ("batch = 1.5", "batch is 1.5, expected a whole number, at least 0"),
        ("rounds = 10", "rounds is 10, expected a whole number from 1 to 9"),
        ("overwrite = 1", "overwrite is 1, expected true or false"),
        ("channel = 0", "channel is 0, expected text"),
        ('blend = "bumpy"', "blend is 'bumpy', expected one of crop, linear, bump, mean"),
        ("tile = [1, 2]", "tile is [1, 2], expected three whole numbers Z,Y,X"),
        ("tile = [1, 2, 3]\ntile = 4", "line 2"),
        ("ome-zarr = '0.4'\nome_zarr = '0.5'", "twice"),
        ("a b", "line 1"),
        ("output = 'x'", "'output' is set on the command line only"),
        ("json = true", "'json' is set on the command line only"),
        ("[tiling]\ntile = 1", "unknown key 'tiling'"),
    ],
)
def test_an_unusable_file_is_one_line(cli, workflow, write, text, words):
    """Whatever is wrong, one line names the file, the key, the value and what is expected."""
    path = write(text)
    ran = cli(*PREDICT, "--rounds", "1", "--config", path)
    assert ran.code == 2
    assert words in ran.err
    assert "settings.toml" in ran.err
    assert ran.err.count("\n") == 1
    assert not workflow.requests


def test_a_missing_file_is_one_line(cli):
    """A configuration file that is not there is named."""
    ran = cli(*PREDICT, "--rounds", "1", "--config", "nowhere.toml")
    assert (ran.code, ran.err) == (
        2,
        "error: --config nowhere.toml: No such file or directory\n",
    )
