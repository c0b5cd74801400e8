"""A workload as the command line names it: ``nsl-kdd-mlp``, ``mine.toml``, ``module:Class``, each also with arguments.

``sklearn.ensemble:IsolationForest(n_estimators=200)``: arguments are constants of Python, read and never run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.parsing import read_content

_SOURCE_BYTES = 1 << 20  # of a Python file
_CALL = re.compile(r"(?P<name>[^()]*)(?P<call>\(.*\))?", re.DOTALL)
_EXAMPLE = "Expected such as 'module:Class(n_estimators=200)', in quotation marks for the shell."


@dataclass(frozen=True)
class Named:
    """The name without its arguments, and those."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The arguments as part of a file name: ``-n_estimators=200``; empty without any."""
        words = (f"{key}={value}" for key, value in self.arguments.items())
        return "".join(f"-{re.sub(r'[^0-9A-Za-z.=_+-]+', '_', word)}" for word in words)


def parsed(text: str) -> Named:
    """Divide a name from its arguments.

    Raises:
        InputError: the arguments are not ``key=constant, ...`` in brackets.
    """
    match = _CALL.fullmatch(text.strip())
    if match is None or not match["name"]:
        raise InputError(f"{text!r} is not a workload with arguments.", remedy=_EXAMPLE)
    if match["call"] is None:
        return Named(match["name"])
    try:
        call = ast.parse(f"f{match['call']}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{text!r}: its arguments cannot be read.", remedy=_EXAMPLE) from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise InputError(f"{text!r}: every argument needs its name.", remedy=_EXAMPLE)
    return Named(match["name"].strip(), {_key(keyword, text): _constant(keyword, text) for keyword in call.keywords})


def _key(keyword: ast.keyword, text: str) -> str:
    if keyword.arg is None:
        raise InputError(f"{text!r}: every argument needs its name.", remedy=_EXAMPLE)
    return keyword.arg


def _constant(keyword: ast.keyword, text: str) -> Any:
    try:
        value = ast.literal_eval(keyword.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        problem = f"{text!r}: {keyword.arg} is no constant: a number, a text in quotation marks, True, False or a list."
        raise InputError(problem, remedy=_EXAMPLE) from error
    return list(value) if isinstance(value, tuple) else value  # as TOML has it


def file_of(text: str) -> Path | None:
    """The workload file that a name gives, with or without arguments; None where it gives none."""
    name = parsed(text).name
    return Path(name) if name.endswith(".toml") else None


def absolute(text: str) -> str:
    """The name with the path of its file from the root on; others as they are."""
    file = file_of(text)
    return text if file is None else f"{file.resolve()}{text.strip()[len(parsed(text).name) :]}"


def refuse_file(path: str) -> None:
    """See that the part before the colon is a module and not its file.

    Raises:
        InputError: it is a file; the remedy names the module.
    """
    module, _, attribute = path.partition(":")
    if module.endswith(".py") or "/" in module:
        file = Path(module)
        where = "" if file.parent == Path() else f", run in {file.parent}"
        raise InputError(
            f"{path!r}: {module} is a file; a module is expected before the colon.",
            remedy=f"Name it without folder and ending: {file.stem}:{attribute or 'Class'}{where}.",
        )


def classes_of_file(name: str) -> tuple[str, ...]:
    """``module:Class`` of every class with ``fit`` in the file ``name`` or ``name.py`` here; its code is not run."""
    path = Path(name if name.endswith(".py") else f"{name}.py")
    try:
        tree = ast.parse(read_content(path, _SOURCE_BYTES))
    except (InputError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(
        f"{path.stem}:{node.name}"
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(each, ast.FunctionDef) and each.name == "fit" for each in node.body)
    )
