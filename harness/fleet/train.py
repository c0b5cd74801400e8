"""One training by ranks on several hosts: each host places and starts its own, the first evaluates and records."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.errors import EnvironmentMismatchError, InputError, MeasurementError
from harness.fleet.inventory import Host
from harness.fleet.protocol import BundleFile, Looked, Model
from harness.fleet.transport import HostFailureError, Transport
from harness.fleet.waves import BROKEN, answered, ask, look_at
from harness.placement.ranks import plan_ranks
from harness.record.model import Run
from harness.record.spec import RunSpec
from harness.record.store import check_writable, parse_run, write_directory
from harness.scoring.bundle import open_bundle
from harness.scratch import scratch
from harness.training.rank_setting import RankGroup
from harness.wording import plural

FANOUT = 32  # hosts looked at, or given a wheel, at once
Say = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """What the hosts are to train together.

    Attributes:
        spec: of the first host's run; its ``ranks`` are those of every host.
        address, port: of the first host, where all meet.
        timeout_s: of the whole.
        save: receives the model bundle; None: it is not wanted.
    """

    spec: RunSpec
    address: str
    port: int
    timeout_s: float
    save: Path | None = None


async def train_together(hosts: Sequence[Host], training: Training, transport: Transport, say: Say) -> Run:
    """Train, and the record of the first host.

    Raises:
        MeasurementError: a host does not answer, or a rank failed; nothing is at work on any host then.
        EnvironmentMismatchError: the hosts are of several architectures.
        InputError: there are fewer than two hosts, one is there twice, its ranks cannot be placed, or there is a
            bundle already.
    """
    kept = None if training.save is None else training.save / training.spec.workloads[0]
    if kept is not None:
        check_writable(kept.parent)
        if kept.exists():
            raise InputError(f"{kept} exists already.", remedy="Choose another directory.")
    looked = await _looked(hosts, transport)
    ranks = [_ranks_of(host, looked[host.name], training.spec) for host in hosts]
    count = sum(ranks)
    say(
        f"{plural(count, 'rank')}: "
        + ", ".join(f"{each} on {host.name}" for host, each in zip(hosts, ranks, strict=True))
    )
    spec = replace(training.spec, ranks=count)
    work = []
    first = 0
    for host, here in zip(hosts, ranks, strict=True):
        group = RankGroup(first, count, here, None, training.address, training.port)
        bundle = kept is not None and first == 0
        work.append(asyncio.ensure_future(_asked(transport, host, spec, group, training.timeout_s, bundle)))
        first += here
    try:
        answers = await asyncio.gather(*work)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    where = f"the record of {hosts[0].name}"
    model = answers[0] if isinstance(answers[0], Model) else None
    text = answers[0] if model is None else model.record
    if not isinstance(text, str) or (model is None) != (kept is None):
        raise MeasurementError(f"{hosts[0].name}: it answered something else than was asked.")
    try:
        run = parse_run(text, where)
    except InputError as error:  # whose remedy is one for a file
        raise MeasurementError(f"{error.message.rstrip('.')}; {BROKEN}.") from None
    if (run.spec.workloads, run.spec.seed, run.spec.ranks) != (spec.workloads, spec.seed, count):
        raise MeasurementError(f"{where} is of another run; refused.")
    if model is None or kept is None:
        return run
    if model.files:  # none where training failed, which the record says
        _keep(model.files, kept, hosts[0].name)
    return replace(run, spec=replace(run.spec, save=str(kept.parent)))


def _keep(files: Sequence[BundleFile], target: Path, host: str) -> None:
    """Write the bundle that a host sent, after every digest in it was checked.

    Raises:
        MeasurementError: it is damaged.
        LparbenchError: the disk or its permissions refuse.
    """
    try:
        contents = {file.name: base64.b64decode(file.content, validate=True) for file in files}
        with scratch("bundle") as folder:
            for name, content in contents.items():
                (folder / name).write_bytes(content)
            open_bundle(folder)
    except (ValueError, InputError) as error:
        raise MeasurementError(f"{host}: the model bundle is damaged: {error}") from None
    write_directory(target, contents)


async def _looked(hosts: Sequence[Host], transport: Transport) -> dict[str, Looked]:
    if len(hosts) < 2:
        raise InputError("One host trains by itself.", remedy="There: lparbench run WORKLOAD --ranks per-node")
    looks = await look_at(hosts, transport, FANOUT)
    missing = [f"{look.host}: {look.state.value}: {look.reason}" for look in looks if look.looked is None]
    if missing:
        raise MeasurementError(f"All hosts are needed. {'; '.join(missing)}.", remedy="Leave them out with --hosts.")
    looked = answered(looks)
    kinds = {(host.facts.cpu.architecture, host.facts.cpu.byte_order) for host in looked.values()}
    if len(kinds) > 1:
        raise EnvironmentMismatchError(
            f"The hosts are of {len(kinds)} architectures: {', '.join(sorted(str(kind[0]) for kind in kinds))}.",
            remedy="Ranks of one training need one architecture and byte order.",
        )
    systems: dict[str, str] = {}
    for name, host in looked.items():
        if host.machine_id is not None and systems.setdefault(host.machine_id, name) != name:
            raise InputError(f"{name} and {systems[host.machine_id]} are one system.", remedy="Name it once.")
    return looked


def _ranks_of(host: Host, looked: Looked, spec: RunSpec) -> int:
    """Ranks of a host, which it will place in the same way."""
    ranks: int | Literal["per-node"] = spec.ranks or "per-node"
    facts = looked.facts
    try:
        placed = plan_ranks(
            facts.topology, ranks, cores=spec.cores, threads_per_core=spec.threads_per_core, limits=facts.limits
        )
    except InputError as error:
        raise InputError(f"{host.name}: {error.message}", remedy=error.remedy) from None
    return len(placed)


async def _asked(
    transport: Transport, host: Host, spec: RunSpec, group: RankGroup, timeout_s: float, bundle: bool
) -> Looked | Model | str | None:
    try:
        asked = ask(transport, host, spec=spec, timeout_s=timeout_s, group=group, bundle=bundle)
        return await asyncio.wait_for(asked, timeout_s)
    except asyncio.TimeoutError:
        raise MeasurementError(f"{host.name}: no answer after {timeout_s:.0f} s.") from None
    except HostFailureError as failure:
        raise MeasurementError(f"{host.name}: {failure.state.value}: {failure.reason}.") from None
