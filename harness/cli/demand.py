"""A demand as options: ``--rate 20k/s --p99 5ms --headroom 20%``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.durations import seconds as duration
from harness.cli.rates import per_second
from harness.cli.shares import share
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.record.size_model import SizeQuestion

DEMAND = "Demand"
_MOST_GROWTH = 10.0  # a demand that becomes eleven times what it is


def option_text(text: str, metavar: str, panel: str) -> typer.models.OptionInfo:
    """An option without a default; ``panel`` is the part of the help in which it stands."""
    option: typer.models.OptionInfo = typer.Option(
        metavar=metavar, help=text, rich_help_panel=panel, show_default=False
    )
    return option


Rate = Annotated[str | None, option_text("Requests (or rows) per second: 20k/s, 100M/h.", "N/s", DEMAND)]
Bound = Annotated[str | None, option_text("Bound on the latency; left out: throughput.", "TIME", DEMAND)]
Growth = Annotated[str | None, option_text("Added to the rate.", "SHARE", DEMAND)]
Headroom = Annotated[str | None, option_text("Added on top of growth.", "SHARE", DEMAND)]
Confidence = Annotated[
    str, typer.Option(metavar="PERCENT", help="That the capacity is enough.", rich_help_panel=DEMAND)
]
Spare = Annotated[int, typer.Option(min=0, help="Further partitions, should one fail.", rich_help_panel=DEMAND)]


def question_of(
    rate: str | None,
    p99: str | None,
    growth: str | None,
    headroom: str | None,
    confidence: float,
    spare: int,
    what_if: list[str] | None = None,
) -> SizeQuestion:
    """What is asked for; the first rate and bound of ``what_if`` where they are not given by themselves.

    Raises:
        InputError: there is no rate, or one of them cannot be read; names the option.
    """
    from harness.cli.what_if import first
    from harness.record.size_model import SizeQuestion

    rate, p99 = first(rate, "rate", what_if), first(p99, "p99", what_if)
    if rate is None:
        raise InputError("What is the demand?", remedy="Give --rate, and --p99 for latency: --rate 20k/s --p99 5ms")
    return SizeQuestion(
        rate=per_second("--rate", rate),
        p99_s=None if p99 is None else duration("--p99", p99),
        growth=0.0 if growth is None else share("--growth", growth, _MOST_GROWTH),
        headroom=0.0 if headroom is None else share("--headroom", headroom, _MOST_GROWTH),
        confidence=confidence,
        spare=spare,
    )


def confidence_of(text: str) -> float:
    """The share in ``95``, ``95%`` or ``0.95``.

    Raises:
        InputError: it is not between 50 and 100 %.
    """
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = 0.0
    value = value / 100 if value >= 1 else value
    if not 0.5 < value < 1:
        raise InputError(
            f"--confidence {text!r} is not between 50 and 100.", remedy="Expected a percentage such as 95."
        )
    return value
