"""What crosses the wire: one request in JSON to a host, one answer back. Never code, never a pickle.

A shell that starts may print whatever its profile says, so an answer begins after a line with the request's own token,
and one that is not ended by such a line was cut short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.advice.finding import Finding
from harness.decode import PathPart
from harness.platform.facts import Facts
from harness.record.spec import RunSpec
from harness.training.rank_setting import RankGroup

MARK = "lparbench-fleet"
LARGEST = 64 << 20  # bytes of an answer, with all that a shell printed before it
AnswerKind = Literal["looked", "record", "trained", "model", "refused"]


@dataclass(frozen=True)
class Request:
    """What a host is asked.

    Attributes:
        version: of the coordinator's lparbench, which must be the host's.
        token: that the answer has to repeat.
        timeout_s: after which the host gives up by itself.
        spec: of the run to do; None: only look at the host.
        group: of ranks that train together, of which the host starts some; without the first of them it only trains.
        bundle: whether the model bundle is wanted with the record.
    """

    version: str
    token: str
    timeout_s: float
    spec: RunSpec | None = None
    group: RankGroup | None = None
    bundle: bool = False


@dataclass(frozen=True)
class BundleFile:
    """A file of a model bundle; ``content`` is in base64."""

    name: PathPart
    content: str


@dataclass(frozen=True)
class Model:
    """What a training left: the text of its record, and the files of the model bundle."""

    record: str
    files: tuple[BundleFile, ...]


@dataclass(frozen=True)
class Looked:
    """What a host says of itself.

    Attributes:
        machine_id: hash of its identity, equal for one system under two names.
        time_s: its clock, seconds since 1970.
        measuring: another fleet measures there now.
        disk_free_bytes: where a measurement there keeps its files; None where it cannot be known.
    """

    version: str
    machine_id: str | None
    time_s: float
    facts: Facts
    findings: tuple[Finding, ...]
    measuring: bool = False
    disk_free_bytes: int | None = None


@dataclass(frozen=True)
class Refused:
    """Why a host did not do what it was asked."""

    message: str


def opening(token: str, kind: AnswerKind) -> bytes:
    """The line before an answer."""
    return f"{MARK} {token} {kind}\n".encode()


def closing(token: str) -> bytes:
    """The line after it."""
    return f"\n{MARK} {token} end\n".encode()
