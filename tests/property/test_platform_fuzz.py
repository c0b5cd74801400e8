"""No input makes a parser raise, and none makes it tell a number that is not there."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import trees, trees_presets

from harness.decode import encode
from harness.errors import InputError
from harness.placement.model import Placement
from harness.placement.verify import memory_pages
from harness.platform import auxv, crosscheck, elf, load, parse
from harness.platform.cpuinfo import generation_of_text, parse_cpuinfo
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

_numbers = st.sets(st.integers(0, 2047), max_size=80).map(lambda found: tuple(sorted(found)))
# Texts near to the kernel's own, where parsers go wrong, beside arbitrary ones.
_near = st.text(alphabet="0123456789abcdefx,-: kKMB=.()[]\n\t\0pvrocesunitdNV", max_size=200)
_texts = st.one_of(st.text(max_size=200), _near)


@given(_numbers)
def test_lists_are_read_as_the_kernel_prints_them(numbers: tuple[int, ...]) -> None:
    assert parse.cpu_list(trees.cpu_list(numbers)) == numbers
    assert parse.format_cpulist(numbers) == trees.cpu_list(numbers)


@given(_numbers, st.integers(0, 300))
def test_masks_are_read_as_the_kernel_prints_them(numbers: tuple[int, ...], spare: int) -> None:
    bits = (max(numbers) + 1 if numbers else 1) + spare
    assert parse.cpu_mask(trees.cpu_mask(numbers, bits)) == numbers


@given(_texts)
def test_text_parsers_never_raise(text: str) -> None:
    for parser in (parse.cpu_list, parse.cpu_mask):
        found = parser(text)
        assert found is None or (list(found) == sorted(set(found)) and all(0 <= number < 1 << 16 for number in found))
    for convert in (parse.integer, parse.hexadecimal, parse.size):
        value = convert(text)
        assert value is None or any(digit in text for digit in "0123456789abcdefABCDEF")
    assert parse.number(text) is None or float(text.strip()) >= 0
    parse.selected(text)
    parse.key_values(text, "=")
    info = parse_cpuinfo(text)
    assert all(f"{cpu}" in text for cpu in info.processors)
    assert info.clock_hz is None or info.clock_hz > 0
    generation_of_text(text)
    share = load.steal_share(text)
    assert share is None or 0 <= share <= 1
    pages = memory_pages(text, 4096)
    assert pages is not None
    assert all(count >= 0 for count in pages.values())
    topology = Facts("/").topology
    crosscheck.compare_lscpu(text, topology)
    crosscheck.compare_numactl(text, topology)


@given(st.binary(max_size=400))
def test_binary_parsers_never_raise(content: bytes) -> None:
    cells = parse.cells(content)
    assert cells is None or len(cells) * 4 == len(content)
    parse.strings(content)
    parsed = auxv.parse(content)
    assert parsed is None or auxv.AT_PAGESZ in parsed[0]


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300), st.booleans())
def test_broken_libraries_need_nothing(content: bytes, headed: bool) -> None:
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        header = b"\x7fELF\x02\x01" + bytes(12) + struct.pack("<H", 21) if headed else b""
        file.write(header + content)
        file.flush()
        assert all(isinstance(name, str) for name in elf.needed(Path(file.name)))
        assert elf.holds_mma(Path(file.name)) in (None, False)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_plan_like = st.fixed_dictionaries(
    {},
    optional={
        key: _json | st.lists(st.integers(-1, 9))
        for key in ("cpus", "node", "nodes", "memory_nodes", "memory_policy", "threads", "cores", "env", "notes")
    },
)


@settings(deadline=None, max_examples=100)
@given(st.one_of(_texts, _json.map(json.dumps), _plan_like.map(json.dumps)))
def test_broken_plans_are_one_clear_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "plan.json")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(InputError, match=r"plan\.json"):
            Placement.read(path)


_BREAKAGES = ("empty", "noise", "cut", "directory", "gone", "fifo", "loop", "escape", "unreadable bytes")


def _break(path: Path, how: str, noise: bytes) -> None:
    content = path.read_bytes() if path.is_file() else b""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        return
    match how:
        case "empty":
            path.write_bytes(b"")
        case "noise":
            path.write_bytes(noise)
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path.name)
        case "escape":
            path.symlink_to("/proc/self/status")
        case "unreadable bytes":
            path.write_bytes(b"\xff\xfe\x00" + content)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    preset=st.sampled_from(("p10-mixed-smt", "p9-bare-metal", "x86-two-sockets", "kvm-guest", "p7-lpar-old-kernel")),
    choices=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(_BREAKAGES), st.binary(max_size=40)),
        min_size=1,
        max_size=12,
    ),
)
def test_broken_trees_are_read_without_wrong_numbers(preset: str, choices: list[tuple[float, str, bytes]]) -> None:
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else None) as directory:
        root = trees.build(trees_presets.PRESETS[preset], Path(directory))
        # The files that matter most often, then all others, so that every collector gets its share.
        files = sorted(path for path in root.rglob("*") if path.is_file())
        first = [path for path in files if "/cpu/cpu" not in str(path)]
        for position, how, noise in choices:
            pool = first if int(position * 1000) % 3 else files
            _break(pool[int(position * len(pool))], how, noise)
        facts = probe(SysRoot(root))
    json.dumps(encode(facts))
    topology = facts.topology
    online = set(topology.cpus_online)
    in_cores = [cpu for core in topology.cores for cpu in core.cpus]
    assert len(in_cores) == len(set(in_cores))
    assert set(in_cores) <= online <= set(topology.cpus_present)
    for core in topology.cores:
        assert set(core.cpus) <= set(core.cpus_present)
        assert core.halves is None or sorted(cpu for half in core.halves for cpu in half) == list(core.cpus)
    for node in topology.nodes:
        assert set(node.cpus) <= online
    assert topology.smt.max is None or topology.smt.online is None or topology.smt.max >= topology.smt.online
    assert facts.cpu.architecture != os.uname().machine or preset == "x86-two-sockets"
    assert facts.software.packages == ()
    for group in ("memory", "lpar", "energy", "load"):
        values = getattr(facts, group)
        assert all(getattr(values, name.partition(" ")[0], True) is not None for name in values.sources)
