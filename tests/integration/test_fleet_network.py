"""Fleets whose hosts have a network of their own: a cable that is pulled."""

from __future__ import annotations

import contextlib
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.fleet import transport
from harness.record.fleet_model import HostState
from harness.record.store import load_fleet
from tests.support import namespaces, sshd
from tests.support.namespaces import Namespace
from tests.support.sshd import Servers
from tests.support.waiting import until

if missing := sshd.MISSING or namespaces.MISSING:
    pytest.skip(missing, allow_module_level=True)

KINDS = ("1", "2 slow", "3")
COMMAND = shlex.join([sys.executable, str(Path(sshd.__file__).with_name("fleet_host.py"))])


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, ...]]:
    with namespaces.namespaces(len(KINDS)) as made:
        yield made


@pytest.fixture
def servers(hosts: tuple[Namespace, ...], tmp_path: Path) -> Iterator[Servers]:
    environments = [
        {"LPARBENCH_TEST_HOST": kind, "XDG_CACHE_HOME": str(tmp_path / kind[0]), "QUICK": str(tmp_path / "quick")}
        for kind in KINDS
    ]
    with sshd.servers(tmp_path, environments, hosts) as running:
        yield running


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_cable_that_is_pulled_costs_its_host_alone(
    servers: Servers, hosts: tuple[Namespace, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No end is told: ssh asks and gets no answer. The host is named, and what it did ends when the cable is back."""
    monkeypatch.setattr(transport, "_ALIVE_S", 1)
    puller = threading.Thread(target=lambda: (until(lambda: _measures(KINDS[1])), hosts[1].unplug()))
    puller.start()
    out = tmp_path / "out"
    words = ("--ssh-config", str(servers.config), "--command", COMMAND, "--waves", "1", "--out", str(out))
    assert code_of("fleet", "run", str(servers.inventory(tmp_path)), "nsl-kdd-mlp", *words) == 2
    puller.join()
    (directory,) = out.iterdir()
    states = {host.name: (host.state, host.reason) for host in load_fleet(directory).hosts}
    assert {name: state for name, (state, _) in states.items()} == {
        "lpar1": HostState.DONE, "lpar2": HostState.UNREACHABLE, "lpar3": HostState.DONE,
    }  # fmt: skip
    assert "not responding" in (states["lpar2"][1] or "")
    hosts[1].plug()
    until(lambda: not sshd.sessions(KINDS[1]))


def _measures(kind: str) -> bool:
    """Whether what a host does in place of measuring has begun."""
    for pid in sshd.sessions(kind):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep"):
                return True
    return False
