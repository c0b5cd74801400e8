"""Detectors that go wrong in the ways real ones do; named on the command line as ``support.misbehaving:Class``."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

# Where the worker was put before it imported this; by it a wanderer stays away, however often it is called.
_HOME = os.sched_getaffinity(0)


class Sound:
    """A well-behaved detector: distance from the mean of the training rows."""

    def fit(self, X, y=None):
        self.centre_ = np.asarray(X).mean(axis=0)
        return self

    def decision_function(self, X):
        return np.linalg.norm(np.asarray(X) - self.centre_, axis=1)


class Killed(Sound):
    """As the kernel's OOM killer leaves a process."""

    def fit(self, X, y=None):
        os.kill(os.getpid(), signal.SIGKILL)


class Hung(Sound):
    """Never comes back."""

    def fit(self, X, y=None):
        while True:
            time.sleep(1)


class Hungry(Sound):
    """Asks for more memory than any machine has."""

    def fit(self, X, y=None):
        np.ones(2**60, dtype=np.uint8)


class Wanderer(Sound):
    """Moves itself to another CPU than the one it was pinned to, as a library with its own affinity does."""

    def decision_function(self, X):
        everywhere = set(range(os.cpu_count() or 1))
        os.sched_setaffinity(0, everywhere - _HOME or everywhere)
        return super().decision_function(X)


class Unstable(Sound):
    """Scores the same rows differently each time."""

    def decision_function(self, X):
        return super().decision_function(X) * (1.0 + np.random.default_rng().random())
