"""How many requests a client may send: a bucket of tokens for each, of a bounded number of clients."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

_CLIENTS = 65_536  # of which an account is kept; one that is dropped begins with a full bucket


class Quota:
    """At most ``per_s`` requests per second and client, and a second's worth at once.

    Args:
        per_s: requests per second.
        clock: seconds.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = monotonic) -> None:
        self.per_s = per_s
        self._step = 1.0 / per_s
        self._burst = max(1.0, self._step)  # seconds of which requests may come at once
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()  # when a client's bucket is full again

    def wait(self, client: str) -> int:
        """0 when a request may pass; else the whole seconds after which the next may."""
        now = self._clock()
        full = max(now, self.full_at(client)) + self._step
        if full - now > self._burst + 1e-9:
            return max(1, math.ceil(full - now - self._burst))
        self.keep(client, full, now)
        return 0

    def full_at(self, client: str) -> float:
        """When a client's bucket is full again; in the past for one that is not known."""
        return self._free_at.get(client, 0.0)

    def keep(self, client: str, full: float, now: float) -> None:
        """Note that."""
        self._free_at[client] = full
        self._free_at.move_to_end(client)
        while self._free_at and (len(self._free_at) > _CLIENTS or next(iter(self._free_at.values())) <= now):
            self._free_at.popitem(last=False)


def client_of(peer: object) -> str:
    """Who is at the other end of a socket: an IPv4 address, the network of an IPv6 address, or this machine."""
    if not isinstance(peer, tuple) or not peer:
        return "local"
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except ValueError:
        return str(peer[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
