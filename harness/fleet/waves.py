"""The coordinator: looks at every host, then measures them in waves, one block on each, hosts of one frame in turn."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from harness import __version__
from harness.compare.observations import side_of
from harness.decode import decode, encode
from harness.errors import InputError
from harness.fleet.inventory import Host
from harness.fleet.protocol import MARK, AnswerKind, Looked, Model, Refused, Request, closing, opening
from harness.fleet.session import (
    HOSTS,
    Entry,
    FleetDesign,
    FleetJournal,
    LookedEntry,
    MeasuredEntry,
    MissedEntry,
    Timed,
    WaveEntry,
)
from harness.fleet.transport import HostFailureError, Transport, clipped
from harness.measure.validity import Evidence, invalidities
from harness.parsing import parse_json
from harness.record.archive_entry import partition_of
from harness.record.codec import DIGEST
from harness.record.fleet_model import HostState
from harness.record.identity import now
from harness.record.model import Result, Run, Validity, Verdict
from harness.record.spec import RunSpec
from harness.record.store import RECORD_NAME, parse_run, write_directory
from harness.runs.fingerprint import fingerprint
from harness.runs.journal import SessionEntry
from harness.training.rank_setting import RankGroup
from harness.wording import plural

LOOK_S = 60.0
_FIRST_S, _LEAST_S, _TIMES = 3600.0, 60.0, 3.0  # limits of a measurement: before any ended; at least; of the median
_ENDED = 3  # measurements that tell how long one takes
_POLL_S = 0.5
_MISSES = 2  # after which a host is not asked again
# A record of one block cannot settle these: a fleet has as many blocks as it has waves.
_OF_ONE_BLOCK = invalidities(Evidence(blocks=1, steady=(False,)))
_EMPTY_SERIALS = frozenset({"e3b0c44298fc1c14", "9af15b336e6a9619"})  # digests of "" and of "0000000"
BROKEN = "another program answers there than this lparbench, or the connection spoils it"
T = TypeVar("T")
Say = Callable[[str], None]


class Coordinator:
    """Does what the design says and the journal does not yet hold."""

    def __init__(
        self, design: FleetDesign, directory: Path, journal: FleetJournal, transport: Transport, say: Say,
        heard: Callable[[Entry], None] = lambda _: None, looks: Sequence[LookedEntry] = (),
    ) -> None:  # fmt: skip
        """``looks`` are what hosts have answered before the journal was begun; they are not asked for it again."""
        self._design = design
        self._directory = directory
        self._journal = journal
        self._transport = transport
        self._say = say
        self._heard = heard
        self._looks = tuple(looks)
        self._hosts = {host.name: host for host in design.hosts}

    def work(self) -> list[Entry]:
        """Look at the hosts and do the waves that are left; every entry of the journal afterwards."""
        self._note(SessionEntry(now()))
        completed(self._work())
        return self._journal.entries

    async def _work(self) -> None:
        seen = {*answered(self._journal.of(LookedEntry)), *(entry.host for entry in self._looks)}
        missing = [host for host in self._design.hosts if host.name not in seen]
        for entry in (*self._looks, *await look_at(missing, self._transport, self._design.fanout)):
            self._note(entry)
        looked = answered(self._journal.of(LookedEntry))
        for entry in self._journal.of(LookedEntry):
            if entry.host not in looked:
                self._say(f"{entry.host}: {entry.state.value}: {entry.reason}")
        self._say(f"{len(looked)} of {plural(len(self._hosts), 'host')} answered.")
        for wave in range(1, self._design.waves + 1):
            await self._wave(wave, looked)

    async def _wave(self, wave: int, looked: dict[str, Looked]) -> None:
        began = {entry.number: entry for entry in self._journal.of(WaveEntry)}
        missed = self._journal.of(MissedEntry)
        ended = {(entry.host, entry.wave) for entry in self._journal.of(MeasuredEntry)}
        ended |= {(entry.host, entry.wave) for entry in missed}
        misses = [entry.host for entry in missed]
        order = list(looked)
        random.Random(f"{self._design.spec.seed}:{wave}").shuffle(order)  # noqa: S311 - an order, no secret
        left = [name for name in order if (name, wave) not in ended and misses.count(name) < _MISSES]
        if not left:
            return
        if wave not in began:
            self._note(WaveEntry(wave, tuple(order), now()))
        self._say(f"wave {wave} of {self._design.waves}: {plural(len(left), 'host')}")
        frames = {name: asyncio.Lock() for name in set(frames_of(looked).values())}
        slots = asyncio.Semaphore(self._design.fanout)

        async def in_turn(name: str) -> None:
            frame = frames_of(looked)[name]
            async with asyncio.Lock() if self._design.together else frames[frame], slots:
                await self._measure(name, wave, looked[name])

        await _all_of([in_turn(name) for name in left])

    async def _measure(self, name: str, wave: int, looked: Looked) -> None:
        """Ask a host for its block of a wave, and note what came of it."""
        seed = self._design.spec.seed + wave
        spec = replace(self._design.spec, seed=seed)
        started = time.monotonic()
        try:
            content = await self._within_limit(
                ask(self._transport, self._hosts[name], spec=spec, timeout_s=self._limit())
            )
            if not isinstance(content, str):
                raise HostFailureError(HostState.FAILED, "it answered something else than a record")
            where = f"the record of {name}"
            run = parse_run(content, where)
            digest = parse_json(content, where)[DIGEST]
            self._refuse_other(run, looked, seed, digest)
            path = f"{HOSTS}/{name}/wave-{wave}"
            target = self._directory / path
            shutil.rmtree(target, ignore_errors=True)  # written before its line of the journal, by a killed coordinator
            write_directory(target, {RECORD_NAME: content.encode("utf-8", "backslashreplace")})
        except HostFailureError as failure:
            self._missed(name, wave, failure.state, failure.reason)
            return
        except InputError as error:
            self._missed(name, wave, HostState.FAILED, clipped(error.message))
            return
        self._note(MeasuredEntry(name, wave, path, digest, time.monotonic() - started, timed_of(run)))

    def _note(self, entry: Entry) -> None:
        self._journal.note(entry)
        self._heard(entry)

    def _missed(self, name: str, wave: int, state: HostState, reason: str) -> None:
        self._note(MissedEntry(name, wave, state, reason))
        self._say(f"wave {wave}: {name}: {state.value}: {reason}")

    def _refuse_other(self, run: Run, looked: Looked, seed: int, digest: str) -> None:
        """See that a record is of this host, in the state that it was looked at in, and of this wave."""
        asked = set(self._design.spec.workloads)
        if run.spec.seed != seed or set(run.spec.workloads) != asked or not {r.workload for r in run.results} <= asked:
            raise HostFailureError(HostState.FAILED, "its record is of another run; refused")
        if any(entry.digest == digest for entry in self._journal.of(MeasuredEntry)):
            raise HostFailureError(HostState.FAILED, "its record was given before; refused")
        if partition_of(run.facts) != partition_of(looked.facts):
            raise HostFailureError(HostState.FAILED, "its record is of another partition; refused")
        before = replace(fingerprint(looked.facts, looked.facts.software), libraries={})
        after = replace(run.fingerprint, libraries={})
        if replace(fingerprint(run.facts, run.facts.software), libraries={}) != after:
            raise HostFailureError(HostState.FAILED, "its record contradicts itself: facts and fingerprint; refused")
        changed = sorted(key for key, value in vars(before).items() if value != getattr(after, key))
        if changed:
            raise HostFailureError(HostState.INVALID, f"it changed since the check: {', '.join(changed)}")

    def _limit(self) -> float:
        """Seconds that a measurement may take."""
        if self._design.timeout_s is not None:
            return self._design.timeout_s
        times = [entry.wall_s for entry in self._journal.of(MeasuredEntry)]
        return _FIRST_S if len(times) < _ENDED else max(_LEAST_S, _TIMES * median(times))

    async def _within_limit(self, asked: Awaitable[T]) -> T:
        """What a host answers, unless that takes too long by what the others take; the limit may fall meanwhile."""
        task = asyncio.ensure_future(asked)
        started = time.monotonic()
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_POLL_S)
                if not task.done() and time.monotonic() - started > self._limit():
                    raise HostFailureError(HostState.TIMED_OUT, f"no answer after {self._limit():.0f} s")
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def completed(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns; a signal that ends this program ends it in order first, with all it has under way."""
    numbers: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    async def stoppable() -> T:
        task = asyncio.ensure_future(work)

        def stop(number: int) -> None:
            numbers.append(number)
            task.cancel()

        for number, handler in handlers.items():
            if callable(handler):
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
        return await task

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        if not numbers:
            raise
    finally:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
    signal.raise_signal(numbers[0])  # whose handler does not return
    raise AssertionError("a signal that ends this program was handled")


async def look_at(hosts: Sequence[Host], transport: Transport, fanout: int) -> list[LookedEntry]:
    """What each host says of itself, or why it says nothing; in the order given."""
    slots = asyncio.Semaphore(fanout)

    async def look(host: Host) -> LookedEntry:
        async with slots:
            try:
                looked = await asyncio.wait_for(ask(transport, host, spec=None, timeout_s=LOOK_S), LOOK_S)
            except asyncio.TimeoutError:
                return LookedEntry(host.name, None, None, HostState.TIMED_OUT, f"no answer after {LOOK_S:.0f} s")
            except HostFailureError as failure:
                return LookedEntry(host.name, None, None, failure.state, failure.reason)
        if not isinstance(looked, Looked):
            return LookedEntry(host.name, None, None, HostState.FAILED, "it answered something else than facts")
        if looked.version != __version__:
            reason = f"lparbench {looked.version} is there, {__version__} here"
            return LookedEntry(host.name, None, None, HostState.FAILED, clipped(reason))
        return LookedEntry(host.name, looked, round(looked.time_s - time.time(), 1))

    return await _all_of([look(host) for host in hosts])


async def ask(
    transport: Transport,
    host: Host,
    *,
    spec: RunSpec | None,
    timeout_s: float,
    group: RankGroup | None = None,
    bundle: bool = False,
) -> Looked | Model | str | None:
    """Send a request and read its answer: what the host says of itself, the text of a record, or None for a training.

    A record comes with the model ``bundle`` where that is asked for.

    Raises:
        HostFailureError: there is none, it is cut short, or it is no answer to this request.
    """
    token = secrets.token_hex(16)
    request = json.dumps(encode(Request(__version__, token, timeout_s, spec, group, bundle))).encode() + b"\n"
    content = await transport.ask(host, request)
    kinds: tuple[AnswerKind, ...] = ("looked", "record", "trained", "model", "refused")
    for kind in kinds:
        _, there, rest = content.partition(opening(token, kind))
        if there:
            break
    else:
        other = "of another request" if f"{MARK} ".encode() in content else "of lparbench"
        raise HostFailureError(HostState.FAILED, f"no answer to this request, but {len(content):,} bytes {other}")
    body, end, _ = rest.partition(closing(token))
    if not end:
        raise HostFailureError(HostState.FAILED, "its answer ends in the middle")
    try:
        text = body.decode("utf-8")
        where = f"the answer of {host.name}"
        match kind:
            case "record":
                return text
            case "trained":
                return None
            case "looked":
                return decode(Looked, parse_json(text, where), where)
            case "model":
                return decode(Model, parse_json(text, where), where)
            case _:
                refused = decode(Refused, parse_json(text, where), where)
    except UnicodeDecodeError:
        raise HostFailureError(HostState.FAILED, f"its answer is not UTF-8; {BROKEN}") from None
    except InputError as error:  # whose remedy is one for a file
        raise HostFailureError(HostState.FAILED, clipped(f"{error.message.rstrip('.')}; {BROKEN}")) from None
    raise HostFailureError(HostState.FAILED, refused.message)


def answered(looks: Sequence[LookedEntry]) -> dict[str, Looked]:
    """Host -> what it says of itself, of those that say something."""
    return {look.host: look.looked for look in looks if look.looked is not None}


def frames_of(looked: dict[str, Looked]) -> dict[str, str]:
    """Host -> the machine that it is a partition of; what cannot be told is a machine of its own."""
    frames = {}
    for name, host in looked.items():
        lpar, machine = host.facts.lpar, host.facts.machine
        if lpar.serial_sha256 and lpar.serial_sha256 not in _EMPTY_SERIALS:
            frames[name] = f"{machine.mtm or lpar.system_type or ''} {lpar.serial_sha256[:6]}".strip()
        else:
            frames[name] = f"system {host.machine_id[:6]}" if host.machine_id else f"host {name}"
    return frames


def timed_of(run: Run) -> tuple[Timed, ...]:
    """One time per result of a record of one block: that of its headline batch."""
    whole = replace(run, results=tuple(map(_as_block, run.results)))
    results: dict[tuple[str, str, str, str], Result] = {
        (r.workload, r.scenario, r.backend, r.dtype): r for r in run.results
    }
    timed = []
    for key, observation in sorted(side_of(whole).observations.items()):
        result = results.get((key.workload, key.scenario, key.backend, key.dtype))
        if result is None or (result.batch_size or 0) != key.batch_size:
            continue
        seconds = next(iter(observation.seconds.values()), None)
        texts = [*map(str, observation.problems), *observation.unusable.values()]
        excused = {rule.text for rule in _OF_ONE_BLOCK}
        problems = tuple(clipped(text) for text in texts if text not in excused)
        settled = not excused & set(texts)
        timed.append(
            Timed(
                key.workload, key.scenario, key.backend, key.dtype, key.batch_size, seconds, problems, settled,
                _page_faults(result),
            )
        )  # fmt: skip
    return tuple(timed)


def _page_faults(result: Result) -> float | None:
    """Of a call of its one block, at the headline batch."""
    series = [each for process in result.processes for each in process.series if each.batch_size == result.batch_size]
    return series[-1].page_faults if series else None


def _as_block(result: Result) -> Result:
    """A result without what its one block cannot settle, and valid where it is called invalid for nothing else."""
    excused = {rule.sentence for rule in _OF_ONE_BLOCK}
    called = result.validity.verdict in (Verdict.INVALID, Verdict.NO_STEADY_STATE)
    if not called:
        return result
    reasons = tuple(reason for reason in result.validity.reasons if reason not in excused)
    return replace(result, validity=replace(result.validity, reasons=reasons) if reasons else Validity(Verdict.VALID))


async def _all_of(work: Sequence[Awaitable[T]]) -> list[T]:
    """All results in order; when one fails, the others are cancelled and ended before its error goes on."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
