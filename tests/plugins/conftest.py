"""What the tests of a training share: volumes in memory, and gradients in full precision."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from vemctl.plugin import Triple, VolumeFacts


class ArrayPatches:
    """Patches of arrays by role; remembers what was read."""

    def __init__(self, **roles: list[np.ndarray]) -> None:
        self.roles = roles
        self.reads: list[tuple[str, int, Triple, Triple]] = []

    def facts(self, role: str) -> list[VolumeFacts]:
        """Return shapes and types."""
        return [VolumeFacts(volume.shape, volume.dtype.name) for volume in self.roles[role]]

    def read(self, role: str, index: int, corner: Triple, size: Triple) -> np.ndarray:
        """Read a patch, which must lie inside."""
        self.reads.append((role, index, corner, size))
        volume = self.roles[role][index]
        z, y, x = (slice(start, start + n) for start, n in zip(corner, size, strict=True))
        patch = volume[z, y, x]
        assert patch.shape == size
        return patch


class PlainGradients:
    """Full precision, no clipping."""

    def __init__(self) -> None:
        self.steps = 0

    def autocast(self) -> contextlib.AbstractContextManager:
        """Leave the precision."""
        return contextlib.nullcontext()

    def backward(self, loss) -> None:
        """Add gradients."""
        loss.backward()

    def step(self, optimizer) -> None:
        """Update and clear."""
        self.steps += 1
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture
def array_patches() -> type[ArrayPatches]:
    """Return the class, to be made with arrays by role."""
    return ArrayPatches


@pytest.fixture
def gradients() -> PlainGradients:
    """Return gradients in full precision."""
    return PlainGradients()
