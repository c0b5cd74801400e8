"""A Debian ppc64le userland run under QEMU user-mode emulation: built once, cached, entered in private namespaces.

The packages are unpacked without running their maintainer scripts, so nothing foreign is executed while building.
Commands run in their own PID namespace on top of a mount namespace that belongs to this process: however it ends, the
kernel takes the mounts and every emulated process away with it. The one machine-wide trace is the binfmt_misc entry,
which is named after this process and removed on exit; entries of dead processes are removed at the next start.

Only the standard library is used, so that any Python >= 3.10 on a fresh machine can run it.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUITE = "trixie"
LATER_SUITE = "forky"  # has what the mirror of SUITE lists and does not hold
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
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
UNNEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/icons", "usr/share/lintian")
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


class Unavailable(Exception):  # noqa: N818 - a reason to skip, not an error
    """The emulated userland cannot be had on this machine; the message says why."""


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
    _install_host_tools()
    cache.mkdir(parents=True, exist_ok=True)
    root, stamp = cache / "root", cache / "stamp"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not _current(root, stamp):
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for other users of the old one
            if not _current(root, stamp):
                stamp.unlink(missing_ok=True)
                partial = cache / "root.partial"
                for old in (root, partial):
                    if old.exists():
                        shutil.rmtree(old)
                partial.mkdir()
                _unpack(partial)
                partial.rename(root)
                stamp.write_text(_recipe())
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield root


def _current(root: Path, stamp: Path) -> bool:
    return root.is_dir() and stamp.is_file() and stamp.read_text() == _recipe()


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


def _recipe() -> str:
    text = "\n".join((SUITE, ARCHITECTURE, *PACKAGES)).encode() + Path(__file__).read_bytes()
    return hashlib.sha256(text).hexdigest()


def _require(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        raise Unavailable(f"{tool} is missing")
    return found


def _install_host_tools() -> None:
    missing = [package for tool, packages in HOST_TOOLS.items() if shutil.which(tool) is None for package in packages]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{', '.join(missing)} missing, and there is no apt-get to install them with")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["apt-get", "update", "-qq"], ["apt-get", "install", "-qq", "--no-install-recommends", *missing]):
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"cannot install {', '.join(missing)}: {_last_line(done.stderr)}")


def _mirror() -> str:
    """The Debian mirror this machine's apt is set up for, whose signatures it can check."""
    listed = _apt("indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Origin: Debian")
    # "bookworm" but not "bookworm-security", which is another archive
    plain = sorted(
        {uri for uri, _, release in (line.partition(" ") for line in listed.stdout.splitlines()) if "-" not in release}
    )
    if not plain:
        raise Unavailable("apt of this machine knows no mirror of Debian")
    return plain[0]


def _unpack(target: Path) -> None:
    """Fetch what apt resolves for ``PACKAGES`` and unpack it; apt checks every signature and sum.

    A mirror in the middle of an update lists packages that it does not hold, for days. Those come from the next suite:
    nothing is configured here, and what is newer keeps the interfaces of what it replaces.
    """
    with tempfile.TemporaryDirectory(prefix="lparbench-apt-") as folder:
        scratch = Path(folder)
        env = {**os.environ, "LC_ALL": "C", "APT_CONFIG": str(_apt_config(scratch))}
        debs = scratch / "debs"
        debs.mkdir()
        updated = _apt("update", "-qq", env=env)
        resolved = _apt("install", "-y", "-qq", "--print-uris", *PACKAGES, env=env)
        wanted = {line.split()[1].partition("_")[0] for line in resolved.stdout.splitlines() if line.startswith("'")}
        if not wanted:
            reason = _last_line(updated.stderr or resolved.stderr)
            raise Unavailable(f"apt cannot resolve the packages of {SUITE} for {ARCHITECTURE}: {reason}")
        _apt("download", "-qq", *sorted(wanted), env=env, cwd=debs)
        missing = wanted - {deb.name.partition("_")[0] for deb in debs.iterdir()}
        if missing:
            later = _apt("download", "-qq", *(f"{name}/{LATER_SUITE}" for name in sorted(missing)), env=env, cwd=debs)
            if later.returncode != 0:
                raise RuntimeError(f"{SUITE} and {LATER_SUITE} lack what apt resolved: {_last_line(later.stderr)}")
        for name in ("bin", "lib", "lib64", "sbin"):  # links that base-files makes when it is configured
            (target / "usr" / name).mkdir(parents=True)
            (target / name).symlink_to(f"usr/{name}")
        excluded = [f"--exclude=./{name}/*" for name in UNNEEDED]
        for deb in sorted(debs.iterdir()):
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as contents:
                tar = ["tar", "-x", "-C", target, "--keep-directory-symlink", *excluded]
                unpacked = subprocess.run(tar, stdin=contents.stdout, capture_output=True, text=True, check=False)
            if unpacked.returncode or contents.returncode:
                raise RuntimeError(f"cannot unpack {deb.name}: {_last_line(unpacked.stderr)}")


def _apt_config(scratch: Path) -> Path:
    """A state of its own for apt below ``scratch``: this machine's sources, lists and packages are not touched."""
    for name in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (scratch / name).mkdir(parents=True)
    (scratch / "status").touch()
    mirror = _mirror()
    sources = (f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in (SUITE, LATER_SUITE))
    (scratch / "etc/sources.list").write_text("".join(sources))
    preferences = f"Package: *\nPin: release n={LATER_SUITE}\nPin-Priority: 50\n"  # only when it is asked for by name
    (scratch / "etc/preferences.d/later").write_text(preferences)
    settings = {
        "Dir::Etc": scratch / "etc",
        "Dir::State": scratch / "state",
        "Dir::State::status": scratch / "status",
        "Dir::Cache": scratch / "cache",
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::Check-Valid-Until": "false",  # a mirror that stands still is still signed
    }
    config = scratch / "apt.conf"
    config.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    return config


def _apt(*argv: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["apt-get", *argv], env=env, cwd=cwd, capture_output=True, text=True, check=False)


def _private_mounts() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Unavailable(f"a private mount namespace is not permitted: {os.strerror(ctypes.get_errno())}")
    _mount("--make-rprivate", "/")


def _mount(*argv: str | Path) -> None:
    done = subprocess.run(["mount", *map(str, argv)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(_last_line(done.stderr))


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


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return (errors or lines or ["no message"])[-1]
