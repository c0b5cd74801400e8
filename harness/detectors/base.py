"""The contract of a detector, shaped like PyOD's and scikit-learn's: ``fit``, ``decision_function``, ``predict``."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.datasets.coded_rows import CodedRows, Rows, chosen_rows
from harness.errors import InputError
from harness.evaluation.thresholds import Threshold
from harness.record.accuracy import EpochUnit
from harness.scoring import arrays
from harness.scoring.artifacts import DETECTOR_FILE, WEIGHTS_FILE
from harness.scoring.evaluate import evaluate
from harness.scoring.program import Program
from harness.training.context import Epoch, FitContext, Labels, Matrix, Vector
from harness.training.native_spec import NativeTraining

if TYPE_CHECKING:
    import torch
    from sklearn.utils import Tags

AnyRows = TypeVar("AnyRows", bound=Rows)
FORMAT = 2
SLICE = 8192  # rows scored at once
_COPIES = 3  # of its matrix that a fit holds at its peak: the rows, those it learns from, and what its library makes


class DataError(InputError, ValueError):
    """Rows or labels that a detector cannot take; also what scikit-learn raises for such."""


class DataTypeError(InputError, TypeError):
    """An array of objects that are no numbers."""


@dataclass
class Detector(ABC):
    """An anomaly detector; constructor parameters are dataclass fields, fitted facts end in an underscore.

    Scores are float32, higher means more anomalous, and equal for equal input on every call. Labels are 0 for normal
    and 1 for an anomaly, as PyOD's. After ``fit``: ``n_features_in_``, ``threshold_`` and ``threshold_rule_`` (chosen
    without test labels), ``history_`` (one `Epoch` per pass or boosting round; empty when the method has none).

    Rows are (n, d). A detector of sequences (``sequential``) takes windows (n, steps, d), oldest step first; any other
    sees the last step of a window, which is the row the window's label is about.

    Args:
        random_state: int >= 0, default 0. Seed of every random draw of a fit; equal seeds give equal detectors.
    """

    name: ClassVar[str]
    supervised: ClassVar[bool] = False
    sequential: ClassVar[bool] = False
    dense: ClassVar[bool] = True  # its program, where it has one, is of dense layers for `torch.compile`
    rounds_products: ClassVar[bool] = False  # where it trains natively, operands of products may be bfloat16
    data_parallel: ClassVar[bool] = False  # several ranks may train it on shares of each batch
    takes_codes: ClassVar[bool] = False  # it is fitted on `CodedRows`; for others they become one matrix
    streams: ClassVar[bool] = False  # it can be trained on more rows than the memory holds: `FitContext.streamed`
    libraries: ClassVar[tuple[str, ...]] = ()  # that a fit imports: it is timed without that
    native_backend: ClassVar[bool] = True  # where it has a program, the backend ``native`` scores it
    stages: ClassVar[tuple[str, ...]] = ("epochs",)  # parameters that are passes over the rows, where it has them
    epoch_unit: ClassVar[EpochUnit] = "epoch"  # what an entry of ``history_`` is
    traced: ClassVar[bool] = False  # its ONNX graph is that of its module even if it has a program

    random_state: int = 0

    # Fitted facts have class-level defaults: as scikit-learn asks, a constructor sets nothing but its parameters.
    steps_ = cast("int | None", None)  # of the windows seen in fit; None for rows
    threshold_ = float("nan")
    threshold_rule_ = ""
    history_ = cast("tuple[Epoch, ...]", ())
    class_weights_ = cast("tuple[float, ...]", ())  # of normal rows and anomalies in the loss; empty without

    @abstractmethod
    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Learn from ``X`` (n, d) and, where the method uses them, labels ``y`` (n,); returns itself.

        Raises:
            DataError: the arrays do not fit the method.
            InputError: a parameter asks for something that is missing, such as validation labels.
        """

    def decision_function(self, X: ArrayLike) -> Vector:
        """Anomaly score of each row of ``X`` (n, d), shape (n,); by `program` in NumPy where nothing is faster."""
        slices: list[NDArray[Any]] = []
        for matrix in self.checked_blocks(X):
            program = self.program()
            assert program is not None, f"{self.name} has no program"
            slices += [evaluate(program, matrix[start : start + SLICE]) for start in range(0, len(matrix), SLICE)]
        return np.concatenate(slices).astype(np.float32) if slices else np.empty(0, dtype=np.float32)

    def eager_scores(self, X: ArrayLike) -> Vector:
        """The same without the native kernels: what the backend ``eager`` runs."""
        return self.decision_function(X)

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything learned, as named arrays."""

    @abstractmethod
    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over what `state` gave; the shape of the rows is already set."""

    def take_shape(self, n_features: int, steps: int | None = None) -> None:
        """Take note of the rows, or windows, that the detector is fitted on."""
        self.n_features_in_, self.steps_ = n_features, steps

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is something to score with."""
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn's tools may expect; neither its classifiers' nor its outlier detectors' labels are ours."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=self.supervised),
            classifier_tags=ClassifierTags(multi_class=False) if self.supervised else None,
            input_tags=InputTags(three_d_array=True),
        )

    def predict(self, X: ArrayLike) -> Labels:
        """1 where the score is above ``threshold_``, else 0; shape (n,)."""
        return (self.decision_function(X) > self.threshold_).astype(np.int64)

    def program(self) -> Program | None:
        """The scoring as array operations, when it can be written so."""
        return None

    def fit_bytes(self, X: CodedRows) -> int:
        """Memory that a fit takes for features of rows that are held as codes, at its peak; 0 where it is bounded."""
        return 0 if self.takes_codes else _COPIES * 4 * X.shape[0] * X.shape[1]

    def scoring_module(self) -> torch.nn.Module | None:
        """The scoring as a torch module from rows to scores (n,), for what no program can express."""
        return None

    def scoring_graph(self) -> bytes | None:
        """The scoring as a serialised ONNX graph from ``rows`` to ``score``, for what neither of these can express."""
        return None

    def remarks(self) -> tuple[str, ...]:
        """Sentences that a record should hold of this fit, such as which library did it."""
        return ()

    def native_training(self) -> NativeTraining | None:
        """How the native kernels train it as one chain of dense layers; None for another net."""
        return None

    @property
    def trains_natively(self) -> bool:
        """Whether the native kernels can train it: on a chain as `native_training` says, or in its own way."""
        return self.native_training() is not None

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  scikit-learn's signature
        """Constructor parameters by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def set_params(self, **parameters: Any) -> Detector:
        """Change constructor parameters; returns itself."""
        known = self.get_params()
        for name, value in parameters.items():
            if name not in known:
                names = ", ".join(sorted(known))
                raise InputError(f"{self.name} has no parameter {name!r}.", remedy=f"Known: {names}.")
            setattr(self, name, value)
        return self

    def save(self, directory: Path) -> None:
        """Write the fitted detector into ``directory``: facts as JSON, arrays as ``.npz``."""
        directory.mkdir(parents=True, exist_ok=True)
        arrays.write(directory / WEIGHTS_FILE, self.state())
        meta = {
            "format": FORMAT,
            "detector": self.identity(),
            "parameters": self.get_params(),
            "n_features": self.n_features_in_,
            "steps": self.steps_,
            "threshold": self.threshold_,
            "threshold_rule": self.threshold_rule_,
        }
        (directory / DETECTOR_FILE).write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def identity(self) -> str:
        """What `harness.detectors.registry.resolve` needs to find this class again."""
        return self.name

    def threshold_for(self, scores: Vector) -> Threshold:  # noqa: ARG002
        """The threshold to judge ``scores`` by: the fitted one, unless the rule is about the scores themselves."""
        return Threshold(self.threshold_, self.threshold_rule_)

    def take_threshold(self, threshold: Threshold) -> None:
        """Adopt a chosen threshold and its rule."""
        self.threshold_, self.threshold_rule_ = threshold.value, threshold.rule

    def view(self, X: ArrayLike) -> Matrix:
        """``X`` as this kind of detector sees it: C-contiguous float32 rows, or windows if it is sequential."""
        return _as_rows(X, self.name, windows=self.sequential)

    def checked_blocks(self, X: ArrayLike) -> Iterator[Matrix]:
        """`check_rows` in one piece; `CodedRows` in several, so that they are never features all at once."""
        if isinstance(X, CodedRows) and len(X):
            yield from map(self.check_rows, X.blocks())
        else:
            yield self.check_rows(X)

    def check_rows(self, X: ArrayLike) -> Matrix:
        """``X`` as C-contiguous float32 of the width seen in ``fit``.

        Raises:
            InputError: not fitted (scikit-learn's ``NotFittedError`` too).
            DataError: not a matrix, or of another width.
        """
        if not self.__sklearn_is_fitted__():
            raise _not_fitted(self.name)
        matrix = self.view(X)
        if matrix.shape[-1] != self.n_features_in_:
            given, expected = matrix.shape[-1], self.n_features_in_
            name = type(self).__name__
            raise DataError(f"X has {given} features, but {name} is expecting {expected} features as input.")
        if self.sequential and matrix.shape[1] != (self.steps_ or 1):
            raise DataError(f"{self.name} was fitted on windows of {self.steps_ or 1} steps, not {matrix.shape[1]}.")
        return matrix


def _not_fitted(name: str) -> InputError:
    from sklearn.exceptions import NotFittedError

    class NotFittedInputError(InputError, NotFittedError):  # type: ignore[misc]  # scikit-learn has no types
        """Scoring before ``fit``."""

    return NotFittedInputError(f"{name} is not fitted.", remedy="Call fit first.")


def _as_numbers(X: ArrayLike, name: str) -> NDArray[np.float32]:
    """``X`` as float32.

    Raises:
        DataError, DataTypeError: it holds other things than real numbers.
    """
    if hasattr(X, "toarray"):
        raise DataError(f"{name} takes dense arrays; X is sparse.", remedy="Pass X.toarray().")
    if np.iscomplexobj(X):
        raise DataError(f"{name} takes real numbers. Complex data not supported.")
    try:
        return np.asarray(X, dtype=np.float32)
    except (TypeError, ValueError) as error:
        kind = DataTypeError if isinstance(error, TypeError) else DataError
        raise kind(f"{name} takes arrays of numbers: {error}.") from error


def _as_rows(X: ArrayLike, name: str, *, windows: bool) -> Matrix:
    """``X`` as C-contiguous float32 rows (n, d), the last steps of windows; or windows (n, steps, d), one step of rows.

    Raises:
        DataError: not real numbers, neither two- nor three-dimensional, or empty in features.
    """
    given = _as_numbers(X, name)
    if windows:
        rows, expected, remedy = given[:, None] if given.ndim == 2 else given, "windows (rows, steps, features)", ""
    else:
        rows, expected = given[:, -1] if given.ndim == 3 else given, "a matrix (rows, features)"
        remedy = "X.reshape(-1, 1) if it is one feature, "
    if rows.ndim != (3 if windows else 2):
        raise DataError(
            f"{name} expects {expected}; got shape {np.shape(X)}.",
            remedy=f"Reshape your data with {remedy}X.reshape(1, -1) if it is one row.",
        )
    if not rows.shape[-1]:
        raise DataError(f"{name}: found 0 feature(s) (shape=({len(rows)}, 0)) while a minimum of 1 is required.")
    return np.ascontiguousarray(rows)


def as_training_rows(
    X: ArrayLike, y: ArrayLike | None, name: str, *, windows: bool = False
) -> tuple[Matrix, Labels | None]:
    """Checked training rows (or windows) and labels.

    Raises:
        DataError: no rows, non-finite values, labels of another length or other than 0 and 1.
    """
    matrix = _as_rows(X, name, windows=windows)
    if not len(matrix):
        raise DataError(f"{name}: found array with 0 sample(s) (no training rows) while a minimum of 1 is required.")
    if not np.isfinite(matrix).all():
        place = np.argwhere(~np.isfinite(matrix))[0]
        raise DataError(f"{name} got NaN or infinity in a training row: row {place[0]}, feature {place[-1]}.")
    return matrix, as_labels(y, len(matrix), name)


def as_rows_or_codes(X: ArrayLike, y: ArrayLike | None, name: str) -> tuple[Rows, Labels | None]:
    """`as_training_rows`, but rows held as codes stay so: what an encoder made needs no check of its numbers."""
    return (X, as_labels(y, len(X), name)) if isinstance(X, CodedRows) else as_training_rows(X, y, name)


def as_labels(y: ArrayLike | None, rows: int, name: str) -> Labels | None:
    """Checked labels of so many rows, where there are any.

    Raises:
        DataError: labels of another length or other than 0 and 1.
    """
    if y is None:
        return None
    labels = np.asarray(y)
    if labels.shape != (rows,) or not np.isin(labels, (0, 1)).all():
        raise DataError(f"{name} expects one label per row, 0 normal and 1 anomaly; got shape {labels.shape}.")
    return labels.astype(np.int64)


def normal_rows(X: AnyRows, y: Labels | None, name: str) -> AnyRows:
    """The rows labelled normal, or all of them when there are no labels.

    Raises:
        DataError: every row is labelled an anomaly.
    """
    if y is None:
        return X
    rows = chosen_rows(X, y == 0)
    if not len(rows):
        raise DataError(f"{name} learns from normal rows; every training row is labelled an anomaly.")
    return cast("AnyRows", rows)


def both_kinds(labels: Labels | None, name: str) -> Labels:
    """The labels, if there are normal rows and anomalies among them.

    Raises:
        DataError: there are not.
    """
    if labels is None or len(set(labels.tolist())) < 2:
        problem = "" if labels is not None else " It requires y to be passed, but the target y is None."
        raise DataError(
            f"{name} learns from labelled rows of both kinds, not of one class.{problem}",
            remedy="Pass y, 0 for normal and 1 for an anomaly.",
        )
    return labels
