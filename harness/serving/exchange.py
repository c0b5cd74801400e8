"""What passes between the front and the handlers: requests, replies, and rows that are scored before their reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

JSON = "application/json"
Rows = NDArray[np.float32]
Scores = NDArray[np.float32]
NO_CARD = -1
Checked = tuple[bytes, tuple[int, ...]]  # a raw row whose values fit: its numbers as float64, codes of its categories


class Request(NamedTuple):
    """One request, whole."""

    method: str
    path: str  # without the query
    headers: dict[str, str]  # names in lower case
    body: bytes
    keep_alive: bool


class Reply(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = ""  # of a refusal, where its status does not say


class Advances(Protocol):
    """Scores rows that follow those before them of their cards."""

    def score(self, rows: Rows, advances: Sequence[Advance], /) -> Scores:
        """As `Scoring.score`, of rows (n, d) in the order in which they were taken."""

    def release(self, card: int, /) -> None:
        """Forget a card."""


class Advance(NamedTuple):
    """How a row follows those before it of its card.

    Attributes:
        card: a number that no other card has ever had; `NO_CARD` for a window that is scored once more.
        number: of the row among those of its card, from 1.
        before: the rows (steps - 1, d) before it.
        by: what scores it.
    """

    card: int
    number: int
    before: Rows
    by: Advances


class Scoring(NamedTuple):
    """Rows to score and what makes the reply of their scores.

    Attributes:
        score: in place of the model's own; its result has a row per row, and that one in the last column.
        missing: which values of the raw rows were missing that these were made of (n, columns); None for none.
        admitted: the rows are among the waiting ones already.
        advance: of a single row that is scored by what its card has open, with a result as of ``score``.
    """

    rows: Rows | list[Checked]  # (n, d) or (n, steps, d); or raw ones, which are encoded with those of other requests
    finish: Callable[[Scores], Reply]
    score: Callable[[Rows], Scores] | None = None
    admitted: bool = False
    advance: Advance | None = None
    missing: NDArray[np.bool_] | None = None


class RowRoute(NamedTuple):
    """A route whose requests are a raw row each; those that come together are taken, scored and answered as one.

    Attributes:
        row: of a request's body; it raises `HttpError` for one that does not fit.
        bodies: of answers with status 200, one for each score; None where they differ from what all have in common.
        finish: the reply to a single row.
    """

    row: Callable[[bytes], Checked]
    bodies: Callable[[Scores], list[bytes] | None]
    finish: Callable[[Scores], Reply]


Done = Callable[[Reply], None]


class Takes(Protocol):
    """What answers requests."""

    def take(self, request: Request, done: Done) -> None:
        """``done`` gets the reply, at once or later."""

    def take_rows(self, scoring: Scoring, done: Done) -> bool:
        """As `take`, for rows of as many requests; False where they cannot all be taken, and then none is."""

    def rows_together(self) -> int:
        """How many of such rows are best given at a time."""


def path_part(name: str | bytes) -> str:
    """A name between two slashes of a path, its characters encoded as few as may be (RFC 3986, 3.3)."""
    return quote(name, safe="!$&'()*+,;=:@")


class HttpError(Exception):
    """A request that is answered by ``status`` and a sentence; ``reason`` as of `Reply`."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = (), reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers
        self.reason = reason

    def reply(self) -> Reply:
        """The answer."""
        return Reply(self.status, to_json({"error": self.message}), headers=self.headers, reason=self.reason)


def to_json(value: Any) -> bytes:
    """JSON without NaN, compact.

    Raises:
        ValueError: a number is not finite.
    """
    return _ENCODE(value).encode()


_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode
