"""How long a call takes: the empirical distribution of its durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from harness.measure.percentiles import ecdf
from harness.reporting.charts.svg import INK, MARKS, drawing, few_ticks, legend, log_ticks, name_of, si_ticks, to_svg
from harness.reporting.text import and_list, quantity

_SKEWED = 4.0  # longest over shortest duration shown from which a linear axis hides the body
_LEVELS = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


@dataclass(frozen=True)
class Distribution:
    """Durations of one series and the percentiles its record gives for them.

    Attributes:
        name: what was called, such as the backend.
        durations_s: every sample after warm-up, any order.
        percentiles: share in (0, 1) -> seconds, as recorded; empty where they are not estimable.
    """

    name: str
    durations_s: ArrayLike
    percentiles: Mapping[float, float]


def distribution_chart(key: str, distributions: Sequence[Distribution]) -> str:
    """Share of calls that took at most so long, with the recorded percentiles marked.

    The share is on a logit scale, so that p99 and beyond are as legible as the median; time is logarithmic when skewed.
    """
    with drawing() as (figure, axes):
        shortest, longest, most = np.inf, 0.0, 2
        for mark, shown in zip(MARKS, distributions, strict=False):
            x, y = ecdf(shown.durations_s)
            inside = (y > 0) & (y < 1)
            shortest, longest = min(shortest, float(x[0])), max(longest, float(x[-1]))
            most = max(most, np.size(shown.durations_s))
            axes.plot(
                x[inside], y[inside], color=mark.colour, linestyle=mark.dashes, drawstyle="steps-post",
                label=name_of(shown.name),
            )  # fmt: skip
            for share, seconds in sorted(shown.percentiles.items()):
                axes.plot([seconds], [share], mark.shape, color=mark.colour, markeredgecolor=INK, markeredgewidth=0.6)
                longest = max(longest, seconds)
        level_axis(axes, most)
        axes.set_xlabel("time per call")
        time_axis(axes, shortest, longest)
        if len(distributions) > 1:
            legend(axes)
        return to_svg(
            figure,
            key=key,
            title="Distribution of inference time",
            description=" ".join(_sentence(shown) for shown in distributions),
        )


def time_axis(axes: Any, shortest: float, longest: float) -> None:
    """Seconds along the horizontal axis, logarithmic where they span much."""
    if longest > _SKEWED * shortest > 0:
        axes.set_xscale("log")
        log_ticks(axes.xaxis, shortest, longest)
    else:
        few_ticks(axes.xaxis)
    si_ticks(axes.xaxis, "s")


def level_axis(axes: Any, samples: int) -> None:
    """Levels of a share of ``samples``, on a logit scale."""
    from matplotlib.ticker import NullLocator

    shown = [level for level in _LEVELS if min(level, 1 - level) * samples >= 1] or [0.5]
    axes.set_yscale("logit")
    axes.set_ylim(shown[0] / 2, 1 - (1 - shown[-1]) / 2)
    axes.set_yticks(shown, [f"p{100 * level:g}" for level in shown])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("share of calls")


def _sentence(shown: Distribution) -> str:
    marks = [f"p{100 * share:g} {quantity(seconds, 's')}" for share, seconds in sorted(shown.percentiles.items())]
    return f"{shown.name}: {and_list(marks) if marks else 'no percentile can be given'}."
