"""Builds the native kernels for the emulated userland with a cross compiler, from the list in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from userland import Unavailable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMPILER = "powerpc64le-linux-gnu-gcc"


def compile_native(project: Path, root: Path) -> None:
    """Compile ``harness/linalg/_native`` of the ``project`` against the Python of the userland at ``root``.

    Raises:
        Unavailable: it does not compile; the message is the compiler's.
    """
    document = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    (extension,) = document["tool"]["setuptools"]["ext-modules"]
    python = next((root / "usr/include").glob("python3.*"))
    argv = [
        COMPILER,
        *extension["extra-compile-args"],
        "-shared",
        "-fPIC",
        *(f"-I{project / folder}" for folder in extension["include-dirs"]),
        f"-I{python}",
        f"-idirafter{root / 'usr/include'}",  # for the part of pyconfig.h that Debian keeps by architecture
        *(str(project / source) for source in extension["sources"]),
        *extension["extra-link-args"],
        *(f"-l{library}" for library in extension["libraries"]),
        "-o",
        str(project / "harness/linalg/_native.abi3.so"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{COMPILER} failed: {done.stderr[-2000:]}")
