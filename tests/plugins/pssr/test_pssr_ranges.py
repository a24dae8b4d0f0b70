"""Which values are 0 and 1 to the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_pssr.ranges import (
    RangeRule,
    Ranges,
    parse_range,
    range_of_training,
    rule_as_trained,
    rule_for,
    rule_of_training,
    scaled,
    unscaled,
)

from vemctl.errors import InputError, OptionError
from vemctl.plugin import VolumeFacts


def facts(
    dtype: str = "uint16", tops: list[float] | None = None, depth: int = 3, **known: float
) -> VolumeFacts:
    """Return facts with statistics; their names begin with low and high for limits, p for P%."""
    names = {"low": "bound:min", "high": "bound:max"}
    statistics = {
        names.get(name, f"percentile:{name[1:]}" if name[0] == "p" else name): value
        for name, value in known.items()
    }
    slices = {} if tops is None else {"slices:max": tops}
    return VolumeFacts((depth, 8, 8), dtype, statistics=statistics, slices=slices)


def refusal(rule: str, given: VolumeFacts, flag: str = "--scale-range") -> str:
    """Return the one line of the error."""
    with pytest.raises(InputError) as error:
        parse_range(rule, flag).ranges_of(given, "the input")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("the input: ")
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "rule", "statistics"),
    [
        ("max", RangeRule("max", "max"), {"min", "max"}),
        ("slice", RangeRule("slice", "slice"), {"min", "slices:max"}),
        ("first-slice", RangeRule("first-slice", "first-slice"), {"min", "slices:max"}),
        ("dtype", RangeRule("dtype", "dtype"), {"bound:min", "bound:max"}),
        ("0,4095", RangeRule("0,4095", "values", (0.0, 4095.0)), set()),
        (" -5 , 1e3", RangeRule(" -5 , 1e3", "values", (-5.0, 1000.0)), set()),
        (
            "0.5%, 99.9%",
            RangeRule("0.5%, 99.9%", "percentiles", (0.5, 99.9)),
            {"percentile:0.5", "percentile:99.9"},
        ),
    ],
)
def test_texts_mean_rules(text: str, rule: RangeRule, statistics: set[str]) -> None:
    """Which ask for just what they need."""
    assert parse_range(text) == rule
    assert set(rule.statistics) == statistics
    assert parse_range(text, "--hr-range").flag == "--hr-range"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *(
            (text, "expected max, first-slice, slice, dtype, two values such as 0,4095, or two")
            for text in ("", "Max", "5", "5%", "1,2,3", "1,2%", "1%,2", "a,b", ",", "%,%",
                         "nan,1", "0,inf", "-inf,0", "nan%,5%")
        ),
        ("5,5", "expected the lower end first"),
        ("2,-1", "expected the lower end first"),
        ("99%,1%", "expected the lower end first between 0 and 100"),
        ("-1%,50%", "expected the lower end first between 0 and 100"),
        ("0%,100.5%", "expected the lower end first between 0 and 100"),
    ],
)  # fmt: skip
def test_other_texts_are_refused(text: str, words: str) -> None:
    """In one line with the flag, the text and what is expected."""
    with pytest.raises(OptionError) as error:
        parse_range(text, "--hr-range")
    assert str(error.value).startswith(f"--hr-range {text}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rule", "given", "ends"),
    [
        ("max", facts(min=3, max=700), (0, 700)),
        ("max", facts("float32", min=0, max=0.25), (0, 0.25)),
        ("dtype", facts("uint8", low=0, high=255), (0, 255)),
        ("dtype", facts("uint16", low=0, high=65535), (0, 65535)),
        ("dtype", facts("int16", low=0, high=32767), (0, 32767)),
        ("dtype", facts("float32", low=0.1, high=0.6), (0, 1)),
        ("-3,17.5", facts("float32"), (-3, 17.5)),
        ("1%,99%", VolumeFacts((3, 8, 8), "uint8", statistics={
            "percentile:1.0": 20, "percentile:99.0": 90}), (20, 90)),
    ],
)  # fmt: skip
def test_one_range_is_that_of_all_slices_and_series(
    rule: str, given: VolumeFacts, ends: tuple[float, float]
) -> None:
    """From statistics, the type or the text."""
    ranges = parse_range(rule).ranges_of(given, "the input")
    assert [ranges.of(series, z) for series in (0, 2) for z in (0, 2)] == [ends] * 4


def test_slices_have_ranges_of_their_own_in_every_series() -> None:
    """Or that of the first slice of the same channel and time point."""
    given = facts(min=0, tops=[4, 2, 8, 50, 70, 60], max=70)
    each = parse_range("slice").ranges_of(given, "the input")
    assert [each.of(0, z)[1] for z in range(3)] == [4, 2, 8]
    assert [each.of(1, z)[1] for z in range(3)] == [50, 70, 60]
    first = parse_range("first-slice").ranges_of(given, "the input")
    assert [first.of(s, z) for s in (0, 1) for z in range(3)] == [(0, 4)] * 3 + [(0, 50)] * 3
    dark_later = facts(min=0, tops=[4, 0, 8])
    assert parse_range("first-slice").ranges_of(dark_later, "the input").of(0, 1) == (0, 4)


@pytest.mark.parametrize(
    ("rule", "given", "words"),
    [
        ("dtype", facts("int16", low=-7, high=32767), "values down to -7, where 0 should be black; "
         "expected none below 0, or give the range: --scale-range -7,32767"),
        ("max", facts("int16", min=-3, max=9), "values down to -3, where 0 should be black; "
         "expected none below 0, or give the range: --scale-range -3,9"),
        ("slice", facts("float32", [1, 2, 3], min=-0.5), "values down to -0.5, where 0"),
        ("first-slice", facts("float32", [1, 2, 3], min=-0.5), "values down to -0.5, where 0"),
        ("dtype", facts("float32", low=-1, high=1), "values down to -1, where 0"),
        ("dtype", facts("float32", low=0, high=700.25),
         "floating values up to 700.25, expected 0 to 1; give the range: --scale-range 0,700.25"),
        ("max", facts(min=0, max=0), "every voxel is 0 within --scale-range max; expected an "
         "image, or give two values such as 0,255"),
        ("slice", facts(min=0, tops=[1, 2, 3, 4, 0, 6]), "slice 1 is black, and --scale-range "
         "slice divides by its maximum; give another range, such as max"),
        ("first-slice", facts(min=0, tops=[1, 2, 3, 0, 5, 6]), "slice 0 is black, and "
         "--scale-range first-slice divides by its maximum; give another range, such as max"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(rule: str, given: VolumeFacts, words: str) -> None:
    """With the value, and the option that mends it."""
    assert words in refusal(rule, given)


def test_errors_name_the_flag_that_was_given() -> None:
    """Also of percentiles that are one value."""
    tied = VolumeFacts((3, 8, 8), "uint8", statistics={"percentile:1.0": 7, "percentile:2.0": 7})
    assert "every voxel is 7 within --lr-range 1%,2%;" in refusal("1%,2%", tied, "--lr-range")
    assert "--hr-range 0,2" in refusal("dtype", facts("float32", low=0, high=2), "--hr-range")


def test_a_training_has_one_range_for_a_volume() -> None:
    """None by slice."""
    assert rule_of_training("1%,2%", "--lr-range") == parse_range("1%,2%", "--lr-range")
    for text in ("slice", "first-slice"):
        with pytest.raises(
            OptionError, match=rf"^--hr-range {text}: a training has one range for a volume; exp"
        ):
            rule_of_training(text, "--hr-range")


def test_rules_are_as_trained_or_as_published() -> None:
    """The published notebook divides by the first slice's maximum, the script by the stack's."""
    own = {"normalisation": {"mean": [0.1], "range": "0,4095"}}
    export = {"normalisation": {"mean": [0.1], "std": [0.2]}}
    for from_notebook, published in ((False, "max"), (True, "first-slice")):
        assert rule_as_trained(own, from_notebook=from_notebook).text == "0,4095"
        for told in (export, {}, {"normalisation": None}):
            assert rule_as_trained(told, from_notebook=from_notebook).text == published


@pytest.mark.parametrize("case", [0, 1, 2])
def test_scaling_by_the_maximum_is_the_published_division(case: int) -> None:
    """To the last bit, of every type, as an array and as a tensor."""
    _, stored, _ = load_fixture("pssr_normalise")
    stack, published = stored[f"input_{case}"], stored[f"scaled_{case}"]
    given = facts(stack.dtype.name, min=float(stack.min()), max=float(stack.max()))
    ends = parse_range("max").ranges_of(given, "the input").of(0, 1)
    values = stack.astype(np.float32)
    made = scaled(values, ends)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, published)
    np.testing.assert_array_equal(scaled(torch.from_numpy(values), ends).numpy(), published)
    np.testing.assert_allclose(unscaled(made, ends), values, rtol=1e-6)


def test_low_ends_become_0_and_come_back() -> None:
    """With values beyond the ends, which are not cut off."""
    values = np.float32([-20, -10, 0, 10, 50])
    made = scaled(values, (-10.0, 10.0))
    np.testing.assert_array_equal(made, np.float32([-0.5, 0, 0.5, 1, 3]))
    np.testing.assert_array_equal(unscaled(made, (-10.0, 10.0)), values)
    assert Ranges((-10.0, 10.0)).of(5, 5) == (-10.0, 10.0)


def test_channels_have_their_own_maximum() -> None:
    """Over all time points and slices; series go through channels within each time point."""
    two = replace(facts(min=0, max=90, tops=[1, 2, 10, 20, 4, 3, 90, 5], depth=2), num_channels=2)
    ranges = parse_range("max").ranges_of(two, "the input")
    assert [ranges.of(series, z) for series in range(4) for z in range(2)] == [
        (0, top) for top in (4, 4, 90, 90, 4, 4, 90, 90)
    ]
    assert set(parse_range("max").statistics_to_predict) == {"min", "max", "slices:max"}


def test_ranges_of_a_training_follow_the_type() -> None:
    """Unless they are asked for; the record says what a prediction has to do."""
    assert rule_for(None, "--hr-range", "uint8").kind == "dtype"
    assert rule_for(None, "--hr-range", "uint16").kind == "max"
    assert rule_for("0,9", "--hr-range", "uint16").ends == (0, 9)
    assert range_of_training(None, ["uint8", "uint8"]) == "dtype"
    assert range_of_training(None, ["uint8", "int16"]) == "max"
    assert range_of_training("1%,99%", ["uint8"]) == "1%,99%"
