"""Trainings in threads of one process draw what they draw alone."""

from __future__ import annotations

import threading

import torch

from harness.training.random_state import random_state


def test_a_thread_waits_for_the_random_state_of_another() -> None:
    with random_state(1):
        alone = torch.rand(2).tolist()
    began, drawn = threading.Event(), threading.Event()
    other: list[float] = []

    def train() -> None:
        began.set()
        with random_state(2):
            other.extend(torch.rand(2).tolist())
        drawn.set()

    thread = threading.Thread(target=train)
    with random_state(1):
        first = torch.rand(1).item()
        thread.start()
        began.wait(10)
        drawn.wait(0.2)  # it would have by now
        second = torch.rand(1).item()
    thread.join(10)
    with random_state(2):
        assert other == torch.rand(2).tolist()
    assert [first, second] == alone
