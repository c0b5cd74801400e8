"""The kernels under pytest-benchmark: their own times, and the bars they are held to beside torch and ONNX Runtime.

Not part of the test suite, because time decides:
``python -m pytest tests/bench/test_bench_kernels.py -o addopts= --benchmark-only``.
"""

from __future__ import annotations

from dataclasses import asdict

import kernel_pairs
import pytest

from harness.linalg import native
from harness.roofline import cases

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")


def _native_cases() -> list[cases.Case]:
    if native.extension is None:
        return []
    products = [case for dtype in cases.available_types() for case in cases.products(("native",), dtype)]
    return [*products, *cases.chains(1), *cases.chains(4096)]


@pytest.mark.parametrize("case", _native_cases(), ids=lambda case: f"{case.name}, {case.dtype}")
def test_time_of(case, benchmark):
    benchmark.extra_info["ran_on"] = case.ran_on
    benchmark(case.call)
    if benchmark.stats is not None:
        benchmark.extra_info["operations_per_s"] = case.operations / benchmark.stats["min"]


@pytest.mark.parametrize("section", kernel_pairs.SECTIONS)
def test_bars_of(section, benchmark, capsys):
    figures: list[kernel_pairs.Figure] = []
    benchmark.pedantic(lambda: figures.extend(kernel_pairs.measured(section, 20)), rounds=1)
    benchmark.extra_info["figures"] = [asdict(figure) for figure in figures]
    with capsys.disabled():
        print("", *(figure.line() for figure in figures), sep="\n")
    assert [figure.line() for figure in figures if not figure.met] == []
