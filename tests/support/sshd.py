"""Real ssh servers on loopback ports, each a host of a fleet; started and stopped by the test that asks."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import end

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
MISSING = None if SSHD and shutil.which("ssh") and shutil.which("ssh-keygen") else "openssh-server is not installed"


@dataclass(frozen=True)
class Servers:
    """Ports that answer, the settings by which ssh reaches them, and the process of each server."""

    ports: tuple[int, ...]
    config: Path
    pids: tuple[int, ...]

    def inventory(self, folder: Path, *lines: str) -> Path:
        """An inventory of all ports, under names lpar1, lpar2, ..., with further lines."""
        hosts = [f"lpar{at} ansible_host=127.0.0.1 ansible_port={port}" for at, port in enumerate(self.ports, start=1)]
        path = folder / "hosts.ini"
        path.write_text("\n".join(["[all]", *hosts, *lines]) + "\n", encoding="utf-8")
        return path


@contextlib.contextmanager
def servers(folder: Path, environments: Sequence[Mapping[str, str]]) -> Iterator[Servers]:
    """One server per environment, which its sessions have."""
    assert SSHD is not None
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    key = " ".join((folder / "host.pub").read_text(encoding="ascii").split()[:2])
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    processes, ports = [], []
    try:
        for at, environment in enumerate(environments):
            port = _free_port()
            settings = [
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {folder / 'host'}",
                f"PidFile {folder}/pid{at}",
                f"AuthorizedKeysFile {folder / 'authorized'}",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin yes",
                "SetEnv " + " ".join(f'{name}="{value}"' for name, value in environment.items()),
            ]
            (folder / f"sshd{at}").write_text("\n".join(settings) + "\n", encoding="utf-8")
            log = folder / f"log{at}"
            processes.append(subprocess.Popen([SSHD, "-D", "-f", str(folder / f"sshd{at}"), "-E", str(log)]))
            ports.append(port)
        for port in ports:
            _wait_for(port)
        (folder / "known").write_text("".join(f"[127.0.0.1]:{port} {key}\n" for port in ports), encoding="ascii")
        config = folder / "config"
        config.write_text(
            f"UserKnownHostsFile {folder / 'known'}\nStrictHostKeyChecking yes\nIdentityFile {folder / 'user'}\n"
            f"IdentitiesOnly yes\nUser {getpass.getuser()}\n",
            encoding="utf-8",
        )
        yield Servers(tuple(ports), config, tuple(process.pid for process in processes))
    finally:
        end(processes, 10.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < deadline, f"the server of port {port} does not answer"
        time.sleep(0.02)
