"""What a run needs to know before it starts: facts, findings, and where it will be pinned."""

from __future__ import annotations

from harness.advice.engine import evaluate
from harness.placement.plan import plan
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.runs.spec import Request, Surroundings


def survey_surroundings(request: Request) -> Surroundings:
    """Probe the machine, check its layout, and choose the placement.

    Raises:
        InputError: the cores asked for are not there.
    """
    facts = probe(SysRoot("/"))
    placement = plan(
        facts.topology,
        cores=request.cores,
        threads_per_core=request.threads_per_core,
        node=request.node,
        allowed=facts.limits.allowed_cpus,
    )
    report = evaluate(facts)
    findings = tuple(finding.to_json() for finding in report.findings)
    checks = {key: value for key, value in report.to_json().items() if key != "findings"}
    return Surroundings(facts, findings, checks, placement)
