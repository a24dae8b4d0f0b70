"""vsisr from the command line: volumes in, super-resolved volumes out."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from parity import load_fixture

from e2e.conftest import Run, Start, digests
from e2e.vsisr_files import (
    PIXEL,
    PREDICT,
    SHAPE,
    blobs,
    composed,
    tops,
    whole,
    write_all,
    write_deltavision,
    write_microscope,
    write_stack,
)
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance

ENLARGED = (4, 33, 27)


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """Write a volume, a microscope and weights."""
    write_all(tmp_path)


@pytest.fixture
def predict(here: Run, tmp_path: Path) -> Callable[..., np.ndarray]:
    """Return a function that restores a file and returns the result."""

    def restore(source: str, output: str, *words: object, **where: int) -> np.ndarray:
        done = here("predict", "vsisr", source, output, *PREDICT, "-q", *words)
        assert done.returncode == 0, done.stderr
        return whole(tmp_path / output, **where)

    return restore


@pytest.mark.parametrize("output", ["out.zarr", "out.tif"])
@pytest.mark.parametrize("source", ["in.tif", "in.mrc"])
def test_size_units_and_origin_of_the_result(
    source: str, output: str, here: Run, tmp_path: Path
) -> None:
    """Six slices less, 1.5 times the pixels; the values are those of a plain composition."""
    write_deltavision(tmp_path / "in.mrc", blobs())
    done = here("predict", "vsisr", source, output, *PREDICT)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    header = open_volume(tmp_path / output).header
    assert (header.shape, header.dtype) == (ENLARGED, np.uint16)
    assert header.voxel_size == pytest.approx((200, PIXEL / 1.5, PIXEL / 1.5), rel=1e-4)
    made = whole(tmp_path / output)
    assert made.min() == 0
    assert made.max() >= 65534  # cut off, not rounded, as published
    expected = composed(blobs(), tmp_path)
    np.testing.assert_allclose(made.astype(int), expected, rtol=0, atol=2)


def test_the_record_tells_all_files_by_their_digests(
    predict: Callable[..., np.ndarray], here: Run, tmp_path: Path
) -> None:
    """Of the weights, and of the transfer functions together: another file is another digest."""
    predict("in.tif", "out.zarr")
    made = read_provenance(tmp_path / "out.zarr") or {}
    assert made["method"] == "vsisr"
    content = (tmp_path / "small.pth").read_bytes()
    assert made["weights"] == {"name": "small.pth", "sha256": hashlib.sha256(content).hexdigest()}
    assert made["settled"] == {
        "orientations": "0, 60, 120",
        "time_range": "series",
        "pixel_size": pytest.approx(PIXEL, rel=1e-4),
    }
    write_microscope(tmp_path / "same")
    write_microscope(tmp_path / "other", 24.0)
    told = [made["files"]["otf-0"]]
    for name in ("same", "other"):
        done = here("predict", "vsisr", "in.tif", f"{name}.npy", "-w", "small.pth", "--otf", name)
        assert done.returncode == 0, done.stderr
        told.append((read_provenance(tmp_path / f"{name}.npy") or {})["files"]["otf-0"])
    assert [Path(file["name"]).name for file in told] == ["optics", "same", "other"]
    first, same, other = (file["sha256"] for file in told)
    assert first == same != other


OTHERWISE = [
    (("--orientations", "1"), {"orientations": 1}),
    (("--orientations", "2"), {"orientations": 2}),
    (("--registration", "exact"), {"registration": "exact"}),
    (("--otf-grid", "physical"), {"otf_grid": "physical"}),
    (("--no-adjust-intensity",), {"adjust": False}),
    (("--otf-weight", "2", "--wiener", "0.5"), {"otf_weight": 2.0, "wiener": 0.5}),
]


@pytest.mark.parametrize(("words", "settings"), OTHERWISE, ids=[w[0][-1] for w in OTHERWISE])
def test_options_of_the_joint_reconstruction(
    words: tuple[str, ...],
    settings: dict[str, object],
    predict: Callable[..., np.ndarray],
    tmp_path: Path,
) -> None:
    """Each changes the result, to that of the composition with it."""
    made = predict("in.tif", "out.tif", *words)
    np.testing.assert_allclose(
        made.astype(int), composed(blobs(), tmp_path, **settings), rtol=0, atol=2
    )
    assert np.abs(made.astype(int) - composed(blobs(), tmp_path)).max() > 1000


def test_the_profile_along_z_is_the_originals(
    predict: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """`--as-original` of a volume that the published program was given, whatever the network."""
    _, arrays, _ = load_fixture("vsisr_isotropic")
    write_stack(tmp_path / "cell.tif", arrays["volume"])
    made = predict("cell.tif", "out.zarr", "--as-original")
    assert made.shape == (12, 33, 45)
    bright = tops(made)
    np.testing.assert_allclose(bright / bright.max(), arrays["profile"], rtol=0, atol=1e-4)
    settled = (read_provenance(tmp_path / "out.zarr") or {})["settled"]
    assert settled["time_range"] == "timepoint"
    np.save(tmp_path / "bytes.npy", (arrays["volume"] // 257).astype(np.uint8))
    assert predict("bytes.npy", "out.npy", "--as-original").dtype == np.uint16


def test_ideal_transfer_functions_are_built(
    predict: Callable[..., np.ndarray], here: Run, tmp_path: Path
) -> None:
    """From numbers alone, with the pixel of the volume, or the one that is named."""
    numbers = ("--na", "1.1", "--emission", "525", "--excitation", "488")
    np.save(tmp_path / "bare.npy", blobs())
    for source, words in (("in.tif", ()), ("bare.npy", ("--pixel-size", PIXEL))):
        done = here(
            "predict", "vsisr", source, f"{source}.zarr", "-w", "small.pth", *numbers, *words
        )
        assert done.returncode == 0, done.stderr
    made = whole(tmp_path / "in.tif.zarr")
    assert made.shape == ENLARGED
    np.testing.assert_allclose(made, whole(tmp_path / "bare.npy.zarr"), rtol=0, atol=1)
    assert np.abs(made.astype(int) - predict("in.tif", "other.npy")).max() > 100


def test_the_bytes_do_not_depend_on_how_a_run_is_cut(
    predict: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """Blocks and memory; of windows in batches the last digits may differ."""
    write_stack(tmp_path / "deep.tif", blobs((13, *SHAPE[1:])))
    shards = ("--chunk-shape", "1,33,27", "--shard-shape", "2,33,27")
    stores = []
    for number, words in enumerate(
        ((), ("--block", "2,33,27"), ("--block", "6,33,27"), ("--memory", "80MiB"))
    ):
        made = predict("deep.tif", f"{number}.zarr", *shards, *words)
        own = digests(tmp_path / f"{number}.zarr")
        stores.append({name: digest for name, digest in own.items() if name != "zarr.json"})
    assert len(stores[0]) >= 6
    assert all(store == stores[0] for store in stores)
    for batch in (3, 20):
        batched = predict("deep.tif", f"batch{batch}.npy", "-b", batch)
        assert np.abs(batched.astype(int) - made).max() <= 2
    np.testing.assert_allclose(predict("deep.tif", "t.npy", "--tile", "9,22,18"), made, atol=1)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(here: Run, start: Start, tmp_path: Path) -> None:
    """Kill -9 in the middle, twice; resumed with another block size."""
    write_stack(tmp_path / "deep.tif", blobs((36, *SHAPE[1:])))
    shards = ("--chunk-shape", "1,33,27", "--shard-shape", "2,33,27", "-q")
    words = ("predict", "vsisr", "deep.tif", "killed.zarr", *PREDICT, *shards)
    ledger = tmp_path / "killed.zarr.partial" / "ledger.jsonl"
    moments = random.Random(0)
    for resume in ((), ("--resume",)):
        before = ledger.read_text().count("\n") if ledger.exists() else 1
        process = start(*words, "--block", "2,33,27", *resume)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if ledger.exists() and ledger.read_text().count("\n") > before:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = here(*words, "--block", "6,33,27", "--resume")
    assert done.returncode == 0, done.stderr
    done = here(*words[:3], "whole.zarr", *PREDICT, *shards)
    assert done.returncode == 0, done.stderr
    one, other = digests(tmp_path / "killed.zarr"), digests(tmp_path / "whole.zarr")
    assert {n: d for n, d in one.items() if n != "zarr.json"} == {
        n: d for n, d in other.items() if n != "zarr.json"
    }


def test_a_dry_run_tells_what_is_settled_and_what_it_takes(here: Run, tmp_path: Path) -> None:
    """As JSON, with bytes of the device; nothing is written."""
    plans = []
    for words in ((), ("-b", "4"), ("--orientations", "1")):
        done = here(
            "predict", "vsisr", "in.tif", "out.zarr", *PREDICT, "--dry-run", "--json", "-q", *words
        )
        assert done.returncode == 0, done.stderr
        plans.append(json.loads(done.stdout))
    assert plans[0]["output_shape"] == list(ENLARGED)
    assert plans[0]["settled"]["orientations"] == "0, 60, 120"
    assert plans[2]["settled"]["orientations"] == "0"
    one, four, straight = (plan["network_memory_bytes"] for plan in plans)
    assert straight < one < four
    assert not list(tmp_path.glob("out.zarr*"))
