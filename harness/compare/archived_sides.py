"""The runs of an archive as sides of comparisons, kept in the archive itself so that no record is read twice for it.

Reading a record whole takes tens of milliseconds, what is compared of it one: a site of thousands of runs needs that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from harness import __version__
from harness.compare.facts import Facts
from harness.compare.observations import Observation, Side, side_of
from harness.decode import decode, encode
from harness.errors import InputError, LparbenchError
from harness.parsing import parse_json
from harness.record.archive import Archive
from harness.record.archive_entry import Entry
from harness.record.model import Run
from harness.record.store import parse_run

# Another version of the product may estimate otherwise from the same samples; the number is raised when this one does.
KIND = f"side 1 of {__version__}"
_MOST_FACTS = 4096  # environments that are kept while an archive is read


@dataclass(frozen=True)
class _Kept:
    """Of a side, what a history is made of; facts as JSON, for they are the same in most runs of a partition."""

    fingerprint: str
    conditions: tuple[str, ...]  # of each observation
    observations: tuple[Observation, ...]


def side_text(run: Run) -> str:
    """What is kept of a run with its record."""
    side = side_of(run)
    observations = tuple(side.observations.values())
    bare = tuple(replace(each, conditions={}) for each in observations)
    conditions = tuple(_text(each.conditions) for each in observations)
    return json.dumps(encode(_Kept(_text(side.fingerprint), conditions, bare)), separators=(",", ":"))


def sides(archive: Archive, entries: Sequence[Entry]) -> Iterator[tuple[Entry, Side]]:
    """Each run as a side that is called by the run's identifier, in order; what is not kept yet is, where it can be.

    Raises:
        InputError: a record in the archive is damaged.
    """
    kept = archive.kept(KIND)
    made: dict[str, str] = {}
    for entry in entries:
        try:
            side = _side(entry, kept[entry.digest])
        except (InputError, KeyError, ValueError):  # not there, or not what was kept
            ((_, content),) = archive.texts([entry])
            run = parse_run(content.decode("utf-8", "backslashreplace"), f"run {entry.id}")
            made[entry.digest] = side_text(run)
            side = _side(entry, made[entry.digest])
        yield entry, side
    if made:
        with suppress(LparbenchError):  # an archive that may only be read
            archive.keep(KIND, made)


def _side(entry: Entry, text: str) -> Side:
    where = f"run {entry.id}"
    whole = decode(_Kept, parse_json(text, where), where)
    observations = {
        each.key: replace(each, conditions=_facts(facts))
        for each, facts in zip(whole.observations, whole.conditions, strict=True)
    }
    return Side(entry.id, entry.created, _facts(whole.fingerprint), observations, run_id=entry.id)


def _text(facts: Facts) -> str:
    return json.dumps(encode(dict(facts)), sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=_MOST_FACTS)
def _facts(text: str) -> Facts:
    facts: Facts = decode(Facts, parse_json(text, "facts"), "facts")  # type: ignore[type-abstract]
    return facts
