"""Whether the slices of a noisy volume are alike: who learns from noise learns its changes too.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Patches, VolumeFacts

NOISE_TOLERANCE = 0.1
"""Relative. Slices of real, even stacks differ by less than 0.01, of uneven ones by 0.13."""
BRIGHTNESS_TOLERANCE = 0.25
"""In standard deviations of a slice's grey values."""
LAPLACIAN_GAIN = 6.0  # root of the sum of the squared weights: the factor on white noise
HALF_MEAN = 0.32464  # mean of the smaller half of |z|, z from a standard normal distribution
RUN = 16  # slices read at once: whole chunks of most stores
MOST_RUNS = 16
WIDTH = 512  # of the part of a slice that is looked at
NAMED = 5


@dataclass(frozen=True)
class UnevenSlice:
    """A slice unlike the others.

    Attributes
    ----------
    index : int
        Its place among the slices.
    noise : float
        Its noise relative to the median slice's, less one.
    brightness : float
        Its mean less the median slice's, in standard deviations of grey values.
    """

    index: int
    noise: float
    brightness: float

    def __str__(self) -> str:
        """Say what differs."""
        parts = []
        if abs(self.noise) > NOISE_TOLERANCE:
            parts.append(f"noise {self.noise:+.0%}")
        if abs(self.brightness) > BRIGHTNESS_TOLERANCE:
            parts.append(f"brightness {self.brightness:+.1f} standard deviations")
        return f"slice {self.index} ({', '.join(parts)})"


def uneven_slices(slices: Iterable[npt.NDArray[Any]]) -> list[UnevenSlice]:
    """Return the slices whose noise or brightness is not that of the others.

    Parameters
    ----------
    slices : iterable of ndarray, (y, x)
        Of any type; one is held at a time.
    """
    measured = [measure(each) for each in slices]
    if not measured:
        return []
    noise, brightness, contrast = np.array(measured).T
    typical, spread = float(np.median(noise)), float(np.median(contrast))
    # Where the usual slice has no noise, or is constant, there is nothing to compare with.
    relative = noise / typical - 1 if typical else np.zeros_like(noise)
    shift = (brightness - np.median(brightness)) / spread if spread else np.zeros_like(noise)
    uneven = (np.abs(relative) > NOISE_TOLERANCE) | (np.abs(shift) > BRIGHTNESS_TOLERANCE)
    return [
        UnevenSlice(int(i), float(relative[i]), float(shift[i])) for i in np.flatnonzero(uneven)
    ]


def measure(plane: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Return the standard deviation of the noise, the mean and the standard deviation of a slice.

    The noise is what is left of a Laplacian that no plane or slope passes (Immerkaer, "Fast Noise
    Variance Estimation", 1996), from the smaller half of its values: edges are in the other.

    Parameters
    ----------
    plane : ndarray, (y, x)
    """
    values = plane.astype(np.float32)
    rows = values[:-2] - 2 * values[1:-1] + values[2:]
    curved = np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]).ravel()
    noise = 0.0
    if curved.size:
        half = (curved.size + 1) // 2
        smaller = np.partition(curved, half - 1)[:half]
        noise = float(smaller.mean(dtype=np.float64)) / (HALF_MEAN * LAPLACIAN_GAIN)
    return noise, float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def warnings_of(patches: Patches, role: str) -> list[str]:
    """Return one sentence for every volume of a role with uneven slices."""
    warnings = []
    for index, facts in enumerate(patches.facts(role)):
        numbers: list[int] = []
        found = uneven_slices(_slices(patches, role, index, facts, numbers))
        if found:
            named = [str(UnevenSlice(numbers[u.index], u.noise, u.brightness)) for u in found]
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            warnings.append(
                f"{role} volume {index + 1}: {len(found)} of {len(numbers)} slices looked at are "
                f"unlike the others: {', '.join(named[:NAMED])}{more}; self-supervised denoising "
                f"expects even slices: leave them out or normalise them"
            )
    return warnings


def _slices(
    patches: Patches, role: str, index: int, facts: VolumeFacts, numbers: list[int]
) -> Iterator[npt.NDArray[Any]]:
    """Yield the middle of slices in runs spread over the volume; `numbers` gets theirs."""
    depth, *plane = facts.shape
    height, width = (min(WIDTH, length) for length in plane)
    y, x = (plane[0] - height) // 2, (plane[1] - width) // 2
    run = min(RUN, depth)
    num_runs = min(MOST_RUNS, -(-depth // run))
    for start in np.linspace(0, depth - run, num_runs).round().astype(int).tolist():
        block = patches.read(role, index, (start, y, x), (run, height, width))
        for number, plane_values in enumerate(block, start=start):
            if not numbers or number > numbers[-1]:
                numbers.append(number)
                yield plane_values
