"""denoise through the whole prediction: against the original's volume, and where it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_denoise.method import PredictOptions
from vemctl_denoise.network import GShiftNet
from vemctl_denoise.restorer import original_extent, original_overlap

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.state_dict import load, read_state_dict
from vemctl.volumes.open import open_volume
from vemctl.workflows.options import (
    ComputeOptions,
    OutputOptions,
    PredictRequest,
    RunOptions,
    TilingOptions,
)
from vemctl.workflows.predict import predict

TILE = (5, 32, 40)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint in the layout of the published ones, with seeded weights."""
    _, _, state = load_fixture("denoise_tiled")
    path = tmp_path_factory.mktemp("weights") / "checkpoint.pth"
    assert all(key.startswith("module.") for key in state)
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {}, "best_psnr": 30.5}, path)
    return path


def restore(
    volume: np.ndarray,
    checkpoint: Path,
    folder: Path,
    options: PredictOptions | None = None,
    *,
    as_original: bool = False,
    dtype: str | None = None,
    tile: tuple[int, int, int] = TILE,
) -> np.ndarray:
    """Run the method on `volume` and read the result back."""
    source, output = folder / "in.npy", folder / "out.npy"
    np.save(source, volume)
    predict(
        PredictRequest(
            "denoise",
            (source,),
            output,
            str(checkpoint),
            options or PredictOptions(),
            writing=OutputOptions(dtype=dtype, overwrite=True),
            tiling=TilingOptions(tile=tile),
            compute=ComputeOptions(device="cpu"),
            run=RunOptions(as_original=as_original),
        )
    )
    opened = open_volume(output)
    z, y, x = (slice(0, n) for n in opened.header.shape)
    return opened.read((z, y, x))


@pytest.fixture(scope="module")
def slab() -> np.ndarray:
    """Return the first tile of the original's volume."""
    first: np.ndarray = load_fixture("denoise_tiled")[1]["volume"][:5, :32, :40]
    return first


@pytest.fixture(scope="module")
def floats(
    slab: np.ndarray, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> np.ndarray:
    """Return the float result of the slab, computed once."""
    return restore(slab, checkpoint, tmp_path_factory.mktemp("floats"), dtype="float32")


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> GShiftNet:
    """Return the network of the checkpoint."""
    made = GShiftNet()
    load(made, read_state_dict(checkpoint), checkpoint)
    return made


def test_the_whole_volume_equals_the_originals(checkpoint: Path, tmp_path: Path) -> None:
    """`--as-original` gives the original's 8-bit volume, up to float rounding at a grey level."""
    _, arrays, _ = load_fixture("denoise_tiled")
    made = restore(arrays["volume"], checkpoint, tmp_path, as_original=True)
    assert made.dtype == np.uint8
    different = made != arrays["result"]
    assert different.sum() <= 10
    assert np.abs(made.astype(int) - arrays["result"].astype(int)).max() <= 1


def test_the_default_equals_the_original_beyond_a_tile(checkpoint: Path, tmp_path: Path) -> None:
    """Where the original is sound, our defaults give its floats to 1e-4 and so its bytes.

    These are the floats of before, truncated: the next test has it.
    """
    _, arrays, _ = load_fixture("denoise_tiled")
    floats = restore(arrays["volume"], checkpoint, tmp_path, dtype="float32")
    np.testing.assert_allclose(floats / 255, arrays["float_volume"], atol=1e-4)
    assert (np.floor(np.clip(floats, 0, 255)) != arrays["result"]).sum() <= 10


def test_rounding_is_nearest_and_truncation_below(
    slab: np.ndarray, floats: np.ndarray, checkpoint: Path, tmp_path: Path
) -> None:
    """`--round` gives the nearest grey level, the default the one below."""
    levels = np.clip(floats, 0, 255)
    down = restore(slab, checkpoint, tmp_path)
    near = restore(slab, checkpoint, tmp_path, PredictOptions(round=True))
    assert down.dtype == near.dtype == np.uint8
    np.testing.assert_array_equal(down, np.floor(levels))
    np.testing.assert_array_equal(near, np.rint(levels))


@pytest.mark.parametrize("shape", [(1, 9, 11), (4, 1, 7), (5, 31, 39), (6, 33, 5)])
def test_small_volumes_are_restored_whole(
    shape: tuple[int, int, int], network: GShiftNet, checkpoint: Path, tmp_path: Path
) -> None:
    """Sizes on which the original crashes or returns zeros give a padded, cropped, real result."""
    volume = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    made = restore(volume, checkpoint, tmp_path, dtype="float32")
    assert made.shape == shape
    if shape[0] > 5 or shape[1] > 32:
        assert made.std() > 0
        return
    padded = volume
    for axis in (1, 2):
        missing = [(0, -n % 4) if i == axis else (0, 0) for i, n in enumerate(volume.shape)]
        padded = np.pad(padded, missing, mode="reflect" if volume.shape[axis] > 1 else "edge")
    with torch.inference_mode():
        whole = network(torch.from_numpy(padded.astype(np.float32) / 255)[None, None])[0, 0]
    expected = whole.numpy()[:, : shape[1], : shape[2]] * 255
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_sixteen_bits_use_their_whole_range(
    slab: np.ndarray, floats: np.ndarray, checkpoint: Path, tmp_path: Path
) -> None:
    """A 16-bit volume that is 257 times an 8-bit one gives 257 times its result."""
    wide = restore(slab.astype(np.uint16) * 257, checkpoint, tmp_path, dtype="float32")
    np.testing.assert_allclose(wide / 257, floats, atol=1e-2)
    given = restore(
        slab.astype(np.uint16), checkpoint, tmp_path, PredictOptions(low=0, high=255),
        dtype="float32",
    )  # fmt: skip
    np.testing.assert_allclose(given, floats, atol=1e-3)


def test_percentiles_of_the_volume_set_the_range(
    slab: np.ndarray, checkpoint: Path, tmp_path: Path
) -> None:
    """0 and 100 percent are the smallest and largest value."""
    volume = slab.astype(np.int16) * 7
    measured = PredictOptions(low_percentile=0, high_percentile=100)
    given = PredictOptions(low=float(volume.min()), high=float(volume.max()))
    one = restore(volume, checkpoint, tmp_path, measured, dtype="float32")
    other = restore(volume, checkpoint, tmp_path, given, dtype="float32")
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((5, 26, 300), (5, 0, 300)),
        ((1, 300, 300), (0, 300, 300)),
        ((2, 128, 300), (2, 128, 300)),
        ((9, 256, 257), (9, 243, 257)),
    ],
)
def test_the_odd_cases_of_the_original(
    shape: tuple[int, int, int], kept: tuple[int, int, int]
) -> None:
    """Short axes are left empty, one of exactly a tile loses its end, as section 6 has it."""
    assert original_extent(shape, (5, 256, 256)) == kept


@pytest.mark.parametrize(
    ("shape", "words"),
    [((5, 200, 300), "200 voxels along y"), ((3, 300, 300), "3 voxels along z"),
     ((5, 30, 300), "multiples of 4")],
)  # fmt: skip
def test_where_the_original_crashes_it_is_said(shape: tuple[int, int, int], words: str) -> None:
    """A size on which the original crashes is refused with one line."""
    with pytest.raises(OptionError, match=words):
        original_extent(shape, (5, 256, 256))


def test_as_original_leaves_zeros_where_the_original_does(checkpoint: Path, tmp_path: Path) -> None:
    """An axis of exactly one tile keeps zeros at its end."""
    volume = np.random.default_rng(2).integers(1, 256, (5, 32, 44), dtype=np.uint8)
    made = restore(volume, checkpoint, tmp_path, as_original=True)
    cut = original_overlap(TILE)[1] // 2
    assert cut > 0
    assert not made[:, 32 - cut :].any()
    assert made[:, : 32 - cut].any()


def test_a_checkpoint_of_another_network_names_the_missing_keys(tmp_path: Path) -> None:
    """What is missing and what is unknown is said, and nothing is written."""
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3), "bias": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"1558 missing \(feat_extract.0.weight.*2 unknown"):
        restore(np.zeros((5, 32, 40), np.uint8), path, tmp_path)
    assert not list(tmp_path.glob("out*"))


def test_options_that_the_original_lacks_are_refused_with_as_original(
    checkpoint: Path, tmp_path: Path
) -> None:
    """`--as-original --round` contradicts itself."""
    with pytest.raises(OptionError, match=r"--as-original with --round"):
        restore(
            np.zeros((5, 32, 40), np.uint8), checkpoint, tmp_path, PredictOptions(round=True),
            as_original=True,
        )  # fmt: skip
