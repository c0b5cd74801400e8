"""``lparbench place``: which CPUs and which memory a run would get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from harness.cli.options import Json, Memory, Sysroot, memory_size, node_option
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.placement.model import Placement


def place(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="Become this program, with affinity, memory policy and settings in force from its start.",
            show_default=False,
        ),
    ] = None,
    cores: Annotated[int, typer.Option(min=1, metavar="N", help="Distinct cores, all of one NUMA node.")] = 1,
    threads_per_core: Annotated[int, typer.Option(min=1, metavar="K", help="Threads on each core.")] = 1,
    node: Annotated[int | None, node_option("the one that fits with most memory available")] = None,
    memory: Memory = None,
    sysroot: Sysroot = Path("/"),
    as_json: Json = False,
) -> None:
    """Choose CPUs and memory for N cores with K threads each, and print that placement with its settings.

    Two threads of an SMT8 core go to its two halves.

    Example: `lparbench place --cores 4 --threads-per-core 2 --nodes 0 -- python train.py`
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
    if command:
        _become(command, chosen, sysroot, as_json=as_json)
    if as_json:
        typer.echo(json.dumps(encode(chosen), indent=2))
        return
    from harness.platform.parse import format_cpulist
    from harness.wording import plural

    where = "" if chosen.node is None else f" of node {chosen.node}"
    shape = f"{plural(chosen.cores, 'core')} x {plural(chosen.threads_per_core, 'thread')}"
    typer.echo(f"CPUs {format_cpulist(chosen.cpus)}{where}: {shape}")
    typer.echo(f"memory policy {chosen.memory_policy}")
    memory = f" --membind={format_cpulist(chosen.memory_nodes)}" if chosen.memory_nodes else ""
    typer.echo(f"numactl --physcpubind={format_cpulist(chosen.cpus)}{memory} PROGRAM")
    for note in chosen.notes:
        typer.echo(f"note: {note}")
    for name, value in chosen.env.items():
        typer.echo(f"export {name}='{value}'")


def _become(command: list[str], chosen: Placement, sysroot: Path, *, as_json: bool) -> NoReturn:
    from harness.placement.apply import become

    if as_json or sysroot != Path("/"):
        other = "--json" if as_json else "--sysroot"
        raise InputError(f"{other} and a command to run exclude each other.", remedy="Leave one of them out.")
    for note in chosen.notes:
        typer.echo(f"note: {note}", err=True)
    become(command, chosen)
