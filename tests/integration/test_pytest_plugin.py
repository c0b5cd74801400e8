"""The plugin inside other people's test suites: verdicts from scripted processes, and once with real ones."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import scipy.special
import scipy.stats
from support.mutations import small_run

from harness.compare.inputs import load_side
from harness.decode import decode
from harness.errors import PYTEST_OFFSET, ExitCode, InputError
from harness.gates.baseline_file import read_baseline
from harness.placement.model import MemoryBinding, Placement
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.pytest_plugin import benchmark, fixture, judge, machine, plugin, processes
from harness.pytest_plugin.benchmark import BenchmarkSession, validity
from harness.pytest_plugin.processes import Processes
from harness.record.files import unwritable
from harness.record.model import ProcessRecord, Run, Validity, Verdict
from harness.record.series import Series
from harness.record.spec import RunSpec
from harness.reporting.progress import Progress
from harness.runs import run as runs
from harness.workers.executor import Executor

pytest_plugins = ["pytester"]

# pytester forgets every module that a run imported; extension modules do not bear a second import.
PRELOADED = (scipy.special, scipy.stats)

PLUGIN = ("-p", "harness.pytest_plugin.plugin", "-p", "no:cacheprovider", "-rs")
PLACE = processes.Place(
    {"arch": "ppc64le", "cpu": "POWER10", "lpar_dedicated": False},
    Placement(
        cpus=(0,),
        node=0,
        nodes=(0,),
        memory_nodes=(0,),
        memory_policy=MemoryBinding((0,)),
        threads=1,
        threads_per_core=1,
        cores=1,
        env={},
        notes=(),
    ),
)

ENTRY_POINT = any(point.value == "harness.pytest_plugin.plugin" for point in entry_points(group="pytest11"))

AGAINST = """
    import pytest

    @pytest.mark.lparbench({arguments})
    def test_it(lparbench):
        assert lparbench.against(lambda: 1, lambda: 2) == 2
"""
STORED = """
    def test_it(lparbench):
        assert lparbench(sum, [1, 2]) == 3
"""


@pytest.fixture(autouse=True)
def _only_our_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # that of this very suite


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let processes take scripted times: a level in seconds per side, with this much noise between processes."""

    def scripted(*, sd: float = 0.005, disturbed: bool = False, failure: str | None = None, **levels: float) -> None:
        asked = Counter[tuple[str, int]]()  # times, by side and block

        def measured(
            self: Processes, directory: Path, side: str, block: int, order: int
        ) -> tuple[ProcessRecord, tuple[str, ...]]:
            asked[side, block] += 1
            # Whatever the order of sides, which is drawn anew in each run.
            rng = random.Random(f"{side} {block} {asked[side, block]}")
            level = int(levels.get(side, 1.0) * 1e6 * rng.lognormvariate(0, sd))
            durations = tuple(int(level * rng.lognormvariate(0, 0.01)) for _ in range(60))
            series = Series("call", None, 1, durations, (int(disturbed),) * 60, 0, True, level / 1e9, level / 1e9)
            process = processes.failed(block, order, 1, "")
            return replace(process, failure=failure, series=(series,)), ()

        monkeypatch.setattr(Processes, "_process", measured)
        monkeypatch.setattr(fixture.Lparbench, "_place", lambda *_: PLACE)

    return scripted


def ran(pytester: pytest.Pytester, text: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(text)
    return pytester.runpytest_inprocess(*PLUGIN, *options)


def test_the_same_function_passes(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    script(baseline=1.0, candidate=1.0)
    result = ran(pytester, AGAINST.format(arguments=""))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*lparbench*", "passed: *test_it function: *margin 3.0 %*"])


def test_a_slower_function_fails_without_a_traceback(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    script(baseline=1.0, candidate=1.1)
    result = ran(pytester, AGAINST.format(arguments=""))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["lparbench: candidate regressed in 1 result*a second run confirms it"])
    assert "Traceback" not in result.stdout.str()
    assert "another exception" not in result.stdout.str()


def test_a_margin_lets_it_pass(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    script(baseline=1.0, candidate=1.1)
    ran(pytester, AGAINST.format(arguments="margin=0.25")).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ({"disturbed": True}, "*0 % of the samples are undisturbed*"),
        ({"failure": "killed by signal 9"}, "*killed by signal 9*"),
        ({"sd": 0.6}, "*too noisy to gate on*"),
    ],
)
def test_what_cannot_be_judged_fails_with_an_outcome_of_its_own(
    pytester: pytest.Pytester, script: Callable[..., None], trouble: dict[str, Any], said: str
) -> None:
    script(candidate=1.5, **trouble)
    text = AGAINST.format(arguments="max_blocks=8")
    for options in ((), ("--lparbench-strict",), ("--lparbench-open=fail",)):
        result = ran(pytester, text, *options)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines([f"inconclusive: *test_it*: {said}", "*1 inconclusive*"])
    result = ran(pytester, text, "--lparbench-open=pass")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"inconclusive: *test_it*: {said}"])
    ran(pytester, text, "--lparbench-open=warn").assert_outcomes(passed=1, warnings=1)


def test_a_baseline_is_written_in_sessions_and_then_judged_against(
    pytester: pytest.Pytester, script: Callable[..., None]
) -> None:
    script()
    result = ran(pytester, STORED)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*has no baseline in *pytest --lparbench-update*"])
    for session in range(3):
        script(candidate=1.0 + session / 1000)
        ran(pytester, STORED, "--lparbench-update").stdout.fnmatch_lines([f"*baseline written, {session + 1} session*"])
    script()
    ran(pytester, STORED).assert_outcomes(passed=1)
    script(candidate=1.5)
    ran(pytester, STORED).assert_outcomes(failed=1)
    (file,) = (pytester.path / ".lparbench").iterdir()
    assert file.name.startswith("test_a_baseline_is_written")
    file.write_text("{")
    ran(pytester, STORED).stdout.fnmatch_lines(["lparbench: *not a baseline*"])


def test_a_baseline_of_another_machine_fails_the_test(
    pytester: pytest.Pytester, script: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    script()
    ran(pytester, STORED, "--lparbench-update", "--lparbench-baselines", "kept")
    assert len(list((pytester.path / "kept").iterdir())) == 1
    other = replace(PLACE, fingerprint={**PLACE.fingerprint, "cpu": "POWER9"})
    monkeypatch.setattr(fixture.Lparbench, "_place", lambda *_: other)
    result = ran(pytester, STORED, "--lparbench-baselines", "kept")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["lparbench: the environments differ: cpu: POWER10 and POWER9*"])


def test_a_workload_is_run_and_judged(
    pytester: pytest.Pytester, script: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import pytest

        @pytest.mark.lparbench(blocks=12, cores=2, node=0)
        def test_it(lparbench):
            lparbench.workload("mlp", rows=1000)
    """
    specs: list[RunSpec] = []
    level = [1.0]

    def run_once(spec: RunSpec, executor: Executor, progress: Progress) -> Run:
        specs.append(spec)
        run = small_run(f"run-{len(specs)}", seed=len(specs), slowdown=level[0])
        return replace(run, created=f"2026-08-{len(specs):02d}T00:00:00Z")

    monkeypatch.setattr(runs, "run_once", run_once)
    for _ in range(3):
        ran(pytester, text, "--lparbench-update").assert_outcomes(passed=1)
    ran(pytester, text).assert_outcomes(passed=1)
    level[0] = 1.4
    ran(pytester, text).assert_outcomes(failed=1)
    assert specs[0] == RunSpec(("mlp",), rows=1000, blocks=12, cores=2, node=0)
    assert len(specs) == 6  # three sessions, one that passed, two that agree on the regression


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "def test_it(lparbench): lparbench.workload('mlp', row=1)",
            "*lparbench.workload: unknown key 'row'. Did you mean 'rows'?*",
        ),
        (AGAINST.format(arguments="margn=0.1"), "*pytest.mark.lparbench: unknown key 'margn'. Did you mean 'margin'?*"),
        (
            AGAINST.format(arguments="margin=3"),
            "*lparbench.margin is 3 (int); expected a share above 0 and at most 1, 0.03 for 3 %*",
        ),
        ("def test_it(lparbench): lparbench(3)", "*3 is not a function*"),
        ("def test_it(lparbench): lparbench.weave(sum)", "*benchmark.weave times calls that the test makes*"),
        (
            """
            async def answer(): return 1
            def test_it(lparbench): lparbench(lambda: answer())
            """,
            "*returns a coroutine: only its making would be timed*",
        ),
        (
            """
            def numbers(): yield 1
            def test_it(lparbench): lparbench(numbers)
            """,
            "*numbers is a generator: only its making would be timed*",
        ),
        (
            """
            import asyncio
            async def answer(): return 1
            def test_it(lparbench):
                async def inside(): lparbench(answer)
                asyncio.run(inside())
            """,
            "*answer is a coroutine function, and an event loop runs already*",
        ),
        (
            AGAINST.format(arguments="0.05"),
            "*lparbench(0.05): which argument is this? Name it: margin=0.05.*",
        ),
        (
            AGAINST.format(arguments="seconds=1e9"),
            "*seconds is 1000000000.0*above 0 and at most 600*",
        ),
    ],
)
def test_wrong_use_fails_the_test(pytester: pytest.Pytester, script: Callable[..., None], text: str, said: str) -> None:
    script()
    result = ran(pytester, text, "--lparbench-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([said])


def test_with_other_workers_nothing_is_measured(
    pytester: pytest.Pytester, script: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    script()
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    result = ran(pytester, AGAINST.format(arguments=""))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*run it without -n*"])


def test_code_that_raises_fails_with_its_traceback(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    script()
    text = """
        def broken(): raise ValueError("the code under test is broken")
        def test_stored(lparbench): assert lparbench(broken) == 3
        def test_against(lparbench): lparbench.against(sum, broken, [1])
        def test_own(lparbench): assert lparbench(sum, [1]) == 2
    """
    result = ran(pytester, text, "--lparbench-update")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*def broken*raise ValueError*", "E *ValueError: the code under test is broken"])
    result.stdout.fnmatch_lines(["E *assert 1 == 2"])


def test_a_baseline_without_a_test_is_missing(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    script()
    pytester.makepyfile(test_other="def test_b(lparbench): lparbench(sum, [1])\ndef test_c(): pass\n")
    for _ in range(3):
        ran(pytester, STORED, "--lparbench-update").assert_outcomes(passed=3)
    assert ran(pytester, STORED).ret == 0
    assert ran(pytester, STORED, "-k", "test_it").ret == 0  # deselected is not gone
    pytester.makepyfile(test_other="def test_b2(lparbench): lparbench(sum, [1])\ndef test_b(): pass\n")
    result = ran(pytester, STORED, "-k", "not test_b2")
    result.stdout.fnmatch_lines(["missing: test_other.py::test_b: it is no longer gated*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (pytester.path / "test_other.py").unlink()
    result = ran(pytester, STORED)
    result.stdout.fnmatch_lines(["missing: test_other.py::test_b: there is no such test any more*Delete that file*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert ran(pytester, STORED, "--lparbench-open=pass").ret == 0
    assert ran(pytester, STORED, str(next(pytester.path.glob("test_a_*.py")))).ret == 0  # nobody asked for it


DROP_IN = """
    import pytest
    {fixture}
    @pytest.mark.parametrize("n", [1, "a b/\u00e9[::]"])
    @pytest.mark.benchmark(group="sums", disable_gc=True)
    def test_plain(benchmark, n):
        assert benchmark(sum, [1, 2]) == 3
        assert benchmark.group == "sums" and benchmark.params == {{"n": n}}
    class TestIt:
        def test_pedantic(self, benchmark):
            ends = []
            setup = lambda: (([1, 2],), {{}})
            assert benchmark.pedantic(sum, setup=setup, teardown=ends.append, rounds=5) == 3
            assert ends == [[1, 2]]
        def test_stats(self, benchmark):
            benchmark.extra_info["rows"] = 2
            benchmark(sum, [1, 2])
            assert 0 < benchmark.stats["mean"] < 1 and benchmark.stats.stats.max < 1
    def test_two(benchmark):
        benchmark(sum, [1])
        benchmark(sum, [2])
    def test_decorator(benchmark):
        @benchmark
        def result(): return 1
        assert result == 1
"""
OURS = "@pytest.fixture\n    def benchmark(lparbench): return lparbench"


@pytest.mark.parametrize(
    ("fixture", "options"),
    [
        ("", ("--lparbench-gate",)),
        ("", ("--lparbench-gate", "-p", "pytest_benchmark.plugin", "--benchmark-only")),
        (OURS, ()),
        (OURS, ("-p", "pytest_benchmark.plugin")),
    ],
)
def test_tests_of_pytest_benchmark_are_gated_as_they_are(
    pytester: pytest.Pytester, script: Callable[..., None], fixture: str, options: tuple[str, ...]
) -> None:
    script()
    text = DROP_IN.format(fixture=fixture)
    gate = "--lparbench-gate " if "--lparbench-gate" in options else ""
    ran(pytester, text, *options).stdout.fnmatch_lines([f"*Write one: pytest {gate}--lparbench-update"])
    for _ in range(3):
        ran(pytester, text, "--lparbench-update", *options).assert_outcomes(passed=6)
    assert len(list((pytester.path / ".lparbench").iterdir())) == 7
    ran(pytester, text, *options).assert_outcomes(passed=6)
    script(candidate=1.5)
    ran(pytester, text, *options).assert_outcomes(failed=6)


def test_a_gate_that_finds_nothing_to_judge_fails(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    script()
    for option in ("--lparbench-gate", "--lparbench-update"):
        result = ran(pytester, "def test_it(): pass", option)
        result.stdout.fnmatch_lines([f"inconclusive: *: no test was judged, and no baseline written, with {option}."])
        assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_the_marker_is_declared_and_the_worker_options_are_hidden(pytester: pytest.Pytester) -> None:
    assert "lparbench(margin=" in pytester.runpytest_inprocess(*PLUGIN, "--markers").stdout.str()
    shown = pytester.runpytest_inprocess(*PLUGIN, "--help").stdout.str()
    assert "--lparbench-update" in shown
    assert "--lparbench-worker" not in shown


BENCHMARK = """
    def test_it(benchmark):
        benchmark.extra_info["mine"] = 1
        benchmark.pedantic(lambda: None, rounds=200)
"""


@pytest.fixture
def power10(monkeypatch: pytest.MonkeyPatch) -> Facts:
    """The plugin takes this machine for one with a POWER10."""
    known = probe(SysRoot("/"))
    monkeypatch.setattr(
        benchmark, "this_machine", lambda: machine.Machine(known, {"arch": "ppc64le", "cpu": "POWER10"})
    )
    return known


def saved_benchmarks(pytester: pytest.Pytester, *options: str) -> dict[str, Any]:
    pytester.makepyfile(BENCHMARK)
    done = pytester.runpytest_inprocess(*PLUGIN, "-p", "pytest_benchmark.plugin", *options)
    done.assert_outcomes(passed=1)
    (file,) = pytester.path.glob("**/*saved.json")
    return json.loads(file.read_text())


def test_pytest_benchmark_saves_the_fingerprint(pytester: pytest.Pytester, power10: Facts) -> None:
    saved = saved_benchmarks(pytester, "--benchmark-json=saved.json")
    assert saved["machine_info"]["lparbench"] == {"arch": "ppc64le", "cpu": "POWER10"}


@pytest.mark.parametrize("options", [("--benchmark-json=saved.json",), ("--benchmark-save=saved",)])
def test_pytest_benchmark_saves_placement_and_verdicts(
    pytester: pytest.Pytester, power10: Facts, options: tuple[str, ...]
) -> None:
    saved = saved_benchmarks(pytester, *options)
    session = decode(BenchmarkSession, saved["lparbench_session"], "saved.json")
    assert set(session.placement.cpus_allowed) == os.sched_getaffinity(0)
    assert session.smt == power10.topology.smt
    assert session.steal_share is None or 0 <= session.steal_share <= 1
    (test_it,) = saved["benchmarks"]
    assert test_it["extra_info"]["mine"] == 1
    assert decode(Validity, test_it["extra_info"]["lparbench"], "saved.json").verdict in Verdict
    file = pytester.path / "own.json"
    file.write_text(json.dumps(saved))
    assert [key.workload for key in load_side(file).observations] == [test_it["fullname"]]


def test_verdicts_on_the_rounds_of_a_benchmark() -> None:
    rng = random.Random(3)
    steady = [1e-3 * rng.lognormvariate(0, 0.01) for _ in range(200)]
    assert validity(steady, 0.0, None) == Validity(Verdict.VALID)
    assert validity(steady[:20], None, None) == Validity(Verdict.VALID)  # too few to tell
    drifting = [value * (1 + at / 20) for at, value in enumerate(steady)]
    assert validity(drifting, None, None).verdict is Verdict.NO_STEADY_STATE
    stolen = validity(drifting, 0.1, None)
    assert stolen.verdict is Verdict.INVALID
    assert "the hypervisor took 10.0 % of the time" in stolen.reasons[0]
    assert validity(steady, 0.0, "qemu").verdict is Verdict.TIMINGS_REFUSED


def test_without_pytest_benchmark_nothing_of_it_is_registered(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "def pytest_sessionstart(session):\n"
        "    assert not session.config.pluginmanager.hasplugin('lparbench-benchmark')\n"
    )
    ran(pytester, "def test_it(): pass").assert_outcomes(passed=1)


def run_pytest(directory: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(processes.__file__).resolve().parents[2]), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGIN, "test_it.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )


def test_real_processes_measure_and_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --option-of-the-suite\n")
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--option-of-the-suite', action='store_true')\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.lparbench(seconds=0.02, max_blocks=1)\n"
        "def test_it(lparbench):\n"
        "    def pid():\n"
        "        open(f'ran-{os.getpid()}', 'w').close()\n"
        "        return os.getpid()\n"
        "    assert lparbench.against(lambda: sum(range(20000)), pid) == os.getpid()\n"
    )
    done = run_pytest(tmp_path)
    assert "inconclusive" in done.stdout, done.stdout + done.stderr  # one block is never enough
    assert "2 of at least 6" not in done.stdout
    assert len(list(tmp_path.glob("ran-*"))) == 2  # the candidate's own process, and the test's call
    assert "1 failed" not in done.stdout


def test_a_worker_that_ends_without_an_outcome_says_why(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "def pytest_configure(config):\n    assert not config.getoption('--lparbench-worker'), 'no memory left'\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.lparbench(seconds=0.02, max_blocks=1)\n"
        "def test_it(lparbench):\n"
        "    lparbench.against(lambda: 1, lambda: 2)\n"
    )
    done = run_pytest(tmp_path)
    assert "block 0: exited with status 3: " in done.stdout, done.stdout + done.stderr
    assert "AssertionError: no memory left" in done.stdout


def test_two_revisions_are_measured_in_worktrees(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "test_it.py").write_text(
        "import pytest\npytestmark = pytest.mark.lparbench(seconds=0.01, max_blocks=1)\n"
        "def test_kept(benchmark): benchmark(lambda: 0)\ndef test_gone(benchmark): benchmark(lambda: 0)\n"
        "def test_late(request): request.getfixturevalue('benchmark')(lambda: 0)\n"
        "def test_mended(benchmark): benchmark(lambda: 1 / 0)\n"
    )
    (tmp_path / "test_imports.py").write_text("import nothing_of_this_name\n")
    git("add", ".")
    git("commit", "-qm", "base")
    text = (tmp_path / "test_it.py").read_text()
    (tmp_path / "test_it.py").write_text(text.replace("test_gone", "test_new").replace("/ 0", "/ 1"))
    (tmp_path / "test_imports.py").write_text("def test_now(benchmark): benchmark(lambda: 0)\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "test_more.py").write_text("def test_first(benchmark): benchmark(lambda: 0)\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
    loaded = "" if ENTRY_POINT else "-p harness.pytest_plugin.plugin"
    start = "import sys; from harness.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "gate", "--base", "HEAD", "--", "pytest", "-q", "test_it.py"]
    command += ["test_imports.py", "more"]  # which the base revision does not have
    path = os.pathsep.join([str(Path(processes.__file__).resolve().parents[2]), *filter(None, sys.path)])
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={
            **environment,
            "PYTHONPATH": path,
            "PYTEST_ADDOPTS": f"-p no:cacheprovider {loaded}",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "new: test_it.py::test_new: the base revision does not have it" in done.stdout, done.stdout + done.stderr
    assert "new: more/test_more.py::test_first: the base revision does not have it" in done.stdout
    assert "test_now: the base revision cannot be measured: test_imports.py cannot be collected: Mod" in done.stdout
    assert "inconclusive: test_it.py::test_kept" in done.stdout
    assert "inconclusive: test_it.py::test_late" in done.stdout
    assert "test_mended: the test fails in the base revision: ZeroDivisionError" in done.stdout
    assert "missing: test_it.py::test_gone: the base revision has it." in done.stdout
    assert done.returncode == ExitCode.INCONCLUSIVE
    assert len(subprocess.check_output(["git", "worktree", "list"], cwd=tmp_path).splitlines()) == 1


def test_a_level_that_changed_on_purpose_is_accepted(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    for session in range(3):
        script(candidate=1.0 + session / 1000)
        ran(pytester, STORED, "--lparbench-update").assert_outcomes(passed=1)
    script(candidate=1.3)
    refused = ran(pytester, STORED, "--lparbench-update")
    refused.assert_outcomes(failed=1)
    refused.stdout.fnmatch_lines(['*is not on the level of the baseline*accept it: --lparbench-accept "REASON"*'])
    ran(pytester, STORED, "--lparbench-update", "--lparbench-accept", "checks more").assert_outcomes(passed=1)
    ran(pytester, STORED).assert_outcomes(passed=1)
    script(candidate=2.6)
    ran(pytester, STORED).assert_outcomes(failed=1)


def test_every_remedy_is_an_option_of_pytest(
    pytester: pytest.Pytester, script: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [ran(pytester, "def test_it(): pass", "--help").stdout.str()]
    known = set(re.findall(r"--[a-z][a-z-]+", shown.pop()))

    def said(*options: str) -> None:
        result = ran(pytester, STORED, *options)
        assert result.ret != 0
        shown.append("\n".join(line for line in result.stdout.lines if "lparbench" in line or "inconclusive" in line))

    script()
    said()
    said("--lparbench-report=yaml=x")
    for session in range(3):
        script(candidate=1.0 + session / 1000)
        ran(pytester, STORED, "--lparbench-update")
    said("--lparbench-update", "--lparbench-accept", "nothing changed")
    said("--lparbench-update", "--lparbench-accept", " ")
    script(candidate=1.5)
    said()
    said("--lparbench-update")
    for facts in ({"arch": "ppc64le", "cpu": "POWER9"}, {"arch": "ppc64le", "cpu": None}):
        other = replace(PLACE, fingerprint=facts)
        monkeypatch.setattr(fixture.Lparbench, "_place", lambda *_, other=other: other)
        said()
        ran(pytester, STORED, "--lparbench-update")
    said("--lparbench-update")
    script(disturbed=True)
    said()
    (file,) = (pytester.path / ".lparbench").iterdir()
    file.write_text("{")
    said()
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    said()
    text = "\n".join(shown)
    assert "--lparbench-machine NAME" in text
    assert "--lparbench-allow-diff FACT" in text
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= known
    assert "lparbench gate" not in text


def test_a_machine_that_does_not_name_its_processor_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judge._named({"arch": "riscv64", "cpu": None}, "board 7") == {"arch": "riscv64", "cpu": "board 7"}
    assert judge._named({"arch": "riscv64", "cpu": None}, None)["cpu"] is None
    with pytest.raises(InputError, match="this machine is a POWER10"):
        judge._named(PLACE.fingerprint, "mine")


def test_verdicts_are_written_for_ci_systems(
    pytester: pytest.Pytester, script: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    more = "    def test_never(lparbench): pass\n    def test_wrong(lparbench): assert 1 == 2\n"
    text = AGAINST.format(arguments="") + more
    script(candidate=1.5)
    formats = ("junit=gate.xml", "markdown=gate.md", "github=gate.txt")
    result = ran(pytester, text, "--junitxml=own.xml", *(f"--lparbench-report={each}" for each in formats))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    suite = ElementTree.parse(pytester.path / "gate.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "2")
    markdown = (pytester.path / "gate.md").read_text()
    assert (pytester.path / "summary.md").read_text() == markdown
    assert "| regressed |" in markdown
    assert "the test did not call it" in markdown
    assert "assert 1 == 2" in markdown
    assert (pytester.path / "gate.txt").read_text().startswith("::error title=regressed")
    own = (pytester.path / "own.xml").read_text()
    assert 'property name="lparbench" value="regressed: ' in own
    assert "NoVerdict: lparbench: inconclusive: the test did not call it" in own


def test_distribution_by_the_configuration_is_set_aside(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    pytest.importorskip("xdist")
    script()
    pytester.makeini("[pytest]\naddopts = -p xdist.plugin -n 2")
    result = ran(pytester, STORED.replace("lparbench", "benchmark"), "--lparbench-gate", "--lparbench-update")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["tests run one after another: the -n of the configuration is set aside"])


def test_a_kind_of_distribution_alone_distributes_nothing(
    pytester: pytest.Pytester, script: Callable[..., None]
) -> None:
    script()
    result = ran(pytester, STORED, "-p", "xdist", "--dist", "loadgroup", "--lparbench-update")
    result.assert_outcomes(passed=1)
    assert result.ret == 0


def test_a_worker_runs_nothing_again(pytester: pytest.Pytester) -> None:
    """pytest-rerunfailures has a thread, which made every process import the tests again."""
    config = pytester.parseconfig(*PLUGIN, "--lparbench-worker", "address")
    config.pluginmanager.register(ModuleType("reruns"), "rerunfailures")
    plugin.pytest_cmdline_main(config)
    assert not config.pluginmanager.hasplugin("rerunfailures")


def test_settings_of_pytest_benchmark_that_do_not_count_are_named_once(
    pytester: pytest.Pytester, script: Callable[..., None]
) -> None:
    script()
    text = """
        import pytest
        pytestmark = pytest.mark.benchmark(group="sums", max_time=2, min_rounds=3)
        def test_a(benchmark): benchmark(sum, [1])
        def test_b(benchmark): benchmark(sum, [1])
    """
    options = ("-p", "pytest_benchmark.plugin", "--benchmark-timer=time.time", "--benchmark-disable-gc")
    result = ran(pytester, text, "--lparbench-gate", "--lparbench-update", *options)
    assert result.stdout.str().count("not used: --benchmark-timer, max_time, min_rounds of pytest-benchmark") == 1


def test_a_report_that_cannot_be_written_is_said_in_one_line(
    pytester: pytest.Pytester, script: Callable[..., None]
) -> None:
    script(baseline=1.0, candidate=1.0)
    result = ran(pytester, AGAINST.format(arguments=""), "--lparbench-report=markdown=/dev/null/gate.md")
    assert result.ret == 5
    assert "lparbench: /dev/null/gate.md: cannot be written" in result.stderr.str() + result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()


@pytest.mark.parametrize("how", ["error", "of the system"])
def test_a_full_disk_ends_the_session_and_fails_no_test(
    pytester: pytest.Pytester, script: Callable[..., None], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    script()
    measured = Processes._process
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/job")

    def fills(self: Processes, *arguments: Any) -> Any:
        if self.item.name == "test_b":
            raise full if how == "of the system" else unwritable("/tmp/job", full, "Make room.")
        return measured(self, *arguments)

    monkeypatch.setattr(Processes, "_process", fills)
    text = "def test_a(lparbench): lparbench(sum, [1])\ndef test_b(lparbench): lparbench(sum, [1])"
    result = ran(pytester, text, "--lparbench-update")
    assert result.ret == 5
    result.assert_outcomes(passed=1)
    output = result.stdout.str()
    assert output.count("No space left on device. Make room") == 1
    assert "of the 1 judged before are kept" in output


def test_no_test_at_all_is_wrong_use_where_another_code_stands_for_a_tool_that_failed(
    pytester: pytest.Pytester,
) -> None:
    assert ran(pytester, "x = 1").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert ran(pytester, "x = 1", "--lparbench-base=.").ret == PYTEST_OFFSET + ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import nothing_of_this_name", ExitCode.REGRESSION),  # pytest calls it interrupted
        ("def test_it(benchmark): raise KeyboardInterrupt", ExitCode.INTERRUPTED),
        ("def test_it(benchmark): pass", ExitCode.INCONCLUSIVE),
        ("def test_it(benchmark): assert 1 == 2", ExitCode.REGRESSION),
    ],
)
def test_two_revisions_end_with_a_code_of_the_gate(pytester: pytest.Pytester, text: str, code: ExitCode) -> None:
    pytester.makepyfile(text)
    result = pytester.runpytest_inprocess(*PLUGIN, "--lparbench-gate", "--lparbench-base=.", no_reraise_ctrlc=True)
    assert result.ret == PYTEST_OFFSET + code


def test_a_call_of_a_test_that_is_gone_is_missing(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    script()
    text = "def test_it(lparbench, benchmark): benchmark(sum, [1]); lparbench(max, [1])"
    for _ in range(3):
        ran(pytester, text, "--lparbench-gate", "--lparbench-update").assert_outcomes(passed=1)
    assert len(list((pytester.path / ".lparbench").iterdir())) == 2  # not two sessions of one
    assert ran(pytester, text, "--lparbench-gate").ret == 0
    result = ran(pytester, "def test_it(lparbench): lparbench(max, [1])", "--lparbench-gate")
    result.stdout.fnmatch_lines(["missing: *::test_it #2: it is no longer gated*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_nothing_is_accepted_where_nothing_is_written(pytester: pytest.Pytester) -> None:
    result = ran(pytester, STORED, "--lparbench-accept", "new parser")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --lparbench-accept goes with --lparbench-update*"])


def test_where_what_a_test_replaces_stands_in_the_way_there_is_no_verdict(
    pytester: pytest.Pytester, script: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    script()
    text = """
        import json
        def test_it(lparbench, monkeypatch):
            monkeypatch.setattr(json, "dumps", len)
            assert lparbench(lambda: json.dumps("ab")) == 2
    """
    for _ in range(3):
        ran(pytester, text, "--lparbench-update").assert_outcomes(passed=1)
    ran(pytester, text).assert_outcomes(passed=1)
    monkeypatch.setattr(Processes, "fresh", lambda *_: {}["what"])
    result = ran(pytester, text)
    why = "nothing can be measured while the test replaces json.dumps: KeyError: 'what'"
    result.stdout.fnmatch_lines([f"inconclusive: *{why}", "*1 inconclusive*"])
    assert "Traceback" not in result.stdout.str()
    assert ran(pytester, text, "--lparbench-open=pass").ret == 0


@pytest.mark.parametrize("options", [("-W", "error"), ("-o", "filterwarnings=error")])
def test_an_open_verdict_is_a_warning_where_warnings_are_errors(
    pytester: pytest.Pytester, script: Callable[..., None], options: tuple[str, ...]
) -> None:
    script(sd=0.6)
    result = ran(pytester, AGAINST.format(arguments=""), "--lparbench-open=warn", *options)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*OpenVerdictWarning: inconclusive: *"])


def test_a_package_by_name_is_gated_and_its_deleted_tests_are_missing(
    pytester: pytest.Pytester, script: Callable[..., None]
) -> None:
    script()
    package = pytester.mkpydir("packaged_suite")
    text = "def test_a(lparbench): lparbench(sum, [1])\n"
    (package / "test_it.py").write_text(text + text.replace("_a", "_b"))
    pytester.syspathinsert()
    options = (*PLUGIN, "--pyargs", "packaged_suite")
    for _ in range(3):
        pytester.runpytest_inprocess(*options, "--lparbench-update").assert_outcomes(passed=2)
    assert pytester.runpytest_inprocess(*options).ret == 0
    assert pytester.runpytest_inprocess(*options[:-1], "packaged_suite.test_it::test_a").ret == 0
    (package / "test_it.py").write_text(text)
    result = pytester.runpytest_inprocess(*options)
    result.stdout.fnmatch_lines(["missing: packaged_suite/test_it.py::test_b: there is no such test any more*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_code_that_a_test_expects_to_raise_is_not_measured(
    pytester: pytest.Pytester, script: Callable[..., None]
) -> None:
    script()
    text = """
        import pytest
        def test_it(lparbench):
            with pytest.raises(ZeroDivisionError): lparbench(lambda: 1 / 0)
    """
    result = ran(pytester, text, "--lparbench-update")
    result.stdout.fnmatch_lines(["*it raised ZeroDivisionError, so that nothing was measured"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_what_a_test_says_of_itself_hides_no_regression(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    text = """
        import pytest
        @pytest.mark.xfail
        def test_marked(lparbench): lparbench.against(sum, sum, [1])
        def test_skips(lparbench): lparbench.against(sum, sum, [1]); pytest.skip("later")
        def test_fails(lparbench): lparbench.against(sum, sum, [1]); pytest.xfail("later")
        @pytest.mark.xfail
        def test_own(lparbench): lparbench.against(sum, sum, [1]); assert 1 == 2
        def test_asks_late(lparbench): pytest.skip("before anything was judged")
    """
    script(candidate=1.5)
    ran(pytester, text).assert_outcomes(failed=3, xfailed=1, skipped=1)
    script()
    ran(pytester, text).assert_outcomes(xpassed=1, xfailed=2, skipped=2)


def test_paths_are_those_from_which_pytest_was_started(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    text = """
        def test_it(lparbench, monkeypatch, tmp_path):
            monkeypatch.chdir(tmp_path)
            lparbench(sum, [1, 2])
    """
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\n[tool.lparbench.gate]\nmargin = "80%"\n')
    own = ("--lparbench-baselines", "kept")
    for session in range(3):
        script(candidate=1.0 + session / 1000)
        ran(pytester, text, "--lparbench-update", *own)
    assert len(list((pytester.path / "kept").iterdir())) == 1
    script(candidate=1.5)
    result = ran(pytester, text, "--lparbench-report=markdown=gate.md", *own)
    result.stdout.fnmatch_lines(["passed: *margin 80.0 %*"])
    assert (pytester.path / "gate.md").exists()
    os.chdir(pytester.mkdir("below"))  # the project's table counts there too
    ran(pytester, text, "--lparbench-baselines=../kept", "..").assert_outcomes(passed=1)


def test_what_was_left_out_or_skipped_is_not_gone(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    script()
    pytester.makepyfile(test_other="def test_b(lparbench): lparbench(sum, [1])")
    for _ in range(3):
        ran(pytester, STORED, "--lparbench-update").assert_outcomes(passed=2)
    assert ran(pytester, STORED, "--ignore=test_other.py").ret == 0
    assert ran(pytester, STORED, "--ignore-glob=*_other.py").ret == 0
    pytester.makepyfile(test_other="import pytest\npytest.importorskip('nothing_of_this_name')")
    assert ran(pytester, STORED).ret == 0


def test_a_report_of_a_distributed_session_says_that_nothing_was_measured(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    options = ("-p", "xdist.plugin", "-n", "1", "--lparbench-gate", "--lparbench-report=markdown=gate.md")
    result = ran(pytester, "def test_it(): pass", *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "| the session | open | nothing is measured with" in (pytester.path / "gate.md").read_text()


def test_tests_that_a_plugin_takes_out_are_not_gone(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    """A shard says nothing of what it leaves to the others; --last-failed does not collect what did not fail."""
    script()
    pytester.makepyfile(
        test_a=STORED,
        test_b=STORED.replace("test_it", "test_failing") + "        assert 0\n",
        conftest="import os\ndef pytest_collection_modifyitems(items):\n    del items[:int(os.environ['TAKEN'])]\n",
    )
    os.environ["TAKEN"] = "0"
    own = ("-p", "harness.pytest_plugin.plugin")
    pytester.runpytest_inprocess(*own, "--lparbench-update").assert_outcomes(passed=1, failed=1)
    failed_only = pytester.runpytest_inprocess(*own, "--lf")
    failed_only.assert_outcomes(failed=1)
    assert "missing" not in failed_only.stdout.str()
    os.environ["TAKEN"] = "1"
    shard = pytester.runpytest_inprocess(*own)
    shard.assert_outcomes(failed=1)
    assert "missing" not in shard.stdout.str()


def test_a_test_that_is_run_again_is_one_session_of_its_baseline(
    pytester: pytest.Pytester, script: Callable[..., None]
) -> None:
    script()
    pytester.makeconftest(
        "from _pytest.runner import runtestprotocol\n"
        "def pytest_runtest_protocol(item, nextitem):\n"
        "    for _ in range(2):\n"
        "        reports = runtestprotocol(item, nextitem=nextitem, log=False)\n"
        "    for report in reports:\n"
        "        item.ihook.pytest_runtest_logreport(report=report)\n"
        "    return True\n"
    )
    ran(pytester, STORED, "--lparbench-update").assert_outcomes(passed=1)
    (path,) = (pytester.path / ".lparbench").iterdir()
    assert len(read_baseline(path).sessions) == 1


def test_the_limit_of_a_test_does_not_hold_for_the_gate(pytester: pytest.Pytester, script: Callable[..., None]) -> None:
    """pytest-timeout's hook, which ends its timer, is called before anything is measured."""
    script()
    pytester.makeconftest(
        "class Hooks:\n"
        "    def pytest_timeout_cancel_timer(self, item):\n"
        "        'pytest-timeout has this'\n"
        "def pytest_addhooks(pluginmanager):\n"
        "    pluginmanager.add_hookspecs(Hooks)\n"
        "def pytest_timeout_cancel_timer(item):\n"
        "    item.user_properties.append(('cancelled', item.name))\n"
        "def pytest_runtest_logreport(report):\n"
        "    if report.when == 'call':\n"
        "        print('timers:', report.user_properties[0])\n"
    )
    result = ran(pytester, STORED, "--lparbench-update", "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*timers: ('cancelled', 'test_it')*"])
