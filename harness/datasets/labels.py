"""Which values of a label column are normal rows, which are anomalies, and which cannot be told.

Values are compared without blanks around them, quotation marks, a full stop at the end and capitals; numbers by value:
``1``, ``1.0`` and `` 1`` are one label, ``normal.`` and ``b'normal.'`` are another. Nothing is guessed that a reader of
the column could not tell: digits from 0 to 9, -1 beside 0 and 1, or "?" must be explained by the user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets.table import categorical, counted
from harness.errors import InputError, unknown
from harness.wording import plural

_NORMAL_WORDS = frozenset({"normal", "benign", "false", "no", "legitimate", "legit", "genuine", "inlier", "nominal",
                           "healthy", "negative", "background", "good", "ok"})  # fmt: skip
_UNCLEAR = frozenset({"?", "-", "nan", "na", "n/a", "null", "none", "unknown", "unk", "unlabeled", "unlabelled",
                      "undefined", "missing", "tbd", "todo", "#n/a", "total", "grand total", "subtotal", "sum",
                      "average"})  # fmt: skip
_RULE = re.compile(r"[\W_]+")  # as ---, below the header of a table
_SHOWN = 8


@dataclass(frozen=True)
class Meaning:
    """What the user says of label values; ``None`` leaves it to the column."""

    normal: Sequence[str] | None = None
    anomalies: Sequence[str] | None = None
    unlabelled: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class Judged:
    """Labels of the rows that have one; ``kept`` says which those are."""

    kept: npt.NDArray[np.bool_]
    label: npt.NDArray[np.int8]  # of the kept rows; 1 = anomaly
    classes: pd.Categorical  # of the kept rows, each in the spelling that is most frequent
    notes: tuple[str, ...]


def canonical(value: str) -> str:
    """The form in which labels are compared."""
    text = value.strip()
    quoted = re.fullmatch(r"b?(['\"])(.*)\1", text, re.DOTALL)
    text = quoted.group(2).strip() if quoted else text
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        number = float(text)
        return str(int(number)) if number.is_integer() else repr(number)
    return text.rstrip(".").strip().casefold() or text


def judge(column: pd.Series[Any], path: str, place: Callable[[int], str], meaning: Meaning) -> Judged:
    """Tell normal from anomalous rows.

    Args:
        column: categories of texts, or numbers, under its name; missing where a row has no label.
        path: of the file, for messages.
        place: where a row stands.
        meaning: what the user says.

    Raises:
        InputError: values that cannot be told, rows without a label, or rows of one kind only.
    """
    codes, written = _distinct(column)
    keys = [canonical(value) for value in written]
    names = sorted(set(keys))
    of_key = np.append(np.searchsorted(names, keys) if names else np.zeros(0, np.int64), -1)[codes]
    counts = np.bincount(of_key[of_key >= 0], minlength=len(names))
    rows = {name: int(count) for name, count in zip(names, counts, strict=True) if count}
    where = f"{path}: column {column.name!r}"
    column_of = _Column(where, str(column.name), place, of_key, names, rows)
    unlabelled = column_of.stated("unlabelled", meaning.unlabelled)
    missing = of_key < 0
    if missing.any() and "" not in unlabelled:
        raise InputError(
            f"{path} {place(int(missing.argmax()))}: no label in {column.name!r}; "
            f"none in {int(missing.sum()):,} of {plural(len(missing), 'row')}.",
            remedy='--unlabelled "" leaves them out (unlabelled = [""] in a workload file).',
        )
    normal = column_of.normal(meaning, unlabelled)
    anomalies = frozenset(rows) - normal - unlabelled
    if not anomalies or not normal:
        likely = [name for name in sorted(rows) if _NORMAL_WORDS & set(re.findall(r"\w+", name))] if not normal else []
        remedy = f"Is it {likely[0]!r}? " if len(likely) == 1 else ""
        raise InputError(
            f"{where} holds no {'normal' if not normal else 'anomalous'} rows: {_listed(sorted(rows))}.",
            remedy=f'{remedy}--normal VALUE[,…] lists the values that stand for normal rows (normal = ["VALUE"] in a '
            "workload file).",
        )
    named = np.array([name in normal or name in anomalies for name in names] + [False])
    kept = named[of_key]
    key = of_key[kept]
    label = np.array([name in anomalies for name in names])[key].astype(np.int8)
    spelling = _spellings(codes, written, keys)
    notes = []
    if not kept.all():
        values = ", ".join(repr(name) for name in sorted(unlabelled))
        notes.append(f"{counted(int((~kept).sum()), 'row')} left out, unlabelled ({values}).")
    return Judged(kept, label, categorical(key, [spelling[name] for name in names]), tuple(notes))


@dataclass(frozen=True)
class _Column:
    where: str
    name: str
    place: Callable[[int], str]
    of_row: npt.NDArray[np.int64]
    names: Sequence[str]  # canonical forms, by code
    rows: Mapping[str, int]

    def stated(self, option: str, values: Sequence[str] | None) -> frozenset[str]:
        """The canonical forms that an option names; one at least must occur."""
        keys = [canonical(value) for value in values or ()]
        present = frozenset(key for key in keys if key in self.rows or not key)
        if keys and not present:
            raise unknown("label", str((values or ("",))[0]), self.rows, where=f"{self.where}: option {option!r}")
        return present

    def normal(self, meaning: Meaning, unlabelled: frozenset[str]) -> frozenset[str]:
        """The forms that stand for normal rows."""
        anomalies = self.stated("anomalies", meaning.anomalies)
        candidates = frozenset(self.rows) - unlabelled - anomalies
        if meaning.normal is not None:
            normal = self.stated("normal", meaning.normal)
        else:
            normal = candidates & _NORMAL_WORDS
            if "0" in candidates and normal:
                raise self._unclear("0", f"stands with {min(normal)!r}, and both may mean a normal row")
            normal |= candidates & {"0"}
            if not normal and len(candidates) == 2:  # "fraud" and "not fraud"
                normal = frozenset(name for name in candidates if _denied(name) in candidates)
            if not normal and anomalies and len(candidates) == 1:
                normal = candidates
        rest = candidates - normal
        if not normal or (len(rest) == 1 and meaning.normal is not None and not rest & _UNCLEAR):
            return normal
        for name in sorted(rest):
            if name in (*_UNCLEAR, self.name.casefold()) or _RULE.fullmatch(name):
                raise self._unclear(name, "says neither normal nor anomalous")
            if name == "-1":
                raise self._unclear(name, "may stand for rows without a label or for anomalies")
            if meaning.normal is None and name != "1" and _is_number(name):
                raise self._unclear(name, "is a number other than 0 and 1, so 0 need not mean normal")
        return normal

    def _unclear(self, name: str, reason: str) -> InputError:
        row = int((self.of_row == self.names.index(name)).argmax())
        rows = counted(self.rows[name], "row")
        return InputError(
            f"{self.where} holds {name!r} ({rows}, first on {self.place(row)}), which {reason}. "
            f"Its values: {_listed([f'{key} ({count:,})' for key, count in self.rows.items()])}.",
            remedy="Say what the values mean: --normal, --anomalies, --unlabelled VALUE[,…] "
            '(normal, anomalies, unlabelled = ["VALUE"] in a workload file).',
        )


def mapping(normal: Mapping[str, int], anomalies: Mapping[str, int]) -> str:
    """One line: ``normal = 0 (12,043 rows), anomalies = 1, attack (201)``."""
    parts = []
    for kind, unit, classes in (("normal", " rows", normal), ("anomalies", "", anomalies)):
        names = sorted(classes, key=lambda name: (-classes[name], name))
        parts.append(f"{kind} = {_listed(names)} ({sum(classes.values()):,}{unit})")
    return ", ".join(parts)


def _distinct(column: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Codes of the rows, -1 where missing, and the texts."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64), [str(value) for value in column.cat.categories]
    codes, values = pd.factorize(column.to_numpy())
    return codes.astype(np.int64), [repr(float(value)) for value in values]


def _spellings(codes: npt.NDArray[np.int64], written: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    counts = np.bincount(codes[codes >= 0], minlength=len(written))
    spelling: dict[str, str] = {}
    for position in np.argsort(counts, kind="stable"):  # the most frequent comes last and stays
        key = keys[position]
        spelling[key] = key if _is_number(key) else written[position].strip()
    return spelling


def _denied(name: str) -> str:
    """What a label says that a row is not; empty where it says no such thing."""
    match = re.fullmatch(r"(not|no|non)[\s_-]*(an?\s)?(\w+)", name)
    return match[3] if match else ""


def _is_number(key: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", key) is not None


def _listed(names: Sequence[str]) -> str:
    shown = [name or "''" for name in names[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
