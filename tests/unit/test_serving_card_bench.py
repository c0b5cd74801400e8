"""The study of many cards, small: evictions exact, and no score that differs; memory is for the large one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from support.bundles import saved

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "card_streams.py"


def test_more_cards_than_are_kept(tmp_path: Path) -> None:
    parameters = {"epochs": 1, "hidden": (8, 4)}
    bundle = saved(tmp_path / "bundle", "lstm", parameters, "tabformer", stride=5, rows=6000).directory
    specification = importlib.util.spec_from_file_location("card_streams", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    study = sys.modules["card_streams"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(study)
    outcome = study.run(bundle, cards=60, transactions=3000, keys=40)
    assert outcome.windows > 200
    assert outcome.expected_evictions > 500
    assert (outcome.different, outcome.evicted) == (0, outcome.expected_evictions)
