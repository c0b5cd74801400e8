"""A load test: the distribution of its latency, and its rate over time."""

from __future__ import annotations

from collections.abc import Mapping

from harness.record.load_model import LatencyCurve, LoadTimeline
from harness.reporting.charts.distribution import level_axis, time_axis
from harness.reporting.charts.svg import (
    INK,
    MARKS,
    WIDTH,
    drawing,
    few_ticks,
    legend,
    si_ticks,
    to_svg,
)


def latency_curve_chart(
    key: str, curve: LatencyCurve, requests: int, percentiles: Mapping[float, float], bound_s: float | None,
    description: str, *, width: int = WIDTH,
) -> str:  # fmt: skip
    """Share of all requests that were answered within a time, on a logit scale, with percentiles and bound.

    Args:
        key: unique in the page.
        curve: that the record has.
        requests: that were scheduled.
        percentiles: share in (0, 1) -> seconds.
        bound_s: on the 99th percentile.
        description: the text alternative.
        width: CSS pixels.
    """
    with drawing(width=width) as (figure, axes):
        inside = [
            (second, share) for second, share in zip(curve.seconds, curve.shares, strict=True) if 0 < share < 1
        ] or [(1e-3, 0.5)] * (not curve.seconds)
        seconds, shares = [each for each, _ in inside], [each for _, each in inside]
        mark = MARKS[0]
        if curve.seconds:
            rise = [0.5 / max(2, requests)] * bool(seconds)  # all that took as little as the first answer
            axes.plot([*seconds[:1], *seconds], [*rise, *shares], color=mark.colour, drawstyle="steps-post")
        for share, second in percentiles.items():
            axes.plot([second], [share], mark.shape, color=mark.colour, markeredgecolor=INK, markeredgewidth=0.6)
        values = [*seconds, *percentiles.values(), *([] if bound_s is None else [bound_s])] or [1e-3]
        if bound_s is not None:
            axes.axvline(bound_s, color=INK, linewidth=1.2, linestyle=(0, (6, 3)))
        level_axis(axes, max(2, requests))
        axes.set_ylabel("share of requests")
        axes.set_xlabel("latency" if bound_s is None else "latency, dashed: bound on p99")
        time_axis(axes, min(values), max(values))
        return to_svg(figure, key=key, title="Distribution of latency", description=description)


def rate_chart(key: str, timeline: LoadTimeline, *, width: int = WIDTH) -> str:
    """Requests due, answered and failed per second over the trial."""
    whole = max(1, min(len(timeline.due), int(timeline.wall_s / timeline.step_s + 1e-9)))  # a part of a step is none
    with drawing(width=width) as (figure, axes):
        edges = [at * timeline.step_s for at in range(whole + 1)]
        for mark, (name, counts) in zip(
            MARKS, (("due", timeline.due), ("answered", timeline.answered), ("failed", timeline.failed)), strict=False
        ):
            if name == "failed" and not any(counts):
                continue
            rates = [each / timeline.step_s for each in counts[:whole]]
            axes.stairs(rates, edges, baseline=None, color=mark.colour, linestyle=mark.dashes, label=name)
        axes.set_ylim(bottom=0)
        few_ticks(axes.xaxis)
        few_ticks(axes.yaxis)
        si_ticks(axes.xaxis, "s")
        si_ticks(axes.yaxis, "req/s")
        axes.set_ylabel("req/s")
        axes.set_xlabel("time since the start")
        legend(axes, columns=3)
        description = (
            f"{sum(timeline.due)} requests were due, {sum(timeline.answered)} answered and {sum(timeline.failed)} "
            f"failed, in steps of {timeline.step_s:g} s."
        )
        return to_svg(figure, key=key, title="Rate over time", description=description)
