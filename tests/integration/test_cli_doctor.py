"""``lparbench doctor`` as a command: stored trees, JSON, exit codes, and an HMC behind a real ssh server."""

from __future__ import annotations

import getpass
import html
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.trees import LparSpec, NodeSpec, TreeSpec, build
from support.trees_presets import PRESETS

_CHECKOUT = Path(__file__).parents[2]
NAME = "web $(reboot) 'one'"
SPEC = TreeSpec(nodes=(NodeSpec(0, cores=6),), smt=2, smt_control="2", lpar=LparSpec(name=NAME, affinity_score=None))


def _doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", "doctor", *words],
        cwd=_CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=480,
        env={**os.environ, **environment},
    )


def test_a_machine_in_order_exits_with_0_and_says_what_was_checked(tmp_path):
    root = build(PRESETS["p10-smt2"], tmp_path)
    done = _doctor("--sysroot", str(root), "--verbose")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("LPAR bench1, Power S1022, POWER10, PowerVM, dedicated, 4 cores, 8 CPUs, SMT 2")
    assert "Nothing was found that costs performance" in done.stdout
    assert "Not checked: memory-for-workload (not known: workload.memory_bytes)" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110


def test_findings_exit_with_1_and_read_the_same_as_json(tmp_path):
    root = build(PRESETS["p10-two-nodes"], tmp_path)
    told = _doctor("--sysroot", str(root))
    document = json.loads(_doctor("--sysroot", str(root), "--json").stdout)
    assert told.returncode == 1
    assert document["costs_performance"] is True
    assert document["verdict"] in told.stdout
    place = -1
    for finding in document["findings"]:
        assert told.stdout.index(finding["title"]) > place
        place = told.stdout.index(finding["title"])
        for command in finding["fix"]:
            assert f"$ {command}\n" in told.stdout  # whole, whatever its length: it is there to be copied
    assert "-m MANAGED_SYSTEM " in document["findings"][0]["fix"][-2]
    assert "21A7B2C" not in told.stdout, "the serial number is shown when asked for"
    assert "785FABC" not in told.stdout
    assert "not checked for want of facts" in " ".join(told.stdout.split())
    assert "Not checked: " not in told.stdout


def test_the_serial_number_is_in_commands_when_asked_for_and_the_page_has_them(tmp_path):
    root = build(PRESETS["p10-two-nodes"], tmp_path / "tree")
    page = tmp_path / "page.html"
    told = _doctor("--sysroot", str(root), "--serial", "--html", str(page))
    assert "-m '9105-22A*" in told.stdout
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    for command in re.findall(r"\$ (.*)", told.stdout):
        assert html.escape(command, quote=False).replace("'", "&#39;") in text


def test_memory_is_checked_when_it_is_told(tmp_path):
    root = build(PRESETS["p10-smt2"], tmp_path)
    document = json.loads(_doctor("--sysroot", str(root), "--memory", "80G", "--json").stdout)
    assert [finding["id"] for finding in document["findings"]] == ["memory-for-workload"]
    assert document["findings"][0]["title"] == "The work needs 80 GiB; 60.8 GiB are available"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sysroot", "/nowhere"), "/nowhere: "),
        (("--memory", "lots"), "--memory 'lots' is not a size."),
        (("--hmc", "-oProxyCommand=reboot"), "--hmc '-oProxyCommand=reboot' is not a destination."),
    ],
)
def test_wrong_options_are_told_in_one_line(tmp_path, words, told):
    root = build(SPEC, tmp_path)
    done = _doctor("--sysroot", str(root), *words)
    assert done.returncode == 4
    assert done.stderr.startswith(f"lparbench: error: {told}")
    assert "Traceback" not in done.stderr


def test_help_shows_an_example():
    assert "Example: " in _doctor("--help").stdout


@dataclass(frozen=True)
class Console:
    """An ssh server that answers as an HMC does."""

    path: str  # with an ssh that finds the server
    log: Path  # the commands it was given

    def commands(self) -> list[list[str]]:
        """The commands as the console's shell would split them."""
        return [shlex.split(line) for line in self.log.read_text().splitlines()]


# Answers in the HMC's format: key=value pairs, a value with commas quoted as a whole, "none" for no score.
_ANSWER = """#!{python}
import os, shlex, sys
asked = os.environ["SSH_ORIGINAL_COMMAND"]
open({log!r}, "a").write(asked + "\\n")
words = shlex.split(asked)
name = {name!r}
def option(flag):
    return words[words.index(flag) + 1] if flag in words else None
if option("-m") != "9105-22A*21A7B2C":
    sys.exit("HSCL8018 The managed system " + str(option("-m")) + " was not found.")
if words[0] == "lssyscfg":
    print("name=other,lpar_id=1,curr_profile=theirs")
    print("name=" + name + ',lpar_id=5,"power_ctrl_lpar_ids=1,2",curr_profile=prod')
elif words[0] == "lsmemopt" and option("-o") == "currscore":
    print("lpar_name=" + name + ",lpar_id=5,curr_lpar_score={current}")
elif words[0] == "lsmemopt" and option("-o") == "calcscore":
    print("lpar_name=" + name + ",lpar_id=5,curr_lpar_score={current},predicted_lpar_score={predicted}")
else:
    sys.exit("HSCL0000 unknown command")
"""


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A local sshd with one key, whose only command is the console's."""
    sshd = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd",) if Path(path).exists()), None)
    if sshd is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("openssh-server and openssh-client are not installed")
    if os.geteuid() != 0:
        pytest.skip("a local sshd for this user needs root")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # privilege separation directory
    home = tmp_path / "ssh"
    home.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / key)], check=True)
    log = home / "commands"
    log.write_text("")
    answer = home / "answer"
    answer.write_text(_ANSWER.format(python=sys.executable, log=str(log), name=NAME, current=63, predicted=97))
    answer.chmod(0o755)
    (home / "authorized_keys").write_text(f'command="{answer}",restrict {(home / "user.pub").read_text()}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home / 'host'}\nPidFile {home / 'pid'}\n"
        f"AuthorizedKeysFile {home / 'authorized_keys'}\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin forced-commands-only\n"
    )
    public = " ".join((home / "host.pub").read_text().split()[:2])
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    (home / "ssh_config").write_text(
        f"Host hmc1\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {home / 'user'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {home / 'known_hosts'}\n"
    )
    programs = home / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {home / "ssh_config"} "$@"\n')
    (programs / "ssh").chmod(0o755)
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(home / "sshd_config")], stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Console(f"{programs}:{os.environ['PATH']}", log)
    finally:
        server.terminate()
        server.communicate(timeout=480)


def test_the_scores_come_from_the_console(tmp_path, console):
    root = build(SPEC, tmp_path / "tree")
    destination = f"{getpass.getuser()}@hmc1"
    done = _doctor("--sysroot", str(root), "--hmc", destination, "--json", PATH=console.path)
    assert done.returncode == 1, done.stderr
    finding = next(item for item in json.loads(done.stdout)["findings"] if item["id"] == "affinity-score")
    values = {item["path"]: (item["value"], item["source"]) for item in finding["evidence"]}
    assert values["hmc.affinity_score"] == (63, "hmc:lsmemopt -o currscore")
    assert values["hmc.predicted_affinity_score"] == (97, "hmc:lsmemopt -o calcscore")
    assert finding["loss"] == pytest.approx(0.57 * 0.37)
    # the name arrived as one word, whatever it holds
    assert [words[-1] for words in console.commands()] == [f"lpar_names={NAME}", f"lpar_names={NAME}", NAME]


def test_what_the_console_refuses_is_told(tmp_path, console):
    root = build(SPEC, tmp_path / "tree")
    destination = f"{getpass.getuser()}@hmc1"
    done = _doctor("--sysroot", str(root), "--hmc", destination, "--managed-system", "mars", PATH=console.path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "Not answered: The HMC at" in said
    assert "refused 'lssyscfg': HSCL8018 The managed system mars was not found." in said


_PART_OF_A_CONSOLE = """#!/bin/sh
case "$*" in
*{refused}*) echo 'blocked while an optimization runs' >&2; exit {code};;
*lssyscfg*) echo 'name=bench1,lpar_id=5,curr_profile=prod';;
*currscore*) echo 'lpar_name=bench1,lpar_id=5,curr_lpar_score=60';;
*calcscore*) echo 'lpar_name=bench1,lpar_id=5,curr_lpar_score=60,predicted_lpar_score=90';;
esac
"""


@pytest.mark.parametrize("code", [1, 255])
@pytest.mark.parametrize(
    ("refused", "command", "lost"),
    [
        ("calcscore", "lsmemopt", "the predicted affinity score"),
        ("currscore", "lsmemopt", "its affinity score"),
        ("lssyscfg", "lssyscfg", "its profile and configured mode"),
    ],
)
def test_one_refusal_of_the_console_loses_that_answer_only(tmp_path, refused, command, lost, code):
    root = build(replace(SPEC, lpar=LparSpec(affinity_score=None)), tmp_path / "tree")
    ssh = tmp_path / "ssh"
    ssh.write_text(_PART_OF_A_CONSOLE.format(refused=refused, code=code))
    ssh.chmod(0o755)
    done = _doctor("--sysroot", str(root), "--hmc", "me@hmc1", PATH=f"{tmp_path}:{os.environ['PATH']}")
    said = " ".join(done.stdout.split())
    why = "was not reached" if code == 255 else f"refused '{command}'"
    assert f"Not answered: The HMC at me@hmc1 {why}: blocked while an optimization runs." in said
    if refused == "lssyscfg" and code == 255:  # ssh itself failed, and nothing was answered before
        assert done.returncode == 0, "the findings stand without the console"
        return
    assert f"So {lost} is not known." in said
    assert ("rates the placement of processors and memory 60 of 100" in said) == (refused != "currscore")
    assert done.returncode == (0 if refused == "currscore" else 1)


def test_no_access_is_told_and_never_asks_for_a_password(tmp_path, console):
    root = build(replace(SPEC, lpar=LparSpec()), tmp_path / "tree")
    done = _doctor("--sysroot", str(root), "--hmc", "nobody@hmc1", PATH=console.path)
    assert done.returncode in (0, 1), "the findings stand without the console"
    said = " ".join(done.stdout.split())
    assert "Not answered: The HMC at nobody@hmc1 was not reached: " in said
    assert "Permission denied" in said
