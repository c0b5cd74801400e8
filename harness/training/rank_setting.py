"""Which rank of a training a process is; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RankSetting:
    """Which of how many ranks a process is, and where they meet.

    Attributes:
        store: path of a file that is not there yet, or HOST:PORT.
        serves: whether this process listens there for the others.
        interface: network interface that they talk over.
        answer_s: after which a rank that does not answer is taken to be gone.
    """

    rank: int
    count: int
    store: str
    serves: bool = False
    interface: str | None = "lo"
    answer_s: float = 60.0
