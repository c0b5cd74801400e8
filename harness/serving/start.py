"""Chooses the placement of a server and becomes the placed process."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

from harness.decode import encode
from harness.interpreter import program
from harness.placement.plan import plan
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.platform.usable import room
from harness.scratch import new_scratch
from harness.serving.spec import PLACEMENT, SPEC, ServeSpec


def start(spec: ServeSpec, *, cores: int, threads_per_core: int, node: int | None) -> None:
    """Replace this process by the placed server; affinity is set before any library starts a thread.

    Raises:
        InputError: there are no such cores.
    """
    facts = probe(SysRoot("/"))
    placement = plan(facts.topology, cores=cores, threads_per_core=threads_per_core, node=node, limits=facts.limits)
    amounts = [room(facts.topology, placement.memory_nodes), facts.limits.memory_limit_bytes]
    spec = replace(spec, room_bytes=min((amount for amount in amounts if amount is not None), default=None))
    directory, lock = new_scratch("serve")
    os.set_inheritable(lock, True)  # held by the server, which removes the directory
    for name, value in ((SPEC, spec), (PLACEMENT, placement)):
        (directory / name).write_text(json.dumps(encode(value)), encoding="utf-8")
    server = program("harness.serving.process", str(directory))
    command = program("harness.placement.launch", "--plan", str(directory / PLACEMENT), "--", *server)
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - an argument list, no shell
