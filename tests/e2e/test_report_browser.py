"""Reports in a real browser: nothing is loaded, nothing complains, sliders move, all fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scipy import ndimage

from e2e.report_browser import Browser, browser, executable
from e2e.report_files import image, write_output, write_run, write_volume
from vemctl.workflows.report import report

pytestmark = pytest.mark.skipif(executable() is None, reason="needs an installed Chromium")

WINDOWS = [(1280, 900), (390, 844), (360, 640)]
RIGHT, HOME = ("ArrowRight", 39), ("Home", 36)
CUT = "getComputedStyle(document.querySelectorAll('.pane')[1]).clipPath"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a tab of a browser."""
    path = executable()
    assert path is not None
    with browser(path, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the report of a run and of an output, with names that are hard to show."""
    folder = tmp_path_factory.mktemp("a & <b> 'c' \"d\"")
    long = "a-very-long-name-without-any-space-in-it-that-does-not-fit-into-a-line" * 2
    source = write_volume(folder / f"{long}.tif", image())
    values = ndimage.uniform_filter(image(), (0, 3, 3))
    output = write_output(folder / f"{long}.zarr", source, values)
    run = write_run(folder / "run", best=30, from_zero=True)
    return {"output": report(output), "run": report(run)}


@pytest.mark.parametrize("name", ["output", "run"])
def test_nothing_is_loaded_and_nothing_complains(tab, pages, name):
    """The page is the only request, the console stays empty, the policy is kept."""
    tab.look(*WINDOWS[0])
    tab.open(pages[name])
    tab.value("document.querySelectorAll('details').forEach((each) => each.open = true)")

    assert tab.requests() == [pages[name].absolute().as_uri()]
    assert tab.complaints() == []
    assert tab.value("document.title")
    assert tab.value("[...document.images].every((each) => each.naturalWidth > 0)")
    assert tab.value("performance.getEntriesByType('resource').length") == 0


def test_policy_stops_what_is_not_ours(tab, pages, tmp_path):
    """A script or an image that somebody puts into the page does nothing."""
    page = pages["output"].read_text()
    bad = "<script>document.title = 'bad'</script><img src='http://127.0.0.1:9/a.png'>"
    path = tmp_path / "page.html"
    path.write_text(page.replace("</main>", f"{bad}</main>"))
    tab.open(path)

    assert tab.value("document.title") != "bad"
    assert sum("Content Security Policy" in told for told in tab.complaints()) == 2


@pytest.mark.parametrize("name", ["output", "run"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WINDOWS, ids=str)
def test_page_fits_its_window(tab, pages, name, scheme, size):
    """No part is wider than a desktop or a telephone, whatever the colours."""
    tab.look(*size, scheme)
    tab.open(pages[name])
    tab.value("document.querySelectorAll('details').forEach((each) => each.open = true)")
    ground = tab.value("getComputedStyle(document.documentElement).backgroundColor")

    assert tab.value("innerWidth") == size[0]
    assert tab.value("document.documentElement.scrollWidth") <= size[0]
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 26)")


def test_keys_move_the_slider(tab, pages):
    """Focus it, press an arrow: the line moves, and those who listen are told."""
    tab.look(*WINDOWS[0])
    tab.open(pages["output"])
    tab.value("document.querySelector('input').focus()")
    before = tab.value(CUT)
    for _ in range(5):
        tab.press(*RIGHT)
    moved = tab.value("document.querySelector('input').value"), tab.value(CUT)
    told = tab.value("document.querySelector('input').getAttribute('aria-valuetext')")
    tab.press(*HOME)

    assert before == "inset(0px 0px 0px 50%)"
    assert moved == ("55", "inset(0px 0px 0px 55%)")
    assert told == "55 % before, 45 % after"
    assert tab.value(CUT) in ("inset(0px)", "inset(0px 0px 0px 0%)")
    assert tab.value(CUT.replace("[1]", "[3]")) == "inset(0px 0px 0px 50%)"


def test_mouse_moves_the_slider(tab, pages):
    """Dragging in the picture sets the line to where the pointer is."""
    tab.look(*WINDOWS[0])
    tab.open(pages["output"])
    place = "document.querySelector('.panes').getBoundingClientRect()"
    tab.value("document.querySelector('.panes').scrollIntoView()")
    left, top, width = (tab.value(f"{place}.{side}") for side in ("left", "top", "width"))
    tab.drag((left + width / 2, top + 30), (left + width / 4, top + 30))

    assert float(tab.value("document.querySelector('input').value")) == pytest.approx(25, abs=1)
    assert tab.value(CUT) == "inset(0px 0px 0px 25%)"


def test_all_controls_can_be_reached_by_keys_and_are_seen(tab, pages):
    """Tab goes from the skip link on through links and sliders, each with a ring around it."""
    tab.look(*WINDOWS[0])
    tab.open(pages["output"])
    seen = []
    for _ in range(12):
        tab.press("Tab", 9)
        seen.append(tab.value("document.activeElement.className || document.activeElement.type"))
        assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    assert seen[0] == "skip"
    assert seen.count("range") == 3


def test_picker_shows_one_preview_at_a_time(tab, pages):
    """The last at first; the keys go back in time."""
    shown = (
        "[...document.querySelectorAll('[data-picker] figure')]"
        ".filter((each) => each.offsetHeight > 0).map((each) => each.dataset.name).join()"
    )
    tab.look(*WINDOWS[0])
    tab.open(pages["run"])
    first = tab.value(shown)
    tab.value("document.querySelector('[data-picker] input').focus()")
    tab.press("ArrowLeft", 37)

    assert first == "Step 40"
    assert tab.value(shown) == "Step 30, the best weights"
    assert tab.value("document.querySelector('output').textContent") == "Step 30, the best weights"


def test_without_scripts_everything_is_shown(tab, pages):
    """Both images beside each other, all previews, and no control that does nothing."""
    tab.look(*WINDOWS[0])
    tab.scripts(allowed=False)
    try:
        for name, count in (("output", 6), ("run", 5)):
            tab.open(pages[name])
            tab.scripts(allowed=True)  # of ours, to look
            seen = "[...document.images].filter((each) => each.offsetHeight > 0).length"
            assert tab.value(seen) == count
            assert tab.value("[...document.querySelectorAll('input')].every(i => !i.offsetHeight)")
            assert tab.value("document.querySelectorAll('.live').length") == 0
            tab.scripts(allowed=False)
    finally:
        tab.scripts(allowed=True)


def test_paper_shows_both_images_in_light_colours(tab, pages):
    """Nothing can be moved on paper."""
    tab.look(794, 1123, "dark", media="print")
    tab.open(pages["output"])
    panes = (
        "[...document.querySelectorAll('.pane')].slice(0, 2).map(e => e.getBoundingClientRect())"
    )
    left, right = tab.value(f"{panes}.map(e => [e.left, e.right])")

    assert left[1] <= right[0]
    assert tab.value("document.querySelector('.control').offsetHeight") == 0
    ground = tab.value("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
