"""What a host runs that has no lparbench yet: a wheel comes in by standard input, is checked, and is unpacked.

It goes to the host as text, for its own Python, and imports nothing but the standard library.
Arguments: DIGEST SIZE MACHINE DIRECTORY; MACHINE is "any" for a wheel without machine code.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

_LAUNCHER = (
    "import os, sys\n"
    "sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'site'))\n"
    "from harness.cli.main import main\n"
    "main()\n"
)


def main(digest: str, size: int, machine: str, directory: str) -> None:
    """Unpack the wheel into a directory named by its digest, unless just that is there."""
    if machine not in ("any", os.uname().machine):
        raise SystemExit(f"the wheel is for {machine}, the host is {os.uname().machine}")
    content = sys.stdin.buffer.read(size)
    if hashlib.sha256(content).hexdigest() != digest:
        raise SystemExit("the wheel did not arrive as it was sent: its sha256 differs")
    files = _files(content)
    home = Path(directory).expanduser().absolute()
    target = home / digest[:16]
    if _held(target) == files:
        print("there")
        return
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".arriving-", dir=home))
    try:
        for name, body in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    print("unpacked")


def _files(content: bytes) -> dict[str, bytes]:
    """What belongs into the directory."""
    files = {"lparbench": _LAUNCHER.encode()}
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        for name in wheel.namelist():
            if name.startswith("/") or ".." in name.split("/"):
                raise SystemExit(f"the wheel holds a file beyond its folder: {name}")
            if not name.endswith("/"):
                files[f"site/{name}"] = wheel.read(name)
    return files


def _held(target: Path) -> dict[str, bytes]:
    """The files that are there, but what Python compiled of them."""
    paths = [path for path in target.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in paths}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
