"""What the shell completes: names of workloads, data sets, backends; nothing heavy is imported for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Completer = Callable[[str], list[str]]


def workloads(incomplete: str) -> list[str]:
    """Workload files that come with the program."""
    from harness.content import content_dir

    return _starting(incomplete, (path.stem for path in content_dir("workloads").glob("*.toml")))


def suites(incomplete: str) -> list[str]:
    """Suites that come with the program."""
    from harness.content import content_dir

    return _starting(incomplete, (path.stem for path in content_dir("workloads").glob("suites/*.toml")))


def datasets(incomplete: str) -> list[str]:
    """Data sets, families without their members."""
    from harness.datasets.catalogue import specs

    return _starting(incomplete, (spec.name if spec.parameter is None else f"{spec.name}:" for spec in specs()))


def protocols(incomplete: str) -> list[str]:
    """Protocols of an evaluation."""
    from harness.record.spec import PROTOCOLS

    return _starting(incomplete, PROTOCOLS)


def scenarios(incomplete: str) -> list[str]:
    """Scenarios, as a list separated by commas."""
    from harness.record.spec import SCENARIOS

    return _next_of_list(incomplete, SCENARIOS)


def backends(incomplete: str) -> list[str]:
    """Inference backends, as a list separated by commas."""
    from harness.scoring.backends import BACKENDS

    return _next_of_list(incomplete, BACKENDS)


def dtypes(incomplete: str) -> list[str]:
    """Number formats, as a list separated by commas."""
    from harness.scoring.backends import DTYPES

    return _next_of_list(incomplete, DTYPES)


def one_of(*words: str) -> Completer:
    """A completer of fixed words."""
    return lambda incomplete: _starting(incomplete, words)


def _starting(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted(word for word in words if word.startswith(incomplete))


def _next_of_list(incomplete: str, words: Iterable[str]) -> list[str]:
    given, comma, last = incomplete.rpartition(",")
    taken = given.split(",")
    return [f"{given}{comma}{word}" for word in words if word.startswith(last) and word not in taken]
