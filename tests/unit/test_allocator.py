"""A process keeps the pages of buffers that it frees and needs again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from vemctl.prediction.allocator import settle_heap

if sys.argv[1] == "settled":
    assert settle_heap()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    np.ones(2**20, np.uint8)  # too small for huge pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    """Use and free 1 MiB two hundred times, in a process as dask starts its own."""
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", FAULTS, how]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_settled_heap_keeps_its_pages() -> None:
    """What dask puts in the environment would have each buffer's pages cleared anew."""
    assert page_faults("as it is") > 40_000
    assert page_faults("settled") < 4_000
