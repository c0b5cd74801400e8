"""Torch's random state, which all threads of a process share: one training at a time has it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

_taken = threading.RLock()


@contextmanager
def random_state(seed: int, *, alone: bool = True) -> Iterator[None]:
    """Torch's random state at ``seed``; afterwards it is as it was.

    Args:
        seed: of the state.
        alone: other threads that want it wait meanwhile. Not so of ranks, which train together, be it in one process.
    """
    with _taken if alone else nullcontext(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _free() -> None:
    """A forked child has none of the threads that may hold it."""
    global _taken
    _taken = threading.RLock()


os.register_at_fork(after_in_child=_free)
