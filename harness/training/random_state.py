"""Torch's random state, which all threads of a process share: one training at a time has it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_taken = threading.RLock()


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Torch's random state at ``seed``; afterwards it is as it was. Other threads that want it wait meanwhile."""
    with _taken, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _free() -> None:
    """A forked child has none of the threads that may hold it."""
    global _taken
    _taken = threading.RLock()


os.register_at_fork(after_in_child=_free)
