"""What a server is asked to be; passed from the command to the placed process as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.decode import decode_json_file
from harness.placement.model import Placement

Api = Literal["documents", "v2"]
SPEC = "spec.json"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class ServeSpec:
    """One server.

    Attributes:
        bundle: directory of the model.
        front: our own protocol, or FastAPI on uvicorn.
        backend: None for the bundle's fastest here.
        threads: that score.
        fronts: processes that read HTTP.
        scorers: nodes, on each of which a process scores; with one of both, one process does all.
        queue_rows: at most so many wait.
        deadline_s: a request that would take longer is refused.
        max_body: bytes.
        drain_s: after a signal, for what was begun.
        drift_window: rows.
        keys: at most so many cards are kept; None for what half the memory holds.
        key_ttl_s: a card that was not used for so long is forgotten.
        state: file that keeps the cards between a drain and the next start.
        fsync: the disk has a transaction of a card before its answer is given.
        part: which of the scorers a process is; its cards are its own.
        log: with which the names of the files begin that keep those from a process that was killed to the next.
        room_bytes: of memory that the server can still have; None where it is not known.
        thresholds: of the levels; None for the defaults.
        quota_per_s: requests per second that a client may send; None for any number.
        as_published: with the defects of the document's server where they change an answer.
        check: answer one request of each kind, then end.
        as_json: say what is served as JSON on a terminal too.
    """

    bundle: str
    host: str = "127.0.0.1"
    port: int = 8000
    apis: tuple[Api, ...] = ("documents", "v2")
    front: Literal["lean", "asgi"] = "lean"
    backend: str | None = None
    threads: int = 1
    fronts: int = 1
    scorers: int = 1
    queue_rows: int = 4096
    deadline_s: float = 0.05
    max_body: int = 1 << 20
    drain_s: float = 10.0
    drift_window: int = 2000
    keys: int | None = None
    key_ttl_s: float = 30 * 86400.0
    state: str | None = None
    fsync: bool = False
    part: int = 0
    log: str | None = None
    room_bytes: int | None = None
    thresholds: str | None = None
    quota_per_s: float | None = None
    as_published: bool = False
    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    check: bool = False
    as_json: bool = False

    @property
    def divided(self) -> bool:
        """Whether more than one process serves."""
        return self.fronts > 1 or self.scorers > 1


def placement_file(name: str) -> str:
    """Of a process, or by its number of a node."""
    return f"placement-{name}.json"


def asked_of(directory: Path, name: str) -> tuple[ServeSpec, Placement]:
    """What a process is asked to be, and where."""
    return decode_json_file(ServeSpec, directory / SPEC), Placement.read(directory / placement_file(name))


def log_name(state: str, scorer: int) -> str:
    """Of a scorer's log, next to the file that keeps the cards of all."""
    return f"{state}.log{scorer}"


def part_of(spec: ServeSpec, directory: Path, scorer: int) -> ServeSpec:
    """What one of the scorers is asked to be: the cards, and the memory, are divided among them."""
    return replace(
        spec,
        keys=None if spec.keys is None else -(-spec.keys // spec.scorers),
        room_bytes=None if spec.room_bytes is None else spec.room_bytes // spec.scorers,
        state=None if spec.state is None else str(directory / f"cards-{scorer}"),
        part=scorer,
        log=None if spec.state is None else log_name(spec.state, scorer),
    )
