"""``lparbench size``: how many cores, which SMT level and what entitlement serve a demand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json
from harness.errors import ExitCode, InputError


def size(
    rate: Annotated[
        str | None,
        typer.Option(metavar="N/s", help="Demand: requests (or rows) per second, 20k/s, 100M/h.", show_default=False),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(
            "--fit",
            metavar="FILE.csv",
            help="Fit a table of cores and rates and say what may be concluded; nothing is measured.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[
        str, typer.Option(metavar="PERCENT", help="With which the capacity reaches the demand.")
    ] = "95",
    as_json: Json = False,
) -> None:
    """How many cores serve a demand, with an interval.

    Exit code 0: answered inside what was measured; 2: extrapolated, open or refused.

    Example: `lparbench size --fit scaling.csv --rate 20k/s`
    """
    from harness.cli.rates import per_second
    from harness.decode import encode
    from harness.reporting.size_fit import print_fit
    from harness.sizing.table import fit_table, read_table

    if fit is None:
        raise InputError("Which table?", remedy="Give one: lparbench size --fit scaling.csv")
    wanted = None if rate is None else per_second("--rate", rate)
    result = fit_table(read_table(fit), str(fit), rate=wanted, confidence=_confidence(confidence))
    if as_json:
        typer.echo(json.dumps(encode(result), indent=2))
    else:
        print_fit(result)
    raise typer.Exit(ExitCode.judged(failed=False, inconclusive=not result.conclusive))


def _confidence(text: str) -> float:
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
