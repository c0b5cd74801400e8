"""Ranks in processes of their own end together when one is killed; tests/bench/rank_kills.py does it 20 times."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ranks import kill_a_rank

from harness.record.spec import REDUCTIONS, Reduction


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_a_killed_rank_ends_all_of_them_and_leaves_no_model(reduce: Reduction, tmp_path: Path) -> None:
    """Nor memory: what ranks share has no name, so that it goes with the last of them."""
    shared = set(Path("/dev/shm").iterdir())
    result, seconds, left = kill_a_rank(tmp_path, 2, victim=1, after_s=0.2, reduce=reduce)
    assert result.failure == "rank 1: killed by signal 9 (SIGKILL)"
    assert seconds < 60
    assert left == []
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.rglob("detector.json"))
    assert not {path for path in set(Path("/dev/shm").iterdir()) - shared if "lparbench" in path.name}
