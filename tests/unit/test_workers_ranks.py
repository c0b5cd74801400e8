"""A fit by ranks: one detector, evaluated once on every test row, and a run that says who trained it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.ranks import fit_job, placements, seeded_apart

from harness.cli.choices import parse_ranks
from harness.errors import InputError
from harness.record.spec import RunSpec
from harness.runs.design import workloads_of
from harness.training import loop
from harness.workers.fit import fit
from harness.workers.jobs import ranked, read_job, write_job
from harness.workers.outcomes import FitOutcome, RankOutcome


def test_two_ranks_fit_what_one_fits_and_only_the_first_evaluates(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "seeded", seeded_apart)
    for name in ("one", "two", "two/rank-1"):
        (tmp_path / name).mkdir()
    alone = fit(fit_job(tmp_path / "one"))
    together = ranked(replace(fit_job(tmp_path / "two"), save=str(tmp_path / "bundle")), placements(2))
    assert [job.rank.rank for job in together.ranks] == [0, 1]
    assert read_job(write_job(together.ranks[1])) == together.ranks[1]
    with ThreadPoolExecutor(2) as pool:
        outcome, other = pool.map(fit, together.ranks)
    assert isinstance(alone, FitOutcome)
    assert isinstance(outcome, FitOutcome)
    assert isinstance(other, RankOutcome)
    assert outcome.ranks == 2
    assert 0 < outcome.reduce_seconds < outcome.train_seconds
    assert [epoch.rows for epoch in outcome.epochs] == [epoch.rows for epoch in alone.epochs]
    for mine, single in zip(outcome.evaluations, alone.evaluations, strict=True):
        assert mine.rows == single.rows == alone.dataset.rows["test"]  # no row is scored twice to fill a share
        assert mine.auc_roc == pytest.approx(single.auc_roc, abs=1e-4)
    assert (tmp_path / "bundle" / "manifest.json").exists()
    assert not (tmp_path / "two" / "rank-1" / "detector.json").exists()


def test_what_ranks_cannot_train_is_refused_first() -> None:
    with pytest.raises(InputError, match=r"isolation-forest is not trained by several ranks\. .* mlp, autoencoder"):
        workloads_of(RunSpec(("nsl-kdd-isolation-forest",), ranks=2))
    with pytest.raises(InputError, match="train scenario times the loop of one process"):
        workloads_of(RunSpec(("nsl-kdd-mlp",), ranks="per-node", scenarios=("train",)))
    with pytest.raises(InputError, match="--reduce is of several ranks"):
        workloads_of(RunSpec(("nsl-kdd-mlp",), reduce="native"))
    assert workloads_of(RunSpec(("nsl-kdd-mlp",), ranks=2, reduce="native"))


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "99999", ""])
def test_a_number_of_ranks_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="expected per-node or a number of processes"):
        parse_ranks(text, None)


def test_numbers_of_ranks() -> None:
    assert (parse_ranks(None, None), parse_ranks("per-node", None), parse_ranks("3", None)) == (None, "per-node", 3)
