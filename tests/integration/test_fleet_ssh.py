"""Fleets over a real OpenSSH: several ports of this machine are several hosts, their measurement alone is made up."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.fleet.inventory import Host
from harness.fleet.session import MeasuredEntry, read_journal
from harness.fleet.transport import SshTransport
from harness.record.store import load_fleet, load_run
from tests.support import sshd
from tests.support.sshd import Servers
from tests.support.waiting import until

if sshd.MISSING:
    pytest.skip(sshd.MISSING, allow_module_level=True)

KINDS = ("1", "2 banner", "3 huge", "4 slow", "5 other")
COMMAND = shlex.join([sys.executable, str(Path(sshd.__file__).with_name("fleet_host.py"))])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("sshd")
    environments = [
        {"LPARBENCH_TEST_HOST": kind, "XDG_CACHE_HOME": str(folder / kind[0]), "QUICK": str(folder / "quick")}
        for kind in KINDS
    ]
    with sshd.servers(folder, environments) as running:
        yield running


def arguments(servers: Servers, command: str, folder: Path, *words: str) -> list[str]:
    inventory = servers.inventory(folder, "gone ansible_host=127.0.0.1 ansible_port=1")
    return ["fleet", command, str(inventory), "--ssh-config", str(servers.config), "--command", COMMAND, *words]


def code_of(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_check_says_what_each_host_is(servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A banner does not matter; an endless answer, a closed port and an unknown key are named, the others answer."""
    key = (servers.config.parent / "known").read_text(encoding="ascii").splitlines()
    (tmp_path / "known").write_text("\n".join(key[1:]) + "\n", encoding="ascii")
    config = tmp_path / "config"
    settings = servers.config.read_text(encoding="utf-8")
    config.write_text(settings.replace(str(servers.config.parent / "known"), str(tmp_path / "known")), encoding="utf-8")
    words = arguments(servers, "check", tmp_path, "--json", "--hosts", "-lpar4,-lpar5")
    words[words.index(str(servers.config))] = str(config)
    assert code_of(words) == 2
    looks = {look["host"]: look for look in json.loads(capsys.readouterr().out)}
    assert {name for name, look in looks.items() if look["looked"]} == {"lpar2"}
    assert looks["lpar2"]["frame"] == "9105-22A 222222"
    assert looks["lpar1"]["state"] == "unreachable"
    assert "Host key verification failed" in looks["lpar1"]["reason"]
    assert "larger than 64 MiB" in looks["lpar3"]["reason"]
    assert "Connection refused" in looks["gone"]["reason"]


def test_a_coordinator_that_is_killed_leaves_nothing_and_is_resumed(servers: Servers, tmp_path: Path) -> None:
    """Killed while a host measures: what runs there ends with its channel; resumed, every block is there once."""
    words = arguments(servers, "run", tmp_path, "nsl-kdd-mlp", "--waves", "1", "--out", str(tmp_path / "out"))
    words += ["--hosts", "lpar[2,4]"]
    start = "import sys; from harness.cli.main import main; main(sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", start, *words], env=environment) as coordinator:
        try:
            directory = until(lambda: next((tmp_path / "out").glob("*-fleet-*"), None))
            until(lambda: _measured(directory) == ["lpar2"] and len(sshd.sessions("4 slow")) > 1)
        finally:
            coordinator.kill()
    until(lambda: not any(sshd.sessions(kind) for kind in KINDS))
    (servers.config.parent / "quick").touch()
    assert code_of(["fleet", "run", "--resume", str(directory)]) == 2, "one wave decides nothing"
    fleet = load_fleet(directory)
    assert [host.name for host in fleet.hosts] == ["lpar2", "lpar4"]
    for host in fleet.hosts:
        assert sorted(record.wave for record in host.records) == [1]
        partitions = {load_run(directory / record.path).facts.lpar.partition_id for record in host.records}
        assert partitions == {int(host.name[-1])}
    assert (directory / "report.html").is_file()
    assert code_of(["fleet", "report", str(directory)]) == 2
    assert code_of(["fleet", "run", "--resume", str(directory)]) == 4, "it is finished"


def test_hosts_that_are_to_be_alike_are_asked_once(
    servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two kinds, nothing is measured or left behind; of a kind, what they have answered is the first of the run."""
    requests: list[str] = []
    ask = SshTransport.ask

    async def noted(transport: SshTransport, host: Host, request: bytes) -> bytes:
        requests.append(f"{host.name} {'look' if json.loads(request)['spec'] is None else 'measure'}")
        return await ask(transport, host, request)

    monkeypatch.setattr(SshTransport, "ask", noted)
    words = arguments(servers, "run", tmp_path, "nsl-kdd-mlp", "--waves", "1", "--out", str(tmp_path / "out"))
    assert code_of([*words, "--alike", "--hosts", "lpar[1,5]"]) == 3
    assert "differ in kernel" in capsys.readouterr().err
    assert sorted(requests) == ["lpar1 look", "lpar5 look"]
    assert not (tmp_path / "out").exists()
    requests.clear()
    assert code_of([*words, "--alike", "--hosts", "lpar[1,2]"]) == 2, "one wave decides nothing"
    assert sorted(requests) == ["lpar1 look", "lpar1 measure", "lpar2 look", "lpar2 measure"]


def _measured(directory: Path) -> list[str]:
    return sorted(entry.host for entry in read_journal(directory) if isinstance(entry, MeasuredEntry))
