"""Anyone's own table of cores and rates: read, fitted, and what may be concluded from it."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harness.errors import InputError
from harness.measure.stats import t_quantile
from harness.parsing import read_text
from harness.sizing.usl import LEAST_POINTS, Array, SquaresFit, Usl, fit, fit_squares
from harness.wording import counted, plural

_CORES = ("cores", "n", "cpus", "processors", "threads", "users", "load", "workers", "concurrency")
_RATES = ("rate", "x", "throughput", "rows_per_s", "requests_per_s", "capacity", "tps", "rps", "qps")
_FARTHEST = 2.0  # times the largest number of cores measured: beyond, published data are wrong both ways
_CONTRADICTED = 0.99  # confidence with which a point contradicts the law
_MOST_BYTES = 1 << 26
_LEAST = 1e-30  # of a number, and its inverse the largest: squares of them are numbers too


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    cores: float
    rate: float


@dataclass(frozen=True)
class Prediction:
    """Rate at a number of cores with the 95 % limits of one more measurement there."""

    cores: float
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Inverse:
    """Cores for a rate; None where none do, or where the table does not say.

    Attributes:
        cores: where the law has the rate.
        whole: the fewest whole cores whose lower limit reaches it.
        basis: ``refused`` where the answer lies beyond twice the largest number of cores measured.
    """

    rate: float
    cores: float | None
    whole: int | None
    basis: Literal["interpolated", "extrapolated", "refused"]
    prediction: Prediction | None
    why: str | None = None


@dataclass(frozen=True)
class TableFit:
    """What a table says of a scaling law.

    Attributes:
        law: of relative errors; predictions are made with it.
        squares: of absolute errors, as published fits are made.
        contradictions: points that the law does not explain.
        conclusions: what may be concluded, a sentence each.
    """

    points: int
    core_counts: int
    least_cores: float
    most_cores: float
    law: Usl
    squares: SquaresFit
    peak_cores: float | None
    worst_error: float
    contradictions: tuple[str, ...]
    conclusions: tuple[str, ...]
    inverse: Inverse | None = None

    @property
    def conclusive(self) -> bool:
        """Whether the law holds, and what was asked lies inside what was measured."""
        return not self.contradictions and (self.inverse is None or self.inverse.basis == "interpolated")


def read_table(path: Path) -> tuple[Row, ...]:
    """Cores and rates of a CSV file: the columns by name, or the only two there are.

    Raises:
        InputError: the file cannot be read, or is no such table; names the line.
    """
    text = read_text(path, _MOST_BYTES).removeprefix("\ufeff")
    if "\0" in text:
        raise InputError(f"{path}: not a text file.", remedy="Give a CSV file with columns cores and rate.")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    separator = max(",;\t", key=first.count) if any(mark in first for mark in ",;\t") else " "
    reader = csv.reader(text.splitlines(), delimiter=separator, skipinitialspace=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:  # a cell that is longer than any number
        raise InputError(f"{path}: line {reader.line_num}: {error}.", remedy="Give columns cores and rate.") from None
    lines = [(number, cells) for number, cells in lines if any(cells) and not cells[0].startswith("#")]
    if not lines:
        raise InputError(
            f"{path}: no line with cores and rate.", remedy="Expected CSV: cores,rate and a line per point."
        )
    columns, body = _columns(path, lines)
    return tuple(_row(path, number, cells, columns) for number, cells in body)


def _columns(
    path: Path, lines: Sequence[tuple[int, list[str]]]
) -> tuple[tuple[int, int], Sequence[tuple[int, list[str]]]]:
    """Which columns hold cores and rate, and the lines that are data."""
    number, head = lines[0]
    names = [cell.strip().lower().replace(" ", "_") for cell in head]
    if all(_number(cell) is not None for cell in head):
        if len(head) != 2:
            raise InputError(
                f"{path}: line {number}: {plural(len(head), 'column')} without names.",
                remedy="Expected two, cores and rate, or a first line that names them.",
            )
        return (0, 1), lines
    chosen = []
    for what, known in (("cores", _CORES), ("rate", _RATES)):
        at = next((names.index(name) for name in known if name in names), None)
        if at is None:
            raise InputError(
                f"{path}: line {number}: no column of {what}; there is {', '.join(head)}.",
                remedy=f"Name it: {known[0]}. Also known: {', '.join(known[1:])}.",
            )
        chosen.append(at)
    if len(lines) == 1:
        raise InputError(f"{path}: nothing below the names of the columns.", remedy="Add a line per measurement.")
    return (chosen[0], chosen[1]), lines[1:]


def _row(path: Path, number: int, cells: Sequence[str], columns: tuple[int, int]) -> Row:
    values = []
    for at, what in zip(columns, ("cores", "rate"), strict=True):
        text = cells[at] if at < len(cells) else ""
        value = _number(text)
        if value is None or not _LEAST <= value <= 1 / _LEAST:
            raise InputError(
                f"{path}: line {number}: {what} is {text!r}.",
                remedy="Expected a positive number, with a decimal point.",
            )
        values.append(value)
    return Row(*values)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def fit_table(rows: Sequence[Row], where: str, *, rate: float | None = None, confidence: float = 0.95) -> TableFit:
    """Fit the law to a table and say what may be concluded; with ``rate``, also the cores that it takes.

    Args:
        where: names the table in errors.

    Raises:
        InputError: the table has too few points for three parameters, or no rate of one core.
    """
    cores = np.array([row.cores for row in rows])
    rates = np.array([row.rate for row in rows])
    counts = sorted(set(cores.tolist()))
    if len(counts) < LEAST_POINTS:
        there = ", ".join(f"{count:g}" for count in counts)
        raise InputError(
            f"{where}: {len(counts)} different numbers of cores ({there}); the law has 3 parameters and needs "
            f"{LEAST_POINTS}.",
            remedy="Measure more of them, such as 1, 2, 4 and 8.",
        )
    try:
        law, squares = fit(cores, rates), fit_squares(cores, rates, confidence=confidence)
    except ValueError as error:
        raise InputError(
            f"{where}: {error}.", remedy="Check the columns: cores in use, and the rate of all of them together."
        ) from None
    errors = np.log(rates / law.rate(cores))
    contradictions = _contradictions(cores, errors)
    inverse = None if rate is None else _inverse(law, rows, rate, confidence)
    return TableFit(
        points=len(rows),
        core_counts=len(counts),
        least_cores=counts[0],
        most_cores=counts[-1],
        law=law,
        squares=squares,
        peak_cores=law.peak_cores,
        worst_error=float(np.expm1(np.abs(errors).max())),
        contradictions=contradictions,
        conclusions=_conclusions(law, squares, counts, contradictions),
        inverse=inverse,
    )


def predict(law: Usl, rows: Sequence[Row], cores: float, *, confidence: float = 0.95) -> Prediction:
    """Rate at ``cores`` with limits that widen with the distance from the points (first order, on logarithms)."""
    n = np.array([row.cores for row in rows])
    errors = np.log(np.array([row.rate for row in rows]) / law.rate(n))
    degrees = max(1, len(n) - 3)
    variance = float(np.square(errors).sum()) / degrees
    gradient = _gradient(law, n)
    at = _gradient(law, np.array([cores]))[0]
    spread = float(at @ np.linalg.pinv(gradient.T @ gradient) @ at)
    half = t_quantile(confidence, degrees) * math.sqrt(variance * (1 + max(0.0, spread)))
    value = float(law.rate(cores))
    return Prediction(cores, value, value * math.exp(-half), value * math.exp(half))


def _gradient(law: Usl, n: Array) -> Array:
    """Derivatives of log X by alpha, beta and log gamma, shape (k, 3)."""
    divisor = 1 + law.alpha * (n - 1) + law.beta * n * (n - 1)
    return np.column_stack([-(n - 1) / divisor, -n * (n - 1) / divisor, np.ones_like(n)])


def _contradictions(cores: Array, errors: Array) -> tuple[str, ...]:
    """Core counts whose repetitions agree with each other and not with the law."""
    groups = {count: errors[cores == count] for count in sorted(set(cores.tolist()))}
    degrees = sum(len(group) - 1 for group in groups.values())
    if degrees < 1:
        return ()  # without repetitions nothing tells noise from lack of fit
    pure = math.sqrt(sum(float(np.square(group - group.mean()).sum()) for group in groups.values()) / degrees)
    level = 1 - (1 - _CONTRADICTED) / len(groups)
    return tuple(
        f"{counted(count, 'core')}: {100 * math.expm1(float(group.mean())):+.1f} % off the law, where repetitions "
        f"differ by {100 * pure:.2g} %"
        for count, group in groups.items()
        if abs(float(group.mean())) > max(0.01, t_quantile(level, degrees) * pure / math.sqrt(len(group)))
    )


def _inverse(law: Usl, rows: Sequence[Row], rate: float, confidence: float) -> Inverse:
    most = max(row.cores for row in rows)
    cores = law.cores_for(rate)
    if cores is None:
        if law.peak_cores is not None and law.peak_cores <= most:
            why = f"the law peaks at {law.peak_cores:.1f} cores with {law.highest_rate:,.0f}: no number of cores does"
        else:
            why = f"the law never reaches it, but it was measured up to {most:g} cores only"
        return Inverse(rate, None, None, "refused", None, why)
    least, limit = max(1, math.ceil(cores - 1e-9)), math.floor(_FARTHEST * most)
    predictions = [predict(law, rows, float(count), confidence=confidence) for count in range(least, limit + 1)]
    certain = next((each for each in predictions if each.low >= rate), None)
    if certain is None:
        why = f"no number up to {limit}, twice the largest measured, reaches it with its lower limit"
        return Inverse(rate, None, None, "refused", None, why)
    whole = round(certain.cores)
    return Inverse(rate, cores, whole, "interpolated" if whole <= most else "extrapolated", certain)


def _conclusions(
    law: Usl, squares: SquaresFit, counts: Sequence[float], contradictions: Sequence[str]
) -> tuple[str, ...]:
    if contradictions:
        return (
            "Not a curve of this law: points differ from it by more than their repetitions do.",
            "Use the measured points only; nothing beyond them may be concluded.",
        )
    sentences = []
    for name, what, limits in (
        ("alpha", "contention", squares.alpha),
        ("beta", "coherency", squares.beta),
    ):
        if limits.low <= 0 <= limits.high:
            sentences.append(f"{what.capitalize()} ({name}) is not established: its interval contains 0.")
        else:
            sentences.append(f"{what.capitalize()} ({name}) is established: its interval does not contain 0.")
    most, peak = counts[-1], law.peak_cores
    if peak is None:
        sentences.append(f"No peak shows up to {most:g} cores; that does not mean that there is none beyond.")
    elif peak <= most:
        sentences.append(f"The rate peaks at about {peak:.1f} cores, inside what was measured.")
    elif peak <= _FARTHEST * most:
        sentences.append(f"A peak at about {peak:.1f} cores is extrapolated: measured up to {most:g}.")
    else:
        sentences.append(f"No peak within {_FARTHEST * most:g} cores, twice the largest number measured.")
    sentences.append(f"Predictions hold up to {most:g} cores; up to {_FARTHEST * most:g} they are extrapolated.")
    return tuple(sentences)
