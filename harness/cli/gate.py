"""``lparbench gate``: did it get slower or less accurate?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.shares import share
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.gates.baseline import Baseline
    from harness.gates.gate import GateReport, Pair
    from harness.gates.observations import Side
    from harness.gates.selfcheck import SelfCheck

_SEED = 1  # of sign flips and splits: the same files give the same answer


def gate(
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE", help="Baseline file.")],
    candidate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="Judge this run instead of measuring. Given twice, the second confirms the first.",
            show_default=False,
        ),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline from the candidate, with its noise floor.")
    ] = False,
    aa: Annotated[
        bool, typer.Option("--aa", help="Compare this machine with itself: its noise floor and false alarms.")
    ] = False,
    margin: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Slowdown that matters. Default: 3%, or the noise floor.", show_default=False
        ),
    ] = None,
    accuracy_margin: Annotated[
        str, typer.Option(metavar="SHARE", help="Loss of accuracy that matters, absolute.")
    ] = "0.01",
    allow_diff: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACT",
            help="Let this fact differ, because it is what you ask about: libraries.torch, kernel. Repeatable.",
            show_default=False,
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(min=1, help="Fresh processes per result, with --update or --aa.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Fail only when it is certain, matters, and a second run agrees; pass only when that is as certain.

    Without --candidate the baseline's own command is run again. Exit code 0: passed. 1: regressed. 2: neither could be
    shown. 3: another environment. 4: wrong use or a damaged file.

    Example: `lparbench gate baseline.json --allow-diff libraries.torch`
    """
    if update and aa:
        raise InputError("--update and --aa exclude each other.", remedy="Run them one after the other.")
    runs = candidate or []
    if aa:
        checks, name = _self_check(baseline, runs, margin, blocks)
        _show_self_check(name, checks, as_json=as_json)
        return
    if update:
        _update(baseline, runs, blocks, as_json=as_json)
        return
    if blocks is not None:
        raise InputError(
            "--blocks goes with --update and --aa.", remedy="A candidate gets as many blocks as the baseline has."
        )
    report = _judge(baseline, runs, margin, accuracy_margin, allow_diff or [])
    _show_gate(report, as_json=as_json)
    raise typer.Exit(report.exit_code)


def _judge(path: Path, runs: list[Path], margin: str | None, accuracy_margin: str, allowed: list[str]) -> GateReport:
    from harness.gates.baseline import read_baseline
    from harness.gates.gate import Policy, ReferenceKind
    from harness.gates.gate import gate as judge
    from harness.gates.inputs import load_side

    if len(runs) > 2:
        raise InputError(f"--candidate was given {len(runs)} times.", remedy="Give a run, and one that confirms it.")
    policy = Policy(
        margin=None if margin is None else share("--margin", margin),
        accuracy_margin=share("--accuracy-margin", accuracy_margin),
        allowed=allowed,
    )
    baseline = read_baseline(path)
    sides = [load_side(run) for run in runs]
    first = sides[0] if sides else _measured(baseline, None)
    again: Callable[[], Pair] | None
    if len(sides) == 2:
        again = lambda: (baseline.side, sides[1])  # noqa: E731
    elif sides:
        again = None
    else:
        again = lambda: (baseline.side, _measured(baseline, None))  # noqa: E731
    return judge(baseline, (baseline.side, first), policy, reference=ReferenceKind.STORED, measure_again=again)


def _measured(baseline: Baseline, blocks: int | None) -> Side:
    """The baseline's command again, with as many blocks as it has unless told: only equal numbers can be paired."""
    from harness.gates.remeasure import repeated

    most = max(len(one.seconds) for one in baseline.side.observations.values())
    return repeated(baseline.side.argv, extra=("--blocks", str(blocks or most)))


def _update(path: Path, runs: list[Path], blocks: int | None, *, as_json: bool) -> None:
    from harness.gates.baseline import baseline_text, make_baseline, read_baseline
    from harness.gates.inputs import load_side
    from harness.record.store import write_file

    if len(runs) > 1:
        raise InputError("--update takes one --candidate.", remedy="Update once per run: each is one session.")
    earlier = read_baseline(path) if path.exists() else None
    if runs:
        side = load_side(runs[0])
    elif earlier is not None:
        side = _measured(earlier, blocks)
    else:
        raise InputError(f"{path}: no such baseline.", remedy="Make the first one from a run: --update --candidate RUN")
    updated = make_baseline(side, earlier=earlier, seed=_SEED)
    write_file(path, baseline_text(updated).encode("utf-8", "backslashreplace"))
    floors = {str(key): floor.effect for key, floor in sorted(updated.floors.items())}
    if as_json:
        said = {"baseline": str(path), "run": side.name, "sessions": len(updated.sessions), "noise_floors": floors}
        typer.echo(json.dumps(said, indent=2))
    else:
        for key, floor in floors.items():
            typer.echo(f"{key}: noise floor {100 * floor:.2g} %")
        typer.echo(f"{path}: {side.name}, {len(updated.sessions)} session{'s' if len(updated.sessions) != 1 else ''}")


def _self_check(
    path: Path, runs: list[Path], margin: str | None, blocks: int | None
) -> tuple[tuple[SelfCheck, ...], str]:
    from harness.gates.baseline import read_baseline
    from harness.gates.inputs import load_side
    from harness.gates.remeasure import repeated
    from harness.gates.selfcheck import self_check
    from harness.measure.verdicts import MIN_BLOCKS

    if len(runs) > 1:
        raise InputError("--aa takes one --candidate.", remedy="A run is compared with itself.")
    if runs:
        side = load_side(runs[0])
    else:
        amount = str(blocks or 4 * MIN_BLOCKS)
        side = repeated(read_baseline(path).side.argv, extra=("--blocks", amount))
    limit = None if margin is None else share("--margin", margin)
    return self_check(side, seed=_SEED, margin=limit), side.name


def _show_self_check(name: str, checks: tuple[SelfCheck, ...], *, as_json: bool) -> None:
    from harness.reporting.comparison_terminal import print_self_check

    if as_json:
        rows = [
            {
                "result": str(one.key),
                "pairs": one.pairs,
                "noise_floor": one.floor,
                "margin": one.margin,
                "suspicion_share": one.alarm_share,
                "verdict": one.comparison.verdict.value,
            }
            for one in checks
        ]
        typer.echo(json.dumps({"run": name, "results": rows}, indent=2))
    else:
        print_self_check(name, checks)


def _show_gate(report: GateReport, *, as_json: bool) -> None:
    from harness.reporting.comparison_terminal import gate_verdict, print_gate
    from harness.reporting.comparison_view import time_json

    if not as_json:
        print_gate(report)
        return
    judged: list[dict[str, Any]] = [
        {
            "subject": one.subject,
            "outcome": one.outcome.value,
            "why": one.why,
            "time": None if one.time is None else time_json(one.time),
            "confirmation": None if one.confirmation is None else time_json(one.confirmation),
            "accuracy": None
            if one.accuracy is None
            else {**asdict(one.accuracy), "verdict": one.accuracy.verdict.value},
        }
        for one in report.judged
    ]
    document = {
        "verdict": gate_verdict(report)[1],
        "exit_code": int(report.exit_code),
        "baseline": report.baseline,
        "candidate": report.candidate,
        "reference": report.reference.value,
        "judged": judged,
        "not_in_baseline": [str(key) for key in report.unknown],
    }
    typer.echo(json.dumps(document, indent=2))
