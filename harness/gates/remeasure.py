"""Repeats the run that measured a side, in fresh processes, for a candidate or for a second run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.compare.facts import Facts, facts_of
from harness.errors import InputError
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.model import Run
from harness.record.spec import RunSpec
from harness.runs.design import require_trusted
from harness.runs.fingerprint import fingerprint

Measure = Callable[[RunSpec], Run]


def repeated(spec: RunSpec | None, blocks: int, measure: Measure, source: Path | None = None) -> Run:
    """The record of the same run once more, with exactly ``blocks`` blocks.

    Args:
        source: the file that the spec was read from; None where the user's own program made it.

    Raises:
        InputError: there is no spec: the side was not measured by a run; or it runs code and comes from elsewhere.
    """
    if spec is None:
        raise InputError(
            "the baseline does not say with which `lparbench run` it was measured, so it cannot be measured again.",
            remedy="Measure yourself and give the result with --candidate RUN.",
        )
    if source is not None:
        require_trusted(spec, source)
    return measure(replace(spec, blocks=blocks, budget_s=None, half_width=None, save=None, bundles=False, scores=False))


def this_fingerprint() -> Facts:
    """The facts of this machine that a comparison must agree on."""
    facts = probe(SysRoot(), cross_checked=False)
    return facts_of(fingerprint(facts, facts.software))
