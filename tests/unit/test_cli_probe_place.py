from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from support.trees import build
from support.trees_presets import PRESETS
from typer.testing import CliRunner

from harness.cli.place import place
from harness.cli.probe import probe
from harness.errors import InputError
from harness.platform.facts import Disagreement, Facts
from harness.platform.probe import probe as collect
from harness.platform.sysroot import SysRoot
from harness.reporting.factsheet import sections, size

app = typer.Typer()
app.command("probe")(probe)
app.command("place")(place)
runner = CliRunner()


def _run(*arguments: str) -> str:
    result = runner.invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def node7(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(PRESETS["p10-node7"], tmp_path_factory.mktemp("node7"))


def test_probe_json_is_the_facts(node7: Path) -> None:
    topology = json.loads(_run("probe", "--sysroot", str(node7), "--json"))["facts"]["topology"]
    assert topology["cpus_online"] == list(range(32))
    assert topology["smt"] | {"max": 8, "online": 8, "mixed": False} == topology["smt"]
    assert topology["nodes"][0] | {"id": 7, "distances": {"7": 10}, "memory_bytes": 95948 << 20} == topology["nodes"][0]
    core = topology["cores"][1]
    assert (core["id"], core["node"], core["package"]) == (1, 7, 0)
    assert core["cpus"] == list(range(8, 16))
    assert core["halves"] == [[8, 10, 12, 14], [9, 11, 13, 15]]


def test_probe_text_tells_the_essentials(node7: Path) -> None:
    text = _run("probe", "--sysroot", str(node7))
    for words in (
        "Power S1022 (9105-22A)",
        "dedicated",
        "POWER10, running as POWER10",
        "arch_3_1 mma",
        "32: 0-31",
        "8 online, 8 at most",
        "CPUs 0,2,4,6 | 1,3,5,7",
        "node 7",
        "Maximum Performance",
    ):
        assert words in text


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"p10-1920-cpus"}))
def test_every_machine_can_be_shown(preset: str, tmp_path: Path) -> None:
    facts = collect(SysRoot(build(PRESETS[preset], tmp_path)))
    shown = dict(sections(facts))
    assert shown["Processor"]
    values = " ".join(value for rows in shown.values() for _, value in rows)
    assert "None" not in values
    if preset == "p10-mixed-smt":
        assert "mixed: 1 core with 1 thread, 1 core with 2 threads, 2 cores with 8 threads; 8 at most" in values
    if preset == "tcg-guest":
        assert (
            "emulated",
            "yes, by QEMU TCG: a QEMU pseries machine without the node that KVM leaves in the device tree",
        ) in shown["Machine"]


def test_what_is_not_known_is_called_so() -> None:
    shown = dict(sections(Facts("/nowhere")))
    assert ("cores", "not known") in shown["Cores and threads"]
    assert "Software" not in shown
    assert "LPAR" not in shown


def test_disagreements_are_shown() -> None:
    facts = Facts("/")
    crosscheck = type(facts.crosscheck)(("lscpu",), {}, (Disagreement("lscpu", "online CPUs", "0-3", "0-7"),))
    shown = dict(sections(Facts("/", crosscheck=crosscheck)))
    assert shown["Other tools disagree"] == [("lscpu: online CPUs", "0-7; read here: 0-3")]


def test_sizes() -> None:
    assert [size(value) for value in (None, 0, 512, 65536, 95948 << 20, 3 << 40)] == [
        "not known", "0 B", "512 B", "64 KiB", "93.7 GiB", "3 TiB",
    ]  # fmt: skip


def test_place_json_is_the_plan(node7: Path) -> None:
    arguments = ("--cores", "4", "--threads-per-core", "2", "--node", "7", "--sysroot", str(node7))
    plan = json.loads(_run("place", *arguments, "--json"))
    assert plan["cpus"] == [0, 1, 8, 9, 16, 17, 24, 25]
    assert (plan["node"], plan["memory_policy"], plan["threads"]) == (7, "bind:7", 8)
    assert plan["env"]["OMP_PLACES"] == "{0},{1},{8},{9},{16},{17},{24},{25}"
    text = _run("place", *arguments)
    assert "CPUs 0-1,8-9,16-17,24-25 of node 7" in text
    assert "export OMP_NUM_THREADS='8'" in text
    assert "numactl --physcpubind=0-1,8-9,16-17,24-25 --membind=7 PROGRAM" in text


def test_place_tells_where_memory_comes_from(tmp_path: Path) -> None:
    root = build(PRESETS["p10-remote-memory"], tmp_path)
    assert "note: Node 2 has no memory; it is taken from node 3" in _run("place", "--sysroot", str(root))


def test_place_refuses_what_is_not_there(node7: Path) -> None:
    with pytest.raises(InputError, match="Node 7 cannot give 5 cores"):
        _run("place", "--cores", "5", "--node", "7", "--sysroot", str(node7))
    with pytest.raises(InputError, match=r"no such file or directory\. Expected a directory with proc or sys"):
        _run("probe", "--sysroot", str(node7 / "absent"))


def test_this_machine_can_be_shown() -> None:
    assert "Processor" in _run("probe")
