"""``lparbench probe``: what is known of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Sysroot
from harness.wording import plural


def probe(
    sysroot: Sysroot = Path("/"),
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save what is read as a tree (.tgz) for --sysroot elsewhere, - for standard output.",
            show_default=False,
        ),
    ] = None,
    script: Annotated[
        bool,
        typer.Option("--script", help="Print a shell script that saves such a tree without Python, and stop."),
    ] = False,
    serial: Annotated[
        bool, typer.Option("--serial", help="Save the serial number of the server too; else its digest stands for it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only, every fact with its source.")] = False,
) -> None:
    """Show the facts of this machine: processor, cores and SMT, NUMA nodes, LPAR, memory, limits, software.

    What cannot be read is "not known", never assumed.

    Example: `lparbench probe --save lpar.tgz`, and elsewhere `lparbench doctor --sysroot lpar.tgz`
    """
    from harness.content import content_dir
    from harness.decode import encode
    from harness.platform.dump import opened
    from harness.platform.parse import format_cpulist
    from harness.platform.probe import probe as collect
    from harness.reporting.factsheet import print_facts, say_origin

    if script:
        typer.echo((content_dir("sysconfig") / "save-tree.sh").read_text(encoding="utf-8"), nl=False)
        return
    if save is not None:
        _save(save, sysroot, serial=serial)
        return
    facts = collect(opened(sysroot))
    if as_json:
        topology = facts.topology
        lists = {"cpus_online": topology.cpus_online, "cpus_present": topology.cpus_present}
        lists |= {f"node{node.id}": node.cpus for node in topology.nodes}
        cpulists = {name: format_cpulist(cpus) for name, cpus in lists.items()}
        typer.echo(json.dumps({"facts": encode(facts), "cpulists": cpulists}, indent=2))
    else:
        say_origin(facts, sysroot)
        print_facts(facts)


def _save(file: Path, sysroot: Path, *, serial: bool) -> None:
    from harness.errors import InputError
    from harness.platform.probe import probe as collect
    from harness.platform.saved import RecordingRoot
    from harness.record.files import is_standard_output, write_output

    if not (sysroot / "proc").is_dir():
        raise InputError(f"--save takes a machine or a tree; {sysroot} is neither.", remedy="It is saved already.")
    root = RecordingRoot(str(sysroot))
    collect(root)
    write_output(file, root.archive(serial=serial), inputs=[sysroot])
    if not is_standard_output(file):
        typer.echo(
            f"Saved {plural(len(root.files), 'file')} to {file}. Look at it by: lparbench doctor --sysroot {file}"
        )
