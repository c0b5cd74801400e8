"""A Debian ppc64le userland run under QEMU user-mode emulation: built once, cached, entered in private namespaces.

The packages are unpacked without running their maintainer scripts, so nothing foreign is executed while building.
Commands run in their own PID namespace on top of a mount namespace that belongs to this process: however it ends, the
kernel takes the mounts and every emulated process away with it. The one machine-wide trace is the binfmt_misc entry,
which is named after this process and removed on exit; entries of dead processes are removed at the next start.

Only the standard library is used, so that any Python >= 3.10 on a fresh machine can run it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.debian import RECIPE, Unavailable, archive, cached, install_host_tools, last_line

ARCHITECTURE = "ppc64el"
PACKAGES = (
    "coreutils",
    "dash",
    "hwloc-nox",
    "libopenblas0-pthread",
    "libpython3-dev",
    "numactl",
    "python3",
    "python3-cpuinfo",
    "python3-hypothesis",
    "python3-jinja2",
    "python3-jsonschema",
    "python3-matplotlib",
    "python3-numpy",
    "python3-onnx",
    "python3-onnxruntime",
    "python3-pandas",
    "python3-psutil",
    "python3-pytest",
    "python3-pytest-benchmark",
    "python3-rich",
    "python3-scipy",
    "python3-sklearn",
    "python3-torch",
    "python3-typer",
    "util-linux",
)
HOST_TOOLS = {
    "apt-get": ("apt",),
    "dpkg-deb": ("dpkg",),
    "powerpc64le-linux-gnu-gcc": ("gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"),
    "qemu-ppc64le-static": ("qemu-user-static",),
    "taskset": ("util-linux",),
}
LIBRARY_PATH = "/usr/lib/powerpc64le-linux-gnu/openblas-pthread"  # what update-alternatives would have linked

BINFMT = Path("/proc/sys/fs/binfmt_misc")
BINFMT_PREFIX = "lparbench-ppc64le-"
# ELF header of a little-endian 64-bit PowerPC program (e_machine 0x15), OS ABI and e_type's low bit left open.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\x00"
CLONE_NEWNS = 0x00020000

# Without binfmt_misc the kernel cannot start a ppc64le program, but it can start this script: the emulator is named in
# the first line, and the emulated interpreter, reading the script as Python, replaces itself by the emulator running
# the real command.
WRAPPER = """#!{qemu} {python}
import os, sys
os.execv("{qemu}", ["{qemu}", "-0", "{name}", "{python}", *sys.argv[1:]])
"""


@dataclass(frozen=True)
class Userland:
    """A built userland, ready to run commands.

    Attributes:
        root: the ppc64le root directory.
        interpreter: the emulator as entered in this machine's binfmt_misc, or copied into ``root``.
        how: "binfmt_misc" or "copied interpreter"; printed, because only Python can be started in the second case.
    """

    root: Path
    interpreter: Path
    how: str

    def bind(self, source: Path, target: str) -> None:
        """Show ``source`` read-only as ``target`` inside."""
        inside = self.root / target.lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        _mount("--bind", "--options", "ro", source, inside)

    def private(self, target: str) -> Path:
        """An empty writable directory, seen inside as ``target``; returns its path outside. It goes away with us."""
        inside = self.root / target.lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        _mount("--types", "tmpfs", "tmpfs", inside)
        return inside

    def command(
        self, argv: Sequence[str], *, cpu: str, env: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, str]]:
        """Command and environment that run ``argv`` on an emulated ``cpu`` ("power10", "power9").

        Killing the command kills everything it started.
        """
        inside = {
            "HOME": "/root",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "LD_LIBRARY_PATH": LIBRARY_PATH,
            "PYTHONPYCACHEPREFIX": "/var/cache/python",
            "QEMU_CPU": cpu,
            **(env or {}),
        }
        # setpriv ties unshare to the thread that starts it, unshare ties everything inside to itself.
        tied = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return [*tied, "--mount-proc", f"--root={self.root}", "--wd=/tmp", *argv], inside


@contextmanager
def built(cache: Path) -> Iterator[Path]:
    """The unpacked userland below ``cache``, built unless one of the same recipe is there; kept as it is meanwhile.

    Raises:
        Unavailable: not root, a tool is missing and cannot be installed, or no mirror can be reached.
        RuntimeError: the mirror was reached, but what it lists could not be fetched or unpacked.
    """
    if os.geteuid() != 0:
        raise Unavailable("building and entering the ppc64le userland needs root (chroot, mounts)")
    install_host_tools(HOST_TOOLS)
    with cached(cache / "root", (RECIPE, Path(__file__)), build=_build) as root:
        yield root


def _build(target: Path) -> None:
    with archive(ARCHITECTURE) as packages:
        packages.unpack(target, PACKAGES)


@contextmanager
def entered(root: Path, *, use_binfmt: bool) -> Iterator[Userland]:
    """Mount what programs need into ``root``, make ppc64le programs startable, and undo both afterwards.

    Call once per process: it moves the process into a mount namespace of its own.
    """
    _private_mounts()
    for name in ("proc", "sys", "dev", "tmp", "root", "var/cache/python"):
        (root / name).mkdir(parents=True, exist_ok=True)
    _mount("--rbind", "/dev", root / "dev")
    _mount("--bind", "--options", "ro", "/sys", root / "sys")
    _mount("--types", "tmpfs", "tmpfs", root / "tmp")
    qemu = Path(_require("qemu-ppc64le-static"))
    entry = _register(qemu) if use_binfmt else None
    if entry is None:
        yield Userland(root, _copy_in(root, qemu), "copied interpreter")
        return
    try:
        yield Userland(root, qemu, "binfmt_misc")
    finally:
        entry.write_text("-1")


def _require(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        raise Unavailable(f"{tool} is missing")
    return found


def _private_mounts() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Unavailable(f"a private mount namespace is not permitted: {os.strerror(ctypes.get_errno())}")
    _mount("--make-rprivate", "/")


def _mount(*argv: str | Path) -> None:
    done = subprocess.run(["mount", *map(str, argv)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(last_line(done.stderr))


def _register(qemu: Path) -> Path | None:
    """Enter the emulator in binfmt_misc for the life of this process; None where the kernel has none or forbids it.

    Flag F opens the emulator now, from outside the root it will be used in; O and C pass descriptor and credentials on.
    """
    if not (BINFMT / "register").exists():
        try:
            _mount("--types", "binfmt_misc", "binfmt_misc", BINFMT)
        except Unavailable:
            return None
    for stale in BINFMT.glob(f"{BINFMT_PREFIX}*"):
        if not Path("/proc", stale.name.removeprefix(BINFMT_PREFIX)).exists():
            stale.write_text("-1")
    name = f"{BINFMT_PREFIX}{os.getpid()}"
    try:
        (BINFMT / "register").write_text(f":{name}:M::{MAGIC}:{MASK}:{qemu}:OCF")
    except OSError:
        return None
    return BINFMT / name


def _copy_in(root: Path, qemu: Path) -> Path:
    """Make Python inside startable without binfmt_misc, by mounts only: the cached tree keeps its own interpreter."""
    inside = Path("/usr/libexec/lparbench")
    folder = root / inside.relative_to("/")
    folder.mkdir(parents=True, exist_ok=True)
    emulator = folder / "qemu"
    shutil.copy2(qemu, emulator)
    python = (root / "usr/bin/python3").resolve()
    shutil.copy2(python, folder / "python")
    wrapper = folder / "wrapper"
    wrapper.write_text(WRAPPER.format(qemu=inside / "qemu", python=inside / "python", name=f"/usr/bin/{python.name}"))
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    _mount("--bind", wrapper, python)
    return emulator
