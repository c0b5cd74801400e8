"""The grammar of the ``encoding`` option: what happens to categories, whether logarithms, which scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Categories = Literal["onehot", "ordinal", "codes"]
Scaling = Literal["none", "standard", "minmax", "quantile", "unit", "signed"]


@dataclass(frozen=True)
class Encoding:
    """A parsed encoding.

    One-hot indicators are never scaled: they are 0 or 1 already. Ordinal codes are scaled like numbers; ``codes`` stay
    whole numbers, for detectors that embed categories. The logarithm
    is sign(x)·log(1 + |x|), applied to numbers only, before scaling. ``unit`` and ``signed`` are for 8-bit pixels: they
    map 0…255 to [0, 1] and [-1, 1] and have nothing to fit.
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
