"""Detectors of their published sizes, fitted on generated rows: for figures of their speed, not of what they detect."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.detectors import registry
from harness.detectors.export import prepare
from harness.linalg.native import DTYPES
from harness.roofline.cases import SHAPES
from harness.roofline.pieces import ROWS, Chain, Piece, Plan, Training, product, random_layers, random_rows
from harness.scoring import plan
from harness.scoring.artifacts import Artifacts
from harness.scoring.backend_native import as_chain
from harness.scoring.forest import Forest
from harness.scoring.program import Program, Trees

_COUNTED_ROWS = 2000  # of the training
_GAN = {"epochs": 1, "batch_size": 50}
_SINGLE = 1
# Networks on their own: a classifier and an autoencoder of as many features as NSL-KDD has in one-hot columns.
_NETWORKS = ((122, 128, 64, 1), (122, 64, 16, 64, 122))


# Trees and their depth, of made ones: what libraries grow differs from one version to the next, and with it the counts.
_TREES = {"isolation-forest": (100, 8), "gradient-boosting": (100, 5), "xgboost": (100, 6)}


@dataclass(frozen=True)
class Published:
    """A detector with its parameters and the features of its rows.

    Attributes:
        steps: of a detector of windows.
        rows: of the calls that are counted, of a detector to which a row is much work.
    """

    detector: str
    features: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    rows: int = ROWS


PUBLISHED: Mapping[str, Published] = {
    "mlp": Published("mlp", 41, {"epochs": 1}),
    "autoencoder": Published("autoencoder", 41, {"epochs": 1}),
    "vae": Published("vae", 72, {"epochs": 1}),
    "pca": Published("pca", 118),
    "egbad": Published("egbad", 121, _GAN),
    "egbad-features": Published("egbad", 121, {**_GAN, "score_by": "feature-matching"}),
    "egbad-images": Published("egbad-images", 784, {"epochs": 0}, rows=8),
    "alad": Published("alad", 121, _GAN),
    "alad-logits": Published("alad", 121, {**_GAN, "score_by": "logits"}),
    "dagmm": Published("dagmm", 118, {"epochs": 1}),
    "dagmm-variational": Published("dagmm", 118, {"epochs": 1, "objective": "variational"}),
    "dsebm-energy": Published("dsebm", 121, {"epochs": 1}),
    "dsebm-reconstruction": Published("dsebm", 121, {"epochs": 1, "score_by": "reconstruction"}),
    "ocsvm": Published("ocsvm", 118),
    "autoencoder-classifier": Published("autoencoder-classifier", 72, {"epochs": 1, "pretraining_epochs": 0}),
    "isolation-forest": Published("isolation-forest", 118),
    "gradient-boosting": Published("gradient-boosting", 41),
    "xgboost": Published("xgboost", 27),
    "knn": Published("knn", 118),
    "anogan": Published("anogan", 121, {"epochs": 1}),
    "bilstm": Published("bilstm", 72, {"epochs": 1}, rows=8),
    "cnn": Published("cnn", 72, {"epochs": 1}, rows=8),
    "ft-transformer": Published("ft-transformer", 72, {"epochs": 0, "pretraining_epochs": 0}, rows=8),
    "lstm": Published("lstm", 27, {"epochs": 1}, steps=10, rows=8),
    "fraud-ensemble": Published("fraud-ensemble", 27, {"epochs": 1}, steps=10, rows=8),
}
NOT_NATIVE = ("anogan",)  # whose scoring has no native form


def rows_of(published: Published, count: int = 12_000) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Training and test rows, of two kinds that overlap."""
    generator = np.random.default_rng(2)
    windows = () if published.steps is None else (published.steps,)
    X = generator.normal(size=(count, *windows, published.features)).astype(np.float32)
    y = (generator.random(count) < 0.3).astype(np.int64)
    X[y == 1] += generator.normal(size=published.features).astype(np.float32)
    return X, y


def exported(published: Published, directory: Path, count: int = 12_000) -> tuple[Artifacts, NDArray[np.float32]]:
    """The detector fitted and exported, and the rows that it was fitted on."""
    X, y = rows_of(published, count)
    return prepare(registry.resolve(published.detector, published.parameters).fit(X, y), directory), X


def counted_pieces() -> Iterator[Piece]:
    """What instructions are counted of: products, networks scored and trained, and every detector that scores natively.

    Number formats are all that the piece has, but float32 alone where a row is much work.
    """
    for _, m, k, n in SHAPES:
        for dtype in DTYPES:
            yield product(m, k, n, dtype, max(1, 8192 // (m * n)))
    for widths in _NETWORKS:
        layers, name, x = random_layers(widths), "-".join(map(str, widths)), random_rows(ROWS, widths[0])
        classifies, macs = widths[-1] == 1, sum(layer.weight.size for layer in layers)
        for dtype in DTYPES:
            yield Piece("score", name, dtype, ROWS, Chain(layers, "logit" if classifies else "mse", x), macs)
        yield Piece("train", name, "float32", ROWS, Training(layers, "bce" if classifies else "mse", x), macs)
    for name, published in PUBLISHED.items():
        if name not in NOT_NATIVE:
            yield from _pieces_of(name, published)


def _pieces_of(name: str, published: Published) -> Iterator[Piece]:
    with tempfile.TemporaryDirectory(prefix="lparbench-count-") as folder:
        artifacts, rows = exported(published, Path(folder), _COUNTED_ROWS)
        program = artifacts.program()
    if name in _TREES:
        program = _with_made_trees(program, *_TREES[name])
    whole = as_chain(program)
    for dtype in DTYPES if program.macs_per_row and published.rows == ROWS else DTYPES[:1]:
        for count in (published.rows, _SINGLE) if dtype == "float32" else (published.rows,):
            x = np.ascontiguousarray(rows[:count].reshape(count, -1))
            work = Plan(plan.coded(program, dtype), x) if whole is None else Chain(*whole, x)
            yield Piece("score", name, dtype, count, work, program.macs_per_row or None)


def _with_made_trees(program: Program, trees: int, depth: int) -> Program:
    """The same steps over trees whose every branch is ``depth`` long, splitting normal values near their middle."""
    generator = np.random.default_rng(4)
    inner, nodes = (1 << depth) - 1, (2 << depth) - 1
    shape, own = (trees, nodes), np.tile(np.arange(nodes, dtype=np.int32), (trees, 1))
    left = np.where(own < inner, 2 * own + 1, own).astype(np.int32)
    forest = Forest(
        generator.integers(0, program.n_features, shape).astype(np.int32),
        generator.normal(0, 0.3, shape).astype(np.float32),
        left,
        np.where(own < inner, left + 1, own).astype(np.int32),
        generator.normal(size=shape).astype(np.float32),
        np.array([depth], dtype=np.int32),
    )
    (step,) = (step for step in program.steps if isinstance(step, Trees))
    return replace(program, arrays={**program.arrays, **dict(zip(step.arrays, forest.arrays(), strict=True))})
