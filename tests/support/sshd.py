"""Real ssh servers, each a host of a fleet, on loopback ports or in network namespaces; gone when the test ends."""

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

from tests.support.namespaces import Namespace
from tests.support.waiting import end

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
MISSING = None if SSHD and shutil.which("ssh") and shutil.which("ssh-keygen") else "openssh-server is not installed"


@dataclass(frozen=True)
class Servers:
    """Addresses and ports that answer, the settings by which ssh reaches them, and the process of each server."""

    ports: tuple[tuple[str, int], ...]
    config: Path
    pids: tuple[int, ...]

    def inventory(self, folder: Path, *lines: str) -> Path:
        """An inventory of all of them, under names lpar1, lpar2, ..., with further lines."""
        hosts = [
            f"lpar{at} ansible_host={address} ansible_port={port}"
            for at, (address, port) in enumerate(self.ports, start=1)
        ]
        path = folder / "hosts.ini"
        path.write_text("\n".join(["[all]", *hosts, *lines]) + "\n", encoding="utf-8")
        return path


@contextlib.contextmanager
def servers(
    folder: Path, environments: Sequence[Mapping[str, str]], hosts: Sequence[Namespace] = ()
) -> Iterator[Servers]:
    """One server per environment, which its sessions have; in those namespaces, where they are given."""
    assert SSHD is not None
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    key = " ".join((folder / "host.pub").read_text(encoding="ascii").split()[:2])
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    processes: list[subprocess.Popen[bytes]] = []
    ports = [(host.address, 22) for host in hosts] or [("127.0.0.1", _free_port()) for _ in environments]
    try:
        for at, environment in enumerate(environments):
            address, port = ports[at]
            settings = [
                f"Port {port}",
                f"ListenAddress {address}",
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
            command = [SSHD, "-D", "-f", str(folder / f"sshd{at}"), "-E", str(log)]
            processes.append(subprocess.Popen(hosts[at].within(command) if hosts else command))
        for address, port in ports:
            _wait_for(address, port)
        known = (f"{address} {key}" if port == 22 else f"[{address}]:{port} {key}" for address, port in ports)
        (folder / "known").write_text("\n".join(known) + "\n", encoding="ascii")
        config = folder / "config"
        config.write_text(
            f"UserKnownHostsFile {folder / 'known'}\nStrictHostKeyChecking yes\nIdentityFile {folder / 'user'}\n"
            f"IdentitiesOnly yes\nUser {getpass.getuser()}\n",
            encoding="utf-8",
        )
        yield Servers(tuple(ports), config, tuple(process.pid for process in processes))
    finally:
        end(processes, 10.0)


def sessions(kind: str) -> list[int]:
    """Processes of sessions of a host, by its ``LPARBENCH_TEST_HOST``."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                variables = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"LPARBENCH_TEST_HOST={kind}\0".encode() in variables:
                members.append(int(entry.name))
    return members


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(address: str, port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        assert time.monotonic() < deadline, f"the server of {address} port {port} does not answer"
        time.sleep(0.02)
