"""Hosts that are workers of a Dask cluster which runs already: asked over its own connections, by its own certificates.

A worker is asked to call the functions of `harness.fleet.dask_host`, which are named, with bytes and words. What comes
back is read as plain values: unpickling, which Dask does wherever a message asks for it, is refused in this process
while a connection is open. A task, which Dask would move or repeat elsewhere, is never made.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from harness import __version__
from harness.errors import InputError
from harness.fleet import dask_host
from harness.fleet.inventory import MOST_HOSTS, Host, Inventory
from harness.fleet.protocol import LARGEST
from harness.fleet.transport import HostFailureError, ended_with, last_line, too_large
from harness.record.fleet_model import HostState

_CONNECT_S = 10.0
_ANSWER_S = 30.0  # of one call, none of which waits for the end of a measurement
_LEASE_S = 45.0  # as ssh takes a connection to be gone after three times 15 s
_PLAIN = ("msgpack",)
_TLS = "Dask's own settings name them: distributed.comm.tls.ca-file, client.cert and client.key."
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,149}")


class NoAnswerError(Exception):
    """A call brought no plain answer; the text is one line."""


@dataclass(frozen=True)
class DaskTransport:
    """The workers of a cluster.

    Attributes:
        scheduler: its address.
        command: how lparbench is started on a host, in words; none for that of the worker.
        addresses: of the workers, by the names of the hosts.
    """

    scheduler: str
    command: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)

    async def ask(self, host: Host, request: bytes) -> bytes:
        """See ``Transport.ask``."""
        address = self.addresses.get(host.name)
        if address is None:
            raise HostFailureError(HostState.UNREACHABLE, f"{self.scheduler} has no worker there now")
        try:
            async with connected(address) as call:
                word = await call(dask_host.begin, request, self.command, _LEASE_S)
                if not isinstance(word, str):
                    raise HostFailureError(HostState.FAILED, "another fleet is measuring on this host")
                try:
                    code, answer, errors = await _collected(call, word)
                except BaseException:
                    with contextlib.suppress(NoAnswerError, OSError):
                        await asyncio.shield(call(dask_host.end, word))
                    raise
        except OSError as error:
            raise HostFailureError(HostState.UNREACHABLE, str(error) or "the connection ended") from None
        except NoAnswerError as error:
            raise HostFailureError(HostState.FAILED, str(error)) from None
        if code == dask_host.TOO_MUCH or len(answer) > LARGEST:
            raise too_large()
        if code:
            raise ended_with(code, last_line(errors))
        return answer


Call = Callable[..., Any]


async def _collected(call: Call, word: str) -> tuple[int, bytes, bytes]:
    while True:
        ended = await call(dask_host.collect, word)
        match ended:
            case None:
                continue
            case (int(code), bytes(answer), bytes(errors)):
                return code, answer, errors
            case _:
                raise NoAnswerError("the answer of its worker is none")


async def workers_of(scheduler: str) -> tuple[Inventory, dict[str, str], list[str]]:
    """The hosts of a cluster, the addresses of their workers, and what is to be said of them.

    Raises:
        InputError: the scheduler does not answer, or has no workers.
    """
    try:
        async with connected(scheduler) as call:
            listed = (await call("identity")).get("workers", {})
    except (OSError, NoAnswerError) as error:
        raise InputError(f"--scheduler {scheduler}: {error}.", remedy="Give the address that its log names.") from None
    if not listed:
        raise InputError(f"--scheduler {scheduler}: it has no workers.", remedy="Start one per LPAR.")
    if len(listed) > MOST_HOSTS:
        raise InputError(f"--scheduler {scheduler}: more than {MOST_HOSTS:,} workers.", remedy="Divide the fleet.")
    known = await asyncio.gather(*(_who(address) for address in listed))
    counted = Counter(name for name, _ in known)
    addresses: dict[str, str] = {}
    remarks = []
    for (address, of_worker), (name, samplers) in zip(listed.items(), known, strict=True):
        own = str(of_worker.get("name", ""))
        chosen = name if counted[name] == 1 and _NAME.fullmatch(name) else own.partition("://")[2] or own
        chosen = chosen if _NAME.fullmatch(chosen) else address.partition("://")[2]
        if chosen in addresses or not _NAME.fullmatch(chosen):
            raise InputError(f"--scheduler {scheduler}: worker {own!r} has no name of its own.", remedy="Use --name.")
        addresses[chosen] = address
        if samplers:
            remarks.append(f"{chosen}: of its Dask worker, these run while it measures: {', '.join(samplers)}.")
    hosts = tuple(Host(name, address) for name, address in sorted(addresses.items()))
    return Inventory(hosts, {"all": tuple(host.name for host in hosts)}), addresses, remarks


async def _who(address: str) -> tuple[str, Sequence[str]]:
    """Name of a worker's host, and the samplers that run in it; nothing where it does not answer in time."""
    with contextlib.suppress(OSError, NoAnswerError):
        async with connected(address) as call:
            match await call(dask_host.who):
                case (str(name), str(version), tuple(samplers)) if version == __version__:
                    return name, [str(sampler) for sampler in samplers]
    return "", ()


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[Call]:
    """A connection to a scheduler or a worker, as a function that calls one of its operations or a function there.

    Raises:
        InputError: Dask is not installed, or has no certificates.
        OSError: there is no connection, or it ended.
    """
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise InputError("--scheduler needs Dask.", remedy="pip install 'lparbench[fleet]'") from None
    encrypted = address.startswith("tls://")
    arguments = distributed.Security(require_encryption=encrypted).get_connection_args("client")
    if encrypted and arguments.get("ssl_context") is None:
        raise InputError(f"--scheduler {address}: no certificates are configured.", remedy=_TLS)
    with _nothing_unpickled():
        channel = await distributed.comm.connect(address, timeout=_CONNECT_S, deserialize=False, **arguments)
        try:
            yield _calls(channel)
        finally:
            channel.abort()


def _calls(channel: Any) -> Call:

    async def call(what: str | Callable[..., object], *given: object) -> Any:
        message: dict[str, object] = {"op": what, "reply": True, "serializers": list(_PLAIN)}
        if not isinstance(what, str):  # by its name: a reference to what is installed there
            message |= {"op": "run", "function": pickle.dumps(what), "args": pickle.dumps(given), "kwargs": None}
        await asyncio.wait_for(channel.write(message), _ANSWER_S)
        return _plain(await asyncio.wait_for(channel.read(), _ANSWER_S))

    return call


_open = 0  # connections over which pickles might come
_hooked = False


@contextlib.contextmanager
def _nothing_unpickled() -> Iterator[None]:
    """Refuse every pickle that names a class or a function, which all that can do something have to."""
    global _open, _hooked
    if not _hooked:
        sys.addaudithook(_refuse_pickles)
        _hooked = True
    _open += 1
    try:
        yield
    finally:
        _open -= 1


def _refuse_pickles(event: str, _: tuple[object, ...]) -> None:
    if event == "pickle.find_class" and _open:
        raise NoAnswerError("it sent something that would have to be unpickled; refused")


def _plain(answer: Any) -> Any:
    """An answer in plain values.

    Raises:
        NoAnswerError: it is an error, or something that would have to be unpickled.
    """
    if not isinstance(answer, dict):
        raise NoAnswerError("no answer of Dask")
    if "exception_text" in answer:
        raise NoAnswerError(f"its Dask worker: {answer['exception_text']}")
    result = answer.get("result", answer)
    header, frames = getattr(result, "header", None), getattr(result, "frames", None)
    if header is None:
        return result
    try:
        whole = import_module("distributed.protocol.compression").decompress(header, frames)
        serialize = import_module("distributed.protocol.serialize")
        return serialize.merge_and_deserialize(header, whole, deserializers=_PLAIN)
    except Exception as error:  # noqa: BLE001 - anything may be wrong with what a host sends
        raise NoAnswerError(f"its answer is no plain value; refused: {error}") from None
