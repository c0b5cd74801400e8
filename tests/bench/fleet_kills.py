"""Kill the coordinator of a fleet at random moments, look for what is left on its hosts, and resume it.

``python tests/bench/fleet_kills.py [KILLS] [SEED]``: two hosts on loopback ports behind a real sshd, two waves, a
made-up measurement. After each SIGKILL nothing may be at work on a host within ten seconds; resumed until it ends,
every block must be there once and its record whole. A script, since each kill takes seconds.
"""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from harness.fleet.session import MeasuredEntry, read_journal  # noqa: E402
from harness.record.store import load_fleet, load_run  # noqa: E402
from tests.support import sshd  # noqa: E402

LONGEST_S, LEFT_S = 14.0, 10.0
START = "import sys; from harness.cli.main import main; main(sys.argv[1:])"


def fleet_command(*words: str) -> list[str]:
    return [sys.executable, "-c", START, "fleet", *words]


def left() -> list[int]:
    """Processes of the sessions of the hosts."""
    members = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and b"LPARBENCH_TEST_HOST=" in (entry / "environ").read_bytes():
                members.append(int(entry.name))
        except OSError:
            continue
    return members


def killed(source: random.Random, folder: Path, servers: sshd.Servers) -> str | None:
    """What went wrong with one fleet that is killed once and then resumed; None for nothing."""
    program = shlex.join([sys.executable, str(ROOT / "tests/support/fleet_host.py")])
    words = ["run", str(servers.inventory(folder)), "--ssh-config", str(servers.config), "--command", program]
    quiet = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "cwd": folder,
        "env": {**os.environ, "PYTHONPATH": str(ROOT)},
    }
    with subprocess.Popen(fleet_command(*words, "--waves", "2", "--out", str(folder / "out")), **quiet) as process:
        time.sleep(source.uniform(1.0, LONGEST_S))
        process.kill()
    deadline = time.monotonic() + LEFT_S
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    if left():
        return f"{len(left())} processes left on the hosts"
    directory = next((folder / "out").glob("*-fleet-*"), None) if (folder / "out").exists() else None
    if directory is None:
        return None  # killed before there was anything to resume
    if not (directory / "fleet.json").exists():
        if not (directory / "design.json").exists():
            return None
        code = subprocess.run(fleet_command("run", "--resume", str(directory)), **quiet, check=False).returncode
        if code not in (0, 2):
            return f"--resume ended with {code}"
    fleet = load_fleet(directory)
    waves = {host.name: sorted(record.wave for record in host.records) for host in fleet.hosts}
    if waves != {"lpar1": [1, 2], "lpar2": [1, 2]}:
        return f"waves {waves}"
    noted = [(entry.host, entry.wave) for entry in read_journal(directory) if isinstance(entry, MeasuredEntry)]
    if len(noted) != len(set(noted)):
        return "a block was noted twice"
    for host in fleet.hosts:
        for record in host.records:
            if load_run(directory / record.path).facts.lpar.partition_id != int(host.name[-1]):
                return f"{record.path} is of another host"
    return None


def main(kills: int, seed: int) -> int:
    """Print each failure and a summary; 1 when there is a failure."""
    source = random.Random(seed)
    failures = 0
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        environments = [
            {"LPARBENCH_TEST_HOST": f"{n}", "XDG_CACHE_HOME": f"{top}/{n}", "QUICK": f"{top}/q"} for n in (1, 2)
        ]
        with sshd.servers(folder, environments) as servers:
            for kill in range(kills):
                place = folder / f"fleet{kill}"
                place.mkdir()
                wrong = killed(source, place, servers)
                failures += wrong is not None
                print(f"kill {kill + 1}: {wrong or 'nothing left, every block once'}", flush=True)
    print(f"{kills} kills, {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 20, int(sys.argv[2]) if sys.argv[2:] else 7))
