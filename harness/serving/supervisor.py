"""A server of several processes: ``python -m harness.serving.supervisor DIR``.

Fronts read HTTP, check and encode; a scorer on each node has the model and the cards whose keys fall to it, so that no
card's history is split. What dies is started again: the sockets that listen stay open here, so that nobody is refused
meanwhile; cards of a scorer that died are lost, counted, and begin anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from harness.decode import encode
from harness.errors import ExitCode
from harness.interpreter import program
from harness.placement.model import Placement, process_environment
from harness.serving.listening import announce, listeners
from harness.serving.loop import AT_ONCE, DRAIN, ended, on_signals, say
from harness.serving.shared import FRONT, READY, SCORER, TABLE, name_of
from harness.serving.spec import ServeSpec, asked_of, log_name, part_of, placement_file

_START_S = 120.0
_SHORT_S = 5.0  # a process that lived no longer
_MOST_SHORT = 3  # such lives in a row, after which the server gives up


@dataclass
class _Child:
    """A process that is kept alive."""

    role: str
    number: int
    placement: Placement
    listener: socket.socket | None = None  # of a front
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    described: dict[str, Any] = field(default_factory=dict)  # what it says when it is ready
    code: int | None = None  # when it is not to be started again

    @property
    def name(self) -> str:
        return name_of(self.role, self.number)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def tell(self, command: bytes) -> None:
        """Over its standard input: signals also come from whoever ends the whole group of processes."""
        if self.alive and self.process is not None and self.process.stdin is not None:
            self.process.stdin.write(command)


class _Server:
    """All processes of the server."""

    def __init__(self, directory: Path, spec: ServeSpec, placements: list[Placement]) -> None:
        self._directory, self._spec = directory, spec
        self.listeners = listeners(spec.host, spec.port, spec.fronts)
        scorers, fronts = shares(placements, spec.fronts)
        self.scorers = [_Child(SCORER, number, part) for number, part in enumerate(scorers)]
        self.fronts = [_Child(FRONT, n, part, self.listeners[n]) for n, part in enumerate(fronts)]
        self.failed = asyncio.Event()
        self._ending = False
        self._keeping: set[asyncio.Task[None]] = set()

    @property
    def children(self) -> list[_Child]:
        return [*self.scorers, *self.fronts]

    async def start(self, children: list[_Child], stop: asyncio.Event) -> bool:
        """Start processes and wait until they are ready; whether they are, and nothing asked to stop."""
        self._keeping |= {asyncio.create_task(self._keep(child)) for child in children}
        ready = asyncio.create_task(_all_ready(children))
        waits = {ready, asyncio.create_task(self.failed.wait()), asyncio.create_task(stop.wait())}
        await asyncio.wait(waits, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        came = ready.done() and not stop.is_set()
        for wait in waits:
            wait.cancel()
        if not came and not self.failed.is_set() and not stop.is_set():
            late = ", ".join(child.name for child in children if not child.ready.is_set())
            say(f"{late}: not ready after {_START_S:g} s; the server gives up.")
        return came

    async def _keep(self, child: _Child) -> None:
        """Start a process, and again whenever it dies."""
        short = 0
        while not self._ending:
            began = monotonic()
            (self._directory / placement_file(child.name)).write_text(
                json.dumps(encode(child.placement)), encoding="utf-8"
            )
            code = await self._lived(child)
            if self._spec.check and child.ready.is_set():
                await _all_ready(self.fronts)
            if self._ending or not child.ready.is_set() or self._spec.check:
                child.code = code
                self.failed.set()
                return
            short = short + 1 if monotonic() - began < _SHORT_S else 0
            how = f"signal {-code}" if code < 0 else f"code {code}"
            then = "gives up" if short >= _MOST_SHORT else "starts it again"
            held = child.role == SCORER and self._cards and self._spec.state is None
            lost = ", and the cards that it held are lost" if held else ""
            say(f"{child.name} ended by {how}{lost}; the server {then}.")
            if short >= _MOST_SHORT:
                child.code = ExitCode.TOOL_FAILED
                self.failed.set()
                return

    @property
    def _cards(self) -> bool:
        return any(child.described.get("parts") is not None for child in self.scorers)

    async def _lived(self, child: _Child) -> int:
        """A life of a process; its exit code."""
        module = "harness.serving.scorer_process" if child.listener is None else "harness.serving.front_process"
        handle = () if child.listener is None else (child.listener.fileno(),)
        command = program(module, str(self._directory), str(child.number), *map(str, handle))
        plan = str(self._directory / placement_file(child.name))
        launch = program("harness.placement.launch", "--plan", plan, "--parent", str(os.getpid()), "--", *command)
        child.process = await asyncio.create_subprocess_exec(*launch, stdin=PIPE, stdout=PIPE, pass_fds=handle)
        assert child.process.stdout is not None
        line = await child.process.stdout.readline()
        if line:
            child.described = json.loads(line)
            child.ready.set()
        return await child.process.wait()

    async def end(self, children: list[_Child]) -> list[int]:
        """Ask processes to end in order, and wait; their exit codes."""
        self._ending = True
        for child in children:
            child.tell(DRAIN)
        return [await child.process.wait() for child in children if child.process is not None]

    def kill(self) -> None:
        """End what is left, at once."""
        self._ending = True
        for child in self.children:
            if child.alive and child.process is not None:
                child.process.kill()


async def _all_ready(children: list[_Child]) -> bool:
    return all([await child.ready.wait() for child in children])


async def _supervise(directory: Path, spec: ServeSpec, placements: list[Placement]) -> int:
    from harness.serving.card_snapshot import put_away

    loop = asyncio.get_running_loop()
    stop, at_once = on_signals(loop)
    server = _Server(directory, spec, placements)
    try:
        if not await server.start(server.scorers, stop):
            return _failure(server, stop)
        if spec.state is not None and not spec.check and Path(spec.state).exists():
            put_away(Path(spec.state))  # the scorers have its cards in their logs
        ready = {"parts": server.scorers[0].described["parts"], "cpus": _cpus(server)}
        (directory / READY).write_text(json.dumps(ready), encoding="utf-8")
        if not await server.start(server.fronts, stop):
            return _failure(server, stop)
        described = server.fronts[0].described | {
            "cpus": _cpus(server),
            "fronts": spec.fronts,
            "scorers": len(server.scorers),
            "processes": [
                {"name": child.name, "pid": child.process.pid, "cpus": list(child.placement.cpus)}
                for child in server.children
                if child.process is not None
            ],
        }
        announce(described, as_json=spec.as_json)
        waits = {asyncio.create_task(event.wait()) for event in (stop, server.failed)}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if server.failed.is_set():
            return _failure(server, stop)
        say(f"draining, at most {spec.drain_s:g} s; a second signal ends it.")
        for each in server.listeners:
            each.close()
        draining = asyncio.create_task(server.end(server.fronts))
        second = asyncio.create_task(at_once.wait())
        await asyncio.wait({draining, second}, return_when=asyncio.FIRST_COMPLETED)
        second.cancel()
        if not draining.done():
            for child in server.fronts:
                child.tell(AT_ONCE)
            await draining
        return max([*draining.result(), *map(abs, await server.end(server.scorers))])
    finally:
        server.kill()


def _failure(server: _Server, stop: asyncio.Event) -> int:
    if stop.is_set() and not server.failed.is_set():  # before there was a request
        return ExitCode.GOOD
    codes = [child.code for child in server.children if child.code is not None]
    return abs(codes[0]) if codes else ExitCode.TOOL_FAILED


def _cpus(server: _Server) -> list[int]:
    return sorted({cpu for child in server.children for cpu in child.placement.cpus})


def shares(placements: list[Placement], fronts: int) -> tuple[list[Placement], list[Placement]]:
    """Placements of the scorers, one for each given, and of the fronts, which are spread over them.

    The last cores of each go to its fronts, a core each, when at least one is left for the scorer; otherwise its
    processes share all of its cores.
    """
    scorers: list[Placement] = []
    by_front: dict[int, Placement] = {}
    for number, whole in enumerate(placements):
        mine = range(number, fronts, len(placements))
        per_core = whole.threads_per_core
        if whole.cores <= len(mine):
            scorers.append(whole)
            by_front |= dict.fromkeys(mine, whole)
            continue
        left = whole.cores - len(mine)
        scorers.append(_part(whole, 0, left * per_core))
        for place, front in enumerate(mine, left):
            by_front[front] = _part(whole, place * per_core, (place + 1) * per_core)
    return scorers, [by_front[front] for front in range(fronts)]


def _part(whole: Placement, start: int, end: int) -> Placement:
    cpus = whole.cpus[start:end]
    cores = len(cpus) // whole.threads_per_core
    return replace(whole, cpus=cpus, threads=len(cpus), cores=cores, env=process_environment(cpus))


def main(directory: Path) -> int:
    """Serve until a signal; exit code 0, or 2 when requests were dropped."""
    from harness.serving.card_snapshot import model_digest
    from harness.serving.cards import look_at

    spec, first = asked_of(directory, "0")
    placements = [first, *(asked_of(directory, str(number))[1] for number in range(1, spec.scorers))]
    (directory / TABLE).touch()
    try:
        if spec.state is not None and spec.check:
            look_at(Path(spec.state), model_digest(Path(spec.bundle)))
        if spec.state is None or spec.check:
            return asyncio.run(_supervise(directory, spec, placements))
        return _with_cards(directory, spec, placements, Path(spec.state))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _with_cards(directory: Path, spec: ServeSpec, placements: list[Placement], path: Path) -> int:
    """Divide the cards of a file among the scorers, and put them together at the end."""
    from harness.serving import card_snapshot
    from harness.serving.card_log import remove_parts
    from harness.serving.cards import say_kept, say_taken, writable, written
    from harness.serving.relay import owner

    writable(path)
    parts = [Path(str(part_of(spec, directory, number).state)) for number in range(spec.scorers)]
    model = card_snapshot.model_digest(Path(spec.bundle))
    say_taken(card_snapshot.divide(path, parts, model, owner) if path.exists() else None, path)
    code = asyncio.run(_supervise(directory, spec, placements))
    if all(part.exists() for part in parts):
        say_kept(written(lambda place: card_snapshot.join(parts, place, model), path), str(path))
        remove_parts(Path(log_name(str(path), 0)), 0)
    return code


if __name__ == "__main__":
    sys.exit(ended(lambda: main(Path(sys.argv[1]))))
