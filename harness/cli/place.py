"""``lparbench place``: which CPUs and which memory a run would get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json, Memory, Sysroot, memory_size


def place(
    cores: Annotated[int, typer.Option(min=1, metavar="N", help="Distinct cores, all of one NUMA node.")] = 1,
    threads_per_core: Annotated[int, typer.Option(min=1, metavar="K", help="Threads on each core.")] = 1,
    node: Annotated[
        int | None,
        typer.Option(
            metavar="ID", help="NUMA node. Default: the one that fits with most memory available.", show_default=False
        ),
    ] = None,
    memory: Memory = None,
    sysroot: Sysroot = Path("/"),
    as_json: Json = False,
) -> None:
    """Choose CPUs and memory for N cores with K threads each, and print that placement with its thread settings.

    Two threads of an SMT8 core go to its two halves. `python -m harness.placement.launch --plan FILE -- PROGRAM`
    runs a program in the placement that `--json` prints.

    Example: `lparbench place --cores 4 --threads-per-core 2 --node 0`
    """
    from harness.decode import encode
    from harness.placement.plan import plan
    from harness.platform import limits
    from harness.platform.dump import opened
    from harness.platform.probe import read_topology

    root = opened(sysroot)
    chosen = plan(
        read_topology(root),
        cores=cores,
        threads_per_core=threads_per_core,
        node=node,
        limits=limits.collect(root),
        memory_bytes=0 if memory is None else memory_size(memory),
    )
    if as_json:
        typer.echo(json.dumps(encode(chosen), indent=2))
        return
    from harness.platform.parse import format_cpulist
    from harness.reporting.text import plural

    where = "" if chosen.node is None else f" of node {chosen.node}"
    shape = f"{plural(chosen.cores, 'core')} x {plural(chosen.threads_per_core, 'thread')}"
    typer.echo(f"CPUs {format_cpulist(chosen.cpus)}{where}: {shape}")
    typer.echo(f"memory policy {chosen.memory_policy}")
    for note in chosen.notes:
        typer.echo(f"note: {note}")
    for name, value in chosen.env.items():
        typer.echo(f"export {name}='{value}'")
