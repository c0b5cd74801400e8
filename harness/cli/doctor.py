"""``lparbench doctor``: what is wrong with this machine's layout, and the command that corrects it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json, Sysroot
from harness.errors import ExitCode, InputError


def doctor(
    sysroot: Sysroot = Path("/"),
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
    as_json: Json = False,
) -> None:
    """Check NUMA, SMT, LPAR and software settings; print findings by effect, each with evidence and a command.

    Exit code 0: nothing found that costs performance. 1: something was.

    Example: `lparbench doctor --hmc hscroot@hmc1 --memory 80G`
    """
    from harness.advice.engine import evaluate
    from harness.advice.rules import WorkloadNeeds
    from harness.platform.hmc import facts_for
    from harness.platform.probe import probe
    from harness.platform.sysroot import SysRoot
    from harness.reporting.doctor import print_report, verdict

    root = SysRoot(sysroot)
    facts = probe(root)
    report = evaluate(
        facts,
        hmc=facts_for(facts, root, destination=hmc, managed_system=managed_system),
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
