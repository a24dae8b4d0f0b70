"""Pictures: gray values, other sizes, scale bars, text and sheets, down to the pixel."""

from __future__ import annotations

import base64
import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vemctl.pictures.encoding import data_uri, encoded
from vemctl.pictures.gray import BACKGROUND, contrast, contrasts, grown, percentile_range, to_gray
from vemctl.pictures.lettering import Lettering, plain
from vemctl.pictures.resampling import Binned, resampled
from vemctl.pictures.scale_bar import (
    HALO,
    SHARE,
    WHITE,
    bar_length,
    length_text,
    scale_bar,
    with_scale_bar,
)
from vemctl.pictures.sheet import GAP, MARGIN, Panel, arranged, sheet, tabulated

INF = float("inf")


def noise(*shape: int) -> np.ndarray:
    """Return reproducible values."""
    return np.random.default_rng(4).normal(size=shape)


def test_contrast_is_shared_by_all_images() -> None:
    """Percentiles are those of all values together."""
    one, other = np.arange(100.0), np.arange(500, 1500.0)
    expected = np.percentile(np.concatenate([one, other]), (0.5, 99.5))
    assert contrast(one, other.reshape(10, 100)) == pytest.approx(tuple(expected))


def test_contrast_knows_only_finite_values() -> None:
    """Neither NaN nor infinity is a gray value."""
    values = np.arange(1000.0)
    spoilt = np.concatenate([values, [np.nan, INF, -INF]])
    assert contrast(spoilt) == contrast(values)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((4, 4), 7, np.uint8), (6.5, 7.5)),
        (np.full((4, 4), np.nan), (0, 1)),
        (np.where(np.arange(1000) == 3, 9, 0), (0, 9)),
        (np.eye(3, dtype=bool), (0, 1)),
        (np.full((2, 2), 1e9), (1e9 - 1e3, 1e9 + 1e3)),
    ],
)
def test_contrast_is_never_empty(image: np.ndarray, expected: tuple[float, float]) -> None:
    """Constant images get a range around their value, sparse ones their extremes."""
    assert contrast(image) == expected


@pytest.mark.parametrize(
    ("first", "other", "shared"),
    [
        ((0, 100), (0, 100), True),
        ((0, 100), (10, 36), True),
        ((0, 100), (10, 34), False),  # over four times the range
        ((0, 100), (60, 160), True),
        ((0, 100), (70, 170), False),  # 30 of 170
        ((0, 100), (50, 50), False),
        ((7, 7), (7, 7), True),
    ],
)
def test_groups_share_a_contrast_that_shows_both(
    first: tuple[float, float], other: tuple[float, float], shared: bool
) -> None:
    """Whatever their types; else each has its own."""
    one = [np.linspace(*first, 1000, dtype=np.float32), np.linspace(*first, 10)]
    two = [np.linspace(*other, 1000)]
    expected = (contrast(*one, *two),) * 2 if shared else (contrast(*one), contrast(*two))
    assert contrasts(one, two) == expected
    swapped = np.ravel(expected[::-1])
    assert np.ravel(contrasts(two, one)) == pytest.approx(swapped)


def test_a_large_image_is_sampled_evenly() -> None:
    """Its percentiles are found within a thousandth of its range, whatever its width."""
    ramp = np.tile(np.linspace(0, 1, 4096, dtype=np.float32), (2050, 1))
    low, high = contrast(ramp)
    assert (low, high) == pytest.approx((0.005, 0.995), abs=1e-3)


def test_gray_is_linear_between_black_and_white() -> None:
    """What is beyond is cut, NaN is black."""
    values = np.array([[0, 10, 15, 20, 30], [np.nan, INF, -INF, 12, 10]])
    assert to_gray(values, 10, 20).tolist() == [[0, 0, 128, 255, 255], [0, 255, 0, 51, 0]]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "float16", "float64", "bool"])
def test_any_type_becomes_gray(dtype: str) -> None:
    """The smallest value is black and the largest white."""
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert to_gray(values, *contrast(values)).tolist() == [[0, 255], [255, 0]]


def test_growing_repeats_pixels_in_the_middle() -> None:
    """What is left of the canvas is background."""
    canvas = grown(np.array([[1, 2]], np.uint8), 4, 4)
    assert canvas.tolist() == [
        [BACKGROUND] * 4,
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [BACKGROUND] * 4,
    ]


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    factors=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    cuts=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_bins_do_not_depend_on_the_blocks(
    rows: int, columns: int, factors: tuple[int, int], cuts: tuple[int, int]
) -> None:
    """However an image is cut, each bin is the mean, or the maximum, of its pixels."""
    image = np.random.default_rng(rows * 41 + columns).integers(0, 999, (rows, columns))
    mean, largest = (Binned(image.shape, factors, keep) for keep in ("mean", "maximum"))
    for row, column in itertools.product(range(0, rows, cuts[0]), range(0, columns, cuts[1])):
        block = image[row : row + cuts[0], column : column + cuts[1]]
        mean.add(block, (row, column))
        largest.add(block, (row, column))
    for row, column in np.ndindex(mean.result().shape):
        place = [slice(i * f, (i + 1) * f) for i, f in zip((row, column), factors, strict=True)]
        part = image[tuple(place)]
        assert mean.result()[row, column] == pytest.approx(part.mean())
        assert largest.result()[row, column] == part.max()


def test_a_maximum_passes_over_nan_and_a_mean_does_not() -> None:
    """Only what is NaN throughout stays NaN in a projection."""
    image = np.array([[np.nan, 2, np.nan, np.nan], [1, -5, np.nan, np.nan]])
    largest, mean = Binned(image.shape, (2, 2), "maximum"), Binned(image.shape, (2, 2))
    largest.add(image, (0, 0))
    mean.add(image, (0, 0))
    assert np.array_equal(largest.result(), [[2, np.nan]], equal_nan=True)
    assert np.isnan(mean.result()).all()


@given(length=st.integers(1, 60), size=st.integers(1, 60))
def test_shrinking_keeps_the_mean(length: int, size: int) -> None:
    """Each pixel counts as much as it is covered, fractions included."""
    values = np.random.default_rng(length).normal(size=(1, length))
    shrunk = resampled(values, ((0, 1), (0, length)), (1, min(size, length)))
    assert shrunk.mean() == pytest.approx(values.mean(), abs=1e-5)


def test_a_fraction_of_a_pixel_counts_as_a_fraction() -> None:
    """Three pixels become two: one and a half each."""
    shrunk = resampled(np.array([[0.0, 6.0, 12.0]]), ((0, 1), (0, 3)), (1, 2))
    assert shrunk == pytest.approx(np.array([[2, 10]]))


def test_growing_keeps_values_as_they_are() -> None:
    """Nothing is made up between two voxels."""
    large = resampled(np.array([[1.0], [2.0]]), ((0, 2), (0, 1)), (6, 2))
    assert large.tolist() == [[1, 1]] * 3 + [[2, 2]] * 3


def test_nan_stays_where_it_is() -> None:
    """Neighbours of a NaN are not spoilt by it, nor by infinity."""
    image = np.array([[1.0, 1, np.nan, 1, 1, INF, 1, 1, 1]])
    shrunk = resampled(image, ((0, 1), (0, 9)), (1, 6))
    assert np.isnan(shrunk[0]).tolist() == [False, True, False, False, False, False]
    assert np.isinf(shrunk[0]).tolist() == [False, False, False, True, False, False]


def test_a_window_is_cut_out() -> None:
    """Pixels beyond the ends repeat the last."""
    image = noise(10, 12)
    assert np.array_equal(resampled(image, ((2, 7), (3, 9)), (5, 6)), image[2:7, 3:9])
    beyond = resampled(image, ((8, 12), (0, 12)), (4, 12))
    assert np.array_equal(beyond, image[[8, 9, 9, 9]])


@pytest.mark.parametrize(
    ("width_nm", "expected"),
    [
        (1000, (200, "200 nm")),
        (4000, (1000, "1 \u00b5m")),
        (7000, (2000, "2 \u00b5m")),
        (20_000 / 3, (2000, "2 \u00b5m")),
        (50, (10, "10 nm")),
        (2e7, (5e6, "5 mm")),
        (1.0, (0.2, "200 pm")),
    ],
)
def test_bars_are_one_two_or_five(width_nm: float, expected: tuple[float, str]) -> None:
    """The longest that takes at most its share of the width."""
    assert bar_length(width_nm) == expected


@given(st.floats(1e-3, 1e10))
def test_a_bar_takes_its_share(width_nm: float) -> None:
    """Never more than `SHARE` of the width, never less than two fifths of that."""
    length, _ = bar_length(width_nm)
    assert 0.4 * SHARE * width_nm * (1 - 1e-6) <= length <= SHARE * width_nm * (1 + 1e-6)


@pytest.mark.parametrize(
    ("nanometres", "text"), [(999.9999999999, "1 \u00b5m"), (2050, "2.05 \u00b5m"), (40, "40 nm")]
)
def test_lengths_are_written_in_the_unit_that_fits(nanometres: float, text: str) -> None:
    """To three digits."""
    assert length_text(nanometres) == text


@pytest.mark.parametrize(
    ("size", "pixel", "expected"),
    [((300, 400), 8.0, 62), ((700, 1000), 40.0, 250), ((99, 99), 5.0, 20)],
)
def test_the_bar_is_as_long_as_it_says(size: tuple[int, int], pixel: float, expected: int) -> None:
    """White pixels of its row, counted, times the size of a pixel, are the length in the text."""
    drawn = with_scale_bar(np.full(size, 100, np.uint8), pixel)
    bar = scale_bar(*size, pixel)
    assert bar is not None
    rows = (drawn == WHITE).sum(axis=1)
    longest = rows[rows > 0][-1]  # the last rows with any white are the bar's, below the text
    assert longest == bar.pixels == expected
    assert abs(longest * pixel - bar.nanometres) <= pixel / 2
    assert (drawn[: size[0] // 2] == 100).all()
    assert (drawn[:, -HALO:] == 100).all()


def test_small_pictures_have_no_bar() -> None:
    """Nor is one drawn that belongs to a larger picture."""
    small = np.full((20, 400), 9, np.uint8)
    assert scale_bar(20, 400, 8.0) is None
    assert np.array_equal(with_scale_bar(small, 8.0), small)
    large = scale_bar(500, 500, 8.0)
    narrow = np.full((500, 90), 9, np.uint8)
    assert np.array_equal(with_scale_bar(narrow, 8.0, large), narrow)


def test_text_has_only_letters_of_the_font() -> None:
    """A box for a missing letter would be no help; micro is what is needed most."""
    assert plain("2 \u03bcm \u00e9t\u00e9 \u65e5.tif") == "2 \u00b5m ete ?.tif"


def test_the_micro_sign_is_a_u_with_a_tail() -> None:
    """Above the base line it is the u itself."""
    lettering = Lettering(26)

    def drawn(text: str) -> np.ndarray:
        picture = Image.new("L", (60, 50), 0)
        lettering.write(ImageDraw.Draw(picture), (10, 5), text)
        return np.asarray(picture)

    micro, u, p = (drawn(text) for text in ("\u00b5", "u", "p"))
    base = np.flatnonzero(u.any(axis=1))[-1]
    tail = np.flatnonzero(micro.any(axis=1))[-1]
    assert (micro[: base + 1] >= u[: base + 1]).all()
    assert tail == np.flatnonzero(p.any(axis=1))[-1] > base
    assert micro[base + 2 : tail].any(axis=0).sum() <= 3


def test_long_names_lose_their_middle() -> None:
    """What tells files apart is at both ends."""
    lettering = Lettering()
    short = lettering.shortened("a" * 60 + ".zarr", 120)
    assert lettering.width(short) <= 120
    assert short.startswith("aaa")
    assert short.endswith(".zarr")
    assert lettering.shortened("a.tif", 120) == "a.tif"
    assert lettering.shortened("wide", 1) == ""


def test_lines_are_as_long_as_fits() -> None:
    """No word is lost, and none is wider than the line."""
    lettering = Lettering()
    text = "one two three four five " + "x" * 80
    lines = lettering.wrapped(text, 100)
    assert max(map(lettering.width, lines)) <= 100
    assert " ".join(lines).split()[:5] == text.split()[:5]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_file_shows_what_was_encoded(kind: str) -> None:
    """PNG without any loss; the same picture gives the same bytes."""
    gray = np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))
    data = encoded(gray, kind)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == kind.upper()
        shown = np.asarray(image.convert("L")).astype(int)
    assert np.abs(shown - gray).max() <= (0 if kind == "png" else 4)
    assert encoded(gray, kind) == data
    start, _, text = data_uri(data, kind).partition(",")
    assert start == f"data:image/{kind};base64"
    assert base64.b64decode(text) == data


def test_colours_are_encoded_too() -> None:
    """For figures that are not gray."""
    colours = np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8)
    with Image.open(io.BytesIO(encoded(colours, "png"))) as image:
        assert np.array_equal(np.asarray(image), colours)


def panel(height: int, width: int, value: int = 240, caption: str = "z = 1") -> Panel:
    """Return a panel of one gray, lighter than any letter."""
    return Panel(np.full((height, width), value, np.uint8), caption)


def test_a_sheet_shows_all_panels_whole() -> None:
    """Nothing overlaps them, neither captions nor notes nor each other."""
    rows = [
        [panel(300, 320, 241), panel(300, 320, 242)],
        [panel(90, 320, 243), panel(90, 320, 244)],
    ]
    made = sheet(rows, headings=["a.tif", "b.zarr"], notes=["what is shown " * 20])
    for value, height in ((241, 300), (242, 300), (243, 90), (244, 90)):
        y, x = np.nonzero(made == value)
        block = made[y.min() : y.min() + height, x.min() : x.min() + 320]
        assert (block == value).all()
    assert made.shape[1] == 2 * MARGIN + 2 * 320 + GAP
    edge = np.concatenate(
        [made[:MARGIN].ravel(), made[-MARGIN:].ravel(), made[:, -MARGIN:].ravel()]
    )
    assert (edge == BACKGROUND).all()


def test_a_caption_is_never_cut() -> None:
    """A narrow picture gets a wide column."""
    long = "XZ, y = 16384 (131 \u00b5m)"
    made = sheet([[panel(50, 5, 200, long), panel(50, 5, 250, long)]])
    second = np.nonzero(made == 250)[1].min()
    assert second >= MARGIN + Lettering().width(long) + GAP


def test_flat_panels_stand_below_each_other() -> None:
    """Square ones stand side by side."""
    assert len(arranged([panel(300, 300)] * 3)) == 1
    assert len(arranged([panel(300, 300), panel(40, 300), panel(40, 300)])) == 3


def test_many_panels_fill_a_page() -> None:
    """Twelve squares are three rows of four; the last row may be shorter."""
    assert [len(row) for row in tabulated([panel(64, 64)] * 12)] == [4, 4, 4]
    assert [len(row) for row in tabulated([panel(64, 64)] * 7)] == [3, 3, 1]
    assert [len(row) for row in tabulated([panel(8, 400)] * 3)] == [1, 1, 1]


def test_without_contrast_there_are_no_percentiles() -> None:
    """So that a caller can look for another image to take them from."""
    assert percentile_range(np.zeros(5)) is None
    assert percentile_range() is None
