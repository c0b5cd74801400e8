"""A working directory in which every module that anything could import is somebody else's, and leaves a trace."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

_PACKAGES = ("harness", "harness/workers", "harness/serving", "numpy", "torch", "scipy", "sqlalchemy")
_STARTED = ("sitecustomize", "usercustomize", "conftest", "harness/workers/worker", "harness/serving/process")


class HostileDirectory:
    """Makes the directory.

    Args:
        folder: is filled; what else is in there stays.
        trace: a file elsewhere, to which each of the modules adds its own name.
    """

    def __init__(self, folder: Path, trace: Path) -> None:
        self.folder, self._trace = folder, trace
        line = f"open({str(trace)!r}, 'a').write(__file__ + chr(10))\n"
        names = {*sys.stdlib_module_names, *packages_distributions(), *_STARTED} - {"__main__", "__future__"}
        for package in _PACKAGES:
            (folder / package).mkdir(parents=True, exist_ok=True)
            (folder / package / "__init__.py").write_text(line)
        source = folder / "hostile_module.py"
        source.write_text(line)
        for name in names:
            if name.isidentifier() or "/" in name:
                path = folder / f"{name}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.hardlink_to(source)
        started = f"import sys; open({str(trace)!r}, 'a').write('hostile.pth' + chr(10))\n"
        (folder / "hostile.pth").write_text(started)

    def imported(self) -> list[str]:
        """Which of them were imported."""
        return sorted({*self._trace.read_text().splitlines()}) if self._trace.exists() else []
