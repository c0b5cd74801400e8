"""Every command in a working directory full of modules of well-known names: none of them may be imported.

    python tests/bench/hostile_directory.py [COMMAND]...

The commands are those of ``random_kills.py``, some more, and pytest with this package's plugin. What does not end by
itself is ended after some seconds. Takes about five minutes.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[up]) for up in (1, 2)] + [str(Path(__file__).parent)]

import random_kills as kills  # noqa: E402 - the path comes first
from support.hostile_directory import HostileDirectory  # noqa: E402

from harness.errors import ExitCode  # noqa: E402

# Seconds after which it is at work and is ended.
_ENDLESS_S = {"serve": 30, "serve a bundle": 15, "serve two fronts": 20, "get": 5, "place": 6, "smt": 6, "load": 40}
_PATIENCE_S = 300
MORE: dict[str, tuple[str, ...]] = {
    "data list": ("data", "list"),
    "data work": ("data", "work"),
    "suite": ("run", "--suite", "nothing"),
    "serve by asgi": ("serve", "out/bundles/nsl-kdd-mlp", "--port", "0", "--front", "asgi", "--check"),
    "sweep from": ("size", "--from", "{run}", "--rate", "10/s"),
    "gate update": ("gate", "out/baseline.json", "--update", "--candidate", "{run}"),
    "gate baseline": ("gate", "out/baseline.json"),
    "gate candidate": ("gate", "out/baseline.json", "--candidate", "{run}"),
    "archive list": ("archive", "list", "team.sqlite"),
    "archive query": ("archive", "query", "team.sqlite"),
    "export tests": ("export", "{run}", "--format", "pytest-benchmark"),
    "fleet": (*kills.COMMANDS["fleet"][:-4], "--command", str(Path(sys.executable).with_name("lparbench")), "--out",
              "out/fleet"),
    "smt show": ("smt", "show"),
    "smt restore": ("smt", "restore"),
    "probe script": ("probe", "--script"),
    "instructions": ("kernels", "--instructions"),
    "torch": ("run", "nsl-kdd-autoencoder", "--rows", "600", "--epochs", "1", "--seeds", "1", "--blocks", "1",
              "--synthetic", "--out", "out/more"),
    "ranks": ("run", "nsl-kdd-autoencoder", "--rows", "600", "--epochs", "1", "--seeds", "1", "--blocks", "1",
              "--synthetic", "--ranks", "2", "--scenarios", "offline", "--out", "out/more"),
}  # fmt: skip
PYTEST = "pytest"


def command_of(name: str, bed: kills.Bed) -> list[str]:
    """The words of a command, of pytest its own."""
    if name == PYTEST:
        return [str(Path(sys.executable).with_name("pytest")), "-q", "-p", "no:cacheprovider", str(bed.top / "tests")]
    return bed.command(name)


def tried(name: str, bed: kills.Bed, hostile: HostileDirectory) -> tuple[int | None, list[str]]:
    """Exit code of a command, None where it was ended, and what it imported."""
    before = set(hostile.imported())
    process = subprocess.Popen(
        command_of(name, bed), cwd=hostile.folder, env=bed.environment(name), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    code: int | None = None
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(_ENDLESS_S.get(name, _PATIENCE_S))
    process.terminate()
    process.wait()
    deadline = time.monotonic() + kills.WITHIN_S
    while list(kills.marked(name)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return code, sorted(set(hostile.imported()) - before)


def main(names: Sequence[str]) -> int:
    """Print the exit code of each command and what it imported; 1 where that is something."""
    kills.COMMANDS.update(MORE)
    del kills.COMMANDS["gate"]  # pytest imports what is in the checkout that it is to measure
    chosen = names or [*kills.COMMANDS, PYTEST]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="hostile-") as top:
        bed = kills.Bed(Path(top), tuple(kills.COMMANDS))
        (bed.top / "tests").mkdir()
        (bed.top / "tests" / "test_sleep.py").write_text(kills.BENCHMARK)
        hostile = HostileDirectory(bed.top / "work", bed.top / "trace")
        for name in chosen:
            code, imported = tried(name, bed, hostile)
            wrong = code == ExitCode.TOOL_FAILED
            bad += bool(imported) or wrong
            how = "ended" if code is None else f"exit code {code}"
            print(f"{name}: {how}, {', '.join(imported) or 'nothing'} imported", flush=True)
    print(f"{len(chosen)} commands, {bad} bad")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
