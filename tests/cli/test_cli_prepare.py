"""`vemctl prepare METHOD INPUT... OUTPUT`: flags, a file of them, plans, results and mishaps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from vemctl.volumes.open import open_volume

RAW = np.random.default_rng(0).integers(0, 256, (6, 9, 12)).astype(np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder with a raw volume."""
    monkeypatch.chdir(tmp_path)
    np.save("raw.npy", RAW)
    return tmp_path


def names(folder: Path) -> set[str]:
    """Return what is in a folder, hidden things too."""
    return {path.name for path in folder.iterdir()}


def taken(seed: int, count: int = 10) -> np.ndarray:
    """Return the slices that the method takes."""
    rng = np.random.default_rng(seed)
    return np.stack([RAW[int(rng.integers(6))] for _ in range(count)])


def made(folder: str = "set") -> np.ndarray:
    """Read what was made."""
    volume = open_volume(Path(folder) / "taken.zarr")
    z, y, x = (slice(0, n) for n in volume.header.shape)
    return volume.read((z, y, x))


def test_only_methods_that_prepare_are_listed(cli):
    """Neither others, nor those that are broken, which do no harm."""
    for words in (("prepare", "--help"), ("prepare",)):
        ran = cli(*words)
        assert "larder" in ran.out
        assert not {"probe", "clash", "broken", "twin", "denoise"} & set(ran.out.split())
        assert "Traceback" not in ran.err
    assert "prepare" in cli("--help").out
    rows = {row["name"]: row for row in json.loads(cli("methods", "--json").out)}
    assert rows["larder"]["commands"] == ["predict", "prepare"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["denoise", "a.npy", "set"],
            "error: denoise has no prepare: its training reads volumes as they are; see vemctl "
            "train denoise --help\n",
        ),
        (["probe", "--help"], "error: probe has no prepare: "),
        (["lader", "a.npy", "set"], "error: No such method 'lader'. Did you mean 'larder'? Inst"),
        (["broken", "a.npy", "set"], "no_such_package"),
        (["twin", "a.npy", "set"], "uninstall one"),
        (["larder"], "error: Missing argument 'INPUT... OUTPUT'"),
        (["larder", "set"], "error: set: one path only; expected inputs and then the new folder\n"),
        (["larder", "none.npy", "set"], "error: none.npy: no such file"),
        (["larder", "a", "set", "--count", "0"], "--count is '0', expected a whole number from 1"),
        (["larder", "a", "set", "--coun", "1"], "No such option: --coun"),
        (["larder", "a", "set", "--seed", "-1"], "--seed is '-1'"),
        (["larder", "a", "set", "--offline"], "No such option: --offline"),
    ],
)
def test_what_cannot_be_prepared_is_one_line(cli, here, words, expected):
    """It names what is wrong and leaves nothing."""
    ran = cli("prepare", *words)
    assert ran.code == 2
    assert expected in ran.err
    assert ran.err.count("\n") == 1
    assert names(here) == {"raw.npy"}


def test_help_has_every_flag_of_the_method_and_of_all(cli):
    """Texts are shown as they are; examples stand at the end."""
    out = cli("prepare", "larder", "--help").out
    own, common = "count invert spice mishap", "seed overwrite axes level channel timepoint"
    for flag in f"{own} {common} config dry-run json".split():
        assert f"--{flag}" in out
    assert "Usage: vemctl prepare larder [OPTIONS] INPUT... OUTPUT\n" in re.sub(" +\n", "\n", out)
    assert "a [bracket] stays" in out
    assert "vemctl prepare larder RAW DATA --dry-run" in out
    assert "Keep slices for later." in out


def test_a_set_is_made_and_told_of(cli, here):
    """By default only on standard error."""
    ran = cli("prepare", "larder", "raw.npy", "set", "--no-progress")
    assert (ran.code, ran.out) == (0, "")
    assert np.array_equal(made(), taken(0))
    assert names(here) == {"raw.npy", "set"}
    assert names(here / "set") == {"taken.zarr", "prepare.json"}


def test_the_result_may_be_json(cli, here):
    """One object, on standard output; -q tells nothing else."""
    ran = cli("prepare", "larder", "raw.npy", "set", "--json", "-q", "--count", "3", "--seed", "7")
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert told.pop("seconds") >= 0
    assert told == {"output": "set", "slices": 3}
    assert np.array_equal(made(), taken(7, 3))
    record = json.loads((here / "set" / "prepare.json").read_text(encoding="utf-8"))
    assert record["options"] == {"count": 3, "invert": False, "spice": [], "mishap": "none"}
    assert (record["seed"], record["inputs"]) == (7, [str(here / "raw.npy")])


def test_a_plan_writes_nothing(cli, here):
    """It is shown for people, or as JSON, and refuses what the run would."""
    ran = cli("prepare", "larder", "raw.npy", "set", "--dry-run")
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["method", "larder"], ["inputs", "raw.npy"], ["output", "set"], ["slices", "10"],
        ["uncompressed", "2.0", "KiB"],
    ]  # fmt: skip
    ran = cli("prepare", "larder", "raw.npy", "set", "--dry-run", "--json", "--count", "4")
    assert json.loads(ran.out) == {
        "method": "larder", "inputs": ["raw.npy"], "output": "set", "slices": 4,
        "uncompressed_bytes": 2048,
    }  # fmt: skip
    assert cli("prepare", "larder", "raw.npy", "raw.npy", "--dry-run").code == 2
    assert names(here) == {"raw.npy"}


def test_flags_win_over_a_file_and_the_file_over_defaults(cli, here):
    """Keys are the flags of all groups; paths, and switches of the command line, are none."""
    config = here / "settings.toml"
    config.write_text(
        'count = 4\ninvert = true\nseed = 2\nspice = ["a", "b"]\naxes = "zyx"\n', encoding="utf-8"
    )
    ran = cli("prepare", "larder", "raw.npy", "set", "--config", config, "--seed", "5")
    assert ran.code == 0, ran.err
    assert "2 spices" in ran.err
    assert np.array_equal(made(), 255 - taken(5, 4))
    record = json.loads((here / "set" / "prepare.json").read_text(encoding="utf-8"))
    assert record["options"]["spice"] == [str(here / "a"), str(here / "b")]
    assert record["input"]["axes"] == "zyx"
    for text, words in (
        ("cout = 1", "unknown key 'cout'. Did you mean 'count'?"),
        ("count = 0", "count is 0, expected a whole number from 1 to 1000"),
        ("output = 'x'", "'output' is set on the command line only"),
        ("json = true", "'json' is set on the command line only"),
        ("tile = [1, 2, 3]", "unknown key 'tile'"),
    ):
        config.write_text(text, encoding="utf-8")
        ran = cli("prepare", "larder", "raw.npy", "other", "--config", config)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert words in ran.err
    assert names(here) == {"raw.npy", "set", "settings.toml"}


def test_an_old_set_is_replaced_by_a_flag(cli, here):
    """And nothing else is."""
    cli("prepare", "larder", "raw.npy", "set", "-q", "--count", "2")
    ran = cli("prepare", "larder", "raw.npy", "set", "--count", "3")
    assert (ran.code, len(made())) == (2, 2)
    assert ran.err == "error: set: exists: pass --overwrite or choose another output\n"
    ran = cli("prepare", "larder", "raw.npy", "set", "--count", "3", "--overwrite", "-q")
    assert (ran.code, len(made())) == (0, 3)
    (here / "mine").mkdir()
    ran = cli("prepare", "larder", "raw.npy", "mine", "--overwrite")
    assert ran.code == 2
    assert "mine: not made by vemctl prepare" in ran.err
    ran = cli("prepare", "larder", ".", "mine/set")
    assert ran.code == 2
    assert "mine/set: in the input .; choose another output" in ran.err


@pytest.mark.parametrize(
    ("mishap", "code", "words"),
    [
        ("error", 2, "error: the raw volume is rotten; take another\n"),
        ("bug", 1, "KeyError: 'mould'"),
        ("signal", 130, "SIGTERM: stopping; nothing of the output stays"),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_a_mishap_leaves_what_was_there(cli, here, mishap, code, words, old):
    """Nothing, or the old set; and nobody is told to resume."""
    there = {"raw.npy"}
    if old:
        cli("prepare", "larder", "raw.npy", "set", "-q", "--count", "2")
        there |= {"set"}
    overwrite = ["--overwrite"] if old else []
    ran = cli("prepare", "larder", "raw.npy", "set", "--mishap", mishap, *overwrite)
    assert ran.code == code
    assert words in ran.err
    assert "resume" not in ran.err
    assert names(here) == there
    if old:
        assert np.array_equal(made(), taken(0, 2))


def test_verbose_shows_where_an_error_came_from(cli, here):
    """With -v the traceback stands before the line."""
    ran = cli("prepare", "larder", "raw.npy", "set", "--mishap", "error", "-v")
    assert "Traceback" in ran.err
    assert ran.err.endswith("error: the raw volume is rotten; take another\n")


def test_what_a_killed_process_left_goes_with_the_next_run(fresh, tmp_path):
    """The output is absent after it; a run after that makes it and tidies up."""
    np.save(tmp_path / "raw.npy", RAW)
    words = ("-m", "vemctl", "prepare", "larder", "raw.npy", "set", "--count", "200")
    assert fresh(*words, "--mishap", "death").code == 137
    left = names(tmp_path)
    assert "set" not in left
    assert any(name.startswith("set.") and name.endswith(".partial") for name in left)
    ran = fresh(*words)
    assert ran.code == 0, ran.err
    assert names(tmp_path) == {"raw.npy", "set"}


def test_help_and_completion_need_no_torch(fresh):
    """Whoever asks what can be prepared does not wait."""
    code = (
        "import sys\nfrom vemctl.__main__ import main\n"
        "main(['prepare', '--help'])\nmain(['prepare', 'larder', '--help'])\n"
        "print(sorted({'torch', 'zarr', 'scipy'} & set(sys.modules)))"
    )
    ran = fresh("-c", code)
    assert ran.code == 0, ran.err
    assert ran.out.endswith("[]\n")
