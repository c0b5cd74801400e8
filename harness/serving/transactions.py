"""Raw card transactions of a request, checked: fields as the fraud document and the TabFormer files name them."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from math import isfinite
from typing import Any

from harness.datasets.card_rows import Transaction
from harness.serving.exchange import HttpError, to_json
from harness.serving.json_input import field_error

EXPECTED_COLUMNS = {
    "fraud": "Is Fraud?",
    "merchant_name": "Merchant Name",
    "merchant_city": "Merchant City",
    "chip": "Use Chip",
    "errors": "Errors?",
    "time": ["Year", "Month", "Day", "Time"],
    "amount": "Amount",
    "group_keys": ["User", "Card"],
}
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]?\d)", re.ASCII)
_AMOUNT = re.compile(r"(\$?[+-]?|[+-]\$)\d+(\.\d*)?", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_EPOCH = date(1970, 1, 1)
_DAY = 24 * 60
_MOST_KEYS = 8

Group = dict[str, "str | int"]


def transaction(record: Any, path: str, *, lenient_dates: bool = False) -> Transaction:
    """A record as a transaction; ``Merchant State`` and ``MCC`` may be left out.

    Args:
        record: of the request.
        path: its JSON path.
        lenient_dates: what is no date becomes 1970-01-01, as in the document's server.

    Raises:
        HttpError: a field is missing or is not what it should be.
    """
    if not isinstance(record, dict):
        raise field_error(path, "an object", record)
    return Transaction(
        _minute(record, path, lenient_dates),
        _amount(record, path),
        _text(record, "Merchant Name", path),
        _text(record, "Merchant City", path),
        _text(record, "Use Chip", path, null=True),
        _text(record, "Errors?", path, null=True),
        _text(record, "Merchant State", path, null=True, missing=True),
        _text(record, "MCC", path, null=True, missing=True),
    )


def group_keys(document: dict[str, Any]) -> tuple[str, ...]:
    """The columns that tell cards apart."""
    keys = document.get("group_keys")
    if not keys:  # the document's default, for null and an empty list too
        return ("User", "Card")
    if (
        not isinstance(keys, list)
        or len(keys) > _MOST_KEYS
        or not all(isinstance(key, str) for key in keys)
        or len(set(keys)) < len(keys)
    ):
        raise field_error("group_keys", f"a list of at most {_MOST_KEYS} different columns", keys)
    return tuple(keys)


def group_of(record: dict[str, Any], keys: tuple[str, ...], path: str) -> Group:
    """The card of a record, checked by `transaction`.

    Raises:
        HttpError: a column is missing, or holds neither a text nor a whole number.
    """
    group: Group = {}
    for key in keys:
        value = _given(record, key, path, "a text or a whole number")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise field_error(f"{path}.{key}", "a text or a whole number", value)
        group[key] = value
    return group


def key_of(group: Group) -> str:
    """A card's name; the number 7 and the text "7" are two."""
    return to_json(list(group.items())).decode()


def identity(record: dict[str, Any], name: str, path: str) -> str | int | None:
    """What tells a transaction from any other of its card; None where the record does not say."""
    value = record.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise field_error(f"{path}.{name}", "a text or a whole number", value)
    return value


def shown_time(minute: int) -> str:
    """As pandas writes it."""
    return (datetime(1970, 1, 1) + timedelta(minutes=minute)).isoformat(" ")


def _minute(record: dict[str, Any], path: str, lenient: bool) -> int:
    year, month, day = (_number(record, name, path) for name in ("Year", "Month", "Day"))
    text = _given(record, "Time", path, "a time such as 06:21")
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    try:
        if match is None:
            raise field_error(f"{path}.Time", "a time such as 06:21", text)
        try:
            days = (date(year, month, day) - _EPOCH).days
        except ValueError:
            raise HttpError(400, f"{path}: {year}-{month}-{day} is no date (Year, Month, Day)") from None
    except HttpError:
        if lenient:
            return 0
        raise
    return days * _DAY + int(match[1]) * 60 + int(match[2])


def _number(record: dict[str, Any], name: str, path: str) -> int:
    value = _given(record, name, path, "a whole number")
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise field_error(f"{path}.{name}", "a whole number", value)
    return value


def _amount(record: dict[str, Any], path: str) -> float:
    value = _given(record, "Amount", path, "an amount such as $12.34")
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        value = float(value.replace("$", "", 1))
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            return float(value)
    except OverflowError:
        value = str(value)
    raise field_error(f"{path}.Amount", "an amount such as $12.34", value)


def _text(record: dict[str, Any], name: str, path: str, *, null: bool = False, missing: bool = False) -> str:
    value = record.get(name) if missing else _given(record, name, path, "a text")
    if value is None and null:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise field_error(f"{path}.{name}", "a text", value)
    return str(value)


def _given(record: dict[str, Any], name: str, path: str, expected: str) -> Any:
    if name not in record:
        raise HttpError(400, f"{path}.{name} is missing; expected {expected}")
    return record[name]
