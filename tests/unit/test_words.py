"""Plain technical English in whatever a user reads: messages, help, rules, pages, documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (
    "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "docs/*.1", "reports/*.j2",
    "sysconfig/*/*.toml", "workloads/**/*.toml",
)  # fmt: skip
ODD = re.compile(
    r"\bmend(s|ed|ing)?\b|\bbesides?\b|\b(is|are|be|been) had\b|\bhad (the CPU|a counter)\b|manieth|\bby heart\b"
    r"|\blearnt\b|\btold (apart|from|by)\b|\b(be|is|are) told\b|\btells? (of|which|what|how|from|the label)\b"
    r"|\bfound out\b|\banew\b|\bof one's own\b|^In order\b",
    re.IGNORECASE,
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def messages(source: str, *, command: bool) -> Iterator[tuple[int, str]]:
    """Texts of a module with their lines; of docstrings only those of a command, which are its help."""
    tree = ast.parse(source)
    documented = (node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED) and ast.get_docstring(node))
    silent = {id(node.body[0].value) for node in documented if not (command and _is_help(node))}  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.lineno, node.value


def _is_help(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and "Example: `" in (ast.get_docstring(node) or "")


def test_the_messages_of_the_program_are_plain() -> None:
    odd = {
        f"{path.relative_to(ROOT)}:{line}": text
        for path in sorted((ROOT / "harness").rglob("*.py"))
        for line, text in messages(path.read_text(encoding="utf-8"), command=path.parent.name == "cli")
        if ODD.search(text)
    }
    assert odd == {}


@pytest.mark.parametrize("pattern", TEXTS)
def test_the_texts_of_the_project_are_plain(pattern: str) -> None:
    files = sorted(ROOT.glob(pattern))
    assert files
    odd = {
        f"{path.relative_to(ROOT)}:{number}": line
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if ODD.search(line)
    }
    assert odd == {}


@pytest.mark.parametrize(
    "text", ["16 GiB can be had", "not told apart from", "In order: a, b", "Beside the best", "it mends nothing"]
)
def test_the_words_looked_for_are_found(text: str) -> None:
    source = f'"""A module mends."""\n\n\ndef work():\n    """Told apart."""\n    print({text!r})\n'
    assert [line for line, message in messages(source, command=True) if ODD.search(message)] == [6]
