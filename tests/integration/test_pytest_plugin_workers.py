"""The plugin's real worker processes: tests as other suites have them, and two revisions of a project in worktrees."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import harness

ENTRY_POINT = any(point.value == "harness.pytest_plugin.plugin" for point in entry_points(group="pytest11"))
START = "import sys; from harness.cli.main import main; sys.exit(main())"

CONFTEST = """
    import json, os, pathlib, socket, sys, pytest

    def pytest_addoption(parser): parser.addoption("--size", type=int, default=1)

    @pytest.fixture
    def anyio_backend(): return "asyncio"

    @pytest.fixture(scope="session")
    def port():
        with socket.socket() as server:
            try:
                server.bind(("127.0.0.1", int(os.environ["PORT"])))
            except OSError as error:
                raise OSError("the port is in use") from error
            yield server

    @pytest.fixture
    def seen(request):
        def note(**more):
            folder = pathlib.Path(os.environ["SEEN"])
            facts = {"test": request.node.name, "cwd": os.getcwd(), "size": request.config.getoption("--size"),
                     "traced": bool(sys.gettrace()), **more}
            (folder / f"{os.getpid()}-{request.node.name}").write_text(json.dumps(facts))
        return note
"""
SUITE = """
    import json, os, pathlib, time, unittest, pytest

    pytestmark = pytest.mark.lparbench(blocks=1, seconds=0.01)

    class TestCase(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def _given(self, lparbench, seen):
            self.lparbench, self.seen = lparbench, seen
        def test_unittest(self):
            self.seen()
            self.assertEqual(self.lparbench(sum, [1, 2]), 3)

    @pytest.mark.anyio
    async def test_anyio(lparbench, seen):
        seen()
        assert lparbench(sum, [1, 2]) == 3

    def test_coroutine(benchmark, seen):
        async def answer(): return 2
        seen()
        assert benchmark(answer) == 2

    def test_fixtures(benchmark, seen, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("ANSWER", "42")
        (tmp_path / "file").write_text("read")
        seen(tmp=str(tmp_path))
        assert benchmark((tmp_path / "file").read_text) == "read"

    def test_port(benchmark, seen, port):
        seen()
        assert benchmark(port.fileno) > 0

    def test_once(benchmark, seen):
        values = iter([1])
        seen()
        assert benchmark.pedantic(lambda: next(values), rounds=1) == 1

    def test_ends(benchmark, seen, monkeypatch):
        for name in ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns"):
            monkeypatch.setattr("time." + name, lambda: 0)
        seen()
        assert benchmark.pedantic(len, ("ab",), teardown=lambda text: None, rounds=1, iterations=3) == 2

    def test_replaced(benchmark, seen, monkeypatch):
        def refused(*_, **__): raise AssertionError("not in this test")
        def timed():
            assert json.dumps is os.open is time.time is pathlib.Path.open is refused
            assert not os.environ
            return os.urandom(1)
        seen()
        for name in ("subprocess.Popen", "socket.socket", "json.dumps", "json.loads", "builtins.open", "io.open",
                     "os.open", "os.fork", "os.stat", "time.time", "time.perf_counter", "time.sleep", "uuid.uuid4",
                     "tempfile.mkdtemp", "pathlib.Path.open", "pathlib.Path.exists", "random.Random", "gc.disable"):
            monkeypatch.setattr(name, refused)
        monkeypatch.setattr("os.urandom", lambda size: b"mine")
        monkeypatch.setattr("sys.executable", "/nowhere")
        monkeypatch.setattr("os.name", "nt")
        for name in list(os.environ):
            monkeypatch.delenv(name)
        assert benchmark(timed) == b"mine"

    @pytest.mark.parametrize("thing", [object()], ids=repr)
    def test_address(benchmark, thing):
        assert benchmark(str, thing)

    @pytest.mark.parametrize("size", ["a b", "\\u00e9[::]"])
    def test_parameters(benchmark, seen, size):
        seen()
        assert benchmark(len, size) == len(size)
"""


def environment(**more: str) -> dict[str, str]:
    """The way to this package, and the plugin where it is not installed."""
    path = os.pathsep.join([more.pop("FIRST", ""), str(Path(harness.__file__).parents[1]), *filter(None, sys.path)])
    loaded = "" if ENTRY_POINT else " -p harness.pytest_plugin.plugin"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_", "COVERAGE_"))}
    return {**kept, "PYTHONPATH": path.strip(os.pathsep), "PYTEST_ADDOPTS": f"-p no:cacheprovider{loaded}", **more}


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        indent = len(text) - len(text.lstrip("\n ")) - 1 if text.startswith("\n") else 0
        path.write_text("\n".join(line[indent:] for line in text.splitlines()) + "\n")


def test_a_worker_sees_what_the_test_sees(tmp_path: Path) -> None:
    pytest.importorskip("pytest_cov")
    written(tmp_path, {"tests/conftest.py": CONFTEST, "tests/test_suite.py": SUITE})
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --cov=tests --cov-report=\n")
    (tmp_path / "seen").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--size", "777", "--lparbench-gate", "--lparbench-update", "."],
        cwd=tmp_path / "tests",
        env=environment(SEEN=str(tmp_path / "seen"), PORT=port),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    runs: dict[str, list[dict[str, object]]] = {}
    for file in (tmp_path / "seen").iterdir():
        facts = json.loads(file.read_text())
        runs.setdefault(facts["test"], []).append(facts)
    assert len(runs) == 10, done.stdout + done.stderr
    for name, facts in runs.items():
        assert {fact["size"] for fact in facts} == {777}
        assert {fact["cwd"] for fact in facts} == {str(tmp_path / "tests")}
        assert len(facts) >= 2 or name == "test_port", name  # itself and its worker
        assert f"::{name}: nothing may be judged against candidate" in done.stdout  # one process is too few
    assert len(runs["test_once"]) > 2  # rounds are made up for by processes
    assert sum(bool(fact["traced"]) for facts in runs.values() for fact in facts) <= len(runs)  # not in the workers
    assert len({fact["tmp"] for fact in runs["test_fixtures"]}) == 2
    assert "test_port: measured in forks of this process: a fixture cannot be set up twice (" in done.stdout
    assert "]: measured in forks of this process: the test cannot be collected twice (" in done.stdout
    assert "clock" not in done.stdout
    assert "the hypervisor took 1" not in done.stdout
    assert "11 inconclusive" in done.stdout


def test_plugins_that_only_this_process_has_are_measured_with_in_it(tmp_path: Path) -> None:
    program = """
        import sys, pytest, gives_module

        class Gives:
            @pytest.fixture
            def given(self): return 2
            def pytest_addoption(self, parser): parser.addoption("--mine")

        sys.exit(pytest.main(sys.argv[1:], plugins=[*([Gives()] if "--mine" in sys.argv else []), gives_module]))
    """
    suite = """
        import pytest
        pytestmark = pytest.mark.lparbench(blocks=1, seconds=0.01)
        def test_object(benchmark, given): assert benchmark(pow, given, 2) == 4
        def test_module(benchmark, of_module): assert benchmark(pow, of_module, 2) == 9
    """
    module = "import pytest\n@pytest.fixture\ndef of_module(): return 3"
    written(tmp_path, {"test_it.py": suite, "program.py": program, "gives_module.py": module})

    def shown(*options: str) -> str:
        return subprocess.run(
            [sys.executable, "program.py", "-q", "--lparbench-gate", *options],
            cwd=tmp_path,
            env=environment(FIRST=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        ).stdout

    text = shown("--mine", "1", "--lparbench-update")
    why = "measured in forks of this process: plugins that pytest.main was given as objects cannot be loaded twice"
    assert f"test_object: {why} (Gives)" in text, text
    assert "test_object: nothing may be judged against candidate" in text  # one process is too few
    assert "2 inconclusive" in text
    text = shown("--mine", "1", "--lparbench-base", str(tmp_path))
    assert "the base revision cannot be measured: its process would lack the plugins" in text, text
    text = shown("--lparbench-update", "test_it.py::test_module")
    assert "test_module: nothing may be judged against candidate" in text, text
    assert "measured in forks" not in text


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=folder, check=True)


def project(folder: Path, *, package: str, test: str) -> Path:
    """A checkout with two commits; its package lies in ``lib``, which nobody puts on the path."""
    written(folder, {"lib/thing/__init__.py": package, "test_it.py": test})
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "base")
    git(folder, "commit", "-qm", "head", "--allow-empty")
    return folder


def gated(folder: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, "gate", "--base", "HEAD~1", "--head", "HEAD", *options, "--", "pytest", "-q"],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


TEST = """
    import pytest, thing
    pytestmark = pytest.mark.lparbench(seconds=0.01, max_blocks=1)
    def test_it(benchmark): benchmark(thing.work)
"""
PACKAGE = "def work(): return 1"


@pytest.mark.parametrize("installed", [False, True])
def test_both_sides_of_one_package_are_an_error(tmp_path: Path, installed: bool) -> None:
    checkout = project(tmp_path / "checkout", package=PACKAGE, test=TEST)
    place = checkout / "lib"
    if installed:  # a copy, as pip makes one
        place = tmp_path / "site"
        written(place, {"thing/__init__.py": PACKAGE})
    done = gated(checkout, FIRST=str(place))
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if "both sides would measure the same code" in line)
    assert str(place / "thing" / "__init__.py") in line, done.stdout
    assert "/base of the revision" in line
    assert "--prepare" in line


def test_prepare_builds_each_revision_and_the_verdicts_are_printed_for_ci(tmp_path: Path) -> None:
    checkout = project(tmp_path, package=PACKAGE, test=TEST)
    done = gated(checkout, "--prepare", "cp -r lib/thing .", "--format", "markdown")
    assert done.returncode == 2
    assert done.stdout.startswith("### lparbench\n\n1 open.")
    assert "AttributeError" not in done.stdout + done.stderr
    assert "1 inconclusive" in done.stderr
    assert gated(checkout, "--prepare", "false").returncode == 4
