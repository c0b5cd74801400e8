"""A fleet run in words: what the terminal and the page both say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.advice.finding import Severity
from harness.errors import ExitCode
from harness.record.fleet_model import Fleet, FleetHost, FleetTest, HostStanding, HostState, Standing
from harness.reporting.sections.status import BAD, GOOD, WARN, Status
from harness.reporting.text import NO_BREAK, and_list, clip
from harness.wording import plural

STATUS = {
    Standing.SLOW: Status("Slow", BAD, "bad"),
    Standing.FAST: Status("Fast", WARN, "warn"),
    Standing.UNSTEADY: Status("Unsteady", WARN, "warn"),
    Standing.EQUAL: Status("Equal", GOOD, "good"),
    Standing.UNDECIDED: Status("Undecided", WARN, "warn"),
}
_SEVERE = {Severity.HIGH.value, Severity.MEDIUM.value}
_NAMED = 6  # hosts in a sentence
_CAUSES = 2
_WAVES = re.compile(r"\d+ of its waves [a-z ]+")  # as a reason begins that says how many are missing


@dataclass(frozen=True)
class HostLine:
    """A host with all that is to be said of it.

    Attributes:
        standing: the worst of its tests; None where it is in none.
        effects: one text per test in which it is out of line.
        causes: findings and differences that may be why.
    """

    host: FleetHost
    standing: Standing | None
    status: Status
    effects: tuple[str, ...]
    causes: tuple[str, ...]


@dataclass(frozen=True)
class FleetView:
    """What there is to say of a fleet run; the worst first."""

    status: Status
    sentences: tuple[str, ...]
    lines: tuple[HostLine, ...]


def view_of(fleet: Fleet) -> FleetView:
    """The sentence, and a line for every host in the order of the inventory."""
    standings: dict[str, list[tuple[FleetTest, HostStanding]]] = {}
    for test in fleet.tests:
        for standing in test.hosts:
            standings.setdefault(standing.host, []).append((test, standing))
    usual = _usual_findings(fleet)
    lines = tuple(_line(host, standings.get(host.name, ()), usual, len(fleet.tests) > 1) for host in fleet.hosts)
    slow = [line for line in lines if line.standing is Standing.SLOW]
    missing = [line for line in lines if line.host.state is not HostState.DONE]
    undecided = [line for line in lines if line.standing in (None, Standing.UNDECIDED, Standing.UNSTEADY)]
    if slow:
        status = Status("Slow host" if len(slow) == 1 else "Slow hosts", BAD, "bad")
    elif missing or undecided:
        status = Status("Incomplete" if missing else "Undecided", WARN, "warn")
    else:
        status = Status("All alike", GOOD, "good")
    return FleetView(status, tuple(_sentences(fleet, lines)), lines)


def exit_code_of(fleet: Fleet) -> ExitCode:
    """1: a host is slow. 2: a host is missing, unsteady or could not be judged. 0: all are as fast as each other."""
    kind = view_of(fleet).status.kind
    return ExitCode.judged(failed=kind == "bad", inconclusive=kind == "warn")


def anonymous(fleet: Fleet) -> Fleet:
    """The same without names of hosts, of the inventory and of the command; hosts keep their order."""
    names = {host.name: f"host{at:03d}" for at, host in enumerate(fleet.hosts, start=1)}

    def hidden(text: str | None) -> str | None:
        for name in sorted(names, key=len, reverse=True):
            text = None if text is None else text.replace(name, names[name])
        return text

    frames = {frame: f"frame {at}" for at, frame in enumerate(dict.fromkeys(host.frame for host in fleet.hosts), 1)}
    hosts = tuple(
        replace(
            host,
            name=names[host.name],
            reason=_without_particulars(host),
            frame=None if host.frame is None else frames[host.frame],
            records=(),
            findings=tuple(replace(finding, title=hidden(finding.title) or "") for finding in host.findings),
        )
        for host in fleet.hosts
    )
    tests = tuple(
        replace(test, hosts=tuple(replace(each, host=names[each.host]) for each in test.hosts)) for test in fleet.tests
    )
    notes = tuple(hidden(note) or "" for note in fleet.notes)
    return replace(
        fleet, hosts=hosts, tests=tests, notes=notes, inventory="inventory", tool=replace(fleet.tool, argv=())
    )


def _without_particulars(host: FleetHost) -> str | None:
    """How many of its waves are missing; nothing that the host or ssh said."""
    if host.reason is None:
        return None
    waves = _WAVES.match(host.reason)
    return host.state.value if waves is None else waves[0]


def change(standing: HostStanding) -> str:
    """``11 % slower [8, 14]``."""
    if standing.ratio is None or standing.low is None or standing.high is None:
        return "not compared"
    slower = standing.ratio < 1
    ends = sorted(100 * (1 - end if slower else end - 1) for end in (standing.low, standing.high))
    decimals = 0 if ends[1] - ends[0] >= 2 else 1
    shown, low, high = (
        f"{value:.{decimals}f}".replace("-", "\u2212") for value in (100 * abs(standing.ratio - 1), *ends)
    )
    return f"{shown}{NO_BREAK}% {'slower' if slower else 'faster'} [{low}, {high}]"


def _usual_findings(fleet: Fleet) -> set[tuple[int | None, str]]:
    """What doctor finds on at least half of a population, which is why nobody in it is slower than the others."""
    counts = Counter((host.population, each) for host in fleet.hosts for each in {f.id for f in host.findings})
    sizes = Counter(host.population for host in fleet.hosts)
    return {key for key, count in counts.items() if 2 * count >= sizes[key[0]]}


def _line(
    host: FleetHost,
    tests: Sequence[tuple[FleetTest, HostStanding]],
    usual: set[tuple[int | None, str]],
    several: bool,
) -> HostLine:
    order = [Standing.SLOW, Standing.UNSTEADY, Standing.FAST, Standing.UNDECIDED, Standing.EQUAL]
    worst = min((standing.standing for _, standing in tests), key=order.index, default=None)
    out = [(test, each) for test, each in tests if each.standing in order[:3]]
    effects = tuple(
        f"{change(each)}{', unsteady' if each.unsteady else ''}{f' in {test.title}' if several else ''}"
        for test, each in out
    )
    causes: tuple[str, ...] = ()
    if out:
        severe = [
            _within_sentence(each.title)
            for each in host.findings
            if each.severity in _SEVERE and (host.population, each.id) not in usual
        ]
        differing = [f"{each.name} is {each.own}, of its peers {each.peers}" for each in host.differences]
        causes = tuple(clip(text, 200) for text in (*severe[:_CAUSES], *differing[:_CAUSES]))
    if host.state is not HostState.DONE:
        kind = "warn" if host.state is HostState.DIFFERENT else "bad"
        status = Status(host.state.value.capitalize(), WARN if kind == "warn" else BAD, kind)
    else:
        status = STATUS[worst or Standing.UNDECIDED]
    return HostLine(host, worst, STATUS[Standing.SLOW] if worst is Standing.SLOW else status, effects, causes)


def _sentences(fleet: Fleet, lines: Sequence[HostLine]) -> list[str]:
    frames = {line.host.frame for line in lines if line.host.frame is not None}
    judged = [line for line in lines if line.standing is not None]
    parts = []
    out = [line for line in judged if line.effects]
    rest = {line.host.name for line in judged} - {line.host.name for line in out}
    furthest = max(
        (
            abs(each.ratio - 1)
            for test in fleet.tests
            for each in test.hosts
            if each.host in rest and each.ratio is not None
        ),
        default=None,
    )
    if furthest is not None:
        parts.append(f"{len(rest)} within {100 * furthest:.1f}{NO_BREAK}%")
    parts += [f"{line.host.name} is {line.effects[0]}{_because(line)}" for line in out[:_NAMED]]
    parts += [f"{len(out) - _NAMED} more are out of line"] if len(out) > _NAMED else []
    if not parts:
        parts = ["none could be compared"]
    head = plural(len(lines), "LPAR") + (f" on {plural(len(frames), 'frame')}" if frames else "")
    sentences = [f"{head}: {'; '.join(parts)}."]
    missing = Counter(line.host.state.value for line in lines if line.host.state is not HostState.DONE)
    if missing:
        words = and_list([f"{count} {state}" for state, count in sorted(missing.items())])
        sentences.append(f"{len(lines) - missing.total()} of {len(lines)} done; {words}.")
    pairs = [population for population in fleet.populations if population.hosts == 2]
    if any(line.host.population in {pair.number for pair in pairs} for line in out):
        sentences.append("Of two hosts it cannot be decided which is out of line.")
    undecided = [line for line in lines if line.standing is Standing.UNDECIDED]
    alone = [line for line in undecided if line.host.name not in _compared(fleet)]
    if len(undecided) > len(alone):
        sentences.append(f"{plural(len(undecided) - len(alone), 'LPAR')} not decided: measure more waves.")
    if alone:
        sentences.append(
            f"Of {plural(len(alone), 'LPAR')} no other of its kind was measured, which no number of waves decides: "
            "measure one more like it, or compare with an earlier run of it (`lparbench fleet compare BEFORE AFTER`)."
        )
    return sentences


def _compared(fleet: Fleet) -> set[str]:
    """Hosts that stand next to others of their population in some test."""
    measured = [[each.host for each in test.hosts if any(each.rates)] for test in fleet.tests]
    return {name for names in measured if len(names) > 1 for name in names}


def _within_sentence(title: str) -> str:
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _because(line: HostLine) -> str:
    return f": {line.causes[0]}" if line.causes else ""
