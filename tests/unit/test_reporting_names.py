"""Names that can be typed back are whole, on one line, in every listing and table, at 80 and at 60 columns."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.records import facts, inference, roofline, run
from support.sweeps import power_sweep
from typer.testing import CliRunner

from harness.api import compare_runs
from harness.cli.main import app
from harness.datasets.catalogue import specs
from harness.reporting import comparison_terminal, factsheet, kernels_terminal, sweep_terminal, terminal
from harness.roofline.measured import MeasuredRoof
from harness.roofline.rates import MeasuredKernel
from harness.workload.files import list_suites, list_workloads

LONG = "cicids2017-autoencoder-classifier-with-attention-on-windows"
WIDTHS = pytest.mark.parametrize("width", [60, 80])


def _listed(monkeypatch: pytest.MonkeyPatch, width: int | None, *words: str) -> list[str]:
    monkeypatch.delenv("COLUMNS", raising=False)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout.splitlines()


def _datasets() -> set[str]:
    return {f"{spec.name}:{spec.parameter}" if spec.parameter else spec.name for spec in specs() if spec.variants}


@pytest.mark.parametrize("width", [60, 80, None])
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("list",), lambda: (*list_workloads(), *list_suites())),
        (("data", "list"), _datasets),
        (("data", "list", "cicids2017"), lambda: ("encoding", "validation", "seed")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_lists_begin_their_lines_with_whole_names(
    monkeypatch: pytest.MonkeyPatch, width: int | None, words: tuple[str, ...], names: Callable[[], Any]
) -> None:
    lines = _listed(monkeypatch, width, *words)
    begun = {line.split()[0] for line in lines if line.strip()}
    assert set(names()) <= begun
    assert not any("…" in line for line in lines)
    assert width is None or max(map(len, lines)) <= width or words[0] == "data"


def test_a_list_says_which_data_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LPARBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "nsl-kdd"
    folder.mkdir(parents=True)
    before = "\n".join(_listed(monkeypatch, 80, "list"))
    assert "  synthetic stand-in; real: lparbench data get nsl-kdd" in before
    for name in ("KDDTrain+.txt", "KDDTest+.txt"):
        (folder / name).write_text("0")
    lines = _listed(monkeypatch, 80, "list")
    at = next(at for at, line in enumerate(lines) if line.endswith("[nsl-kdd]"))
    assert lines[at + 1] == "  real data here"
    assert lines[at + 2].split()[0] == "nsl-kdd-autoencoder"  # systems first, baseline detectors after them
    document = json.loads("\n".join(_listed(monkeypatch, None, "list", "--json")))
    assert {entry["dataset"]: entry["data"] for entry in document["workloads"]} == {
        entry["name"]: entry["data"] for entry in document["datasets"]
    }
    assert [entry["name"] for entry in document["datasets"] if entry["data"] == "real"] == ["nsl-kdd"]
    assert {entry["role"] for entry in document["workloads"]} == {"system", "baseline"}


def _tables(monkeypatch: pytest.MonkeyPatch, width: int, name: str) -> list[str]:
    """Lines of one printed table on a terminal of that width."""
    out = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
    record = run(inference(LONG, title=LONG, backend="onnxruntime-quantised-dynamically"))
    other = run(inference(LONG, title=LONG, backend="onnxruntime-quantised-dynamically"), run_id="2", created="2")
    report = compare_runs(record, other)
    monkeypatch.setattr(comparison_terminal, "standard_output", lambda: out)
    monkeypatch.setattr(kernels_terminal, "standard_output", lambda: out)
    monkeypatch.setattr(factsheet, "standard_output", lambda: out)
    match name:
        case "run":
            terminal.print_run(record, Path("d"), out)
        case "sweep":
            sweep_terminal.print_sweep(power_sweep(LONG, "onnxruntime-quantised-dynamically"), Path("d"), out)
        case "compare":
            comparison_terminal.print_comparison(report)
        case "kernels":
            rate = MeasuredKernel("g", LONG, "eager", "float32", 1e9, None, 0.5, "AVX2")
            kernels_terminal.print_kernels(MeasuredRoof((0,), (), (), (rate,), ""), roofline())
        case "probe":
            factsheet.print_facts(facts())
    return out.file.getvalue().replace("\u00a0", " ").splitlines()  # type: ignore[attr-defined]


@WIDTHS
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("run", (LONG, "onnxruntime-quantised-dynamically")),
        ("sweep", (LONG, "onnxruntime-quantised-dynamically")),
        ("compare", (f"{LONG} offline onnxruntime-quantised-dynamically float32 batch 8,192",)),
        ("kernels", (LONG, "float32", "eager")),
        ("probe", ("silicon, mode", "affinity score", "transparent huge pages")),
    ],
)
def test_tables_keep_names_whole(
    monkeypatch: pytest.MonkeyPatch, width: int, name: str, wanted: tuple[str, ...]
) -> None:
    lines = _tables(monkeypatch, width, name)
    for text in wanted:
        assert any(text in line for line in lines), "\n".join(lines)
    assert not any("…" in line for line in lines)
