"""Ranks in processes of their own end together when one is killed; tests/bench/rank_kills.py does it 20 times."""

from __future__ import annotations

from pathlib import Path

from support.ranks import kill_a_rank


def test_a_killed_rank_ends_all_of_them_and_leaves_no_model(tmp_path: Path) -> None:
    result, seconds, left = kill_a_rank(tmp_path, 2, victim=1, after_s=0.2)
    assert result.failure == "rank 1: killed by signal 9 (SIGKILL)"
    assert seconds < 60
    assert left == []
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.rglob("detector.json"))
