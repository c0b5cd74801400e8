"""Bring the wheel of this version to hosts that lack it: into a directory of its own, checked by its digest there."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import __version__
from harness.errors import InputError
from harness.fleet import arrival
from harness.fleet.inventory import Host
from harness.fleet.transport import HostFailureError, SshTransport
from harness.parsing import read_content

_MACHINES = ("ppc64le", "ppc64", "x86_64", "aarch64", "s390x")
_LARGEST = 1 << 28  # bytes of a wheel


@dataclass(frozen=True)
class Wheel:
    """A wheel of this version; ``machine`` is "any" without machine code."""

    content: bytes
    digest: str
    machine: str

    @classmethod
    def read(cls, path: Path) -> Wheel:
        """Read a wheel.

        Raises:
            InputError: it cannot be read, or is not that of this version.
        """
        wanted = f"lparbench-{__version__}-"
        if not (path.name.startswith(wanted) and path.suffix == ".whl"):
            raise InputError(
                f"--push {path}: {wanted}*.whl expected, the version that is here.",
                remedy="In a checkout: pip wheel --no-deps .",
            )
        content = read_content(path, _LARGEST)
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise InputError(f"--push {path} is no wheel.", remedy="In a checkout: pip wheel --no-deps .")
        machine = next((name for name in _MACHINES if path.stem.endswith(f"_{name}")), "any")
        return cls(content, hashlib.sha256(content).hexdigest(), machine)


@dataclass(frozen=True)
class Push:
    """What is brought, for which Python of the hosts, and where to."""

    wheel: Wheel
    python: Sequence[str]
    place: str

    @property
    def command(self) -> tuple[str, ...]:
        """How lparbench is started on a host afterwards."""
        return (*self.python, f"{self.place}/{self.wheel.digest[:16]}/lparbench")


async def pushed(
    hosts: Sequence[Host], push: Push, transport: SshTransport, fanout: int
) -> tuple[SshTransport, dict[str, str]]:
    """The transport that starts what was brought, and what came of it per host: "there", "unpacked", or a reason."""
    slots = asyncio.Semaphore(fanout)
    wheel = push.wheel
    script = Path(arrival.__file__).read_text(encoding="utf-8")
    words = (*push.python, "-c", script, wheel.digest, str(len(wheel.content)), wheel.machine, push.place)

    async def bring(host: Host) -> str:
        async with slots:
            try:
                answer = await transport.run(host, words, wheel.content)
            except HostFailureError as failure:
                return f"{failure.state.value}: {failure.reason}"
        lines = answer.decode("utf-8", "replace").split()
        return lines[-1] if lines and lines[-1] in ("there", "unpacked") else "failed: its Python answers nothing"

    ended = await asyncio.gather(*map(bring, hosts))
    return replace(transport, command=push.command), {host.name: each for host, each in zip(hosts, ended, strict=True)}
