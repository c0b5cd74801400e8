"""``lparbench gate``: did it get slower or less accurate?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.shares import share
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.compare.observations import Side
    from harness.gates.baseline import Baseline
    from harness.gates.gate import GateReport, Pair
    from harness.gates.selfcheck import SelfCheck
    from harness.record.model import Run

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
        bool,
        typer.Option(
            "--aa",
            help="Compare this machine with itself: its noise floor and false alarms. The floor is kept in the run's"
            " record and printed in its report.",
        ),
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
    out: Annotated[Path, typer.Option(metavar="DIR", help="With --aa: where the run it measures is kept.")] = Path(
        "results/runs"
    ),
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
        checks, name = _self_check(baseline, runs, margin, blocks, out)
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
    from harness.compare.inputs import load_side
    from harness.gates.baseline import read_baseline
    from harness.gates.gate import Policy, ReferenceKind
    from harness.gates.gate import gate as judge

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
    from harness.compare.inputs import load_side
    from harness.gates.baseline import baseline_text, make_baseline, read_baseline
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
    path: Path, runs: list[Path], margin: str | None, blocks: int | None, out: Path
) -> tuple[tuple[SelfCheck, ...], str]:
    """Compare a run with itself, and keep the floor in its record; one that is measured for it goes into ``out``."""
    from harness.compare.inputs import load_side
    from harness.compare.observations import side_of
    from harness.gates.baseline import read_baseline
    from harness.gates.remeasure import repeated_run
    from harness.gates.selfcheck import self_check
    from harness.measure.verdicts import MIN_BLOCKS
    from harness.record.store import check_writable

    if len(runs) > 1:
        raise InputError("--aa takes one --candidate.", remedy="A run is compared with itself.")
    limit = None if margin is None else share("--margin", margin)
    if runs:
        side = load_side(runs[0])
        checks = self_check(side, seed=_SEED, margin=limit)
        _keep_floor(runs[0], checks)
        return checks, side.name
    argv, extra = read_baseline(path).side.argv, ("--blocks", str(blocks or 4 * MIN_BLOCKS))
    check_writable(out)
    record = repeated_run(argv, extra=extra)
    side = side_of(record)
    checks = self_check(side, seed=_SEED, margin=limit)
    _keep_run(record, checks, (*argv, *extra), out)
    return checks, side.name


def _keep_floor(path: Path, checks: tuple[SelfCheck, ...]) -> None:
    """Write the floor into the record and the report of a run; files of pytest-benchmark have no place for it."""
    from harness.gates.selfcheck import noise_floor_json
    from harness.record.store import RECORD_NAME, encode, load_run, record_text, write_file
    from harness.reporting.html import render

    file = path / RECORD_NAME if path.is_dir() else path
    if file.name != RECORD_NAME or not file.exists():
        return
    record = load_run(file)
    record = replace(record, tool={**record.tool, "noise_floor": noise_floor_json(checks)})
    write_file(file, encode(record_text(record)))
    write_file(file.with_name("report.html"), render(record))


def _keep_run(record: Run, checks: tuple[SelfCheck, ...], argv: tuple[str, ...], out: Path) -> None:
    from harness.gates.selfcheck import noise_floor_json
    from harness.record.store import write_run
    from harness.reporting.html import render

    tool = {**record.tool, "argv": list(argv), "noise_floor": noise_floor_json(checks)}
    record = replace(record, tool=tool)
    directory = write_run(record, out, {"report.html": render(record)})
    typer.echo(f"Report: {directory / 'report.html'}", err=True)


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
