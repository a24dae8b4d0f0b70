"""Richardson-Lucy steps and iterations with two views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from rldfn_phantoms import RIM, shell, views_of
from vemctl_rldfn.deconvolving import DualViewDeconvolution, aligned
from vemctl_rldfn.psfs import theoretical_psf

from vemctl.errors import InputError

CASES = ("c0", "c1", "c2")
SHAPE = (20, 24, 28)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Return what the published program gave."""
    return load_fixture("rldfn_rl_deconv")[1]


@pytest.fixture(scope="module")
def views() -> tuple[torch.Tensor, torch.Tensor]:
    """Return two views of a shell, (1, 1, z, y, x)."""
    view_a, view_b = views_of(shell(SHAPE))
    return view_a[None, None], view_b[None, None]


def deconvolution(shape=SHAPE) -> DualViewDeconvolution:
    """Return one with theoretical functions."""
    return DualViewDeconvolution(theoretical_psf("a"), theoretical_psf("b"), shape, "cpu")


def literal_blur(volume: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """Blur as the published program does: whole complex transforms, and a shift afterwards."""
    product = np.fft.fftn(volume) * np.fft.fftn(psf)
    return np.fft.ifftshift(np.fft.ifftn(product).real)


def literal_iterations(view_a, view_b, psf_a, psf_b, iterations: int) -> np.ndarray:
    """Return what the published demonstration makes, in double precision."""
    estimate = (view_a + view_b) / 2
    for _ in range(iterations):
        factors = []
        for view, psf in ((view_a, psf_a), (view_b, psf_b)):
            ratio = np.maximum(view / (literal_blur(estimate, psf) + 1e-5), 1e-5)
            factors.append(np.maximum(literal_blur(ratio, psf), 1e-5))
        estimate = factors[0] * factors[1] * estimate
        estimate = estimate / estimate.max()
    return estimate


@pytest.mark.parametrize("case", CASES)
def test_functions_are_aligned_as_published(arrays, case: str):
    """Odd, even, and larger than the tile."""
    shape = arrays[f"{case}_viewA"].shape[1:]
    result = aligned(torch.from_numpy(arrays[f"{case}_psfA"]), shape).numpy()
    expected = arrays[f"{case}_alignedA"]
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6 * expected.max())
    np.testing.assert_array_equal(result == 0, expected == 0)


@pytest.mark.parametrize("case", CASES)
def test_a_step_is_as_published(arrays, case: str):
    """To a few millionths, with an odd, an even, and a too large point spread function."""
    shape = arrays[f"{case}_viewA"].shape[1:]
    psfs = [torch.from_numpy(arrays[f"{case}_psf{v}"]) for v in "AB"]
    tiles = [torch.from_numpy(arrays[f"{case}_view{v}"])[None] for v in "AB"]
    results = DualViewDeconvolution(*psfs, shape, "cpu").ratios(*tiles)
    for result, view in zip(results, "AB", strict=True):
        assert result.dtype == torch.float32
        np.testing.assert_allclose(result[0], arrays[f"{case}_cur{view}"], rtol=5e-6)


def test_a_function_beside_the_tile_is_refused():
    """In one line, for nothing could be divided by its sum."""
    psf = torch.zeros(41, 41, 41)
    psf[3, 20, 20] = 1
    with pytest.raises(InputError, match="--centre-psf") as caught:
        aligned(psf, (19, 19, 19))
    assert "\n" not in str(caught.value)


def test_tiles_of_a_batch_do_not_mix(arrays):
    """Each has the very result that it has alone, whatever lies beside it."""
    psfs = [torch.from_numpy(arrays[f"c0_psf{v}"]) for v in "AB"]
    a, b = (torch.from_numpy(arrays[f"c0_view{v}"])[None] for v in "AB")
    tool = DualViewDeconvolution(*psfs, tuple(a.shape[-3:]), "cpu")
    batch_a, batch_b = torch.cat([a, 3 * b, 0 * a]), torch.cat([b, a.flip(-1), 0 * b])
    together = tool.ratios(batch_a, batch_b)
    restored = tool.restored(batch_a, batch_b, 2, normalised=True)
    for k in range(3):
        alone = tool.ratios(batch_a[k : k + 1], batch_b[k : k + 1])
        assert all(torch.equal(all_[k], one[0]) for all_, one in zip(together, alone, strict=True))
        one = tool.restored(batch_a[k, 0], batch_b[k, 0], 2, normalised=True)
        assert torch.equal(restored[k, 0], one)


def test_tiles_need_not_lie_in_one_piece(views):
    """Cut out of something larger, or turned."""
    larger = [torch.zeros(1, 1, 30, 30, 30) for _ in views]
    inside = (..., slice(4, 24), slice(3, 27), slice(1, 29))
    for room, view in zip(larger, views, strict=True):
        room[inside] = view
    expected = deconvolution().ratios(*views)
    result = deconvolution().ratios(*(room[inside] for room in larger))
    assert all(torch.equal(one, other) for one, other in zip(result, expected, strict=True))
    turned = [view.transpose(-1, -2).contiguous().transpose(-1, -2) for view in views]
    assert torch.equal(
        deconvolution().restored(*turned, 2, normalised=False),
        deconvolution().restored(*views, 2, normalised=False),
    )


def test_precision_stays_whole_under_autocast(views):
    """Half-precision views are taken as float32, and nothing is rounded on the way."""
    tool = deconvolution()
    with torch.autocast("cpu", torch.bfloat16):
        inside = tool.ratios(*views)
        restored = tool.restored(*views, 2, normalised=True)
        half = tool.ratios(*(view.bfloat16() for view in views))
    outside = tool.ratios(*views)
    assert all(torch.equal(one, other) for one, other in zip(inside, outside, strict=True))
    assert torch.equal(restored, tool.restored(*views, 2, normalised=True))
    rounded = tool.ratios(*(view.bfloat16().float() for view in views))
    assert all(torch.equal(one, other) for one, other in zip(half, rounded, strict=True))


def test_results_carry_no_gradients(views):
    """The step has no parameters, and its result is taken as given."""
    wanting = [view.clone().requires_grad_() for view in views]
    assert not any(each.requires_grad for each in deconvolution().ratios(*wanting))


def test_the_ratios_do_not_depend_on_a_common_factor(views):
    """As long as the views are large against the offset."""
    expected = deconvolution().ratios(*views)
    result = deconvolution().ratios(*(100 * view for view in views))
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("iterations", [1, 3])
def test_plain_iterations_are_the_published_demonstration(views, iterations: int):
    """As written out with complex transforms in double precision."""
    psfs = [
        aligned(torch.from_numpy(theoretical_psf(view)), SHAPE).double().numpy() for view in "ab"
    ]
    arrays = [view[0, 0].double().numpy() for view in views]
    expected = literal_iterations(*arrays, *psfs, iterations)
    result = deconvolution().restored(*views, iterations, normalised=True)[0, 0]
    assert result.max() == 1
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("iterations", [2, 3])
def test_leaving_the_division_out_is_one_factor(views, iterations: int):
    """So that tiles of a volume fit together; the offset alone makes a small difference."""
    tool = deconvolution()
    given = tool.restored(*views, iterations, normalised=True)
    plain = tool.restored(*views, iterations, normalised=False)
    assert 0.5 < plain.max() < 100
    torch.testing.assert_close(plain / plain.max(), given, rtol=0.01, atol=1e-3)
    bright = given > 0.05
    ratio = (plain / given)[bright]
    assert ratio.std() < 1e-3 * ratio.mean()


def test_the_result_is_in_the_units_of_the_views():
    """An even volume stays what it is in both views, after any number of iterations."""
    even = torch.full((1, 1, *SHAPE), 0.4)
    for iterations in (1, 2, 5):
        result = deconvolution().restored(even, even, iterations, normalised=False)
        torch.testing.assert_close(result, even, rtol=1e-3, atol=0)


@pytest.mark.parametrize("normalised", [False, True])
def test_nothing_stays_nothing(normalised: bool):
    """An empty tile is zero, and one that is empty in one view is finite."""
    nothing = torch.zeros(1, 1, *SHAPE)
    something = torch.rand(1, 1, *SHAPE)
    result = deconvolution().restored(nothing, nothing, 3, normalised=normalised)
    assert torch.equal(result, nothing)
    result = deconvolution().restored(nothing, something, 3, normalised=normalised)
    assert result.isfinite().all()
    assert all(each.isfinite().all() for each in deconvolution().ratios(nothing, nothing))


def test_plain_iterations_bring_back_what_was_blurred():
    """Closer to the object than the mean of the views, ever closer with more iterations."""
    volume = shell((36, 40, 44))
    view_a, view_b = views_of(volume)
    truth = torch.from_numpy(volume[RIM:-RIM, RIM:-RIM, RIM:-RIM]).float()
    truth = torch.nn.functional.avg_pool3d(truth[None], 3, 1, 1)[0]
    tool = deconvolution(tuple(view_a.shape))
    likeness = []
    for iterations in (0, 1, 3, 8):
        result = tool.restored(view_a, view_b, iterations, normalised=False)
        inner = (slice(6, -6),) * 3  # borders are circular
        pair = torch.stack([result[inner].flatten(), truth[inner].flatten()])
        likeness.append(float(torch.corrcoef(pair)[0, 1]))
    assert likeness == sorted(likeness)
    assert likeness[2] > likeness[0] + 0.1


def test_a_point_is_blurred_to_the_function_of_its_view():
    """At its place, for tiles of a multiple of four, and borders are circular."""
    shape = (36, 36, 40)
    tool = deconvolution(shape)
    point = torch.zeros(1, 1, *shape)
    point[..., 20, 10, 20] = 1
    for view in ("a", "b"):
        psf = theoretical_psf(view)
        image = torch.zeros(shape)
        image[2:35, 2:35, 4:37] = torch.from_numpy(psf / psf.sum())
        expected = image.roll((2, -8, 0), (0, 1, 2))
        blurred = tool.blurred(point, view)
        torch.testing.assert_close(blurred[0, 0], expected, rtol=0, atol=1e-8)
    swapped = tool.swapped()
    assert torch.equal(swapped.blurred(point, "a"), tool.blurred(point, "b"))
    assert torch.equal(swapped.blurred(point, "b"), tool.blurred(point, "a"))


def test_what_a_call_holds_is_within_what_is_said():
    """As torch counts it, for one tile and for three; what is said is not much more."""
    shape = (32, 48, 50)
    tool = deconvolution(shape)
    held = sum(each.nbytes for each in tool._transfers)
    for batch in (1, 3):
        tiles = [torch.rand(batch, 1, *shape) for _ in range(2)]
        for call in (
            lambda: tool.ratios(*tiles),  # noqa: B023 - called at once
            lambda: tool.restored(*tiles, 2, normalised=True),  # noqa: B023
        ):
            assert held + highest_of(call) <= tool.memory(batch)
        assert tool.memory(batch) <= 1.6 * (held + highest_of(lambda: tool.ratios(*tiles)))  # noqa: B023
        assert tool.memory(batch) == DualViewDeconvolution.bytes_of(shape, batch)


def highest_of(call) -> int:
    """Return the most bytes of tensors that are made at a time during a call."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        call()
    held = highest = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest
