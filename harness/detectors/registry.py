"""Detectors by name: the built-in ones, and any PyOD, scikit-learn or own class as ``module:Class``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.decode import decode, field_types
from harness.detectors.base import FORMAT, Detector
from harness.detectors.foreign import Foreign, import_path, parameters_of
from harness.errors import InputError, unknown
from harness.scoring import arrays
from harness.scoring.artifacts import DETECTOR_FILE, WEIGHTS_FILE
from harness.scoring.backends import BACKENDS

BUILT_IN: dict[str, str] = {
    "mlp": "harness.detectors.mlp:MLP",
    "autoencoder": "harness.detectors.autoencoder:Autoencoder",
    "egbad": "harness.detectors.egbad:EGBAD",
    "egbad-images": "harness.detectors.egbad_images:EGBADImages",
    "alad": "harness.detectors.alad:ALAD",
    "anogan": "harness.detectors.anogan:AnoGAN",
    "dagmm": "harness.detectors.dagmm:DAGMM",
    "dsebm": "harness.detectors.dsebm:DSEBM",
    "lstm": "harness.detectors.lstm:LSTM",
    "xgboost": "harness.detectors.xgb:XGBoost",
    "fraud-ensemble": "harness.detectors.fraud_ensemble:FraudEnsemble",
    "vae": "harness.detectors.vae:VAE",
    "ft-transformer": "harness.detectors.ft_transformer:FTTransformer",
    "bilstm": "harness.detectors.flow_classifiers:BiLSTM",
    "cnn": "harness.detectors.flow_classifiers:CNN",
    "autoencoder-classifier": "harness.detectors.flow_classifiers:AutoencoderClassifier",
    "ocsvm": "harness.detectors.ocsvm:OCSVM",
    "isolation-forest": "harness.detectors.isolation_forest:IsolationForest",
    "knn": "harness.detectors.knn:KNN",
    "pca": "harness.detectors.pca:PCA",
    "gradient-boosting": "harness.detectors.gradient_boosting:GradientBoosting",
}


def check(detector: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments ``parameters`` of a detector, each known to it and of its type; builds nothing.

    Of a class of somebody else's the names are checked, where its signature tells them, and not the types.

    Args:
        detector: a name in `BUILT_IN`, or ``module:Class``.
        parameters: as read from TOML or JSON.

    Raises:
        InputError: unknown detector, import failure, an unknown name, or a value of another type; it names the key.
    """
    target = _target(detector)
    if isinstance(target, type) and issubclass(target, Detector):
        types = field_types(target)
        _refuse_unknown(detector, parameters, types)
        return {name: decode(types[name], value, f"{detector}.{name}") for name, value in parameters.items()}
    known, complete = parameters_of(target)
    if complete:
        _refuse_unknown(detector, parameters, (*known, "random_state"))
    return dict(parameters)


def possible_backends(detector: str) -> tuple[str, ...]:
    """Backends that a built-in detector, or anything behind ``module:Class``, may have on some machine; builds nothing.

    Raises:
        InputError: no such detector.
    """
    if detector not in BUILT_IN:
        return ("eager",)
    target = _target(detector)
    if target.program is not Detector.program:
        return tuple(name for name in BACKENDS if target.dense or name != "compile")
    exports = (target.scoring_module, target.scoring_graph) != (Detector.scoring_module, Detector.scoring_graph)
    return ("eager", "onnxruntime") if exports else ("eager",)


def data_parallel(detector: str) -> bool:
    """Whether several ranks may train a detector, each on its share of every batch.

    Raises:
        InputError: no such detector.
    """
    return detector in BUILT_IN and _target(detector).data_parallel


def rounds_products(detector: str, parameters: Mapping[str, Any]) -> bool:
    """Whether the native kernels can train a detector with operands of products rounded to bfloat16.

    Raises:
        InputError: no such detector, or parameters it does not take.
    """
    if detector not in BUILT_IN or not _target(detector).rounds_products:
        return False
    return resolve(detector, parameters).trains_natively


def resolve(name_or_path: str, parameters: Mapping[str, Any] | None = None) -> Detector:
    """A new, unfitted detector.

    Args:
        name_or_path: a name in `BUILT_IN`, or ``module:Class`` of anything with ``fit`` and ``decision_function``,
            ``score_samples`` or ``predict_proba``; see `harness.detectors.foreign` for how its scores are read.
        parameters: constructor arguments; ``random_state`` is understood by all.

    Raises:
        InputError: unknown name, import failure, or parameters it does not take.
    """
    target, given = _target(name_or_path), check(name_or_path, parameters or {})
    if isinstance(target, type) and issubclass(target, Detector):
        return target(**given)
    random_state = given.pop("random_state", 0)
    return Foreign(random_state=random_state, path=name_or_path, parameters=given)


def load(directory: Path) -> Detector:
    """The fitted detector that `Detector.save` wrote into ``directory``.

    Raises:
        InputError: a file is missing, unreadable, or of another format.
    """
    path = directory / DETECTOR_FILE
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        state = arrays.read(directory / WEIGHTS_FILE)
    except (OSError, ValueError) as error:
        message = f"{directory} holds no readable detector: {error}."
        raise InputError(message, remedy="Train and save it again.") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise InputError(f"{path} is not a detector of format {FORMAT}.", remedy="Train and save it again.")
    detector = resolve(meta["detector"], meta["parameters"])
    detector.take_shape(meta["n_features"], meta["steps"])
    detector.restore(state)
    detector.threshold_, detector.threshold_rule_ = meta["threshold"], meta["threshold_rule"]
    return detector


def _target(detector: str) -> Any:
    """The class (or callable) that a name or ``module:Class`` stands for."""
    if ":" in detector:
        return import_path(detector)
    if detector not in BUILT_IN:
        raise unknown("detector", detector, BUILT_IN, see="Or give module:Class.")
    return import_path(BUILT_IN[detector])


def _refuse_unknown(detector: str, parameters: Iterable[str], known: Iterable[str]) -> None:
    for name in parameters:
        if name not in known:
            raise unknown("parameter", name, known, where=detector)
