"""Every published data set has a stand-in of its schema, labelled as one, for machines without the files."""

from __future__ import annotations

import numpy as np
import pytest
from support.published import load_published

from harness.datasets import base
from harness.datasets.base import load
from harness.datasets.catalogue import StandInRows, specs
from harness.datasets.encoded import Protocol
from harness.datasets.pipeline import encode
from harness.datasets.registry import spec
from harness.datasets.table import Split

_NAMES = [f"{entry.name}:any" if entry.parameter else entry.name for entry in specs() if entry.variants]
_PROTOCOLS: list[Protocol] = ["clean", "as-published"]


@pytest.mark.parametrize("protocol", _PROTOCOLS)
@pytest.mark.parametrize("name", _NAMES)
def test_a_stand_in_can_be_used_like_the_data_set(
    name: str, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits: list[Split] = []
    monkeypatch.setattr(
        base, "encode", lambda split, *given, **how: splits.append(split) or encode(split, *given, **how)
    )
    options = {} if name == "nsl-kdd" else {"rows": 600}  # of which it draws no more rows than are asked for
    data = load(name, protocol=protocol, synthetic="always", options=options)
    assert data.origin == "synthetic"
    assert data.verified is None
    assert data.sha256 == {}
    assert any("ynthetic" in note or "Stand-in" in note for note in data.notes)
    assert data.protocol == protocol
    assert np.isfinite(data.train_x).all()
    assert np.isfinite(data.test_x).all()
    assert set(data.test_y) == {0, 1}
    assert len(data.train_x) <= options.get("rows", rows_of(name).all)
    assert data.encoder is not None
    assert data.encoder.feature_names == data.feature_names
    rows, (split,) = rows_of(name), splits
    parts = [len(part) for part in (split.train, split.validation, split.test) if part is not None]
    assert sum(parts) <= rows.all <= max(sum(parts), len(split.train.features), rows.all * (protocol != "clean"))
    assert len(split.test) == rows.test or (protocol != "clean" and len(split.test) < rows.test)


def rows_of(name: str) -> StandInRows:
    rows = spec(name).stand_in
    assert rows is not None
    return rows


def test_few_rows_of_a_stand_in_are_drawn_as_few() -> None:
    few = load("nsl-kdd", synthetic="always", options={"rows": 600, "validation": 0.2})
    assert few.rows == {"train": 480, "validation": 120, "test": 600}
    assert few.prevalence == pytest.approx(12833 / 22544, abs=1 / 600)
    assert len(set(few.test_class.tolist())) > 30, "rare attacks are there"


@pytest.mark.parametrize("name", ["kddcup99", "cicids2017", "tabformer", "lhco2020", "odds:any"])
def test_a_stand_in_is_the_same_each_time(name: str) -> None:
    first, again = (load(name, synthetic="always", options={"rows": 600}) for _ in range(2))
    np.testing.assert_array_equal(first.train_x, again.train_x)
    np.testing.assert_array_equal(first.test_x, again.test_x)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nsl-kdd", {"encoding": "ordinal"}),
        ("kddcup99", {}),
        ("unsw-nb15", {"encoding": "ordinal"}),
        ("cicids2017", {"encoding": "none", "validation": 0}),
        ("mnist", {"validation": 0}),
        ("lhco2020", {}),
    ],
)
def test_a_stand_in_has_the_columns_of_the_published_files(name: str, options: dict[str, object]) -> None:
    protocol = "as-published" if name == "kddcup99" else "clean"
    published = load_published(name, protocol=protocol, **options)
    stand_in = load(name, synthetic="always", options=options)
    assert stand_in.feature_names == published.feature_names
