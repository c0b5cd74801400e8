"""Real processes under a plan: pinned before they start, and a wrong pin caught."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.decode import decode, encode
from harness.errors import InputError
from harness.placement import apply as applying
from harness.placement.model import Placement
from harness.placement.plan import plan
from harness.placement.verify import Observation, mismatches
from harness.platform.pinning import pinned_cpus
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

_CHECKOUT = str(Path(__file__).resolve().parents[2])
_WORKER = """
import json, os, sys, threading
{before}
from harness.decode import encode
from harness.placement.verify import observe
block = bytearray(64 << 20)  # private memory to look at
for offset in range(0, len(block), 4096):
    block[offset] = 1
{after}
print(json.dumps(encode(observe())))
"""


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "OPENBLAS_", "MKL_"))}
    return {**kept, "PYTHONPATH": _CHECKOUT}


def _launch(planned: Placement, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = directory / "plan.json"
    path.write_text(json.dumps(encode(planned)))
    return subprocess.run(
        [sys.executable, "-m", "harness.placement.launch", "--plan", str(path), "--", *command],
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
        timeout=480,
    )


def _observed(planned: Placement, directory: Path, before: str = "", after: str = "") -> Observation:
    answer = _launch(planned, directory, sys.executable, "-c", _WORKER.format(before=before, after=after))
    assert answer.returncode == 0, answer.stderr
    return decode(Observation, json.loads(answer.stdout), "observation")


@pytest.fixture(scope="module")
def planned() -> Placement:
    facts = probe(SysRoot("/"))
    return plan(facts.topology, cores=1, threads_per_core=1, limits=facts.limits)


def test_the_program_starts_pinned_and_is_verified(planned: Placement, tmp_path: Path) -> None:
    found = _observed(planned, tmp_path, before=f"assert os.sched_getaffinity(0) == {set(planned.cpus)}")
    assert found.cpus_allowed == found.cpus_sampled == planned.cpus
    assert found.memory_policy is not None
    assert found.memory_policy == planned.memory_policy or found.memory_policy.refused
    if found.memory_policy == planned.memory_policy and found.page_nodes is not None:
        assert set(found.page_nodes) <= set(planned.memory_nodes)
        assert sum(found.page_nodes.values()) * os.sysconf("SC_PAGE_SIZE") > 64 << 20
    assert dict(found.env) == dict(planned.env)
    assert mismatches(planned, found) == ()


def test_a_wrong_pin_is_caught(planned: Placement, tmp_path: Path) -> None:
    others = sorted(os.sched_getaffinity(0) - set(planned.cpus))
    if not others:
        pytest.skip("this process may use one CPU only, so there is no wrong one")
    found = _observed(planned, tmp_path, after=f"os.sched_setaffinity(0, {{{others[0]}}})")
    problems = mismatches(planned, found)
    assert any(f"allowed to run on CPUs {others[0]}" in problem for problem in problems)
    node = found.node_of(others[0])
    assert node is None or all(f"of node {node}" in problem for problem in problems)


def test_one_thread_that_left_its_pin_is_caught(planned: Placement, tmp_path: Path) -> None:
    others = sorted(os.sched_getaffinity(0) - set(planned.cpus))
    if not others:
        pytest.skip("this process may use one CPU only, so there is no wrong one")
    stray = f"""
done = threading.Event()
started = threading.Event()
def leave():
    os.sched_setaffinity(0, {{{others[0]}}})
    started.set()
    done.wait(30)
threading.Thread(target=leave, daemon=True).start()
started.wait(30)
"""
    found = _observed(planned, tmp_path, after=stray)
    assert found.threads == 2
    assert any("allowed to run on" in problem for problem in mismatches(planned, found))


def test_workers_that_inherit_one_cpu_are_caught(tmp_path: Path) -> None:
    """As GNU OpenMP does to whoever loads it: the first thread is bound to one place, and its children stay there."""
    facts = probe(SysRoot("/"))
    try:
        two = plan(facts.topology, cores=2, threads_per_core=1, limits=facts.limits)
    except InputError:
        pytest.skip("this process may use one core only")
    work = f"""
import hashlib
os.sched_setaffinity(0, {{{two.cpus[0]}}})
done, ready = threading.Event(), threading.Semaphore(0)
def work():
    for _ in range(60):
        hashlib.sha256(block[:4 << 20]).digest()  # releases the interpreter lock
    ready.release()
    done.wait(30)  # it must still live when it is looked at
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
for _ in range(2):
    ready.acquire()
"""
    found = _observed(two, tmp_path, after=work)
    assert found.busy_threads >= 2
    assert any("working threads were confined to CPUs" in problem for problem in mismatches(two, found))


def test_settings_changed_by_the_program_are_caught(planned: Placement, tmp_path: Path) -> None:
    found = _observed(planned, tmp_path, after="os.environ['OMP_NUM_THREADS'] = '77'")
    assert mismatches(planned, found) == (f"OMP_NUM_THREADS was 77 at the end; the plan has {planned.threads}.",)


def test_the_launcher_becomes_the_program(planned: Placement, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(encode(planned)))
    command = [
        sys.executable,
        "-m",
        "harness.placement.launch",
        "--plan",
        str(path),
        "--",
        "sh",
        "-c",
        "echo $$; exit 7",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        told = process.communicate(timeout=480)[0]
    assert int(told) == process.pid  # the same process, so signals and exit codes are the program's own
    assert process.returncode == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [({"cpus": (100_000,)}, "cannot be used"), ({"cpus": (1023,)}, "cannot be used")],
)
def test_cpus_that_are_not_there_are_refused(
    change: dict[str, tuple[int, ...]], message: str, planned: Placement, tmp_path: Path
) -> None:
    answer = _launch(replace(planned, **change), tmp_path, "true")
    assert answer.returncode == 4
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_cpu_outside_the_cpuset_is_named(planned: Placement, tmp_path: Path) -> None:
    answer = _launch(replace(planned, cpus=(*planned.cpus, 1023)), tmp_path, "true")
    assert answer.returncode == 4
    assert "CPUs 1023 are not allowed here" in answer.stderr


def test_a_program_that_is_not_there(planned: Placement, tmp_path: Path) -> None:
    answer = _launch(planned, tmp_path, "no-such-program")
    assert answer.returncode == 4
    assert "no-such-program: cannot be started" in answer.stderr


@pytest.mark.parametrize("arguments", [[], ["--plan"], ["--plan", "x", "true"], ["--", "true"]])
def test_wrong_arguments_show_the_usage(arguments: list[str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "harness.placement.launch", *arguments],
        capture_output=True, text=True, env=_environment(), check=False,
    )  # fmt: skip
    assert answer.returncode == 4
    assert "usage:" in answer.stderr


def test_a_policy_that_is_refused_is_recorded_and_the_run_goes_on(planned: Placement, tmp_path: Path) -> None:
    """Node 1000 does not exist here, which the kernel refuses as it does for a node outside the cpuset."""
    found = _observed(planned.bound_to((1000,)), tmp_path)
    assert found.memory_policy is not None
    assert str(found.memory_policy).startswith("default (set_mempolicy not permitted: ")


def test_the_program_knows_its_cpus_whatever_its_thread_is_bound_to() -> None:
    assert pinned_cpus({"LPARBENCH_CPUS": "8,9,0"}) == (8, 9, 0)
    own = tuple(sorted(os.sched_getaffinity(0)))
    assert pinned_cpus({}) == own
    assert pinned_cpus({"LPARBENCH_CPUS": "none"}) == own
    assert pinned_cpus() == own


def test_machines_without_a_known_call_number_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((real[0], real[1], real[2], real[3], "mips")))
    assert applying.set_memory_policy((0,)) == "set_mempolicy has no known number on mips"


def test_the_launcher_imports_nothing_heavy() -> None:
    script = (
        "import sys, harness.placement.launch; "
        "print([name for name in ('torch', 'numpy', 'pandas', 'typer', 'rich') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=_environment(), check=True
    )
    assert answer.stdout.strip() == "[]"


_BLOCKS = """
import ctypes, json, resource, sys
from pathlib import Path
{before}
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def call():
    blocks = [library.malloc(2 << 20) for _ in range(4)]
    for block in blocks:
        library.memset(block, 1, 2 << 20)
    for block in reversed(blocks):
        library.free(block)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    call()
began = faults()
for _ in range(20):
    call()
print((faults() - began) / 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_a_call_frees_stays_with_the_process(planned: Placement, tmp_path: Path) -> None:
    """Whether the settings come before the process or after its start; without them the same calls fault each time."""
    own = tmp_path / "own.json"
    own.write_text(json.dumps(encode(planned)))
    later = f"from harness.placement import apply, model\napply.apply(model.Placement.read(Path({str(own)!r})))"
    bare = replace(planned, env={})

    def faults_of_a_call(plan: Placement, before: str = "") -> float:
        return float(_launch(plan, tmp_path, sys.executable, "-c", _BLOCKS.format(before=before)).stdout)

    assert faults_of_a_call(planned) < 1
    assert faults_of_a_call(bare, later) < 1
    assert faults_of_a_call(bare) > 0.9 * (8 << 20) / os.sysconf("SC_PAGE_SIZE")
