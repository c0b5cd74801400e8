"""Hosts of a fleet that mean harm, over real ssh servers: each refused or escaped, and named; the rest goes on.

    python tests/bench/hostile_hosts.py

prints what became of every host, and 0 of them as not expected; 1 otherwise. Takes some three minutes.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Kind of a host -> its state, and what the reason says; None: it is not said.
EXPECTED: Mapping[str, tuple[str, str | None]] = {
    "good": ("done", None),
    "as good": ("done", None),
    "a banner": ("done", None),
    "a child that stays": ("timed-out", "no answer after 60 s"),  # it holds the channel
    "zeros without end": ("failed", "larger than 64 MiB"),
    "300 MB of errors": ("failed", "[31mE"),
    "exit 255": ("unreachable", "Permission denied"),
    "exit 127": ("failed", "lparbench is not there"),
    "hangs": ("timed-out", "no answer after 60 s"),
    "a byte a second": ("timed-out", "no answer after 60 s"),
    "another token": ("failed", "of another request"),
    "script in the facts": ("different", "machine, kernel"),
    "partition of a path": ("failed", "of another partition"),
    "kernel of a list": ("failed", "is a list"),
    "200,000 findings": ("failed", "is missing"),
    "facts 200,000 deep": ("failed", "more than 64 deep"),
    "time of 5,000 digits": ("failed", "not JSON"),
    "time that is none": ("failed", "NaN"),
    "a key twice": ("failed", "appears twice"),
    "run id of a path": ("failed", "run_id"),
    "script for a workload": ("failed", "of another run"),
    "times below zero": ("failed", "expected minimum 0"),
    "times of zero": ("invalid", "take no time"),
    "times of 300 digits": ("failed", "more than 18 digits"),
    "an estimate of 1e308": ("failed", "expected maximum"),
    "an estimate that is none": ("failed", "NaN"),
    "half a character": ("failed", "created"),
    "a later schema": ("failed", "schema_version"),
    "another seed": ("failed", "of another run"),
    "no results": ("invalid", "no time of it"),
    "200 results": ("invalid", "more than once"),
    "a record 300,000 deep": ("failed", "more than 64 deep"),
    "another kernel": ("invalid", "changed since the check: kernel"),
    "facts of another kernel": ("failed", "contradicts itself"),
}


def main() -> int:
    """Measure them in two waves, and hold what became of them against the table."""
    from tests.support import sshd

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environments = [
            {"LPARBENCH_TEST_KIND": kind, "LPARBENCH_TEST_NUMBER": str(at), "XDG_CACHE_HOME": f"{folder}/cache{at}"}
            for at, kind in enumerate(EXPECTED, start=1)
        ]
        with sshd.servers(folder, environments) as servers:
            program = shlex.join([sys.executable, str(ROOT / "tests/support/hostile_host.py")])
            done = subprocess.run(
                [sys.executable, "-m", "harness", "fleet", "run", str(servers.inventory(folder)), "nsl-kdd-mlp",
                 "--ssh-config", str(servers.config), "--command", program, "--waves", "2", "--timeout", "60s",
                 "--together", "--out", str(folder / "out")],
                capture_output=True, text=True, errors="replace", cwd=ROOT, check=False,
            )  # fmt: skip
        (directory,) = (folder / "out").iterdir()
        wrong = list(_of_output(done.returncode, done.stdout + done.stderr))
        wrong += _of_page((directory / "report.html").read_text(encoding="utf-8"))
        wrong += [f"written outside: {path}" for path in folder.rglob("evil*")]
        hosts = json.loads((directory / "fleet.json").read_text(encoding="utf-8"))["hosts"]
    for (kind, (state, words)), host in zip(EXPECTED.items(), hosts, strict=True):
        reason = host["reason"] or ""
        good = host["state"] == state and (reason == "" if words is None else words in reason)
        print(f"{'  ' if good else 'X '}{kind:26} {host['state']:12} {reason[:150]!r}")
        wrong += [] if good else [f"{kind}: {host['state']}, expected {state}: {words}"]
    print(f"{len(wrong)} not as expected of {len(EXPECTED)} hosts", *wrong, sep="\n  ")
    return int(bool(wrong))


def _of_output(code: int, printed: str) -> list[str]:
    found = {"a traceback": "Traceback", "an escape sequence": "\x1b", "a command to CI": "\n::error"}
    return [what for what, mark in found.items() if mark in printed] + ([] if code == 2 else [f"exit code {code}"])


def _of_page(page: str) -> list[str]:
    return [f"on the page: {mark!r}" for mark in ("<script", "<img src=x", "\x1b") if mark in page]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
