"""Which pairs and tasks make up a step, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vemctl_vsisr.data import GT, INPUT
from vemctl_vsisr.pairs import Pairs, by_task, in_unit
from vemctl_vsisr.samples import PairSampler, TaskSampler, smoothed, window_of
from vemctl_vsisr.train_options import FinetuneOptions, TrainOptions
from vsisr_tasks import EDGE, TaskPatches, make, pair_volumes

from vemctl.errors import InputError
from vemctl.plugin import VolumeFacts

PATHS = tuple(Path(f"task{n}/input.zarr") for n in range(4))
PATCH = (7, EDGE, EDGE)


def numbered(counts: list[int], *, in_time: bool = False) -> TaskPatches:
    """Return tasks in which every pair is known by its first voxel, that of its truth too."""
    volumes = pair_volumes(counts)
    for task, (seen, truth) in enumerate(zip(volumes[INPUT], volumes[GT], strict=True)):
        seen[::7, 0, 0] = truth[::3, 0, 0] = 1000 * task + np.arange(counts[task])
    return TaskPatches(volumes, in_time=in_time)


def known(sample: np.ndarray) -> int:
    """Return the number of a pair."""
    return round(float(sample[0, 0, 0]) * 65535)


def pair_sampler(**changes) -> PairSampler:
    """Return a sampler of pairs that are not smoothed."""
    usual = PairSampler(PATCH, PATCH, PATHS, PATHS, 5, 0, 0.0, 0.01, 32, cells=False)
    return replace(usual, **changes)


def task_sampler(**changes) -> TaskSampler:
    """Return a sampler of tasks that are not smoothed."""
    return replace(TaskSampler(PATCH, PATCH, PATHS, PATHS, 3, 0, 0.0, 4, 5, 2), **changes)


def rng(seed: int = 0) -> np.random.Generator:
    """Return a fresh generator."""
    return np.random.default_rng(seed)


def of_step(sampler: PairSampler | TaskSampler, patches: TaskPatches, step: int) -> list[dict]:
    """Return the samples of a step."""
    first = step * sampler.batch
    return [
        sampler.draw(patches, rng(number), number) for number in range(first, first + sampler.batch)
    ]


@pytest.mark.parametrize("counts", [[4, 3], [1] * 7])
def test_pairs_of_a_step_differ_and_belong_together(counts: list[int]) -> None:
    """Whether they are stacked in files, or each is a time point of one."""
    patches = numbered(counts, in_time=len(counts) == 7)
    sampler = pair_sampler()
    seen = set()
    for step in range(20):
        samples = of_step(sampler, patches, step)
        numbers = [known(sample["input"]) for sample in samples]
        assert numbers == [known(sample["gt"]) for sample in samples]
        assert len(set(numbers)) == 5
        seen.add(tuple(numbers))
    assert len(seen) > 15
    assert len({number for numbers in seen for number in numbers}) == 7
    assert samples[0]["input"].shape == PATCH
    assert samples[0]["gt"].shape == (3, 24, 24)
    assert {each.dtype.name for each in samples[0].values()} == {"float32"}


def test_samples_depend_on_seed_and_number_alone() -> None:
    """Not on what was drawn before."""
    patches = numbered([6, 5])
    sampler = pair_sampler()
    twice = [of_step(sampler, patches, 3)[2]["input"] for _ in range(2)]
    np.testing.assert_array_equal(*twice)
    others = [known(s["input"]) for s in of_step(pair_sampler(seed=1), patches, 3)]
    assert others != [known(s["input"]) for s in of_step(sampler, patches, 3)]


def test_the_truth_is_smoothed_plane_by_plane() -> None:
    """Not the input; 0 leaves it."""
    patches = numbered([6])
    plain, soft = (pair_sampler(gt_sigma=sigma).draw(patches, rng(), 0) for sigma in (0.0, 0.6))
    np.testing.assert_array_equal(plain["input"], soft["input"])
    np.testing.assert_array_equal(soft["gt"], smoothed(plain["gt"], 0.6))
    np.testing.assert_allclose(smoothed(plain["gt"], 0.6)[1:2], smoothed(plain["gt"][1:2], 0.6))
    assert soft["gt"].std() < plain["gt"].std()
    assert smoothed(plain["gt"], 0.0) is plain["gt"]


def test_tasks_of_a_step_differ_and_so_do_their_pairs() -> None:
    """All pairs of a sample are of one task."""
    patches = numbered([5, 6, 4, 7])
    sampler = task_sampler()
    seen = set()
    for step in range(20):
        samples = of_step(sampler, patches, step)
        found = [[known(pair) for pair in sample["input"]] for sample in samples]
        assert found == [[known(pair) for pair in sample["gt"]] for sample in samples]
        tasks = [{number // 1000 for number in numbers} for numbers in found]
        assert [len(task) for task in tasks] == [1, 1, 1]
        assert len(set.union(*tasks)) == 3
        assert [len(set(numbers)) for numbers in found] == [4, 4, 4]
        seen |= set.union(*tasks)
    assert seen == {0, 1, 2, 3}
    assert samples[0]["input"].shape == (4, *PATCH)
    assert samples[0]["gt"].shape == (4, 3, 24, 24)


def test_every_task_that_is_kept_is_validated_on() -> None:
    """With the pairs that are asked for, or with those that there are."""
    patches = numbered([9, 3])
    samples = [task_sampler().draw_validation(patches, rng(), n) for n in range(2)]
    assert [len(sample["input"]) for sample in samples] == [5, 3]
    assert [known(sample["input"][0]) // 1000 for sample in samples] == [0, 1]


def test_time_points_of_one_folder_are_one_task() -> None:
    """Channels are not: each is another structure."""
    facts = [VolumeFacts(PATCH, "uint16", timepoint=t) for t in range(3)]
    (task,) = by_task(facts)
    assert (len(task), task.place(2)) == (3, (2, 0))
    assert len(by_task([*facts, replace(facts[0], channel=1)])) == 2
    files = [replace(facts[0], shape=(7 * n, EDGE, EDGE), file_index=n) for n in (1, 2)]
    first, second = by_task(files)
    assert (len(first), len(second)) == (1, 2)
    assert second.place(1) == (1, 1)


def test_windows_go_through_cell_after_cell() -> None:
    """As many as fit seven slices."""
    facts = [VolumeFacts((z, 20, 20), "uint16") for z in (7, 9)]
    assert [window_of(facts, n) for n in range(4)] == [
        (0, 0, 1), (1, 0, 3), (1, 1, 3), (1, 2, 3)
    ]  # fmt: skip


def test_values_are_counts_or_parts_of_one() -> None:
    """65535 is 1; floating values outside are refused with where they are."""
    np.testing.assert_array_equal(in_unit(np.array([0, 65535], np.uint16)), [0, 1])
    values = np.array([0.0, 0.25, 1.0])
    assert in_unit(values).dtype == np.float32
    np.testing.assert_array_equal(in_unit(values), values)
    with pytest.raises(InputError, match=r"^a/b: floating values from -1 to 700; expected 0 to 1"):
        in_unit(np.array([-1.0, 700.0]), "a/b")


def test_too_few_pairs_for_a_batch_are_refused(tmp_path: Path) -> None:
    """When the trainer is made and, where some are kept, when a step is drawn."""
    patches = numbered([2, 2])
    message = r"4 pairs to train on, fewer than the 20 of a step; .* --batch 4$"
    with pytest.raises(InputError, match=message):
        make(tmp_path, patches, FinetuneOptions())
    with pytest.raises(InputError, match=r"4 pairs .* fewer than the 5 of a step"):
        pair_sampler().draw(patches, rng(), 0)


def test_too_few_tasks_or_pairs_of_a_task_are_refused(tmp_path: Path) -> None:
    """One line says which, and what to do."""
    options = TrainOptions(blocks=1)
    message = r"^1 tasks to train on, fewer than the 3 of a step; .* --batch 1$"
    with pytest.raises(InputError, match=message):
        make(tmp_path / "a", numbered([9]), options)
    message = r"task1/input\.zarr: 7 pairs .* fewer than the 8 .* --pairs-per-task$"
    with pytest.raises(InputError, match=message):
        make(tmp_path / "b", numbered([9, 7, 9]), options)
    with pytest.raises(InputError, match=r"task0/input\.zarr: 3 pairs .* fewer than the 4"):
        task_sampler(batch=1).draw(numbered([3]), rng(), 0)
    with pytest.raises(InputError, match=r"held0/input\.zarr: 5 pairs .* fewer than the 6"):
        make(tmp_path / "c", numbered([9, 9, 9]), options, numbered([5]))


@pytest.mark.parametrize("role", [INPUT, GT])
def test_a_blank_pair_is_refused_with_its_place(role: str) -> None:
    """Nothing can be learned from it; a single blank plane is no reason."""
    patches = numbered([1])
    patches.volumes[GT][0][0] = 5
    sampler = pair_sampler(batch=1)
    sampler.draw(patches, rng(), 0)
    patches.volumes[role][0][:] = 5
    with pytest.raises(InputError, match=r"^task0/input\.zarr: of pair 0, .* one value"):
        sampler.draw(patches, rng(), 0)


@pytest.mark.parametrize(
    ("role", "shape", "message"),
    [
        (INPUT, (8, EDGE, EDGE), r"task0/input\.zarr: 8 x 16 x 16 .* multiple of 7 slices"),
        (GT, (4, 24, 24), r"gt\.zarr: 4 x 24 x 24 .* expected 3 x 24 x 24 for the 1 pairs"),
        (GT, (3, 16, 16), r"gt\.zarr: 3 x 16 x 16 .* expected 3 x 24 x 24"),
        (INPUT, (7, 12, 12), r"patches of 12 x 12 pixels; expected even numbers from 14 on"),
        (INPUT, (7, 17, 16), r"patches of 17 x 16 pixels; expected even numbers"),
    ],
)
def test_shapes_that_are_of_no_pair_are_refused(
    role: str, shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    """One line names the file, what it has and what was expected."""
    patches = numbered([1])
    patches.volumes[role][0] = np.zeros(shape, np.uint16)
    if role == INPUT and shape[0] == 7:
        patches.volumes[GT][0] = np.zeros((3, *(3 * n // 2 for n in shape[1:])), np.uint16)
    with pytest.raises(InputError, match=message) as told:
        make(tmp_path, patches, FinetuneOptions(), batch=1)
    assert "\n" not in str(told.value)


def test_patches_of_two_sizes_are_refused(tmp_path: Path) -> None:
    """They could not be put into one batch."""
    both = [pair_volumes([2], edge) for edge in (16, 20)]
    patches = TaskPatches({role: both[0][role] + both[1][role] for role in (INPUT, GT)})
    with pytest.raises(InputError, match=r"patches of 20 x 20 pixels, others have 16 x 16"):
        make(tmp_path, patches, FinetuneOptions(), batch=1)


def test_other_types_and_missing_partners_are_refused(tmp_path: Path) -> None:
    """Counts of 8 bits are not on the published scale."""
    patches = numbered([2])
    patches.volumes[INPUT][0] = patches.volumes[INPUT][0].astype(np.uint8)
    with pytest.raises(InputError, match=r"stored as uint8; expected uint16"):
        make(tmp_path / "a", patches, FinetuneOptions(), batch=1)
    lacking = numbered([1, 1, 1], in_time=True)
    del lacking.volumes[GT][2]
    message = r"input\.zarr: time point 2, channel 0 .* has no partner"
    with pytest.raises(InputError, match=message):
        make(tmp_path / "b", lacking, FinetuneOptions(), batch=1)


@pytest.mark.parametrize(
    ("seen", "truth", "message"),
    [
        ((6, 20, 20), (6, 30, 30), r"6 x 20 x 20 .* a cell of at least 7 slices"),
        ((9, 21, 20), (9, 32, 30), r"9 x 32 x 30 .* expected 9 x 31 x 30"),
    ],
)
def test_cells_without_a_fitting_truth_are_refused(
    seen: tuple[int, ...], truth: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    """Odd sizes are rounded down."""
    held = TaskPatches({INPUT: [np.zeros(seen, np.uint16)], GT: [np.zeros(truth, np.uint16)]})
    with pytest.raises(InputError, match=message):
        make(tmp_path, numbered([2]), FinetuneOptions(), held, batch=1)


def test_what_is_read_is_told_to_the_core(tmp_path: Path) -> None:
    """Stacked pairs are kept from training by whole episodes; single ones cannot be."""
    stacked = make(tmp_path / "a", numbered([9, 9, 9]), TrainOptions(blocks=1)).sampler
    assert (stacked.patch, stacked.validation_patch) == ((56, 16, 16), (140, 16, 16))
    single = make(
        tmp_path / "b", numbered([1] * 9, in_time=True), TrainOptions(blocks=1), batch=1
    ).sampler
    assert single.patch == single.validation_patch == PATCH
    assert len(Pairs.of(numbered([2, 3]).facts(INPUT))) == 5
