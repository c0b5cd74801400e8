"""Which result of one side is which of another, where the two name the same benchmark differently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

from harness.compare.observations import Key, Side

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")
_SET = re.compile(r"\{[^{}]*\}")


def matched(a: Side, b: Side) -> Side:
    """``b`` with the names that ``a`` has for the same results.

    Names may hold what differs from one process or checkout to the next: the folder that the tests were started in, the
    order of a set, the address of an object. What has an equal name is the same; of the rest, what becomes equal
    without these is, as long as there is only one on each side.
    """
    if b.observations.keys() <= a.observations.keys():
        return b
    names = {key: key for key in b.observations.keys() & a.observations.keys()}
    for simplified in (_without_chance, _moved(a.observations, b.observations)):
        left_a = a.observations.keys() - names.values()
        left_b = b.observations.keys() - names.keys()
        of_a, of_b = _unique(left_a, simplified), _unique(left_b, _without_chance)
        names |= {key: of_a[name] for name, key in of_b.items() if name in of_a}
    renamed = {
        names.get(key, key): replace(observation, key=names.get(key, key))
        for key, observation in b.observations.items()
    }
    return b if renamed.keys() == b.observations.keys() else replace(b, observations=renamed)


def _unique(keys: Collection[Key], simplified: Callable[[Key], Key]) -> dict[Key, Key]:
    """Simplified key -> key, of those that stay different from each other."""
    counts = Counter(map(simplified, keys))
    return {simplified(key): key for key in keys if counts[simplified(key)] == 1}


def _without_chance(key: Key) -> Key:
    """Without addresses, sets in the order of their elements' text."""

    def ordered(match: re.Match[str]) -> str:
        return "{" + ", ".join(sorted(match[0][1:-1].split(", "))) + "}"

    return replace(key, workload=_SET.sub(ordered, _ADDRESS.sub("0x", key.workload)))


def _moved(a: Collection[Key], b: Collection[Key]) -> Callable[[Key], Key]:
    """Replaces the folder that ``a`` was started from by that of ``b``: the change that makes most names equal."""
    changes: Counter[tuple[str, str]] = Counter()
    by_file: dict[str, list[str]] = {}
    for key in b:
        by_file.setdefault(_file_and_test(key.workload)[1], []).append(_file_and_test(key.workload)[0])
    for key in a:
        folder, rest = _file_and_test(key.workload)
        for other in by_file.get(rest, ()):
            changes[_without_common_end(folder, other)] += 1
    if not changes:
        return _without_chance
    (before, after), _ = min(changes.items(), key=lambda change: (-change[1], change[0]))

    def moved(key: Key) -> Key:
        path = key.workload
        if before and not path.startswith(f"{before}/"):
            return _without_chance(key)
        rest = path.removeprefix(f"{before}/") if before else path
        return _without_chance(replace(key, workload=f"{after}/{rest}" if after else rest))

    return moved


def _file_and_test(name: str) -> tuple[str, str]:
    """``("a/tests", "b.py::test")`` of ``a/tests/b.py::test``, without chance."""
    simple = _without_chance(Key(name, "", "", "", 0)).workload
    path, separator, test = simple.partition("::")
    folder, _, file = path.rpartition("/")
    return folder, f"{file}{separator}{test}"


def _without_common_end(a: str, b: str) -> tuple[str, str]:
    of_a, of_b = a.split("/") if a else [], b.split("/") if b else []
    while of_a and of_b and of_a[-1] == of_b[-1]:
        of_a.pop()
        of_b.pop()
    return "/".join(of_a), "/".join(of_b)
