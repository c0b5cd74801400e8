"""A scorer that torch compiles agrees with the one that it interprets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.detectors import registry
from harness.detectors.export import prepare
from harness.detectors.opening import open_scorer
from harness.scoring.agreement import agreement
from harness.scoring.backend_compile import missing_compiler


@pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))
def test_a_compiled_scorer_agrees_at_any_batch_size(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(9000, 41)).astype(np.float32)
    rows[::97] *= 30.0
    prepare(registry.resolve("mlp", {"epochs": 1}).fit(rows, (generator.random(9000) < 0.3).astype(int)), tmp_path)
    compiled, eager = open_scorer(tmp_path, "compile"), open_scorer(tmp_path, "eager")
    for batch in (0, 1, 7, 9000):
        scores = compiled.score(rows[:batch])
        assert scores.shape == (batch,)
        assert batch == 0 or agreement(eager.score(rows[:batch]), scores).within
