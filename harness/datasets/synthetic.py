"""The generative process of the tabular stand-ins: a mixture of Gaussian copulas over typed columns.

It has the schema of the published files and a plausible shape (skewed counts, rates in [0, 1], rare categories,
correlated columns), and no parameter of it was chosen by looking at a detector.

1. Each field has a distribution drawn from a prior that depends on its kind alone (see ``_draw``).
2. Each class consists of modes. A mode of normal rows redraws a quarter of the fields, a mode of an anomaly class takes
   over a normal mode and redraws two fifths of them.
3. Within a mode, standard normals z are correlated through four common factors that explain half of their variance;
   each field is the quantile function of its distribution at z.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets.table import Table, categorical

Kind = Literal["category", "flag", "count", "rate", "real"]
Doubles = npt.NDArray[np.float64]

NOTE = "Synthetic: rows of the same schema drawn from a mixture of Gaussian copulas; see harness/datasets/synthetic.py."

_NORMAL_MODES = 6
_ANOMALY_MODES = 2
_REDRAWN_NORMAL = 0.25
_REDRAWN_ANOMALY = 0.40
_FACTORS = 4
_COMMON_VARIANCE = 0.5


@dataclass(frozen=True)
class Field:
    """A column to be made: its name, what kind of value it holds, and, for a category, which values."""

    name: str
    kind: Kind
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Mode:
    parameters: tuple[Doubles, ...]  # one per field
    loadings: Doubles  # (fields, factors), rows of unit length


class CopulaMixture:
    """The process, its structure drawn from ``seed``; rows of every class can then be drawn from it."""

    def __init__(self, fields: Sequence[Field], anomaly_classes: Sequence[str], *, seed: int, normal: str) -> None:
        self._fields = tuple(fields)
        self._normal = normal
        self._rng = np.random.default_rng(seed)
        base = tuple(_draw(field, self._rng) for field in self._fields)
        normal_modes = [self._mode(base, _REDRAWN_NORMAL) for _ in range(_NORMAL_MODES)]
        self._modes = {normal: normal_modes}
        for name in anomaly_classes:
            origins = self._rng.integers(len(normal_modes), size=_ANOMALY_MODES)
            self._modes[name] = [self._mode(normal_modes[origin].parameters, _REDRAWN_ANOMALY) for origin in origins]

    def table(self, counts: Mapping[str, int]) -> Table:
        """Rows of the classes named in ``counts``, in random order; every class but the normal one is anomalous."""
        names = sorted(counts)
        of_row = self._rng.permutation(np.repeat(np.arange(len(names)), [counts[name] for name in names]))
        columns = [np.zeros(len(of_row)) for _ in self._fields]
        for position, name in enumerate(names):
            rows = np.flatnonzero(of_row == position)
            modes = self._modes[name]
            of_mode = self._rng.choice(len(modes), size=len(rows), p=self._rng.dirichlet(np.ones(len(modes))))
            for number, mode in enumerate(modes):
                chosen = rows[of_mode == number]
                for column, values in zip(columns, self._sample(mode, len(chosen)), strict=True):
                    column[chosen] = values
        frame = pd.DataFrame(
            {
                field.name: categorical(column.astype(np.int64), field.values) if field.kind == "category" else column
                for field, column in zip(self._fields, columns, strict=True)
            },
            copy=False,
        )
        label = (of_row != (names.index(self._normal) if self._normal in names else -1)).astype(np.int8)
        return Table(frame, label, categorical(of_row, names))

    def _mode(self, parameters: tuple[Doubles, ...], redrawn: float) -> _Mode:
        changed = self._rng.random(len(self._fields)) < redrawn
        drawn = tuple(
            _draw(field, self._rng) if change else kept
            for field, kept, change in zip(self._fields, parameters, changed, strict=True)
        )
        loadings = self._rng.standard_normal((len(self._fields), _FACTORS))
        return _Mode(drawn, loadings / np.linalg.norm(loadings, axis=1, keepdims=True))

    def _sample(self, mode: _Mode, rows: int) -> list[Doubles]:
        own = self._rng.standard_normal((len(self._fields), rows))
        common = mode.loadings @ self._rng.standard_normal((_FACTORS, rows))
        z = np.sqrt(1 - _COMMON_VARIANCE) * own + np.sqrt(_COMMON_VARIANCE) * common
        return [
            _quantile(field, parameters, row)
            for field, parameters, row in zip(self._fields, mode.parameters, z, strict=True)
        ]


def fields(text: str, values: Mapping[str, tuple[str, ...]]) -> tuple[Field, ...]:
    """Fields from ``"duration:count service:category"``; ``values`` holds those of the categories."""
    pairs = (pair.split(":") for pair in text.split())
    return tuple(Field(name, cast(Kind, kind), values.get(name, ())) for name, kind in pairs)


def counts(text: str) -> dict[str, int]:
    """Rows per class from ``"normal:67343 neptune:41214"``."""
    return {name: int(rows) for name, rows in (pair.split(":") for pair in text.split())}


def thinned(counts: Mapping[str, int], rows: int | None, *, normal: str) -> Mapping[str, int]:
    """So many rows in all where there are more: normal ones keep their share, and there is one of each other class."""
    whole = sum(counts.values())
    if rows is None or rows >= whole:
        return counts
    fewer = {name: max(1, count * rows // whole) for name, count in counts.items()}
    fewer[normal] = max(1, round(counts[normal] * rows / whole))
    largest = max(fewer.keys() - {normal}, key=counts.__getitem__)
    fewer[largest] = max(1, fewer[largest] + rows - sum(fewer.values()))
    return fewer


def _draw(field: Field, rng: np.random.Generator) -> Doubles:
    match field.kind:
        case "category":
            return np.cumsum(rng.dirichlet(np.full(len(field.values), 0.3)))  # few values hold most of the rows
        case "flag":
            return np.array([rng.beta(0.5, 4.0)])
        case "count":  # share of zeros, mean and standard deviation of the logarithm
            return np.array([rng.uniform(0.0, 0.8), rng.uniform(0.0, 6.0), rng.uniform(0.5, 1.5)])
        case "rate":  # mean and standard deviation of the logit
            return np.array([rng.normal(-1.0, 2.0), rng.uniform(0.5, 2.0)])
        case "real":
            return np.array([rng.normal(0.0, 1.0), rng.uniform(0.3, 1.5)])


def _quantile(field: Field, parameters: Doubles, z: Doubles) -> Doubles:
    from scipy.special import ndtr, ndtri

    values: Doubles
    match field.kind:
        case "category":
            codes = np.searchsorted(parameters, ndtr(z), side="right")
            values = np.minimum(codes, len(field.values) - 1).astype(np.float64)
        case "flag":
            values = (z > ndtri(1.0 - parameters[0])).astype(np.float64)
        case "count":
            zeros, mean, spread = parameters
            values = np.where(z < ndtri(zeros), 0.0, np.floor(np.exp(mean + spread * np.clip(z, -6.0, 6.0))))
        case "rate":
            values = np.round(1.0 / (1.0 + np.exp(-(parameters[0] + parameters[1] * z))), 2)
        case "real":
            values = parameters[0] + parameters[1] * z
    return values
