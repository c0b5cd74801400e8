"""Chooses the placement of a server and becomes the placed process."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from harness.decode import encode
from harness.placement.plan import plan
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.platform.usable import room
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
    directory = Path(tempfile.mkdtemp(prefix="lparbench-serve-"))
    for name, value in ((SPEC, spec), (PLACEMENT, placement)):
        (directory / name).write_text(json.dumps(encode(value)), encoding="utf-8")
    launch = [sys.executable, "-m", "harness.placement.launch", "--plan", str(directory / PLACEMENT), "--"]
    command = [*launch, sys.executable, "-m", "harness.serving.process", str(directory)]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - an argument list, no shell
