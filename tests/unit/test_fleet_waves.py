"""The coordinator against scripted hosts: what each state is for, what is refused, what is resumed, who runs when."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.decode import encode
from harness.errors import InputError
from harness.fleet import transport as transports
from harness.fleet.inventory import Host
from harness.fleet.judge import fleet_of
from harness.fleet.protocol import Refused, Request
from harness.fleet.session import Entry, FleetDesign, MeasuredEntry, MissedEntry, open_journal, read_journal
from harness.fleet.transport import HostFailureError, SshTransport
from harness.fleet.waves import Coordinator, completed, frames_of, timed_of
from harness.measure.validity import Evidence, invalidities
from harness.platform.facts import Facts
from harness.record.fleet_model import Fleet, HostState
from harness.record.model import Validity, Verdict
from harness.record.store import load_run, record_text
from harness.reporting.fleet_html import render_fleet
from harness.reporting.fleet_terminal import fleet_text as terminal_text
from harness.reporting.fleet_view import view_of
from tests.support import fleets
from tests.support.fleets import FakeTransport, answer, facts

Behaviour = Callable[[Request, bytes], bytes]


class KilledError(BaseException):
    """The end of a coordinator."""


def work(directory: Path, design: FleetDesign, transport: FakeTransport) -> tuple[Fleet, list[str]]:
    printed: list[str] = []
    with open_journal(directory) as journal:
        entries = Coordinator(design, directory, journal, transport, printed.append).work()
    return fleet_of(design, entries), printed


def fleet_with(tmp_path: Path, behaviour: Behaviour, waves: int = 1) -> tuple[Fleet, list[Entry], list[str]]:
    """Three hosts, of which lpar2 behaves like this."""
    hosts = {f"lpar{n}": facts(n) for n in (1, 2, 3)}
    design = fleets.design(list(hosts), waves)
    directory = fleets.write(tmp_path, design)
    fleet, printed = work(directory, design, FakeTransport(hosts, {"lpar2": behaviour}))
    return fleet, read_journal(directory), printed


def raising(state: HostState) -> Behaviour:
    def behave(request: Request, right: bytes) -> bytes:
        raise HostFailureError(state, "as scripted")

    return behave


def of_record(change: Callable[[Request], bytes]) -> Behaviour:
    """Answers a look as it should, and a measurement so."""
    return lambda request, right: right if request.spec is None else change(request)


def record_of(request: Request, of: Facts, **changes: object) -> bytes:
    assert request.spec is not None
    return answer(request.token, "record", record_text(fleets.record(of, request.spec, 1e-3, **changes)).encode())


def other_seed(request: Request) -> bytes:
    assert request.spec is not None
    return record_of(replace(request, spec=replace(request.spec, seed=99)), facts(2))


def other_work(request: Request) -> bytes:
    assert request.spec is not None
    run = fleets.record(facts(2), request.spec, 1e-3)
    results = tuple(replace(result, workload="of-nobody") for result in run.results)
    return answer(request.token, "record", record_text(replace(run, results=results)).encode())


def other_kernel(request: Request) -> bytes:
    of = facts(2)
    return record_of(request, replace(of, kernel=replace(of.kernel, release="6.99")))


def other_facts(request: Request) -> bytes:
    """Facts of another kernel under the fingerprint that the coordinator has seen."""
    assert request.spec is not None
    run = fleets.record(facts(2), request.spec, 1e-3)
    changed = replace(run, facts=replace(run.facts, kernel=replace(run.facts.kernel, release="6.99")))
    return answer(request.token, "record", record_text(changed).encode())


def damaged(request: Request) -> bytes:
    return record_of(request, facts(2)).replace(b'"seed": ', b'"seed": 1', 1)


def said(kind: str, value: object) -> Behaviour:
    """Answers a measurement with this."""
    return of_record(lambda request: answer(request.token, kind, json.dumps(encode(value)).encode()))


def old(request: Request, right: bytes) -> bytes:
    return right.replace(request.token.encode(), b"0" * 32)


FAILED = HostState.FAILED
REFUSED: Mapping[str, tuple[Behaviour, HostState, str]] = {
    "unreachable": (raising(HostState.UNREACHABLE), HostState.UNREACHABLE, "as scripted"),
    "nothing": (lambda request, right: b"", FAILED, "no answer to this request, but 0 bytes"),
    "an old answer": (old, FAILED, "another request"),
    "cut short": (lambda request, right: right[:-40], FAILED, "ends in the middle"),
    "facts for a record": (said("looked", fleets.looked(facts(2))), FAILED, "something else than a record"),
    "no record": (said("record", {}), FAILED, "not a run record with a digest"),
    "not UTF-8": (
        of_record(lambda request: answer(request.token, "record", b"\xff")),
        FAILED,
        "UTF-8; another program",
    ),
    "broken facts": (
        of_record(lambda request: answer(request.token, "looked", b"{")),
        FAILED,
        "; another program answers",
    ),
    "a damaged record": (of_record(damaged), FAILED, "does not match its digest"),
    "of another run": (of_record(other_seed), FAILED, "of another run"),
    "of work that nobody asked for": (of_record(other_work), FAILED, "of another run"),
    "of another host": (of_record(lambda request: record_of(request, facts(7))), FAILED, "of another partition"),
    "a kernel that changed": (of_record(other_kernel), HostState.INVALID, "it changed since the check: kernel"),
    "facts of another kernel": (of_record(other_facts), FAILED, "its record contradicts itself: facts and fingerprint"),
    "a refusal": (said("refused", Refused("no\x1b[2Jroom")), FAILED, "no\N{REPLACEMENT CHARACTER}[2Jroom"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_host_that_misbehaves_is_named_and_the_rest_goes_on(tmp_path: Path, case: str) -> None:
    behaviour, state, words = REFUSED[case]
    fleet, _, _ = fleet_with(tmp_path, behaviour)
    states = {host.name: host.state for host in fleet.hosts}
    assert states == {"lpar1": HostState.DONE, "lpar2": state, "lpar3": HostState.DONE}
    reason = next(host.reason for host in fleet.hosts if host.name == "lpar2")
    assert "copy it" not in (reason or ""), "the remedy for a file"
    assert reason is not None
    assert words in reason
    assert not list(tmp_path.rglob("lpar2/*/run.json"))


def test_times_of_nothing_are_no_times(tmp_path: Path) -> None:
    """A rate of infinity would stand first in every comparison."""

    def instant(request: Request) -> bytes:
        assert request.spec is not None
        run = fleets.record(facts(2), request.spec, 1e-3)
        (result,) = run.results
        (process,) = result.processes
        zero = tuple(replace(each, durations_ns=(0,) * len(each.durations_ns)) for each in process.series)
        results = (replace(result, processes=(replace(process, series=zero),)),)
        return answer(request.token, "record", record_text(replace(run, results=results)).encode())

    fleet, entries, _ = fleet_with(tmp_path, of_record(instant), waves=2)
    measured = [entry for entry in entries if isinstance(entry, MeasuredEntry) and entry.host == "lpar2"]
    assert len(measured) == 2, "its records were read"
    states = {host.name: (host.state, host.reason) for host in fleet.hosts}
    assert states["lpar2"] == (HostState.INVALID, "its undisturbed samples take no time")
    assert (states["lpar1"][0], states["lpar3"][0]) == (HostState.DONE, HostState.DONE)
    (test,) = fleet.tests
    assert all(rate is None for each in test.hosts if each.host == "lpar2" for rate in each.rates)


def test_a_script_in_the_facts_is_shown_and_never_run(tmp_path: Path) -> None:
    """Over the wire, through journal, record, page and terminal: it is in the name of its population."""
    script = "<script>alert(1)</script>\x1b[2J\n::error::x"
    plain = {f"lpar{n}": facts(n) for n in (1, 3, 4)}
    own = facts(2)
    evil = replace(
        own,
        machine=replace(own.machine, mtm=script),
        kernel=replace(own.kernel, release=script),
        lpar=replace(own.lpar, partition_name=script),
    )
    hosts = {**plain, "lpar2": evil}
    design = fleets.design(list(hosts), 2)
    directory = fleets.write(tmp_path, design)
    fleet, printed = work(directory, design, FakeTransport(hosts))
    assert {host.name: host.state for host in fleet.hosts}["lpar2"] is HostState.DIFFERENT
    assert any(script in population.title for population in fleet.populations), "it came as far as the record"
    page = render_fleet(fleet).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    text = "\n".join([*printed, terminal_text(fleet, view_of(fleet), 80), terminal_text(fleet, view_of(fleet), None)])
    assert "\x1b" not in page + text
    assert not re.search("^ *::", text, re.MULTILINE), "a command to the log of a CI server"


def test_what_a_profile_prints_before_an_answer_is_passed_over(tmp_path: Path) -> None:
    fleet, _, _ = fleet_with(tmp_path, lambda request, right: b"Welcome!\nlparbench-fleet x record\n{}" + right)
    assert {host.state for host in fleet.hosts} == {HostState.DONE}


def test_a_record_given_twice_counts_once(tmp_path: Path) -> None:
    kept: dict[int, bytes] = {}

    def again(request: Request, right: bytes) -> bytes:
        if request.spec is None:
            return right
        kept.setdefault(0, right.split(b"\n", 1)[1].rsplit(b"\nlparbench-fleet", 1)[0])
        return answer(request.token, "record", kept[0])

    hosts = {"lpar1": facts(1), "lpar2": facts(2)}
    design = fleets.design(list(hosts), 2, spec=replace(fleets.SPEC, seed=5))
    directory = fleets.write(tmp_path, design)
    fleet, printed = work(directory, design, FakeTransport(hosts, {"lpar2": again}))
    assert len(fleet.hosts[1].records) == 1
    assert "another run" in printed[-1]


def test_a_host_that_hangs_is_timed_out_while_others_are_measured(tmp_path: Path) -> None:
    class Hanging(FakeTransport):
        async def ask(self, host: Host, request: bytes) -> bytes:
            content = await super().ask(host, request)
            if host.name == "lpar2" and b'"spec": null' not in request:
                await asyncio.sleep(60)
            return content

    hosts = {f"lpar{n}": facts(n, f"frame{n}") for n in (1, 2, 3)}
    design = fleets.design(list(hosts), 1, timeout_s=0.2)
    fleet, _ = work(fleets.write(tmp_path, design), design, Hanging(hosts))
    assert [host.state for host in fleet.hosts] == [HostState.DONE, HostState.TIMED_OUT, HostState.DONE]


def test_hosts_of_one_frame_take_turns_unless_measured_together(tmp_path: Path) -> None:
    hosts = {f"lpar{n}": facts(n, "f" * 16 if n < 4 else f"{n}" * 16) for n in range(1, 6)}
    assert len(set(frames_of({name: fleets.looked(each) for name, each in hosts.items()}).values())) == 3
    for together, most in ((False, 1), (True, 3)):
        design = fleets.design(list(hosts), 2, together=together, identity=f"fleet-{together}")
        transport = FakeTransport(hosts)
        fleet, _ = work(fleets.write(tmp_path, design), design, transport)
        assert transport.together["f" * 16] == most
        assert all(len(host.records) == 2 for host in fleet.hosts)
        waves = [seed for _, seed in transport.asked]
        assert waves == sorted(waves), "a wave begins when the one before has ended"
        orders = [[name for name, seed in transport.asked if seed == wave] for wave in (2, 3)]
        assert orders[0] != orders[1]


def test_a_fleet_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    """At every number of measurements: all blocks once, none twice, and the records as they came."""
    hosts = {f"lpar{n}": facts(n) for n in (1, 2, 3)}

    class Killed(FakeTransport):
        left = 0

        async def ask(self, host: Host, request: bytes) -> bytes:
            if b'"spec": null' not in request:
                self.left -= 1
                if self.left < 0:
                    raise KilledError
            return await super().ask(host, request)

    for left in (0, 2, 5):
        design = fleets.design(list(hosts), 2, identity=f"fleet-{left}")
        directory = fleets.write(tmp_path, design)
        killed = Killed(hosts)
        killed.left = left
        with pytest.raises(KilledError):
            work(directory, design, killed)
        orphan = directory / "hosts" / "lpar1" / "wave-2"
        orphan.mkdir(parents=True, exist_ok=True)  # written, and killed before the journal had it
        resumed = FakeTransport(hosts)
        fleet, _ = work(directory, design, resumed)
        assert sorted(killed.asked + resumed.asked) == sorted((name, seed) for name in hosts for seed in (2, 3))
        for host in fleet.hosts:
            assert [record.wave for record in sorted(host.records, key=lambda record: record.wave)] == [1, 2]
            for record in host.records:
                assert (
                    load_run(directory / record.path).facts.lpar.partition_name == hosts[host.name].lpar.partition_name
                )


def test_only_one_coordinator_works_in_a_directory(tmp_path: Path) -> None:
    directory = fleets.write(tmp_path, fleets.design(["lpar1"]))
    with (
        open_journal(directory),
        pytest.raises(InputError, match="another lparbench is at work"),
        open_journal(directory),
    ):
        pass


def test_a_host_without_answer_is_not_asked_for_ever(tmp_path: Path) -> None:
    fleet, entries, _ = fleet_with(tmp_path, of_record(lambda request: b""), waves=4)
    assert sum(isinstance(entry, MissedEntry) for entry in entries) == 2
    assert sum(isinstance(entry, MeasuredEntry) for entry in entries) == 8
    assert fleet.hosts[1].state is HostState.FAILED


def test_no_name_becomes_an_option_or_a_word_of_a_shell() -> None:
    words = SshTransport(("/opt/my tools/lparbench", "--x=$(id)")).arguments(
        Host("a", "10.0.0.1", "root", 2222), ("/opt/my tools/lparbench", "--x=$(id)", "fleet", "host")
    )
    assert words[-4:] == ["root", "--", "10.0.0.1", "'/opt/my tools/lparbench' '--x=$(id)' fleet host"]
    assert "BatchMode=yes" in words


def test_an_answer_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "LARGEST", 1000)

    async def read() -> None:
        stream = asyncio.StreamReader()
        stream.feed_data(b"x" * 2000)
        with pytest.raises(HostFailureError, match="larger than"):
            await transports._bounded(stream)

    asyncio.run(read())


def test_a_signal_ends_what_is_under_way_before_it_ends_the_program() -> None:
    class EndedError(BaseException):
        pass

    def end(number: int, frame: object) -> None:
        raise EndedError(number)

    ended: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("in order")

    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(EndedError):
            completed(work())
        assert ended == ["in order"]
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_block_that_is_invalid_for_more_than_being_one_says_that_alone() -> None:
    run = fleets.record(facts(), fleets.SPEC, 0.001)
    disturbed = Evidence(blocks=1, clean_shares=(0.3,))
    reasons = tuple(each.sentence for each in invalidities(disturbed))
    run = replace(run, results=(replace(run.results[0], validity=Validity(Verdict.INVALID, reasons)),))
    (timed,) = timed_of(run)
    assert "30 % of the samples are undisturbed" in " ".join(timed.problems)
    assert "blocks" not in " ".join(timed.problems)


def test_each_entry_of_the_journal_is_heard_of(tmp_path: Path) -> None:
    hosts = {f"lpar{n}": facts(n) for n in (1, 2)}
    design = fleets.design(list(hosts), 1)
    directory = fleets.write(tmp_path, design)
    heard: list[Entry] = []
    transport = FakeTransport(hosts, {"lpar2": raising(HostState.UNREACHABLE)})
    with open_journal(directory) as journal:
        Coordinator(design, directory, journal, transport, [].append, heard.append).work()
    assert heard == read_journal(directory)
