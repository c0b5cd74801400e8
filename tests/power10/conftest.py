"""The emulated POWER10: builds or finds the userland, starts all commands, cleans up, and prints what they printed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from native import compile_native
from support.debian import Unavailable
from support.emulated import *  # noqa: F403 - hooks and fixtures
from support.emulated import copy_project
from support.jobs import Jobs
from userland import Userland, built, entered

CHECKOUT = Path(__file__).resolve().parents[2]
CPUS = ("power10", "power9")
PATIENCE_S = 2400.0  # for each command: only what hangs is to be stopped, not what shares its CPUs
TRAIN_STRIDE, TEST_STRIDE = 30, 12  # of the lines of NSL-KDD: 4,200 and 1,880 rows
# What a real processor's AT_PLATFORM makes OpenBLAS choose; user-mode emulation has no AT_PLATFORM, and OpenBLAS then
# takes its POWER8 kernels except on what its instructions prove to be a POWER10.
OPENBLAS_KERNELS = {"power10": "POWER10", "power9": "POWER9"}
STAND_IN = ("--rows", "2000")  # of the synthetic stand-in, where the data set is not at hand
RUN = (
    *("run", "nsl-kdd-mlp", "nsl-kdd-autoencoder"),
    *("--backends", "eager,onnxruntime,native", "--epochs", "5", "--seeds", "1"),
)

# Rooms whose outcome can depend on the processor, the byte order, or the age of a library; the rest is plain Python
# that the x86-64 run has tested already, and emulation is 30 times as slow.
_UNIT_TESTS = (
    "tests/unit/test_advice_expression.py",
    "tests/unit/test_datasets_encoders.py",
    "tests/unit/test_training_native.py",
    "tests/unit/test_scoring_program.py",
    "tests/unit/test_linalg_layers.py",
    "tests/unit/test_measure_percentiles.py",
    "tests/unit/test_measure_sampling.py",
    "tests/unit/test_measure_steady.py",
    "tests/unit/test_platform_cpu.py",
    "tests/unit/test_platform_hmc.py",
    "tests/unit/test_platform_lpar.py",
    "tests/unit/test_platform_software.py",
    "tests/unit/test_platform_sysroot.py",
    "tests/unit/test_platform_tables.py",
    "tests/unit/test_platform_topology.py",
    "tests/unit/test_runs_judge.py",
    "tests/unit/test_runs_schedule.py",
    "tests/unit/test_workload_files.py",
    "tests/property/test_expression_logic.py",
)


@dataclass(frozen=True)
class Emulated:
    """Everything the tests need.

    Attributes:
        jobs: "main-power10", "doctor-power9", "unit-power10", ..., and "main-x86", the same main job on this machine.
        runs: where each main job left its run directory, by the same key.
        how: how ppc64le programs are started here.
    """

    jobs: Jobs
    runs: dict[str, Path]
    how: str


@pytest.fixture(scope="session")
def emulated() -> Iterator[Emulated]:
    """The userland entered, and all commands started; skips with the reason where that cannot be."""
    previous = signal.signal(signal.SIGTERM, _interrupted)
    use_binfmt = os.environ.get("LPARBENCH_POWER10_BINFMT", "1") != "0"
    try:
        with (
            tempfile.TemporaryDirectory(prefix="lparbench-power10-") as scratch,
            built(CHECKOUT / ".power10") as root,
            entered(root, use_binfmt=use_binfmt) as userland,
            Jobs() as jobs,
        ):
            yield _started(userland, jobs, Path(scratch))
    except Unavailable as reason:
        pytest.skip(str(reason))
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _started(userland: Userland, jobs: Jobs, scratch: Path) -> Emulated:
    slices = _slices(scratch / "data")
    project = userland.private("/repo")
    copy_project(project)
    compile_native(project, userland.root)
    if slices is not None:
        userland.bind(slices, "/data")
    runs: dict[str, Path] = {}

    def inside(name: str, cpu: str, *argv: str, within: Sequence[str] = ()) -> None:
        """``within`` goes before the command: main jobs get a CPU each, for all would be pinned to the same."""
        env = {
            "PYTHONPATH": "/repo:/repo/tests/power10",
            "LPARBENCH_FIXTURES": "/nowhere",
            **({"OPENBLAS_CORETYPE": OPENBLAS_KERNELS[cpu]} if cpu == "power9" else {}),
        }
        command, variables = userland.command(["/usr/bin/python3", *argv], cpu=cpu, env=env)
        jobs.start(f"{name}-{cpu}", [*within, *command], variables, cwd="/", timeout_s=PATIENCE_S)

    here = sorted(os.sched_getaffinity(0))
    for index, cpu in enumerate(CPUS):
        runs[f"main-{cpu}"] = userland.private(f"/runs/{cpu}")
        data = STAND_IN if slices is None else ("--data", "/data")
        job = ("-m", "harness", *RUN, *data, "--out", f"/runs/{cpu}")
        inside("main", cpu, *job, within=("taskset", "--cpu-list", str(here[index % len(here)])))
    for cpu in CPUS:
        chosen = [f"/repo/{path}" for path in _UNIT_TESTS]
        options = ("-p", "emulated_profile", "-p", "no:cacheprovider", "-c", "/repo/pyproject.toml")
        inside("unit", cpu, "-m", "pytest", *options, *chosen)
        inside("doctor", cpu, "-m", "harness", "doctor", "--json")
    runs["main-x86"] = scratch / "x86"
    data = STAND_IN if slices is None else ("--data", str(slices))
    native = [sys.executable, "-m", "harness", *RUN, *data, "--out", str(scratch / "x86")]
    native += ["--blocks", "1", "--scenarios", "offline"]  # its scores are wanted, not its times
    # Away from this machine's own ./data and cache, which the emulated runs do not see either.
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "XDG_CACHE_HOME": str(scratch)}
    jobs.start("main-x86", native, env, cwd=str(scratch), timeout_s=PATIENCE_S)
    return Emulated(jobs, runs, userland.how)


def _slices(target: Path) -> Path | None:
    """Every n-th line of NSL-KDD's two files; ``None`` without the data: the runs then use the synthetic stand-in."""
    named = os.environ.get("LPARBENCH_DATA")
    source = (Path(named) if named else CHECKOUT.parent / "shared/data") / "nsl-kdd"
    target = target / "nsl-kdd"
    for name, stride in (("KDDTrain+.txt", TRAIN_STRIDE), ("KDDTest+.txt", TEST_STRIDE)):
        text = _text(source / name)
        if text is None:
            return None
        target.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("\n".join(text.splitlines()[::stride]) + "\n")
    return target.parent


def _text(path: Path) -> str | None:
    import gzip
    import lzma

    for suffix, opened in (("", open), (".xz", lzma.open), (".gz", gzip.open)):
        try:
            with opened(f"{path}{suffix}", "rt") as handle:  # type: ignore[operator]
                return str(handle.read())
        except FileNotFoundError:
            continue
    return None
