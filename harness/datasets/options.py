"""Options of a data set, ``[dataset_options]`` of a workload file, checked against what the data set understands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from harness.errors import InputError, unknown

Categories = Literal["onehot", "ordinal", "codes"]
Scaling = Literal["none", "standard", "minmax", "quantile", "unit", "signed"]


@dataclass(frozen=True)
class Encoding:
    """A parsed encoding.

    One-hot indicators are never scaled: they are 0 or 1 already. Ordinal codes are scaled like numbers; ``codes`` stay
    whole numbers, for detectors that embed categories. The logarithm is sign(x)·log(1 + |x|), applied to numbers only,
    before scaling. ``unit`` and ``signed`` are for 8-bit pixels: they map 0…255 to [0, 1] and [-1, 1] and have nothing
    to fit.
    """

    categories: Categories
    log: bool
    scaling: Scaling


def parse_encoding(text: str) -> Encoding | None:
    """Parse ``[onehot|ordinal|codes][-log][-standard|-minmax|-quantile]``, ``unit``, ``signed`` or ``none``.

    Returns ``None`` when it is none of them.

    Categories default to one-hot, so ``minmax`` on an all-numeric table needs no prefix.
    """
    parts = text.split("-")
    match parts:
        case [("none" | "unit" | "signed") as alone]:
            return Encoding("onehot", log=False, scaling=alone)
    categories: Categories = "onehot"
    match parts[0]:
        case "onehot" | "ordinal" | "codes" as chosen:
            categories, parts = chosen, parts[1:]
    log = parts[:1] == ["log"]
    if log:
        parts = parts[1:]
    if not parts:
        return Encoding(categories, log, "none")
    match parts:
        case [("standard" | "minmax" | "quantile") as scaling]:
            return Encoding(categories, log, scaling)
    return None


@dataclass(frozen=True)
class Option:
    """One key: its default, which values it takes, and how errors describe them."""

    default: Any
    expected: str
    accepts: Callable[[Any], bool]
    help: str


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def choice(*values: str, help: str) -> Option:
    """One of ``values``; the first is the default."""
    expected = " or ".join(f'"{value}"' for value in values)
    return Option(values[0], expected, lambda given: given in values, help)


def share(default: float, *, help: str) -> Option:
    """A share of rows in [0, 1)."""
    return Option(default, "a number in [0, 1)", lambda given: _is_number(given) and 0 <= given < 1, help)


def count(default: int | None, *, help: str) -> Option:
    """A whole number of at least 1; ``None`` as default means no limit."""
    return Option(default, "a whole number of at least 1", lambda given: _is_whole(given) and given >= 1, help)


def number(default: float | None, *, help: str) -> Option:
    """Any number."""
    return Option(default, "a number", _is_number, help)


def seed(default: int, *, help: str) -> Option:
    """A whole number of at least 0, as numpy's generators take it."""
    return Option(default, "a whole number of at least 0", lambda given: _is_whole(given) and given >= 0, help)


def names(*, help: str) -> Option:
    """A list of names; ``None`` as default means all."""
    return Option(None, "a list of names", _is_names, help)


def text(default: str | None, *, help: str) -> Option:
    """Any text."""
    return Option(default, "a text", lambda given: isinstance(given, str), help)


def column(*, help: str) -> Option:
    """The name of a column, or a number: its name where a file has none, counted from the end where negative."""
    return Option(None, "the name of a column", lambda given: isinstance(given, str) or _is_whole(given), help)


def character(*, help: str) -> Option:
    """One character; ``None`` as default means that it is found out."""
    return Option(None, "one character", lambda given: isinstance(given, str) and len(given) == 1, help)


def switch(default: bool | None = None, *, help: str) -> Option:
    """True or false; ``None`` as default means that it is found out."""
    return Option(default, "true or false", lambda given: isinstance(given, bool), help)


def encoding(default: str) -> Option:
    """How columns become numbers; the grammar is that of `parse_encoding`."""
    return Option(
        default,
        "none, unit, signed, or onehot, ordinal or codes with log, standard, minmax, quantile, as in "
        '"onehot-log-minmax"',
        lambda given: isinstance(given, str) and parse_encoding(given) is not None,
        "how columns become float32",
    )


COMMON: Mapping[str, Option] = MappingProxyType(
    {
        "encoding": encoding("onehot-standard"),
        "scaler_rows": choice("all", "normal", help="training rows on which scaling is fitted"),
        "train_rows": choice("all", "normal", help="training rows kept; validation and test keep both kinds"),
        "train_classes": names(help="anomaly classes kept in training and validation; normal rows always stay"),
        "test_classes": names(help="anomaly classes kept in the test split; normal rows always stay"),
        "drop": names(help="columns left out"),
        "form": text(None, help="which published form of the files, where several are here"),
        "deduplicate": choice("none", "train", help="whether repeated training rows are removed"),
        "rows": count(None, help="at most this many training rows and as many test rows, drawn by class"),
        "validation": share(0.2, help="share of the training rows set aside as validation"),
        "seed": seed(42, help="seed of every random draw of rows"),
    }
)


def resolve(
    dataset: str, given: Mapping[str, Any], allowed: Mapping[str, Option], presets: Mapping[str, Any]
) -> dict[str, Any]:
    """Values of all ``allowed`` options: as given, else the protocol's preset, else the default.

    Raises:
        InputError: an unknown key, or a value the key does not take.
    """
    for key, value in given.items():
        if key not in allowed:
            raise unknown("option", key, allowed, where=f"data set {dataset}")
        if not allowed[key].accepts(value):
            raise InputError(f"Option {key!r} of data set {dataset}: {allowed[key].expected} expected, not {value!r}.")
    return {key: given.get(key, presets.get(key, option.default)) for key, option in allowed.items()}
