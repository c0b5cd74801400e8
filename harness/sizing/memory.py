"""What requests take from memory: bytes by the model's weights and the caches, against the node's measured roof. Pure.

The row of a request is read and its score written. The weights are read by every call: from cache where those of all
instances fit into the last level of the cores that are used, else from memory, for what is read in turn is gone from a
cache that is too small before it is read again.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.platform.caches import last_level_bytes
from harness.platform.usable import usable
from harness.record.size_model import MemoryUse, Size
from harness.roofline.cases import BYTES_OF
from harness.roofline.rates import row_bytes


@dataclass(frozen=True)
class Traffic:
    """What a workload reads, and what the node has for it.

    Attributes:
        row_bytes: of a row and its score.
        weights: numbers that every call reads.
        rows_per_call: that share one reading of the weights.
        cache_bytes: of the last level of 1, 2, ... cores.
        bytes_per_s: measured bandwidth of the node; None where it was not measured.
    """

    row_bytes: float
    weights: int
    rows_per_call: int
    cache_bytes: tuple[int, ...]
    bytes_per_s: float | None

    def use(self, cores: int, instances: int, dtype: str, rate: float) -> MemoryUse | None:
        """Of so many instances that serve ``rate`` rows per second together; None beyond the node."""
        size = next((size for name, size in BYTES_OF.items() if name == dtype), None)
        if size is None or cores > len(self.cache_bytes):
            return None
        weights = size * self.weights
        working_set, cache = weights * instances / cores, self.cache_bytes[cores - 1] / cores
        per_row = self.row_bytes + (weights / self.rows_per_call if working_set > cache else 0.0)
        share = None if self.bytes_per_s is None else rate * per_row / self.bytes_per_s
        return MemoryUse(per_row, share, working_set, cache)


def traffic_of(size: Size) -> Traffic | None:
    """Of a sizing; None where weights, row or caches are not known."""
    weights, dataset = size.workload.weights, size.workload.dataset
    if not weights or dataset is None or not dataset.features:
        return None
    node = next((series.node for series in size.series), None)
    part, reached, caches = usable(size.facts.topology, size.facts.limits), set[int](), list[int]()
    for core in part.cores_of(node)[: size.node_cores]:
        reached.update(core.cpus)
        caches.append(last_level_bytes(size.facts.caches, reached))
    if not caches or not all(caches):
        return None
    bandwidth = None if size.roof is None else size.roof.node_bytes_per_s
    return Traffic(row_bytes(dataset.features), weights, size.design.batch_size or 1, tuple(caches), bandwidth)
