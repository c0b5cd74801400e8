"""The verdicts of a session for CI systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.pytest_plugin.options import Verdict, session_key
from harness.reporting.ci import Case, CiReport, Outcome, write_ci
from harness.reporting.ci_format import CiFormat

_OUTCOMES = {"passed": Outcome.PASSED, "regressed": Outcome.REGRESSED}


def write_report(config: pytest.Config, late: Sequence[Verdict], to: CiFormat, path: Path) -> None:
    """Write what was judged, what is open, and the tests that failed before they could be judged.

    Args:
        config: of the session.
        late: what only its end showed.
        to: the format.
        path: the file.

    Raises:
        LparbenchError: it cannot be written.
    """
    kept = config.stash[session_key]
    judged = {verdict.nodeid for verdict in kept.verdicts}
    cases = [Case(v.subject, _OUTCOMES.get(v.outcome, Outcome.OPEN), v.why) for v in (*kept.verdicts, *late)]
    cases += [Case(nodeid, Outcome.OPEN, why) for nodeid, why in kept.failed.items() if nodeid not in judged]
    counts = {outcome: sum(case.outcome is outcome for case in cases) for outcome in Outcome}
    verdict = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count) or "nothing judged"
    write_ci(CiReport("lparbench", f"{verdict}.", tuple(cases)), to, path)
