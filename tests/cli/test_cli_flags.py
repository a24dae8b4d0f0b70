"""Fields of option dataclasses are flags: parsed, checked, and with their defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PREDICT = ("predict", "probe", "a.tif", "--view-b", "b.tif", "out.zarr", "--rounds", "3")


def test_flags_reach_the_request(cli, workflow):
    """Positional paths, common flags and the method's own arrive typed, each in its group."""
    ran = cli(
        *PREDICT, "--tile", "5,256,256", "-b", "2", "--ome-zarr", "0.4", "--nan-to-num",
        "--mask", "m.tif", "--window", "1x2x3", "--no-sharpen", "-w", "probe/one",
        "--strength", "2",
    )  # fmt: skip
    request = workflow.request
    assert ran.code == 0, ran.err
    assert (request.method, request.inputs) == ("probe", (Path("a.tif"), Path("b.tif")))
    assert (request.output, request.weights) == (Path("out.zarr"), "probe/one")
    assert (request.tiling.tile, request.tiling.batch) == ((5, 256, 256), 2)
    assert (request.writing.ome_zarr, request.input.nan_to_num) == ("0.4", True)
    options = request.method_options
    assert (options.rounds, options.mask, options.window) == (3, Path("m.tif"), (1, 2, 3))
    assert (options.sharpen, options.strength, options.mode) == (False, 2.0, "fast")


def test_without_flags_the_dataclasses_keep_their_defaults(cli, workflow):
    """A request without flags equals the dataclasses made without arguments."""
    cli(*PREDICT)
    request = workflow.request
    for group in (request.input, request.writing, request.tiling, request.compute, request.run):
        assert group == type(group)()
    assert request.weights is None
    assert request.method_options.window == (1, 8, 8)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tile", "5,256"], "--tile is '5,256', expected three whole numbers Z,Y,X"),
        (["--tile", "a,b,c"], "--tile is 'a,b,c', expected three whole numbers"),
        (["--batch", "-1"], "--batch is '-1', expected a whole number, at least 0"),
        (["--batch", "x"], "--batch is 'x', expected a whole number, at least 0"),
        (["--rounds", "10"], "--rounds is '10', expected a whole number from 1 to 9"),
        (["--strength", "nan"], "--strength is 'nan', expected a number, at least 0"),
        (["--blend", "bumpy"], "--blend is 'bumpy', expected one of crop, linear, bump, mean"),
        (["--tiel", "1,1,1"], "No such option: --tiel"),
        (["--device"], "requires an argument"),
        (["extra.tif"], "extra.tif"),
    ],
)
def test_an_unusable_flag_is_one_line(cli, workflow, flags, words):
    """A wrong value or flag ends with exit code 2 and one line that says what is expected."""
    ran = cli(*PREDICT, *flags)
    assert ran.code == 2
    assert words in ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert not workflow.requests


def test_a_misspelt_flag_is_answered_with_a_suggestion(cli):
    """An unknown flag names the one that is near."""
    assert "--tile" in cli(*PREDICT, "--tiel", "1,1,1").err


def test_a_missing_required_option_is_named(cli):
    """A method's option without a default must come from somewhere."""
    ran = cli("predict", "probe", "a", "--view-b", "b", "c")
    assert (ran.code, ran.err) == (
        2,
        "error: --rounds is missing, expected a whole number from 1 to 9\n",
    )


def test_a_missing_second_input_is_named(cli):
    """Inputs after the first are flags, which must be there."""
    ran = cli("predict", "probe", "a", "c", "--rounds", "3")
    assert ran.code == 2
    assert ran.err == "error: Missing option '--view-b'. See 'vemctl predict probe --help'\n"


def test_a_missing_argument_is_named(cli):
    """A forgotten output is told by its name, with the way to the help."""
    ran = cli("predict", "probe", "a", "--view-b", "b")
    assert ran.code == 2
    assert ran.err == "error: Missing argument 'OUTPUT'. See 'vemctl predict probe --help'\n"


def test_json_is_the_only_thing_on_standard_output(cli, workflow):
    """With --json standard output is one JSON object; notes and the end go to standard error."""
    ran = cli(*PREDICT, "--json")
    assert json.loads(ran.out) == {"output": "out.zarr", "blocks": 3}
    assert "warning: half a note" in ran.err
    assert "wrote out.zarr in 2.0 s" in ran.err


def test_quiet_tells_nothing(cli, workflow):
    """With -q a good run is silent."""
    ran = cli(*PREDICT, "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_dry_run_shows_the_plan(cli, workflow):
    """The plan is rendered for people, with sizes in their units."""
    out = cli(*PREDICT, "--dry-run").out
    assert "output shape  4 x 5 x 6" in out
    assert "output        2.0 KiB" in out
    assert "memory\n  block  10 B" in out


def test_a_dry_run_as_json_is_the_plan(cli, workflow):
    """With --json the plan is printed as it is."""
    out = cli(*PREDICT, "--dry-run", "--json").out
    assert json.loads(out)["memory"] == {"block_bytes": 10}


def test_a_flag_that_clashes_is_the_plugins_error(cli):
    """A method whose option is a flag of vemctl's own is refused, with both named."""
    ran = cli("predict", "clash", "a", "b")
    assert ran.code == 2
    assert "its option 'tile' is the flag --tile, which vemctl has already" in ran.err
