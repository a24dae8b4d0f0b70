"""Samples of a training of exem: the published pairs of patches, and what is drawn."""

from __future__ import annotations

import pickle
import sys
from collections import Counter

import numpy as np
import pytest
from parity import load_fixture
from vemctl_exem.ranges import Rule, parse_rule
from vemctl_exem.samples import (
    OriginalSampler,
    PatchGrid,
    UniformSampler,
    epoch_length,
    grids_of,
    starts_along,
)

from vemctl.errors import OptionError
from vemctl.plugin import VolumeFacts

ROLES = ("lm", "em")
PLAIN = {role: (Rule(), Rule()) for role in ROLES}


def rng(seed: int = 0) -> np.random.Generator:
    """Return a generator."""
    return np.random.default_rng(seed)


def noise(*shape: int, seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    """Return random grey values."""
    return rng(seed).integers(0, 256, shape).astype(dtype)


def published() -> tuple[dict, dict[str, np.ndarray]]:
    """Return parameters and arrays of the fixture."""
    spec, arrays, _ = load_fixture("exem_sampling")
    return spec["params"], arrays


def published_sampler(seed: int = 0) -> OriginalSampler:
    """Return what goes through the fixture's pairs."""
    params, _ = published()
    return OriginalSampler(
        tuple(params["patch_size"]), PLAIN, PLAIN, tuple(params["patch_overlap"]), seed
    )


def published_volumes(files):
    """Return volumes of the fixture's shapes."""
    params, _ = published()
    return files(
        **{r: [np.zeros(s, np.uint8) for s in params[f"{r.upper()}_shapes"]] for r in ROLES}
    )


def pairs_read(volumes) -> list[tuple[int, ...]]:
    """Return what was read, as the fixture has it, and forget it."""
    reads = volumes.reads[::2], volumes.reads[1::2]
    assert [{read[0] for read in kind} for kind in reads] == [{"lm"}, {"em"}]
    pairs = [(lm[1], *lm[2], em[1], *em[2]) for lm, em in zip(*reads, strict=True)]
    volumes.reads.clear()
    return pairs


def test_grids_are_the_published_ones() -> None:
    """Where patches begin, in order, and how long an epoch is."""
    params, arrays = published()
    patch, overlap = params["patch_size"], params["patch_overlap"]
    for role in ROLES:
        for number, shape in enumerate(params[f"{role.upper()}_shapes"]):
            grid = PatchGrid((tuple(shape),), tuple(patch), tuple(overlap))
            found = [(0, tuple(c)) for c in arrays[f"{role}_starts_{number}"].tolist()]
            assert [grid.place(index) for index in range(grid.num_patches)] == found
    assert starts_along(20, 8, 4) == [0, 4, 8, 12]
    assert starts_along(8, 8, 4) == [0]


def test_pairs_are_the_published_ones() -> None:
    """The same index gives a patch of each kind; small volumes repeat."""
    params, arrays = published()
    facts = {
        role: tuple(VolumeFacts(tuple(s), "uint8") for s in params[f"{role.upper()}_shapes"])
        for role in ROLES
    }
    grids = grids_of(facts, tuple(params["patch_size"]), tuple(params["patch_overlap"]))
    assert epoch_length(grids) == len(arrays["lm_em_pairs"])
    for index, pair in enumerate(arrays["lm_em_pairs"].tolist()):
        lm, em = (grids[role].place(index) for role in ROLES)
        assert [lm[0], *lm[1], em[0], *em[1]] == pair


@pytest.mark.parametrize("overlap", [(2, 4, 4), (1, 8, 4), (1, 4, 9)])
def test_an_overlap_as_large_as_the_patch_is_refused(overlap) -> None:
    """A grid would not advance."""
    with pytest.raises(OptionError, match=r"--patch-overlap .*less than the patch 2,8,8"):
        grids_of({role: (VolumeFacts((9, 9, 9), "uint8"),) for role in ROLES}, (2, 8, 8), overlap)


def test_an_epoch_has_each_pair_once(files) -> None:
    """Each epoch in an order of its own, and each seed."""
    volumes, sampler = published_volumes(files), published_sampler()
    expected = Counter(map(tuple, published()[1]["lm_em_pairs"].tolist()))
    length = expected.total()
    epochs = []
    for epoch in range(2):
        for number in range(epoch * length, (epoch + 1) * length):
            sampler.draw(volumes, rng(number), number)
        epochs.append(pairs_read(volumes))
        assert Counter(epochs[-1]) == expected
    assert epochs[0] != epochs[1]
    for number in range(length):
        published_sampler(seed=1).draw(volumes, rng(number), number)
    other = pairs_read(volumes)
    assert Counter(other) == expected
    assert other not in epochs


def test_the_number_alone_tells_the_pair(files) -> None:
    """Whoever draws it, in whatever order, with whatever generator."""
    volumes, sampler = published_volumes(files), published_sampler()
    numbers = [3, 200, 75, 3, 71, 72]
    for number in numbers:
        sampler.draw(volumes, rng(number), number)
    expected = dict(zip(numbers, pairs_read(volumes), strict=True))
    copy = pickle.loads(pickle.dumps(sampler))
    for number in sorted(expected, reverse=True):
        copy.draw(volumes, rng(99), number)
        assert pairs_read(volumes) == [expected[number]]


def test_every_volume_is_drawn_equally_often(files) -> None:
    """However large it is, and each of its places, for both kinds by themselves."""
    lm = [noise(2, 4, 4), noise(6, 40, 40), noise(3, 5, 4)]
    volumes = files(lm=lm, em=[noise(2, 6, 4)])
    sampler = UniformSampler((2, 4, 4), {"lm": (Rule(),) * 3, "em": (Rule(),)}, {})
    for seed in range(600):
        sampler.draw(volumes, rng(seed), seed)
    assert {size for *_, size in volumes.reads} == {(2, 4, 4)}
    counts = Counter(index for role, index, *_ in volumes.reads if role == "lm")
    assert all(160 < counts[index] < 240 for index in range(3))
    corners = Counter(read[2] for read in volumes.reads if read[:2] == ("lm", 2))
    assert set(corners) == {(z, y, 0) for z in range(2) for y in range(2)}
    assert min(corners.values()) > 25
    pairs = Counter((pair[2], pair[6]) for pair in pairs_read(volumes) if pair[0] == 2)
    assert set(pairs) == {(lm_y, em_y) for lm_y in range(2) for em_y in range(3)}


@pytest.mark.parametrize("kind", [UniformSampler, OriginalSampler])
@pytest.mark.parametrize(("width", "orientations"), [(4, 16), (8, 8)])
def test_patches_are_flipped_and_turned(kind, width: int, orientations: int, files) -> None:
    """Each kind by itself; a plane that is not square keeps its shape."""
    volume = np.arange(2 * 4 * width, dtype=np.float32).reshape(2, 4, width)
    volumes, seen = files(lm=[volume], em=[volume]), {role: set() for role in ROLES}
    sampler = kind((2, 4, width), PLAIN, PLAIN)
    alike = 0
    for seed in range(300):
        sample = sampler.draw(volumes, rng(seed), seed)
        for role in ROLES:
            assert sample[role].shape == (1, 2, 4, width)
            assert sample[role].dtype == np.float32
            assert sample[role].flags.c_contiguous
            np.testing.assert_array_equal(np.sort(sample[role].ravel()), volume.ravel())
            seen[role].add(sample[role].tobytes())
        alike += np.array_equal(sample["lm"], sample["em"])
    assert {len(each) for each in seen.values()} == {orientations}
    assert alike < 100
    for role, each in sampler.draw_validation(volumes, rng(), 0).items():
        np.testing.assert_array_equal(each[0], volume, err_msg=role)


@pytest.mark.parametrize("kind", [UniformSampler, OriginalSampler])
def test_grey_values_are_scaled_by_the_rules_of_their_file(kind, files) -> None:
    """Those to validate on by their own, percentiles by the statistics of the volume."""
    volumes = files(
        lm=[np.full((2, 4, 4), 51, np.uint8), np.full((2, 4, 4), 300, np.uint16)],
        em=[np.full((2, 4, 4), 0.25, np.float32)],
    )
    volumes.statistics = {"em": [{"percentile:10.0": 0.0, "percentile:90.0": 0.5}]}
    training = {"lm": (Rule(), parse_rule("200,400", "--x")), "em": (parse_rule("10%,90%", "--x"),)}
    validation = {"lm": (parse_rule("1,101", "--x"), Rule()), "em": (Rule(),)}
    sampler = kind((2, 4, 4), training, validation)
    for drawn, lm, em in (
        (sampler.draw, {0.2, 0.5}, 0.5),
        (sampler.draw_validation, {0.5, 300 / 65535}, 0.25),
    ):
        samples = [drawn(volumes, rng(seed), seed) for seed in range(20)]
        found = {float(sample["lm"].flat[0]) for sample in samples}
        assert sorted(found) == pytest.approx(sorted(lm), rel=1e-6)
        assert {float(sample["em"].flat[0]) for sample in samples} == {em}


@pytest.mark.parametrize("kind", [UniformSampler, OriginalSampler])
def test_the_seed_alone_decides(kind, files) -> None:
    """The same generator gives the same sample, also from a copy in another process."""
    volumes = files(lm=[noise(4, 20, 20)], em=[noise(4, 20, 20, seed=1)])
    sampler = kind((2, 8, 8), PLAIN, PLAIN)
    assert sampler.validation_patch == sampler.patch == (2, 8, 8)
    copy = pickle.loads(pickle.dumps(sampler))
    for draw in ("draw", "draw_validation"):
        one, same = (getattr(each, draw)(volumes, rng(3), 5) for each in (sampler, copy))
        other = getattr(sampler, draw)(volumes, rng(4), 6)
        for role in ROLES:
            np.testing.assert_array_equal(one[role], same[role])
            assert not np.array_equal(one[role], other[role])


def test_what_workers_copy_needs_no_torch() -> None:
    """Samplers are imported in worker processes, where torch would only take memory."""
    import subprocess

    modules = ("samples", "data", "ranges", "memory", "train_options", "method")
    program = "import sys, " + ", ".join(f"vemctl_exem.{name}" for name in modules)
    program += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
