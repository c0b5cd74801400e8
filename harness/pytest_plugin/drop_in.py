"""``benchmark`` of pytest-benchmark, gated: what ``--lparbench-gate`` puts in its place."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from harness.pytest_plugin.options import session_key

if TYPE_CHECKING:
    from harness.pytest_plugin.fixture import Lparbench

gates_key = pytest.StashKey[list["Lparbench"]]()


class DropIn:
    """The fixture, registered after every other plugin's so that it is the nearest; a conftest's own is nearer."""

    @pytest.fixture
    def benchmark(self, request: pytest.FixtureRequest) -> Generator[Lparbench, None, None]:
        """Gates what the test gives to ``benchmark``."""
        yield from gated(request)


def gate_class() -> type[Lparbench]:
    """The gate; where pytest-benchmark is active also one of its class, which its own hooks ask for."""
    from harness.pytest_plugin.fixture import Lparbench

    benchmark = sys.modules.get("pytest_benchmark.fixture")
    if benchmark is None:
        return Lparbench
    bases: tuple[Any, ...] = (Lparbench, benchmark.BenchmarkFixture)
    made: type[Lparbench] = type("GatedBenchmark", bases, {"enabled": True, "__slots__": ()})
    return made


def gated(request: pytest.FixtureRequest) -> Generator[Lparbench, None, None]:
    """The gate as a fixture's value, whose verdict is said when the test has ended."""
    gates = request.node.stash.setdefault(gates_key, [])
    gate = gate_class()(request.node, request.config, gates)
    gates.append(gate)
    yield gate
    request.config.stash[session_key].summary += gate.summary
