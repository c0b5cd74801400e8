"""What is said of drift: each statistic of the last window next to its bound, and how many windows drifted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SCORES, FLAGGED = "scores", "share flagged"  # names of what is no feature


@dataclass(frozen=True)
class FeatureDrift:
    """A feature in the last window.

    Attributes:
        psi: population stability index against the training rows.
        bound: above which it is over.
        floor: the index of one half of the training rows against the other where that is more than noise, else 0; None
            where the bundle does not say.
    """

    psi: float
    bound: float
    over: bool
    floor: float | None = None

    @property
    def of_bound(self) -> float:
        """The index over its bound."""
        return self.psi / self.bound


@dataclass(frozen=True)
class ScoreDrift:
    """The scores' distribution in the last window.

    Attributes:
        distance: Kolmogorov and Smirnov's, from that of the reference.
        bound, floor: as of `FeatureDrift`.
    """

    distance: float
    bound: float
    over: bool
    floor: float

    @property
    def of_bound(self) -> float:
        """The distance over its bound."""
        return self.distance / self.bound


@dataclass(frozen=True)
class ShareDrift:
    """A share of the rows of the last window.

    Attributes:
        share, reference: here, and of the reference.
        low, high: where it may be.
        floor: the difference between the halves of the reference where that is more than noise, else 0.
    """

    share: float
    reference: float
    low: float
    high: float
    over: bool
    floor: float

    @property
    def of_bound(self) -> float:
        """The difference from the reference over the largest that may be."""
        above = self.share - self.reference
        if above == 0 or (above < 0 and self.low <= 0):
            return 0.0
        return abs(above) / max(self.high - self.reference if above > 0 else self.reference - self.low, 1e-12)


class Sample(NamedTuple):
    """A statistic of the last window; above 1 of its bound it is over."""

    name: str
    statistic: str
    value: float
    bound: float
    of_bound: float
    over: bool


@dataclass(frozen=True)
class DriftState:
    """What ``GET /drift`` says.

    Attributes:
        drifted: what was over in the last two windows.
        scores, flagged: None before the first window, and where the bundle has no reference of them.
        missing: rows without a value by column, where there may be such.
        scores_of: the rows of the reference scores.
        unwatched: what the bundle has no reference of.
    """

    window_rows: int
    windows: int
    alarms: int
    drifted: tuple[str, ...]
    features: Mapping[str, FeatureDrift]
    scores: ScoreDrift | None = None
    flagged: ShareDrift | None = None
    missing: Mapping[str, ShareDrift] = field(default_factory=dict)
    scores_of: str | None = None
    unwatched: tuple[str, ...] = ()
    note: str = "Windows are taken as independent; an alarm takes two in a row over for the same statistic."

    def samples(self) -> Iterator[Sample]:
        """All statistics of the last window."""
        for name, each in self.features.items():
            yield Sample(name, "psi", each.psi, each.bound, each.of_bound, each.over)
        if self.scores is not None:
            yield Sample(SCORES, "ks", self.scores.distance, self.scores.bound, self.scores.of_bound, self.scores.over)
        shares = {} if self.flagged is None else {("flagged", SCORES): self.flagged}
        for (statistic, name), part in (
            shares | {("missing", name): part for name, part in self.missing.items()}
        ).items():
            bound = part.low if part.share < part.reference and part.low > 0 else part.high
            yield Sample(name, statistic, part.share, bound, part.of_bound, part.over)

    @property
    def worst(self) -> float | None:
        """The largest statistic over its bound; None before the first window."""
        return max((each.of_bound for each in self.samples()), default=None)


def together(states: Sequence[DriftState]) -> DriftState:
    """Of several scorers, each with windows of its own: all alarms, and each statistic where it drifted most."""
    features: dict[str, FeatureDrift] = {}
    missing: dict[str, ShareDrift] = {}
    for state in states:
        for name, each in state.features.items():
            features[name] = max(features.get(name, each), each, key=_of_bound)
        for name, share in state.missing.items():
            missing[name] = max(missing.get(name, share), share, key=_of_bound)
    return DriftState(
        window_rows=states[0].window_rows,
        windows=sum(state.windows for state in states),
        alarms=sum(state.alarms for state in states),
        drifted=tuple(dict.fromkeys(name for state in states for name in state.drifted)),
        features=features,
        scores=max((state.scores for state in states if state.scores is not None), key=_of_bound, default=None),
        flagged=max((state.flagged for state in states if state.flagged is not None), key=_of_bound, default=None),
        missing=missing,
        scores_of=states[0].scores_of,
        unwatched=states[0].unwatched,
    )


def _of_bound(drift: FeatureDrift | ScoreDrift | ShareDrift) -> float:
    return drift.of_bound
