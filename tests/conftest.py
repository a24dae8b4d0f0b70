"""Settings of the whole test suite."""

from __future__ import annotations

import os

# Before torch is imported: the networks under test are small, and threads that wait for one
# another on a busy machine cost far more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

settings.register_profile(
    "vemctl", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("vemctl")
