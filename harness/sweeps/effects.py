"""What each factor of a sweep does on its own: levels compared over settings that are equal in all else. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.measure.factorial import Rates, contrasts
from harness.record.sweep_model import FactorName, SweepCell, SweepEffect

# Factor -> fields of a cell that hold its level.
_FIELDS: Mapping[FactorName, tuple[str, ...]] = {
    "backend": ("backend",),
    "dtype": ("dtype",),
    "batch_size": ("batch_size",),
    "smt": ("smt",),
    "threads_per_core": ("threads_per_core",),
    "cores": ("cores",),
    "place": ("node", "memory_node"),
    "instances": ("instances",),
}
_ALL = tuple(field for fields in _FIELDS.values() for field in fields)


def effects_of(
    cells: Sequence[SweepCell], rates: Mapping[int, Rates], best: Sequence[int], margin: float
) -> Iterator[SweepEffect]:
    """Every level of every factor that varies against the level of the best cell, workload by workload.

    Args:
        cells: that may be compared.
        rates: block -> undisturbed rate, by cell.
        best: the best cell of each workload.
        margin: relative difference that does not matter.
    """
    for reference in (cell for cell in cells if cell.id in best):
        own = [cell for cell in cells if cell.workload == reference.workload]
        levels = [
            (factor, members[0], _pairs(own, members, fields, reference))
            for factor, fields in _varying(own).items()
            for members in _other_levels(own, fields, reference)
        ]
        judged = {
            (contrast.start, contrast.to): contrast
            for contrast in contrasts([pairs for _, _, pairs in levels], rates, margin=margin)
        }
        for factor, other, pairs in levels:
            contrast = judged.get(pairs[0]) if pairs else None
            if contrast is None:
                yield SweepEffect(reference.workload, factor, reference.id, other.id, 0)
                continue
            ratio = contrast.ratio
            yield SweepEffect(
                reference.workload, factor, contrast.start, contrast.to, contrast.pairs,
                ratio.centre, ratio.low, ratio.high, contrast.standing.value,
            )  # fmt: skip


def _varying(cells: Sequence[SweepCell]) -> dict[FactorName, tuple[str, ...]]:
    """Factors with several levels; threads per core only where the SMT level does not imply them."""
    fields = dict(_FIELDS)
    if all(cell.smt == cell.threads_per_core for cell in cells):
        del fields["threads_per_core"]
        fields["smt"] = ("smt", "threads_per_core")
    return {factor: names for factor, names in fields.items() if len({_level(cell, names) for cell in cells}) > 1}


def _other_levels(cells: Sequence[SweepCell], fields: tuple[str, ...], best: SweepCell) -> list[list[SweepCell]]:
    """The cells of each level that is not that of the best, in the order of the design."""
    groups: dict[tuple[object, ...], list[SweepCell]] = {}
    for cell in cells:
        groups.setdefault(_level(cell, fields), []).append(cell)
    groups.pop(_level(best, fields))
    return list(groups.values())


def _pairs(
    cells: Sequence[SweepCell], members: Sequence[SweepCell], fields: tuple[str, ...], best: SweepCell
) -> list[tuple[int, int]]:
    """Cells at the level of the best, each with the one of ``members`` that is equal in all else."""
    others = tuple(name for name in _ALL if name not in fields)
    partners = {_level(cell, others): cell.id for cell in members}
    return [
        (cell.id, partners[_level(cell, others)])
        for cell in cells
        if _level(cell, fields) == _level(best, fields) and _level(cell, others) in partners
    ]


def _level(cell: SweepCell, fields: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(getattr(cell, name) for name in fields)
