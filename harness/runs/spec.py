"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.placement.plan import Placement
from harness.platform.facts import Facts
from harness.record.spec import Protocol
from harness.runs.stopping import Amount
from harness.workload.model import Workload


@dataclass(frozen=True)
class Entry:
    """One workload of a run: the name or path its worker processes load it by, and the workload."""

    reference: str
    workload: Workload  # on ``dataset``, where one is given
    dataset: str | None = None  # instead of the one that the workload of that name has
    label: str | None = None  # its label column, where it is a file of one's own


@dataclass(frozen=True)
class Request:
    """One run as the user asked for it, defaults filled in."""

    entries: tuple[Entry, ...]
    suite: str | None
    protocol: Protocol
    data_dir: Path | None
    backends: tuple[str, ...] | None  # None: each workload's own
    seeds: int | None  # None: each workload's own
    epochs: int | None
    rows: int | None
    blocks: int
    series_seconds: float
    cores: int
    threads_per_core: int
    node: int | None
    seed: int  # of the order of everything
    argv: tuple[str, ...]  # the command that reproduces the run
    scenarios: tuple[str, ...] | None = None  # None: offline and single_stream, and train where it can be
    cache: Literal["hot", "cold"] = "hot"
    instances: int = 1  # processes at once, each on its part of the placement
    dtypes: tuple[str, ...] | None = None  # number formats; None: each workload's own
    learning_rates: tuple[float, ...] = ()  # to train every seed with as well, for their accuracy alone
    p99_bound_s: float = 0.01  # of the server scenario
    budget_s: float | None = None  # wall time of the whole run; then ``blocks`` does not count
    both_protocols: bool = False  # each system is also fitted under the other protocol, for its accuracy alone
    half_width: float | None = None  # of the 95 % intervals to reach; then ``blocks`` does not count

    @property
    def amount(self) -> Amount:
        """How many blocks to measure."""
        fixed = self.budget_s is None and self.half_width is None
        return Amount(self.blocks if fixed else None, self.budget_s, self.half_width)


@dataclass(frozen=True)
class Surroundings:
    """What the machine was found to be before the run, and where on it the run goes."""

    facts: Facts
    findings: tuple[dict[str, Any], ...]
    checks: dict[str, Any]  # which rules were decided, and which could not be
    plan: Placement
