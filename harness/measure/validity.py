"""Whether a result may be used at all, and if not, why not and what helps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import fmean

from harness.measure.verdicts import MIN_BLOCKS
from harness.wording import percentage, some_of

MIN_CLEAN_SHARE = 0.5
MAX_STEAL_SHARE = 0.02
MAX_CLOCK_FALL = 0.02
MAX_SHORTFALL = 0.05  # of the delivered rate below the undisturbed one, from which a reader is warned


class Reason(str, Enum):
    """Why a result is not valid."""

    MOSTLY_DISTURBED = "mostly_disturbed"
    STEAL = "steal"
    PLACEMENT = "placement"
    ACCURACY = "accuracy"
    CLOCK = "clock"
    TOO_FEW_BLOCKS = "too_few_blocks"
    NO_STEADY_STATE = "no_steady_state"
    FREQUENCY = "frequency"

    @property
    def remedy(self) -> str:
        """What the user can do about it."""
        return _REMEDIES[self]


_REMEDIES = {
    Reason.MOSTLY_DISTURBED: "Stop other work on these CPUs or choose CPUs that are idle.",
    Reason.STEAL: "Use a dedicated LPAR, or raise the entitled capacity to what the run needs.",
    Reason.PLACEMENT: "Check for a cgroup cpuset, or for a library that sets its own thread affinity.",
    Reason.ACCURACY: "Compare data type, thread count and backend with the reference; the timed code computes"
    " something else.",
    Reason.CLOCK: "Take away what changes the clock (a preloaded library, a debugger), or measure again where the"
    " machine was suspended.",
    Reason.TOO_FEW_BLOCKS: f"Run with --blocks {MIN_BLOCKS} or more, or a larger --budget.",
    Reason.NO_STEADY_STATE: "Measure longer, and look for throttling or other load that grows during the run.",
    Reason.FREQUENCY: "Look for throttling, a power cap or another power mode, and measure again with a fixed clock.",
}


@dataclass(frozen=True)
class Invalidity:
    """One reason with the sentence that tells it, figures included."""

    reason: Reason
    text: str

    @property
    def sentence(self) -> str:
        """The reason with its remedy, as records have it."""
        return f"{self.text}. {self.reason.remedy}"


@dataclass(frozen=True)
class Evidence:
    """What a result is judged on. Empty or None means that it was not observed, which does not invalidate.

    Attributes:
        blocks: processes that finished.
        clean_shares: per process, share of samples with no cause flag, in [0, 1].
        steal_shares: per process, stolen time over wall time, in [0, 1]; None where the machine does not tell.
        steady: per process, whether its series settled; leave out series that are fixed work, such as a whole training.
        placement_mismatches: one sentence per mismatch between placement asked for and found.
        accuracy_mismatch: how the timed configuration's scores differ from the reference.
        clock_mismatch: how the clock that timed disagrees with a second one.
        frequency_ratios: per process, effective over nominal clock of its CPUs; None where the machine does not tell.
    """

    blocks: int
    clean_shares: Sequence[float] = ()
    steal_shares: Sequence[float | None] = ()
    steady: Sequence[bool] = ()
    placement_mismatches: Sequence[str] = ()
    accuracy_mismatch: str | None = None
    clock_mismatch: str | None = None
    frequency_ratios: Sequence[float | None] = ()


def invalidities(evidence: Evidence) -> tuple[Invalidity, ...]:
    """Every reason for which the result is not valid; empty when it is."""
    problems = [
        *(Invalidity(Reason.PLACEMENT, text) for text in evidence.placement_mismatches),
        *_accuracy(evidence),
        *_clock(evidence),
        *_blocks(evidence),
        *_clean(evidence),
        *_steal(evidence),
        *_steady(evidence),
        *_frequency(evidence),
    ]
    return tuple(problems)


def shortfall(rows_per_s: float | None, rows_per_s_undisturbed: float | None) -> float | None:
    """The share by which a delivered rate lies below the undisturbed one, where it is more than a few per cent.

    Such a result is valid: the median undisturbed call is what it was. But who sizes by it expects more than the
    machine delivers.
    """
    if rows_per_s is None or not rows_per_s_undisturbed:
        return None
    share = 1 - rows_per_s / rows_per_s_undisturbed
    return share if share > MAX_SHORTFALL else None


def _accuracy(evidence: Evidence) -> list[Invalidity]:
    return [Invalidity(Reason.ACCURACY, evidence.accuracy_mismatch)] if evidence.accuracy_mismatch else []


def _clock(evidence: Evidence) -> list[Invalidity]:
    return [Invalidity(Reason.CLOCK, evidence.clock_mismatch)] if evidence.clock_mismatch else []


def _blocks(evidence: Evidence) -> list[Invalidity]:
    if evidence.blocks >= MIN_BLOCKS:
        return []
    return [Invalidity(Reason.TOO_FEW_BLOCKS, f"{evidence.blocks} of at least {MIN_BLOCKS} blocks")]


def _clean(evidence: Evidence) -> list[Invalidity]:
    shares = evidence.clean_shares
    if not shares or fmean(shares) >= MIN_CLEAN_SHARE:
        return []
    # 49.6 % is not "50 % where 50 % are needed"; 45 % is not 44 % because the mean is a last digit below
    percent, least = (math.floor(round(100 * share, 6)) for share in (fmean(shares), min(shares)))
    text = (
        f"{percent} % of the samples are undisturbed, at least {percentage(MIN_CLEAN_SHARE)} are needed"
        f" (least in one process: {least} %)"
    )
    return [Invalidity(Reason.MOSTLY_DISTURBED, text)]


def _steal(evidence: Evidence) -> list[Invalidity]:
    shares = [share for share in evidence.steal_shares if share is not None]
    if not shares or fmean(shares) <= MAX_STEAL_SHARE:
        return []
    text = (
        f"the hypervisor took {percentage(fmean(shares), 1)} of the time, more than {percentage(MAX_STEAL_SHARE)}"
        f" (most in one process: {percentage(max(shares), 1)})"
    )
    return [Invalidity(Reason.STEAL, text)]


def _frequency(evidence: Evidence) -> list[Invalidity]:
    ratios = [ratio for ratio in evidence.frequency_ratios if ratio]
    fall = 1 - min(ratios) / max(ratios) if ratios else 0.0
    if fall <= MAX_CLOCK_FALL:
        return []
    text = f"the processors' clock differs by {percentage(fall, 1)} between processes of the same setting, more than "
    return [Invalidity(Reason.FREQUENCY, f"{text}{percentage(MAX_CLOCK_FALL)}")]


def _steady(evidence: Evidence) -> list[Invalidity]:
    """More than half of the processes must settle.

    The test calls up to a fifth of good series drifting, and four fifths of drifting ones (the module ``steady``), so
    one process that did not settle says little, and most of them say it all.
    """
    drifting = sum(not steady for steady in evidence.steady)
    if 2 * drifting <= len(evidence.steady):
        return []
    return [
        Invalidity(
            Reason.NO_STEADY_STATE, f"{some_of(drifting, len(evidence.steady), 'process', 'processes')} did not settle"
        )
    ]
