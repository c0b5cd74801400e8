"""SMT switching on synthetic trees: levels come out right, and the bytes before are back after whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.signals import heeded, without_hangup
from support.smt_kernel import FakeKernel
from support.trees import NodeSpec, TreeSpec, build, layout
from support.trees_presets import PRESETS

from harness.errors import InputError, LparbenchError
from harness.placement.smt import SmtMethod, leave, restore, set_level, smt_session, write_switch
from harness.placement.smt_state import load, save
from harness.platform.sysroot import SysRoot
from harness.runs.smt_level import at_level

_CHECKOUT = Path(__file__).parents[2]
MIXED = TreeSpec(nodes=(NodeSpec(0, cores=4),), smt_of_core={1: 2, 3: 1}, offline_cores=frozenset({2}))
X86 = PRESETS["x86-siblings-first"]


def snapshot(root: Path) -> dict[str, bytes]:
    """Content of every CPU file."""
    cpus = root / "sys/devices/system/cpu"
    return {str(path.relative_to(cpus)): path.read_bytes() for path in sorted(cpus.rglob("*")) if path.is_file()}


def online(root: Path, spec: TreeSpec) -> list[int]:
    """Threads online of each core, by its switches."""
    cpus = root / "sys/devices/system/cpu"
    return [sum((cpus / f"cpu{cpu}/online").read_text() == "1\n" for cpu in core.cpus) for core in layout(spec).cores]


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("control", ["on", None, "notimplemented"])
@pytest.mark.parametrize("level", [1, 2, 5, 8])
def test_cores_in_use_get_the_level_and_the_bytes_before_come_back(tmp_path, level, control, partial):
    spec = replace(MIXED, smt_control=control)
    root = build(spec, tmp_path)
    before = snapshot(root)
    kernel = FakeKernel(root, layout(spec), partial=partial)
    write = kernel.write if control == "on" else write_switch
    with smt_session(SysRoot(root), write) as session:
        assert session.switch(level) is SmtMethod.SWITCHED
        assert online(root, spec) == [level, level, 0, level]
        first = [(root / f"sys/devices/system/cpu/cpu{cpu}/online").read_text() for cpu in range(level)]
        assert first == ["1\n"] * level
        assert load(SysRoot(root)) is not None
    assert snapshot(root) == before
    assert load(SysRoot(root)) is None


def test_a_sweep_goes_through_levels_from_a_partial_state(tmp_path):
    spec = replace(PRESETS["p10-smt2"], smt_of_core={1: 1})
    root = build(spec, tmp_path)
    before = snapshot(root)
    with smt_session(SysRoot(root), FakeKernel(root, layout(spec)).write) as session:
        for level in (8, 1, 4, 2):
            session.switch(level)
            assert online(root, spec) == [level] * 4
    assert snapshot(root) == before


def test_x86_goes_off_and_on(tmp_path):
    root = build(X86, tmp_path)
    before = snapshot(root)
    with smt_session(SysRoot(root), FakeKernel(root, layout(X86), partial=False).write) as session:
        session.switch(1)
        assert (root / "sys/devices/system/cpu/smt/control").read_text() == "off\n"
        assert online(root, X86) == [1] * 4
        session.switch(2)
        assert online(root, X86) == [2] * 4
    assert snapshot(root) == before


def _fail_inside(root: Path) -> None:
    with smt_session(SysRoot(root)) as session:
        session.switch(4)
        raise ZeroDivisionError


def test_an_error_inside_puts_everything_back(tmp_path):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    with pytest.raises(ZeroDivisionError):
        _fail_inside(root)
    assert snapshot(root) == before
    assert load(SysRoot(root)) is None


def test_a_cpu_that_does_not_follow_is_an_error_and_the_rest_is_put_back(tmp_path):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    kernel = FakeKernel(root, layout(MIXED), stubborn=frozenset({5}))
    with (
        pytest.raises(LparbenchError, match="CPUs 5 did not follow"),
        smt_session(SysRoot(root), kernel.write) as session,
    ):
        session.switch(2)
    assert snapshot(root) == before


@pytest.mark.parametrize("level", [0, 9])
def test_a_level_the_cores_do_not_have_changes_nothing(tmp_path, level):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    with pytest.raises(InputError, match=f"SMT {level}: the cores have 8 threads"):
        set_level(SysRoot(root), level)
    assert snapshot(root) == before
    assert load(SysRoot(root)) is None


def test_set_keeps_the_first_state_until_it_is_restored(tmp_path):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    write = FakeKernel(root, layout(MIXED)).write
    set_level(SysRoot(root), 2, write)
    set_level(SysRoot(root), 4, write)
    between = snapshot(root)
    with smt_session(SysRoot(root), write) as session:  # a sweep in between goes back to what it found
        session.switch(1)
    assert snapshot(root) == between
    assert restore(SysRoot(root), write)
    assert snapshot(root) == before
    assert not restore(SysRoot(root), write)


def test_a_state_of_an_earlier_boot_is_dropped(tmp_path):
    root = build(MIXED, tmp_path)
    boot_id = root / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True, exist_ok=True)
    boot_id.write_text("first\n")
    set_level(SysRoot(root), 2)
    boot_id.write_text("second\n")
    after = snapshot(root)
    assert not restore(SysRoot(root))
    assert snapshot(root) == after
    assert load(SysRoot(root)) is None


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"online": {"1": 1}}', '{"online": {}, "control": 5, "boot_id": null, "persistent": true}'],
)
def test_a_damaged_state_file_is_named_and_nothing_is_changed(tmp_path, damage):
    root = build(MIXED, tmp_path)
    set_level(SysRoot(root), 2)
    before = snapshot(root)
    (root / "run/lparbench/smt.json").write_text(damage)
    for action in (lambda: restore(SysRoot(root)), lambda: set_level(SysRoot(root), 4)):
        with pytest.raises(InputError, match=r"smt\.json: not a saved SMT state"):
            action()
    assert snapshot(root) == before


def test_without_permission_it_is_smt_by_affinity_and_set_says_so(tmp_path, monkeypatch):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with smt_session(SysRoot(root)) as session:
        assert session.switch(2) is SmtMethod.AFFINITY
        with pytest.raises(InputError):
            session.switch(16)
    with pytest.raises(LparbenchError) as failure:
        set_level(SysRoot(root), 2)
    assert "--threads-per-core 2 (SMT by affinity)" in str(failure.value.remedy)
    assert snapshot(root) == before
    assert not (root / "run").exists()


GROUPS = {"kubepods": "0-31", "kubepods/a": "0-11", "kubepods/a/box": "2-3,8-9", "machine": "24-31", "empty": ""}


def _with_cpusets(root: Path) -> Callable[[], dict[str, str]]:
    (root / "sys/fs/cgroup/cgroup.controllers").unlink()
    top = root / "sys/fs/cgroup/cpuset"
    for group, cpus in {".": "0-31", **GROUPS}.items():
        (top / group).mkdir(parents=True)
        (top / group / "cpuset.cpus").write_text(f"{cpus}\n")
    return lambda: {group: (top / group / "cpuset.cpus").read_text().strip() for group in GROUPS}


def test_control_groups_of_version_1_get_their_cpus_back(tmp_path):
    spec = PRESETS["p10-dedicated"]
    root = build(spec, tmp_path)
    groups = _with_cpusets(root)
    write = FakeKernel(root, layout(spec)).write
    set_level(SysRoot(root), 2, write)
    assert groups()["kubepods/a/box"] == "8-9"
    set_level(SysRoot(root), 1, write)
    assert restore(SysRoot(root), write)
    assert groups() == GROUPS
    with smt_session(SysRoot(root), write) as session:
        for level in (4, 1, 8):
            session.switch(level)
        assert groups() != GROUPS
    assert groups() == GROUPS


def test_a_cpuset_that_is_not_taken_back_is_named_and_the_state_is_kept(tmp_path):
    spec = PRESETS["p10-dedicated"]
    root = build(spec, tmp_path)
    _with_cpusets(root)
    write = FakeKernel(root, layout(spec)).write
    set_level(SysRoot(root), 2, write)
    shutil.rmtree(root / "sys/fs/cgroup/cpuset/kubepods/a/box")  # a container that ended meanwhile

    def stubborn(path: Path, text: str) -> None:
        if path.parent.name == "machine":
            raise OSError(22, "Invalid argument")
        write(path, text)

    with pytest.raises(LparbenchError, match=r"machine/cpuset\.cpus 24-31 \(Invalid argument\)"):
        restore(SysRoot(root), stubborn)
    assert load(SysRoot(root)) is not None
    assert restore(SysRoot(root), write)


def test_control_groups_of_version_2_are_left_alone(tmp_path):
    root = build(replace(PRESETS["p10-dedicated"], files={"sys/fs/cgroup/cpuset/cpuset.cpus": "0-3"}), tmp_path)
    set_level(SysRoot(root), 2)
    kept = load(SysRoot(root))
    assert kept is not None
    assert kept.state.cpusets == {}


@pytest.mark.parametrize(
    ("files", "message", "remedy"),
    [
        ({}, "not permitted to this user", "Run it as root."),
        (
            {"run/secrets/kubernetes.io/serviceaccount/namespace": "ml"},
            "in a container (kubernetes)",
            "oc debug node/NODE -- chroot /host ppc64_cpu --smt=2;",
        ),
        ({"run/.containerenv": ""}, "in a container (podman)", "As root on the host: ppc64_cpu --smt=2."),
    ],
)
def test_who_may_switch_is_said_where_this_process_may_not(tmp_path, monkeypatch, files, message, remedy):
    root = build(replace(MIXED, files=files), tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(LparbenchError) as failure:
        set_level(SysRoot(root), 2)
    assert message in failure.value.message
    assert remedy in str(failure.value.remedy)


def test_two_processes_do_not_switch_at_once(tmp_path):
    root = build(MIXED, tmp_path)
    with smt_session(SysRoot(root)), pytest.raises(InputError, match="Another lparbench is switching"):
        set_level(SysRoot(root), 2)


_RUN = """
import sys, time
from pathlib import Path
from harness.placement.smt import smt_session, write_switch
from harness.platform.sysroot import SysRoot
from harness.runs.smt_level import at_level

def slow(path, text):
    time.sleep(0.02)
    write_switch(path, text)

with smt_session(SysRoot(sys.argv[1]), slow) as session:
    session.switch(4)
    print("switched", flush=True)
    time.sleep(60)
"""


def _started(root: Path, *argv: str, signals: Callable[[], None] = heeded) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, *(argv or ("-c", textwrap.dedent(_RUN), str(root)))],
        preexec_fn=signals,
        cwd=_CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "switched" in process.stdout.readline()
    return process


def test_a_signal_while_it_switches_puts_back_the_bytes(tmp_path):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_RUN), str(root)],
        preexec_fn=heeded,
        cwd=_CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    while snapshot(root) == before and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=480) == 128 + signal.SIGTERM
    assert "switched" not in process.communicate()[0]
    assert snapshot(root) == before
    assert load(SysRoot(root)) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_and_puts_back_the_bytes(tmp_path, number):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    process = _started(root)
    assert snapshot(root) != before
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)  # an impatient second one, while the state is being put back
    code = process.wait(timeout=480)
    process.communicate()
    assert code in (128 + number, -number, 1)
    assert snapshot(root) == before
    assert load(SysRoot(root)) is None


def test_a_hangup_that_is_ignored_ends_nothing(tmp_path):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    process = _started(root, signals=without_hangup)
    switched = snapshot(root)
    assert switched != before
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    assert snapshot(root) == switched
    process.terminate()
    assert process.wait(timeout=480) == 128 + signal.SIGTERM
    process.communicate()
    assert snapshot(root) == before


def test_a_killed_run_leaves_a_file_from_which_restore_works(tmp_path):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    process = _started(root)
    process.kill()
    process.wait(timeout=480)
    process.communicate()
    assert snapshot(root) != before
    saved = load(SysRoot(root))
    assert saved is not None
    assert not saved.persistent
    with pytest.raises(InputError, match="was killed") as failure, smt_session(SysRoot(root)):
        pass
    assert failure.value.remedy == "Run: lparbench smt restore"
    assert restore(SysRoot(root))
    assert snapshot(root) == before


def test_a_run_killed_while_it_switches_can_be_restored(tmp_path):
    """Killed at many points of switching; each leaves either nothing or a file that restores."""
    pristine = build(MIXED, tmp_path / "pristine")
    before = snapshot(pristine)
    script = textwrap.dedent(_RUN).replace("time.sleep(0.02)", "count[0] -= 1\n    count[0] or os._exit(9)")
    for writes in (1, 2, 5, 9):
        root = tmp_path / str(writes)
        shutil.copytree(pristine, root, symlinks=True)
        source = f"import os\ncount = [{writes}]\n" + script
        done = subprocess.run(
            [sys.executable, "-c", source, str(root)], cwd=_CHECKOUT, capture_output=True, check=False
        )
        assert done.returncode == 9, done.stderr
        assert restore(SysRoot(root))
        assert snapshot(root) == before


def test_what_somebody_else_switched_since_is_named_and_not_overwritten(tmp_path):
    root = build(MIXED, tmp_path)
    sysroot, kernel = SysRoot(root), FakeKernel(root, layout(MIXED))
    before = snapshot(root)
    set_level(sysroot, 1, kernel.write)
    kernel.write(root / "sys/devices/system/cpu/smt/control", "2")
    kernel.write(root / "sys/devices/system/cpu/cpu0/online", "0")
    theirs = snapshot(root)
    changed = "smt/control is 2, was left at off; CPUs 1,9,25 are online; CPU 0 is offline"
    for go in (lambda: restore(sysroot, kernel.write), lambda: set_level(sysroot, 4, kernel.write)):
        with pytest.raises(LparbenchError, match=changed) as caught:
            go()
        assert "smt restore --force" in str(caught.value.remedy)
        assert snapshot(root) == theirs
    assert restore(sysroot, kernel.write, force=True)
    assert snapshot(root) == before
    assert load(sysroot) is None


def test_the_state_before_put_back_by_hand_is_no_change_of_somebody_else(tmp_path):
    root = build(MIXED, tmp_path)
    sysroot, kernel = SysRoot(root), FakeKernel(root, layout(MIXED))
    before = snapshot(root)
    set_level(sysroot, 1, kernel.write)
    for name, content in before.items():
        (root / "sys/devices/system/cpu" / name).write_bytes(content)
    assert restore(sysroot, kernel.write)
    assert snapshot(root) == before


def test_leave_keeps_what_there_is(tmp_path):
    root = build(MIXED, tmp_path)
    sysroot, kernel = SysRoot(root), FakeKernel(root, layout(MIXED))
    set_level(sysroot, 2, kernel.write)
    theirs = snapshot(root)
    assert leave(sysroot)
    assert (load(sysroot), snapshot(root)) == (None, theirs)
    assert not leave(sysroot)


def test_a_session_in_which_somebody_else_switches_ends_and_leaves_it(tmp_path):
    root = build(MIXED, tmp_path)
    sysroot, kernel = SysRoot(root), FakeKernel(root, layout(MIXED))

    def disturbed() -> None:
        with smt_session(sysroot, kernel.write) as session:
            session.switch(4)
            kernel.write(root / "sys/devices/system/cpu/smt/control", "2")
            session.switch(8)

    with pytest.raises(LparbenchError, match="SMT was changed by another program"):
        disturbed()
    assert online(root, MIXED) == [2, 2, 0, 2]
    assert load(sysroot) is not None


@pytest.mark.parametrize("listed", [True, False])
def test_cpus_that_are_plugged_in_meanwhile_are_no_change(tmp_path, listed):
    """On Power they have a directory before they are there, on other machines from then on."""
    root = build(MIXED, tmp_path)
    sysroot, kernel = SysRoot(root), FakeKernel(root, layout(MIXED))
    cpus = root / "sys/devices/system/cpu"
    plugged = cpus / "cpu32"
    if listed:
        plugged.mkdir()
        (plugged / "online").write_text("0\n")
    before = snapshot(root)
    with smt_session(sysroot, kernel.write) as session:
        session.switch(2)
        plugged.mkdir(exist_ok=True)
        (plugged / "online").write_text("1\n")
        (cpus / "present").write_text("0-32\n")
        session.switch(4)
    assert (plugged / "online").read_text() == "1\n"
    assert {name: text for name, text in snapshot(root).items() if name in before} == before | {
        name: text.encode() for name, text in (("present", "0-32\n"), ("cpu32/online", "1\n")) if name in before
    }


def test_a_run_killed_within_a_lasting_level_goes_back_to_it_and_from_there_to_the_first_state(tmp_path):
    root = build(MIXED, tmp_path)
    sysroot, kernel = SysRoot(root), FakeKernel(root, layout(MIXED))
    before = snapshot(root)
    set_level(sysroot, 4, kernel.write)
    lasting = snapshot(root)
    with smt_session(sysroot, kernel.write) as session:
        session.switch(1)
        as_killed = load(sysroot)
        killed = snapshot(root)
    assert snapshot(root) == lasting
    save(sysroot, as_killed)
    for name, content in killed.items():
        (root / "sys/devices/system/cpu" / name).write_bytes(content)
    assert restore(sysroot, kernel.write)
    assert snapshot(root) == lasting
    assert restore(sysroot, kernel.write)
    assert snapshot(root) == before
    assert not restore(sysroot, kernel.write)


def test_a_run_at_a_level_finds_it_and_leaves_the_machine_as_it_was(tmp_path):
    root = build(MIXED, tmp_path)
    before = snapshot(root)
    during = []

    def run() -> None:
        with at_level(2, SysRoot(root)):
            during.append(online(root, MIXED))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert during == [[2, 2, 0, 2]]
    assert snapshot(root) == before
    with at_level(None, SysRoot(root)):
        assert snapshot(root) == before
    with pytest.raises(InputError), at_level(16, SysRoot(root)):
        pass
    assert snapshot(root) == before


def test_a_run_at_a_level_that_may_not_be_switched_to_is_refused_unless_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.runs.smt_level.may_switch", lambda root: False)
    root = SysRoot(build(PRESETS["p10-smt2"], tmp_path))
    with at_level(2, root):
        pass
    with (
        pytest.raises(InputError, match="--smt 4: the cores have SMT 2, and switching is not permitted"),
        at_level(4, root),
    ):
        pass
