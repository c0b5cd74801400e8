"""The tree generated after the RocketCE guide's LPAR makes the real numactl print the guide's listing."""

from __future__ import annotations

from pathlib import Path

from support import oracles
from support.trees import build
from support.trees_presets import PRESETS

from harness.platform.crosscheck import compare_numactl
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

_LISTING = """\
available: 1 nodes (7)
node 7 cpus: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
node 7 size: 95948 MB
node 7 free: 94391 MB
node distances:
node   7
  7:  10
"""


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_numactl_prints_the_listing_of_the_guide(tmp_path: Path) -> None:
    root = build(PRESETS["p10-node7"], tmp_path)
    assert _words(oracles.numactl_hardware(root)) == _words(_LISTING)


def test_the_listing_agrees_with_our_own_reading(tmp_path: Path) -> None:
    topology = probe(SysRoot(build(PRESETS["p10-node7"], tmp_path))).topology
    assert compare_numactl(_LISTING, topology) == ()
    assert topology.nodes[0].memory_free_bytes == 94391 << 20


def test_numactl_and_we_agree_on_sparse_nodes(tmp_path: Path) -> None:
    root = build(PRESETS["p9-bare-metal"], tmp_path)
    listing = oracles.numactl_hardware(root)
    assert "available: 6 nodes (0,8,252-255)" in listing
    assert compare_numactl(listing, probe(SysRoot(root)).topology) == ()
