"""Costs of looking: a whole probe, and one reading of the counters. Figures only; nothing here decides a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.trees import build
from support.trees_presets import PRESETS

from harness.placement.plan import plan
from harness.platform.counters import ThreadCounters
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic machine of 1,920 CPUs, each with files of its own."""
    return build(PRESETS["p10-1920-cpus"], tmp_path_factory.mktemp("large"))


def test_probe_of_1920_cpus(benchmark: Any, large: Path) -> None:
    facts = benchmark.pedantic(lambda: probe(SysRoot(large)), rounds=5)
    assert len(facts.topology.cpus_online) == 1920


def test_plan_on_1920_cpus(benchmark: Any, large: Path) -> None:
    topology = probe(SysRoot(large)).topology
    assert benchmark(lambda: plan(topology, cores=15, threads_per_core=2)).threads == 30


def test_probe_of_this_machine(benchmark: Any) -> None:
    assert benchmark.pedantic(lambda: probe(SysRoot("/")), rounds=5).topology.cpus_online


def test_one_counter_reading(benchmark: Any) -> None:
    assert benchmark(ThreadCounters().read).cpu >= 0
