"""The shape that the architecture page promises: sizes, names, typed boundaries, no circles inside a room."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import grimp
import pytest

from harness.parsing import read_toml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "harness"
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 400, 60, 8
# pytest-benchmark's files hold what its users put there; this module turns them into types.
FOREIGN = "harness/compare/pytest_benchmark.py"
TYPED_ROOMS = ("runs", "workers", "sweeps", "reporting", "compare", "gates")
# A word that says nothing of the element it stands for.
EMPTY_NAMES = {"one", "found", "told", "said", "beside", "around", "again"}
# typer turns each option of a command into a parameter, so a command has as many as it has options.
COMMANDS = "harness/cli/"
# Longer than the limits, and why; the reason stands here or nowhere.
EXCEPTIONS: dict[str, str] = {
    "harness/platform/lpar.py:collect": "one line for each fact of the partition, and nothing else",
}


@cache
def modules() -> tuple[Path, ...]:
    return tuple(sorted(PACKAGE.rglob("*.py")))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = node.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_no_module_is_longer_than_it_can_be_read() -> None:
    long = {name_of(path): count for path in modules() if (count := len(path.read_text().splitlines())) > MOST_LINES}
    assert long == {}


def test_no_function_is_too_long_or_takes_too_much() -> None:
    beyond = set()
    for path in modules():
        for node in functions(path):
            lines = (node.end_lineno or 0) - node.lineno + 1
            command = name_of(path).startswith(COMMANDS)
            if not command and (lines > MOST_FUNCTION_LINES or parameters(node) > MOST_PARAMETERS):
                beyond.add(f"{name_of(path)}:{node.name}")
    assert beyond - set(EXCEPTIONS) == set()
    assert set(EXCEPTIONS) - beyond == set(), "an exception that is none any more"


def is_there(module: str, name: str) -> bool:
    imported = import_module(module)
    return hasattr(imported, name) or (hasattr(imported, "__path__") and find_spec(f"{module}.{name}") is not None)


@pytest.mark.parametrize("folder", ["lpar", "power10", "bench", "builds"])
def test_what_runs_elsewhere_imports_what_there_is(folder: str) -> None:
    """A name that is gone would be noticed in a guest or a study only, after minutes."""
    missing = [
        f"{name_of(path)}:{node.lineno} {node.module}.{alias.name}"
        for path in sorted((ROOT / "tests" / folder).glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "harness"
        for alias in node.names
        if not hasattr(import_module(str(node.module)), alias.name) and find_spec(f"{node.module}.{alias.name}") is None
    ]
    assert missing == []


def test_rooms_hand_over_types() -> None:
    untyped = [
        f"{name_of(path)}:{number}"
        for path in modules()
        if path.relative_to(PACKAGE).parts[0] in TYPED_ROOMS and name_of(path) != FOREIGN
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"dict\[str, Any\]", line)
    ]
    assert untyped == []


def test_names_say_what_the_element_is() -> None:
    empty = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names = [node.id]
            elif isinstance(node, ast.arg):
                names = [node.arg]
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            empty += [f"{name_of(path)}:{node.lineno} {name}" for name in names if name.strip("_") in EMPTY_NAMES]
    templates = sorted((ROOT / "reports").glob("*.j2"))
    assert templates
    for path in templates:
        given = re.findall(
            r"{% (?:for|set|with) (.*?) ?(?: in |=)|{% macro \w+\((.*?)\)", path.read_text(encoding="utf-8")
        )
        names = re.findall(r"\w+", " ".join(part for parts in given for part in parts))
        empty += [f"{path.name} {name}" for name in names if name in EMPTY_NAMES]
    assert empty == []


def test_there_is_no_circle_inside_a_room() -> None:
    graph = grimp.build_graph("harness", include_external_packages=False)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    state: dict[str, int] = {}
    circles: list[list[str]] = []

    def visit(module: str, path: list[str]) -> None:
        state[module] = 1
        for target in sorted(imports[module] - {"harness"}):  # its lazy names are no imports of a room
            if state.get(target) == 1:
                circles.append([*path[path.index(target) :], target])
            elif target not in state:
                visit(target, [*path, target])
        state[module] = 2

    for module in sorted(imports):
        if module not in state:
            visit(module, [module])
    assert circles == []


def test_a_function_that_returns_nothing_useful_is_not_hidden_by_the_walk() -> None:
    """The checks above see what they are about: a module of each fault is found."""
    source = "def one(a, b, c, d, e, f, g, h, i):\n    found = 1\n" + "    pass\n" * 70
    tree = ast.parse(source)
    node = tree.body[0]
    assert isinstance(node, ast.FunctionDef)
    assert parameters(node) == 9
    assert (node.end_lineno or 0) - node.lineno + 1 > MOST_FUNCTION_LINES


@pytest.mark.parametrize("page", ["architecture", "method", "glossary", "releasing"])
def test_the_pages_of_the_project_are_there(page: str) -> None:
    assert (ROOT / "docs" / f"{page}.md").is_file()


def test_what_is_imported_is_declared() -> None:
    """What another package brings along in one version may be missing in the next."""
    project = read_toml(ROOT / "pyproject.toml")["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name != "test"]
    declared = {re.split(r"[^\w-]", line)[0] for lines in (project["dependencies"], *extras) for line in lines}
    carried = {"sklearn": "scikit-learn", "dask": "distributed", "starlette": "fastapi", "pytest": "pytest-benchmark"}
    imported: dict[str, Path] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                named = [node.module]
            imported |= {each.partition(".")[0]: path for each in named}
    others = imported.keys() - sys.stdlib_module_names - {"harness", "tomllib"}
    assert "numpy" in others
    assert {name: imported[name] for name in others if carried.get(name, name) not in declared} == {}
