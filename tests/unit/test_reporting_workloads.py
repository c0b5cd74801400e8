"""What a workload is, in a list."""

from __future__ import annotations

import pytest

from harness.datasets.inventory import holding
from harness.reporting.workloads import workload_text
from harness.workload.files import list_workloads, load_workload


@pytest.mark.parametrize("name", list_workloads())
def test_every_workload_is_shown_whole_within_80_columns(name: str) -> None:
    workload = load_workload(name)
    text = workload_text(workload, holding(workload.dataset, ()), 80, "about 2 min")
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert f"[{name}]" in words
    for value in workload.clean.hyperparameters:
        assert f"{value}=" in words
    if workload.published is not None:
        assert f"{workload.published.value:g}" in words
        assert " ".join(workload.published.source.split()) in words
    for note in workload.notes:
        assert " ".join(note.split()) in words


def test_what_repeating_the_publication_changes_is_named() -> None:
    workload = load_workload("nsl-kdd-mlp")
    assert "as published: data options" in workload_text(workload, holding("nsl-kdd", ()), None, "")
    assert "refit=encoders+scaler" in workload_text(workload, holding("nsl-kdd", ()), None, "")
