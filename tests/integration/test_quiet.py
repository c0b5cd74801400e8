"""What a run and the libraries below it leave: nothing outside --out, the cache and TMPDIR."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_leaves_nothing_outside_its_output(tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("home", "work", "tmp", "out")}
    for place in places.values():
        place.mkdir()
    kept = ("ORT_", "MLFLOW", "XDG_", "COV", "LPARBENCH", "GITHUB")  # nothing that could quieten a library for us
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(kept)},
        "HOME": str(places["home"]),
        "TMPDIR": str(places["tmp"]),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "harness", "run", "nsl-kdd-pca", "--synthetic", "--rows", "600", "--seeds", "1"]
    command += ["--blocks", "1", "--backends", "onnxruntime", "--scenarios", "offline", "--out", str(places["out"])]
    done = subprocess.run(
        command, cwd=places["work"], env=environment, capture_output=True, text=True, timeout=480, check=False
    )
    assert done.returncode == 2, done.stderr  # one block is no valid result
    cache = places["home"] / ".cache" / "lparbench"
    left = [path for path in tmp_path.rglob("*") if path.is_file() and cache not in path.parents]
    assert sorted(path.name for path in left) == ["report.html", "run.json"], left
