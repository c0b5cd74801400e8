"""The examples of docs/examples: a log that is followed, a unit that systemd reads, a container file without a slip."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
LINE = "0,tcp,private,REJ," + ",".join(["0"] * 18) + ",117,10,0,0,1,1,0.09,0.06,0,255,10,0.04,0.05,0,0,0,0,1,1"


@pytest.fixture(scope="module")
def follow_log() -> ModuleType:
    specification = importlib.util.spec_from_file_location("follow_log", EXAMPLES / "follow_log.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_lines_are_followed_through_parts_rotation_and_a_cut(follow_log: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text("before\n")
    steps = iter(
        [
            lambda: log.open("a").write("half"),
            lambda: log.open("a").write(" a line\ntwo\r\n"),
            lambda: (log.rename(tmp_path / "audit.log.1"), log.write_text("new file\n")),
            lambda: log.write_text("cut\n"),
            lambda: log.unlink(),
            lambda: log.write_text("again\n"),
        ]
    )

    def ended() -> bool:  # asked whenever there is nothing more to read
        step = next(steps, None)
        if step is None:
            return True
        step()
        return False

    lines = list(follow_log.follow(log, from_start=False, poll_s=0, ended=ended))
    assert lines == ["half a line", "two", "new file", "cut", "again"]


def test_wrong_lines_are_no_features(follow_log: ModuleType) -> None:
    assert len(follow_log.features_of(LINE)) == len(follow_log.features_of(LINE + ",neptune,21")) == 41
    for wrong in ("a,b", LINE + ",1,2,3", LINE.replace("117", "many")):
        with pytest.raises(ValueError, match=r"fields|could not convert"):
            follow_log.features_of(wrong)


class Scores(BaseHTTPRequestHandler):
    """A server that is overloaded at first, and finds every third row anomalous."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Scores.asked += 1
        status, answer = 200, {"reconstruction_error": 0.5, "anomaly": body["features"][0] == 3.0}
        if Scores.asked == 1:
            status, answer = 503, {"error": "later"}
        elif body["features"][1] == "icmp":
            status, answer = 400, {"error": "unknown"}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


def test_an_anomaly_starts_the_action_once(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scores)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log, seen = tmp_path / "audit.log", tmp_path / "seen"
    lines = [LINE, "3" + LINE[1:], "nonsense", LINE.replace("tcp", "icmp"), "3" + LINE[1:] + ",neptune,21"]
    log.write_text("\n".join(lines) + "\n")
    action = f"{sys.executable} -c \"import sys; open({str(seen)!r}, 'a').write(sys.stdin.read())\""
    command = [sys.executable, str(EXAMPLES / "follow_log.py"), str(log), "--from-start", "--once", "--action", action]
    command += ["--url", f"http://127.0.0.1:{server.server_port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr
    assert [json.loads(event)["line"] for event in seen.read_text().splitlines()] == [lines[1], lines[4]]
    assert done.stderr.count("left out") == 2


def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    text = (EXAMPLES / "lparbench-serve.service").read_text()
    (command,) = re.findall(r"^ExecStart=(\S+) (.*)$", text, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "serve", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    for option in re.findall(r"--[\w-]+", command[1]):
        assert option in done.stdout
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "lparbench-serve.service"
    unit.write_text(text.replace(command[0], "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_container_serves_by_options_that_there_are() -> None:
    text = re.sub(r"\\\n\s*", " ", (EXAMPLES / "Containerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert {line.split()[0] for line in lines} <= {
        "ARG", "FROM", "USER", "RUN", "WORKDIR", "COPY", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD", "HEALTHCHECK",
    }  # fmt: skip
    (entry,) = (json.loads(line.partition(" ")[2]) for line in lines if line.startswith("ENTRYPOINT"))
    (command,) = (json.loads(line.partition(" ")[2]) for line in lines if line.startswith("CMD"))
    from typer.main import get_command

    from harness.cli.main import app

    serve = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {option for parameter in serve.params for option in parameter.opts}
    assert {word for word in (*entry, *command) if word.startswith("--")} <= known
    assert entry[1] == "serve"
    (probe,) = (json.loads(line.partition("CMD ")[2]) for line in lines if line.startswith("HEALTHCHECK"))
    compile(probe[2], "healthcheck", "exec")
