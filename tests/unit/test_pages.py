"""Pages are whole documents, escape what they are given, and load nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from vemctl.pages.chart import Mark, histogram, line_chart
from vemctl.pages.page import GENERATOR, START_BYTES, contents, folded, notes, page, section
from vemctl.pages.picker import picker
from vemctl.pages.slider import Image, figure, slider
from vemctl.pages.style import DARK, LIGHT, STYLE
from vemctl.pages.tables import code, facts, table
from vemctl.pages.words import duration_text, number_text, shape_text, size_text, value_text

NASTY = "<script>alert(\"a\")</script>&'b' \udcff\x07"
BLANK = Image("data:image/png;base64,AAAA", "Plane z = 1", 300, 200)
VOID = {"meta", "link", "img", "input", "br"}


class Elements(HTMLParser):
    """Collects elements, and complains where they are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, name):
        return [attributes for tag, attributes in self.found if tag == name]


def whole() -> str:
    """Return a page with one of everything."""
    parts = [
        facts({"Path": NASTY, NASTY: 1.5, "Code": code(NASTY)}),
        table([[NASTY, 1, None], ["b", 2.5, "x"]], ["Name", "Number", NASTY], caption=NASTY),
        notes([NASTY]),
        folded(NASTY, [figure(Image("data:,", NASTY, 9, 9), NASTY)]),
        slider(BLANK, BLANK, name=NASTY, labels=(NASTY, "after")),
        picker({NASTY: BLANK, "b": BLANK}, name=NASTY),
        line_chart(
            {NASTY: ([1, 2, 3], [3.0, 2.0, 1.0]), "b": ([1], [2.0])},
            title=NASTY,
            x_label=NASTY,
            y_label=NASTY,
            marks=[Mark("x", 2, NASTY), Mark("y", 2, NASTY)],
        ),
        histogram({NASTY: ([0, 1, 2], [1.0, 2.0])}, title=NASTY, x_label="x", y_label="y"),
    ]
    return page(NASTY, [contents([NASTY]), section(NASTY, parts)], description=NASTY)


def test_texts_are_escaped_everywhere():
    """Whatever a path or a plugin says, it becomes no element, attribute or script."""
    elements = Elements(whole())

    assert len(elements.named("script")) == 1
    assert {
        key for _, attributes in elements.found for key in attributes if "on" in key[:2]
    } == set()
    assert sum("<script>alert" in text for text in elements.texts) >= 20
    assert "\x07" not in whole()
    whole().encode()


def test_page_is_one_document_with_what_readers_need():
    """A language, a title, one first heading, a way past the links, and our mark at the start."""
    text = whole()
    elements = Elements(text)

    assert text.startswith("<!doctype html>\n")
    assert elements.named("html") == [{"lang": "en"}]
    assert len(elements.named("h1")) == len(elements.named("title")) - 2 == 1
    assert {"class": "skip", "href": "#content"} in elements.named("a")
    assert elements.named("main")[0]["id"] == "content"
    assert GENERATOR.encode() in text.encode()[:START_BYTES]
    assert [tag for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)] == ["h1", "h2"]
    assert {attributes["href"] for attributes in elements.named("a")} == {
        "#content",
        "#" + elements.named("h2")[0]["id"],
    }


def test_page_loads_nothing_and_says_so_to_the_browser():
    """No address but of data, and a policy that allows our own script only."""
    text = whole()
    elements = Elements(text)

    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert not re.search(r"https?://|//[a-z]|url\(|@import", STYLE)
    (policy,) = (
        each["content"]
        for each in elements.named("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    )
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_images_have_alternative_texts_and_sizes():
    """So that nothing moves while a page opens, and nobody misses what is shown."""
    for attributes in Elements(whole()).named("img"):
        assert attributes["alt"]
        assert int(attributes["width"]) > 0
        assert int(attributes["height"]) > 0


def test_slider_is_a_labelled_range_input():
    """Keys move it, and it says what it does."""
    elements = Elements(slider(BLANK, BLANK, name="Plane z = 1"))

    (control,) = elements.named("input")
    assert control["type"] == "range"
    assert control["aria-label"] == "Plane z = 1: how much of before is shown"
    assert [each["alt"] for each in elements.named("img")] == ["Plane z = 1"] * 2


def test_small_images_are_enlarged_and_large_ones_are_not():
    """Single voxels can be seen, up to four pixels each."""
    widths = {
        width: re.search(r"--wide:(\d+)px", figure(Image("data:,", "a", width, 10), ""))[1]
        for width in (10, 100, 320, 321, 1024)
    }

    assert widths == {10: "40", 100: "400", 320: "640", 321: "321", 1024: "1024"}


def test_picker_of_one_image_has_nothing_to_pick():
    """One image is shown as it is."""
    assert not Elements(picker({"a": BLANK}, name="Step")).named("input")
    assert picker({}, name="Step") == ""


def test_tables_name_their_rows_and_columns():
    """Headings have scopes, numbers are on the right, what stands out is marked."""
    text = table([["a", 1, "x"], ["b", None, "y"]], ["Name", "N", "T"], caption="C", marked=[1])
    elements = Elements(text)

    assert [each["scope"] for each in elements.named("th")] == ["col"] * 3 + ["row"] * 2
    assert [each.get("class") for each in elements.named("td")] == ["number", None] * 2
    assert [each.get("class") for each in elements.named("tr")] == [None, None, "marked"]
    assert elements.named("div")[0]["tabindex"] == "0"
    assert Elements(table([], ["Name"], caption="C")).named("td") == []


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_contrast(colours):
    """Text and curves have 4.5 to 1 or more on both grounds, by the formula of WCAG 2."""

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for name in colours.keys() - {"ground", "raised", "rule"}:
        for ground in ("ground", "raised"):
            dark, light = sorted(luminance(colours[each]) for each in (name, ground))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_charts_are_whole_pictures():
    """SVG is well-formed XML with a title and a description that has the numbers."""
    chart = line_chart(
        {"loss": ([0, 10, 20], [4.0, 1.0, float("nan")])}, title="T", x_label="step", y_label="y"
    )
    svg = ET.fromstring(re.search("<svg.*</svg>", chart)[0])

    assert svg.find("title").text == "T"
    assert svg.find("desc").text == (
        "y over step. loss: 4 at 0, 1 at 10; lowest 1 at 10, highest 4 at 0."
    )


def test_words():
    """Numbers, sizes and durations are short, and what is too long says so."""
    assert [number_text(n) for n in (3, 3.0, 0.12345678, 1e-7)] == ["3", "3", "0.1235", "1e-07"]
    assert [size_text(n) for n in (3, 1536, 2**41)] == ["3 B", "1.5 KiB", "2.0 TiB"]
    assert [duration_text(n) for n in (1.25, 65, 3600, 7500)] == [
        "1.2 s",
        "65 s",
        "60 min",
        "2 h 05 min",
    ]
    assert shape_text((9, 256, 2.5)) == "9 \N{MULTIPLICATION SIGN} 256 \N{MULTIPLICATION SIGN} 2.5"
    assert value_text([1, 2]) == "1, 2"
    assert value_text({"a": None, "b": True}) == "a: \N{EN DASH}, b: yes"
    assert value_text("x" * 3000).endswith("x… (3000 characters in all)")
