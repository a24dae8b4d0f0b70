"""The data of a training: opened, checked, split, and read patch by patch."""

import pickle
import resource
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from unit.training.conftest import WRITERS, write
from unit.training.samplers import PlainSampler
from unit.volumes.conftest import make_data, part_of

from vemctl.errors import InputError, Interrupted, OptionError
from vemctl.events import Event, StageAdvanced, StageFinished, StageStarted
from vemctl.sampling import TrainingData
from vemctl.training import data as data_module
from vemctl.training import decoded, volume_patches
from vemctl.training.chunk_cache import ChunkCache
from vemctl.training.patches import (
    VolumePatches,
    VolumeSource,
    decode_all,
    decoded_bytes,
    open_data,
    split,
)
from vemctl.volumes.open import open_volume

AXES = ["zyx", "czyx", "tczyx", "tzyx"]


def npy(folder: Path, name: str, shape: tuple[int, ...] = (12, 20, 24), **options) -> Path:
    """Write noise."""
    folder.mkdir(exist_ok=True)
    np.save(folder / name, make_data(shape, **options))
    return folder / name


def one(path: Path, **options):
    """Describe a training on one volume."""
    return open_data(TrainingData({"noisy": (path,)}), **options)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", WRITERS)
def test_patches_are_the_voxels(tmp_path: Path, kind: str, axes: str):
    """Every format, every channel and time point; where the file does not say, with axes."""
    if kind == "mrc" and axes != "zyx":
        pytest.skip("MRC has no such axes")
    sizes = {"t": 2, "c": 3, "z": 9, "y": 40, "x": 52}
    stored = make_data(tuple(sizes[axis] for axis in axes), "uint16")
    path = write(kind, tmp_path, stored, axes)
    description = one(path, axes=axes)
    several = {"c": 3 if "c" in axes else 1, "t": 2 if "t" in axes else 1}
    assert len(description.facts["noisy"]) == several["c"] * several["t"]
    training, validation = split(description, PlainSampler(), 0.3)
    assert validation is not None
    assert {facts.shape for facts in training.facts("noisy")} == {(6, 40, 52)}
    assert {facts.shape for facts in validation.facts("noisy")} == {(3, 40, 52)}
    rng = np.random.default_rng(1)
    numbers = [(c, t) for t in range(several["t"]) for c in range(several["c"])]
    for patches, first in ((training, 0), (validation, 6)):
        for index, (c, t) in enumerate(numbers):
            whole = part_of(stored, axes, c, t)[first:][: patches.facts("noisy")[index].shape[0]]
            for _ in range(4):
                size = tuple(int(rng.integers(1, n + 1)) for n in whole.shape)
                corner = tuple(
                    int(rng.integers(n - s + 1)) for n, s in zip(whole.shape, size, strict=True)
                )
                region = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
                read = patches.read("noisy", index, corner, size)
                assert read.dtype == np.uint16
                assert np.array_equal(read, whole[region])
        patches.close()
    chosen = one(path, axes=axes, channel=str(several["c"] - 1), timepoint=str(several["t"] - 1))
    (source,) = chosen.training.sources["noisy"]
    assert (source.channel, source.timepoint) == (several["c"] - 1, several["t"] - 1)


def test_a_patch_outside_is_a_bug(noisy_path: Path):
    """It must not come out of the slices that are kept for validation."""
    training, _ = split(one(noisy_path), PlainSampler(), 0.2)
    assert training.facts("noisy")[0].shape == (16, 40, 36)
    training.read("noisy", 0, (14, 0, 0), (2, 8, 8))
    for corner in ((15, 0, 0), (-1, 0, 0), (0, 33, 0)):
        with pytest.raises(ValueError, match="no patch of"):
            training.read("noisy", 0, corner, (2, 8, 8))


def test_patches_travel_to_another_process_closed(noisy_path: Path):
    """What is copied has the same facts and reads the same, whether it was read before or not."""
    training, _ = split(one(noisy_path), PlainSampler(), 0)
    before = len(pickle.dumps(training))
    read = training.read("noisy", 0, (0, 0, 0), (4, 8, 8))
    sent = pickle.dumps(training)
    assert len(sent) == before
    copy = pickle.loads(sent)
    assert copy.facts("noisy") == training.facts("noisy")
    assert np.array_equal(copy.read("noisy", 0, (0, 0, 0), (4, 8, 8)), read)
    training.close()
    assert np.array_equal(training.read("noisy", 0, (0, 0, 0), (4, 8, 8)), read)


def test_facts_are_found_where_nobody_gave_them(noisy_path: Path):
    """A part's shape, and the volume's type and voxel size."""
    patches = VolumePatches({"a": [VolumeSource(noisy_path, None, 0, 0, 0, 3, 8)]})
    (facts,) = patches.facts("a")
    assert (facts.shape, facts.dtype, facts.voxel_size) == ((5, 40, 36), "uint16", (40, 8, 8))


def test_only_so_many_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """More volumes than that are read all the same, from several threads."""
    monkeypatch.setattr(volume_patches, "MOST_OPEN", 3)
    stored = [make_data((2, 9, 8 + i), "uint16") for i in range(8)]
    paths = [write("deflated", tmp_path / str(i), each, "zyx") for i, each in enumerate(stored)]
    patches = VolumePatches({"a": [VolumeSource(path, None, 0, 0, 0, 0, 2) for path in paths]})
    wrong = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            i = int(rng.integers(8))
            if not np.array_equal(patches.read("a", i, (0, 0, 0), stored[i].shape), stored[i]):
                wrong.append(i)
            patches.cache.clear()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    files = [str(each.resolve()) for each in Path("/proc/self/fd").iterdir()]
    assert sum(str(tmp_path) in name for name in files) <= 4
    patches.close()


def test_a_huge_sparse_volume_is_sampled_in_little_memory(tmp_path: Path):
    """Four terabytes by name, with a few chunks."""
    path = tmp_path / "huge.zarr"
    shape = (16384, 16384, 16384)
    array = zarr.create_array(
        path, shape=shape, chunks=(64,) * 3, shards=(512,) * 3, dtype="u1", dimension_names="zyx"
    )
    array[:64, :64, :64] = make_data((64, 64, 64))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    training, validation = split(
        one(path), PlainSampler(patch=(32, 64, 64)), 0.1, ChunkCache(2**24)
    )
    rng = np.random.default_rng(0)
    for _ in range(50):
        sample = PlainSampler(patch=(32, 64, 64)).draw(training, rng, 0)
        assert sample["image"].shape == (1, 32, 64, 64)
    assert training.cache.num_bytes <= 2**24
    assert training.read("noisy", 0, (0, 0, 0), (32, 64, 64)).any()
    assert validation is not None
    assert validation.facts("noisy")[0].shape[0] == 1639
    assert time.monotonic() - began < 20
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < 300 * 2**20


@given(
    st.integers(1, 200),
    st.integers(1, 9),
    st.integers(1, 9),
    st.decimals(0, 1, places=2).map(float).filter(lambda fraction: fraction < 1),
)
def test_the_last_slices_are_kept_from_training(slices, patch, validation_patch, fraction):
    """As many as asked for, rounded up, but a patch at least; nothing is in both or neither."""
    source = VolumeSource(Path("v.zarr"), None, 0, 0, 0, 0, slices)
    facts = data_module.VolumeFacts((slices, 9, 9), "uint8")
    part = data_module.Part({"noisy": (source,)}, {"noisy": (facts,)})
    description = data_module.DataDescription(part, None, {}, TrainingData({}))
    sampler = PlainSampler((patch, 1, 1), (validation_patch, 1, 1))
    kept = max(-(-round(fraction * 100) * slices // 100), validation_patch) if fraction else 0
    if slices - kept < patch:
        divided = slices == 1 and fraction > 0
        words = r"v\.zarr: a single plane cannot be divided" if divided else r"v\.zarr.*--patch"
        with pytest.raises(InputError, match=words) as caught:
            split(description, sampler, fraction)
        assert "\n" not in str(caught.value)
        return
    training, validation = split(description, sampler, fraction)
    assert training.sources["noisy"][0].stop == slices - kept
    assert training.facts("noisy")[0].shape == (slices - kept, 9, 9)
    if not fraction:
        assert validation is None
    else:
        assert validation is not None
        found = validation.sources["noisy"][0]
        assert (found.start, found.stop) == (slices - kept, slices)
        assert validation.facts("noisy")[0].shape == (kept, 9, 9)


def test_validation_volumes_of_their_own(tmp_path: Path):
    """Nothing is cut off then; they need room for a patch too, and all roles."""
    paths = {name: npy(tmp_path, f"{name}.npy", (12, 20, 24)) for name in "abcd"}
    small = npy(tmp_path, "small.npy", (2, 20, 24))
    roles = {"fast": (paths["a"],), "slow": (paths["b"],)}
    data = TrainingData(roles, (("fast", "slow"),), {"fast": (paths["c"],), "slow": (paths["d"],)})
    description = open_data(data)
    training, validation = split(description, PlainSampler(), 0.5)
    assert training.facts("slow")[0].shape == (12, 20, 24)
    assert validation is not None
    assert validation.sources["slow"][0].path == paths["d"]
    recorded = description.to_json()
    assert recorded["volumes"]["fast"][0]["path"] == str(paths["a"])
    assert recorded["validation_volumes"]["slow"][0]["shape"] == [12, 20, 24]
    data = TrainingData(roles, (("fast", "slow"),), {"fast": (small,), "slow": (small,)})
    with pytest.raises(InputError, match=r"small\.npy: its shape 2 x 20 x 24 .*larger validation"):
        split(open_data(data), PlainSampler(), 0.1)
    with pytest.raises(InputError, match="none for slow"):
        open_data(TrainingData(roles, (), {"fast": (small,)}))


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path):
    """Missing, unequal, empty and constant volumes, in one line each with a cure."""
    a, b = npy(tmp_path, "a.npy"), npy(tmp_path, "b.npy", (12, 20, 25))
    c = npy(tmp_path, "c.npy", (2, 12, 20, 24))
    np.save(tmp_path / "flat.npy", np.full((40, 40, 40), 7, "uint8"))
    np.save(tmp_path / "empty.npy", np.zeros((0, 20, 24), "uint8"))
    two = np.stack([make_data((12, 20, 24)), np.zeros((12, 20, 24), "uint8")])
    np.save(tmp_path / "blank.npy", two)
    pair = (("fast", "slow"),)
    for data, options, expected in (
        (TrainingData({}), {}, "no volumes to train on"),
        (TrainingData({"x": (tmp_path / "none.npy",)}), {}, r"none\.npy: no such file"),
        (TrainingData({"fast": (a, a), "slow": (a,)}, pair), {}, "fast has 2 .* slow has 1"),
        (
            TrainingData({"slow": (b,), "fast": (a,)}, pair),
            {},
            r"fast and slow of different shape: .*a\.npy has 12 x 20 x 24, .*b\.npy has "
            r"12 x 20 x 25: register or crop them",
        ),
        (
            TrainingData({"fast": (c,), "slow": (c,)}, pair),
            {"axes": "czyx", "channel": "2"},
            r"--channel 2: .*c\.npy has 2 channels; expected all, or 0 to 1",
        ),
        (TrainingData({"x": (a,)}), {"timepoint": "-1"}, "--timepoint -1"),
        (TrainingData({"x": (tmp_path / "empty.npy",)}), {}, r"empty\.npy"),
        (TrainingData({"x": (tmp_path / "flat.npy",)}), {}, "every voxel is 7"),
        (
            TrainingData({"x": (tmp_path / "blank.npy",)}),
            {"axes": "czyx"},
            "every voxel is 0 in channel 1 .*--channel",
        ),
    ):
        with pytest.raises((InputError, OptionError), match=expected) as caught:
            open_data(data, **options)
        assert "\n" not in str(caught.value)
    open_data(TrainingData({"x": (tmp_path / "blank.npy",)}), axes="czyx", channel="0")
    with pytest.raises(OptionError, match=r"--validation-fraction 1"):
        split(one(a), PlainSampler(), 1)
    with pytest.raises(InputError, match=r"a\.npy: its shape 12 x 20 x 24 is smaller than"):
        split(one(a), PlainSampler(patch=(2, 21, 8)), 0)


@pytest.mark.parametrize("patch", [(1, 8, 8), (2, 8, 8)])
def test_no_smaller_patch_divides_a_single_plane(tmp_path: Path, patch: tuple[int, int, int]):
    """The error says what does, whatever the patch; what need not be divided is taken."""
    plane = npy(tmp_path, "plane.npy", (20, 24))
    stack = npy(tmp_path, "stack.npy")
    sampler = PlainSampler(patch, (1, 8, 8))
    with pytest.raises(InputError, match=r"plane\.npy: a single plane cannot be div") as caught:
        split(open_data(TrainingData({"noisy": (stack, plane)})), sampler, 0.1)
    assert "--patch" not in str(caught.value)
    assert "validation volumes of their own, or --validation-fraction 0" in str(caught.value)
    assert "\n" not in str(caught.value)
    own = TrainingData({"noisy": (plane,)}, (), {"noisy": (plane,)})
    for data, fraction in ((own, 0.1), (TrainingData({"noisy": (plane,)}), 0)):
        if patch[0] == 1:
            training, _ = split(open_data(data), sampler, fraction)
            assert training.facts("noisy")[0].shape == (1, 20, 24)
        else:
            with pytest.raises(InputError, match="expected a smaller --patch"):
                split(open_data(data), sampler, fraction)


def test_paired_volumes_go_in_step(tmp_path: Path):
    """Channel by channel, whatever the order in which the roles are named."""
    a, b = (npy(tmp_path, f"{name}.npy", (2, 12, 20, 24)) for name in "ab")
    data = TrainingData({"slow": (b, a), "fast": (a, b)}, (("fast", "slow"),))
    description = open_data(data, axes="czyx")
    assert list(description.facts) == ["slow", "fast"]
    for fast, slow in zip(
        *(description.training.sources[r] for r in ("fast", "slow")), strict=True
    ):
        assert {fast.path, slow.path} == {a, b}
        assert fast.channel == slow.channel


def test_one_other_voxel_makes_a_volume_varied(tmp_path: Path):
    """The search is thorough where probes find one value, but ends early."""
    stored = np.zeros((40, 300, 300), "uint8")
    stored[23, 155, 7] = 1
    np.save(tmp_path / "v.npy", stored)
    one(tmp_path / "v.npy")


def test_values_that_are_not_finite_are_refused(tmp_path: Path):
    """When they are read, since a whole volume is too much to look through."""
    stored = make_data((12, 20, 24), "float32")
    stored[5, 5, 5] = np.nan
    np.save(tmp_path / "v.npy", stored)
    training, _ = split(one(tmp_path / "v.npy"), PlainSampler(), 0)
    training.read("noisy", 0, (6, 0, 0), (2, 8, 8))
    with pytest.raises(InputError, match=r"v\.npy: .*not finite .* z 5:7, y 0:8, x 0:8"):
        training.read("noisy", 0, (5, 0, 0), (2, 8, 8))
    with pytest.raises(InputError, match="not finite"):
        decode_all(training, None)


def test_a_record_tells_volumes_apart(noisy_path: Path):
    """What a run records is what a prediction would."""
    (recorded,) = one(noisy_path).to_json()["volumes"]["noisy"]
    volume = open_volume(noisy_path)
    assert recorded["path"] == str(noisy_path)
    assert recorded["shape"] == list(volume.header.shape)
    assert recorded["dtype"] == "uint16"
    assert len(recorded["sample_sha256"]) == 64


@pytest.mark.parametrize("in_memory", [True, False])
def test_all_is_decoded_once(noisy_path: Path, tmp_path: Path, in_memory: bool):
    """Only the slices that are trained on; afterwards the volume is not needed any more."""
    training, validation = split(one(noisy_path), PlainSampler(), 0.25)
    assert validation is not None
    events: list[Event] = []
    folder = None if in_memory else tmp_path
    whole = decode_all(training, folder, events.append)
    facts = training.facts("noisy")[0]
    assert whole.facts("noisy") == (facts,)
    expected = training.read("noisy", 0, (0, 0, 0), facts.shape)
    assert np.array_equal(whole.read("noisy", 0, (0, 0, 0), facts.shape), expected)
    patch = whole.read("noisy", 0, (3, 5, 7), (4, 9, 8))
    assert np.array_equal(patch, expected[3:7, 5:14, 7:15])
    total = sum(event.amount for event in events if isinstance(event, StageAdvanced))
    assert isinstance(events[0], StageStarted)
    assert events[0].total == total == decoded_bytes({"noisy": [facts]}) == expected.nbytes
    assert isinstance(events[-1], StageFinished)
    if not in_memory:
        (file,) = tmp_path.iterdir()
        assert 0 <= file.stat().st_size - total < 256
        sent = pickle.dumps(whole)
        assert len(sent) < 4000
        again = pickle.loads(sent).read("noisy", 0, (3, 5, 7), (4, 9, 8))
        assert np.array_equal(again, patch)
    later = decode_all(validation, None)
    assert np.array_equal(
        later.read("noisy", 0, (0, 0, 0), (5, 40, 36)),
        validation.read("noisy", 0, (0, 0, 0), (5, 40, 36)),
    )


def test_decoding_all_needs_room_and_can_be_stopped(
    noisy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It says what it needs before it begins."""
    training, _ = split(one(noisy_path), PlainSampler(), 0)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="decoding"):
        decode_all(training, None, stop=stop)
    monkeypatch.setattr(decoded, "free_bytes", lambda _: 1000)
    with pytest.raises(OptionError, match=r"--cache all: needs 57\.6 kB in .* 1\.0 kB are free"):
        decode_all(training, tmp_path)
