"""The event loop, and what every front gives to the process that runs it."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Protocol

BACKLOG = 1024


class Server(Protocol):
    """A front that listens."""

    parser: str
    """Name of what reads HTTP."""

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet."""

    async def drain(self, seconds: float) -> int:
        """Answer what was begun, refuse what is new, close; how many requests were not answered in time."""


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed."""
    try:
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    return loop
