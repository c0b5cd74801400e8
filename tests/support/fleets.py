"""Fleets without machines: hosts that answer as they are scripted, and journals of fleets that were never run."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness import __version__
from harness.advice.finding import Finding, Severity
from harness.decode import decode, encode
from harness.fleet.inventory import Host
from harness.fleet.judge import fleet_of
from harness.fleet.protocol import Looked, Request, closing, opening
from harness.fleet.session import Entry, FleetDesign, LookedEntry, MeasuredEntry, Timed, WaveEntry
from harness.measure.validity import Evidence, invalidities
from harness.platform.facts import Facts, SoftwareFacts
from harness.record.fleet_model import Fleet, HostState
from harness.record.model import Run, Validity, Verdict
from harness.record.spec import RunSpec
from harness.record.store import record_text
from harness.runs.fingerprint import fingerprint
from tests.support import records

ONE_BLOCK = Validity(Verdict.INVALID, tuple(rule.sentence for rule in invalidities(Evidence(blocks=1))))
SPEC = RunSpec(("nsl-kdd-mlp",), scenarios=("offline",), blocks=1, seed=1, roofline="none")


def facts(number: int = 1, frame: str = "aa11bb22cc33dd44", **changes: object) -> Facts:
    """Of one partition of a frame."""
    base = records.facts()
    lpar = replace(base.lpar, partition_id=number, partition_name=f"lpar{number:02d}", serial_sha256=frame)
    return replace(base, lpar=lpar, software=software(), **changes)  # type: ignore[arg-type]


def software() -> SoftwareFacts:
    """As the record's, without what was loaded."""
    return SoftwareFacts(python="3.11.9")


def looked(of: Facts, findings: Sequence[Finding] = (), machine_id: str | None = None) -> Looked:
    """What a host says of itself."""
    return Looked(__version__, machine_id, 1.8e9, of, tuple(findings))


def record(of: Facts, spec: RunSpec, seconds: float, **changes: object) -> Run:
    """The record of a block of one process per workload."""
    results = []
    for workload in spec.workloads:
        result = records.inference(workload)
        process = replace(result.processes[0], series=(records.series(spec.seed, batch_size=8192, centre_s=seconds),))
        results.append(replace(result, processes=(process,), validity=ONE_BLOCK))
    run = records.run(*results, facts=of, fingerprint=fingerprint(of, of.software), spec=spec)
    return replace(run, run_id=f"r{of.lpar.partition_id}-{spec.seed}", **changes)  # type: ignore[arg-type]


def answer(token: str, kind: str, body: bytes) -> bytes:
    """What a host writes."""
    return opening(token, kind) + body + closing(token)  # type: ignore[arg-type]


@dataclass
class FakeTransport:
    """Hosts in this process.

    Attributes:
        hosts: name -> its facts.
        behaviours: name -> what it answers instead, from the request and the right answer; may raise, or sleep.
        slowness: name -> factor of its times.
        asked: host and seed of every measurement, in order of their start.
        together: the most hosts at work at the same time, by frame.
    """

    hosts: Mapping[str, Facts]
    behaviours: dict[str, Callable[[Request, bytes], bytes]] = field(default_factory=dict)
    slowness: Mapping[str, float] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    together: dict[str | None, int] = field(default_factory=dict)
    _now: dict[str | None, int] = field(default_factory=dict)

    async def ask(self, host: Host, request: bytes) -> bytes:
        """See ``Transport.ask``."""
        asked = decode(Request, json.loads(request), "request")
        of = self.hosts[host.name]
        frame = of.lpar.serial_sha256
        if asked.spec is None:
            right = answer(asked.token, "looked", json.dumps(encode(looked(of))).encode())
        else:
            self.asked.append((host.name, asked.spec.seed))
            self._now[frame] = self._now.get(frame, 0) + 1
            self.together[frame] = max(self.together.get(frame, 0), self._now[frame])
            await asyncio.sleep(0)
            seconds = 1.7e-3 * self.slowness.get(host.name, 1.0)
            right = answer(asked.token, "record", record_text(record(of, asked.spec, seconds)).encode())
            self._now[frame] -= 1
        behaviour = self.behaviours.get(host.name)
        return right if behaviour is None else behaviour(asked, right)


def design(hosts: Sequence[str], waves: int = 2, **changes: object) -> FleetDesign:
    """A fleet that is to be measured."""
    made = FleetDesign(
        "20261101T120000Z-fleet-000000", "2026-11-01T12:00:00Z", ("lparbench", "fleet", "run"), "hosts.ini", "0" * 64,
        tuple(Host(name, name) for name in hosts), SPEC, waves, False, 32, ("lparbench",),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def entries(of: FleetDesign, rates: Mapping[str, np.ndarray], hosts: Mapping[str, Looked]) -> list[Entry]:
    """The journal of a fleet that reached these rates, workload -> (hosts, waves); NaN was not measured."""
    names = [host.name for host in of.hosts]
    journal: list[Entry] = [LookedEntry(name, hosts[name], 0.0) for name in names]
    for wave in range(1, of.waves + 1):
        journal.append(WaveEntry(wave, tuple(names), of.created))
        for at, name in enumerate(names):
            timed = tuple(
                Timed(workload, "offline", "native", "float32", 64, 1 / values[at, wave - 1])
                for workload, values in rates.items()
                if math.isfinite(values[at, wave - 1])
            )
            journal.append(MeasuredEntry(name, wave, f"hosts/{name}/wave-{wave}", f"sha256:{at}-{wave}", 10.0, timed))
    return journal


def write(directory: Path, of: FleetDesign) -> Path:
    """A directory with a design in it."""
    from harness.fleet.session import begin

    return begin(of, directory)


def fleet_record(name: str = "", hosts: int = 16, waves: int = 6, seed: int = 2) -> Fleet:
    """A fleet of which one host is slow and the last did not answer; ``name`` ends every name of a host."""
    generator = np.random.default_rng(seed)
    values = np.exp(7 + generator.normal(0, 0.004, (hosts, waves)) + generator.normal(0, 0.02, waves))
    values[4 + seed] *= 0.89
    finding = Finding(
        id="memory-off-node", severity=Severity.HIGH, title="Its memory is on node 1 while its CPUs are on node 0",
        evidence=(), why="why", fix=(), effect="up to half", source="x", loss=0.5,
    )  # fmt: skip
    names = [f"lpar{number:02d}{name}" for number in range(1, hosts + 1)]
    answers = {
        each: looked(facts(at + 1, f"{at % 3:x}" * 16), [finding] if at == 6 else []) for at, each in enumerate(names)
    }
    made = design([*names, f"gone{name}"], waves)
    rates = {"nsl-kdd-mlp": values, "unsw-nb15-autoencoder": values[::-1]}
    measured = replace(made, hosts=made.hosts[:-1])
    gone = LookedEntry(f"gone{name}", None, None, HostState.UNREACHABLE, f"Connection refused {name}")
    return fleet_of(made, [gone, *entries(measured, rates, answers)])
