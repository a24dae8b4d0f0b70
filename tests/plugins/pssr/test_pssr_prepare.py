"""Training sets made of good images."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vemctl_pssr.method import METHOD
from vemctl_pssr.prepare_options import PrepareOptions
from vemctl_pssr.ranges import SLICES

from vemctl.errors import InputError, OptionError, VemctlError
from vemctl.plugin import Preparation, PreparationRequest, Triple, VolumeFacts, Workplace

A, B, C = (Path(f"{name}.tif") for name in "abc")
MANY = tuple(Path(f"{number:02d}.tif") for number in range(20))
PLAIN = PrepareOptions(
    size=16,
    num_train=12,
    num_valid=6,
    crappifier="em_downsampleonly",
    as_published=True,
    select=False,
)
STATISTICS = {
    "min": np.min, "max": np.max, "mean": np.mean, "std": np.std, "bound:min": np.min,
    "bound:max": np.max,
}  # fmt: skip


def measured(volumes: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Measure a file as the core does."""
    whole = np.concatenate([volume.ravel() for volume in volumes])
    found = {}
    for name in names:
        kind, _, percent = name.partition(":")
        made = np.percentile(whole, float(percent)) if kind == "percentile" else None
        found[name] = float(STATISTICS[name](whole) if made is None else made)
    return found


class Raw:
    """Files of volumes in memory, (t, c, z, y, x) by name, in the parts of a preparation."""

    def __init__(self, options: PrepareOptions, files: Mapping[str, Mapping[str, np.ndarray]]):
        self.options = options
        self.names = {part: tuple(named) for part, named in files.items()}
        self.volumes: dict[str, list[np.ndarray]] = {}
        self.known: dict[str, list[VolumeFacts]] = {}
        for part, named in files.items():
            self.volumes[part], self.known[part] = [], []
            for number, (name, array) in enumerate(named.items()):
                series = array.reshape((1,) * (5 - array.ndim) + array.shape)
                names = METHOD.preparation_statistics(options, part, number)
                statistics = measured(list(series), names)
                for t, c in itertools.product(range(series.shape[0]), range(series.shape[1])):
                    self.volumes[part].append(series[t, c])
                    self.known[part].append(VolumeFacts(
                        series.shape[2:], array.dtype.name, self.voxel_size(name), statistics,
                        file_index=number, channel=c, timepoint=t,
                    ))  # fmt: skip

    def voxel_size(self, name: str) -> tuple[float, float, float] | None:
        return None if "bare" in name else (40.0, 2.0, 3.0 if "other" in name else 2.0)

    def facts(self, role: str) -> list[VolumeFacts]:
        return self.known[role]

    def read(self, role: str, index: int, corner: Triple, size: Triple) -> np.ndarray:
        z, y, x = (slice(start, start + n) for start, n in zip(corner, size, strict=True))
        patch = self.volumes[role][index][z, y, x]
        assert patch.shape == size
        return patch


class Grown(list):
    """A volume that is written from its first slice to its last."""

    closed = False

    def append(self, slices: np.ndarray) -> None:
        assert not self.closed
        assert slices.ndim == 3
        self.extend(slices)

    def close(self) -> None:
        self.closed = True


class Made:
    """What a preparation made."""

    def __init__(self, preparation: Preparation, folder: Path) -> None:
        self.volumes: dict[str, tuple[Triple, str, Any, Grown]] = {}
        self.told: list[tuple[str, int, int]] = []
        folder.mkdir(parents=True, exist_ok=True)
        place = Workplace(folder, self._make, lambda *told: self.told.append(told))
        self.record = preparation.run(place)
        self.samples, self.files = (
            list(csv.DictReader((folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
            for name in ("samples", "files")
        )

    def _make(self, name: str, shape: Triple, dtype: str, voxel_size: Any = None) -> Grown:
        self.volumes[name] = shape, dtype, voxel_size, Grown()
        return self.volumes[name][3]

    def array(self, name: str) -> np.ndarray:
        """Return a volume, which must be whole."""
        shape, dtype, _, grown = self.volumes[name]
        array = np.stack(grown)
        assert (array.shape, array.dtype.name, grown.closed) == (shape, dtype, True)
        return array

    def rows(self, part: str) -> list[dict[str, str]]:
        """Return what is told of the samples of a part."""
        rows = [row for row in self.samples if row["part"] == part]
        assert [int(row["id"]) for row in rows] == list(range(len(rows)))
        return rows


def prepared(
    options: PrepareOptions, files: Mapping[str, Mapping[str, np.ndarray]], seed: int = 0
) -> tuple[Preparation, list[str]]:
    """Return a preparation, and what was told."""
    raw, told = Raw(options, files), []
    request = PreparationRequest(raw, raw.names, seed, told.append)
    return METHOD.preparation(options, request), told


def refusal(options: PrepareOptions, files: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Return the one line of the error."""
    with pytest.raises(InputError) as error:
        prepared(options, files)
    assert "\n" not in str(error.value)
    return str(error.value)


def noise(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Return random values of all of the type, 0 and the largest included."""
    top = np.iinfo(dtype).max
    values = np.random.default_rng(seed).integers(0, top + 1, shape).astype(dtype)
    values.flat[0], values.flat[-1] = 0, top
    return values


def numbered(depth: int) -> np.ndarray:
    """Return a stack whose slices say which they are."""
    return np.broadcast_to(np.arange(depth, dtype=np.uint8)[:, None, None], (depth, 20, 24)) + 0


def test_several_files_are_split() -> None:
    """A tenth, evenly among them; a single one is not, nor where nothing is to be kept."""
    assert METHOD.preparation_data(PLAIN, (A,)).volumes == {"train": (A,)}
    data = METHOD.preparation_data(PLAIN, MANY)
    assert data.volumes["valid"] == (MANY[9], MANY[19])
    assert data.volumes["train"] == (*MANY[:9], *MANY[10:19])
    assert (data.paired, data.validation, data.scale) == ((), {}, {})
    none = METHOD.preparation_data(replace(PLAIN, num_valid=0), MANY)
    assert none.volumes == {"train": MANY}


def test_folders_called_train_and_valid_stay_apart(tmp_path: Path) -> None:
    """In the folder that is named or in its categories; others are what is in them."""
    for name in ("train/a.tif", "valid/b.tif", "mito/train/c.tif", "mito/train/d.zarr",
                 "mito/valid/e.tif", "live/train/f.tif", "notes/g.tif"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train" / "readme.txt").touch()
    data = METHOD.preparation_data(PLAIN, (tmp_path, tmp_path / "notes", B))
    assert data.volumes == {
        "train": (
            *(tmp_path / name for name in ("live/train/f.tif", "mito/train/c.tif",
                                           "mito/train/d.zarr", "train/a.tif", "notes/g.tif")),
            B,
        ),
        "valid": (tmp_path / "mito/valid/e.tif", tmp_path / "valid/b.tif"),
    }  # fmt: skip
    only_train = METHOD.preparation_data(PLAIN, (tmp_path / "mito" / "train",))
    assert [path.name for path in only_train.volumes["valid"]] == ["d.zarr"]


def test_images_to_validate_on_may_be_named(tmp_path: Path) -> None:
    """They are not trained on as well, though they lie in the same folder."""
    for name in ("a.tif", "b.tif", "c.zarr"):
        (tmp_path / name).touch()
    options = replace(PLAIN, validation=(tmp_path / "b.tif", C))
    assert METHOD.preparation_data(options, (tmp_path,)).volumes == {
        "train": (tmp_path / "a.tif", tmp_path / "c.zarr"), "valid": (tmp_path / "b.tif", C)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": 2}, "--frames 2: expected an odd number, with a middle"),
        ({"size": 30}, "--size 30: expected a multiple of 4"),
        ({"crappifier": "emAG"}, "--crappifier emAG: there is no such crappifier."),
        ({"salt_pepper": 0.1}, "--salt-pepper: em_downsampleonly has no such noise; leave it out"),
        ({"validation": (A,)}, "--validation: no images are left to train on; expected others"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], words: str) -> None:
    """Before anything is opened."""
    with pytest.raises(OptionError) as error:
        METHOD.preparation_data(replace(PLAIN, **changes), (A,))
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_validation_is_named_once(tmp_path: Path) -> None:
    """By an option or by folders; a folder must have something in it."""
    for name in ("train/a.tif", "valid/b.tif", "empty/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for changes, inputs, words in (
        ({"validation": (B,)}, tmp_path, "--validation: there are folders called valid too; leave"),
        ({}, tmp_path / "empty", f"{tmp_path / 'empty'}: no volumes in this folder"),
    ):
        with pytest.raises(VemctlError) as error:
            METHOD.preparation_data(replace(PLAIN, **changes), (inputs,))
        assert str(error.value).startswith(words)


def test_statistics_are_those_of_tables_ranges_and_the_choice_of_places() -> None:
    """Without any by slice."""
    usual = METHOD.preparation_statistics(PLAIN, "train", 0)
    table = {"min", "max", "mean", "std", "percentile:2", "percentile:99.99"}
    assert table | {"bound:min", "bound:max", "percentile:90.0"} <= set(usual)
    assert len(set(usual)) == len(usual)
    assert SLICES not in usual
    given = METHOD.preparation_statistics(replace(PLAIN, hr_range="1%,2%"), "train", 0)
    assert table | {"percentile:1.0", "percentile:2.0"} <= set(given)
    with pytest.raises(OptionError, match="--hr-range slice: a training has one range"):
        METHOD.preparation_statistics(replace(PLAIN, hr_range="slice"), "train", 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_good_images_are_where_the_table_says(dtype: Any, tmp_path: Path) -> None:
    """To the bit, where the range is that of the type; poor ones are every fourth pixel or so."""
    options = replace(PLAIN, dtype=dtype, hr_range="dtype", num_train=30)
    files = {
        "train": {"k/a.tif": noise(2, 3, 4, 20, 24, dtype=dtype), "k/b.tif": noise(
            5, 18, 16, dtype=dtype, seed=1)},
        "valid": {"c.tif": noise(16, 30, dtype=dtype, seed=2)[None]},
    }  # fmt: skip
    preparation, told = prepared(options, files)
    made = Made(preparation, tmp_path)
    assert told == []
    seen = set()
    for part, count in (("train", 30), ("valid", 6)):
        good, poor, rows = made.array(f"{part}/hr"), made.array(f"{part}/lr"), made.rows(part)
        assert (good.shape, poor.shape) == ((count, 16, 16), (count, 4, 4))
        for image, small, row in zip(good, poor, rows, strict=True):
            source = files[part][row["file"]]
            source = source.reshape((1,) * (5 - source.ndim) + source.shape)
            t, c, z, y, x = (int(row[k]) for k in ("timepoint", "channel", "z", "y", "x"))
            np.testing.assert_array_equal(image, source[t, c, z, y : y + 16, x : x + 16])
            np.testing.assert_array_equal(small, image[::5, ::5])  # of 16, corner to corner
            assert row["size"] == "16"
            assert float(row["mean"]) == pytest.approx(image.mean(), abs=1e-4)
            assert float(row["sd"]) == pytest.approx(image.std(), abs=1e-4)
            assert (int(row["min"]), int(row["max"])) == (image.min(), image.max())
            seen.add((row["file"], t, c, z))
    assert len(seen) > 10
    assert {name for name, *_ in seen} == {"k/a.tif", "k/b.tif", "c.tif"}
    assert {volume[2] for volume in made.volumes.values()} == {(40, 2, 2), (40, 8, 8)}
    assert made.told[0] == ("drawing train", 0, 30)
    assert ("drawing train", 30, 30) in made.told
    assert made.told[-1] == ("drawing valid", 6, 6)


def test_files_are_told_with_their_statistics(tmp_path: Path) -> None:
    """One row for each, by category, which is the folder above train and valid."""
    files = {
        "train": {"in/mito/train/a.tif": noise(2, 3, 4, 20, 24), "in/er/b bare.tif": noise(
            5, 18, 16, dtype="uint16")},
        "valid": {"in/mito/valid/c.tif": noise(2, 16, 30)},
    }  # fmt: skip
    preparation, told = prepared(PLAIN, files)
    made = Made(preparation, tmp_path)
    expected = [
        ("mito", "train", "in/mito/train/a.tif", "uint8", "3", "2", "4", "20", "24", "40 2 2"),
        ("er", "train", "in/er/b bare.tif", "uint16", "1", "1", "5", "18", "16", ""),
        ("mito", "valid", "in/mito/valid/c.tif", "uint8", "1", "1", "2", "16", "30", "40 2 2"),
    ]
    names = ("category", "part", "file", "dtype", "channels", "timepoints", "z", "y", "x",
             "voxel_size_nm")  # fmt: skip
    assert [tuple(row[name] for name in names) for row in made.files] == expected
    for row in made.files:
        values = files[row["part"]][row["file"]]
        for name, value in (
            ("min", values.min()), ("max", values.max()), ("mean", values.mean()),
            ("sd", values.std()), ("p2", np.percentile(values, 2)),
            ("p99.99", np.percentile(values, 99.99)),
        ):  # fmt: skip
            assert float(row[name]) == pytest.approx(value, rel=1e-5)
    assert len(told) == 1
    assert told[0].startswith("the files have different voxel sizes, or some have none:")
    assert made.record["voxel_size"] is None
    assert {volume[2] for volume in made.volumes.values()} == {None}


@pytest.mark.parametrize(("frames", "depth"), [(1, 2), (1, 30), (3, 8), (5, 12), (5, 40)])
def test_no_frame_of_a_single_file_is_trained_and_validated_on(
    frames: int, depth: int, tmp_path: Path
) -> None:
    """The last slices are kept, a tenth at least; poor frames are neighbours, ascending."""
    options = replace(PLAIN, frames=frames, num_train=200, num_valid=40)
    preparation, _ = prepared(options, {"train": {"a.tif": numbered(depth)}})
    made, half = Made(preparation, tmp_path), frames // 2
    used: dict[str, set[int]] = {}
    for part in ("train", "valid"):
        good, poor = made.array(f"{part}/hr"), made.array(f"{part}/lr")
        poor = poor.reshape(-1, frames, 4, 4)
        for image, stack, row in zip(good, poor, made.rows(part), strict=True):
            assert np.unique(image) == int(row["z"])
            np.testing.assert_array_equal(
                stack[:, 1, 2], np.arange(int(row["z"]) - half, int(row["z"]) + half + 1)
            )
        used[part] = set(np.unique(poor))
    assert not used["train"] & used["valid"]
    assert max(used["train"]) < min(used["valid"])
    assert max(used["valid"]) == depth - 1
    assert min(used["train"]) == 0
    assert len(used["valid"]) - 2 * half == -(-(depth - 2 * half) // 10)
    assert used["train"] | used["valid"] == set(range(depth))


def test_frames_over_time_are_whole(tmp_path: Path) -> None:
    """First and last time points are neighbours only; channels and files do not mix."""
    movie = np.zeros((6, 2, 2, 20, 20), np.uint8)
    for t, c, z in itertools.product(range(6), range(2), range(2)):
        movie[t, c, z] = 100 * c + 10 * t + z
    for name, options in (
        ("axis", replace(PLAIN, frames=5, frames_axis="t", num_train=60)),
        ("default", replace(PLAIN, frames=5, num_train=60)),
    ):
        files = {"train": {"a.tif": movie}, "valid": {"b.tif": movie[:5] + np.uint8(1)}}
        made = Made(prepared(options, files)[0], tmp_path / name)
        for part in files:
            poor = made.array(f"{part}/lr").reshape(-1, 5, 4, 4)[:, :, 0, 0].astype(int)
            middle = made.array(f"{part}/hr")[:, 0, 0].astype(int)
            np.testing.assert_array_equal(poor, middle[:, None] + np.arange(-20, 21, 10))
        places = {(r["timepoint"], r["channel"], r["z"]) for r in made.rows("train")}
        assert places == {(t, c, z) for t in "23" for c in "01" for z in "01"}
        assert {row["timepoint"] for row in made.rows("valid")} == {"2"}
    slices = replace(PLAIN, frames=3, frames_axis="z", num_valid=0, num_train=60)
    stack = np.repeat(movie, 2, axis=2)
    made = Made(prepared(slices, {"train": {"a.tif": stack}})[0], tmp_path / "z")
    assert {row["timepoint"] for row in made.rows("train")} > {"0", "5"}
    assert {row["z"] for row in made.rows("train")} == {"1", "2"}


def test_time_points_may_be_chosen_before(tmp_path: Path) -> None:
    """Ends are those of what there is."""
    movie = np.stack([np.full((1, 20, 20), 10 * t, np.uint8) for t in range(6)])[:, None]
    options = replace(PLAIN, frames=3, num_valid=0)
    raw = Raw(options, {"train": {"a.tif": movie}})
    raw.volumes["train"] = raw.volumes["train"][3:]
    raw.known["train"] = raw.known["train"][3:]
    made = Made(METHOD.preparation(options, PreparationRequest(raw, raw.names)), tmp_path)
    assert {row["timepoint"] for row in made.rows("train")} == {"4"}
    raw.known["train"] = raw.known["train"][:1]
    with pytest.raises(InputError, match=r"a\.tif: has 1 time points, a sample 3: expected at lea"):
        METHOD.preparation(options, PreparationRequest(raw, raw.names))


@pytest.mark.parametrize(
    ("changes", "array", "words"),
    [
        ({}, noise(9, 15, 24), "a.tif: its shape 9 x 15 x 24 is smaller than a sample of 1 x 16 x "
         "16 (z, y, x): expected a smaller --size, or larger images"),
        ({"frames": 5}, noise(4, 20, 24),
         "a.tif: its shape 4 x 20 x 24 is smaller than a sample of 5 x 16 x 16 (z, y, x)"),
        ({}, noise(1, 20, 24), "a.tif: too few slices to keep some for validation; expected "
         "several files, --validation, or --num-valid 0"),
        ({"frames": 5}, noise(9, 20, 24), "a.tif: too few slices to keep some for validation"),
        ({"frames": 5, "frames_axis": "t"}, noise(4, 1, 2, 20, 24),
         "a.tif: has 4 time points, a sample 5: expected at least as many, or --frames-axis z"),
        ({}, noise(9, 20, 24).astype(np.float32) - 9, "a.tif: values down to -9, where 0 should be "
         "black; expected none below 0, or give the range: --hr-range -9,246"),
        ({"hr_range": "dtype"}, noise(9, 20, 24).astype(np.float32),
         "a.tif: floating values up to 255, expected 0 to 1; give the range: --hr-range 0,255"),
    ],
)  # fmt: skip
def test_images_that_do_not_fit_are_refused(
    changes: dict[str, Any], array: np.ndarray, words: str
) -> None:
    """With their file, what they have, and what mends it; before anything is made."""
    assert refusal(replace(PLAIN, **changes), {"train": {"a.tif": array}}).startswith(words)


def test_every_image_to_validate_on_is_checked_too() -> None:
    """By its own name."""
    files = {"train": {"a.tif": noise(2, 20, 20)}, "valid": {"b.tif": noise(2, 20, 12)}}
    assert refusal(PLAIN, files).startswith("b.tif: its shape 2 x 20 x 12 is smaller")


@pytest.mark.parametrize("num_valid", [6, 0])
def test_what_is_planned_is_what_is_made(num_valid: int, tmp_path: Path) -> None:
    """And what is recorded is what a training reads."""
    options = replace(
        PLAIN, frames=3, num_valid=num_valid, dtype="uint16", crappifier="new_crap_AG_SP",
        noise_level=0.25,
    )  # fmt: skip
    preparation, _ = prepared(options, {"train": {"a.tif": noise(20, 30, 40)}})
    plan, made = preparation.plan(), Made(preparation, tmp_path)
    counts = {"train": 12, "valid": num_valid}
    assert plan["samples"] == made.record["counts"] == counts
    assert plan["files"] == {"train": 1}
    parts = [part for part, count in counts.items() if count]
    assert set(made.volumes) == {f"{part}/{role}" for part in parts for role in ("hr", "lr")}
    assert len(made.samples) == sum(counts.values())
    size = 0
    for part in parts:
        good, poor = made.array(f"{part}/hr"), made.array(f"{part}/lr")
        assert list(good.shape) == [counts[part], *plan["hr_shape"]]
        frames, *edges = plan["lr_shape"]
        assert list(poor.shape) == [frames * counts[part], *edges]
        size += good.nbytes + poor.nbytes
    assert plan["uncompressed_bytes"] == size
    assert made.record | {"counts": None} == {
        "size": 16, "frames": 3, "counts": None, "voxel_size": [40.0, 2.0, 2.0],
        "crappifier": "new_crap_AG_SP", "crappifier_parameters": plan["crappifier_parameters"],
        "range": "dtype",
    }  # fmt: skip
    assert plan["crappifier_parameters"]["noise_level"] == 0.25
    assert plan["crappifier"] == "new_crap_AG_SP"


def test_what_was_made_is_trained_on(tmp_path: Path) -> None:
    """With what the record says, as the core writes it."""
    import json

    from vemctl_pssr.data import prepared_set
    from vemctl_pssr.train_options import TrainOptions

    options = replace(PLAIN, frames=3)
    made = Made(prepared(options, {"train": {"a.tif": noise(20, 30, 40)}})[0], tmp_path)
    (tmp_path / "prepare.json").write_text(json.dumps(made.record))
    found = prepared_set((tmp_path,))
    assert found is not None
    assert (found.frames, found.counts, found.voxel_size) == (3, (12, 6), (40, 2, 2))
    data = METHOD.training_data(TrainOptions(), (tmp_path,))
    for role, paths in data.volumes.items():
        assert paths == (tmp_path / "train" / f"{role}.zarr",)
        shape = made.volumes[f"train/{role}"][0]
        assert data.scaled((12, 4, 4), role) == shape


def test_samples_are_those_of_the_seed(tmp_path: Path) -> None:
    """However many there are; train and valid do not draw the same."""
    files = {name: {f"{name}.tif": noise(20, 60, 70)} for name in ("train", "valid")}
    options = replace(PLAIN, crappifier="em_AG", num_valid=12)
    made = {
        name: Made(prepared(options_of, files, seed)[0], tmp_path / name)
        for name, options_of, seed in (
            ("one", options, 3), ("same", options, 3), ("more", replace(options, num_train=20), 3),
            ("other", options, 4),
        )
    }  # fmt: skip
    for volume in ("train/hr", "train/lr", "valid/hr", "valid/lr"):
        one = made["one"].array(volume)
        np.testing.assert_array_equal(one, made["same"].array(volume))
        np.testing.assert_array_equal(one, made["more"].array(volume)[:12])
        assert (one != made["other"].array(volume)).any(axis=(1, 2)).all()
    places = {
        part: [(row["z"], row["y"], row["x"]) for row in made["one"].rows(part)]
        for part in ("train", "valid")
    }
    assert places["train"] != places["valid"]
    assert len(set(places["train"])) > 8


def test_categories_are_drawn_alike_then_files(tmp_path: Path) -> None:
    """However many files and time points they have."""
    files = {
        "train": {
            "x/few/train/a.tif": noise(2, 20, 20),
            **{f"x/many/train/{n}.tif": noise(2, 20, 20, seed=n) for n in range(4)},
            "x/many/train/movie.tif": noise(30, 1, 2, 20, 20),
        },
        "valid": {"y.tif": noise(2, 20, 20)},
    }
    made = Made(prepared(replace(PLAIN, num_train=600, size=16), files)[0], tmp_path)
    counts = Counter(row["file"] for row in made.rows("train"))
    assert counts.pop("x/few/train/a.tif") == pytest.approx(300, abs=60)
    assert len(counts) == 5
    assert all(count == pytest.approx(60, abs=30) for count in counts.values())


def test_values_become_those_of_the_range(tmp_path: Path) -> None:
    """By default the type of 8 bit, else 0 to the maximum of the file; truncated, and cut off."""
    eight, sixteen = noise(2, 16, 16) // 2, noise(2, 16, 16, dtype="uint16") // 4
    floats = noise(2, 16, 16).astype(np.float32) / 64
    for number, (array, asked, expected) in enumerate((
        (eight, None, eight),
        (eight, "max", np.floor(255 / 127 * eight.astype(float) + 1e-4)),
        (sixteen, None, np.floor(255 * sixteen.astype(float) / sixteen.max() + 1e-4)),
        (floats, None, np.floor(255 * floats.astype(float) / floats.max() + 1e-4)),
        (floats, "1,2", np.floor(255 * (floats.astype(float) - 1).clip(0, 1) + 1e-4)),
    )):  # fmt: skip
        options = replace(PLAIN, hr_range=asked, num_valid=0)
        made = Made(prepared(options, {"train": {"a.tif": array}})[0], tmp_path / str(number))
        for image, row in zip(made.array("train/hr"), made.rows("train"), strict=True):
            np.testing.assert_array_equal(image, expected[int(row["z"])])


def test_places_are_chosen_unless_any_will_do(tmp_path: Path) -> None:
    """Where there is something, in the slice of the good image."""
    volume = np.zeros((5, 100, 120), np.uint8)
    volume[:, 40:56, 60:80] = 50
    shares = {}
    for select in (True, False):
        options = replace(PLAIN, select=select, frames=3, num_valid=0, num_train=40)
        made = Made(prepared(options, {"train": {"a.tif": volume}})[0], tmp_path / str(select))
        shares[select] = np.mean(made.array("train/hr").any(axis=(1, 2)))
    assert shares[True] == 1
    assert shares[False] < 0.6


def test_poor_images_are_noisy_and_frames_differently(tmp_path: Path) -> None:
    """By the crappifier that is asked for."""
    flat = np.full((12, 20, 20), 100, np.uint8)
    flat[0, 0, 0] = 0
    options = replace(PLAIN, crappifier="em_G_D_002", noise_level=0.1, frames=5, num_train=100)
    made = Made(prepared(options, {"train": {"a.tif": flat}})[0], tmp_path)
    poor = made.array("train/lr").reshape(100, 5, 4, 4).astype(float)
    assert poor.mean() == pytest.approx(99.5, abs=2)
    assert poor[..., 0, 0].std() == pytest.approx(25.5, rel=0.1)  # a corner is one pixel
    correlation = np.corrcoef(poor[:, 1].ravel(), poor[:, 2].ravel())[0, 1]
    assert abs(correlation) < 0.1
