"""The gate on files: a baseline file and run records in; what is not given is measured as the baseline was."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import trust
from harness.compare.inputs import load_side
from harness.compare.observations import Key, Side, side_of
from harness.errors import ExitCode, InputError, LparbenchError
from harness.gates.baseline import SEED, Baseline
from harness.gates.baseline_file import read_baseline, read_baselines, require_processor, update_baseline
from harness.gates.gate import BaselineSource, GateReport, Pair, gate
from harness.gates.policy import Policy
from harness.gates.remeasure import Measure, repeated, this_fingerprint
from harness.gates.selfcheck import SelfCheck, self_check
from harness.gates.stored import MOST_RUNS
from harness.measure.verdicts import MIN_BLOCKS
from harness.record.model import Run
from harness.record.spec import RunSpec
from harness.record.store import RECORD_NAME, write_run
from harness.runs.design import code_of, named_files


@dataclass(frozen=True)
class CheckedRun:
    """A run compared with itself; ``measured`` is its record where it was measured for this.

    ``left_out``: files given with it that hold nothing to compare.
    """

    name: str
    checks: tuple[SelfCheck, ...]
    measured: Run | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """The baseline file, the runs given, the name of a machine that they do not name, and what does a run."""

    path: Path
    candidates: Sequence[Path]
    measure: Measure
    machine: str | None = None

    def side(self, path: Path) -> Side:
        """A run that was given, on the machine named.

        Raises:
            InputError: it names another machine itself, or none is named at all.
        """
        side = load_side(path)
        if self.machine is not None:
            known = side.fingerprint.get("cpu")
            if known is not None:
                raise InputError(
                    f"{side.name} was measured on {known}.", remedy="--machine is for runs that do not say so."
                )
            side = replace(side, fingerprint={**side.fingerprint, "cpu": self.machine})
        require_processor(side)
        return side


def judge_files(inputs: Inputs, policy: Policy) -> GateReport:
    """Judge one candidate, or one and others that confirm it; none: runs measured now, as many as it takes.

    Raises:
        InputError: too many candidates, or a damaged file.
        EnvironmentMismatchError: the environments differ in something not allowed.
    """
    paths = inputs.candidates
    if len(paths) > MOST_RUNS:
        raise InputError(
            f"--candidate was given {len(paths)} times.",
            remedy=f"Give a run, and up to {MOST_RUNS - 1} that confirm it.",
        )
    sides = [inputs.side(candidate) for candidate in paths]
    baseline = _baseline_of(inputs.path, sides, policy.allowed)
    further = iter(sides[1:])

    def more(keys: Collection[Key]) -> Pair | None:
        side = next(further, None) if paths else side_of(_measured(baseline, None, inputs, keys))
        return None if side is None else (baseline.side, side)

    pair = (baseline.side, sides[0] if sides else side_of(_measured(baseline, None, inputs)))
    return gate(baseline, pair, policy, source=BaselineSource.STORED, measure_again=more)


def update_file(inputs: Inputs, blocks: int | None, accept: str | None = None) -> Baseline:
    """Write the baseline file from a candidate, or from a run measured now with ``blocks`` blocks.

    Raises:
        InputError: more than one candidate, none for the first baseline, or a damaged file.
        MeasurementError: nothing may be gated against the run.
        CheckFailedError: its times have left their level, which nobody accepted.
    """
    path, candidates = inputs.path, inputs.candidates
    if len(candidates) > 1:
        raise InputError("--update takes one --candidate.", remedy="Update once per run: each is one session.")
    if candidates:
        side = inputs.side(candidates[0])
        return _remembered(path, update_baseline(path, side, accept=accept), _is_own(candidates[0], side.spec))
    if not path.exists():
        raise InputError(f"{path}: no such baseline.", remedy="Make the first one from a run: --update --candidate RUN")
    run = _measured(_baseline_of(path, [], ()), blocks, inputs)
    try:
        return _remembered(path, update_baseline(path, side_of(run), accept=accept), own=True)
    except LparbenchError as error:
        if error.exit_code is not ExitCode.TOOL_FAILED:
            raise
        kept = write_run(run, Path(tempfile.gettempdir()))
        raise LparbenchError(
            error.message, remedy=f"Make room. What was measured is kept: --update --candidate {kept}"
        ) from None


def check_run(candidate: Path, margin: float | None) -> CheckedRun:
    """Compare a run with itself.

    Raises:
        MeasurementError: it has too few blocks.
    """
    side = load_side(candidate)
    return CheckedRun(side.name, self_check(side, seed=SEED, margin=margin), left_out=side.left_out)


def check_machine(path: Path, margin: float | None, blocks: int | None, measure: Measure) -> CheckedRun:
    """Measure as the baseline file ``path`` was measured, and compare the run with itself.

    Raises:
        InputError: the baseline cannot be measured again.
        MeasurementError: too few blocks.
    """
    run = repeated(_baseline_of(path, [], ()).side.spec, blocks or 4 * MIN_BLOCKS, measure, path)
    side = side_of(run)
    return CheckedRun(side.name, self_check(side, seed=SEED, margin=margin), run)


def _baseline_of(path: Path, sides: Sequence[Side], allowed: Collection[str]) -> Baseline:
    """The baseline of the machine that the runs given are of; without one, of this machine."""
    if sides:
        return read_baseline(path, sides[0].fingerprint, allowed)
    stored = read_baselines(path)
    return stored[0] if len(stored) == 1 else read_baseline(path, this_fingerprint(), allowed)


def _measured(baseline: Baseline, blocks: int | None, inputs: Inputs, keys: Collection[Key] = ()) -> Run:
    """The baseline's run once more, with as many blocks as it has unless given: only equal numbers can be paired.

    Args:
        keys: results that count: workloads without any are left out. None: all count.
    """
    most = max(len(observation.seconds) for observation in baseline.side.observations.values())
    spec, wanted = baseline.side.spec, {key.workload for key in keys}
    if spec is not None and wanted and wanted <= {*spec.workloads}:
        spec = replace(spec, workloads=tuple(name for name in spec.workloads if name in wanted))
    return repeated(spec, blocks or most, inputs.measure, inputs.path)


def _is_own(record: Path, spec: RunSpec | None) -> bool:
    """Whether what a record names was run here before, by this user."""
    return spec is not None and trust.is_known(record / RECORD_NAME if record.is_dir() else record)


def _remembered(path: Path, baseline: Baseline, own: bool) -> Baseline:
    spec = baseline.side.spec
    if own and spec is not None and code_of(spec):
        trust.remember(*named_files(path, spec))
    return baseline
