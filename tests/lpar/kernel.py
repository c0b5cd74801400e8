"""A small pseries kernel with what distributions leave out, built by ``make lpar-kernel`` and kept as .lpar/kernel.

It has /proc/powerpc/lparcfg and pages of 64 KiB. Building it takes minutes of CPU, so that ``make test-lpar`` boots it
where it is and says where it is not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from guest import OWN_KERNEL
from support.debian import archive, cached, install_host_tools, is_cached, native_architecture

HERE = Path(__file__).resolve().parent
SOURCES = ("linux-source-6.12", "linux-source-6.1")  # the first that the mirror holds
COMPILER = "powerpc64le-linux-gnu-gcc"
_CONFIG = HERE / "kernel.config"
_FILE = f"vmlinux-{OWN_KERNEL}"
_RECIPE = ((_CONFIG,), *SOURCES)
_TOOLS = {
    COMPILER: ("gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"),
    **{name: (name,) for name in ("bc", "bison", "flex", "gcc", "make")},
    "xz": ("xz-utils",),
}
# What no kernel for Power needs of the source, to save time and space; Kconfig reads the rest.
_UNNEEDED = ("tools/testing", "arch/arm/boot", "arch/arm64/boot", "arch/mips/boot")


def lparcfg_kernel(cache: Path) -> Path | None:
    """The kernel as an ELF file; None where it is not there, or of other settings."""
    folder = cache / "kernel"
    return folder / _FILE if is_cached(folder, *_RECIPE) else None


def _build(target: Path) -> None:
    install_host_tools(_TOOLS)
    with tempfile.TemporaryDirectory(prefix="lparbench-kernel-", dir=target.parent) as scratch:
        source = Path(scratch) / "linux"
        with archive(native_architecture()) as packages:
            packages.unpack_source(Path(scratch), SOURCES)
        (tarball,) = Path(scratch).glob("usr/src/*.tar.xz")
        source.mkdir()
        left_out = [f"--exclude=*/{name}/*" for name in _UNNEEDED]
        _run("tar", "-x", "-f", tarball, "-C", source, "--strip-components=1", *left_out)
        make = ("make", "-s", f"-j{len(os.sched_getaffinity(0))}", "ARCH=powerpc")
        make = (*make, f"CROSS_COMPILE={COMPILER.removesuffix('gcc')}")
        _run(*make, f"KCONFIG_ALLCONFIG={_CONFIG}", "allnoconfig", cwd=source)
        chosen = (source / ".config").read_text().splitlines()
        wanted = [line for line in _CONFIG.read_text().splitlines() if line.startswith("CONFIG_")]
        if refused := sorted(set(wanted) - set(chosen)):
            raise RuntimeError(f"the source has no such settings: {', '.join(refused)}")
        _run(*make, "vmlinux", cwd=source)
        _run(COMPILER.replace("gcc", "strip"), "-o", target / _FILE, source / "vmlinux")


def _run(*argv: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run([str(word) for word in argv], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    with cached(HERE.parents[1] / ".lpar" / "kernel", *_RECIPE, build=_build) as folder:
        print(folder / _FILE)
