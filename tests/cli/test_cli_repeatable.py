"""A field of type ``tuple[Path, ...]`` is a flag that may be repeated, and a list in files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from vemctl import registry
from vemctl.errors import MethodError, OptionError
from vemctl.plugin import option
from vemctl.workflows.config import request_from_json, request_to_json
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.settings import options_from_mapping, settings_of

PREDICT = ("predict", "probe", "a.tif", "--view-b", "b.tif", "out.zarr", "--rounds", "3")


@dataclasses.dataclass(frozen=True)
class Several:
    """Repeatable settings: with a default, without one, and with None."""

    slow: tuple[Path, ...] = option(help="Needed.", metavar="VOLUME")
    fast: tuple[Path, ...] = option((Path("a"), Path("b")), help="With a default.")
    mask: tuple[Path, ...] | None = option(None, help="Perhaps.")


def test_a_flag_may_be_repeated(cli, workflow):
    """Paths arrive as a tuple, in the order typed; commas and spaces in them stay."""
    ran = cli(*PREDICT, "--reference", "z.tif", "--mode", "fine", "--reference", "a, b.tif")
    assert ran.code == 0, ran.err
    assert workflow.request.method_options.reference == (Path("z.tif"), Path("a, b.tif"))


def test_a_flag_given_once_is_a_tuple_of_one(cli, workflow):
    """The type does not depend on how often the flag is there."""
    cli(*PREDICT, "--reference=z.tif")
    assert workflow.request.method_options.reference == (Path("z.tif"),)


def test_without_the_flag_the_default_stays(cli, workflow):
    """Nothing typed is the dataclass's own default."""
    cli(*PREDICT)
    assert workflow.request.method_options.reference == ()


def test_the_help_shows_the_flag_without_an_empty_default(cli):
    """The help names the flag and how a value is written, and no default of nothing."""
    out = cli("predict", "probe", "--help").out
    start = out.index("--reference")
    words = out[start : out.index("--sharpen", start)]
    assert "PATH" in words
    assert "default" not in words


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('reference = "a.tif"', ("a.tif",)),
        ('reference = ["a.tif", "b.tif"]', ("a.tif", "b.tif")),
        ("reference = []", ()),
    ],
)
def test_a_file_has_a_list_or_one_text(cli, workflow, tmp_path, text, paths):
    """In TOML a single text is a list of one; flags win over all of the list."""
    config = tmp_path / "settings.toml"
    config.write_text(text)
    ran = cli(*PREDICT, "--config", config)
    assert ran.code == 0, ran.err
    cli(*PREDICT, "--config", config, "--reference", "c.tif")
    found = [request.method_options.reference for request in workflow.requests]
    assert found == [tuple(map(Path, paths)), (Path("c.tif"),)]


@pytest.mark.parametrize("value", ["3", "[1]", '["a", ["b"]]', "true", "{a = 1}"])
def test_an_unusable_list_is_one_line(cli, workflow, tmp_path, value):
    """Numbers, tables and lists in lists are no paths."""
    config = tmp_path / "settings.toml"
    config.write_text(f"reference = {value}")
    ran = cli(*PREDICT, "--config", config)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "expected paths, one per flag or in a list" in ran.err or "expected a path" in ran.err
    assert not workflow.requests


def test_a_record_has_absolute_paths(plugins):
    """As JSON they are a list of absolute texts, which become the same request again."""
    options = registry.get("probe").predict_options(rounds=1, reference=(Path("a"), Path("/b")))
    request = PredictRequest("probe", (Path("/x"), Path("/y")), Path("o.zarr"), None, options)
    form = json.loads(json.dumps(request_to_json(request)))
    assert form["method_options"]["reference"] == [str(Path("a").absolute()), "/b"]
    again = request_from_json(form, Path("o.zarr")).method_options
    assert again.reference == (Path("a").absolute(), Path("/b"))


def test_a_required_one_must_have_an_element():
    """Absent or empty is missing; None is for those that may be None."""
    made = options_from_mapping(Several, {"slow": "s"}, "here")
    assert made == Several(slow=(Path("s"),))
    assert options_from_mapping(Several, {"slow": ["s"], "mask": None}, "here").mask is None
    for mapping in ({}, {"slow": []}, {"slow": None}, {"slow": ["s"], "fast": None}):
        with pytest.raises(OptionError, match="expected paths, one per flag or in a list"):
            options_from_mapping(Several, mapping, "here")


def test_what_a_setting_says_of_itself():
    """It is repeatable, and its way of writing is that of one element."""
    slow, fast, mask = settings_of(Several)
    assert all(setting.repeatable for setting in (slow, fast, mask))
    assert (slow.metavar, fast.metavar, mask.optional) == ("VOLUME", "PATH", True)
    assert slow.from_text("a,b") == (Path("a,b"),)
    assert not any(setting.repeatable for setting in settings_of(Single))


def test_other_tuples_of_any_length_are_the_plugins_error():
    """Only paths can be repeated."""

    @dataclasses.dataclass(frozen=True)
    class Odd:
        """Has a field that cannot be a flag."""

        rates: tuple[float, ...] = option((), help="Rates.")

    with pytest.raises(MethodError, match=r"'rates' is a tuple.*tuple\[Path, ...\]"):
        settings_of(Odd)


@dataclasses.dataclass(frozen=True)
class Single:
    """Settings that have one value, or a fixed number."""

    path: Path = option(Path(), help="One.")
    tile: tuple[int, int] = option((1, 2), help="Two.")


def test_texts_may_be_repeated_too():
    """As paths are; in a file they are a list."""

    @dataclasses.dataclass(frozen=True)
    class Texts:
        ranges: tuple[str, ...] = option((), help="Some.")

    (setting,) = settings_of(Texts)
    assert setting.repeatable
    assert setting.from_text("0,1") == ("0,1",)
    assert options_from_mapping(Texts, {"ranges": ["a", "b"]}, "x.toml") == Texts(("a", "b"))
    with pytest.raises(OptionError, match="expected texts, one per flag or in a list"):
        options_from_mapping(Texts, {"ranges": 3}, "x.toml")
