"""Programs of this package in processes of their own, so that what runs is what is installed.

``python -m`` looks into the working directory first: a ``random.py`` there, or another checkout of this package, would
run in place of what the parent runs. A program that is started here is that of this very package, with a module search
path without the working directory, whatever the version of Python (``-P`` exists from 3.11 on).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SAFE_PATH = "PYTHONSAFEPATH"  # set, keeps the working directory from the path of Python 3.11 and later
_PACKAGE = Path(__file__).resolve().parent
# Before anything is imported but what is built in, the working directory goes; then this package is the one and only.
_BOOT = """
import sys
sys.path[:] = [part for part in sys.path if part]
import importlib.util, os, runpy
start, program, *rest = sys.argv[1:]
spec = importlib.util.spec_from_file_location("harness", start, submodule_search_locations=[os.path.dirname(start)])
sys.modules["harness"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["harness"])
sys.argv[1:] = rest
runpy.run_module(program, run_name="__main__", alter_sys=True)
"""


def program(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package as ``python -m`` does, isolated at least as this process is."""
    flags = [flag for flag, on in (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)) if on]
    return [sys.executable, *flags, "-c", _BOOT, str(_PACKAGE / "__init__.py"), module, *arguments]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """``given``, in which the processes that a program starts find this package too."""
    parts = [part for part in given.get("PYTHONPATH", "").split(os.pathsep) if part]
    parent = str(_PACKAGE.parent)
    if parent not in parts and _PACKAGE.parent.name not in ("site-packages", "dist-packages"):
        parts.insert(0, parent)
    return {**given, "PYTHONPATH": os.pathsep.join(parts)}
