"""``lparbench doctor``: what is wrong with this machine's layout, and the command that mends it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import ExitCode, InputError

if TYPE_CHECKING:
    from harness.platform.facts import Facts
    from harness.platform.hmc import HmcFacts
    from harness.platform.sysroot import SysRoot


def doctor(
    sysroot: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Look at a stored tree that holds proc and sys instead of this machine."),
    ] = Path("/"),
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory the work needs, e.g. 80G.", show_default=False)
    ] = None,
    hmc: Annotated[
        str | None,
        typer.Option(metavar="USER@HOST", help="Ask this HMC for the affinity scores, over ssh.", show_default=False),
    ] = None,
    managed_system: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The server's name on the HMC. Default: its type and serial number.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Check NUMA, SMT, LPAR and software settings; print findings by effect, each with evidence and a command.

    Exit code 0: nothing found that costs performance. 1: something was.

    Example: `lparbench doctor --hmc hscroot@hmc1 --memory 80G`
    """
    from harness.advice.engine import evaluate
    from harness.advice.rules import WorkloadNeeds
    from harness.platform.probe import probe
    from harness.platform.sysroot import SysRoot
    from harness.reporting.doctor import print_report, verdict

    root = SysRoot(sysroot)
    facts = probe(root)
    report = evaluate(
        facts,
        hmc=_console(root, facts, hmc, managed_system),
        workload=WorkloadNeeds() if memory is None else WorkloadNeeds(_size(memory), {"memory_bytes": "--memory"}),
    )
    if as_json:
        document = {"verdict": verdict(report), "costs_performance": report.costs_performance, **report.to_json()}
        typer.echo(json.dumps(document, indent=2))
    else:
        print_report(facts, report)
    raise typer.Exit(ExitCode.judged(failed=report.costs_performance))


def _size(text: str) -> int:
    from harness.platform.parse import size

    amount = size(text)
    if amount is None:
        raise InputError(f"--memory {text!r} is not a size.", remedy="Expected a number with K, M, G or T: 80G.")
    return amount


def _console(root: SysRoot, facts: Facts, destination: str | None, managed_system: str | None) -> HmcFacts:
    from harness.platform import hmc, lpar

    system = managed_system or hmc.managed_system_of(lpar.read(root))
    if destination is None:
        sources = {} if system is None else {"managed_system": "given" if managed_system else "lparcfg:serial_number"}
        return hmc.HmcFacts(managed_system=system, sources=sources)
    if system is None:
        raise InputError("--hmc: the server's name is not known here.", remedy="Give it with --managed-system NAME.")
    if facts.lpar.partition_name is None:
        raise InputError("--hmc: this is not a partition with a name.", remedy="Run doctor inside the LPAR.")
    found = hmc.read(destination, managed_system=system, lpar_name=facts.lpar.partition_name)
    return replace(found, managed_system=system)
