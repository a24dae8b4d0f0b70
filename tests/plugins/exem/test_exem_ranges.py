"""Which grey values become 0 and 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vemctl_exem.ranges import (
    Range,
    Rule,
    common_rule,
    parse_rule,
    parse_rules,
    rule_of_training,
)

from vemctl.errors import OptionError
from vemctl.plugin import VolumeFacts


def facts(dtype: str = "uint8", **statistics: float) -> VolumeFacts:
    """Return facts with percentiles, which are named p0.5 and so on."""
    named = {f"percentile:{name}": value for name, value in statistics.items()}
    return VolumeFacts((4, 8, 8), dtype, statistics=named)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("dtype", Rule()),
        (" DType ", Rule()),
        ("10,200", Rule("10,200", (10.0, 200.0))),
        (" -5 , 1e3", Rule("-5,1000", (-5.0, 1000.0))),
        ("0,0.5", Rule("0,0.5", (0.0, 0.5))),
        ("0.5%,99.5%", Rule("0.5%,99.5%", (0.5, 99.5), percent=True)),
        ("0 %, 100%", Rule("0%,100%", (0.0, 100.0), percent=True)),
    ],
)
def test_texts_mean_rules(text: str, rule: Rule) -> None:
    """In whatever case and spacing; they are told in one form."""
    assert parse_rule(text, "--lm-range") == rule


@pytest.mark.parametrize(
    "text",
    ["", "type", "5", "5%", "1,2,3", "1,2%", "1%,2", "a,b", "nan,1", "0,inf", "-1%,50%",
     "0%,101%", "nan%,5%", ",", "1,"],
)  # fmt: skip
def test_texts_that_mean_nothing_are_refused(text: str) -> None:
    """In one line that names what is expected."""
    with pytest.raises(OptionError, match=r"^--em-range .*: expected dtype, two values") as error:
        parse_rule(text, "--em-range")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["5,5", "200,10", "50%,50%", "99%,1%"])
def test_ends_come_in_order(text: str) -> None:
    """The lower first, and not the same."""
    with pytest.raises(OptionError, match="expected the lower end first"):
        parse_rule(text, "--lm-range")


@pytest.mark.parametrize(
    "text", ["dtype", "10,200", "0.5%,99.5%", "12345.678,23456.789", "1000000,1000001",
             "0,4294967295", "0.0001%,99.9999%", "1e-7,3e-7"],
)  # fmt: skip
def test_a_rule_comes_back_from_its_text(text: str) -> None:
    """What is stored beside weights means the very same range."""
    rule = parse_rule(text, "--lm-range")
    assert parse_rule(rule.text, "--lm-range") == rule


@pytest.mark.parametrize(
    ("rule", "given", "expected"),
    [
        ("dtype", facts("uint8"), Range(0.0, 255.0)),
        ("dtype", facts("uint16"), Range(0.0, 65535.0)),
        ("dtype", facts("int16"), Range(0.0, 32767.0)),
        ("dtype", facts("float32"), Range(0.0, 1.0)),
        ("20,120", facts("uint16"), Range(20.0, 100.0)),
        ("0.5%,99%", facts("uint16", **{"0.5": 100.0, "99.0": 300.0}), Range(100.0, 200.0)),
    ],
)
def test_ranges_are_of_the_type_the_text_or_the_volume(
    rule: str, given: VolumeFacts, expected: Range
) -> None:
    """Percentiles are those of the volume itself."""
    assert parse_rule(rule, "--lm-range").range_of(given) == expected


@pytest.mark.parametrize(
    ("text", "names"),
    [("dtype", ()), ("1,2", ()), ("0.5%,99.5%", ("percentile:0.5", "percentile:99.5"))],
)
def test_only_percentiles_ask_for_statistics(text: str, names: tuple[str, ...]) -> None:
    """By the names under which they come."""
    assert parse_rule(text, "--lm-range").statistics == names


def test_percentiles_of_a_constant_volume_are_refused() -> None:
    """They are one value."""
    rule = parse_rule("1%,99%", "--lm-range")
    with pytest.raises(OptionError, match="1%,99%: both percentiles of the volume are 7;"):
        rule.range_of(facts(**{"1.0": 7.0, "99.0": 7.0}))


def test_scaling_is_the_published_division() -> None:
    """To the last bit for 8 bit, for arrays and tensors; other ranges begin at their low end."""
    values = np.arange(256, dtype=np.float32)
    scaled = Range(0.0, 255.0).to_network(values)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, values / np.float32(255))
    torch.testing.assert_close(
        Range(0.0, 255.0).to_network(torch.from_numpy(values)), torch.from_numpy(scaled),
        rtol=0, atol=0,
    )  # fmt: skip
    np.testing.assert_allclose(Range(-10.0, 20.0).to_network(values[:11]), values[:11] / 20 + 0.5)


def test_rules_are_one_for_all_or_one_for_each() -> None:
    """Those to validate on come last."""
    first, second, third = (parse_rule(text, "") for text in ("1,2", "dtype", "1%,2%"))
    assert parse_rules((), "--lm-range", 2, 1) == ((Rule(), Rule()), (Rule(),))
    assert parse_rules(("1,2",), "--lm-range", 2, 1) == ((first, first), (first,))
    texts = ("1,2", "dtype", "1%,2%")
    assert parse_rules(texts, "--lm-range", 2, 1) == ((first, second), (third,))
    assert parse_rules(texts, "--lm-range", 3, 0) == ((first, second, third), ())


@pytest.mark.parametrize(
    ("texts", "counts", "words"),
    [
        (("1,2", "1,2"), (3, 0), "2 times --lm-range for 3 volumes: expected one"),
        (("1,2",) * 4, (2, 1), "4 times --lm-range for 2 volumes and 1 to validate on:"),
        (("1,2", "odd"), (2, 0), "--lm-range odd: expected"),
    ],
)
def test_other_numbers_are_refused(texts, counts, words: str) -> None:
    """With what there is."""
    with pytest.raises(OptionError) as error:
        parse_rules(texts, "--lm-range", *counts)
    assert words in str(error.value)


def test_a_rule_that_all_have_is_told() -> None:
    """Beside the weights; several tell nothing."""
    one, other = Rule(), parse_rule("1,2", "")
    assert common_rule((one, one)) == "dtype"
    assert common_rule((other,)) == "1,2"
    assert common_rule((one, other)) is None


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({}, "dtype"),
        ({"normalisation": {"lm": "20,120", "em": "dtype"}}, "20,120"),
        ({"normalisation": {"lm": "1%,99%", "em": None}}, "1%,99%"),
        ({"normalisation": "odd"}, "dtype"),
    ],
)
def test_the_rule_of_a_training_is_read(stored: dict, expected: str) -> None:
    """That of the type if the weights do not tell one."""
    assert rule_of_training(stored, "lm").text == expected


@pytest.mark.parametrize("stored", [{"lm": None, "em": "1,2"}, {"em": "1,2"}, {"lm": 7}])
def test_a_rule_that_weights_do_not_name_is_asked_for(stored: dict) -> None:
    """Volumes of several ranges have none that is another's; nothing is guessed."""
    with pytest.raises(OptionError, match="ranges of their own; say which this one has"):
        rule_of_training({"normalisation": stored}, "lm")


def test_a_damaged_rule_of_weights_is_told() -> None:
    """It names where the rule is from."""
    with pytest.raises(OptionError, match="lm range of the weights odd: expected dtype"):
        rule_of_training({"normalisation": {"lm": "odd"}}, "lm")
