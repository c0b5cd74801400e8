"""Options that choose what is timed, where its data come from and for how long; checked for what means nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from harness.cli.durations import seconds
from harness.cli.options import given_by_user
from harness.cli.shares import share
from harness.errors import InputError, unknown

if TYPE_CHECKING:
    import typer

    from harness.record.spec import Protocol, Reduction, Scenario, TrainingDtype
    from harness.training.rank_setting import RankGroup

Cache = Literal["hot", "cold"]
Text = TypeVar("Text", bound=str)
_CACHES: tuple[Cache, ...] = ("hot", "cold")
_COLD: tuple[Scenario, ...] = ("offline", "single_stream", "multi_stream")  # between requests caches can be evicted
_SWEPT: tuple[Scenario, ...] = ("offline", "server", "http")
_CONCURRENT: tuple[Scenario, ...] = ("offline",)


@dataclass(frozen=True)
class Timed:
    """What is timed. ``scenarios`` is None for the default ones."""

    scenarios: tuple[Scenario, ...] | None
    cache: Cache
    instances: int


@dataclass(frozen=True)
class Budget:
    """How much is measured: until ``budget_s`` have passed, and until intervals are within ``half_width``."""

    budget_s: float | None
    half_width: float | None


def parse_source(data: Path | None, protocol: str) -> Protocol:
    """See that ``--data`` is a folder, and read ``--protocol``.

    Raises:
        InputError: no such folder, or no such protocol.
    """
    from harness.record.spec import PROTOCOLS

    chosen = _member("--protocol", protocol, PROTOCOLS)
    if data is not None and not data.is_dir():
        raise InputError(f"--data {data}: no such folder.", remedy="Give the folder that holds the data sets.")
    return chosen


def parse_ranks(text: str | None, group: RankGroup | None) -> int | Literal["per-node"] | None:
    """Read ``--ranks``.

    Args:
        text: of the option; None without it.
        group: of ranks that torchrun starts, which says how many there are.

    Raises:
        InputError: it is neither ``per-node`` nor a number, or torchrun starts another one.
    """
    if group is not None:
        if text not in (None, "per-node", str(group.count)):
            raise InputError(f"--ranks {text}: torchrun starts {group.count}.", remedy="Leave out --ranks.")
        return group.count
    if text is None:
        return None
    if text == "per-node":
        return "per-node"
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 5 and int(text)):
        raise InputError(f"--ranks {text!r}: expected per-node or a number of processes.", remedy="For example 2.")
    return int(text)


def parse_reduction(text: str) -> Reduction:
    """Read ``--reduce``.

    Raises:
        InputError: there is no such way.
    """
    from harness.record.spec import REDUCTIONS

    return _member("--reduce", text, REDUCTIONS)


def parse_scenarios(scenarios: str | None, cache: str, instances: int) -> Timed:
    """Scenarios, cache mode and instances, as they go together.

    Raises:
        InputError: one of them is unknown, or they do not go together.
    """
    from harness.record.spec import SCENARIOS

    chosen = None if scenarios is None else parse_list("--scenarios", scenarios, SCENARIOS)
    mode = _member("--cache", cache, _CACHES)
    if mode == "cold" and instances > 1:
        raise InputError("--cache cold evicts what other instances use.", remedy="Measure one instance at a time.")
    if mode == "cold" or instances > 1:
        possible, option = (_COLD, "--cache cold") if mode == "cold" else (_CONCURRENT, "--instances")
        for name in chosen or ():
            if name not in possible:
                can = ", ".join(possible)
                raise InputError(f"The {name} scenario cannot be measured with {option}.", remedy=f"It takes: {can}.")
        chosen = chosen or possible[:2]
    return Timed(chosen, mode, instances)


def parse_sweep_scenario(text: str, batch: str | None) -> tuple[Scenario, ...]:
    """The one scenario of a sweep.

    Raises:
        InputError: it is another, or batches are given for one whose requests are rows.
    """
    if "," in text:
        raise InputError("--scenarios: a sweep measures one scenario.", remedy=f"It takes one of {', '.join(_SWEPT)}.")
    chosen: Scenario = _member("--scenarios", text, _SWEPT)
    if chosen != "offline" and batch is not None:
        raise InputError(f"--batch is of the offline scenario; a request of the {chosen} scenario is one row.")
    return (chosen,)


def parse_budget(blocks: int | None, budget: str | None, until_ci: str | None) -> Budget:
    """Time budget and half-width to reach.

    Raises:
        InputError: not a duration or a share, or given together with a number of blocks.
    """
    if blocks is not None and (budget is not None or until_ci is not None):
        raise InputError(
            "--blocks fixes what --budget and --until-ci would choose.", remedy="Leave out one or the other."
        )
    return Budget(
        budget_s=None if budget is None else seconds("--budget", budget),
        half_width=None if until_ci is None else share("--until-ci", until_ci),
    )


def parse_backends(text: str | None) -> tuple[str, ...] | None:
    """Backends; None for the workload's own.

    Raises:
        InputError: one of them is not known.
    """
    from harness.scoring.backends import BACKENDS

    return None if text is None else parse_list("--backends", text, tuple(BACKENDS))


def parse_dtypes(text: str | None) -> tuple[str, ...] | None:
    """Number formats, of those that any backend has.

    Raises:
        InputError: one of them is not known.
    """
    from harness.scoring.backends import DTYPES

    return None if text is None else parse_list("--dtypes", text, DTYPES)


def parse_train_dtypes(text: str | None) -> tuple[TrainingDtype, ...] | None:
    """Number formats of a training; None for the workload's own.

    Raises:
        InputError: one of them is not known.
    """
    from harness.record.spec import TRAINING_DTYPES

    return None if text is None else parse_list("--train-dtypes", text, TRAINING_DTYPES)


def parse_learning_rates(text: str | None) -> tuple[float, ...]:
    """Learning rates, without repetitions.

    Raises:
        InputError: one of them is not a positive number.
    """
    rates: dict[float, None] = {}
    for part in () if text is None else text.split(","):
        try:
            rate = float(part)
        except ValueError:
            rate = 0.0
        if not 0.0 < rate < float("inf"):
            raise InputError(
                f"--learning-rates: {part.strip()!r} is not a positive number; expected such as 1e-4,1e-3."
            )
        rates[rate] = None
    return tuple(rates)


def parse_list(option: str, text: str, known: tuple[Text, ...]) -> tuple[Text, ...]:
    """Members of ``known`` separated by commas, without repetitions.

    Raises:
        InputError: one of them is not known.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise unknown("value", name, known, where=option)
    return tuple(member for name in names for member in known if member == name)


def _member(option: str, text: str, known: tuple[Text, ...]) -> Text:
    for member in known:
        if member == text:
            return member
    raise unknown("value", text, known, where=option)


def refuse_with_resume(context: typer.Context, kind: str, *, but: Collection[str] = ()) -> None:
    """See that nothing but ``--json``, ``--trust`` and ``but`` was given with ``--resume``: the design has the rest.

    Raises:
        InputError: something was.
    """
    for name in context.params:
        if name not in ("resume", "as_json", "trust", *but) and given_by_user(context, name):
            given = "a workload" if name == "workloads" else f"--{name.replace('_', '-')}"
            raise InputError(
                f"--resume continues what the {kind} was begun with; {given} cannot be given again.",
                remedy=f"Leave it out, or begin a new {kind}.",
            )
