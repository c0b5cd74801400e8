"""Dataclasses of one fleet run, as written to ``fleet.json`` (``results/schema/fleet-v1.json``).

The records of the hosts lie in the same directory, as they came. ``None`` means "not known", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from harness.record.fields import Count, Identifier, NotNegative, Positive, PositiveCount, Sha256, Share, Timestamp
from harness.record.model import Tool
from harness.record.spec import RunSpec

FLEET_SCHEMA_VERSION: Literal[1] = 1


class HostState(str, Enum):
    """What became of a host that was asked for."""

    DONE = "done"
    INVALID = "invalid"  # measured, and no figure of it may be used
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    UNREACHABLE = "unreachable"
    DIFFERENT = "different"  # no other host is like it, so nothing is said of its speed


class Standing(str, Enum):
    """How a host stands to the others of its population in one test."""

    SLOW = "slow"
    FAST = "fast"
    UNSTEADY = "unsteady"
    EQUAL = "equal"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class FleetFinding:
    """What doctor has to say of a host."""

    id: str
    severity: str
    title: str


@dataclass(frozen=True)
class FleetDifference:
    """A fact in which a host differs from what most of its population have."""

    name: str
    own: str
    peers: str
    effect: str


@dataclass(frozen=True)
class FleetRecord:
    """A record that a host gave, in the same directory."""

    wave: PositiveCount
    path: str
    digest: str


@dataclass(frozen=True)
class FleetHost:
    """One host that was asked for.

    Attributes:
        reason: why it is not done, or what went wrong in a wave.
        population: number of the population it is in; None where nothing is known of it.
        frame: short name of the machine that it is a partition of; None where it is not known.
        clock_offset_s: of its clock against the coordinator's, to a second or so.
        findings: the most severe first.
        differences: of a host that is out of line, the likely strongest effect first.
    """

    name: str
    state: HostState
    reason: str | None = None
    population: PositiveCount | None = None
    frame: str | None = None
    clock_offset_s: float | None = None
    records: tuple[FleetRecord, ...] = ()
    findings: tuple[FleetFinding, ...] = ()
    differences: tuple[FleetDifference, ...] = ()


@dataclass(frozen=True)
class FleetPopulation:
    """Hosts that are alike in all facts that a comparison of times needs."""

    number: PositiveCount
    title: str
    hosts: PositiveCount


@dataclass(frozen=True)
class HostStanding:
    """One host in one test.

    Attributes:
        rates: calls per second by wave; None where it was not measured.
        ratio: its rate over the median of the others, with 95 % limits; None where nothing can be said.
        p: that it is slower by more than the margin by chance, adjusted over all tests; of a fast one, faster.
    """

    host: str
    standing: Standing
    rates: tuple[Positive | None, ...]
    ratio: Positive | None = None
    low: Positive | None = None
    high: Positive | None = None
    p: Share | None = None
    unsteady: bool = False


@dataclass(frozen=True)
class FleetTest:
    """One result, compared over the hosts of a population.

    Attributes:
        spread: standard deviation of a measurement on a steady host, relative.
        detectable: share by which a host must be slower to be named in nine of ten fleets; None where none can be.
    """

    population: PositiveCount
    workload: str
    scenario: str
    backend: str
    dtype: str
    batch_size: Count
    spread: NotNegative
    detectable: Share | None
    hosts: tuple[HostStanding, ...]

    @property
    def title(self) -> str:
        """What was measured."""
        batch = f"batch {self.batch_size:,}" if self.batch_size else ""
        parts = (self.workload, self.scenario.replace("_", " "), self.backend, self.dtype, batch)
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Fleet:
    """One whole fleet run.

    Attributes:
        engine: how hosts were reached.
        inventory, inventory_sha256: the file that named the hosts, and its digest.
        spec: what each host was asked in each wave, with the wave added to its seed.
        waves: asked for.
        together: whether hosts of one frame were measured at the same time.
        margin: share of a rate that matters.
        hosts: every one that was asked for, in the order of the inventory.
        notes: what else a reader must know.
    """

    schema_version: Literal[1]
    fleet_id: Identifier
    created: Timestamp
    tool: Tool
    engine: Literal["ssh", "dask"]
    inventory: str
    inventory_sha256: Sha256
    spec: RunSpec
    waves: PositiveCount
    together: bool
    margin: Share
    hosts: tuple[FleetHost, ...]
    populations: tuple[FleetPopulation, ...]
    tests: tuple[FleetTest, ...]
    notes: tuple[str, ...] = ()
