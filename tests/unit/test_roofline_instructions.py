"""Counting instructions: by a processor's counter that is made up here, what is counted, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.detectors import published
from harness.detectors.registry import BUILT_IN
from harness.errors import MeasurementError
from harness.linalg import native
from harness.platform import perf
from harness.roofline import instructions
from harness.roofline.instructions import Instructions, counted_here, known_counts
from harness.roofline.pieces import (
    ROWS,
    Chain,
    Piece,
    Plan,
    Training,
    call_of,
    encoded,
    product,
    random_layers,
    random_rows,
    title,
)

LAYERS = random_layers((12, 8, 1))
X = random_rows(ROWS, 12)
SCORED = Piece("score", "small", "float32", ROWS, Chain(LAYERS, "logit", X))


def test_a_row_takes_what_ten_calls_take_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading itself costs something, and a tick of the clock comes in between now and then: neither counts."""
    count, readings = 0, 0

    def call() -> None:
        nonlocal count
        count += 640

    def read() -> int:
        nonlocal count, readings
        readings += 1
        count += 70 + (100_000 if readings % 4 == 0 else 0)
        return count

    monkeypatch.setattr(instructions, "call_of", lambda piece: call)
    (counted,) = counted_here([SCORED], read)
    assert counted.per_row == 10.0
    assert (counted.rows, counted.isa, counted.outer_products_per_row) == (ROWS, native.select().name, None)


def test_a_processor_that_does_not_count_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        def __init__(self, events: object) -> None: ...

        def read(self) -> dict[str, tuple[int, int, int]]:
            return {}

        def close(self) -> None: ...

    monkeypatch.setattr(instructions, "Counters", Without)
    with pytest.raises(Exception, match="counter of instructions is not available here"):
        counted_here([SCORED])


def test_pieces_do_here_what_they_are_called() -> None:
    kernels = native.extension
    assert kernels is not None
    scores = np.asarray(call_of(SCORED)())
    hidden = np.maximum(X @ LAYERS[0].weight.T + LAYERS[0].bias, 0)
    np.testing.assert_allclose(scores, (hidden @ LAYERS[1].weight.T + LAYERS[1].bias)[:, 0], atol=1e-5)
    largest = (kernels.STEPS["reduce"], kernels.REDUCTIONS["max"], [0], [], 0.0, 0)
    planned = Piece("score", "largest", "float32", ROWS, Plan([largest], X))
    np.testing.assert_array_equal(np.asarray(call_of(planned)()), X.max(1))
    trained = call_of(Piece("train", "small", "float32", ROWS, Training(LAYERS, "bce", X)))
    assert np.asarray(trained()) > np.asarray(trained())  # the loss of the same batch falls
    multiplied = call_of(product(4, 5, 6, "float32", 2))()
    assert np.asarray(multiplied).shape == (2, 4, 6)


def test_what_is_written_down_begins_at_whole_lines() -> None:
    written = encoded([(SCORED, "mma"), (product(4, 5, 6, "int8", 2), "vsx-power9")])
    assert written.count(b"mma\0") == written.count(b"vsx-power9\0") == 1
    for array in (X, LAYERS[0].weight, LAYERS[1].bias):
        assert written.index(array.tobytes()) % 64 == 0
    assert len(written) % 8 == 0


def test_every_detector_that_scores_natively_is_counted_on_power10() -> None:
    counts = known_counts().counts
    titles = [count.title() for count in counts]
    assert len(titles) == len({*titles})
    assert {entry.detector for entry in published.PUBLISHED.values()} == BUILT_IN.keys()
    for name, entry in published.PUBLISHED.items():
        if name in published.NOT_NATIVE:
            continue
        for isa in instructions.POWER10:
            assert {title("score", name, isa, "float32", rows) for rows in (entry.rows, 1)} <= {*titles}
    assert all(count.outer_products_per_row == 0 for count in counts if count.isa != "mma")
    by_title = {count.title(): count for count in counts}
    assert by_title["score mlp mma float32"].per_row < by_title["score mlp vsx-power9 float32"].per_row / 2


def test_a_transformers_outer_products_are_nearly_all_filled() -> None:
    counts = [count for count in known_counts().counts if count.name == "ft-transformer" and count.isa == "mma"]
    assert {count.rows for count in counts} == {1, 8}
    assert all(0.6 <= (count.share_of_ideal or 0.0) <= 1.0 for count in counts)


def test_where_nothing_counts_it_is_refused_in_one_line_before_anything_is_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(perf, "not_permitted", lambda *_: "this processor does not count.")
    monkeypatch.setattr(instructions, "not_emulated", lambda: "qemu-ppc64le is not installed")
    monkeypatch.setattr(published, "counted_pieces", lambda: pytest.fail("fitted"))
    done = CliRunner().invoke(app, ["kernels", "--instructions"])
    assert isinstance(done.exception, MeasurementError)
    assert str(done.exception) == (
        "Instructions cannot be counted here. Not counted on this machine: this processor does not count. "
        "Not counted on a POWER10: qemu-ppc64le is not installed."
    )


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_counted_is_shown_against_what_is_kept(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = next(count for count in known_counts().counts if count.title() == "score mlp mma float32")
    longer = replace(kept, per_row=1.1 * kept.per_row)
    monkeypatch.setattr(perf, "not_permitted", lambda *_: "this processor does not count.")
    monkeypatch.setattr(instructions, "not_emulated", lambda: None)
    monkeypatch.setattr(published, "counted_pieces", lambda: [SCORED])
    monkeypatch.setattr(instructions, "counted_on_power10", lambda pieces: [longer, *(_of(*each) for each in pieces)])
    done = CliRunner().invoke(app, ["kernels", "--instructions", *(["--json"] if as_json else [])])
    assert done.exit_code == 0, done.output
    if as_json:
        answer = json.loads(done.output)
        why = "Not counted on this machine: this processor does not count."
        assert [entry["isa"] for entry in answer["power10"]] == ["mma", *instructions.POWER10]
        assert (answer["here"], answer["notes"]) == ([], [why])
        shares = [entry["share_of_ideal"] for entry in answer["power10"]]
        assert shares == [kept.macs_per_row / 16 / kept.outer_products_per_row, None, None]
        return
    assert all(len(line) <= 80 for line in done.output.splitlines())
    assert any("score mlp" in line and "+10.0 %" in line for line in done.output.splitlines())


def _of(piece: Piece, isa: str) -> Instructions:
    return Instructions(piece.what, piece.name, isa, piece.dtype, piece.rows, 7.0, 0.0)
