"""Second readings of the live machine by ``lscpu``, ``numactl`` and py-cpuinfo, compared with our own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import partial

from harness.errors import InputError
from harness.interpreter import SAFE_PATH
from harness.parsing import parse_json
from harness.platform import parse
from harness.platform.facts import CpuFacts, CrossCheck, Disagreement, Topology
from harness.platform.sysroot import SysRoot

_TIMEOUT_S = 5.0
_MEGABYTE = 1 << 20


def collect(sysroot: SysRoot, topology: Topology, cpu: CpuFacts) -> CrossCheck:
    """Where the tools say otherwise; nothing is run for a stored tree."""
    if not sysroot.live:
        return CrossCheck()
    tools: list[str] = []
    skipped: dict[str, str] = {}
    disagreements: list[Disagreement] = []
    for tool, command, compare in (
        ("lscpu", ["lscpu", "-p=CPU,CORE,SOCKET,NODE"], partial(compare_lscpu, topology=topology)),
        ("numactl", ["numactl", "--hardware"], partial(compare_numactl, topology=topology)),
        # A process of its own: it can start others, and answers in its own time.
        ("py-cpuinfo", [sys.executable, "-I", "-m", "cpuinfo", "--json"], partial(compare_cpuinfo, cpu=cpu)),
    ):
        answer = _run(*command)
        if isinstance(answer, str):
            tools.append(tool)
            disagreements += compare(answer)
        else:
            skipped[tool] = answer[0]
    return CrossCheck(tuple(tools), skipped, tuple(disagreements))


def _run(tool: str, *arguments: str) -> str | tuple[str]:
    """Output of a tool, or the one reason why there is none."""
    program = shutil.which(tool)
    if program is None:
        return ("not installed",)
    try:
        answer = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=True,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", SAFE_PATH: "1"},
            cwd="/",  # py-cpuinfo starts itself once more, by `python -m`, which looks there first
        )
    except subprocess.CalledProcessError as error:
        return (f"failed with exit status {error.returncode}",)
    except subprocess.TimeoutExpired:
        return (f"gave no answer in {_TIMEOUT_S:g} s",)
    except OSError as error:
        return (f"could not be run: {error.strerror}",)
    return answer.stdout


def compare_cpuinfo(text: str, cpu: CpuFacts) -> tuple[Disagreement, ...]:
    """Compare with ``python -m cpuinfo --json``: architecture, vendor, family, model, and the features of x86."""
    try:
        theirs = parse_json(text, "py-cpuinfo")
    except InputError:
        return ()
    disagreements = [
        Disagreement("py-cpuinfo", subject, str(ours), str(theirs[key]))
        for subject, ours, key in (
            ("architecture", cpu.architecture, "arch_string_raw"),
            ("vendor", cpu.vendor if cpu.family is not None else None, "vendor_id_raw"),
            ("family", cpu.family, "family"),
            ("model", cpu.model, "model"),
        )
        if ours is not None and theirs.get(key) not in (None, "", ours)
    ]
    flags = theirs.get("flags") or []
    if cpu.family is not None and flags:
        missing = sorted(name for name, here in cpu.isa.items() if here and name not in flags)
        disagreements += [Disagreement("py-cpuinfo", f"feature {name}", "present", "absent") for name in missing]
    return tuple(disagreements)


def compare_lscpu(text: str, topology: Topology) -> tuple[Disagreement, ...]:
    """Compare with ``lscpu -p=CPU,CORE,SOCKET,NODE``: one line per online CPU, logical core numbers, blanks unknown.

    Cores are compared as sets of CPUs: lscpu's core numbers are its own.
    """
    cores: dict[int, set[int]] = {}
    nodes: dict[int, set[int]] = {}
    cpus: set[int] = set()
    for line in text.splitlines():
        fields = line.split(",")
        cpu = parse.integer(fields[0])
        if line.startswith("#") or len(fields) != 4 or cpu is None:
            continue
        cpus.add(cpu)
        for groups, field in ((cores, fields[1]), (nodes, fields[3])):
            number = parse.integer(field)
            if number is not None:
                groups.setdefault(number, set()).add(cpu)
    disagreements = _differences("lscpu", "online CPUs", topology.cpus_online, tuple(sorted(cpus)))
    if cores:
        ours = {frozenset(core.cpus) for core in topology.cores}
        theirs = {frozenset(core) for core in cores.values()}
        for group in sorted(theirs - ours, key=min):
            mine = next((core.cpus for core in topology.cores if min(group) in core.cpus), ())
            disagreements += _differences(
                "lscpu", f"threads of the core of CPU {min(group)}", mine, tuple(sorted(group))
            )
    if nodes and topology.nodes:
        disagreements += _compare_nodes("lscpu", topology, {key: tuple(sorted(value)) for key, value in nodes.items()})
    return tuple(disagreements)


def compare_numactl(text: str, topology: Topology) -> tuple[Disagreement, ...]:
    """Compare with ``numactl --hardware``: CPUs, size in MB (rounded down) and distances of each node."""
    if not topology.nodes:
        return ()
    cpus: dict[int, tuple[int, ...]] = {}
    disagreements: list[Disagreement] = []
    distances = text.partition("node distances:")[2]
    for match in re.finditer(r"^node ([0-9]{1,6}) cpus:([ 0-9]*)$", text, re.MULTILINE):
        cpus[int(match[1])] = tuple(int(word) for word in match[2].split())
    disagreements += _compare_nodes("numactl", topology, cpus, memory_only=True)
    for match in re.finditer(r"^node ([0-9]{1,6}) size: ([0-9]{1,12}) MB$", text, re.MULTILINE):
        node = topology.node(int(match[1]))
        if node is not None and node.memory_bytes is not None and node.memory_bytes // _MEGABYTE != int(match[2]):
            ours = f"{node.memory_bytes // _MEGABYTE} MB"
            disagreements.append(Disagreement("numactl", f"memory of node {node.id}", ours, f"{match[2]} MB"))
    rows = [line.split() for line in distances.splitlines() if re.match(r"\s*[0-9]+:", line)]
    order = [int(row[0].rstrip(":")) for row in rows]
    for row in rows:
        node = topology.node(int(row[0].rstrip(":")))
        theirs = {other: parse.integer(word) for other, word in zip(order, row[1:], strict=False)}
        if node is not None and node.distances is not None and dict(node.distances) != theirs:
            disagreements.append(
                Disagreement("numactl", f"distances of node {node.id}", str(dict(node.distances)), str(theirs))
            )
    return tuple(disagreements)


def _compare_nodes(
    tool: str, topology: Topology, theirs: dict[int, tuple[int, ...]], *, memory_only: bool = False
) -> list[Disagreement]:
    """CPUs node by node. ``memory_only``: the tool also lists nodes without CPUs."""
    ours = {node.id: node.cpus for node in topology.nodes if node.cpus or (memory_only and node.id in theirs)}
    disagreements: list[Disagreement] = []
    for node in sorted({*ours, *theirs}):
        disagreements += _differences(tool, f"CPUs of node {node}", ours.get(node), theirs.get(node))
    return disagreements


def _differences(
    tool: str, subject: str, ours: tuple[int, ...] | None, theirs: tuple[int, ...] | None
) -> list[Disagreement]:
    if ours == theirs:
        return []
    return [Disagreement(tool, subject, _listed(ours), _listed(theirs))]


def _listed(cpus: tuple[int, ...] | None) -> str:
    return "no such node" if cpus is None else parse.format_cpulist(cpus) or "none"
