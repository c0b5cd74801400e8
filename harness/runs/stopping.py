"""How many blocks a run measures: so many, as many as a time budget takes, or until its intervals are narrow enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.measure.budget import Budget, blocks_for_precision, fit_blocks, pooled_sd, predicted_half_width
from harness.measure.clock import Clock
from harness.measure.stats import interval_over_processes
from harness.measure.verdicts import BLOCK_STEP, MAX_BLOCKS, MIN_BLOCKS
from harness.record.spec import RunSpec, StoppingRecord
from harness.wording import plural

_EndedBy = Literal["blocks", "budget", "limit", "precision"]
Estimates = Sequence[Sequence[float]]  # per timed result, one estimate per process


@dataclass(frozen=True)
class Amount:
    """What the user asked for; with nothing but ``blocks`` exactly so many are measured.

    Attributes:
        blocks: exact number of blocks; None when ``budget_s`` or ``half_width`` decides.
        budget_s: wall time of the whole run, set-up and fits included.
        half_width: relative half-width of the 95 % intervals to reach.
    """

    blocks: int | None
    budget_s: float | None = None
    half_width: float | None = None

    @staticmethod
    def of(spec: RunSpec) -> Amount:
        """What a spec asks for."""
        fixed = spec.budget_s is None and spec.half_width is None
        return Amount(spec.blocks if fixed else None, spec.budget_s, spec.half_width)


class Stopping:
    """Decides after each block whether there is another, and says what the time will buy.

    Args:
        amount: what was asked for.
        clock: its present time is the beginning of the run.
        say: receives, in sentences, what the first blocks predict.
        spent_s: time that was spent before, in earlier sessions of the same run too.
        closing_s: that is kept of a budget for what follows the last block.
    """

    def __init__(
        self,
        amount: Amount,
        clock: Clock,
        say: Callable[[str], None],
        *,
        spent_s: float = 0.0,
        closing_s: float = 0.0,
    ) -> None:
        self._amount = amount
        self._clock = clock
        self._say = say
        self._began = clock.now_ns() - round(spent_s * 1e9)
        self._for_work_s = None if amount.budget_s is None else amount.budget_s - closing_s
        self._setup_s = 0.0
        self._predicted: float | None = None
        self._reached: float | None = None
        self._block_s: float | None = None
        self._ended_by: _EndedBy = "blocks"
        self.blocks = amount.blocks or MIN_BLOCKS  # as far as known now

    def set_up(self, measured_s: float = 0.0) -> None:
        """Everything before the first block is done; earlier sessions have spent ``measured_s`` on blocks already."""
        self._setup_s = self._elapsed_s() - measured_s

    def another(self, done: int, estimates: Estimates) -> bool:
        """Whether another block is to be measured after ``done`` of them, of which these are the estimates.

        Width decides, never significance: stopping at the first significant look multiplies false alarms.
        """
        self._block_s = (self._elapsed_s() - self._setup_s) / done
        self._reached = _widest(estimates)
        if self._amount.blocks is not None:
            return done < self._amount.blocks
        self._predict(done, estimates)
        if not self.has_room(self._block_s):
            return self._end("budget", done)
        if done >= MAX_BLOCKS:
            return self._end("limit", done)
        wanted = self._amount.half_width
        if wanted is None or done < MIN_BLOCKS or (done - MIN_BLOCKS) % BLOCK_STEP:
            return True
        if self._reached is not None and self._reached <= wanted:
            return self._end("precision", done)
        return True

    def cut_short(self) -> None:
        """The budget ended the first block before all of it was measured."""
        self._ended_by, self.blocks = "budget", 1
        self._say(f"Not even one block fits into the budget; a valid result takes {MIN_BLOCKS}.")

    @property
    def known(self) -> bool:
        """Whether ``blocks`` is more than a guess: it is fixed, or a first block was measured."""
        return self._amount.blocks is not None or self._block_s is not None

    def left(self) -> str:
        """What a block took, and what a fixed number of them still takes; empty where a budget says so itself."""
        if self._amount.blocks is None or self._block_s is None:
            return ""
        to_go = (self._amount.blocks - 1) * self._block_s
        return f"One block takes {duration(self._block_s)}: about {duration(to_go)} to go."

    def has_room(self, seconds: float) -> bool:
        """Whether work of so many seconds fits into the budget; always where there is none."""
        return self._for_work_s is None or self._elapsed_s() + seconds <= self._for_work_s

    def record(self) -> StoppingRecord:
        """What was predicted and reached."""
        return StoppingRecord(self.blocks, self._block_s, self._predicted, self._reached, self._ended_by)

    def _predict(self, done: int, estimates: Estimates) -> None:
        """Refit the number of blocks, and say once what they take and once what they buy."""
        assert self._block_s is not None
        sd = pooled_sd(estimates)
        blocks = MAX_BLOCKS
        if self._for_work_s is not None:
            plan = fit_blocks(self._for_work_s, max(self._block_s, 1e-9), setup_s=self._setup_s, sd=sd)
            blocks = max(done, plan.blocks)
            if done == 1 and self._amount.budget_s is not None:
                self._say(_time_needed(plan, self._amount.budget_s, self._block_s))
        if self._amount.half_width is not None:
            needed = None if sd is None else blocks_for_precision(sd, self._amount.half_width)
            blocks = min(blocks, max(done, needed or MAX_BLOCKS))
        self.blocks = blocks
        first_look = done == (2 if self._amount.half_width is None else MIN_BLOCKS)
        if first_look and sd is not None:
            self._predicted = predicted_half_width(sd, blocks)
            if self._predicted is not None:
                to_go = duration((blocks - done) * self._block_s)
                about = _percent(self._predicted)
                self._say(f"{plural(blocks, 'block')} will give the rates to about ±{about}; {to_go} to go.")

    def _end(self, by: _EndedBy, done: int) -> bool:
        self._ended_by = by
        self.blocks = done
        if self._reached is not None:
            self._say(f"{plural(done, 'block')}: every rate is known to ±{_percent(self._reached)} or better.")
        return False

    def _elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._began) * 1e-9


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``1 h 5 min``."""
    if seconds < 100:
        return f"{max(0, round(seconds))} s"
    minutes = math.ceil(round(seconds) / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _widest(estimates: Estimates) -> float | None:
    """The widest relative half-width; None as long as one of the results has none."""
    widths = [interval_over_processes(group).half_width for group in estimates if len(group)]
    known = [width for width in widths if width is not None]
    return max(known) if known and len(known) == len(widths) else None


def _time_needed(plan: Budget, budget_s: float, block_s: float) -> str:
    fits = f"One block takes {duration(block_s)}: {plural(plan.blocks, 'block')} in {duration(budget_s)}."
    if plan.conclusive:
        return fits
    return f"{fits} A valid result takes {MIN_BLOCKS}, about {duration(plan.needed_s)} in all."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
