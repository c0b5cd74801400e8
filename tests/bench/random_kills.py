"""Kills commands at random moments, by HUP, TERM, INT and KILL: nothing goes on, and nothing stays.

    python tests/bench/random_kills.py [KILLS [SEED [COMMAND]...]]

After each kill every process of the command's tree is to be gone within 2 s. In the end every command is started once
more, and the temporary directory, the output and the cache are looked at. 200 kills take about half an hour.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

sys.path[:0] = [str(Path(__file__).resolve().parents[up]) for up in (1, 2)]

from support.mutations import small_run  # noqa: E402 - the path comes first
from support.trees import LparSpec, NodeSpec, TreeSpec, build  # noqa: E402

from harness.compare.observations import side_of  # noqa: E402
from harness.errors import ExitCode  # noqa: E402
from harness.gates.baseline import make_baseline  # noqa: E402
from harness.gates.baseline_file import baseline_text  # noqa: E402
from harness.interpreter import program  # noqa: E402
from harness.record.store import load_run  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
WITHIN_S = 2.0
_TREE = TreeSpec(nodes=(NodeSpec(0, cores=2),), smt_of_core={1: 2}, lpar=LparSpec())
_MARK = "LPARBENCH_KILLS"  # in the environment of everything that a command starts
_SMALL = ("--rows", "600", "--epochs", "1", "--seeds", "1", "--blocks", "1", "--synthetic", "--backends", "native",
          "--scenarios", "offline")  # fmt: skip
BENCHMARK = """
import time
def test_sleep(lparbench):
    lparbench(time.sleep, 0.001)
"""
# {run} is the directory of a run, {port} that of a server which answers whatever it is asked.
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", "nsl-kdd-mlp", *_SMALL, "--out", "out/runs"),
    "sweep": ("sweep", "nsl-kdd-mlp", "--rows", "600", "--synthetic", "--blocks", "1", "--cores", "1", "--smt", "1",
              "--batch", "8", "--seconds", "0.05", "--backends", "native", "--out", "out/sweeps"),
    "import": ("data", "import", "mawiflow", "big.csv"),
    "kernels": ("kernels",),
    "size": ("size", "nsl-kdd-mlp", "--rate", "100/s", "--p99", "50ms", "--cores", "1", "--threads-per-core", "1",
             "--seconds", "0.05", "--rows", "600", "--synthetic", "--budget", "1m", "--out", "out/sizes"),
    "serve": ("serve", "nsl-kdd-autoencoder", "--port", "0", "--save", "out/bundles"),
    "serve a bundle": ("serve", "out/bundles/nsl-kdd-mlp", "--port", "0"),
    "serve two fronts": ("serve", "out/bundles/nsl-kdd-mlp", "--port", "0", "--fronts", "2"),
    "score": ("score", "out/bundles/nsl-kdd-mlp", "rows.csv", "-o", "out/scores.csv"),
    "load": ("load", "http://127.0.0.1:{port}", "--bundle", "out/bundles/nsl-kdd-mlp", "--rate", "50/s",
             "--seconds", "20s", "--out", "out/load.json"),
    "get": ("data", "get", "nsl-kdd", "--mirror", "http://127.0.0.1:{port}"),
    "verify": ("data", "verify"),
    "list": ("list",),
    "probe": ("probe", "--save", "out/tree.tgz"),
    "doctor": ("doctor", "--html", "out/doctor.html"),
    "place": ("place", "--cores", "1", "--", "sleep", "60"),
    "report": ("report", "{run}", "-o", "out/page.html"),
    "export": ("export", "{run}", "--format", "csv", "-o", "out/run.csv"),
    "compare": ("compare", "{run}", "{run}", "--html", "out/compare.html"),
    "history": ("history", "out/runs", "--html", "out/history.html"),
    "archive": ("archive", "add", "all.sqlite", "out/runs"),
    "site": ("site", "team.sqlite", "out/site"),
    "gate": ("gate", "--base", "HEAD", "--", "pytest", "-q", "-p", "no:cacheprovider", "bench"),
    "fleet": ("fleet", "run", "hosts.ini", "nsl-kdd-mlp", "--waves", "1", "--rows", "600", "--epochs", "1",
              "--synthetic", "--backends", "native", "--command", f"{sys.executable} -m harness", "--out", "out/fleet"),
    "gate baseline": ("gate", "out/baseline.json"),
    "smt": ("smt", "set", "1", "--", "sleep", "60"),
    "smt tree": ("smt", "set", "1", "--sysroot", "{tree}", "--", "sleep", "60"),
}  # fmt: skip
# Shares of the moments, in seconds after the start, that a command is under way.
_LONGEST_S = {"run": 9.0, "sweep": 9.0, "size": 9.0, "gate": 9.0, "serve": 9.0, "kernels": 6.0, "load": 6.0,
              "gate baseline": 9.0, "fleet": 9.0, "serve two fronts": 6.0, "score": 5.0}  # fmt: skip
# What may be there: what can be resumed, and what is kept on purpose.
_KEPT = (".unfinished", "sweeps/", "sizes/", "bundles/", "trusted", "runs/", ".part", "fleet/", "fleet.lock")
_ROW = "0,tcp,http,SF,181,5450,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,0,8,8,0,0,0,0,1,0,0,9,9,1,0,0.11,0,0,0,0,0,normal,21\n"
# What `fleet` reaches its hosts with, in this machine itself.
_SSH = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"""

_MADE_FIRST = ("{run}", "out/bundles/", "out/runs", "team.sqlite", "out/baseline.json")  # with the first run


class _Anything(http.server.BaseHTTPRequestHandler):
    """Answers every request at once, and what is downloaded for ever."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"{}")

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(b"{}")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 16))
                time.sleep(0.05)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said of requests."""


@dataclass
class Bed:
    """A directory in which commands run, with a home, a cache and a temporary directory of its own.

    Attributes:
        commands: that are to be run; a run is made first where one of them reads it or its bundle.
    """

    top: Path
    commands: Sequence[str]
    run: Path = Path()

    def __post_init__(self) -> None:
        for name in ("home", "tmp", "bin", "work/bench"):
            (self.top / name).mkdir(parents=True)
        work = self.top / "work"
        (work / "bench" / "test_sleep.py").write_text(BENCHMARK)
        with (work / "big.csv").open("wb") as file:
            file.truncate(256 << 20)
        (work / "rows.csv").write_text(400_000 * _ROW)
        (work / "hosts.ini").write_text("lpar01\n")
        self.tree = build(_TREE, self.top / "tree")
        self._switches = self._read_switches()
        (self.top / "bin" / "ssh").write_text(_SSH)
        (self.top / "bin" / "ssh").chmod(0o755)
        git = ("git", "-c", "user.name=x", "-c", "user.email=x@localhost")
        for command in (("init", "-q"), ("add", "bench"), ("commit", "-qm", "x")):
            subprocess.run([*git, *command], cwd=work, check=True)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Anything)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.port = server.server_port
        if not any(word.startswith(_MADE_FIRST) for name in self.commands for word in COMMANDS[name]):
            return
        first = [sys.executable, "-m", "harness", *COMMANDS["run"], "--save", "out/bundles"]
        done = subprocess.run(first, cwd=work, env=self.environment("first"), capture_output=True, text=True)
        (self.run,) = (path.parent.relative_to(work) for path in (work / "out/runs").glob("*/run.json"))
        assert (work / "out/bundles/nsl-kdd-mlp").exists(), done.stderr
        side = replace(side_of(small_run("baseline", seed=1)), spec=load_run(work / self.run).spec)  # which it repeats
        (work / "out/baseline.json").write_text(baseline_text(make_baseline(side)))
        words = ("archive", "add", "team.sqlite", "out/runs")
        subprocess.run(program("harness", *words), cwd=work, env=self.environment("first"), check=True)

    def environment(self, mark: str) -> dict[str, str]:
        """Of a command, whose processes carry the mark."""
        own = {"HOME": str(self.top / "home"), "TMPDIR": str(self.top / "tmp"), "PYTHONPATH": str(ROOT), _MARK: mark}
        given = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "LPARBENCH"))}
        return {**given, **own, "OMP_NUM_THREADS": "1", "PATH": f"{self.top / 'bin'}:{os.environ['PATH']}"}

    def start(self, name: str, mark: str) -> subprocess.Popen[bytes]:
        """The command, as from a shell."""
        return subprocess.Popen(
            self.command(name), cwd=self.top / "work", env=self.environment(mark),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=_heeded,
            start_new_session=True,
        )  # fmt: skip

    def command(self, name: str) -> list[str]:
        """Its words, as a shell would start what is installed."""
        places = {"run": self.run, "port": self.port, "tree": self.tree}
        return program("harness", *(word.format(**places) for word in COMMANDS[name]))

    def switched(self) -> bool:
        """Whether the SMT of the tree is not what it was."""
        return self._read_switches() != self._switches

    def _read_switches(self) -> dict[Path, bytes]:
        cpus = self.tree / "sys/devices/system/cpu"
        return {path: path.read_bytes() for path in cpus.rglob("*") if path.is_file()}

    def left(self) -> list[str]:
        """What is there that nobody asked to keep: temporary and hidden files, and empty directories."""
        left = [str(path.relative_to(self.top)) for path in (self.top / "tmp").iterdir()]
        for folder in ("work/out", "home"):
            for path in (self.top / folder).rglob("*"):
                text = str(path.relative_to(self.top))
                hidden = path.name.startswith(".") and path.name not in (".cache",)
                empty = path.is_dir() and not any(path.iterdir())
                if (hidden or empty) and not any(kept in text for kept in _KEPT if not hidden):
                    left.append(text + (" (empty)" if empty else ""))
        return [name for name in left if "DeveloperTools" not in name and "torchinductor" not in name]


def _heeded() -> None:
    for number in SIGNALS[:3]:
        signal.signal(number, signal.SIG_DFL)


def marked(mark: str) -> Iterator[psutil.Process]:
    """Processes that carry the mark and live."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.Error, OSError):
            continue


def kill_once(bed: Bed, name: str, number: signal.Signals, after_s: float, mark: str) -> tuple[bool, list[str]]:
    """Whether the command was still at work when it was killed, and what went on longer than it should."""
    process = bed.start(name, mark)
    time.sleep(after_s)
    alive = process.poll() is None
    assert process.returncode != ExitCode.USAGE, f"{name}: {COMMANDS[name]} is wrong use"
    if alive:
        process.send_signal(number)
    began = time.monotonic()
    while time.monotonic() - began < WITHIN_S:
        if process.poll() is not None and not list(marked(mark)) and not bed.switched():
            break
        time.sleep(0.02)
    process.poll()
    rest = [" ".join(each.cmdline())[-120:] for each in marked(mark)]
    rest += ["SMT of the tree is not put back"] if bed.switched() else []
    for each in marked(mark):
        each.kill()
    process.wait()
    return alive, rest


def main(kills: int = 200, seed: int = 1, *names: str) -> None:
    """Kill so many times and print the counts; exit status 1 where something went on or stayed."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills-") as top:
        chosen = names or tuple(COMMANDS)
        bed = Bed(Path(top), chosen)
        while counts["kills"] < kills:
            name, number = chosen[counts["tries"] % len(chosen)], rng.choice(SIGNALS)
            counts["tries"] += 1
            after_s = rng.uniform(0.0, _LONGEST_S.get(name, 3.0))
            alive, rest = kill_once(bed, name, number, after_s, f"{seed}.{counts['tries']}")
            if not alive:
                continue
            counts["kills"] += 1
            counts[f"{number.name}"] += 1
            if rest:
                counts["went on"] += 1
                print(
                    f"{name}, {number.name} after {after_s:.2f} s: still there after {WITHIN_S} s: {rest}", flush=True
                )
            counts["left until the next start"] += bool(bed.left())
        for name in chosen:
            last = bed.start(name, "last")
            with contextlib.suppress(subprocess.TimeoutExpired):
                last.wait(2 * _LONGEST_S.get(name, 3.0))
            last.terminate()
            last.wait()
        for path in bed.left():
            counts["stays"] += 1
            print(f"left after the last start of every command: {path}", flush=True)
    print(", ".join(f"{value} {key}" for key, value in counts.items() if key != "tries"))
    sys.exit(1 if counts["went on"] or counts["stays"] else 0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
