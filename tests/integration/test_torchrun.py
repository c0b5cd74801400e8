"""Ranks that torchrun starts join one training; the first alone writes a record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.record.store import load_run

_ROOT = Path(__file__).parents[2]


def test_two_ranks_of_torchrun_train_one_model_and_write_one_record(tmp_path: Path) -> None:
    """Shares of each batch come together over the store of torchrun's agent; a wrong number of ranks is refused."""
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "harness",
        "run", "nsl-kdd-autoencoder", "--synthetic", "--epochs", "1", "--rows", "2000", "--seeds", "1", "--budget",
        "5s", "--scenarios", "offline", "--backends", "eager", "--ranks", "per-node", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    ended = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    records = list((tmp_path / "out").glob("*/run.json"))
    assert len(records) == 1, ended.stderr
    assert load_run(records[0].parent).spec.ranks == 2
    assert "Trained by 2 ranks (1 here: CPUs" in records[0].read_text(encoding="utf-8")
