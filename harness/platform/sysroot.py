"""The one way to read ``/proc`` and ``/sys``: below a path prefix, so that a stored tree is read like a live machine."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

_MAX_BYTES = 8 << 20  # the largest file read here, /proc/cpuinfo of 2,048 CPUs, is below 3 MB
_MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")


class SysRoot:
    """Read access below a prefix.

    Symbolic links of a stored tree are resolved inside it, absolute ones included: nothing of the machine that
    reads the tree can leak into its facts. Paths are relative to the prefix, without a leading slash.

    Args:
        path: ``/`` for the machine this runs on, or the top of a stored tree holding ``proc`` and ``sys``.
    """

    def __init__(self, path: str | Path = "/") -> None:
        self.path = Path(path)
        self.live = os.path.realpath(self.path) == "/"
        self._base = os.fspath(self.path).rstrip("/")
        self._directories: dict[str, str | None] = {"": ""}

    def __repr__(self) -> str:
        return f"SysRoot({os.fspath(self.path)!r})"

    def read_bytes(self, name: str) -> bytes | None:
        """Content of a regular file; ``None`` when it is absent, unreadable, or not a regular file."""
        path = self._locate(name)
        if path is None:
            return None
        try:
            # O_NONBLOCK: a FIFO in a stored tree must not hang the probe.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            parts: list[bytes] = []
            size = 0
            while size < _MAX_BYTES:
                part = os.read(descriptor, 1 << 16)
                if not part:
                    break
                parts.append(part)
                size += len(part)
            return b"".join(parts)
        except OSError:
            return None  # sysfs attributes may open and then fail with EIO or EINVAL
        finally:
            os.close(descriptor)

    def read_text(self, name: str) -> str | None:
        """Content of a text file without surrounding blanks and NULs; ``None`` when absent or unreadable."""
        content = self.read_bytes(name)
        return None if content is None else content.decode("utf-8", "replace").strip(" \t\r\n\0")

    def read_int(self, name: str, base: int = 10) -> int | None:
        """The whole content as an integer; ``None`` when absent or not exactly one integer."""
        text = self.read_text(name)
        if text is None:
            return None
        if base == 10:
            return int(text) if _INTEGER.match(text) and len(text) < 20 else None
        try:
            return int(text, base)
        except ValueError:
            return None

    def list_dir(self, name: str) -> tuple[str, ...]:
        """Sorted names in a directory; empty when it is absent or unreadable."""
        path = self._locate(name)
        if path is None:
            return ()
        try:
            return tuple(sorted(os.listdir(path)))
        except (OSError, ValueError):
            return ()

    def numbered(self, name: str, prefix: str) -> tuple[int, ...]:
        """Sorted numbers N of the entries ``<prefix>N`` of a directory (``cpu17``, ``node252``, ``index3``)."""
        entries = self.list_dir(name)
        cut = len(prefix)
        found = {entry[cut:] for entry in entries if entry.startswith(prefix)}
        return tuple(sorted(int(digits) for digits in found if digits.isascii() and digits.isdigit()))

    def exists(self, name: str) -> bool:
        """Whether the file or directory is there."""
        path = self._locate(name)
        return path is not None and os.path.exists(path)

    def _locate(self, name: str) -> str | None:
        """Path to open for ``name``, links resolved inside the prefix; ``None`` when it cannot be there."""
        if self.live:
            return "/" + name
        relative = self._resolve(name.strip("/"), _MAX_LINKS)
        return None if relative is None else f"{self._base}/{relative}"

    def _resolve(self, name: str, links: int) -> str | None:
        if name in self._directories:
            return self._directories[name]
        head, _, tail = name.rpartition("/")
        parent = self._resolve_directory(head, links)
        if parent is None:
            return None
        if tail == "..":
            return parent.rpartition("/")[0]
        if tail in ("", "."):
            return parent
        joined = f"{parent}/{tail}" if parent else tail
        try:
            target = os.readlink(f"{self._base}/{joined}")
        except OSError as error:
            return joined if error.errno == errno.EINVAL else None  # EINVAL: there, and not a link
        except ValueError:
            return None
        if links == 0:
            return None
        absolute = target if target.startswith("/") else f"{parent}/{target}"
        return self._resolve(absolute.strip("/"), links - 1)

    def _resolve_directory(self, name: str, links: int) -> str | None:
        if name not in self._directories:
            self._directories[name] = self._resolve(name, links)
        return self._directories[name]
