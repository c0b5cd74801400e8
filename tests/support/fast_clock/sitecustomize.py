"""Lets the clock of every Python process that finds this on its path run ``LPARBENCH_TEST_CLOCK`` times as fast."""

import os
import time

_FACTOR = float(os.environ["LPARBENCH_TEST_CLOCK"])
_read = time.perf_counter_ns
time.perf_counter_ns = lambda: int(_read() * _FACTOR)
