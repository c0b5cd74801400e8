"""Files of other tools, old and new, odd and damaged: what can be used is, the rest says why not."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.benchmark_files import processes, saved_file, write
from typer.testing import CliRunner

from harness.cli.main import app
from harness.compare import inputs
from harness.compare.compare import CompareReport, compare
from harness.compare.history import history
from harness.compare.inputs import load_history, load_side
from harness.errors import EnvironmentMismatchError, ExitCode, InputError
from harness.measure.verdicts import CompareVerdict

INVALID = {"verdict": "invalid", "reasons": ["stolen from"]}


def compared(a: Path, b: Path) -> CompareReport:
    return compare([load_side(a), load_side(b)])


def verdicts(report: CompareReport) -> dict[str, CompareVerdict]:
    return {time.key.workload: time.comparison.verdict for time in report.times}


ODD: dict[str, Callable[[dict[str, Any]], None]] = {
    "median of zero": lambda benchmark: benchmark["stats"].update(median=0.0),
    "median below zero": lambda benchmark: benchmark["stats"].update(median=-1e-3),
    "median that is no number": lambda benchmark: benchmark["stats"].update(median=float("nan")),
    "infinite median": lambda benchmark: benchmark["stats"].update(median=float("inf")),
    "median as text": lambda benchmark: benchmark["stats"].update(median="1 ms"),
    "a round of zero": lambda benchmark: benchmark["stats"].update(data=[1e-3, 0.0]),
    "no rounds": lambda benchmark: benchmark["stats"].update(data=[]),
    "a round that is no number": lambda benchmark: benchmark["stats"].update(data=[1e-3, None]),
    "an integer without end": lambda benchmark: benchmark["stats"].update(median=10**400),
    "somebody's own word": lambda benchmark: benchmark["extra_info"].update(lparbench="yes"),
    "no statistics": lambda benchmark: benchmark.pop("stats"),
    "statistics of another shape": lambda benchmark: benchmark.update(stats=[1]),
    "a verdict of the plugin": lambda benchmark: benchmark["extra_info"].update(lparbench=INVALID),
}


@pytest.mark.parametrize("odd", ODD)
def test_one_odd_benchmark_leaves_the_rest_alone(tmp_path: Path, odd: str) -> None:
    def spoil(document: dict[str, Any]) -> None:
        document["benchmarks"][1]["extra_info"] = {}
        ODD[odd](document["benchmarks"][1])

    names = {"t.py::ok": 1e-3, "t.py::odd": 1e-3}
    report = compared(processes(tmp_path / "a", names), processes(tmp_path / "b", names, seed=1, change=spoil))
    assert verdicts(report) == {"t.py::ok": CompareVerdict.EQUIVALENT, "t.py::odd": CompareVerdict.INCONCLUSIVE}
    assert report.exit_code is ExitCode.INCONCLUSIVE
    (note,) = (time.comparison.note for time in report.times if time.key.workload == "t.py::odd")
    assert "6 of 6 blocks" in (note or "")


def test_a_name_twice_in_a_file_is_judged_for_no_one_of_the_two(tmp_path: Path) -> None:
    def double(document: dict[str, Any]) -> None:
        document["benchmarks"].append(document["benchmarks"][1])

    names = {"t.py::ok": 1e-3, "t.py::odd": 1e-3}
    report = compared(processes(tmp_path / "a", names), processes(tmp_path / "b", names, seed=1, change=double))
    assert verdicts(report) == {"t.py::ok": CompareVerdict.EQUIVALENT, "t.py::odd": CompareVerdict.INCONCLUSIVE}


def test_a_process_that_lost_one_round_costs_one_pair(tmp_path: Path) -> None:
    a, b = processes(tmp_path / "a", {"t": 1e-3}), processes(tmp_path / "b", {"t": 1e-3}, seed=1)
    for folder in (a, b):
        extra = saved_file({"t": 1e-3 if folder is a else 0.0})
        write(folder / "9.json", extra)
    (time,) = compared(a, b).times
    assert time.comparison.effect is not None
    assert time.comparison.effect.blocks == 6


def test_bytes_are_counted_in_no_seconds_and_compared_with_none(tmp_path: Path) -> None:
    peak = processes(tmp_path / "peak", {"t": 3.1e9}, timer="peak")
    report = compared(peak, processes(tmp_path / "more", {"t": 3.5e9}, seed=1, timer="peak"))
    assert verdicts(report) == {"t": CompareVerdict.REGRESSED}
    assert report.times[0].unit == ""
    mixed = compared(processes(tmp_path / "time", {"t": 1e-3}), peak)
    assert "units differ" in (mixed.times[0].comparison.note or "")
    printed = CliRunner().invoke(app, ["compare", str(peak), str(tmp_path / "more")]).output
    (row,) = (line for line in printed.splitlines() if line.startswith("t pytest-benchmark"))
    assert row.split()[2].startswith("3,")  # all digits of what was recorded, 3.1e9 or so, and no seconds


def test_nanoseconds_of_a_clock_are_scaled(tmp_path: Path) -> None:
    a = processes(tmp_path / "a", {"t": 1e6}, timer="perf_counter_ns")
    assert load_side(a).observations[next(iter(load_side(a).observations))].seconds[0] == pytest.approx(1e-3, rel=0.05)


SAME_MACHINE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"machine": "x86_64"}, {"machine": "AMD64"}),
    ({"machine": "aarch64"}, {"machine": "arm64"}),
    ({"cpu": {"brand_raw": "POWER9"}}, {"cpu": {"brand": "POWER9"}}),
    ({"cpu": {"brand_raw": "POWER9"}}, {"cpu": {}}),
    ({}, {"lparbench": {"arch": "ppc64le", "emulated": False, "hypervisor": "PowerVM", "libraries": {"numpy": "2"}}}),
]


@pytest.mark.parametrize(("a", "b"), SAME_MACHINE)
def test_one_machine_under_two_descriptions_is_one(tmp_path: Path, a: dict[str, Any], b: dict[str, Any]) -> None:
    report = compared(
        processes(tmp_path / "a", {"t": 1e-3}, machine=a), processes(tmp_path / "b", {"t": 1e-3}, seed=1, machine=b)
    )
    assert verdicts(report) == {"t": CompareVerdict.EQUIVALENT}
    assert report.differences == {"b": ()}


OTHER_MACHINE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("python_implementation", {}, {"python_implementation": "PyPy"}),
    ("python", {}, {"python_version": "3.12.1"}),
    ("cpu", {"cpu": {"brand": "POWER8"}}, {"cpu": {"brand_raw": "POWER9"}}),
    ("system", {}, {"system": "Windows"}),
]


@pytest.mark.parametrize(("name", "a", "b"), OTHER_MACHINE)
def test_what_differs_is_named_first(tmp_path: Path, name: str, a: dict[str, Any], b: dict[str, Any]) -> None:
    of_a = processes(tmp_path / "a", {"t": 1e-3}, machine=a)
    of_b = processes(tmp_path / "b", {"t": 1e-3}, machine=b)
    assert compared(of_a, of_b).differences["b"][0].name == name
    write(of_a / "9.json", saved_file({"t": 1e-3}, machine=b))
    with pytest.raises(InputError, match=f"another machine or interpreter.*{name}"):
        load_side(of_a)


def test_another_instruction_set_separates(tmp_path: Path) -> None:
    other = processes(tmp_path / "b", {"t": 1e-3}, machine={"machine": "x86_64"})
    with pytest.raises(EnvironmentMismatchError, match="arch"):
        compared(processes(tmp_path / "a", {"t": 1e-3}), other)


RENAMED = [
    (["proj/tests/b.py::a", "proj/tests/b.py::b"], ["code/tests/b.py::a", "code/tests/b.py::b"]),
    (["tests/b.py::a", "tests/x/c.py::a"], ["code/tests/b.py::a", "code/tests/x/c.py::a"]),
    (["t.py::a[{'x', 'y'}]"], ["t.py::a[{'y', 'x'}]"]),
    (["t.py::a[<f at 0x7f11a2b3>]"], ["t.py::a[<f at 0x55aaffee>]"]),
    (["proj/t.py::a[{'x', 'y'}]", "proj/t.py::b"], ["code/t.py::a[{'y', 'x'}]", "code/t.py::b"]),
    (["tests/b.py::a"], ["tests\\b.py::a"]),
]


@pytest.mark.parametrize(("a", "b"), RENAMED)
def test_what_changes_by_chance_parts_no_names(tmp_path: Path, a: list[str], b: list[str]) -> None:
    levels = [1e-3 * 2**i for i in range(len(a))]
    report = compared(
        processes(tmp_path / "a", dict(zip(a, levels, strict=True))),
        processes(tmp_path / "b", dict(zip(b, levels, strict=True)), seed=1),
    )
    assert verdicts(report) == dict.fromkeys(a, CompareVerdict.EQUIVALENT)
    assert report.exit_code is ExitCode.GOOD


def test_a_gate_knows_a_moved_checkout(tmp_path: Path) -> None:
    call = CliRunner().invoke
    for seed in range(3):
        folder = processes(tmp_path / f"s{seed}", {"proj/tests/b.py::a": 1e-3}, seed=seed)
        assert call(app, ["gate", str(tmp_path / "base"), "--update", "--candidate", str(folder)]).exit_code == 0
    moved = processes(tmp_path / "moved", {"code/tests/b.py::a": 1e-3}, seed=9)
    assert call(app, ["gate", str(tmp_path / "base"), "--candidate", str(moved)]).exit_code == ExitCode.GOOD


def test_two_that_simplify_to_one_name_are_not_matched(tmp_path: Path) -> None:
    two = {"t.py::a[<f at 0x7f11a2b3>]": 1e-3, "t.py::a[<f at 0x7f11a2b4>]": 2e-3}
    a = processes(tmp_path / "a", {**two, "t.py::c": 1e-3})
    b = processes(tmp_path / "b", {"t.py::a[<f at 0x7f11a2b5>]": 1e-3, "t.py::c": 1e-3})
    report = compared(a, b)
    assert verdicts(report) == {"t.py::c": CompareVerdict.EQUIVALENT}
    assert report.exit_code is ExitCode.INCONCLUSIVE


def test_shards_are_put_together_whatever_their_order(tmp_path: Path) -> None:
    a, b = processes(tmp_path / "a", {"t": 1e-3}), processes(tmp_path / "b", {"u": 1e-3})
    for folder, name, prefix in ((a, "u", "0"), (b, "t", "z")):
        for process in range(6):
            write(folder / f"{prefix}{process}.json", saved_file({name: 1e-3 * (1 + process / 1e3)}))
    report = compared(a, b)
    assert verdicts(report) == dict.fromkeys(("t", "u"), CompareVerdict.EQUIVALENT)


def test_what_is_gone_is_open_and_what_is_new_is_not(tmp_path: Path) -> None:
    both = processes(tmp_path / "both", {"t.py::a": 1e-3, "t.py::b": 1e-3})
    fewer = processes(tmp_path / "fewer", {"t.py::a": 1e-3}, seed=1)
    assert compared(both, fewer).exit_code is ExitCode.INCONCLUSIVE
    assert "1 result missing" in CliRunner().invoke(app, ["compare", str(both), str(fewer)]).output
    assert compared(fewer, both).exit_code is ExitCode.GOOD


def test_a_folder_of_commits_is_a_history_and_no_side(tmp_path: Path) -> None:
    for day in range(1, 13):
        level = 1e-3 if day < 7 else 1.2e-3
        document = saved_file({"t": level * (1 + 0.003 * (day % 3))}, commit=f"{day:040x}", day=day)
        write(tmp_path / "store" / "Linux" / f"{day:04d}.json", document)
    with pytest.raises(InputError, match="several commits") as refused:
        load_side(tmp_path / "store")
    assert f"lparbench history {tmp_path / 'store'}" in (refused.value.remedy or "")
    (found,) = history(load_history([tmp_path / "store"]))
    assert [step.at for step in found.steps] == [6]
    assert found.points[6].commit is not None
    assert found.points[6].commit.id == f"{7:040x}"


def test_history_keeps_machines_apart(tmp_path: Path) -> None:
    for day in range(1, 25):
        power9 = day % 2 == 0
        level = (1.3e-3 if power9 else 1e-3) * (1.1 if day > 12 else 1) * (1 + 0.002 * (day % 3))
        machine = {"cpu": {"brand_raw": "POWER9" if power9 else "POWER10"}}
        write(tmp_path / f"{day:04d}.json", saved_file({"t": level}, machine=machine, commit=f"{day:040x}", day=day))
    histories = history(load_history([tmp_path]))
    assert [(h.machine, len(h.points), [step.at for step in h.steps]) for h in histories] == [
        ("POWER10", 12, [6]), ("POWER9", 12, [6])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([1000.0] * 6 + [1200.0] * 6, [6]),  # bytes: exact
        ([10.0, 10, 10, 11, 10, 10, 10, 10, 20, 20, 20, 20, 21, 20], [8]),  # a coarse clock
        ([1000.0] * 12, []),
    ],
)
def test_series_without_jitter_have_their_steps(tmp_path: Path, values: list[float], steps: list[int]) -> None:
    for day, value in enumerate(values, 1):
        write(tmp_path / f"{day:04d}.json", saved_file({"t": value}, timer="peak", commit=f"{day:040x}", day=day))
    (found,) = history(load_history([tmp_path]))
    assert [step.at for step in found.steps] == steps
    assert found.unit == ""


def test_history_follows_the_commits_not_the_day_they_were_measured(tmp_path: Path) -> None:
    for day in range(1, 13):
        document = saved_file(
            {"t": (1e-3 if day < 7 else 1.2e-3) * (1 + 0.003 * (day % 3))}, commit=f"{day:040x}", day=day
        )
        document["datetime"] = f"2026-09-{13 - day:02d}T12:00:00"  # measured backwards
        write(tmp_path / f"{day:04d}.json", document)
    (found,) = history(load_history([tmp_path]))
    assert [step.at for step in found.steps] == [6]
    assert found.steps[0].ratio > 1


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_archives_are_read_as_folders(tmp_path: Path, kind: str) -> None:
    folder = processes(tmp_path / "a", {"t": 1e-3})
    archive = tmp_path / f"b.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for file in sorted(folder.iterdir()):
                packed.write(file, f"x/{file.name}")
    else:
        with tarfile.open(archive, f"w:{kind.partition('.')[2]}") as tar:
            tar.add(folder, "x")
    assert load_side(archive).observations == load_side(folder).observations
    assert len(load_history([archive])) == 6
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(InputError):
        load_side(archive)


@pytest.mark.parametrize("cut", [0, 30])
def test_files_may_be_packed_one_by_one(tmp_path: Path, cut: int) -> None:
    a, b = processes(tmp_path / "a", {"t.py::a": 1e-3}), processes(tmp_path / "b", {"t.py::a": 1e-3}, seed=1)
    for file in b.iterdir():
        packed = gzip.compress(file.read_bytes())
        file.with_suffix(".json.gz").write_bytes(packed[: len(packed) - cut])
        file.unlink()
    if cut:
        with pytest.raises(InputError, match=r"0\.json\.gz: not sound gzip"):
            load_side(b)
    else:
        assert compared(a, b).exit_code is ExitCode.GOOD
        assert len(load_history([b])) == len(load_history([a]))


def test_an_archive_leads_nowhere_else(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        member = tarfile.TarInfo("../../evil.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(InputError, match="leads out of the archive"):
        load_side(tmp_path / "evil.tar")


def test_what_has_no_name_or_no_machine_leaves_the_rest_alone(tmp_path: Path) -> None:
    def spoil(document: dict[str, Any]) -> None:
        del document["benchmarks"][1]["fullname"], document["benchmarks"][1]["name"]
        document["benchmarks"].append(None)
        document["machine_info"] = None

    names = {"t.py::ok": 1e-3, "t.py::odd": 1e-3}
    report = compared(processes(tmp_path / "a", names), processes(tmp_path / "b", names, seed=1, change=spoil))
    assert verdicts(report)["t.py::ok"] is CompareVerdict.EQUIVALENT
    unnamed = load_side(tmp_path / "b").observations
    assert {key.workload: len(each.seconds) for key, each in unnamed.items()} == {
        "t.py::ok": 6, "benchmarks[1]": 0, "benchmarks[2]": 0,
    }  # fmt: skip
    assert "it has no name" in str(unnamed)


def test_a_history_of_bytes_knows_no_slower(tmp_path: Path) -> None:
    for day in range(12):
        document = saved_file({"t.py::a": 1000 if day < 6 else 1300}, timer="bytes", commit=f"{day:040x}", day=day + 1)
        write(tmp_path / f"{day:02d}.json", document)
    result = CliRunner().invoke(app, ["history", str(tmp_path)])
    assert "%, more from here on" in result.output
    assert "slower" not in result.output


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_windows_writes_other_encodings(tmp_path: Path, encoding: str, mark: str) -> None:
    document = json.dumps(saved_file({"é": 1e-3}), ensure_ascii=False)
    (tmp_path / "a.json").write_bytes((mark + document).encode(encoding))
    assert [key.workload for key in load_side(tmp_path / "a.json").observations] == ["é"]


def pyperf_file(level: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    metadata = {
        "name": "sort", "unit": "second", "python_implementation": "cpython", "python_version": "3.11.7 (64-bit)",
        "cpu_model_name": "POWER10", "platform": "Linux-5.14.0-ppc64le-with-glibc2.34", "cpu_count": 32,
    }  # fmt: skip
    runs: list[dict[str, Any]] = [{"warmups": [[1, 0.1]], "metadata": {"calibrate_loops": 8}}]
    runs += [{"values": (level * np.exp(rng.normal(0, 0.005, 3))).tolist(), "metadata": {}} for _ in range(8)]
    return {"version": "1.0", "metadata": metadata, "benchmarks": [{"runs": runs}]}


def hyperfine_file(level: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    times = (level * np.exp(rng.normal(0, 0.005, 10))).tolist()
    result = {"command": "sleep 1", "times": times, "median": level, "exit_codes": [0] * 10}
    return {"results": [result]}


def google_file(level: float, seed: int) -> dict[str, Any]:
    context = {"date": "2026-08-01T12:00:00+00:00", "num_cpus": 32, "library_build_type": "release"}
    rng = np.random.default_rng(seed)
    entries: list[dict[str, Any]] = [
        {"name": "BM_x", "run_name": "BM_x", "run_type": "iteration", "repetition_index": index,
         "real_time": level * 1e9 * float(np.exp(rng.normal(0, 0.005))), "time_unit": "ns"}
        for index in range(3)
    ]  # fmt: skip
    entries.append(
        {"name": "BM_x_mean", "run_name": "BM_x", "run_type": "aggregate", "real_time": 1, "time_unit": "ns"}
    )
    return {"context": context, "benchmarks": entries}


def jmh_file(level: float, seed: int, mode: str = "avgt") -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    forks = level * np.exp(rng.normal(0, 0.005, (8, 5)))
    scores, unit = (forks * 1e6, "us/op") if mode == "avgt" else (1 / (forks * 1e3), "ops/ms")
    metric = {"score": 1.0, "scoreUnit": unit, "rawData": scores.tolist()}
    return [{"jmhVersion": "1.37", "benchmark": "org.A.f", "params": {"n": "8"}, "mode": mode, "primaryMetric": metric}]


def jmh_throughput(level: float, seed: int) -> list[dict[str, Any]]:
    return jmh_file(level, seed, "thrpt")


@pytest.mark.parametrize(
    ("make", "files"),
    [(pyperf_file, 1), (hyperfine_file, 1), (google_file, 6), (jmh_file, 1), (jmh_throughput, 1)],
)
def test_other_tools_are_read_where_their_samples_allow(tmp_path: Path, make: Any, files: int) -> None:
    for name, level in (("a", 1e-3), ("same", 1e-3), ("slow", 1.2e-3)):
        for index in range(files):
            write(tmp_path / name / f"{index}.json", make(level, seed=len(name) * 100 + index))
    assert set(verdicts(compared(tmp_path / "a", tmp_path / "same")).values()) == {CompareVerdict.EQUIVALENT}
    assert set(verdicts(compared(tmp_path / "a", tmp_path / "slow")).values()) == {CompareVerdict.REGRESSED}


def test_a_command_that_failed_has_no_time(tmp_path: Path) -> None:
    document = hyperfine_file(1e-3, 1)
    document["results"][0]["exit_codes"][3] = 1
    (observation,) = load_side(write(tmp_path / "a.json", document)).observations.values()
    assert (len(observation.seconds), list(observation.unusable)) == (9, [3])


def test_one_name_with_several_parameters_is_several_commands(tmp_path: Path) -> None:
    document = hyperfine_file(1e-3, 1)
    document["results"] += [{**hyperfine_file(2e-3, 2)["results"][0], "parameters": {"n": "2"}}]
    document["results"][0]["parameters"] = {"n": "1"}
    side = load_side(write(tmp_path / "a.json", document))
    assert {key.workload: bool(seen.problems) for key, seen in side.observations.items()} == {
        "sleep 1 [n=1]": False, "sleep 1 [n=2]": False,
    }  # fmt: skip
    del document["results"][1]
    assert [key.workload for key in load_side(write(tmp_path / "b.json", document)).observations] == ["sleep 1"]


def test_a_fitted_complexity_is_no_result(tmp_path: Path) -> None:
    document = google_file(1e-3, 1)
    for name in ("BigO", "RMS"):
        document["benchmarks"].append({"name": f"BM_{name}", "run_type": "aggregate", "aggregate_name": name})
    assert [key.workload for key in load_side(write(tmp_path / "a.json", document)).observations] == ["BM_x"]


def test_forks_of_another_virtual_machine_differ_in_it_and_of_another_unit_have_no_time(tmp_path: Path) -> None:
    document = jmh_file(1e-3, 1)
    document[0] |= {"vmName": "OpenJDK 64-Bit Server VM", "vmVersion": "21.0.1"}
    (observation,) = load_side(write(tmp_path / "a.json", document)).observations.values()
    assert observation.conditions == {"jvm": "OpenJDK 64-Bit Server VM 21.0.1"}
    assert list(observation.seconds.values()) == pytest.approx([1e-3] * 8, rel=0.02)
    document[0]["primaryMetric"]["scoreUnit"] = "MB/sec"
    (observation,) = load_side(write(tmp_path / "b.json", document)).observations.values()
    assert set(observation.unusable.values()) == {"its unit is not one of time per call or calls per time"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "estimates.json",
            '{"mean": {}, "median": {}, "median_abs_dev": {}, "slope": {}, "std_dev": {}}',
            "of criterion",
        ),
        ("sample.json", '{"sampling_mode": "Linear", "iters": [1], "times": [1]}', "of criterion"),
        ("net.json", '{"Title": "A", "HostEnvironmentInfo": {}, "Benchmarks": []}', "a report of BenchmarkDotNet"),
        ("tukey.json", "[1.0, 2.0]", "no file of a tool that is known"),
        ("nano.json", '{"results": [{"name": "x", "measurements": []}]}', "no file of a tool that is known"),
        ("table.csv", "command,mean\nsleep 1,1.0\n", "not JSON: .* Give files written by pytest --benchmark-json"),
        ("cut.json", '\ufeff {"machine_info": {', "not JSON: .* The file is damaged or cut short"),
    ],
)
def test_files_of_other_tools_are_named_and_not_called_records(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    for read in (load_side, lambda path: load_history([path])):
        with pytest.raises(InputError) as error:
            read(tmp_path / name)
        assert re.search(says, f"{error.value.message} {error.value.remedy}")
    if name.endswith(".json") and name != "cut.json":
        with pytest.raises(InputError, match=says):
            load_history([tmp_path])


def test_what_has_no_samples_is_named(tmp_path: Path) -> None:
    asv = {"commit_hash": "a" * 40, "results": {"x": [1.0]}, "params": {"machine": "m"}, "version": 2}
    with pytest.raises(InputError, match="a result of asv"):
        load_side(write(tmp_path / "asv.json", asv))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (
            {"m.f": {"code": "x", "name": "m.f", "type": "time", "version": "ab"}, "version": 2},
            "asv's list of benchmarks",
        ),
        ({"arch": "x86_64", "cpu": "c", "machine": "m", "os": "Linux", "ram": "1", "version": 1}, "asv's description"),
        ({}, "no file of a tool that is known"),
    ],
)
def test_a_stray_file_is_named_and_the_rest_goes_on(tmp_path: Path, document: Any, says: str) -> None:
    base, folder = processes(tmp_path / "a", {"t": 1e-3}), processes(tmp_path / "b", {"t": 1e-3}, seed=1)
    stray = write(folder / "stray.json", document)
    result = CliRunner().invoke(app, ["compare", str(base), str(folder)])
    assert result.exit_code == 0
    assert f"note: left out: {stray}" in result.output
    assert says in result.output
    for file in folder.iterdir():
        write(file, document)
    with pytest.raises(InputError, match=says):
        load_side(folder)


def test_aggregates_alone_are_named_and_a_file_without_results_too(tmp_path: Path) -> None:
    document = google_file(1e-3, 1)
    document["benchmarks"] = document["benchmarks"][-1:]
    (observation,) = load_side(write(tmp_path / "aggregates.json", document)).observations.values()
    assert "only aggregates were written" in observation.unusable[0]
    document["benchmarks"] = []
    with pytest.raises(InputError, match="empty holds no results"):
        compared(tmp_path / "aggregates.json", write(tmp_path / "empty.json", document))
    with pytest.raises(InputError, match="no run records"):
        load_history([tmp_path / "empty.json"])


def test_pyperf_without_common_metadata_is_read(tmp_path: Path) -> None:
    document = pyperf_file(1e-3, 1)
    document["benchmarks"][0]["metadata"] = document.pop("metadata")
    (observation,) = load_side(write(tmp_path / "a.json", document)).observations.values()
    assert (observation.key.workload, len(observation.seconds)) == ("sort", 8)


@pytest.mark.parametrize("name", ["x" * 300 + ".json", "../x.json", "/x.json", "bomb.json", "damaged.json"])
def test_an_archive_that_is_hostile_is_refused_in_one_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written outside of the scratch directory, and no more is unpacked than is allowed."""
    monkeypatch.setattr(inputs, "_LARGEST", 1 << 16)
    path = tmp_path / ".x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, bytes(1 << 26) if name.startswith("bomb") else bytes(range(256)) * 64)
    if name.startswith("damaged"):
        content = bytearray(path.read_bytes())
        content[60:90] = b"\xff" * 30
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"\.x\.zip: "):
        load_side(path)
