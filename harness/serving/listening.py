"""What a server listens on, and what it says of itself when it does."""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import errno
import fcntl
import json
import re
import resource
import socket
import ssl
import struct
import sys
import termios
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.parsing import read_text
from harness.platform.parse import format_cpulist
from harness.serving.exchange import HttpError
from harness.serving.http1 import Limits
from harness.serving.loop import BACKLOG
from harness.serving.spec import ServeSpec

_HANDSHAKE_S = 0.1  # for what was begun
_STEPS = 4  # of the loop, more than from accepting a connection to its protocol
_LONGEST_TOKEN = 1 << 20
_PEM = "Give a PEM certificate and its key."
_OTHER_FILES = 128  # that a process of the server has open
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # of Linux, on every architecture that lparbench knows
LINGER_S = 2.0  # that a client may go on sending what is refused, before it is reset
_NOTIFY_S = 0.1  # for a client of TLS to see that the connection ends
# Of the classic packet filter, on TCP's header: take a packet whose flags (byte 13) have no SYN, and drop the others.
_NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF))
)

# Take a packet without data: its length less that of its header (the upper half of byte 12, in words) is 0.
_NO_DATA = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 12), (0x74, 0, 0, 4), (0x64, 0, 0, 2), (0x07, 0, 0, 0), (0x80, 0, 0, 0), (0x1C, 0, 0, 0),
        (0x15, 0, 1, 0), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0),
    )
)  # fmt: skip


def listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """Bound sockets on the same address, of which the kernel chooses one for each connection; a single one alone.

    Raises:
        InputError: the address cannot be had.
    """
    first = _bound(host, port)
    if count == 1:
        return [first]
    port = first.getsockname()[1]
    first.close()  # it was free: a socket that shares is not refused where others share already
    shared = [_bound(host, port, shared=True) for _ in range(count)]
    for each in shared:
        each.listen(BACKLOG)
    return shared


class Unsent:
    """How long a client has taken nothing of what was written to it: a close would wait for it for ever."""

    def __init__(self) -> None:
        self._bytes, self._since = 0, 0.0

    def seconds(self, transport: asyncio.Transport, now: float) -> float:
        """Since the last look at which there was less than before; 0 when nothing waits."""
        size = transport.get_write_buffer_size()
        if not size or size < self._bytes or not self._bytes:
            self._since = now
        self._bytes = size
        return now - self._since


def limits_here(limits: Limits) -> Limits:
    """These, or as many connections as the process's limit of open files allows once it is raised for them.

    Beyond that limit the kernel accepts connections that nobody can be given: better to refuse some by an answer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted, unbounded = limits.connections + 2 * limits.lingering + _OTHER_FILES, resource.RLIM_INFINITY
    if soft != unbounded and soft < wanted:
        soft = wanted if hard == unbounded else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft in (unbounded, wanted) or soft > wanted:
        return limits
    quarter = max(1, (soft - _OTHER_FILES) // 4)
    return replace(limits, connections=2 * quarter, lingering=quarter)


def too_many() -> HttpError:
    """The answer to a connection beyond what may be open."""
    return HttpError(503, "too many connections", (("Retry-After", "1"),), "connections")


def too_slow() -> HttpError:
    """The answer to a request whose end does not come."""
    return HttpError(408, "the request did not come in time", reason="timeout")


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        why = error.strerror or str(error)
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        remedy = "Choose --port." if taken else "Choose --host, an address of this machine."
        raise InputError(f"{host}:{port} cannot be listened on: {why}.", remedy=remedy) from None
    listener.setblocking(False)
    return listener


async def stop_accepting(listener: socket.socket) -> None:
    """Let no further connection begin, and accept those that have begun, so that none of them is lost.

    A client that has its SYN answered takes itself for connected, and a listener that is closed resets it. So SYNs are
    dropped first; a client repeats its own after a second, and is refused.
    """
    try:
        _filter(listener, _NO_SYN)
    except OSError:
        listener.listen(0)  # no more than one new connection waits
    await asyncio.sleep(_HANDSHAKE_S)
    # asyncio gives a connection to its protocol some steps after it was accepted, and drops it where the server is
    # closed in between, or where the loop ends: its request would be lost.
    asyncio.get_running_loop().remove_reader(listener)
    for _ in range(_STEPS):
        await asyncio.sleep(0)


def hang_up(transport: asyncio.Transport) -> bool:
    """Close a connection on which nothing is under way; whether that is so.

    Of a client that begins a request at this moment either all is read and answered, or nothing is acknowledged: data
    is no longer let in before it is found that none has come.
    """
    link, came = transport.get_extra_info("socket"), array.array("i", [0])
    with contextlib.suppress(OSError):
        _filter(link, _NO_DATA)
    fcntl.ioctl(link.fileno(), termios.FIONREAD, came)
    if came[0]:
        with contextlib.suppress(OSError):
            link.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        return False
    transport.close()
    if transport.get_extra_info("ssl_object") is not None:  # which waits for an answer that is not let in
        asyncio.get_running_loop().call_later(_NOTIFY_S, transport.abort)
    return True


def _filter(link: socket.socket, instructions: bytes) -> None:
    """Let in what a program of the classic packet filter takes."""
    program = ctypes.create_string_buffer(instructions)
    given = struct.pack("HP", len(instructions) // 8, ctypes.addressof(program))
    link.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)


def url_of(spec: ServeSpec, listener: socket.socket) -> str:
    """Of the server on a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"{'http' if spec.tls_cert is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"


def announce(described: Mapping[str, Any], *, as_json: bool) -> None:
    """Say what is served where: one line of JSON in a pipe, text on a terminal."""
    if as_json or not sys.stdout.isatty():
        print(json.dumps(described), flush=True)
        return
    cpus = format_cpulist(tuple(described["cpus"]))
    print(f"{described['model']} ({described['backend']}) on CPUs {cpus}: {described['url']}")
    for each in described.get("processes", ()):
        print(f"  {each['name']} on CPUs {format_cpulist(tuple(each['cpus']))} (process {each['pid']})")
    for endpoint in described["endpoints"]:
        print(f"  {endpoint}")
    limits = f"{described['deadline_ms']:g} ms, {described['queue_rows']:,} rows waiting"
    print(f"limits: {limits}, {described['max_body_bytes']:,} bytes a body. Ctrl-C drains and ends.", flush=True)


def token_of(spec: ServeSpec) -> str | None:
    """What a request has to bring; None for nothing.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    return None if spec.token_file is None else read_token(Path(spec.token_file))


def read_token(path: Path) -> str:
    """The bearer token in a file.

    Raises:
        InputError: it cannot be read, or is none.
    """
    token = read_text(path, _LONGEST_TOKEN).strip()
    if not token:
        raise InputError(f"{path} is empty.", remedy="Put the token into it.")
    if re.fullmatch(r"[!-~]+", token) is None:
        raise InputError(f"{path} holds no bearer token.", remedy="Expected one word of ASCII characters.")
    return token


def tls(spec: ServeSpec) -> ssl.SSLContext | None:
    """How connections are secured; None for not at all.

    Raises:
        InputError: certificate or key cannot be used.
    """
    if spec.tls_cert is None or spec.tls_key is None:
        return None
    for file in (spec.tls_cert, spec.tls_key):
        try:
            Path(file).open("rb").close()
        except OSError as error:
            raise InputError(f"{file}: {error.strerror or error}.", remedy=_PEM) from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(spec.tls_cert, spec.tls_key, password=partial(_no_password, spec.tls_key))
    except OSError as error:  # ssl.SSLError is one
        raise InputError(f"{spec.tls_cert} with {spec.tls_key}: {error}.", remedy=_PEM) from None
    return context


def _no_password(key: str) -> str:
    """In place of OpenSSL's question on the terminal, which a service would wait at."""
    raise InputError(f"{key} is encrypted.", remedy="Give the key without a password, readable by the server alone.")
