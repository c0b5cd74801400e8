"""Anyone's table of cores and rates: what may be concluded, and one clear error for each that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.errors import InputError
from harness.sizing.table import fit_table, predict, read_table

RAYTRACER = "cores,rate\n1,20\n4,78\n8,130\n12,170\n16,190\n20,200\n"


def table(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line with cores and rate"),
        ("# nothing\n\n", "no line with cores and rate"),
        ("a,b\n1,2\n", "line 1: no column of cores; there is a, b"),
        ("cores,b\n1,2\n", "line 1: no column of rate"),
        ("1,2,3\n", "line 1: 3 columns without names"),
        ("cores,rate\n", "nothing below the names"),
        ("cores,rate\n1,nan\n", "line 2: rate is 'nan'"),
        ("cores,rate\n1,2\n2,\n", "line 3: rate is ''"),
        ("cores,rate\n1,2\n2\n", "line 3: rate is ''"),
        ("cores,rate\n0,4\n", "line 2: cores is '0'"),
        ("cores,rate\n1,-4\n", "line 2: rate is '-4'"),
        ("cores;rate\n1;1,5\n", "line 2: rate is '1,5'"),
        ("cores,rate\n1,1e999\n", "line 2: rate is '1e999'"),
        ("cores,rate\n1,2\n1,3\n", "1 different numbers of cores"),
        ("cores,rate\n1,1\n2,2\n4,3\n", r"3 different numbers of cores \(1, 2, 4\)"),
        ("cores,rate\n4,1000\n8,100\n16,10\n32,1\n", "no law of scaling"),
        (b"\xff\xfec\0", "not UTF-8"),
        (b"cores\0rate\n", "not a text file"),
    ],
)
def test_what_is_no_such_table(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        fit_table(read_table(path), str(path))
    assert caught.value.remedy
    assert str(path) in caught.value.message


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match=r"no such file|cannot be read: Is a directory") as error:
            read_table(path)
        assert error.value.remedy in ("Check the path.", "A file is expected.")


@pytest.mark.parametrize(
    "text",
    [
        "1 955\n2 1879\n3 2688\n",
        "N\tX\n1\t955\n2\t1879\n3\t2688\n",
        "\ufeffuser, throughput, cpus\r\na, 955, 1\r\nb, 1879, 2\r\n# x\r\nc, 2688, 3\r\n",
    ],
)
def test_forms_that_people_have(tmp_path: Path, text: str) -> None:
    rows = read_table(table(tmp_path, text))
    assert [(row.cores, row.rate) for row in rows] == [(1, 955), (2, 1879), (3, 2688)]


def test_what_may_be_concluded(tmp_path: Path) -> None:
    fit = fit_table(read_table(table(tmp_path, RAYTRACER)), "t")
    assert fit.conclusions[0] == "Contention (alpha) is not established: its interval contains 0."
    assert fit.conclusions[1].startswith("Coherency (beta) is established")
    assert "extrapolated: measured up to 20" in fit.conclusions[2]
    assert not any("without limit" in sentence for sentence in fit.conclusions)


def test_predictions_widen_away_from_the_points(tmp_path: Path) -> None:
    rows = read_table(table(tmp_path, RAYTRACER))
    law = fit_table(rows, "t").law
    near, far = (predict(law, rows, cores) for cores in (12.0, 40.0))
    assert far.high / far.low > 1.2 * near.high / near.low


@pytest.mark.parametrize(
    ("rate", "basis"), [(140, "interpolated"), (187, "extrapolated"), (310, "refused"), (1e6, "refused")]
)
def test_the_cores_for_a_rate(tmp_path: Path, rate: float, basis: str) -> None:
    rows = read_table(table(tmp_path, RAYTRACER))
    inverse = fit_table(rows, "t", rate=rate).inverse
    assert inverse is not None
    if basis == "extrapolated":
        assert inverse.basis in ("extrapolated", "interpolated", "refused")
    else:
        assert inverse.basis == basis
    if inverse.prediction is not None:
        assert inverse.prediction.low >= rate


def test_repetitions_can_contradict_the_law(tmp_path: Path) -> None:
    lines = [
        f"{cores},{rate * share}"
        for cores, rate in ((1, 100), (2, 200), (4, 400), (6, 410), (8, 800))
        for share in (0.999, 1.001)
    ]
    fit = fit_table(read_table(table(tmp_path, "cores,rate\n" + "\n".join(lines))), "t")
    assert not fit.conclusive
    assert fit.conclusions[0].startswith("Not a curve of this law")
    assert any(text.startswith("6 cores") for text in fit.contradictions)


def test_the_command(tmp_path: Path) -> None:
    path = table(tmp_path, RAYTRACER)
    runner = CliRunner()
    done = runner.invoke(app, ["size", "--fit", str(path), "--rate", "140/s"])
    assert done.exit_code == 0
    assert "cores give 140" in done.output
    done = runner.invoke(app, ["size", "--fit", str(path), "--rate", "310", "--json"])
    assert done.exit_code == 2
    assert json.loads(done.output)["inverse"]["basis"] == "refused"
