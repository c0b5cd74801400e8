"""Options of ``run`` that choose what is timed and for how long, checked for combinations that mean nothing."""

from __future__ import annotations

from typing import Any

from harness.cli.durations import seconds
from harness.cli.shares import share
from harness.errors import InputError

SCENARIOS = ("train", "offline", "single_stream", "multi_stream", "server")
_COLD = ("offline", "single_stream", "multi_stream")  # only between requests is there a moment to evict in
_TOGETHER = ("offline",)


def timed(scenarios: str | None, cache: str, instances: int) -> dict[str, Any]:
    """Fields of a request: scenarios, cache mode, instances.

    Raises:
        InputError: one of them is unknown, or they do not go together.
    """
    chosen = None if scenarios is None else names("--scenarios", scenarios, SCENARIOS)
    if cache not in ("hot", "cold"):
        raise InputError(f"--cache is {cache!r}; expected hot or cold.")
    if cache == "cold" and instances > 1:
        raise InputError("--cache cold evicts what other instances use.", remedy="Measure one instance at a time.")
    possible, why = (_COLD, "--cache cold") if cache == "cold" else (_TOGETHER, "--instances")
    if cache == "cold" or instances > 1:
        for name in chosen or ():
            if name not in possible:
                can = ", ".join(possible)
                raise InputError(f"The {name} scenario cannot be measured with {why}.", remedy=f"It takes: {can}.")
        chosen = chosen or possible[:2]
    return {"scenarios": chosen, "cache": cache, "instances": instances}


def amount(blocks: int | None, budget: str | None, until_ci: str | None) -> dict[str, Any]:
    """Fields of a request: time budget in seconds and half-width to reach.

    Raises:
        InputError: not a duration or a share, or given together with a number of blocks.
    """
    if blocks is not None and (budget is not None or until_ci is not None):
        raise InputError(
            "--blocks fixes what --budget and --until-ci would choose.", remedy="Leave out one or the other."
        )
    return {
        "budget_s": None if budget is None else seconds("--budget", budget),
        "half_width": None if until_ci is None else share("--until-ci", until_ci),
    }


def names(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """A list separated by commas, without repetitions.

    Raises:
        InputError: one of them is not known.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in found:
        if name not in known:
            raise InputError(f"{option}: unknown {name!r}; expected some of: {', '.join(known)}.")
    return found
