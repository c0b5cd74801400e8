"""Hosts with a network of their own: namespaces of this machine, joined by a bridge; gone when the test ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _missing() -> str | None:
    if IP is None:
        return "iproute2 is not installed"
    if os.geteuid():
        return "a network namespace takes root"
    name = f"lpb{os.getpid()}t"
    if subprocess.run([IP, "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces are not permitted here"
    subprocess.run([IP, "netns", "delete", name], check=False)
    return None


MISSING = _missing()


@dataclass(frozen=True)
class Namespace:
    """One host: its name, its address on the bridge, and this machine's end of its cable."""

    name: str
    address: str
    cable: str

    def within(self, command: Sequence[str]) -> list[str]:
        """The command, run on that host."""
        assert IP is not None
        return [IP, "netns", "exec", self.name, *command]

    def unplug(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        _ip("link", "set", self.cable, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.cable, "up")


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[tuple[Namespace, ...]]:
    """So many hosts, which reach each other and this machine.

    Each has a second interface that leads nowhere and comes first, as a partition's private networks do.
    """
    # The number of this process keeps parallel tests apart, in names of 15 characters and in the third byte.
    mark = f"lpb{os.getpid() % 100_000}"
    network = f"10.213.{os.getpid() % 250}"
    bridge = f"{mark}b"
    hosts = tuple(Namespace(f"{mark}n{at}", f"{network}.{at + 1}", f"{mark}c{at}") for at in range(1, count + 1))
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "add", f"{network}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for at, host in enumerate(hosts, start=1):
            _ip("netns", "add", host.name)
            _ip("-n", host.name, "link", "set", "lo", "up")
            _cable(f"{host.cable}x", host, "eth0", f"10.214.{at}.1/24")
            _cable(host.cable, host, "eth1", f"{host.address}/24")
            _ip("link", "set", host.cable, "master", bridge)
        yield hosts
    finally:
        for host in hosts:
            for cable in (host.cable, f"{host.cable}x"):
                _ip("link", "delete", cable, check=False)
            _ip("netns", "delete", host.name, check=False)
        _ip("link", "delete", bridge, check=False)


def _cable(end: str, host: Namespace, name: str, address: str) -> None:
    """A cable from this machine, where it is called ``end``, to an interface of a host."""
    _ip("link", "add", end, "type", "veth", "peer", "name", name, "netns", host.name)
    _ip("link", "set", end, "up")
    _ip("-n", host.name, "address", "add", address, "dev", name)
    _ip("-n", host.name, "link", "set", name, "up")


def _ip(*words: str, check: bool = True) -> None:
    assert IP is not None
    done = subprocess.run([IP, *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
