"""The tables in sysconfig, and what is said of broken ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.trees import build
from support.trees_presets import PRESETS

from harness.errors import InputError
from harness.platform.cputable import cpu_tables, find, load_tables, peak
from harness.platform.facts import CpuFacts
from harness.platform.machine import load_models, models
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

_P10 = CpuFacts(
    architecture="ppc64le", generation_hw="POWER10", generation_mode="POWER10", isa={"mma": True, "vsx": True}
)


def test_every_table_loads_and_names_its_source() -> None:
    assert {"9105-22A", "9080-HEX", "9824-42A", "8335-GTH", "8247-22L"} <= set(models())
    for model in models().values():
        assert model.source
        for module in model.modules:
            assert module.cores_per_chip == tuple(sorted(module.cores_per_chip))
    for table in cpu_tables():
        assert all(unit.source for unit in table.unit)
        assert all(cache.source for cache in table.cache)


def test_bandwidth_is_channels_times_the_rate_of_one() -> None:
    rates = {"DDR4-3200": 25.6e9, "DDR5": 51.2e9, "DDR5-4800": 76.8e9}
    for model in models().values():
        for module in model.modules:
            for kind, bandwidth in module.bandwidth_per_chip.items():
                if module.memory_channels_per_chip is not None:
                    assert bandwidth == pytest.approx(module.memory_channels_per_chip * rates[kind]), model.name


@pytest.mark.parametrize(
    ("dtype", "halves", "operations"),
    # an SMT8 core has four matrix engines, each giving 512 bits of results per cycle
    [
        ("float64", 2, 64),
        ("float32", 2, 128),
        ("float32", 1, 64),
        ("bfloat16", 2, 256),
        ("int8", 2, 512),
        ("int4", 2, 1024),
    ],
)
def test_peak_of_power10(dtype: str, halves: int, operations: float) -> None:
    found = peak(_P10, dtype, halves)
    assert found is not None
    assert (found.ops_per_cycle, found.unit.name, found.table.name) == (operations, "mma", "POWER10")


def test_peak_without_mma_is_that_of_the_vector_units() -> None:
    hidden = CpuFacts(generation_hw="POWER10", generation_mode="POWER9", isa={"mma": False, "vsx": True})
    found = peak(hidden, "float32", 2)
    assert found is not None
    assert (found.ops_per_cycle, found.unit.name) == (64, "vsx")
    assert peak(hidden, "int8", 2) is None
    unknown = CpuFacts(generation_hw="POWER10", isa={"mma": None, "vsx": None})
    assert peak(unknown, "float32", 2) is None  # not known to be usable


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name", "float32"),
    [
        ("AuthenticAMD", 23, 49, "AMD Zen 2", 32),
        ("AuthenticAMD", 25, 1, "AMD Zen 3", 32),
        ("AuthenticAMD", 25, 17, "AMD Zen 4", 32),
        ("AuthenticAMD", 26, 2, "AMD Zen 5", 64),
        ("GenuineIntel", 6, 85, "Intel Skylake SP", 64),
        ("GenuineIntel", 6, 106, "Intel Ice Lake SP", 64),
        ("GenuineIntel", 6, 143, "Intel Sapphire Rapids", 64),
        ("GenuineIntel", 6, 173, "Intel Granite Rapids", 64),
        ("GenuineIntel", 6, 62, "x86-64", 32),
    ],
)
def test_server_parts_by_family(vendor: str, family: int, model: int, name: str, float32: float) -> None:
    features = {"avx2": True, "fma": True, "avx512f": family == 26 or model not in (1, 49, 62)}
    cpu = CpuFacts(architecture="x86_64", vendor=vendor, family=family, model=model, isa=features)
    best = peak(cpu, "float32", 1)
    assert best is not None
    assert (best.table.name, best.ops_per_cycle) == (name, float32)


def test_peak_of_published_machines() -> None:
    """640 GFLOP/s of 40 AC922 cores at 2.0 GHz, 470 of 20 S822LC cores at 2.93 GHz, both double precision."""
    power9 = peak(CpuFacts(generation_hw="POWER9", isa={"vsx": True}), "float64", 40)
    power8 = peak(CpuFacts(generation_hw="POWER8", isa={"vsx": True}), "float64", 20)
    assert power9 is not None
    assert power8 is not None
    assert power9.ops_per_cycle * 2.0 == pytest.approx(640)
    assert power8.ops_per_cycle * 2.93 == pytest.approx(470, rel=0.01)


def test_the_most_specific_table_is_taken() -> None:
    isa = {"avx512f": True, "avx2": True, "fma": True}
    zen4 = CpuFacts(architecture="x86_64", vendor="AuthenticAMD", family=25, model=17, isa=isa)
    zen3 = CpuFacts(architecture="x86_64", vendor="AuthenticAMD", family=25, model=1, isa=isa)
    assert getattr(find(zen4), "name", None) == "AMD Zen 4"
    assert getattr(find(zen3), "name", None) == "AMD Zen 3"
    assert find(CpuFacts(architecture="s390x")) is None
    assert peak(CpuFacts(architecture="s390x"), "float32", 1) is None


def test_the_tables_describe_the_caches_of_the_trees(tmp_path: Path) -> None:
    facts = probe(SysRoot(build(PRESETS["p10-dedicated"], tmp_path)))
    table = find(facts.cpu)
    assert table is not None
    assert {(cache.level, cache.type): (cache.size_bytes, cache.ways, cache.line_bytes) for cache in table.cache} == {
        (cache.level, cache.type): (cache.size_bytes, cache.ways, cache.line_bytes) for cache in facts.caches.caches
    }


_MACHINE = """
[[machine]]
mtm = ["9105-22A"]
name = "X"
generation = "POWER10"
threads_per_core = 8
source = "somewhere"
[[machine.module]]
type = "DCM"
cores_per_chip = [6]
"""
_CPU = """
name = "X"
halves_per_core = 2
threads_per_half = 4
[match]
generation = ["POWER10"]
[[unit]]
name = "mma"
requires = ["mma"]
ops_per_cycle = { float32 = 64 }
verified = true
source = "somewhere"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "X"', "", r"broken.toml: machine[0].name is missing"),
        ('name = "X"', 'name = "X"\nnmae = "Y"', "machine[0]: unknown key 'nmae'. Did you mean 'name'?"),
        ('mtm = ["9105-22A"]', 'mtm = ["9105"]', "machine[0].mtm[0] is '9105' (str); expected a machine type-model"),
        ('mtm = ["9105-22A"]', "mtm = []", "machine[0].mtm is a list; expected a list that is not empty"),
        (
            "threads_per_core = 8",
            "threads_per_core = true",
            "threads_per_core is True (bool); expected a pos",
        ),
        ('type = "DCM"', 'type = "MCM"', "machine[0].module[0].type is 'MCM' (str); expected one of"),
        ("cores_per_chip = [6]", "cores_per_chip = [6, 0]", "cores_per_chip[1] is 0 (int); expected a positive"),
        ('type = "DCM"', 'type = "DCM"\nchips_with_memory = 3', "chips_with_memory is 3; expected at most the 2 chips"),
        (
            'source = "somewhere"',
            'source = "s"\nunverified = ["colour"]',
            "unverified[0] is 'colour' (str)",
        ),
        ("[[machine]]", "[machine", "not TOML"),
        ("[[machine]]", "[[machines]]", "unknown key 'machines'"),
    ],
)
def test_a_broken_machine_table_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(_MACHINE.replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_models([path])
    assert "broken.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("float32 = 64", "float23 = 64", "broken.toml: unit[0].ops_per_cycle.float23: unknown key; expected one of"),
        ("float32 = 64", 'float32 = "64"', "ops_per_cycle.float32 is '64' (str); expected a positive number"),
        ("verified = true", 'verified = "yes"', "unit[0].verified is 'yes' (str); expected true or false"),
        ('generation = ["POWER10"]', "", "match is a table; expected a generation or an architecture"),
        (
            'generation = ["POWER10"]',
            'generation = ["POWER10"]\nmodels = [[2, 1]]',
            "models[0] is a list; expected [",
        ),
        ("[match]", "[[match]]", "match is a list; expected a table"),
        ('requires = ["mma"]', "requires = [1]", "requires[0] is 1 (int); expected a text"),
        ("halves_per_core = 2", "halves_per_core = 0", "halves_per_core is 0 (int); expected a positive whole number"),
        ('name = "mma"', 'name = ""', "unit[0].name is '' (str); expected a text that is not empty"),
        (
            'source = "somewhere"',
            'source = "s"\n[[cache]]\nlevel = 1\ntype = "data"\nsize_bytes = 1\nline_bytes = 1\nverified = true'
            '\nsource = "s"',
            "cache[0].type is 'data' (str); expected one of 'Data'",
        ),
    ],
)
def test_a_broken_processor_table_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(_CPU.replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_tables([path])
    assert "broken.toml" in str(caught.value)


def test_a_model_described_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(_MACHINE)
    with pytest.raises(InputError, match=r"9105-22A is described already in .*a\.toml"):
        load_models([tmp_path / "a.toml", tmp_path / "b.toml"])


def test_an_unreadable_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: no such file"):
        load_models([tmp_path / "none.toml"])
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"bytes\.toml: byte 0 is not UTF-8"):
        load_models([tmp_path / "bytes.toml"])
