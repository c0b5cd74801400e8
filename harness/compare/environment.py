"""In what two environments differ, and whether a comparison across the difference means anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.compare.facts import Facts, FactValue, conflict
from harness.compare.observations import Key, Side
from harness.errors import EnvironmentMismatchError, unknown


@dataclass(frozen=True)
class Fact:
    """A fact two sides may differ in, and what that does to a comparison of times."""

    name: str
    effect: str
    separates: bool = False  # a comparison across this difference answers no question about speed


# In the order of likely effect on the times, the strongest first. A name covers all facts below it ("smt.online").
FACTS = (
    Fact("emulated", "an emulator's times say nothing about the machine it imitates", separates=True),
    Fact("arch", "another instruction set: other kernels, other libraries", separates=True),
    Fact("data", "the timed work itself differs", separates=True),
    Fact("detector", "the timed work itself differs", separates=True),
    Fact("cache", "a cold cache is measured for another question than a hot one", separates=True),
    Fact("p99_bound_s", "another bound on the latency: another rate is asked for", separates=True),
    Fact("rate_of", "another search: its rate is up to 6 % lower or higher by definition", separates=True),
    Fact("python_implementation", "another interpreter: up to many times as fast in Python code"),
    Fact("python", "another version of the interpreter"),
    Fact("jvm", "another virtual machine of Java"),
    Fact("timer", "another clock: it counts something else, or less finely"),
    Fact("build_type", "another build: debug code is several times as slow"),
    Fact("system", "another operating system"),
    Fact("instances", "more or fewer processes at once share caches and memory"),
    Fact("generation", "another processor generation: up to several times the matrix rate"),
    Fact("cpu", "another processor"),
    Fact("mode", "compatibility mode: an older mode hides instructions such as MMA"),
    Fact("machine", "another machine model: other clock, other memory"),
    Fact("threads_per_core", "threads of one core share its execution units"),
    Fact("smt", "SMT level: how a core's resources are split between threads"),
    Fact("threads", "more or fewer threads at work"),
    Fact("nodes", "NUMA nodes: local or remote memory, other chips"),
    Fact("memory_policy", "pages may lie on another node than the CPUs: up to twice the latency"),
    Fact("cpu_quota", "a cgroup quota throttles in bursts"),
    Fact("lpar_dedicated", "shared processors are given to others between dispatches"),
    Fact("lpar_capped", "an uncapped partition borrows cycles it cannot count on"),
    Fact("lpar_entitled_capacity", "entitlement bounds what a shared partition gets under contention"),
    Fact("lpar_virtual_processors", "virtual processors: how thinly the entitlement is spread"),
    Fact("hypervisor", "another hypervisor, or none"),
    Fact("cpu_count", "more or fewer CPUs"),
    Fact("cpus_online", "more or fewer CPUs online: other neighbours on the cores"),
    Fact("cpus", "other CPUs of the machine: other cores, caches, neighbours"),
    Fact("thread_environment", "thread binding and counts, as the libraries read them"),
    Fact("allocator", "whether memory that a call frees stays with the process; where not, each call faults it again"),
    Fact("libraries.torch", "kernels of the eager backend"),
    Fact("libraries.onnxruntime", "kernels of the onnxruntime backend"),
    Fact("libraries", "a library's version"),
    Fact("page_size_bytes", "page size: reach of the address translation cache"),
    Fact("kernel", "kernel release: scheduler, mitigations"),
    Fact("memory_bytes", "amount of memory"),
)
_UNLISTED = Fact("", "effect not known")
_IDENTIFYING = ("arch", "cpu")
_WITH_THREADS = ("threads", "cpus", "thread_environment")  # each changes those behind it too
_APART = ("libraries.torch", "libraries.onnxruntime")  # of which each has an effect of its own


@dataclass(frozen=True)
class Difference:
    """One fact in which B differs from A; ``None`` is "not known"."""

    name: str
    a: FactValue
    b: FactValue
    effect: str
    separates: bool
    rank: int  # position by likely effect, 0 the strongest
    keys: tuple[Key, ...] = ()  # the results it concerns; empty when it concerns all

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.a)} and {_shown(self.b)}"


def differences(a: Side, b: Side) -> tuple[Difference, ...]:
    """Every fact that differs, in the order of likely effect; conditions of results are compared for common keys."""
    of_all = [_difference(name, *values) for name, values in _unequal(a.fingerprint, b.fingerprint).items()]
    by_change: dict[tuple[str, FactValue, FactValue], list[Key]] = {}
    for key in sorted(a.observations.keys() & b.observations.keys()):
        changes = _unequal(a.observations[key].conditions, b.observations[key].conditions)
        for name, values in changes.items():
            by_change.setdefault((name, *values), []).append(key)
    of_some = [_difference(*change, tuple(keys)) for change, keys in by_change.items()]
    return tuple(
        sorted((*of_all, *of_some), key=lambda difference: (difference.rank, difference.name, difference.keys))
    )


def grouped(differing: Sequence[Difference]) -> list[tuple[Difference, ...]]:
    """Differences that are one: members of a group ("libraries"), and what follows from other threads or CPUs.

    The first of each group stands for it.
    """
    groups: dict[tuple[str, tuple[Key, ...]], list[Difference]] = {}
    causes: dict[tuple[Key, ...], str] = {}
    for name in _WITH_THREADS:
        for fact in differing:
            if _within(fact.name, name):
                causes.setdefault(fact.keys, name)
    for fact in differing:
        root = fact.name.partition(".")[0] if fact.name not in _APART else fact.name
        groups.setdefault((causes[fact.keys] if root in _WITH_THREADS else root, fact.keys), []).append(fact)
    return [tuple(members) for members in groups.values()]


def refuse_separated(differing: Iterable[Difference], allowed: Iterable[str]) -> None:
    """Refuse a comparison across differences that make it meaningless, unless they are allowed by name.

    Raises:
        EnvironmentMismatchError: names every such difference.
    """
    separating = [fact for fact in differing if fact.separates and not is_allowed(fact.name, allowed)]
    if separating:
        _refuse("these runs do not measure comparable things", separating)


def require_same(a: Side, b: Side, allowed: Iterable[str]) -> None:
    """Refuse unless the environments are the same in everything known, but for what is allowed by name.

    Raises:
        EnvironmentMismatchError: names every difference, or says that a side does not know what machine it is of.
    """
    for side in (a, b):
        if any(side.fingerprint.get(name) is None for name in _IDENTIFYING):
            raise EnvironmentMismatchError(
                f"{side.name} does not say which processor it was measured on, so nothing can be gated against it.",
                remedy="Name the machine, when the baseline is written and whenever it is gated on: --machine NAME",
            )
    differing = [fact for fact in differences(a, b) if not is_allowed(fact.name, allowed)]
    if differing:
        _refuse("the environments differ", differing)


def require_known(allowed: Iterable[str], sides: Sequence[Side]) -> None:
    """Refuse to allow what is no fact: a mistyped name would allow nothing, in silence.

    Raises:
        InputError: a name is neither a fact that is known of, nor one of a side.
    """
    known = {fact.name for fact in FACTS} | {fact.name.partition(".")[0] for fact in FACTS}
    for side in sides:
        known |= side.fingerprint.keys() | {name for seen in side.observations.values() for name in seen.conditions}
    for name in allowed:
        if not any(_within(name, fact) for fact in known):
            raise unknown("fact", name, known, where="--allow-diff", see=_differing(sides))


def _differing(sides: Sequence[Side]) -> str:
    """Which facts there are to allow."""
    names = dict.fromkeys(
        _allowing(fact) for side in sides[1:] for facts in grouped(differences(sides[0], side)) for fact in facts[:1]
    )
    return f"These differ in {', '.join(names)}." if names else "These differ in nothing that is known."


def is_allowed(name: str, allowed: Iterable[str]) -> bool:
    """Whether ``name`` or a group it is in ("libraries" for "libraries.torch") is among ``allowed``."""
    return any(_within(name, group) for group in allowed)


def _refuse(what: str, differing: list[Difference]) -> None:
    groups = grouped(differing)
    names = dict.fromkeys(_allowing(fact) for fact in differing)
    options = " ".join(f"--allow-diff {name}" for name in names)
    raise EnvironmentMismatchError(
        f"{what}: {'; '.join(map(_of_group, groups))}.",
        remedy=f"Measure both in one environment, or say that the difference is what you ask about: {options}",
    )


def _allowing(fact: Difference) -> str:
    """The name that allows a difference: of what libraries read of threads, that of all of it."""
    root = fact.name.partition(".")[0]
    return root if root in _WITH_THREADS else fact.name


def _of_group(facts: Sequence[Difference]) -> str:
    """The first of a group in full; of what follows from it the names alone."""
    first, *others = facts
    follow = dict.fromkeys(_allowing(fact) for fact in others if _allowing(fact) in _WITH_THREADS)
    follow.pop(_allowing(first), None)
    own = [str(fact) for fact in others if _allowing(fact) not in _WITH_THREADS]
    return "; ".join([f"{first} (with it {', '.join(follow)})" if follow else str(first), *own])


def _difference(name: str, a: FactValue, b: FactValue, keys: tuple[Key, ...] = ()) -> Difference:
    for rank, fact in enumerate(FACTS):
        if _within(name, fact.name):
            return Difference(name, a, b, fact.effect, fact.separates, rank, keys)
    return Difference(name, a, b, _UNLISTED.effect, _UNLISTED.separates, len(FACTS), keys)


def _unequal(a: Facts, b: Facts) -> dict[str, tuple[FactValue, FactValue]]:
    """Name -> the two values, of the facts that are known to differ: not known on one side differs from nothing.

    Of a group that both know ("libraries"), what only one has is not there on the other.
    """
    groups = [{name.partition(".")[0] for name in side if "." in name} for side in (a, b)]

    def differs(name: str) -> bool:
        if name in a and name in b:
            return conflict(a[name], b[name])
        return "." in name and all(name.partition(".")[0] in group for group in groups)

    return {name: (a.get(name), b.get(name)) for name in sorted(a.keys() | b.keys()) if differs(name)}


def _within(name: str, group: str) -> bool:
    return name == group or name.startswith(f"{group}.")


def _shown(value: FactValue) -> str:
    text = "not known" if value is None else str(list(value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
