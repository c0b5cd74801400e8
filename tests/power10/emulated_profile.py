"""A pytest plugin for runs under emulation: few examples per property, no deadline, and a total per file."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "emulated", max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("emulated")
