"""How a host is asked: the one place that knows about ssh. Another transport has the same one method."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import one_line
from harness.fleet.inventory import Host
from harness.fleet.protocol import LARGEST
from harness.process_tree import in_tree
from harness.record.fleet_model import HostState

_SSH_FAILED = 255  # ssh's own exit code
_NOT_FOUND = 127
_CONNECT_S, _ALIVE_S, _ALIVE_COUNT = 10, 15, 3
_SAID = 4096  # bytes of standard error that are kept
_SHOWN = 300  # characters of a reason
_CHUNK = 1 << 16
_KILLED_S = 0.5


class HostFailureError(Exception):
    """A host gave no answer that can be used; ``reason`` is one line."""

    def __init__(self, state: HostState, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = clipped(reason)


class Transport(Protocol):
    """Takes a request to a host and brings what it printed."""

    async def ask(self, host: Host, request: bytes) -> bytes:
        """What the host's lparbench wrote to its standard output.

        Cancelled, it leaves nothing at work on the host.

        Raises:
            HostFailureError: it cannot be reached, its lparbench fails, or it writes too much.
        """
        ...


def clipped(text: str) -> str:
    """What a host says, as one short line."""
    line = one_line(text)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


@dataclass(frozen=True)
class SshTransport:
    """The site's own OpenSSH: its keys, its known hosts, its jump hosts.

    Attributes:
        command: how lparbench is started on a host, in words.
        config: file of ssh's own settings instead of the user's; None for those.
    """

    command: Sequence[str] = ("lparbench",)
    config: Path | None = None

    def arguments(self, host: Host, words: Sequence[str]) -> list[str]:
        """The command line of ssh that runs ``words`` there; nothing in it can be taken for an option."""
        # ssh tells of a connection that was lost, or closed by the other end, at the level INFO.
        options = {
            "BatchMode": "yes", "ConnectTimeout": str(_CONNECT_S), "ServerAliveInterval": str(_ALIVE_S),
            "ServerAliveCountMax": str(_ALIVE_COUNT), "ForwardAgent": "no", "ForwardX11": "no", "LogLevel": "INFO",
        }  # fmt: skip
        ssh = ["ssh", "-T", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
        ssh += [] if self.config is None else ["-F", str(self.config)]
        ssh += [] if host.port is None else ["-p", str(host.port)]
        ssh += [] if host.user is None else ["-l", host.user]
        return [*ssh, "--", host.address, shlex.join(words)]

    async def ask(self, host: Host, request: bytes) -> bytes:
        """See ``Transport.ask``."""
        return await self.run(host, (*self.command, "fleet", "host"), request)

    async def run(self, host: Host, words: Sequence[str], content: bytes) -> bytes:
        """What a program writes there to its standard output, given ``content`` on its standard input.

        Raises:
            HostFailureError: see ``Transport.ask``.
        """
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self.arguments(host, words), stdin=pipe, stdout=pipe, stderr=pipe, env=in_tree(os.environ)
            )
        except FileNotFoundError:
            raise HostFailureError(HostState.UNREACHABLE, "ssh is not installed here") from None
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(_last(process.stderr))
        try:
            process.stdin.write(content)
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            answer = await _bounded(process.stdout)
            process.stdin.close()
            code = await process.wait()
            with contextlib.suppress(OSError):  # asked for, or asyncio prints that a program ended before it read all
                await process.stdin.wait_closed()
            printed = await errors
        finally:
            errors.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                with contextlib.suppress(asyncio.TimeoutError):  # what it started may hold its pipes, and ends with us
                    await asyncio.wait_for(process.wait(), _KILLED_S)
        last = last_line(printed)
        if code == _SSH_FAILED:
            raise HostFailureError(HostState.UNREACHABLE, last or "ssh ended without a word")
        if code == _NOT_FOUND:
            raise HostFailureError(
                HostState.FAILED, f"{last or 'lparbench is not there'} (--command names it, --push brings it)"
            )
        if code:
            raise ended_with(code, last)
        return answer


def last_line(printed: bytes) -> str:
    """Of what a program wrote to standard error; empty where it wrote none."""
    return next((line for line in reversed(printed.decode("utf-8", "replace").splitlines()) if line.strip()), "")


def ended_with(code: int, last: str) -> HostFailureError:
    """A program of a host that failed, with the last that it said."""
    return HostFailureError(HostState.FAILED, f"{last or 'no word'} (exit code {code})")


def too_large() -> HostFailureError:
    """An answer that is not taken."""
    return HostFailureError(HostState.FAILED, f"its answer is larger than {LARGEST >> 20} MiB; refused")


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    content = bytearray()
    while chunk := await stream.read(_CHUNK):
        content += chunk
        if len(content) > LARGEST:
            raise too_large()
    return bytes(content)


async def _last(stream: asyncio.StreamReader) -> bytes:
    """The end of what is written; all of it is read, so that the writer is never held up."""
    kept = b""
    while chunk := await stream.read(_CHUNK):
        kept = (kept + chunk)[-_SAID:]
    return kept
