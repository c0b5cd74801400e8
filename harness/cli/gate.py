"""``lparbench gate``: did it get slower or less accurate?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Format, Json, Trust, given_by_user, one_format
from harness.cli.shares import share
from harness.errors import InputError
from harness.trust import allow

if TYPE_CHECKING:
    from harness.gates.policy import Policy
    from harness.gates.remeasure import Measure
    from harness.reporting.ci_format import CiFormat


class _Use(str, Enum):
    """What the command was asked to do; values are how messages call it."""

    BASE = "--base"
    JUDGE = "judging --candidate"
    MEASURE = "judging what is measured now"
    UPDATE = "--update with --candidate"
    UPDATE_MEASURED = "--update without --candidate"
    CHECK = "--aa with --candidate"
    CHECK_MEASURED = "--aa without --candidate"

    @staticmethod
    def of(*, base: bool, update: bool, aa: bool, given: bool) -> _Use:
        """By the options that choose."""
        if base:
            return _Use.BASE
        if aa:
            return _Use.CHECK if given else _Use.CHECK_MEASURED
        if update:
            return _Use.UPDATE if given else _Use.UPDATE_MEASURED
        return _Use.JUDGE if given else _Use.MEASURE


_JUDGING = (_Use.JUDGE, _Use.MEASURE)
_UPDATING = (_Use.UPDATE, _Use.UPDATE_MEASURED)
_CHECKING = (_Use.CHECK, _Use.CHECK_MEASURED)
_FILES = (*_JUDGING, *_UPDATING, *_CHECKING)
# Parameter -> where it means something; it is refused everywhere else.
USED_BY: dict[str, tuple[_Use, ...]] = {
    "baseline": tuple(_Use),
    "arguments": (_Use.BASE,),
    "base": (_Use.BASE,),
    "head": (_Use.BASE,),
    "prepare": (_Use.BASE,),
    "candidate": (_Use.JUDGE, _Use.UPDATE, _Use.CHECK),
    "update": _UPDATING,
    "aa": _CHECKING,
    "accept": _UPDATING,
    "machine": (_Use.JUDGE, _Use.UPDATE),
    "policy": (_Use.BASE, *_JUDGING),
    "margin": (*_JUDGING, *_CHECKING),
    "accuracy_margin": _JUDGING,
    "allow_diff": (_Use.BASE, *_JUDGING),
    "blocks": (_Use.UPDATE_MEASURED, _Use.CHECK_MEASURED),
    "out": (_Use.CHECK_MEASURED,),
    "trust": (_Use.MEASURE, _Use.UPDATE_MEASURED, _Use.CHECK_MEASURED),
    "to": (_Use.BASE, *_JUDGING),
    "as_json": _FILES,
}


def gate(
    context: typer.Context,
    baseline: Annotated[
        Path, typer.Argument(metavar="BASELINE|pytest", help="Baseline file; with --base, a pytest command after `--`.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="Of pytest, with --base.", show_default=False)
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Judge the benchmarks of a pytest suite against this git revision, measured in the same blocks.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="REF", help="With --base: what is judged. Default: the checkout.", show_default=False),
    ] = None,
    prepare: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND", help="With --base: run first in each worktree, to build the project.", show_default=False
        ),
    ] = None,
    candidate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="Judge this run (or ARCHIVE#RECORD) instead of measuring. Given up to 20 times, the others confirm"
            " the first.",
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
    accept: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="With --update: the times have changed on purpose, or results are gone. They begin a new level; the"
            " reason is kept in the baseline.",
            show_default=False,
        ),
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the machine, for a --candidate that does not say which processor it has."
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file of margins, floors and allowed differences, for all results or by name. Default:"
            " tool.lparbench.gate in pyproject.toml.",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Slowdown that matters: '5%', '5' or '0.05'. Default: 3 %, or the noise up to 20 %.",
            show_default=False,
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
        typer.Option(min=1, help="Fresh processes per result that --update or --aa measures.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="With --aa: where the run it measures is kept.")] = Path(
        "results/runs"
    ),
    trust: Trust = False,
    to: Format = None,
    as_json: Json = False,
) -> None:
    """Fail only when it is certain, matters, and a second run agrees; pass only when that is as certain.

    Without --candidate the baseline's own run is repeated. Exit code 0: passed. 1: regressed. 2: neither could be
    shown. 3: another environment. 4: wrong use or a damaged file.

    Example: `lparbench gate baseline.json --allow-diff libraries.torch`, or two revisions of a suite:
    `lparbench gate --base main --head HEAD -- pytest tests/bench`
    """
    from harness.gates.policy import Policy, read_policy
    from harness.record.archived import archived

    allow(trust)
    runs = candidate or []
    _refuse_unused(context, _Use.of(base=base is not None, update=update, aa=aa, given=bool(runs)))
    if base is not None:
        from harness.cli.base_head import gate_revisions

        own = [] if policy is None else [f"--lparbench-policy={policy.resolve()}"]
        own += [f"--lparbench-allow-diff={fact}" for fact in allow_diff or ()]
        raise typer.Exit(gate_revisions(base, head, [str(baseline), *own, *(arguments or [])], prepare, to))
    one_format(to, as_json=as_json)
    limit = None if margin is None else share("--margin", margin)
    with archived(runs) as paths:
        if aa:
            _self_check(baseline, paths, limit, blocks, out, keep=paths == runs, as_json=as_json)
        elif update:
            _update(baseline, paths, blocks, accept, machine, as_json=as_json)
        else:
            given = Policy(limit, share("--accuracy-margin", accuracy_margin), allow_diff or [])
            _judge(baseline, paths, read_policy(policy, given), machine, to, as_json=as_json)


def _refuse_unused(context: typer.Context, use: _Use) -> None:
    """See that every option that was given means something.

    Raises:
        InputError: one does not, so nothing is done.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        if use in USED_BY[name] or not given_by_user(context, name):
            continue
        option = "a pytest command" if name == "arguments" else max(parameter.opts, key=len)
        uses = ", ".join(member.value for member in USED_BY[name])
        raise InputError(f"{option} does not go with {use.value}.", remedy=f"It goes with: {uses}. Leave it out.")


@contextmanager
def _measuring(*, quiet: bool) -> Iterator[Measure]:
    """What does a run where none is given, with its progress on standard error."""
    from harness.reporting.progress import progress_for
    from harness.runs import run as runs
    from harness.workers.executor import ProcessExecutor

    with progress_for(quiet=quiet) as progress:
        command = ("lparbench", *sys.argv[1:])
        yield lambda spec: runs.run_once(spec, ProcessExecutor(), progress, command)


def _judge(
    baseline: Path, runs: list[Path], policy: Policy, machine: str | None, to: CiFormat | None, *, as_json: bool
) -> None:
    from harness.cli.outputs import name_left_out
    from harness.gates.files import Inputs, judge_files
    from harness.reporting.ci import of_gate, print_ci
    from harness.reporting.comparison_json import gate_json
    from harness.reporting.comparison_terminal import print_gate

    with _measuring(quiet=as_json) as measure:
        report = judge_files(Inputs(baseline, runs, measure, machine), policy)
    name_left_out(report.left_out)
    if to is not None:
        print_ci(of_gate(report), to)
    elif as_json:
        typer.echo(json.dumps(gate_json(report), indent=2))
    else:
        print_gate(report)
    raise typer.Exit(report.exit_code)


def _update(
    baseline: Path, runs: list[Path], blocks: int | None, accept: str | None, machine: str | None, *, as_json: bool
) -> None:
    from harness.cli.outputs import name_left_out
    from harness.gates.files import Inputs, update_file
    from harness.reporting.comparison_json import baseline_json
    from harness.reporting.comparison_terminal import print_baseline

    with _measuring(quiet=as_json) as measure:
        updated = update_file(Inputs(baseline, runs, measure, machine), blocks, accept)
    name_left_out(updated.side.left_out)
    if as_json:
        typer.echo(json.dumps(baseline_json(baseline, updated), indent=2))
    else:
        print_baseline(baseline, updated)


def _self_check(
    baseline: Path, runs: list[Path], margin: float | None, blocks: int | None, out: Path, *, keep: bool, as_json: bool
) -> None:
    from harness.cli.outputs import name_left_out
    from harness.gates.files import check_machine, check_run
    from harness.record.store import check_writable
    from harness.reporting.comparison_json import self_check_json
    from harness.reporting.comparison_terminal import print_self_check
    from harness.reporting.self_check import keep_in_record, keep_run

    if len(runs) > 1:
        raise InputError("--aa takes one --candidate.", remedy="A run is compared with itself.")
    if runs:
        checked = check_run(runs[0], margin)
        if keep:
            keep_in_record(checked, runs[0])
        else:
            typer.echo("The noise floor is not kept: a record of an archive stays as it is.", err=True)
    else:
        check_writable(out)
        with _measuring(quiet=as_json) as measure:
            checked = check_machine(baseline, margin, blocks, measure)
    name_left_out(checked.left_out)
    if as_json:
        typer.echo(json.dumps(self_check_json(checked), indent=2))
    else:
        print_self_check(checked)
    if checked.measured is not None:  # after the answer, which a disk that has filled does not take with it
        typer.echo(f"Report: {keep_run(checked, checked.measured, out)}", err=True)
