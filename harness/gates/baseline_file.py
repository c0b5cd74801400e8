"""The file that baselines are kept in: one per machine, each with its sessions and the changes accepted there."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from harness.compare.environment import differences, is_allowed
from harness.compare.facts import Facts
from harness.compare.history import AcceptedStep
from harness.compare.observations import Accuracy, ByBlock, Key, Observation, Seconds, Side
from harness.decode import Check, decode, encode
from harness.errors import EnvironmentMismatchError, InputError
from harness.gates.baseline import COMMAND_LINE, SEED, Accepted, Baseline, Session, Words, make_baseline
from harness.gates.floors import Floor
from harness.parsing import read_json
from harness.record.codec import DIGEST, DigestError, check_digest, digest_of
from harness.record.files import write_file
from harness.record.spec import RunSpec
from harness.record.store import encode as to_bytes
from harness.scratch import one_at_a_time

_VERSION: Literal[3] = 3


@dataclass(frozen=True)
class _StoredResult:
    """One key of one machine; ``sessions`` maps the index of a session to its centre in seconds."""

    key: Key
    seconds: Annotated[Mapping[int, Seconds], ByBlock]
    unusable: Annotated[Mapping[int, str], ByBlock]
    conditions: Facts
    floor: Floor
    sessions: Annotated[Mapping[int, Seconds], ByBlock]


@dataclass(frozen=True)
class _Machine:
    """The baseline of one machine; ``sessions`` holds when each was made."""

    name: str
    created: str
    spec: RunSpec | None
    fingerprint: Facts
    accuracy: Mapping[str, Accuracy]
    sessions: Annotated[tuple[str, ...], Check("at least one session", bool)]
    accepted: tuple[Accepted, ...]
    results: Annotated[tuple[_StoredResult, ...], Check("at least one result", bool)]


@dataclass(frozen=True)
class _File:
    """The file, but for its digest."""

    baseline_version: Literal[3]
    machines: Annotated[tuple[_Machine, ...], Check("at least one machine", bool)]


def update_baseline(
    path: Path,
    side: Side,
    *,
    accept: str | None = None,
    others: Collection[Baseline] = (),
    words: Words = COMMAND_LINE,
) -> Baseline:
    """Write the baseline of ``side``'s machine: a further session where there is one, and nothing of other machines.

    Raises:
        InputError: the file that is there is not a baseline, or the side's processor is not known.
        MeasurementError, CheckFailedError: see :func:`harness.gates.baseline.make_baseline`.
    """
    require_processor(side, words)
    with one_at_a_time(Path(os.path.realpath(path))):
        return _updated(path, side, accept, others, words)


def _updated(path: Path, side: Side, accept: str | None, others: Collection[Baseline], words: Words) -> Baseline:
    stored = read_baselines(path, words) if path.exists() else ()
    same = [baseline for baseline in stored if not _differing(baseline, side.fingerprint, ())]
    known = replace(side, fingerprint=same[0].side.fingerprint) if same else side
    earlier = same[0] if same else None
    baseline = make_baseline(known, earlier=earlier, seed=SEED, accept=accept, others=others, words=words)
    rest = [other for other in stored if not same or other is not same[0]]
    write_file(path, to_bytes(baselines_text([*rest, baseline])))
    return baseline


def require_processor(side: Side, words: Words = COMMAND_LINE) -> None:
    """See that a side says which machine it is of.

    Raises:
        InputError: it does not, so nothing could be gated against it.
    """
    if side.fingerprint.get("cpu") is None:
        raise InputError(
            f"{side.name} does not say which processor it was measured on.",
            remedy=f"Name the machine, here and whenever you gate on it: {words.machine} NAME",
        )


def baselines_text(baselines: Sequence[Baseline]) -> str:
    """The file: JSON, keys sorted, the same baselines giving the same bytes."""
    document: dict[str, object] = encode(_File(_VERSION, tuple(map(_stored, baselines))))
    return json.dumps({**document, DIGEST: digest_of(document)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def baseline_text(baseline: Baseline) -> str:
    """The file of one machine."""
    return baselines_text([baseline])


def read_baseline(
    path: Path, fingerprint: Facts | None = None, allowed: Collection[str] = (), words: Words = COMMAND_LINE
) -> Baseline:
    """The baseline of one machine.

    Args:
        path: of the file.
        fingerprint: of the machine; None: the only one in the file.
        allowed: facts that may differ.

    Raises:
        InputError: there is no such file, or it is not a baseline of this version; names the key.
        EnvironmentMismatchError: the file holds several machines, and this is none of them.
    """
    stored = read_baselines(path, words)
    if len(stored) == 1:
        return stored[0]
    if fingerprint is None:
        raise InputError(f"{path} has baselines of {len(stored)} machines.", remedy="Give a run with --candidate RUN.")
    differing = [_differing(baseline, fingerprint, allowed) for baseline in reversed(stored)]
    nearest = min(differing, key=len)
    if nearest:
        raise EnvironmentMismatchError(
            f"{path} has baselines of {len(stored)} machines, none of this one: {'; '.join(nearest)}.",
            remedy=f"Add this machine: {words.write}",
        )
    return stored[len(stored) - 1 - differing.index(nearest)]


def read_baselines(path: Path, words: Words = COMMAND_LINE) -> tuple[Baseline, ...]:
    """Read a baseline file, the machine updated last at the end.

    Raises:
        InputError: there is no such file, or it is not a baseline of this version; names the key.
    """
    remedy = f"Move it away and write a new one: {words.write}"
    if not path.exists():
        raise InputError(f"{path}: no such baseline.", remedy=f"Write it first: {words.write}")
    if path.is_dir():
        raise InputError(
            f"{path} is a directory, and a baseline is a file.",
            remedy="Of a run make one by: lparbench gate BASELINE --update --candidate RUN",
        )
    try:
        document = decode(dict[str, object], read_json(path), str(path))
        content = {key: value for key, value in document.items() if key != DIGEST}
        if "run_id" in content:
            remedy = f"Make a baseline of it, under another name: {words.write}"
            raise InputError(f"{path} is the record of a run.")
        file = decode(_File, content, str(path))
        baselines = tuple(_baseline(machine, f"{path}: machines[{at}]") for at, machine in enumerate(file.machines))
        check_digest(document)  # last: what else is wrong tells more
    except InputError as error:
        raise InputError(f"not a baseline of this version: {error.message}", remedy=remedy) from None
    except DigestError as error:
        raise InputError(f"{path}: not a baseline of this version: {error}.", remedy=remedy) from None
    return baselines


def accepted_steps(paths: Sequence[Path]) -> list[AcceptedStep]:
    """The changes of level that baselines hold, of every machine in them.

    Args:
        paths: baseline files, or folders of them.

    Raises:
        InputError: one is no baseline, or a folder has none.
    """
    steps = []
    for path in paths:
        files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not files:
            raise InputError(
                f"{path}: no baseline files in there.", remedy="Give a baseline file, or a folder of them."
            )
        for baseline in (baseline for file in files for baseline in read_baselines(file)):
            created = [session.created for session in baseline.sessions]
            for entry in baseline.accepted:
                steps += [
                    AcceptedStep(
                        change.key,
                        entry.reason,
                        change.effect > 0,
                        created[change.session - 1],
                        created[change.session],
                        baseline.side.fingerprint,
                    )
                    for change in entry.changes
                    if change.effect is not None and change.session > 0
                ]
    return steps


def _differing(baseline: Baseline, fingerprint: Facts, allowed: Collection[str]) -> list[str]:
    """In what another environment differs, but for what is allowed."""
    mine, other = (Side("", "", facts, {}) for facts in (baseline.side.fingerprint, fingerprint))
    return [str(fact) for fact in differences(mine, other) if not is_allowed(fact.name, allowed)]


def _stored(baseline: Baseline) -> _Machine:
    side, sessions = baseline.side, baseline.sessions
    results = tuple(
        _StoredResult(
            key=key,
            seconds=observation.seconds,
            unusable=observation.unusable,
            conditions=observation.conditions,
            floor=baseline.floors[key],
            sessions={at: session.centres[key] for at, session in enumerate(sessions) if key in session.centres},
        )
        for key, observation in sorted(side.observations.items())
    )
    created = tuple(session.created for session in sessions)
    return _Machine(
        side.name, side.created, side.spec, side.fingerprint, side.accuracy, created, baseline.accepted, results
    )


def _baseline(machine: _Machine, where: str) -> Baseline:
    observations: dict[Key, Observation] = {}
    centres: list[dict[Key, float]] = [{} for _ in machine.sessions]
    for index, result in enumerate(machine.results):
        key = result.key
        if key in observations:
            raise InputError(f"{where}.results[{index}].key: the same key twice.")
        observations[key] = Observation(key, result.seconds, (), result.conditions, result.unusable)
        for session, seconds in result.sessions.items():
            if session >= len(centres):
                raise InputError(f"{where}.results[{index}].sessions.{session}: there is no such session.")
            centres[session][key] = seconds
        if len(centres) - 1 not in result.sessions or not result.seconds:
            raise InputError(f"{where}.results[{index}]: the last session has no time of it.")
    for entry in machine.accepted:
        if any(change.session >= len(centres) for change in entry.changes):
            raise InputError(f"{where}.accepted: a change at a session that is not there.")
    side = Side(machine.name, machine.created, machine.fingerprint, observations, machine.accuracy, machine.spec)
    floors = {result.key: result.floor for result in machine.results}
    sessions = tuple(Session(*pair) for pair in zip(machine.sessions, centres, strict=True))
    return Baseline(side, floors, sessions, machine.accepted)
