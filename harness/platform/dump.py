"""A machine as people send it: a stored tree, an archive of sos or supportconfig, or the output of a few commands."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import tarfile
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from harness.errors import InputError
from harness.platform import pasted
from harness.platform.sysroot import SysRoot
from harness.scratch import scratch

COMMANDS = "lscpu, numactl -H, ppc64_cpu --info, lparstat -i, /proc/cpuinfo"
_KERNEL = ("proc", "sys")
_SOS = "sos_commands"
_WANTED = re.compile(r"lscpu|numactl|ppc64_cpu|lparstat")  # of sos, whose file names are command lines
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_MOST_BYTES, _MOST_FILE, _MOST_MEMBERS = 256 << 20, 16 << 20, 500_000
# supportconfig: "#==[ Command ]====#" or "#==[ Configuration File ]===#", then "# " and what follows is the output of
_SECTION = re.compile(r"^#==\[ [^\]]+ \]=+#\n# ([^\n]*)\n", re.MULTILINE)


class _Unpacked(SysRoot):
    """A tree made for this process, gone with it."""

    def __init__(self, top: Path, name: str) -> None:
        super().__init__(top)
        self.name = name


def opened(path: Path) -> SysRoot:
    """The machine that a directory or a file tells of.

    Args:
        path: ``/``; a directory with ``proc`` or ``sys``, or one that holds such a directory, or texts; an archive of
            one (tar, also .gz, .bz2, .xz); or a text with the output of one or more of ``COMMANDS``.

    Raises:
        InputError: it is not there, damaged, or tells of no machine.
    """
    if path.is_dir():
        top = _top(path)
        if top is not None and any((top / name).is_dir() for name in _KERNEL) and not (top / _SOS).is_dir():
            return SysRoot(top)
    elif not path.is_file():
        raise InputError(f"{path}: no such file or directory.", remedy=_remedy())
    with ExitStack() as stack:
        unpacked = stack.enter_context(scratch("tree"))
        if path.is_dir():
            _copy(top or path, unpacked)
        elif path.open("rb").read(len(_ZSTANDARD)) == _ZSTANDARD:
            raise InputError(f"{path}: compressed with zstd.", remedy=f"Unpack it: zstd -d {path}")
        elif tarfile.is_tarfile(path):
            _unpack(path, unpacked)
        else:
            shutil.copyfile(path, unpacked / "pasted.txt")
        inner = _top(unpacked) or unpacked
        files, kinds = _from_texts(inner)
        for name, content in files.items():
            _add(inner, name, content)
        if not any((inner / name).is_dir() for name in _KERNEL):
            raise _no_machine(path, "describes no machine")
        root = _Unpacked(inner, f"{path} ({', '.join(kinds)})" if kinds else str(path))
        weakref.finalize(root, stack.pop_all().close)
        return root
    raise AssertionError("an exit stack does not swallow exceptions")


def _no_machine(path: Path, problem: str) -> InputError:
    return InputError(
        f"{path}: {problem}: not a directory with proc or sys in it, an archive of one, or a text.", remedy=_remedy()
    )


def _remedy() -> str:
    return (
        "Expected a directory with proc or sys, a sosreport or supportconfig (folder or tar, also .gz, .bz2, .xz), "
        f"or a text with the output of {COMMANDS} (LC_ALL=C)."
    )


def _top(folder: Path) -> Path | None:
    """The directory that stands for ``/``: this one, or the first below it, at most two deep."""
    for pattern in ("", "*", "*/*"):
        for directory in sorted(folder.glob(pattern)) if pattern else [folder]:
            if any((directory / name).is_dir() for name in (*_KERNEL, _SOS)):
                return directory
    return None


def _from_texts(top: Path) -> tuple[pasted.Files, tuple[str, ...]]:
    """What the texts of a dump tell: commands that sos ran, sections of supportconfig, pasted output."""
    files: pasted.Files = {}
    kinds: dict[str, None] = {}
    for path in _texts(top):
        text = path.read_bytes()[:_MOST_FILE].decode("utf-8", "replace").replace("\r", "")
        for name, content in _sections(text):
            if name is not None:
                files.setdefault(name, content)
                kinds.setdefault(f"/{name}")
                continue
            more, recognised = pasted.files_of(content)
            for file, line in more.items():
                files.setdefault(file, line)
            kinds |= dict.fromkeys(recognised)
    return files, tuple(kinds)


def _texts(top: Path) -> Iterator[Path]:
    sos = (path for path in sorted((top / _SOS).glob("*/*")) if _WANTED.search(path.name))
    own = sorted(top.iterdir())
    bare = not any(path.is_file() or path.name in (*_KERNEL, _SOS) for path in own)
    nested = sorted(top.glob("*/*")) if bare else []
    yield from (path for path in (*sos, *own, *nested) if path.is_file() and not path.is_symlink())


def _sections(text: str) -> Iterator[tuple[str | None, str]]:
    """Of supportconfig: a file of the kernel with its name, or the output of a command; of other texts, all of it."""
    parts = _SECTION.split(text)
    yield None, parts[0]
    for head, content in zip(parts[1::2], parts[2::2], strict=True):
        name = head.split()[-1] if head.split() else ""
        is_file = re.match(r"/(proc|sys)/[\w./:-]+$", name) is not None and ".." not in name
        yield (name[1:] if is_file and content.strip() else None), content


def _add(top: Path, name: str, content: str) -> None:
    """Write a file unless the dump has it; never through a link, which may lead anywhere."""
    path = top / name
    if os.path.lexists(path) or any(parent.is_symlink() for parent in path.relative_to(top).parents):
        return
    parents = [top / parent for parent in path.relative_to(top).parents]
    if any(parent.is_symlink() or parent.is_file() for parent in parents):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    for name in (*_KERNEL, _SOS):
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, symlinks=True, ignore_dangling_symlinks=True)
    for path in _texts(source) if not (source / _SOS).is_dir() else ():
        if path.stat().st_size <= _MOST_FILE:
            shutil.copyfile(path, target / path.name)


def _unpack(path: Path, target: Path) -> None:
    """Regular files first, links last, so that nothing is ever written through one; what is not needed stays out."""
    try:
        with tarfile.open(path) as archive:
            links = _unpack_files(archive, _members(archive, path), target)
            _require_end(archive)
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        raise InputError(f"{path}: not a whole archive: {error}.", remedy=_remedy()) from error
    for name, to in links:
        link = target / name
        if not os.path.lexists(link) and link.parent.is_dir() and not link.parent.is_symlink():
            link.symlink_to(to)


def _require_end(archive: tarfile.TarFile) -> None:
    """An archive ends with blocks of zeros; one cut between two members has none, and tarfile does not mind."""
    if archive.fileobj is not None:
        archive.fileobj.seek(archive.offset)
        if not archive.fileobj.read(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut short")


def _members(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    size = 0
    for number, member in enumerate(archive):
        name = PurePosixPath(member.name)
        kernel = set(name.parts[:3]) & {*_KERNEL, _SOS}
        if name.is_absolute() or ".." in name.parts or not (kernel or name.suffix == ".txt" or len(name.parts) < 3):
            continue
        size += member.size if member.size <= _MOST_FILE else 0
        if size > _MOST_BYTES or number > _MOST_MEMBERS:
            raise InputError(f"{path}: larger than a dump of a machine is.", remedy="Unpack it, and give the folder.")
        yield member, name


def _unpack_files(
    archive: tarfile.TarFile, members: Iterable[tuple[tarfile.TarInfo, PurePosixPath]], target: Path
) -> list[tuple[PurePosixPath, str]]:
    links = []
    for member, name in members:
        if member.issym():
            links.append((name, member.linkname))
        elif member.isdir():
            (target / name).mkdir(parents=True, exist_ok=True)
        elif member.isreg() and member.size <= _MOST_FILE:
            content = archive.extractfile(member)
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content.read() if content else b"")
    return links
