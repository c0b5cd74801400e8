"""Run a command with its temporary files in memory where there is room: trees of machines are many small files.

Usage: ``python tests/in_memory.py COMMAND ARGUMENT…``, which gives its exit code. Without a file system in memory that
has room and lets programs be started, the temporary directory is the usual one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from harness.platform import limits
from harness.platform.sysroot import SysRoot

SHM = Path("/dev/shm")
ROOM = 4 << 30  # the suite's temporary files reach about 1 GiB


def usable(directory: Path) -> bool:
    """Whether there is room, beside the memory that the tests themselves take, and programs may be started from it."""
    try:
        allowed = limits.collect(SysRoot("/")).memory_limit_bytes or sys.maxsize
        if min(shutil.disk_usage(directory).free, psutil.virtual_memory().available // 2, allowed // 2) < ROOM:
            return False
        with tempfile.TemporaryDirectory(dir=directory) as there:
            program = Path(there) / "program"
            program.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
            program.chmod(0o700)
            return subprocess.run([program], check=False).returncode == 0
    except OSError:
        return False


def main() -> int:
    if "TMPDIR" in os.environ or not usable(SHM):
        return subprocess.run(sys.argv[1:], check=False).returncode
    with tempfile.TemporaryDirectory(prefix="t-", dir=SHM, ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)  # entered by the user that PostgreSQL runs as, listed by none
        process = subprocess.Popen(sys.argv[1:], env={**os.environ, "TMPDIR": directory})
        signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the terminal sent it to the command too, which ends by itself
                continue


if __name__ == "__main__":
    sys.exit(main())
