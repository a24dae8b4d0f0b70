"""The weights with which tiles of exem are blended."""

from __future__ import annotations

import numpy as np
import pytest
from parity import load_fixture

from vemctl.tiles.windows import bump


@pytest.mark.parametrize("number", range(3))
def test_the_bump_is_the_published_one(number: int) -> None:
    """For volumes, for a single slice, and for a narrow one."""
    spec, arrays, _ = load_fixture("exem_bump")
    assert len(arrays) == len(spec["params"]["cases"]) == 3
    case, expected = spec["params"]["cases"][number], arrays[f"bump_{number}"]
    made = bump(tuple(case["size"]), case["sigma"])
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, rtol=2e-6, atol=0)
