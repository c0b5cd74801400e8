"""A bundle as it is served: raw or encoded rows to scores, on one backend."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path

import numpy as np

from harness.datasets.card_rows import CardEncoder
from harness.datasets.gaps import Absent
from harness.detectors.opening import fastest_backend, open_saved
from harness.scoring.bundle import Bundle, open_bundle
from harness.serving.exchange import Checked, Rows, Scores, path_part
from harness.serving.features import RowEncoder
from harness.serving.levels import DEFAULT, NONE, Levels

_FEW = 16  # scores, whose levels are quicker found without NumPy
ERRORS = frozenset({"autoencoder"})  # detectors whose score is a reconstruction error


@dataclass(frozen=True)
class Options:
    """How a bundle is served.

    Attributes:
        thresholds: of the levels, as `harness.serving.levels` reads them; None for its defaults.
        as_published: with the defects of the document's server.
    """

    thresholds: str | None = None
    as_published: bool = False


class ServedModel:
    """An opened bundle and its scorer.

    Attributes:
        levels: of the probability; None for scores that have none.
        plain: ``POST /predict`` gives score and decision alone, as the intrusion document does.
    """

    def __init__(
        self, bundle: Bundle, backend: str | None, threads: int, options: Options = Options(), *, scoring: bool = True
    ) -> None:
        self.bundle = bundle
        self.levels = Levels.of(bundle, options.thresholds or DEFAULT)
        self.plain = options.thresholds is None and bundle.manifest.provenance.detector in ERRORS
        self._as_published = options.as_published
        self._cuts: list[float] = bundle.cuts.tolist()
        manifest = bundle.manifest
        self.name = manifest.provenance.workload
        self.version = "1"
        self.steps = manifest.steps
        self.features = manifest.features
        self.backend, self.threads = backend or fastest_backend(bundle), threads
        self._scorer = open_saved(bundle, self.backend, threads) if scoring else None

    @property
    def path(self) -> str:
        """Where the Open Inference Protocol has it."""
        return f"/v2/models/{path_part(self.name)}"

    @classmethod
    def open(
        cls,
        directory: Path,
        backend: str | None,
        threads: int,
        options: Options = Options(),
        *,
        scoring: bool = True,
    ) -> ServedModel:
        """Open a bundle for serving; without ``scoring`` another process has the scores.

        Raises:
            InputError: it is no bundle, or cannot be scored on the backend.
        """
        return cls(open_bundle(directory), backend, threads, options, scoring=scoring)

    def shape(self, rows: int) -> tuple[int, ...]:
        """Of the encoded rows that the scorer takes."""
        width = len(self.features)
        return (rows, width) if self.steps is None else (rows, self.steps, width)

    @cached_property
    def encoder(self) -> RowEncoder | None:
        """For raw rows; None where the bundle takes encoded ones only, or transactions of cards."""
        raw = self.bundle.manifest.columns and self.steps is None and self.cards is None
        return RowEncoder(self.bundle.encoder) if raw else None

    def encoded(self, rows: list[Checked]) -> Rows:
        """Features of raw rows."""
        assert self.encoder is not None
        return self.encoder.features(rows)

    @cached_property
    def cards(self) -> CardEncoder | None:
        """For raw transactions of cards."""
        if not self.bundle.manifest.columns:
            return None
        return CardEncoder.of(self.bundle.encoder, single_time=self._as_published)

    @property
    def raw_columns(self) -> tuple[tuple[str, ...], Absent | None]:
        """Columns of raw rows in which values may be missing, and how many were in training where that is known."""
        encoder = self.encoder
        return ((), None) if encoder is None or not encoder.filled else (encoder.columns, encoder.absent)

    @property
    def score_bounds(self) -> tuple[float, ...]:
        """Of the histogram of scores; none where the bundle has no reference of them."""
        scores = self.bundle.drift.scores
        return () if scores is None else tuple(scores.edges.tolist())

    @property
    def score_name(self) -> str:
        """What the documents' route calls the score."""
        return "reconstruction_error" if self.bundle.manifest.provenance.detector in ERRORS else "score"

    @cached_property
    def level_names(self) -> tuple[str, ...]:
        """What `decisions` gives, from harmless to grave."""
        if self.levels is None or self.plain:
            return tuple(map(str, range(len(self.bundle.cuts) + 1)))
        return (NONE, *self.levels.thresholds)

    def decisions(self, scores: Scores) -> list[str]:
        """The level of each row; of the bundle's thresholds, by number, where there are no probabilities."""
        probabilities = None if self.levels is None or self.plain else self.bundle.probabilities(scores)
        if self.levels is None or probabilities is None:
            values: list[float] = scores.tolist()
            if len(values) > _FEW or not all(map(isfinite, values)):
                return list(map(str, self.bundle.levels(scores).tolist()))
            return [self.level_names[bisect_left(self._cuts, value)] for value in values]
        return self.levels.names(scores, probabilities)

    def score(self, rows: Rows) -> Scores:
        """Score of each row."""
        assert self._scorer is not None
        return self._scorer.score(np.ascontiguousarray(rows))
