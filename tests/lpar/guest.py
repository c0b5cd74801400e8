"""QEMU and the guest's root, from packages. A change of this file builds them anew."""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from support.debian import archive, native_architecture

HERE = Path(__file__).resolve().parent
EMULATOR = ("qemu-system-ppc", "qemu-system-data", "python3")  # the guest's version, which compiles modules for it
GUEST = (
    *("coreutils", "dash", "busybox-static", "kmod", "util-linux", "numactl", "hwloc-nox", "powerpc-utils"),
    *(
        "python3",
        "python3-cpuinfo",
        "python3-jinja2",
        "python3-jsonschema",
        "python3-numpy",
        "python3-pandas",
        "python3-psutil",
        "python3-sklearn",
    ),
    *("python3-rich", "python3-typer"),
)
KERNELS = ("powerpc64le", "powerpc64le-64k")  # of 4 KiB pages and of 64 KiB
MODULES = (  # in the order in which they are loaded
    *("fs/fscache/fscache", "fs/netfs/netfs", "net/9p/9pnet", "net/9p/9pnet_virtio", "fs/9p/9p"),
    *("fs/overlayfs/overlay", "drivers/char/hw_random/rng-core", "drivers/char/hw_random/virtio-rng"),
)


_NOT_IMPORTED = r"/(tests?|idlelib|pydoc_data|ensurepip)/"


def native(tools: Path, program: str) -> list[str]:
    """The command of a program in an unpacked root of this machine's kind, with that root's loader and libraries."""
    libraries = next(tools.glob("usr/lib/*-linux-gnu"))
    path = f"{libraries}:{libraries}/pulseaudio"
    return [str(next(libraries.glob("ld*.so.*"))), "--library-path", path, str(tools / "usr/bin" / program)]


def compile_modules(tools: Path, root: Path, *folders: str, seen_as: str = "/") -> None:
    """Compile Python's modules below ``root``, which the guest sees as ``seen_as``: there it would take minutes.

    What does not compile is left to whoever imports it.
    """
    python = next((tools / "usr/bin").glob("python3.[0-9]*[0-9]")).name
    options = ["-q", "-x", _NOT_IMPORTED, "-s", str(root), "-p", seen_as]
    argv = [*native(tools, python), "-I", "-m", "compileall", *options, *(str(root / name) for name in folders)]
    subprocess.run(argv, capture_output=True, check=False)


def build_emulator(target: Path) -> None:
    with archive(native_architecture()) as packages:
        packages.unpack(target, EMULATOR)


def build_guest(target: Path, tools: Path) -> None:
    with archive("ppc64el") as packages:
        packages.unpack(target, GUEST)
        for flavour in KERNELS:
            packages.unpack_kernel(target, flavour, MODULES)
    for flavour in KERNELS:
        _write_initrd(target, flavour, _modules(target, flavour))
    compile_modules(tools, target, *(str(path.relative_to(target)) for path in target.glob("usr/lib/python3*")))


def _modules(root: Path, flavour: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents, in the order in which they are loaded."""
    kernel = next((root / "usr/lib/modules").glob(f"*[0-9]-{flavour}"))
    for number, name in enumerate(MODULES):
        for packed in kernel.glob(f"kernel/{name}.ko*"):
            content = packed.read_bytes()
            yield f"{number:02}-{Path(name).name}", lzma.decompress(content) if packed.suffix == ".xz" else content


def _write_initrd(root: Path, flavour: str, modules: Iterable[tuple[str, bytes]]) -> None:
    """A first root in memory with busybox, the modules that reach the shared one, and ``init.sh``."""
    members = [(name, 0o40755, b"") for name in ("bin", "dev", "proc", "sys", "modules", "lower", "upper", "new")]
    members.append(("bin/busybox", 0o100755, (root / "usr/bin/busybox").read_bytes()))
    members.append(("init", 0o100755, (HERE / "init.sh").read_bytes()))
    members += [(f"modules/{name}", 0o100644, content) for name, content in modules]
    archived = b"".join(_member(*member) for member in [*members, ("TRAILER!!!", 0, b"")])
    (root / f"initrd-{flavour}").write_bytes(archived)


def _member(name: str, mode: int, content: bytes) -> bytes:
    """One entry of a cpio archive (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + "".join(f"{number:08x}" for number in fields).encode() + name.encode() + b"\0"
    return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, content))
