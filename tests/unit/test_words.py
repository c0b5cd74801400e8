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
_GLUED = re.compile(r"\d%(?![\w(])")
_TYPED = re.compile(r"``?[^`]*``?|'[\d.]+%'|style=\"[^\"]*\"|\{%.*?%\}")


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


def glued_percents(source: str, *, command: bool) -> Iterator[tuple[int, str]]:
    """Percentages without the blank, ``93%``: in texts, in formats, and after a value that a text shows.

    What a user types (``'3%'``, in quotes or as code, or the whole text) has none.
    """
    for line, text in messages(source, command=command):
        if _GLUED.search(_TYPED.sub("", text)) and not re.fullmatch(r"[\d.]+%", text):
            yield line, text
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            shown = ast.unparse(node).replace("{NO_BREAK}%", "")
            if re.search(r"\}%|\.\d%", shown):
                yield node.lineno, shown


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


def test_percentages_have_their_blank_in_messages() -> None:
    glued = {
        f"{path.relative_to(ROOT)}:{line}": text
        for path in sorted((ROOT / "harness").rglob("*.py"))
        for line, text in glued_percents(path.read_text(encoding="utf-8"), command=path.parent.name == "cli")
    }
    assert glued == {}


def test_percentages_have_their_blank_in_pages_and_documentation() -> None:
    glued = {}
    for path in (ROOT / name for pattern in TEXTS if not pattern.endswith(".1") for name in ROOT.glob(pattern)):
        prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        glued |= {
            line: str(path.relative_to(ROOT)) for line in prose.splitlines() if _GLUED.search(_TYPED.sub("", line))
        }
    assert glued == {}


@pytest.mark.parametrize(
    "text", ['"93% of it"', 'f"{share:.1%} of it"', 'f"{share}% of it"', 'f"{low} to {high:.0%}"', '"at most 3%"']
)
def test_a_percentage_without_its_blank_is_found(text: str) -> None:
    assert list(glued_percents(f"print({text})", command=False))


@pytest.mark.parametrize("text", ['"5%"', '"Example: `--margin 5%`"', 'f"{share}{NO_BREAK}%"', 'f"{now:%H%M}"'])
def test_what_a_user_types_has_no_blank(text: str) -> None:
    assert not list(glued_percents(f"print({text})", command=False))
