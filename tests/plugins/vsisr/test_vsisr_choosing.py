"""From weights and options to what a restorer is made of."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vemctl_vsisr.choosing
from e2e.vsisr_files import blobs, write_microscope
from vemctl_vsisr.discriminator import Discriminator
from vemctl_vsisr.network import Generator
from vemctl_vsisr.predict_options import PredictOptions
from vsisr_restorers import restored, restorer_of

from vemctl.errors import InputError, OptionError, VemctlError, WeightsError
from vemctl.nn.own_weights import write_weights
from vemctl.plugin import Tiling

DEEP = (20, 22, 18)


def options(**changes: Any) -> PredictOptions:
    """Return options with transfer functions of one's own."""
    return PredictOptions(otf=(Path("optics"),), **changes)


def depth_of_core(folder: Path, depth: int, batch: int = 1, **changes: Any) -> int:
    """Return how many slices a core has."""
    volume = np.random.default_rng(0).integers(0, 99, (depth, 4, 5), np.uint16)
    footprint = restorer_of(folder, [volume], options(**changes), batch=batch).footprint
    tile = footprint.tile[0]
    assert tile is not None
    return tile - 2 * footprint.halo[0]


def test_planes_are_whole_and_slices_are_not(tmp_path: Path) -> None:
    """Four slices of context, of which three are lost at the ends; 1.5 times the pixels."""
    footprint = restorer_of(tmp_path, [blobs(DEEP)]).footprint
    assert footprint.tile[1:] == (None, None)
    assert (footprint.halo, footprint.lost) == ((4, 0, 0), (3, 0, 0))
    assert footprint.overlap == (0, 0, 0)
    assert [float(factor) for factor in footprint.scale] == [1, 1.5, 1.5]
    assert (footprint.padding, footprint.batched) == ("clip", False)
    mirrored = restorer_of(tmp_path, [blobs(DEEP)], options(z_ends="mirror")).footprint
    assert mirrored.lost == (0, 0, 0)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_cores_repeat_as_few_slices_as_can_be(batch: int, tmp_path: Path) -> None:
    """They are of whole batches, and bounded."""
    for depth in (7, 10, 11, 26, 29, 43):
        core, wanted = depth_of_core(tmp_path, depth, batch), depth - 6
        assert core % batch == 0
        assert 4 * batch <= core < 8 * batch
        sizes = range(4 * batch, 8 * batch, batch)
        repeated = {size: -wanted % size if wanted > size else 0 for size in sizes}
        assert repeated[core] == min(repeated.values())


def test_ends_that_are_kept_count(tmp_path: Path) -> None:
    """Twenty-one slices are three cores of seven."""
    assert depth_of_core(tmp_path, 21, z_ends="mirror") == 7
    assert depth_of_core(tmp_path, 27) == 7


def test_the_depth_of_tiles_may_be_named(tmp_path: Path) -> None:
    """With whole planes and context; anything else is refused with what would do."""
    volume = blobs(DEEP)
    made = restorer_of(tmp_path, [volume], tiling=Tiling((9, 22, 18)))
    assert made.footprint.tile == (9, None, None)
    pieces = [restored(made, volume, start, 1) for start in range(3, 17)]
    assert torch.equal(torch.cat(pieces), restored(restorer_of(tmp_path, [volume]), volume, 3, 14))
    for tile in ((8, 22, 18), (12, 22, 17), (12, 11, 18)):
        with pytest.raises(OptionError, match="expected Z,22,18 with Z of at least 9"):
            restorer_of(tmp_path, [volume], tiling=Tiling(tile))
    for tiling, flag in (
        (Tiling(overlap=(0, 2, 2)), "--overlap"),
        (Tiling(window="linear"), "--blend"),
    ):
        with pytest.raises(OptionError, match=flag):
            restorer_of(tmp_path, [volume], tiling=tiling)


@pytest.mark.parametrize(("z_ends", "depth", "works"), [
    ("lose", 6, False), ("lose", 7, True), ("mirror", 1, True),
])  # fmt: skip
def test_thin_volumes_are_told(z_ends: str, depth: int, works: bool, tmp_path: Path) -> None:
    """Those without a single window, and how they may be restored."""
    volume = blobs(DEEP)[:depth]
    if works:
        restorer_of(tmp_path, [volume], options(z_ends=z_ends))
        return
    with pytest.raises(InputError, match=r"6, of which .* 7 or more, or --z-ends mirror"):
        restorer_of(tmp_path, [volume], options(z_ends=z_ends))


@pytest.mark.parametrize(
    ("changes", "as_original", "stretch", "dtype"),
    [
        ({}, False, "channel", None),
        ({"time_range": "timepoint"}, False, "series", None),
        ({"adjust_intensity": False}, False, "series", None),
        ({}, True, "series", "uint16"),
        ({"time_range": "timepoint"}, True, "series", "uint16"),
    ],
)
def test_results_are_stretched_over_time_or_not(
    changes: dict, as_original: bool, stretch: str, dtype: str | None, tmp_path: Path
) -> None:
    """To the input's type, or to the published one; what was settled is told."""
    made = restorer_of(tmp_path, [blobs(DEEP)], options(**changes), as_original=as_original)
    assert (made.output.stretch, made.output.dtype) == (stretch, dtype)
    assert (made.output.rounding, made.output.unit_range) == ("truncate", True)
    assert made.settled == {
        "orientations": "0, 60, 120",
        "time_range": "series" if stretch == "channel" else "timepoint",
        "pixel_size": 92.6,
    }


def test_orientations_are_even_over_half_a_turn(tmp_path: Path) -> None:
    """As many directions as there are."""
    for count, told in ((1, "0"), (4, "0, 45, 90, 135")):
        made = restorer_of(tmp_path, [blobs(DEEP)], options(orientations=count))
        assert made.settled["orientations"] == told
        assert len(made._directions) == count


def test_channels_of_one_microscope_share_its_filters(tmp_path: Path) -> None:
    """With two, each series has those of its channel."""
    volumes = [blobs(DEEP, seed=n) for n in range(4)]
    one = restorer_of(tmp_path, volumes, num_channels=2)
    assert one._joints[0] is one._joints[1]
    write_microscope(tmp_path / "other", 20.0)
    files = {"otf-0": tmp_path / "optics", "otf-1": tmp_path / "other"}
    wanted = PredictOptions(otf=tuple(files.values()))
    two = restorer_of(tmp_path, volumes, wanted, num_channels=2, files=files)
    assert two._joints[0] is not two._joints[1]
    for series, changed in enumerate((False, True, False, True)):
        same = torch.equal(
            restored(one, volumes[series], 3, 2, series),
            restored(two, volumes[series], 3, 2, series),
        )
        assert same != changed


ORIGINAL = [
    ({"orientations": 2}, "--orientations"),
    ({"otf_grid": "physical"}, "--otf-grid physical"),
    ({"registration": "exact"}, "--registration exact"),
    ({"z_ends": "mirror"}, "--z-ends mirror"),
    ({"limits": "0,99"}, "--limits"),
    ({"time_range": "series"}, "--time-range series"),
]


@pytest.mark.parametrize(("changes", "flag"), ORIGINAL, ids=[flag for _, flag in ORIGINAL])
def test_the_original_has_no_such_option(changes: dict, flag: str, tmp_path: Path) -> None:
    """Each is named; what it has may be chosen."""
    with pytest.raises(OptionError, match=f"--as-original with {flag}: ") as error:
        restorer_of(tmp_path, [blobs(DEEP)], options(**changes), as_original=True)
    assert "\n" not in str(error.value)
    own = options(otf_weight=2.0, wiener=0.5, sr_axis="y", limits="0.0,100")
    restorer_of(tmp_path, [blobs(DEEP)], own, as_original=True)


def test_the_original_fails_on_thin_volumes(tmp_path: Path) -> None:
    """On more of them where it adjusts intensities."""
    for depth, adjust in itertools.product((8, 9, 16, 17), (True, False)):
        least, volume = 17 if adjust else 9, blobs(DEEP)[:depth]
        wanted = options(adjust_intensity=adjust)
        if depth >= least:
            restorer_of(tmp_path, [volume], wanted, as_original=True)
            continue
        with pytest.raises(OptionError, match=f"fewer than {least} slices, the volume has {depth}"):
            restorer_of(tmp_path, [volume], wanted, as_original=True)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """Those that judge, those for other windows, and what is none at all."""
    torch.save(Discriminator(3).state_dict(), tmp_path / "judge.pth")
    torch.save(Generator(7, 1, 1, 1).state_dict(), tmp_path / "plane.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name, words in (
        ("judge", "discriminator"),
        ("plane", "makes 1 planes of 7 slices; expected one that makes 3 of 7"),
        ("other", r"other\.pth"),
    ):
        with pytest.raises(WeightsError, match=words) as error:
            restorer_of(tmp_path, [blobs(DEEP)], weights=tmp_path / f"{name}.pth")
        assert "\n" not in str(error.value)


def test_meta_weights_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published ones by their content, others by what is stored beside them."""
    told: list[str] = []
    restorer_of(tmp_path, [blobs(DEEP)], warn=told.append)
    assert not told
    content = (tmp_path / "small.pth").read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    monkeypatch.setattr(vemctl_vsisr.choosing, "META_BLOB", blob)
    restorer_of(tmp_path, [blobs(DEEP)], warn=told.append)
    for stage in ("fine-tuned", "meta"):
        path = tmp_path / f"{stage}.safetensors"
        write_weights(path, dict(Generator(7, 1, 1, 3).state_dict()), {"stage": stage})
        restorer_of(tmp_path, [blobs(DEEP)], weights=path, warn=told.append)
    assert [line.split()[0] for line in told] == ["small.pth", "meta.safetensors"]
    assert all("never fine-tuned" in line for line in told)


def test_what_has_no_range_is_told(tmp_path: Path) -> None:
    """By time point and channel; that it is blank only where it is."""
    told: list[str] = []
    series = [blobs(DEEP), np.full(DEEP, 9, np.uint16), np.zeros(DEEP, np.uint16), blobs(DEEP)]
    restorer_of(tmp_path, series, num_channels=2, warn=told.append)
    assert [line.partition(" is blank")[0] for line in told] == [
        "time point 0, channel 1",
        "time point 1, channel 0",
    ]
    told.clear()
    sparse = np.zeros(DEEP, np.uint16)
    sparse[4, 4, 4] = 1
    restorer_of(tmp_path, [sparse], options(limits="0,90"), warn=told.append)
    assert len(told) == 1
    assert "--limits 0,90" in told[0]
    assert "all of one value" not in told[0]


def test_options_without_effect_are_refused(tmp_path: Path) -> None:
    """Slices that keep their brightness have none of the input's."""
    for changes, flag in (
        ({"intensity_percentile": 95.0}, "--intensity-percentile"),
        ({"time_range": "series"}, "--time-range series"),
    ):
        with pytest.raises(OptionError, match=flag):
            restorer_of(tmp_path, [blobs(DEEP)], options(adjust_intensity=False, **changes))


@pytest.mark.parametrize(("y", "warns"), [(92.6, 0), (92.0, 0), (100.0, 1)])
def test_pixels_that_are_not_square_are_told(y: float, warns: int, tmp_path: Path) -> None:
    """For planes are rotated."""
    told: list[str] = []
    restorer_of(tmp_path, [blobs(DEEP)], warn=told.append, voxel_size=(200.0, y, 92.6))
    assert len(told) == warns
    assert all("100 x 92.6 nm (y, x) are not square" in line for line in told)
    restorer_of(tmp_path, [blobs(DEEP)], warn=told.append, voxel_size=None)
    assert len(told) == warns


def test_half_precision_is_of_the_network_alone(tmp_path: Path) -> None:
    """The result differs little, and is float32."""
    volume = blobs(DEEP)
    full = restored(restorer_of(tmp_path, [volume]), volume, 3, 3)
    half = restored(restorer_of(tmp_path, [volume], precision="bf16"), volume, 3, 3)
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    assert np.corrcoef(full.flatten(), half.flatten())[0, 1] > 0.999


def test_limits_are_checked_before_anything_is_loaded(tmp_path: Path) -> None:
    """Nobody waits for weights to learn of a typing error."""
    with pytest.raises(VemctlError, match="expected two percentiles"):
        restorer_of(tmp_path, [blobs(DEEP)], options(limits="1"), weights=tmp_path / "none.pth")
