"""`vemctl evaluate` from the shell: numbers of the reference libraries, parts, samples, errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr
from skimage import metrics

from vemctl.samples import em_pair
from vemctl.volumes.destination import Destination
from vemctl.volumes.volume import Layout
from vemctl.workflows.demo import write_array

SHAPE = (14, 96, 96)
SIZE = (30.0, 8.0, 8.0)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    """Return a folder with a truth, a noisy volume and what a filter makes of it."""
    folder = tmp_path_factory.mktemp("volumes")
    pair = em_pair(SHAPE, seed=4)
    write_array(folder / "truth.tif", pair.truth, SIZE)
    write_array(folder / "noisy.zarr", pair.noisy, SIZE)
    smooth = gaussian_filter(pair.noisy.astype(float), (0.3, 1.2, 1.2))
    write_array(folder / "smooth.zarr", np.rint(smooth).clip(0, 255).astype(np.uint8), SIZE)
    return folder


@pytest.fixture
def pair(volumes) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth and the smoothed volume."""
    from vemctl.volumes.open import open_volume

    whole = tuple(slice(0, n) for n in SHAPE)
    return tuple(open_volume(volumes / name).read(whole) for name in ("truth.tif", "smooth.zarr"))


def judged(here, *words) -> dict:
    """Return what the command tells as JSON."""
    done = here("evaluate", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wang(truth, prediction, **facts) -> float:
    """Return the similarity as scikit-image has it with the published window."""
    return metrics.structural_similarity(
        truth,
        prediction,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        **facts,
    )


def test_scores_are_those_of_the_reference_libraries(here, volumes, pair):
    """To nine digits, whatever the files' formats."""
    truth, smooth = pair
    found = judged(here, volumes / "smooth.zarr", volumes / "truth.tif")
    expected = {
        "psnr": metrics.peak_signal_noise_ratio(truth, smooth, data_range=255),
        "nrmse": metrics.normalized_root_mse(truth, smooth),
        "pearson": pearsonr(truth.ravel().astype(float), smooth.ravel().astype(float))[0],
        "ssim_3d": wang(truth, smooth),
        "ssim_2d": np.mean([wang(*planes) for planes in zip(truth, smooth, strict=True)]),
    }
    for name, value in expected.items():
        assert found["overall"][name] == pytest.approx(value, rel=1e-9), name
    assert found["looked_at"]["whole"]
    assert found["data_range"] == {"value": 255.0, "from": "the type, uint8"}
    third = found["slices"][3]
    assert third["z"] == 3
    assert third["psnr"] == pytest.approx(
        metrics.peak_signal_noise_ratio(truth[3], smooth[3], data_range=255), rel=1e-9
    )


def test_three_dimensional_similarity_is_that_of_pytorch_msssim(here, volumes, pair):
    """Which computes in float32."""
    pytorch_msssim = pytest.importorskip("pytorch_msssim")
    import torch

    truth, smooth = (torch.from_numpy(each.astype(np.float32))[None, None] for each in pair)
    expected = float(pytorch_msssim.ssim(truth, smooth, data_range=255))
    found = judged(here, volumes / "smooth.zarr", volumes / "truth.tif")
    assert found["overall"]["ssim_3d"] == pytest.approx(expected, abs=1e-5)


def test_a_person_reads_the_same_in_lines(here, volumes):
    """Scores with units, and sentences for what is found without the truth."""
    done = here("evaluate", volumes / "smooth.zarr", volumes / "truth.tif")
    assert done.returncode == 0
    facts = judged(here, volumes / "smooth.zarr", volumes / "truth.tif")
    assert f"PSNR                 {facts['overall']['psnr']:.2f} dB" in done.stdout
    assert "looked at   the whole volume" in done.stdout
    assert facts["channels"][0]["curves"]["frc"]["verdict"] in done.stdout
    assert "evaluating" in done.stderr


def test_the_mask_and_the_region_are_what_counts(here, volumes, pair, tmp_path):
    """Numbers of the voxels in both, and of no other."""
    truth, smooth = pair
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[10:60, 20:90] = 1
    write_array(tmp_path / "mask.tif", mask[None], SIZE)
    found = judged(
        here,
        volumes / "smooth.zarr",
        volumes / "truth.tif",
        "--mask",
        tmp_path / "mask.tif",
        "--roi",
        "2:12,5:,:",
    )
    inside = np.broadcast_to(mask, SHAPE)[2:12, 5:] != 0
    one, other = truth[2:12, 5:][inside], smooth[2:12, 5:][inside]
    assert found["overall"]["psnr"] == pytest.approx(
        metrics.peak_signal_noise_ratio(one, other, data_range=255), rel=1e-9
    )
    assert found["shape"] == [10, 91, 96]


def test_what_the_truth_spans_is_that_of_the_mask(here, tmp_path):
    """A hot pixel outside does not count; inside it is warned of."""
    rng = np.random.default_rng(3)
    truth = rng.integers(100, 4000, (12, 40, 40)).astype(np.uint16)
    prediction = truth + rng.integers(0, 50, truth.shape).astype(np.uint16)
    truth[0, 0, 0] = 65535
    mask = np.ones(truth.shape, bool)
    mask[0, 0, 0] = False
    for name, values in (("t.npy", truth), ("p.npy", prediction), ("m.npy", mask)):
        np.save(tmp_path / name, values)
    both = (tmp_path / "p.npy", tmp_path / "t.npy")
    found = judged(here, *both, "--mask", tmp_path / "m.npy")
    inside = truth[mask]
    assert found["data_range"]["value"] == int(inside.max()) - int(inside.min())
    assert found["overall"]["psnr"] == pytest.approx(
        metrics.peak_signal_noise_ratio(
            inside, prediction[mask], data_range=found["data_range"]["value"]
        ),
        rel=1e-9,
    )
    found = judged(here, *both)
    assert found["data_range"]["value"] == 65535 - truth.min()
    assert any("a few voxels decide the data range" in text for text in found["warnings"])


def test_a_mask_of_numbers_leaves_out_what_is_none(here, volumes, tmp_path):
    """NaN in a mask is outside, as 0 is."""
    plain = np.zeros(SHAPE, np.float32)
    plain[:, 20:70, 20:70] = 1
    np.save(tmp_path / "plain.npy", plain)
    np.save(tmp_path / "holes.npy", np.where(plain > 0, plain, np.float32(np.nan)))
    both = (volumes / "smooth.zarr", volumes / "truth.tif")
    one, other = (
        judged(here, *both, "--mask", tmp_path / name) for name in ("plain.npy", "holes.npy")
    )
    assert one["overall"] == other["overall"]
    assert one["overall"] != judged(here, *both)["overall"]


def test_equal_volumes_are_told(here, volumes):
    """Their PSNR is infinite, which JSON cannot say."""
    found = judged(here, volumes / "truth.tif", volumes / "truth.tif")
    assert found["overall"]["psnr"] is None
    assert found["overall"]["ssim_2d"] == 1
    assert any("infinite" in text for text in found["warnings"])


def test_a_method_that_translates_images_is_not_accused(here, volumes, tmp_path, pair):
    """Of a volume that hardly resembles its input, what was removed says nothing."""
    truth, _ = pair
    write_array(tmp_path / "other.tif", np.ascontiguousarray(truth[:, ::-1]), SIZE)
    done = here("evaluate", tmp_path / "other.tif", "--input", volumes / "truth.tif")
    assert "a method that translates images" in done.stdout


def test_the_table_of_slices_is_written(here, volumes, tmp_path):
    """One row per slice; not over another file unless told."""
    words = (volumes / "smooth.zarr", volumes / "truth.tif", "--csv", tmp_path / "slices.csv")
    assert here("evaluate", *words).returncode == 0
    with (tmp_path / "slices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    facts = judged(here, *words[:2])
    assert [float(row["ssim"]) for row in rows] == [each["ssim"] for each in facts["slices"]]
    done = here("evaluate", *words)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert here("evaluate", *words, "--overwrite").returncode == 0


def test_channels_are_judged_each_and_together(here, tmp_path, pair):
    """The overall score is of all voxels."""
    truth, smooth = pair
    paths = []
    for name, channels in (("p.zarr", (smooth, truth)), ("t.zarr", (truth, truth))):
        layout = Layout("czyx", SHAPE, 2, None, truth.dtype, SIZE, None, SHAPE, SHAPE)
        destination = Destination.create(tmp_path / name, layout)
        for number, values in enumerate(channels):
            whole = tuple(slice(0, n) for n in SHAPE)
            destination.store.write(whole, values, channel=number)
        destination.finish({}, lambda *_: None)
        paths.append(tmp_path / name)
    found = judged(here, *paths)
    first, second = (channel["scores"] for channel in found["channels"])
    assert second["ssim_2d"] == pytest.approx(1)
    assert second["psnr"] is None  # infinite
    assert found["overall"]["psnr"] == pytest.approx(first["psnr"] + 10 * np.log10(2), rel=1e-9)
    assert found["overall"]["ssim_2d"] == pytest.approx((first["ssim_2d"] + 1) / 2)
    text = here("evaluate", *paths).stdout
    assert "channel 0" in text
    assert "channel 1" in text


def test_what_a_denoiser_removed_is_judged(here, volumes, tmp_path, pair):
    """Noise removed from the truth is noise; a blur takes structure away."""
    truth, _ = pair
    found = judged(here, volumes / "truth.tif", "--input", volumes / "noisy.zarr")
    residual = found["channels"][0]["residual"]
    assert not residual["has_structure"]
    assert abs(residual["mean"]) < 2
    blurred = gaussian_filter(truth.astype(float), (0, 5, 5)).astype(np.uint8)
    write_array(tmp_path / "blurred.tif", blurred, SIZE)
    done = here("evaluate", tmp_path / "blurred.tif", "--input", volumes / "truth.tif")
    assert "what was removed has structure" in done.stdout


def test_seams_are_found_where_tiles_meet(here, volumes, tmp_path, pair):
    """An offset of two grey values between neighbours along x, in noise of many."""
    _, smooth = pair
    tiled = smooth.astype(np.int16)
    for start in range(32, SHAPE[2], 32):
        tiled[:, :, start:] = tiled[:, :, start:] + (2 if start // 32 % 2 else -2)
    write_array(tmp_path / "tiled.tif", tiled.clip(0, 255).astype(np.uint8), SIZE)
    for path, visible in ((volumes / "smooth.zarr", False), (tmp_path / "tiled.tif", True)):
        found = judged(here, path, "--tile-step", "0,32,32")
        assert found["channels"][0]["seams"]["visible"] is visible, found["channels"][0]["seams"]
    assert found["channels"][0]["seams"]["x"]["step"]["ratio"] > 1.5


def test_of_a_large_volume_stated_slabs_are_looked_at(here, tmp_path, pair):
    """Sixteen gigavoxels with one chunk on disk: seconds, and the share is told."""
    truth, _ = pair
    shape, chunk = (1000, 4000, 4000), (16, 512, 512)
    layout = Layout("zyx", shape, None, None, truth.dtype, SIZE, None, chunk, chunk)
    destination = Destination.create(tmp_path / "large.zarr", layout)
    store = tmp_path / "large.zarr.partial" / "volume.zarr"
    values = np.random.default_rng(1).integers(0, 256, chunk, dtype=np.uint8)
    destination.store.write((slice(0, 16), slice(0, 512), slice(0, 512)), values)
    done = here("evaluate", store / "0", "--slabs", "3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["looked_at"]["slabs"] == 3
    assert 0 < found["looked_at"]["share"] < 0.01
    assert "3 slabs of up to 8 x 2048 x 2048 voxels" in done.stderr
    depths = [region["z"][0] // 334 for region in found["looked_at"]["regions"]]
    assert depths == [0, 1, 2]


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["smooth.zarr", "truth.tif", "--data-range", "-3"], "a number above 0"),
        (["smooth.zarr", "--data-range", "255"], "there is no TRUTH"),
        (["smooth.zarr", "--csv", "s.csv"], "against a TRUTH only"),
        (["smooth.zarr", "--slabs", "some"], "expected all, or how many"),
        (["smooth.zarr", "--tile-step", "32"], "expected Z,Y,X"),
        (["smooth.zarr", "--roi", "0:99,:,:"], "expected 0 <= start < end <= 14"),
        (["smooth.zarr", "truth.tif", "--csv", "no/s.csv"], "does not exist"),
        (["smooth.zarr", "--mask", "truth.tif"], "there is no TRUTH"),
        (["smoth.zarr"], "Did you mean 'smooth.zarr'"),
        (["smooth.zarr", "truth.tif", "--truth-roi", "0:4,:,:"], "after --truth-roi"),
    ],
)
def test_bad_requests_have_one_line(here, volumes, words, cure):
    """What, where, what was expected."""
    paths = [str(volumes / word) if "." in word else word for word in words]
    done = here("evaluate", *paths)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert cure in line


def test_every_number_is_explained(here, volumes):
    """In docs/quality.md, by the name that it has in the JSON."""
    found = judged(here, volumes / "smooth.zarr", volumes / "truth.tif", "--input",
                   volumes / "noisy.zarr", "--tile-step", "0,32,32")  # fmt: skip
    channel = found["channels"][0]
    text = (Path(__file__).parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")
    for name in found["overall"]:
        assert f"| `{name}` |" in text, name
    for name in channel["curves"]:
        assert f"`curves.{name}.resolution`" in text, name
    for measure in ("jump", "step", "line"):
        assert f"`{measure}`" in text
        assert measure in channel["seams"]["x"]
    for name in ("residual.mean", "residual.highest", "residual.expected"):
        assert f"`{name}`" in text
        assert name.removeprefix("residual.") in channel["residual"]
