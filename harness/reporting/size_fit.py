"""What ``lparbench size --fit`` prints: a law fitted to a table, and what may be concluded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from harness.reporting.console import add_columns, bare_table, print_table, say, standard_output
from harness.reporting.text import number
from harness.sizing.table import Inverse, TableFit
from harness.sizing.usl import Parameter
from harness.wording import plural

if TYPE_CHECKING:
    from rich.console import Console


def print_fit(fit: TableFit, console: Console | None = None) -> None:
    """Print to stdout."""
    out = console or standard_output()
    span = f"{fit.least_cores:g} to {fit.most_cores:g} cores"
    say(out, f"{fit.points} points, {span}, {fit.core_counts} different numbers of cores", style="bold")
    table = bare_table()
    heads = ("Parameter", "Relative errors", "Least squares", "95 % interval")
    add_columns(table, heads, right=set(heads[1:]))
    rows = (
        ("alpha, contention", fit.law.alpha, fit.squares.alpha),
        ("beta, coherency", fit.law.beta, fit.squares.beta),
        ("gamma, rate of one core", fit.law.gamma, fit.squares.gamma),
    )
    for name, value, squares in rows:
        table.add_row(*(Text(cell) for cell in (name, _plain(value), _plain(squares.value), _limits(squares))))
    print_table(out, table)
    say(out, f"Largest distance of a point from the law: {number(100 * fit.worst_error)} %", style="dim")
    out.print()
    for text in fit.contradictions:
        say(out, f"▲ {text}.", style="yellow")
    for at, sentence in enumerate(fit.conclusions):
        say(out, f"{'' if at else '● '}{sentence}", style=None if at else "bold")
    if fit.inverse is not None:
        say(out, _answer(fit.inverse), style="bold")


def _answer(inverse: Inverse) -> str:
    rate = f"{inverse.rate:,.6g}"
    if inverse.cores is None or inverse.whole is None or inverse.prediction is None:
        return f"✖ {rate} a second: refused: {inverse.why}."
    limits = inverse.prediction
    predicted = f"{number(limits.rate)} [{number(limits.low)}, {number(limits.high)}]"
    return (
        f"● {plural(inverse.whole, 'core')} {'gives' if inverse.whole == 1 else 'give'} {rate} a second: {predicted}, "
        f"{inverse.basis}; by the law {number(inverse.cores)} cores would."
    )


def _limits(parameter: Parameter) -> str:
    return f"[{_plain(parameter.low)}, {_plain(parameter.high)}]"


def _plain(value: float) -> str:
    return number(value, 4) if value == 0 or abs(value) >= 1e-4 else f"{value:.2e}"
