"""``lparbench doctor``: what is wrong with this machine's layout, and the command that corrects it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.advice.finding import Severity
from harness.cli.options import Json, Memory, Sysroot, memory_size


def doctor(
    sysroot: Sysroot = Path("/"),
    memory: Memory = None,
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
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your site's policy (TOML): thresholds, and the rules that decide. See docs/doctor.md.",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[
        Severity | None,
        typer.Option(
            help="Fail on findings of this severity or above, also of the moment. Default: what costs and lasts.",
            show_default=False,
        ),
    ] = None,
    serial: Annotated[
        bool,
        typer.Option("--serial", help="Name the server in commands by type and serial number, else MANAGED_SYSTEM."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the findings as a page as well, - for standard output.", show_default=False
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List the rules without a finding as well.")] = False,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules with their thresholds, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Check NUMA, SMT, LPAR and software settings; print findings by effect, each with evidence and a command.

    Exit code 0: nothing lasting was found that costs performance, or the policy is met. 1: something was, or it is not.
    2: a rule that the policy names could not be checked.

    Example: `lparbench doctor --hmc hscroot@hmc1 --memory 80G`
    """
    from harness.advice.engine import evaluate
    from harness.advice.policy import Policy, judge, load_policy
    from harness.advice.rules import WorkloadNeeds, shipped_rules
    from harness.decode import encode
    from harness.platform.dump import opened
    from harness.platform.hmc import facts_for
    from harness.platform.probe import probe
    from harness.reporting.doctor import print_report, rule_entries, rules_text, verdict
    from harness.reporting.factsheet import say_origin
    from harness.reporting.listing import output_width

    site = Policy(shipped_rules()) if policy is None else load_policy(policy, shipped_rules())
    if rules:
        entries = rule_entries(site)
        listed = json.dumps({"rules": encode(entries)}, indent=2)
        typer.echo(listed if as_json else rules_text(entries, output_width()), nl=as_json)
        return
    root = opened(sysroot)
    facts = probe(root)
    report = evaluate(
        facts,
        rules=site.rules,
        hmc=facts_for(facts, root, destination=hmc, managed_system=managed_system, serial=serial),
        workload=WorkloadNeeds()
        if memory is None
        else WorkloadNeeds(memory_size(memory), {"memory_bytes": "--memory"}),
    )
    judgement = judge(report, site, fail_on)
    if html is not None:
        from harness.cli.outputs import shares_standard_output
        from harness.record.files import write_output
        from harness.reporting.doctor_html import render_findings

        alone = shares_standard_output(html, as_json=as_json)
        write_output(html, render_findings(facts, report), inputs=[*([] if policy is None else [policy]), sysroot])
        if alone:
            raise typer.Exit(judgement.exit_code)
    if as_json:
        document = {
            "verdict": verdict(report),
            "costs_performance": report.costs_performance,
            "policy": None if policy is None else str(policy),
            "judgement": encode(judgement),
            **encode(report),
        }
        typer.echo(json.dumps(document, indent=2))
    else:
        say_origin(facts, sysroot)
        print_report(facts, report, judgement, policy, verbose=verbose)
    raise typer.Exit(judgement.exit_code)
