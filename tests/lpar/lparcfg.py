"""Linux's lparcfg for the guest's kernel of 64 KiB pages, which Debian builds without it, as a module.

Compiled in seconds from Debian's source against the headers of that very kernel; kept as .lpar/lparcfg.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.debian import RECIPE, Archive, archive, cached, install_host_tools

MODULE = "lparcfg.ko"
_SHIM = Path(__file__).with_suffix(".c")
_SOURCES = ("linux-source-6.12", "linux-source-6.1")  # the first that the mirror holds
_ROOM = "arch/powerpc/platforms/pseries"
_FILES = ("lparcfg.c", "pseries.h", "vas.h")
_COMPILER, _LINKER = "powerpc64le-linux-gnu-gcc", "powerpc64le-linux-gnu-ld"
_TOOLS = {_COMPILER: ("gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"), "xz": ("xz-utils",)}
# Of the kernel's own build, those that decide what is called how.
_ABI = (
    *("-O2", "-std=gnu11", "-fshort-wchar", "-funsigned-char", "-fno-common", "-fno-PIE", "-fno-strict-aliasing"),
    *("-fno-asynchronous-unwind-tables", "-fno-stack-protector", "-fno-delete-null-pointer-checks"),
    *("-m64", "-mlittle-endian", "-mabi=elfv2", "-mcmodel=medium", "-mcpu=power8", "-mtraceback=no"),
    *("-msoft-float", "-mno-altivec", "-mno-vsx", "-mno-pointers-to-nested-functions"),
)


@contextmanager
def lparcfg_module(cache: Path, release: str) -> Iterator[Path]:
    """The module for a kernel of Debian, built unless it is there.

    Args:
        cache: folder of what is kept.
        release: of the kernel, "6.12.107+deb13-powerpc64le-64k".

    Raises:
        Unavailable: there is no compiler, and it cannot be installed.
        RuntimeError: the mirror does not hold the kernel's headers or source, or they do not compile.
    """
    sources = (RECIPE, Path(__file__), _SHIM)
    with cached(cache / "lparcfg", sources, release, build=lambda target: _build(target, release)) as folder:
        yield folder / MODULE


def _build(target: Path, release: str) -> None:
    install_host_tools(_TOOLS)
    with tempfile.TemporaryDirectory(prefix="lparbench-lparcfg-") as folder, archive("ppc64el") as packages:
        scratch = Path(folder)
        _fetch(packages, scratch, release)
        own, common = (scratch / "usr/src" / name for name in _headers(release))
        places = [
            *(f"{common}/arch/powerpc/include", f"{own}/arch/powerpc/include/generated"),
            *(f"{common}/include", f"{own}/include"),
            *(f"{common}/arch/powerpc/include/uapi", f"{own}/arch/powerpc/include/generated/uapi"),
            *(f"{common}/include/uapi", f"{own}/include/generated/uapi", f"{scratch}/{_ROOM}"),
        ]
        includes = [f"-I{place}" for place in places]
        for name in ("compiler-version", "kconfig", "compiler_types"):
            includes += ["-include", f"{common}/include/linux/{name}.h"]
        names = [f'-DKBUILD_{what}="lparcfg"' for what in ("BASENAME", "MODNAME", "MODFILE")]
        names += ["-D__KBUILD_MODNAME=kmod_lparcfg", f'-DLPARCFG_SOURCE="{scratch / _ROOM / _FILES[0]}"']
        compiled = scratch / "lparcfg.o"
        defined = ("-D__KERNEL__", "-DMODULE", "-DCC_USING_MPROFILE_KERNEL", *names)
        _run(_COMPILER, "-nostdinc", "-w", *includes, *defined, *_ABI, "-c", _SHIM, "-o", compiled)
        script = own / "arch/powerpc/module.lds"
        _run(_LINKER, "-r", "-m", "elf64lppc", "-T", script, "-o", target / MODULE, compiled)


def _headers(release: str) -> tuple[str, str]:
    """Packages of a kernel's headers: its own, and those of all of its version."""
    version, _, _ = release.partition("-")
    return f"linux-headers-{release}", f"linux-headers-{version}-common"


def _fetch(packages: Archive, scratch: Path, release: str) -> None:
    for name in _headers(release):
        packages.unpack_first(scratch, (name,))
    packages.unpack_first(scratch, _SOURCES)
    (tarball,) = scratch.glob("usr/src/*.tar.xz")
    members = [f"{tarball.name.removesuffix('.tar.xz')}/{_ROOM}/{name}" for name in _FILES]
    # The rest of the tarball is not read once they are there.
    _run("tar", "-x", "--occurrence=1", "-C", scratch, "-f", tarball, "--strip-components=1", *members)


def _run(*argv: str | Path) -> None:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
