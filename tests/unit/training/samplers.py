"""Samplers for tests; worker processes import them."""

import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from vemctl.errors import InputError, MissingExtraError
from vemctl.sampling import Patches, Sample, Triple, draw_place


@dataclass(frozen=True)
class PlainSampler:
    """Draws patches of the role "noisy", with a number that tells samples apart."""

    patch: Triple = (2, 8, 8)
    validation_patch: Triple = (3, 8, 8)

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Draw a patch and where it was."""
        return self._draw(patches, rng, self.patch)

    def draw_validation(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Draw a patch and where it was."""
        return self._draw(patches, rng, self.validation_patch)

    def _draw(self, patches: Patches, rng: np.random.Generator, size: Triple) -> Sample:
        index, corner = draw_place(patches.facts("noisy"), size, rng)
        block = patches.read("noisy", index, corner, size)
        return {"image": block[None, ::-1] / 2, "place": np.array([index, *corner])}


@dataclass(frozen=True)
class BrokenSampler(PlainSampler):
    """Fails at one sample, in one of several ways."""

    how: str = "input"

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Fail, at times."""
        if rng.integers(6) == 0:
            if self.how == "input":
                raise InputError("v.zarr: a chunk is damaged; copy it again")
            if self.how == "extra":
                raise MissingExtraError("reading this", "codecs")
            if self.how == "bug":
                raise KeyError("no such thing")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(patches, rng, number)


@dataclass(frozen=True)
class SlowSampler(PlainSampler):
    """Takes its time."""

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Sleep, then draw."""
        time.sleep(0.05)
        return super().draw(patches, rng, number)


@dataclass(frozen=True)
class CountingSampler(PlainSampler):
    """Tells the numbers of its samples."""

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Return the number."""
        return {"number": np.array([number])}

    draw_validation = draw
