"""Scores of a stream of rows, written as they are made, in memory that does not grow with the stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from harness.datasets.coded_rows import rows_at_once
from harness.errors import InputError
from harness.scoring.bundle import Bundle
from harness.scoring.rows import Layout, Rows, missing_in, rare_in

OnError = Literal["stop", "skip"]
Format = Literal["csv", "jsonl"]
Scores = NDArray[np.float32]
ScoreRows = Callable[[Any], Scores]
"""Scores of the ``frame`` of `Rows`; NaN where there is none yet."""


@dataclass(frozen=True)
class Summary:
    """What a stream held."""

    rows: int  # that were scored
    skipped: int  # that did not fit
    flagged: int
    undecided: int  # without a score: the first transactions of a card
    by_level: tuple[int, ...]  # rows at level 0, 1, ...
    first_skipped: str | None = None  # line and reason
    missing: dict[str, int] = field(default_factory=dict)  # column -> values taken as training took missing ones
    rare: dict[str, int] = field(default_factory=dict)  # column -> values that training knew and gave no feature
    left_out: int = 0  # lines that are no rows: blank, or the header repeated

    @property
    def remarkable(self) -> bool:
        """Whether any row was not scored plainly as it came."""
        return bool(self.skipped or self.missing or self.rare or self.left_out)


def layout_of(bundle: Bundle, *, encoded: bool) -> Layout:
    """The columns that a bundle's rows have.

    Raises:
        InputError: raw rows are asked for, and the bundle has no encoder.
    """
    if encoded:
        return Layout(bundle.manifest.features)
    encoder, gaps = bundle.encoder, bundle.encoder.gaps
    known = {name: frozenset(values) for name, values in encoder.vocabulary.items()}
    missing = {""} if gaps.filled else set()  # which is no unknown category, whether training had one or not
    vocabulary = {name: None if name in gaps.bounded else values | missing for name, values in known.items()}
    return Layout(encoder.columns, vocabulary, bundle.manifest.file_columns, gaps=gaps, known=known)


def score_of_rows(bundle: Bundle, score: Callable[[NDArray[np.float32]], Scores], *, encoded: bool) -> ScoreRows:
    """Encoding and scoring of rows of `layout_of`."""

    def score_encoded(frame: Any) -> Scores:
        if not isinstance(frame, np.ndarray):
            with np.errstate(over="ignore"):
                frame = frame.to_numpy(np.float32)
        return score(np.ascontiguousarray(frame))

    step = rows_at_once(len(bundle.manifest.features))  # a block of short rows may have many features

    def score_raw(frame: Any) -> Scores:
        parts = [frame[start : start + step] for start in range(0, len(frame), step)] or [frame]
        return np.concatenate([score(bundle.encoder.transform(part)) for part in parts])

    return score_encoded if encoded else score_raw


def score_stream(
    rows: Iterable[Rows],
    score: ScoreRows,
    bundle: Bundle,
    sink: BinaryIO,
    *,
    name: str,
    layout: Layout | None = None,
    form: Format = "csv",
    on_error: OnError = "stop",
) -> Summary:
    """Write score, label and level of each row.

    Args:
        rows: what to score.
        score: of the rows of one block.
        bundle: with the thresholds.
        sink: where the lines go.
        name: how errors name the stream.
        layout: of the rows, by which missing values are counted.
        form: comma-separated with a header, or one JSON object per line.
        on_error: at a row that does not fit, stop after the rows before it, or skip it.

    Raises:
        InputError: a row does not fit, and that stops.
    """
    writer = _Writer(form, len(bundle.cuts) + 1)
    skipped, flagged, undecided, left_out, first = 0, 0, 0, 0, None
    by_level = np.zeros(len(bundle.cuts) + 1, dtype=np.int64)
    missing: Counter[str] = Counter()
    rare: Counter[str] = Counter()
    for block in rows:
        sink.write(writer.begun())  # not before the columns of the rows are accepted
        stop = block.bad[0] if block.bad and on_error == "stop" else None
        good = len(block.lines) if stop is None else int(np.searchsorted(block.lines, stop.line))
        if good:
            scores = score(block.frame[:good])
            known = ~np.isnan(scores)
            labels, levels = bundle.labels(scores), np.where(known, bundle.levels(scores), 0)
            sink.write(writer.lines(scores, labels, levels, known))
            sink.flush()
            if layout is not None and not isinstance(block.frame, np.ndarray):
                missing.update(missing_in(block.frame[:good], layout))
                rare.update(rare_in(block.frame[:good], layout))
            flagged, undecided = flagged + int(labels.sum()), undecided + int((~known).sum())
            by_level += np.bincount(levels[known], minlength=len(by_level))
        if stop is not None:
            remedy = "Correct the row, or leave such rows out with --on-error skip."
            raise InputError(f"{name} {block.place(stop.line)}: {stop.reason}.", remedy=remedy)
        if block.bad and first is None:
            first = f"{block.place(block.bad[0].line)}: {block.bad[0].reason}"
        skipped += len(block.bad)
        left_out += block.left_out
    sink.write(writer.begun())  # where there are no rows
    decided = int(by_level.sum())
    return Summary(
        decided + undecided, skipped, flagged, undecided, tuple(by_level.tolist()), first,
        dict(missing), dict(rare), left_out,
    )  # fmt: skip


class _Writer:
    """Lines of a format; nine digits give a float32 back to the bit."""

    def __init__(self, form: Format, levels: int) -> None:
        pairs = [(label, level) for level in range(levels) for label in (0, 1)]
        if form == "csv":
            self._header, self._line = b"score,label,level\n", "%.9g%s"
            self._endings: Sequence[str] = [f",{label},{level}\n" for label, level in pairs]
            self._undecided = ",,\n"
        else:
            self._header, self._line = b"", '{"score": %.9g%s'
            self._endings = [f', "label": {label}, "level": {level}}}\n' for label, level in pairs]
            self._undecided = '{"score": null, "label": null, "level": null}\n'

    def begun(self) -> bytes:
        """The header, once."""
        header, self._header = self._header, b""
        return header

    def lines(
        self, scores: Scores, labels: NDArray[np.bool_], levels: NDArray[np.int64], known: NDArray[np.bool_]
    ) -> bytes:
        """One line per score."""
        endings = self._endings
        codes = (2 * levels + labels).tolist()
        values: list[Any] = [None] * (2 * len(codes))
        values[::2] = scores.tolist()
        values[1::2] = [endings[code] for code in codes]
        if known.all():
            return (self._line * len(codes) % tuple(values)).encode()
        pairs = zip(values[::2], values[1::2], known.tolist(), strict=True)
        return "".join(
            self._line % (value, end) if decided else self._undecided for value, end, decided in pairs
        ).encode()
