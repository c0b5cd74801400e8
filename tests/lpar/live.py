"""Runs in the guest: the product switches SMT, binds memory and reads limits on a kernel that really does it.

Each ``check_`` function is one test of ``test_live.py``. Judges are the kernel's own files, numa_maps among them,
ppc64_cpu, lscpu and numactl. The machine has two nodes with an SMT4 core each, and a core that is plugged in on demand.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.decode import encode
from harness.errors import LparbenchError
from harness.placement.model import Placement
from harness.placement.plan import plan
from harness.placement.smt import restore, set_level, smt_session
from harness.placement.smt_state import load
from harness.placement.verify import mismatches, observe
from harness.platform import limits
from harness.platform.crosscheck import compare_lscpu, compare_numactl
from harness.platform.parse import cpu_list
from harness.platform.probe import read_topology
from harness.platform.sysroot import SysRoot

ROOT = SysRoot()
CPUS = Path("/sys/devices/system/cpu")
NODES = {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}  # as test_live.py asks for them
PLUGGED = (8, 9, 10, 11)  # of node 1
BYTES = 16 << 20
KINDS = ("private", "shared", "memfd")
PATIENCE_S = 240.0
# State of SMT to begin with -> the level to go to from it.
STARTS = {"on": 2, "off": 4, "level 2": 1, "mixed": 2, "core offline": 1}


def write(name: str, text: str) -> None:
    (CPUS / name).write_text(text)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def state() -> tuple[str, ...]:
    """SMT by the kernel and by ppc64_cpu."""
    files = tuple((CPUS / name).read_text().strip() for name in ("smt/control", "smt/active", "online"))
    return (*files, output("ppc64_cpu", "--smt"), output("ppc64_cpu", "--info"))


def online() -> list[int]:
    """Threads online of each core in use, by ppc64_cpu."""
    levels = [line.count("*") for line in output("ppc64_cpu", "--info").splitlines()]
    return [level for level in levels if level]


def begin(start: str) -> None:
    """Bring SMT to a state, by hand."""
    write("smt/control", "on")
    for cpu in (*NODES[0], *NODES[1]):
        if (CPUS / f"cpu{cpu}/online").read_text().strip() == "0":
            write(f"cpu{cpu}/online", "1")
    if start in ("off", "level 2"):
        write("smt/control", start.removeprefix("level "))
    for cpu in {"mixed": (3, 5), "core offline": NODES[1]}.get(start, ()):
        write(f"cpu{cpu}/online", "0")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def refusal(work: Callable[[], object]) -> str:
    """What a refused call says."""
    try:
        return f"not refused: {work()}"
    except LparbenchError as error:
        return str(error)


def _goes_back(start: str) -> None:
    begin(start)
    before = state()
    cores = len(online())
    set_level(ROOT, STARTS[start])
    assert online() == [STARTS[start]] * cores
    assert restore(ROOT)
    assert state() == before
    assert load(ROOT) is None


def check_a_level_set_from_on_goes_back() -> None:
    _goes_back("on")


def check_a_level_set_from_off_goes_back() -> None:
    _goes_back("off")


def check_a_level_set_from_another_level_goes_back() -> None:
    _goes_back("level 2")


def check_a_level_set_from_a_mixed_state_goes_back() -> None:
    _goes_back("mixed")


def check_a_level_set_with_a_core_offline_leaves_it_offline_and_goes_back() -> None:
    _goes_back("core offline")


def check_a_session_goes_through_levels_and_back_to_a_mixed_state() -> None:
    begin("mixed")
    before = state()
    with smt_session(ROOT) as session:
        for level in (1, 4):
            session.switch(level)
            assert online() == [level, level]
    assert state() == before


@contextlib.contextmanager
def _commanded() -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, ...]]]:
    """``lparbench smt set 2 -- sleep`` while it runs, and the state before it."""
    begin("mixed")
    before = state()
    note, said = Path("/tmp/pid"), Path("/tmp/said")
    note.unlink(missing_ok=True)
    program = ["sh", "-c", f"echo $$ > {note}.new; mv {note}.new {note}; exec sleep 31415"]
    with said.open("w") as handle:
        command = [sys.executable, "-m", "harness", "smt", "set", "2", "--", *program]
        process = subprocess.Popen(command, stderr=handle)
    wait_until(lambda: note.exists() or process.poll() is not None, "the command did not start")
    assert process.poll() is None, said.read_text()
    assert online() == [2, 2]
    yield process, before
    wait_until(lambda: load(ROOT) is None, "the saved state is still there")
    assert state() == before
    wait_until(lambda: not Path("/proc", note.read_text().strip()).exists(), "the command goes on")


def check_sigterm_ends_a_command_and_its_level() -> None:
    with _commanded() as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def check_kill_9_ends_a_command_and_its_level() -> None:
    with _commanded() as (process, _):
        process.kill()
        assert process.wait() == -signal.SIGKILL


def check_what_somebody_else_switches_is_named_and_left() -> None:
    begin("on")
    before = state()
    set_level(ROOT, 1)
    output("ppc64_cpu", "--smt=2")
    theirs = state()
    for go in (lambda: restore(ROOT), lambda: set_level(ROOT, 4)):
        assert "smt/control is 2, was left at off; CPUs 1,5 are online" in refusal(go)
        assert state() == theirs
    assert restore(ROOT, force=True)
    assert state() == before


def _launched(node: int) -> dict[str, dict[str, object]]:
    """What ``in_placement`` says below the launcher, in a placement on ``node``."""
    begin("on")
    chosen = plan(read_topology(ROOT), cores=1, threads_per_core=2, node=node)
    assert set(chosen.cpus) <= set(NODES[node])
    path = Path(f"/tmp/plan{node}.json")
    path.write_text(json.dumps(encode(chosen)))
    launcher = [sys.executable, "-m", "harness.placement.launch", "--plan", str(path), "--"]
    return json.loads(output(*launcher, sys.executable, __file__, "--in", str(path)))


def in_placement(path: Path) -> None:
    """In a process that was launched in a placement: observe it as it is, and after each thing that can be wrong."""
    chosen = Placement.read(path)
    other = 1 - chosen.nodes[0]
    cases = {f"right {kind}": (kind, chosen.nodes[0], False) for kind in KINDS}
    cases |= {f"wrong {kind}": (kind, other, True) for kind in KINDS}
    cases["wrong pin"] = ("private", chosen.nodes[0], False)
    answers = {}
    for name, (kind, node, bound) in cases.items():

        def case(kind=kind, node=node, bound=bound, moved=name == "wrong pin") -> object:
            if moved:
                os.sched_setaffinity(0, NODES[other])
            shared = _touched(kind, node if bound else None)
            ended = time.process_time() + 0.2
            while time.process_time() < ended:
                pass
            seen = observe()
            return {"pages": _pages(shared), "cpus": sorted(os.sched_getaffinity(0)), "wrong": mismatches(chosen, seen)}

        answers[name] = forked(case)
    print(json.dumps(answers))


def _touched(kind: str, node: int | None) -> mmap.mmap:
    """Memory of a kind, every page of it written to; with ``node``, taken from there whatever the policy is."""
    if kind == "memfd":
        descriptor = os.memfd_create("tensor")
        os.ftruncate(descriptor, BYTES)
        memory = mmap.mmap(descriptor, BYTES)
    else:
        memory = mmap.mmap(
            -1, BYTES, flags=mmap.MAP_ANONYMOUS | (mmap.MAP_SHARED if kind == "shared" else mmap.MAP_PRIVATE)
        )
    if node is not None:
        numa = ctypes.CDLL("libnuma.so.1")
        assert numa.numa_available() >= 0
        numa.numa_tonode_memory(ctypes.c_void_p(_address(memory)), ctypes.c_size_t(BYTES), node)
    for at in range(0, BYTES, mmap.PAGESIZE):
        memory[at] = 1
    return memory


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _pages(memory: mmap.mmap) -> dict[str, int]:
    """Node -> pages of one mapping, by the kernel."""
    for line in Path("/proc/self/numa_maps").read_text().splitlines():
        if int(line.split()[0], 16) == _address(memory):
            return {node: int(count) for node, count in re.findall(r" N([0-9]+)=([0-9]+)", line)}
    raise AssertionError("the mapping is not in numa_maps")


def forked(work: Callable[[], object]) -> dict[str, object]:
    """What ``work`` returns in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException:  # noqa: BLE001 - handed on
            answer = {"error": traceback.format_exc()}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)


def _placed_on(node: int) -> None:
    answers = _launched(node)
    for kind in KINDS:
        right, wrong = answers[f"right {kind}"], answers[f"wrong {kind}"]
        assert right["pages"] == {str(node): BYTES // mmap.PAGESIZE}, (kind, right)
        assert set(right["cpus"]) <= set(NODES[node]), right
        assert right["wrong"] == [], (kind, right)
        assert wrong["pages"] == {str(1 - node): BYTES // mmap.PAGESIZE}, (kind, wrong)
        assert len(wrong["wrong"]) == 1, (kind, wrong)
        assert re.match(
            rf"Of the memory pages, [0-9]+ % on node {1 - node}; the plan has node {node}\.", wrong["wrong"][0]
        )
    moved = " ".join(answers["wrong pin"]["wrong"])
    assert f"Threads were allowed to run on CPUs {NODES[1 - node][0]}-{NODES[1 - node][-1]} of node {1 - node}" in moved


def check_what_is_launched_on_node_0_stays_there_and_what_does_not_is_noticed() -> None:
    _placed_on(0)


def check_what_is_launched_on_node_1_stays_there_and_what_does_not_is_noticed() -> None:
    _placed_on(1)


def check_a_control_group_of_version_2_limits_what_is_offered() -> None:
    top = Path("/sys/fs/cgroup")
    (top / "cgroup.subtree_control").write_text("+cpuset +cpu +memory")
    group = top / "half"
    group.mkdir()
    for name, text in (
        ("cpuset.cpus", "4-6"),
        ("cpuset.mems", "1"),
        ("cpu.max", "150000 100000"),
        ("memory.max", "400M"),
    ):
        (group / name).write_text(text)

    def inside() -> object:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        limit, topology = limits.collect(ROOT), read_topology(ROOT)
        chosen = plan(topology, cores=1, threads_per_core=2, limits=limit)
        refused = refusal(lambda: plan(topology, cores=1, threads_per_core=1, node=0, limits=limit))
        allowed = sorted(os.sched_getaffinity(0))
        return {"limit": limit.__dict__, "plan": encode(chosen), "refused": refused, "allowed": allowed}

    answer = forked(inside)
    assert "error" not in answer, answer["error"]
    limit = answer["limit"]
    effective = tuple(cpu_list((group / "cpuset.cpus.effective").read_text()) or ())
    assert tuple(answer["allowed"]) == effective == (4, 5, 6)
    assert (limit["allowed_cpus"], limit["allowed_mems"]) == ([4, 5, 6], [1])
    assert (limit["cgroup_version"], limit["cpu_quota_cores"], limit["memory_limit_bytes"]) == (2, 1.5, 400 << 20)
    assert (answer["plan"]["cpus"], answer["plan"]["memory_policy"]) == ([4, 5], "bind:1")
    assert "node 0" in answer["refused"], answer


def check_doctor_agrees_with_the_tools_and_what_it_advises_can_be_run() -> None:
    """Without thread settings in the environment, as a login has it."""
    begin("on")
    from typer.testing import CliRunner

    from harness.cli.main import app

    report = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    findings = {finding["id"]: finding for finding in report["findings"]}
    assert {"emulated", "cpus-on-several-nodes", "threads-unset"} <= findings.keys()
    assert "tools-disagree" in report["checked"]
    assert "tools-disagree" not in findings, findings["tools-disagree"]
    commands = [command for finding in findings.values() for command in finding["fix"] if command.startswith("numactl")]
    assert len(commands) >= 2
    for command in commands:
        output("sh", "-c", command.replace("PROGRAM", "true"))
        pinned = re.search(r"--physcpubind=(\S+)", command)
        if pinned:
            cpus = set(cpu_list(pinned[1]) or ())
            assert any(cpus <= set(node) for node in NODES.values()), f"CPUs of both nodes: {command}"


def check_a_core_that_is_plugged_in_while_smt_is_switched_is_found_and_left_online() -> None:
    begin("mixed")
    before = state()
    with smt_session(ROOT) as session:
        session.switch(2)
        Path("/job/plug").touch()
        wait_until(lambda: online() == [2, 2, 2], "the core did not come")
        assert [core.cpus_present for core in read_topology(ROOT).cores] == [NODES[0], NODES[1], PLUGGED]
        session.switch(4)
        assert online() == [4, 4, 4]
    topology = read_topology(ROOT)
    assert (CPUS / "smt/control").read_text().strip() == before[0]
    assert topology.cpus_online == (0, 1, 2, 4, 6, 7, *PLUGGED)
    assert compare_lscpu(output("lscpu", "-p=CPU,CORE,SOCKET,NODE"), topology) == ()
    assert compare_numactl(output("numactl", "--hardware"), topology) == ()
    assert topology.node(1).cpus == (4, 6, 7, *PLUGGED)


def run_checks(checks: Mapping[str, Any]) -> None:
    """Those that are asked for, one line of JSON each as soon as it is done."""
    with Path("/job/results").open("w") as results:
        for name in Path("/job/checks").read_text().split():
            started, error = time.monotonic(), None
            try:
                checks[name]()
            except BaseException:  # noqa: BLE001 - handed on
                error = traceback.format_exc()
                with contextlib.suppress(LparbenchError):
                    restore(ROOT, force=True)
            results.write(json.dumps({"name": name, "error": error, "seconds": time.monotonic() - started}) + "\n")
            results.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in"]:
        in_placement(Path(sys.argv[2]))
    else:
        run_checks(globals())
