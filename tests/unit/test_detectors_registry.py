"""Parameters are checked by name and type, in milliseconds: nothing heavy is imported. Every one is documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from harness.detectors import registry
from harness.detectors.base import Detector
from harness.errors import InputError

HEAVY = ("torch", "sklearn", "xgboost", "onnx", "onnxruntime", "scipy", "pandas", "matplotlib")
SCRIPT = f"""
import json, sys
from harness.detectors import registry
from harness.errors import InputError
refused = []
for name in registry.BUILT_IN:
    registry.check(name, {{"random_state": 1}})
    try:
        registry.check(name, {{"random_sate": 1}})
    except InputError as error:
        refused.append(error.message)
print(json.dumps([refused, [module for module in {HEAVY!r} if module in sys.modules]]))
"""


def test_checking_every_built_in_detector_imports_nothing_heavy() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    refused, heavy = json.loads(run.stdout)
    assert heavy == []
    assert refused == [f"{name}: unknown parameter 'random_sate'." for name in registry.BUILT_IN]


@pytest.mark.parametrize(
    ("detector", "parameters", "message"),
    [
        ("knn", {"k": 5}, "knn: unknown parameter 'k'. Known: contamination, max_samples, n_neighbors, random_state"),
        ("knn", {"n_neighbors": 5.0}, "knn.n_neighbors is 5.0 (float); expected a whole number"),
        ("pca", {"n_components": "all"}, "pca.n_components is 'all' (str); expected a whole number or a number"),
        ("sklearn.svm:OneClassSVM", {"mu": 0.1}, "sklearn.svm:OneClassSVM: unknown parameter 'mu'. Known: "),
        ("nosuch", {}, "Unknown detector 'nosuch'. Known: alad, anogan"),
    ],
)
def test_what_a_detector_does_not_take_is_refused_by_name(detector: str, parameters: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        registry.check(detector, parameters)


def test_values_come_back_in_the_constructors_types() -> None:
    given = {"hidden": [8, 4], "learning_rate": 1, "max_grad_norm": None}
    assert registry.check("mlp", given) == {"hidden": (8, 4), "learning_rate": 1.0, "max_grad_norm": None}
    assert registry.check("sklearn.svm:OneClassSVM", {"nu": 0.1, "random_state": 3}) == {"nu": 0.1, "random_state": 3}


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_parameter_is_documented(name: str) -> None:
    cls = registry.import_path(registry.BUILT_IN[name])
    documented: set[str] = set()
    for base in cls.__mro__:
        if issubclass(base, Detector):
            for names in re.findall(r"^        ([a-z_0-9, ]+): \S", base.__doc__ or "", re.MULTILINE):
                documented |= set(names.split(", "))
    assert {item.name for item in fields(cls)} <= documented
