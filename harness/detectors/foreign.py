"""PyOD, scikit-learn and duck-typed objects behind the `Detector` contract, without an adapter written by their user.

Higher scores must mean more anomalous. Which way scores point follows from what the object is:

* scikit-learn outlier detectors (isolation forest, one-class SVM, LOF): higher is more normal, so the sign is turned;
* scikit-learn density models (``score_samples`` only): log-likelihood, so the sign is turned;
* classifiers: the probability of class 1, or their decision function;
* everything else, PyOD included: ``decision_function`` already grows with anomaly.

Objects that do not need labels are fitted on the rows labelled normal. A fitted foreign object has no portable format
but a pickle, so what is stored is its training rows, and `restore` fits it again.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.datasets.coded_rows import CodedRows, Rows
from harness.detectors.base import Detector, as_rows_or_codes, as_training_rows, both_kinds, normal_rows
from harness.errors import InputError, LparbenchError
from harness.evaluation.thresholds import Threshold, at_percentile
from harness.training.context import FitContext, Labels, Matrix, Vector

Reading = Literal["decision_function", "negated decision_function", "negated score_samples", "probability of class 1"]
PERCENTILE = 95.0  # of training scores, for objects that choose no threshold themselves


@dataclass
class Foreign(Detector):
    """An object of somebody else's class.

    Args:
        path: ``module:Class``.
        parameters: its constructor's; ``random_state`` is handed on where it takes one.
    """

    name: ClassVar[str] = "foreign"

    path: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.estimator: Any = make(self.path, self.parameters, self.random_state)
        self.needs_labels = _needs_labels(self.estimator)
        self.reading: Reading = _reading(self.estimator, self.path)
        self.takes_sparse = _takes_sparse(self.estimator)
        self._rows: Rows = np.empty((0, 0), dtype=np.float32)
        self._labels: Labels | None = None

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:  # noqa: ARG002
        """Fit the object; with labels when it needs them, otherwise on the normal rows."""
        rows, labels = (as_rows_or_codes if self.takes_sparse else as_training_rows)(X, y, self.path)
        if self.needs_labels and labels is None:
            raise InputError(f"{self.path} needs labels; pass y.")
        if self.needs_labels:
            labels = both_kinds(labels, self.path)
        else:
            rows, labels = normal_rows(rows, labels, self.path), None
        self.take_shape(rows.shape[1])
        self._rows, self._labels = rows, labels
        self._fit_estimator()
        self.take_threshold(self._own_threshold())
        return self

    def decision_function(self, X: ArrayLike) -> Vector:
        """Anomaly score of each row, sign turned where the object's points the other way."""
        return np.concatenate([self._scores(matrix) for matrix in self.checked_blocks(X)])

    def _scores(self, matrix: Matrix) -> Vector:
        estimator = self.estimator
        with _named(self.path, "scoring"):
            match self.reading:
                case "decision_function":
                    raw = estimator.decision_function(matrix)
                case "negated decision_function":
                    raw = -np.asarray(estimator.decision_function(matrix))
                case "negated score_samples":
                    raw = -np.asarray(estimator.score_samples(matrix))
                case "probability of class 1":
                    raw = np.asarray(estimator.predict_proba(matrix))[:, -1]
        scores = np.ascontiguousarray(raw, dtype=np.float32)
        if scores.shape != (len(matrix),):
            raise InputError(f"{self.path}: scores have shape {scores.shape}; expected one per row, ({len(matrix)},).")
        if not np.isfinite(scores).all():
            raise InputError(f"{self.path}: {int((~np.isfinite(scores)).sum())} scores are not finite.")
        return scores

    def state(self) -> dict[str, NDArray[Any]]:
        """The training rows."""
        labels = {} if self._labels is None else {"labels": self._labels}
        if not isinstance(self._rows, CodedRows):
            return {"rows": self._rows, **labels}
        return {**{f"rows.{name}": value for name, value in self._rows.to_arrays().items()}, **labels}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Fit again on the stored rows."""
        coded = {name.removeprefix("rows."): value for name, value in state.items() if name.startswith("rows.")}
        self._rows = CodedRows.from_arrays(coded) if coded else state["rows"]
        self._labels = state.get("labels")
        self._fit_estimator()

    def fit_bytes(self, X: CodedRows) -> int:
        """None where it takes sparse matrices; else of the rows, which it keeps, and of what is made of them."""
        return 0 if self.takes_sparse else super().fit_bytes(X)

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """The object's own constructor parameters and ``random_state``."""
        return {**self.parameters, "random_state": self.random_state}

    def identity(self) -> str:
        """``module:Class``."""
        return self.path

    def _fit_estimator(self) -> None:
        rows = self._rows.csr() if isinstance(self._rows, CodedRows) else self._rows
        with _named(self.path, "fitting"):
            if self._labels is None:
                self.estimator.fit(rows)
            else:
                self.estimator.fit(rows, self._labels)

    def _own_threshold(self) -> Threshold:
        own = getattr(self.estimator, "threshold_", None)
        if self.reading == "decision_function" and isinstance(own, int | float | np.number):
            return Threshold(float(own), f"threshold_ of {self.path}")
        match self.reading:
            case "negated decision_function":
                return Threshold(0.0, f"decision function of {self.path} below 0")
            case "probability of class 1":
                return Threshold(0.5, "probability 0.5")
            case "decision_function" if self.needs_labels:
                return Threshold(0.0, f"decision function of {self.path} above 0")
            case _:
                return at_percentile(self.decision_function(self._rows), PERCENTILE, "normal training rows")


def make(path: str, parameters: dict[str, Any], random_state: int) -> Any:
    """The object behind ``module:Class``, or what the callable there returns.

    ``random_state`` is handed on, and ``novelty`` is on (LOF cannot score new rows without), where it takes them.

    Raises:
        InputError: the constructor refuses, or there is no ``fit``.
    """
    target = import_path(path)
    if not callable(target):
        raise InputError(f"{path} cannot be called; expected a class, or a function that returns a detector.")
    accepted, _ = parameters_of(target)
    defaults = {"random_state": random_state, "novelty": True}
    arguments = {**{key: value for key, value in defaults.items() if key in accepted}, **parameters}
    try:
        estimator = target(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path} refused its parameters: {error}.",
            remedy=f"It takes: {', '.join(accepted)}; give them as '{path}({next(iter(accepted), 'NAME')}=VALUE)'.",
        ) from error
    if not callable(getattr(estimator, "fit", None)):
        raise InputError(f"{path} has no fit method, so it cannot be a detector.")
    return estimator


def import_path(path: str) -> Any:
    """What ``module:attribute`` names.

    Raises:
        InputError: the module cannot be imported or has no such attribute.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = _imported(module_name)
    except ImportError as error:
        raise InputError(
            f"Detector {path!r}: importing {module_name!r} failed: {error}.",
            remedy="Install it into this environment, or run from the directory that holds the module.",
        ) from error
    target = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            names = {name.casefold(): name for name in dir(target) if not name.startswith("_")}
            near = get_close_matches(part.casefold(), names, n=1)
            meant = f"Did you mean {path[: len(path) - len(attribute)]}{names[near[0]]}?" if near else None
            raise InputError(f"Detector {path!r}: {module_name!r} has no {attribute!r}.", remedy=meant)
        target = getattr(target, part)
    return target


def _imported(name: str) -> Any:
    """The module, from the working directory where it is in there and nothing that is installed has its name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top, here = name.partition(".")[0], Path.cwd()
        if error.name != top or str(here) in sys.path or not ((here / top).is_dir() or (here / f"{top}.py").is_file()):
            raise
    sys.path.append(str(here))  # last: nothing in there can take the place of what is installed
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _reading(estimator: Any, path: str) -> Reading:
    kind = _sklearn_kind(estimator)
    if kind == "outlier_detector" and not _is_pyod(estimator):
        return "negated decision_function"
    if kind == "classifier" and hasattr(estimator, "predict_proba"):
        return "probability of class 1"
    if hasattr(estimator, "decision_function"):
        return "decision_function"
    if hasattr(estimator, "score_samples"):
        return "negated score_samples"
    if hasattr(estimator, "predict_proba"):
        return "probability of class 1"
    raise InputError(f"{path} gives no score: it has no decision_function, score_samples or predict_proba.")


def _needs_labels(estimator: Any) -> bool:
    if _sklearn_kind(estimator) == "classifier":
        return True
    y = inspect.signature(estimator.fit).parameters.get("y")
    return y is not None and y.default is inspect.Parameter.empty


def _takes_sparse(estimator: Any) -> bool:
    """Whether it is scikit-learn's own and says that it takes sparse matrices; a class derived from it need not."""
    tags = getattr(estimator, "__sklearn_tags__", None)
    own = type(estimator).__module__.partition(".")[0] == "sklearn"
    return own and tags is not None and bool(tags().input_tags.sparse)


def _sklearn_kind(estimator: Any) -> str | None:
    if not hasattr(estimator, "__sklearn_tags__") and not hasattr(estimator, "_estimator_type"):
        return None
    from sklearn.base import is_classifier, is_outlier_detector  # a second or more to import

    if is_outlier_detector(estimator):
        return "outlier_detector"
    return "classifier" if is_classifier(estimator) else None


def _is_pyod(estimator: Any) -> bool:
    return any(cls.__module__.partition(".")[0] == "pyod" for cls in type(estimator).__mro__)


def parameters_of(target: Any) -> tuple[tuple[str, ...], bool]:
    """Names a class or function takes, and whether these are all: not with ``**kwargs``, nor without a signature."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return (), False
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = tuple(parameter.name for parameter in parameters if parameter.kind not in variable)
    return names, all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters)


@contextmanager
def _named(path: str, action: str) -> Iterator[None]:
    """Errors of somebody else's code, reported with its name instead of a traceback."""
    try:
        yield
    except (LparbenchError, MemoryError):  # memory that runs out is the machine's doing, not a mistake in the detector
        raise
    except Exception as error:
        at = _line_of(error, path)
        raise InputError(f"{path} failed while {action}: {type(error).__name__}: {error}{at}.") from error


def _line_of(error: Exception, path: str) -> str:
    """The last line of the class's own file that an error came through; empty for what is installed."""
    file = str(getattr(sys.modules.get(path.partition(":")[0]), "__file__", None))
    if "site-packages" in file or "dist-packages" in file:
        return ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({Path(file).name} line {lines[-1]})" if lines else ""
