"""Which rank of a training a process is, and where ranks meet; needs no torch."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import InputError
from harness.record.spec import Reduction

INTERFACE = "GLOO_SOCKET_IFNAME"
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # all are set by torchrun, one alone by others too


@dataclass(frozen=True)
class RankSetting:
    """Which of how many ranks a process is, and where they meet.

    Attributes:
        store: path of a file that is not there yet, or HOST:PORT.
        serves: whether this process listens there for the others.
        interface: network interface that they talk over; None leaves that to the variable GLOO_SOCKET_IFNAME.
        prefix: of the keys in a store that others use too.
        answer_s: after which a rank that does not answer is taken to be gone.
        reduce: over what they combine gradients.
    """

    rank: int
    count: int
    store: str
    serves: bool = False
    interface: str | None = "lo"
    prefix: str = ""
    answer_s: float = 60.0
    reduce: Reduction = "gloo"


@dataclass(frozen=True)
class RankGroup:
    """The part of a training's ranks that a command starts; others start the rest.

    Attributes:
        first: number of the first rank here.
        count: of all ranks.
        planned: ranks of this host that are placed, so that they share no core.
        at: which of these the command starts; None for all.
        address, port: where all meet.
        serves: whether rank 0 listens there; otherwise somebody else does.
        prefix: of the keys in the store.
    """

    first: int
    count: int
    planned: int
    at: int | None
    address: str
    port: int
    serves: bool = True
    prefix: str = ""

    def setting(self, rank: int) -> RankSetting:
        """That of one of the ranks here.

        Raises:
            InputError: there is no way to where they meet.
        """
        interface = None if os.environ.get(INTERFACE) else interface_to(self.address, alone=self.planned == self.count)
        store = f"{self.address}:{self.port}"
        return RankSetting(rank, self.count, store, self.serves and rank == 0, interface, self.prefix)


def launched(environment: Mapping[str, str]) -> RankGroup | None:
    """The rank that torchrun started this process as; None where it did not, or as the only one.

    Raises:
        InputError: a variable of torchrun holds something else than torchrun would set.
    """
    if any(name not in environment for name in _VARIABLES):
        return None
    rank, count, port = (_number(environment, name) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    local = _number(environment, "LOCAL_RANK")
    if not rank < count:
        raise InputError(f"RANK is {rank} of WORLD_SIZE {count}.", remedy="torchrun sets both; or unset RANK.")
    if count == 1:
        return None
    agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    here = environment.get("LOCAL_WORLD_SIZE", "")
    planned = int(here) if here.isdecimal() and int(here) > local else local + 1
    prefix = f"lparbench/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return RankGroup(rank, count, planned, local, environment["MASTER_ADDR"], port, not agent, prefix)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 7):
        raise InputError(f"{name} is {text!r}, not a number.", remedy="torchrun sets it; or unset RANK.")
    return int(text)


def interface_to(address: str, *, alone: bool) -> str:
    """The network interface of this host that leads to ``address``.

    A host's own address leads over the interface that has it, not over loopback, so that other hosts reach it.

    Args:
        address: where the ranks meet.
        alone: whether all ranks are on this host.

    Raises:
        InputError: it has no address, there is no way to it, or it is loopback while others are elsewhere.
    """
    import psutil

    try:
        family, kind, protocol, _, peer = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:  # nothing is sent: it only chooses the way
            probe.connect(peer)
            own = probe.getsockname()[0]
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{address}: ranks cannot meet there: {reason}.", remedy="Name another address.") from None
    with_it = (
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(each.address.partition("%")[0] == own for each in addresses)
    )
    name = next(with_it, "lo")
    if (name == "lo" or own.startswith("127.")) and not alone:
        raise InputError(
            f"{address} is this host's loopback, where ranks on other hosts cannot come.",
            remedy=f"Name an address that they reach, or set {INTERFACE}.",
        )
    return name
