"""The study of many cards, small: evictions exact, and no score that differs; memory is for the large one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.bundles import saved

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "card_streams.py"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parameters = {"epochs": 1, "hidden": (8, 4)}
    folder = tmp_path_factory.mktemp("cards") / "bundle"
    return saved(folder, "lstm", parameters, "tabformer", stride=5, rows=6000).directory


@pytest.fixture(scope="module")
def study() -> ModuleType:
    specification = importlib.util.spec_from_file_location("card_streams", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = sys.modules["card_streams"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("over_http", [False, True])
def test_more_cards_than_are_kept(study: ModuleType, bundle: Path, over_http: bool) -> None:
    sizes = {"cards": 60, "transactions": 2000, "keys": 40}
    if over_http:
        with study.served(bundle, 40) as server:
            outcome = study.run(server, bundle, **sizes)
    else:
        outcome = study.run(study.Handlers(bundle, 40), bundle, **sizes)
    assert outcome.windows > 100
    assert outcome.expected_evictions > 400
    assert outcome.right, outcome
