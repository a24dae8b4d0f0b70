"""vsisr from the command line: series, channels, odd volumes, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from vemctl_vsisr.discriminator import Discriminator
from vemctl_vsisr.network import Generator

from e2e.conftest import Run
from e2e.vsisr_files import (
    PREDICT,
    SHAPE,
    blobs,
    composed,
    tops,
    whole,
    write_all,
    write_microscope,
    write_stack,
)
from vemctl.nn.own_weights import write_weights

Predict = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """Write a volume, a microscope and weights."""
    write_all(tmp_path)


@pytest.fixture
def predict(here: Run, tmp_path: Path) -> Predict:
    """Return a function that restores a file and returns the result."""

    def restore(source: str, output: str, *words: object, **where: int) -> np.ndarray:
        done = here("predict", "vsisr", source, output, *PREDICT, *words)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
        return whole(tmp_path / output, **where)

    return restore


@pytest.fixture
def series(tmp_path: Path) -> np.ndarray:
    """Write three time points, each half as bright as the one before, as a file and a folder."""
    stacks = np.stack([blobs(seed=n) // 2**n for n in range(3)])
    write_stack(tmp_path / "series.tif", stacks, "TZYX")
    (tmp_path / "series").mkdir()
    for number, stack in zip((1, 2, 10), stacks, strict=True):
        write_stack(tmp_path / f"series/t{number}.tif", stack)
    return stacks


def test_time_points_are_as_bright_to_one_another_as_the_inputs(
    series: np.ndarray, predict: Predict, tmp_path: Path
) -> None:
    """Of an axis or of a folder of stacks."""
    predict("series.tif", "axis.zarr")
    made = [whole(tmp_path / "axis.zarr", timepoint=t) for t in range(3)]
    predict("series", "folder.zarr")
    for t in range(3):
        np.testing.assert_array_equal(whole(tmp_path / "folder.zarr", timepoint=t), made[t])
    before = np.array([tops(stack[3:-3]).max() for stack in series])
    after = np.array([tops(stack).max() for stack in made])
    np.testing.assert_allclose(after / after[0], before / before[0], atol=0.05)


def test_time_points_may_have_the_full_range_each(
    series: np.ndarray, predict: Predict, tmp_path: Path
) -> None:
    """Each is then what it is when it is restored alone."""
    predict("series.tif", "out.zarr", "--time-range", "timepoint")
    for t, number in enumerate((1, 2, 10)):
        made = whole(tmp_path / "out.zarr", timepoint=t)
        assert made.min() == 0
        assert made.max() >= 65534  # cut off, not rounded, as published
        np.testing.assert_array_equal(made, predict(f"series/t{number}.tif", f"{t}.zarr"))


def test_channels_have_microscopes_of_their_own(
    predict: Predict, here: Run, tmp_path: Path
) -> None:
    """Each is what it is alone, with its transfer functions or with those for all."""
    write_microscope(tmp_path / "other", 22.0)
    channels = [blobs(seed=n) for n in range(2)]
    write_stack(tmp_path / "two.tif", np.stack(channels, axis=1), "ZCYX")
    for number, channel in enumerate(channels):
        write_stack(tmp_path / f"{number}.tif", channel)
    predict("two.tif", "two.zarr", "--otf", "other")
    predict("two.tif", "alike.zarr")
    second = whole(tmp_path / "two.zarr", channel=1)
    np.testing.assert_array_equal(
        whole(tmp_path / "two.zarr", channel=0), predict("0.tif", "0.zarr")
    )
    np.testing.assert_array_equal(
        whole(tmp_path / "alike.zarr", channel=1), predict("1.tif", "1.zarr")
    )
    done = here("predict", "vsisr", "1.tif", "o.zarr", "-w", "small.pth", "--otf", "other")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(second, whole(tmp_path / "o.zarr"))
    assert not np.array_equal(second, whole(tmp_path / "1.zarr"))
    too_many = here(
        "predict", "vsisr", "two.tif", "x.zarr", *PREDICT, "--otf", "other", "--otf", "other"
    )
    assert too_many.returncode == 2
    assert "--otf: 3 for 2 channels" in too_many.stderr


def test_the_axis_that_is_resolved_is_named(predict: Predict, tmp_path: Path) -> None:
    """Along y gives what a transposed volume does along x."""
    write_stack(tmp_path / "lying.tif", np.ascontiguousarray(blobs().transpose(0, 2, 1)))
    made = predict("lying.tif", "lying.zarr", "--sr-axis", "y")
    np.testing.assert_array_equal(made.transpose(0, 2, 1), predict("in.tif", "out.zarr"))
    assert not np.array_equal(made, predict("lying.tif", "wrong.zarr"))


def test_slices_at_the_ends_may_be_kept(predict: Predict, tmp_path: Path) -> None:
    """By mirroring, with any number of slices; inside, all is as it was."""
    deep = blobs((14, *SHAPE[1:]))
    write_stack(tmp_path / "deep.tif", deep)
    kept = predict("deep.tif", "all.npy", "--z-ends", "mirror", "--no-adjust-intensity")
    lost = predict("deep.tif", "some.npy", "--no-adjust-intensity")
    assert (len(kept), len(lost)) == (14, 8)
    for z in range(1, 7):
        assert np.corrcoef(kept[z + 3].ravel(), lost[z].ravel())[0, 1] > 0.9999
    for count in (1, 2, 6):
        np.save(tmp_path / f"{count}.npy", deep[:count])
        assert len(predict(f"{count}.npy", f"{count}.zarr", "--z-ends", "mirror")) == count


@pytest.mark.parametrize("depth", [7, 8, 9])
def test_thin_volumes_are_restored(depth: int, predict: Predict, tmp_path: Path) -> None:
    """From one window of slices on; the composition has no more to say."""
    write_stack(tmp_path / "thin.tif", blobs((depth, *SHAPE[1:])))
    made = predict("thin.tif", "thin.npy")
    expected = composed(blobs((depth, *SHAPE[1:])), tmp_path)
    np.testing.assert_allclose(made.reshape(expected.shape).astype(int), expected, rtol=0, atol=2)


def test_a_blank_volume_stays_blank(here: Run, series: np.ndarray, tmp_path: Path) -> None:
    """And the user is told which time point it is; the others are what they are without it."""
    write_stack(tmp_path / "blank.tif", np.full(SHAPE, 7, np.uint16))
    for words in ((), ("--no-adjust-intensity",)):
        done = here("predict", "vsisr", "blank.tif", "o.npy", *PREDICT, *words, "--overwrite")
        assert done.returncode == 0, done.stderr
        assert "time point 0, channel 0 is blank" in done.stderr
        assert not np.load(tmp_path / "o.npy").any()
    series[1] = 40
    write_stack(tmp_path / "gap.tif", series, "TZYX")
    done = here("predict", "vsisr", "gap.tif", "gap.zarr", *PREDICT, "--time-range", "timepoint")
    assert done.returncode == 0, done.stderr
    assert "time point 1, channel 0 is blank" in done.stderr
    means = [whole(tmp_path / "gap.zarr", timepoint=t).mean() for t in range(3)]
    assert means[1] == 0 < min(means[0], means[2])


@pytest.mark.parametrize("kind", ["blank", "saturated", "half"])
def test_one_odd_slice_does_not_blacken_the_volume(
    kind: str, predict: Predict, tmp_path: Path
) -> None:
    """Blank, all of the largest value, or with more pixels of it than are averaged."""
    volume = blobs((19, *SHAPE[1:]))
    volume[9, :, : 9 if kind == "half" else None] = volume.min() if kind == "blank" else 5100
    write_stack(tmp_path / "odd.tif", volume)
    made = predict("odd.tif", "odd.npy")
    assert made.max() >= 65534
    assert made.mean(axis=(1, 2)).min() > 3000
    bright, whole_range = made.max(axis=(1, 2)), made.max()
    assert bright.min() > whole_range / 3


def test_floats_and_other_types(predict: Predict, tmp_path: Path) -> None:
    """Floating results are 0 to 1; integers have their full range."""
    np.save(tmp_path / "floats.npy", blobs().astype(np.float32) / 1000 - 1)
    made = predict("floats.npy", "floats.zarr")
    assert (made.dtype, made.min(), made.max()) == (np.float32, 0, 1)
    floats = predict("in.tif", "also.npy", "--dtype", "float32")
    np.testing.assert_allclose(floats, made, atol=1e-3)
    counts = predict("in.tif", "counts.npy")
    assert np.abs(65535 * floats - counts).max() < 2
    small = predict("in.tif", "small.npy", "--dtype", "uint8")
    assert (small.dtype, small.min(), small.max()) == (np.uint8, 0, 255)
    np.save(tmp_path / "signed.npy", blobs().astype(np.int16) - 3000)
    signed = predict("signed.npy", "signed.zarr")
    assert (signed.dtype, signed.min(), signed.max()) == (np.int16, 0, 32767)


def test_a_region_is_restored_as_if_cut_before(predict: Predict, tmp_path: Path) -> None:
    """Ranges, too, are those of the region."""
    write_stack(tmp_path / "cut.tif", blobs()[1:9, 2:20, 3:18])
    region = predict("in.tif", "region.zarr", "--roi", "1:9,2:20,3:18")
    assert region.shape == (2, 27, 22)
    np.testing.assert_array_equal(region, predict("cut.tif", "cut.zarr"))


def test_percentiles_take_a_hot_pixel_away(predict: Predict, here: Run, tmp_path: Path) -> None:
    """By it the rest is dimmed for the network; where percentiles meet, it is told."""
    hot = blobs()
    hot[0, 3, 3] = 65535
    write_stack(tmp_path / "hot.tif", hot)
    clean = predict("in.tif", "clean.npy").astype(float).ravel()
    alike = [
        np.corrcoef(predict("hot.tif", f"{n}.npy", *words).ravel(), clean)[0, 1]
        for n, words in enumerate(((), ("--limits", "0,99.9")))
    ]
    assert alike[1] > max(alike[0], 0.99)
    sparse = np.zeros(SHAPE, np.uint16)
    sparse[5, 4:6, 4:6] = 900
    write_stack(tmp_path / "sparse.tif", sparse)
    done = here("predict", "vsisr", "sparse.tif", "s.npy", *PREDICT, "--limits", "1,99")
    assert done.returncode == 0, done.stderr
    assert "one value at both percentiles of --limits 1,99" in done.stderr
    assert not np.load(tmp_path / "s.npy").any()


def test_weights_that_are_meant_to_be_fine_tuned_are_told(here: Run, tmp_path: Path) -> None:
    """By what is stored beside them."""
    network = Generator(7, 1, 1, 3)
    for stage in ("meta", "fine-tuned"):
        path = tmp_path / f"{stage}.safetensors"
        write_weights(path, dict(network.state_dict()), {"stage": stage})
        done = here("predict", "vsisr", "in.tif", f"{stage}.npy", "-w", path, "--otf", "optics")
        assert done.returncode == 0, done.stderr
        assert ("never fine-tuned" in done.stderr) == (stage == "meta")


IDEAL = ("--na", "1.1", "--emission", "525", "--excitation", "488")
BAD = [
    (("in.tif",), "needs the transfer functions of a microscope"),
    (("in.tif", "--wavelength", "488", "--offline"), "vemctl weights fetch vsisr/otf-488"),
    (("in.tif", "--wavelength", "500"), "expected 488, 560, 642"),
    (("in.tif", "--wavelength", "blue"), "such as 488 or 488,560"),
    (("in.tif", "--wavelength", "488", "--otf", "optics"), "--wavelength with --otf"),
    (("in.tif", "--otf", "optics", "--otf", "optics"), "--otf: 2 for 1 channels"),
    (("in.tif", "--otf", "lacking"), "expected one OTF1.tif"),
    (("in.tif", "--otf", "nowhere"), "no such file or folder"),
    (("in.tif", "--na", "1.1"), "--na, --emission and --excitation together"),
    (("in.tif", *IDEAL[:-1], "488,560"), "as many of one as of the other"),
    (("bare.npy", *IDEAL), "--pixel-size in nanometres"),
    (("in.tif", *IDEAL, "--pixel-size", "9000"), "too fine"),
    (("thin.npy", "--otf", "optics"), "expected 7 or more, or --z-ends mirror"),
    (("in.tif", "--otf", "optics", "--tile", "10,8,8"), "Z,22,18 with Z of at least 9"),
    (("in.tif", "--otf", "optics", "--tile", "8,22,18"), "Z of at least 9"),
    (("in.tif", "--otf", "optics", "--overlap", "0,4,4"), "not blended; leave it out"),
    (("in.tif", "--otf", "optics", "--blend", "linear"), "not blended; leave it out"),
    (("in.tif", "--otf", "optics", "--limits", "99,1"), "the lower first"),
    (("in.tif", "--otf", "optics", "--as-original"), "fails on fewer than 17 slices"),
    (("in.tif", "--otf", "optics", "--as-original", "--no-adjust-intensity", "--registration",
      "exact"), "--as-original with --registration exact"),
    (("in.tif", "--otf", "optics", "-w", "judge.pth"), "weights of a discriminator"),
    (("in.tif", "--otf", "optics", "-w", "five.pth"), "expected one that makes 3 of 7"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "cure"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_requests_get_one_line(
    words: tuple[str, ...], cure: str, here: Run, tmp_path: Path
) -> None:
    """What, where, what was expected, and how to mend it; nothing is written."""
    shutil.copytree(tmp_path / "optics", tmp_path / "lacking")
    (tmp_path / "lacking" / "OTF1.tif").unlink()
    np.save(tmp_path / "bare.npy", blobs())
    np.save(tmp_path / "thin.npy", blobs()[:6])
    if "judge.pth" in words:
        torch.save(Discriminator(3).state_dict(), tmp_path / "judge.pth")
    torch.save(Generator(5, 1, 1, 3).state_dict(), tmp_path / "five.pth")
    weights = () if "-w" in words else ("-w", "small.pth")
    done = here("predict", "vsisr", words[0], "out.zarr", *words[1:], *weights, "-q",
                VEMCTL_CACHE=str(tmp_path / "cache"))  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert cure in done.stderr
    assert not list(tmp_path.glob("out.zarr*"))
