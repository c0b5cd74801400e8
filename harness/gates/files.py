"""The gate on files: a baseline file and run records in; what is not given is measured as the baseline was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.compare.inputs import load_side
from harness.compare.observations import Side, side_of
from harness.errors import InputError
from harness.gates.baseline import SEED, Baseline, read_baseline, update_baseline
from harness.gates.gate import BaselineSource, GateReport, Pair, Policy, gate
from harness.gates.remeasure import Measure, repeated
from harness.gates.selfcheck import SelfCheck, self_check
from harness.measure.verdicts import MIN_BLOCKS
from harness.record.model import Run


@dataclass(frozen=True)
class CheckedRun:
    """A run compared with itself; ``measured`` is its record where it was measured for this."""

    name: str
    checks: tuple[SelfCheck, ...]
    measured: Run | None = None


def judge_files(path: Path, candidates: Sequence[Path], policy: Policy, measure: Measure) -> GateReport:
    """Judge a candidate, or a run measured now, against the baseline file ``path``.

    Args:
        path: of the baseline.
        candidates: none to measure now, one, or one and another that confirms it.
        policy: what the user asks.
        measure: does a run.

    Raises:
        InputError: too many candidates, or a damaged file.
        EnvironmentMismatchError: the environments differ in something not allowed.
    """
    if len(candidates) > 2:
        raise InputError(
            f"--candidate was given {len(candidates)} times.", remedy="Give a run, and one that confirms it."
        )
    baseline = read_baseline(path)
    sides = [load_side(candidate) for candidate in candidates] or [_measured(baseline, None, measure)]

    def confirm() -> Pair:
        return baseline.side, sides[1] if len(sides) == 2 else _measured(baseline, None, measure)

    measure_again: Callable[[], Pair] | None = None if len(candidates) == 1 else confirm
    pair = (baseline.side, sides[0])
    return gate(baseline, pair, policy, source=BaselineSource.STORED, measure_again=measure_again)


def update_file(path: Path, candidates: Sequence[Path], blocks: int | None, measure: Measure) -> Baseline:
    """Write the baseline file ``path`` from a candidate, or from a run measured now with ``blocks`` blocks.

    Raises:
        InputError: more than one candidate, none for the first baseline, or a damaged file.
        MeasurementError: nothing may be gated against the run.
    """
    if len(candidates) > 1:
        raise InputError("--update takes one --candidate.", remedy="Update once per run: each is one session.")
    if candidates:
        return update_baseline(path, load_side(candidates[0]))
    if not path.exists():
        raise InputError(f"{path}: no such baseline.", remedy="Make the first one from a run: --update --candidate RUN")
    return update_baseline(path, _measured(read_baseline(path), blocks, measure))


def check_run(candidate: Path, margin: float | None) -> CheckedRun:
    """Compare a run with itself.

    Raises:
        MeasurementError: it has too few blocks.
    """
    side = load_side(candidate)
    return CheckedRun(side.name, self_check(side, seed=SEED, margin=margin))


def check_machine(path: Path, margin: float | None, blocks: int | None, measure: Measure) -> CheckedRun:
    """Measure as the baseline file ``path`` was measured, and compare the run with itself.

    Raises:
        InputError: the baseline cannot be measured again.
        MeasurementError: too few blocks.
    """
    run = repeated(read_baseline(path).side.spec, blocks or 4 * MIN_BLOCKS, measure)
    side = side_of(run)
    return CheckedRun(side.name, self_check(side, seed=SEED, margin=margin), run)


def _measured(baseline: Baseline, blocks: int | None, measure: Measure) -> Side:
    """The baseline's run once more, with as many blocks as it has unless given: only equal numbers can be paired."""
    most = max(len(observation.seconds) for observation in baseline.side.observations.values())
    return side_of(repeated(baseline.side.spec, blocks or most, measure))
