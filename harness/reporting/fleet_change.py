"""Two runs of one fleet in words: what became slower, and in which facts the hosts changed."""

from __future__ import annotations

from harness.errors import ExitCode
from harness.fleet.compare import FactChange, FleetChange, ResultChange
from harness.record.fleet_model import HostStanding, Standing
from harness.reporting.fleet_terminal import printable_lines
from harness.reporting.fleet_view import STATUS, change
from harness.reporting.listing import listing
from harness.reporting.text import and_list, clip
from harness.wording import plural

_NAMED = 6
_FACTS = 12


def exit_code_of(changed: FleetChange) -> ExitCode:
    """1: a host or all together are slower. 2: one is not decided or not in both. 0: none is slower."""
    standings = {each.standing for result in changed.results for each in (result.together, *result.hosts)}
    undecided = Standing.UNDECIDED in standings or bool(changed.missing)
    return ExitCode.judged(failed=Standing.SLOW in standings, inconclusive=undecided)


def change_text(changed: FleetChange, width: int | None) -> str:
    """A sentence per result, the hosts that are not as before, the facts that changed, and what is missing."""
    lines = [f"{changed.before} (before) and {changed.after} (after)", ""]
    lines += [sentence_of(result) for result in changed.results]
    rows = [
        (each.host, STATUS[each.standing].word, change(each), result.title)
        for result in changed.results
        for each in result.hosts
        if each.standing is not Standing.EQUAL
    ]
    if rows:
        lines += ["", *listing(("HOST", "IS NOW", "CHANGE", "RESULT"), rows, width).splitlines()]
    lines += ["", *_facts(changed)]
    lines += [f"Not compared: {host}: {reason}" for host, reason in changed.missing.items()]
    return printable_lines(lines)


def sentence_of(result: ResultChange) -> str:
    """How all hosts together changed in a result, and which of them by themselves."""
    status = STATUS[result.together.standing]
    out = [each for each in result.hosts if each.standing in (Standing.SLOW, Standing.FAST)]
    named = [f"{each.host} is {change(each)}" for each in out[:_NAMED]]
    named += [f"{len(out) - _NAMED} more changed"] if len(out) > _NAMED else []
    undecided = sum(each.standing is Standing.UNDECIDED for each in result.hosts)
    named += [f"{undecided} not decided: measure more waves"] if undecided else []
    text = f"{status.shape} {result.title}: {plural(len(result.hosts), 'LPAR')} together {_together(result.together)}"
    return f"{'; '.join([text, *named])}."


def _together(standing: HostStanding) -> str:
    return f"{change(standing)}, {STATUS[standing.standing].word.lower()}"


def _facts(changed: FleetChange) -> list[str]:
    if changed.facts is None:
        return ["Facts are not compared: the records of the hosts are not there."]
    if not changed.facts:
        return ["No fact changed."]
    lines = [_fact(fact) for fact in changed.facts[:_FACTS]]
    if len(changed.facts) > _FACTS:
        lines.append(f"{len(changed.facts) - _FACTS} more facts changed: see --json.")
    return lines


def _fact(fact: FactChange) -> str:
    hosts = and_list(list(fact.hosts[:_NAMED])) if len(fact.hosts) <= _NAMED else plural(len(fact.hosts), "LPAR")
    effect = f" ({fact.effect})" if fact.effect else ""
    return f"Changed on {hosts}: {fact.name}: {clip(fact.before, 60)} → {clip(fact.after, 60)}{effect}"
