"""A sweep as comma-separated values: one line per setting, and what every process of it gave."""

from __future__ import annotations

import csv
import io

from harness.record.sweep_model import Sweep, SweepCell
from harness.reporting.sections.counters import RATIOS, counted, ratios_of
from harness.reporting.sweep_standing import best_of, standing_of
from harness.wording import inert

COLUMNS = (
    "sweep_id", "created", "workload", "backend", "dtype", "batch_size", "node", "memory_node", "smt",
    "threads_per_core", "cores", "instances", "verdict", "rows_per_s_undisturbed", "ci_low", "ci_high", "n",
    "rows_per_s", "mean_inference_per_row_s", "against_best", "best_over_this", "ratio_ci_low", "ratio_ci_high",
    "rows_per_s_undisturbed_by_block", "reasons", "in_process_rows_per_s", "http_share",
    *(ratio.name for ratio in RATIOS),
)  # fmt: skip


def render_sweep_csv(sweep: Sweep) -> str:
    """All settings in the order of the plan; full precision, empty where not known."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in sweep.cells:
        rate = cell.rows_per_s_undisturbed
        writer.writerow(
            inert(value)
            for value in (
                sweep.sweep_id, sweep.created, cell.workload, cell.backend, cell.dtype, cell.batch_size, cell.node,
                cell.memory_node, cell.smt, cell.threads_per_core, cell.cores, cell.instances,
                cell.validity.verdict.value, rate.value, rate.ci_low, rate.ci_high, rate.n,
                cell.rows_per_s.value, cell.mean_inference_per_row_s.value, *_against(sweep, cell), _by_block(cell),
                " | ".join(cell.validity.reasons), *(
                    None if metric is None else metric.value for metric in (cell.in_process_rows_per_s, cell.http_share)
                ), *map(ratios_of(counted(cell.processes)).get, (ratio.name for ratio in RATIOS)),
            )
        )  # fmt: skip
    return buffer.getvalue()


def _against(sweep: Sweep, cell: SweepCell) -> tuple[str | float | None, ...]:
    best, standing = best_of(sweep, cell.workload), standing_of(sweep, cell)
    rivals = () if best is None else best.rivals
    for rival in rivals:
        if rival.cell == cell.id:
            return standing, rival.ratio, rival.ci_low, rival.ci_high
    return standing, None if standing == "not_compared" else 1.0, None, None


def _by_block(cell: SweepCell) -> str:
    known = [(process.block, process.rows_per_s_undisturbed) for process in cell.processes]
    return " ".join(f"{block}:{rate!r}" for block, rate in known if rate is not None)
