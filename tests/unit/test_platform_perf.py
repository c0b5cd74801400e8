"""Counters against what is known otherwise: pages touched, ``perf stat``, made-up readings and refusals."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.trees import build
from support.trees_presets import PRESETS

from harness.platform import purr
from harness.platform.perf import EVENTS, Counters, not_permitted, open_event
from harness.platform.sysroot import SysRoot
from harness.record.model import ProcessCounters
from harness.reporting.counters import _lines
from harness.workers.counting import Counting, together

PAGE = os.sysconf("SC_PAGE_SIZE")
PAGES = 4096
TOUCH = "import mmap,sys\nm=mmap.mmap(-1,int(sys.argv[1])*mmap.PAGESIZE)\nm.madvise(mmap.MADV_NOHUGEPAGE)\n" \
    "for i in range(0,len(m),mmap.PAGESIZE): m[i]=1\n"  # fmt: skip
LOOP = "import sys\nfor i in range(int(sys.argv[1])): pass\n"


def refused(code: int) -> Callable[[int, int], int]:
    def open_(kind: int, config: int) -> int:
        raise OSError(code, os.strerror(code))

    return open_


def permitted(name: str) -> bool:
    try:
        os.close(open_event(*EVENTS[name]))
    except OSError:
        return False
    return True


def touch(pages: int) -> None:
    import mmap

    memory = mmap.mmap(-1, pages * PAGE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for start in range(0, len(memory), PAGE):
        memory[start] = 1
    memory.close()


def least(counters: Counters, event: str, work: Callable[[], object]) -> float:
    """The least of five counts: whatever else this process does beside the work (other threads, its heap) only adds."""
    counts = []
    for _ in range(5):
        before = counters.read()
        work()
        counts.append(counters.since(before).values[event])
    return min(counts)


@pytest.mark.skipif(not permitted("page_faults"), reason="perf_event_open is not permitted here")
def test_pages_touched_are_faults_also_those_of_threads_started_later() -> None:
    counters = Counters({"page_faults": EVENTS["page_faults"]})

    def in_a_thread() -> None:
        thread = threading.Thread(target=touch, args=(PAGES,))
        thread.start()
        thread.join()

    alone = least(counters, "page_faults", lambda: touch(PAGES))
    other = least(counters, "page_faults", in_a_thread)
    counters.close()
    assert PAGES <= alone < PAGES + 512
    assert PAGES <= other < PAGES + 512


@pytest.mark.skipif(shutil.which("perf") is None, reason="needs perf")
@pytest.mark.parametrize(
    ("event", "named", "script"), [("page_faults", "page-faults", TOUCH), ("instructions", "instructions:u", LOOP)]
)
def test_counts_grow_as_perf_stat_counts_them(
    event: str, named: str, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The difference between twice the work and once: the start of the interpreter drops out of it."""
    if not permitted(event):
        pytest.skip(f"this machine does not count {event}")
    amounts = (200_000, 400_000) if event == "instructions" else (PAGES, 2 * PAGES)
    theirs = []
    for amount in amounts:
        command = ["perf", "stat", "-x,", "-e", named, "--", sys.executable, "-S", "-c", script, str(amount)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        theirs.append(int(next(line for line in done.stderr.splitlines() if named in line).split(",")[0]))
    counters = Counters({event: EVENTS[event]})
    code, ours = compile(script, "work", "exec"), []
    for amount in amounts:
        monkeypatch.setattr(sys, "argv", ["work", str(amount)])
        ours.append(least(counters, event, lambda: exec(code, {})))
    counters.close()
    assert ours[1] - ours[0] == pytest.approx(theirs[1] - theirs[0], rel=0.05)


def test_an_event_that_took_turns_is_extrapolated_and_one_that_never_ran_is_missing(tmp_path: Path) -> None:
    readings = {1: [(0, 0, 0), (600, 1000, 250)], 2: [(5, 10, 10), (5, 20, 10)]}
    files = {}

    def open_(kind: int, config: int) -> int:
        path = tmp_path / str(config)
        path.write_bytes(b"".join(struct.pack("=QQQ", *reading) for reading in readings[config]))
        files[config] = os.open(path, os.O_RDONLY)
        return files[config]

    counters = Counters({"a": (0, 1), "b": (0, 2)}, open_)
    counts = counters.since(counters.read())
    counters.close()
    assert counts.values == {"a": 2400.0}
    assert "no counter was free" in counts.missing["b"]


@pytest.mark.parametrize(
    ("code", "paranoid", "container", "words"),
    [
        (errno.EACCES, "3", "none", "kernel.perf_event_paranoid is 3, and 2 or less is needed. As root: sysctl"),
        (errno.EACCES, "4", "podman", "As root on the host: sysctl kernel.perf_event_paranoid=2"),
        (errno.EPERM, "2", "podman", "The container (podman) does not permit them"),
        (errno.EPERM, "2", None, "CAP_PERFMON"),
        (errno.ENOENT, "2", None, "This processor, or the virtual machine's, does not count it."),
        (errno.ENOSYS, "2", None, "The kernel cannot count it"),
    ],
)
def test_a_refusal_says_what_is_needed(
    code: int, paranoid: str, container: str | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "proc/sys/kernel/perf_event_paranoid"
    file.parent.mkdir(parents=True)
    file.write_text(f"{paranoid}\n")
    assert words in str(not_permitted(SysRoot(tmp_path), container, refused(code)))


def test_without_a_processor_that_counts_the_capacity_of_the_partition_is_counted_all_the_same(tmp_path: Path) -> None:
    tree = build(PRESETS["p10-shared"], tmp_path)
    lparcfg = tree / "proc/ppc64/lparcfg"
    rest = "\n".join(line for line in lparcfg.read_text().splitlines() if not line.startswith(("purr", "tbr")))

    def write(tbr: int, purr_ticks: int, spurr: int) -> None:
        lparcfg.write_text(f"{rest}\ntbr={tbr}\npurr={purr_ticks}\n")
        for cpu, share in ((0, 3), (1, 1)):
            for name, value in (("purr", purr_ticks * share), ("spurr", spurr * share)):
                (tree / f"sys/devices/system/cpu/cpu{cpu}/{name}").write_text(f"{value:x}\n")

    write(1000, 5000, 6000)
    sink: list[ProcessCounters] = []
    with Counting((0, 1), SysRoot(tree), Counters(open_=refused(errno.ENOENT))).over(sink):
        write(2000, 8000, 9300)
    (counted,) = sink
    assert counted.values == {}
    assert set(counted.missing) == set(EVENTS)
    assert counted.physical_cores == pytest.approx(3.0)
    assert counted.entitled_share == pytest.approx(1.5), "entitled to 2 cores"
    assert counted.frequency_ratio == pytest.approx(1.1)
    assert purr.of_cpus(SysRoot(tree), (0, 99)) is None
    assert purr.frequency_ratio((5, 5), (5, 9)) is None


def test_ratios_are_means_over_processes_and_instances_add_up() -> None:
    first = ProcessCounters({"instructions": 300.0, "cycles": 100.0, "node_loads": 10.0}, {}, 2.0, 0.5, 1.2)
    second = ProcessCounters({"instructions": 100.0, "cycles": 100.0, "node_load_misses": 1.0}, {"node_loads": "no"})
    assert together([]) is None
    assert together([first, second]) == ProcessCounters(
        {"instructions": 400.0, "cycles": 200.0}, {"node_loads": "no"}, 2.0, 0.5, 1.2
    )
    lines = _lines([("a", [first, second]), ("b", [])])
    assert lines[0].replace("\u00a0", " ") == (
        "a: 2.00 instructions per cycle; the partition consumed 2.00 physical cores; 50.0 % of the entitlement; "
        "clock 120 % of nominal"
    )
    assert lines[1:] == ["Not counted: node_loads: no."]
