"""Chooses the placement of a server and becomes the placed process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.decode import encode
from harness.interpreter import program
from harness.placement.model import Placement
from harness.placement.plan import plan
from harness.platform import limits
from harness.platform.facts import Topology
from harness.platform.probe import probe, read_topology
from harness.platform.sysroot import SysRoot
from harness.platform.usable import room
from harness.scratch import new_scratch
from harness.serving.cards import writable
from harness.serving.listening import tls, token_of
from harness.serving.spec import SPEC, ServeSpec, placement_file


def placements(cores: int, threads_per_core: int, nodes: Sequence[int | None]) -> list[Placement]:
    """Where a server scores, a placement for each node.

    Raises:
        InputError: there are no such cores.
    """
    root = SysRoot("/")
    topology, allowed = read_topology(root), limits.collect(root)
    return [plan(topology, cores=cores, threads_per_core=threads_per_core, node=node, limits=allowed) for node in nodes]


def refuse_files(spec: ServeSpec) -> None:
    """Find out before a model is trained which files of the server's are of no use.

    Raises:
        InputError: token, certificate, key, or the file of cards.
    """
    token_of(spec)
    tls(spec)
    if spec.state is not None:
        writable(Path(spec.state))


def start(spec: ServeSpec, chosen: Sequence[Placement]) -> None:
    """Replace this process by the placed server; affinity is set before any library starts a thread.

    Args:
        spec: of the server.
        chosen: where it scores.
    """
    facts = probe(SysRoot("/"))
    amounts = [_room(facts.topology, chosen), facts.limits.memory_limit_bytes]
    available = min((amount for amount in amounts if amount is not None), default=None)
    spec = replace(spec, scorers=len(chosen), room_bytes=available)
    directory, lock = new_scratch("serve")
    os.set_inheritable(lock, True)  # held by the server, which removes the directory
    (directory / SPEC).write_text(json.dumps(encode(spec)), encoding="utf-8")
    for number, placement in enumerate(chosen):
        (directory / placement_file(str(number))).write_text(json.dumps(encode(placement)), encoding="utf-8")
    server = program(f"harness.serving.{'supervisor' if spec.divided else 'process'}", str(directory))
    command = program("harness.placement.launch", "--plan", str(directory / placement_file("0")), "--", *server)
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - an argument list, no shell


def _room(topology: Topology, chosen: Sequence[Placement]) -> int | None:
    """Memory of all scorers, which have as much each: what the one has whose nodes have least to give."""
    shares = []
    for placement in chosen:
        sharing = sum(bool({*placement.memory_nodes} & {*other.memory_nodes}) for other in chosen)
        amount = room(topology, placement.memory_nodes)
        if amount is None:
            return None
        shares.append(amount // max(1, sharing))
    return len(chosen) * min(shares)
