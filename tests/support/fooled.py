"""Puts damaged records through compare and gate and tells what, if anything, was fooled."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from support.mutations import ANYWHERE, INCOMPLETE, MATERIAL, UNPAIRED, document, mutate, small_run

from harness.compare.compare import compare
from harness.compare.observations import Side, side_of
from harness.errors import ExitCode, LparbenchError
from harness.gates.baseline import Baseline, make_baseline
from harness.gates.baseline_file import baseline_text, read_baseline
from harness.gates.gate import BaselineSource, Pair, gate
from harness.gates.policy import Policy
from harness.measure.verdicts import CompareVerdict
from harness.record.store import load_run

KINDS = (*MATERIAL, *UNPAIRED, *INCOMPLETE, *ANYWHERE)


def fooled(seeds: Iterable[int], scratch: Path) -> list[str]:
    """One line per damaged file that was called passed or regressed without being it, or that raised."""
    baseline_side = side_of(small_run("baseline", seed=1))
    baseline = make_baseline(baseline_side)
    sessions = baseline
    for seed in (11, 12):
        sessions = make_baseline(side_of(small_run(f"session-{seed}", seed=seed)), earlier=sessions)
    slow, same = (document(small_run("candidate", seed=2, slowdown=ratio)) for ratio in (1.5, 1.0))
    path = scratch / "run.json"
    complaints = []
    for seed in seeds:
        kind = KINDS[seed % len(KINDS)]
        # A damaged file of slower code must not be failed either: what it says cannot be known.
        is_slow = kind in (*MATERIAL, *UNPAIRED) and random.Random(seed).random() < 0.5
        text = mutate(kind, slow if is_slow else same, seed)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            codes = _verdicts(path, baseline_side)
            pair = (baseline_side, side_of(load_run(path)))
            codes.append(_gated(baseline, pair, BaselineSource.CONCURRENT))
            of_sessions = _gated(sessions, pair, BaselineSource.STORED)
            wrong = ExitCode.GOOD if is_slow else ExitCode.REGRESSION
            if kind not in UNPAIRED:
                codes.append(of_sessions)
            elif of_sessions is wrong:
                complaints.append(f"{kind} seed {seed} {'slow' if is_slow else 'same'}: {of_sessions} by sessions")
        except LparbenchError as error:
            codes = [error.exit_code]
        except Exception as error:  # noqa: BLE001 - a traceback is what is looked for
            complaints.append(f"{kind} seed {seed}: {type(error).__name__}: {error}")
            continue
        if ExitCode.REGRESSION in codes or (kind not in ANYWHERE and ExitCode.GOOD in codes):
            complaints.append(f"{kind} seed {seed} {'slow' if is_slow else 'same'}: {codes}")
    return complaints


def fooled_by_baselines(seeds: Iterable[int], scratch: Path) -> list[str]:
    """The same for damaged baseline files, with an undamaged candidate of the same code."""
    baseline = make_baseline(side_of(small_run("baseline", seed=1)))
    candidate = side_of(small_run("candidate", seed=2))
    text = baseline_text(baseline)
    path = scratch / "baseline.json"
    complaints = []
    for seed in seeds:
        rng = random.Random(seed)
        damaged = list(text)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = chr(rng.randrange(32, 127))
        cut = rng.random() < 0.3
        path.write_text("".join(damaged)[: rng.randrange(len(text)) if cut else None], encoding="utf-8")
        try:
            read = read_baseline(path)
            pair = (read.side, candidate)
            code = _gated(read, pair, BaselineSource.CONCURRENT)
        except LparbenchError as error:
            code = error.exit_code
        except Exception as error:  # noqa: BLE001 - a traceback is what is looked for
            complaints.append(f"baseline seed {seed}: {type(error).__name__}: {error}")
            continue
        if code is ExitCode.REGRESSION:
            complaints.append(f"baseline seed {seed}: {code}")
    return complaints


def _gated(baseline: Baseline, pair: Pair, source: BaselineSource) -> ExitCode:
    return gate(baseline, pair, Policy(), source=source, measure_again=lambda _: pair).exit_code


def _verdicts(path: Path, baseline: Side) -> list[ExitCode]:
    """What compare says, as exit codes: a regression of time or accuracy, or nothing."""
    report = compare([baseline, side_of(load_run(path))])
    return [ExitCode.REGRESSION] if CompareVerdict.REGRESSED in report.verdicts else []
