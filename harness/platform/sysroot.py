"""The one way to read ``/proc`` and ``/sys``: below a path prefix, so that a stored tree reads like a live machine."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

# Thousands of small files are read on a large machine: os functions on text paths, not pathlib objects.
# ruff: noqa: PTH110, PTH115, PTH208

_MAX_BYTES = 8 << 20  # the largest file read here, /proc/cpuinfo of 2,048 CPUs, is below 3 MB
_MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}\Z")
# O_NONBLOCK: a FIFO in a stored tree must not hang the probe.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class SysRoot:
    """Read access below a prefix.

    Symbolic links of a stored tree are resolved inside it, absolute ones included: nothing of the machine that
    reads the tree can leak into its facts. Names are relative to the prefix ("sys/devices/system/cpu/online").

    Args:
        path: ``/`` for the machine this runs on, or the top of a stored tree holding ``proc`` and ``sys``.
    """

    def __init__(self, path: str | Path = "/") -> None:
        self.path = Path(path)
        self.name = os.fspath(path)  # as its facts name it
        self.live = os.path.realpath(self.path) == "/"
        self._base = os.fspath(self.path).rstrip("/")
        self._flags = _FLAGS if self.live else _FLAGS | os.O_NOFOLLOW
        self._directories: dict[str, str | None] = {"": self._base}

    def __repr__(self) -> str:
        return f"SysRoot({os.fspath(self.path)!r})"

    def read_bytes(self, name: str) -> bytes | None:
        """Content of a file; ``None`` when it is absent, unreadable, or a directory."""
        head, _, tail = name.rpartition("/")
        directory = self._directory(head)
        if directory is None:
            return None
        try:
            descriptor = os.open(f"{directory}/{tail}", self._flags)
        except OSError as error:
            if error.errno != errno.ELOOP or self.live:
                return None
            path = self._resolve(name, _MAX_LINKS)
            return None if path is None else self._read(path)
        except ValueError:  # a NUL in the name
            return None
        return self._drain(descriptor, whole=name.startswith("sys/"))

    def read_text(self, name: str) -> str | None:
        """Content of a text file without surrounding blanks and NULs; ``None`` when absent or unreadable."""
        content = self.read_bytes(name)
        return None if content is None else content.decode("utf-8", "replace").strip(" \t\r\n\0")

    def read_int(self, name: str) -> int | None:
        """The whole content as a decimal integer; ``None`` when absent or anything else."""
        text = self.read_text(name)
        return int(text) if text is not None and _INTEGER.match(text) else None

    def list_dir(self, name: str) -> tuple[str, ...]:
        """Sorted names in a directory; empty when it is absent or unreadable."""
        directory = self._directory(name)
        if directory is None:
            return ()
        try:
            return tuple(sorted(os.listdir(directory or "/")))
        except (OSError, ValueError):
            return ()

    def numbered(self, name: str, prefix: str) -> tuple[int, ...]:
        """Sorted numbers N of the entries ``<prefix>N`` of a directory (``cpu17``, ``node252``, ``index3``)."""
        pattern = re.compile(re.escape(prefix) + r"([0-9]{1,6})\Z")
        return tuple(sorted(int(match[1]) for entry in self.list_dir(name) if (match := pattern.match(entry))))

    def exists(self, name: str) -> bool:
        """Whether the file or directory is there."""
        path = f"/{name}" if self.live else self._resolve(name, _MAX_LINKS)
        try:
            return path is not None and os.path.exists(path)
        except ValueError:
            return False

    def _read(self, path: str) -> bytes | None:
        try:
            return self._drain(os.open(path, self._flags), whole=False)
        except (OSError, ValueError):
            return None

    @staticmethod
    def _drain(descriptor: int, *, whole: bool) -> bytes | None:
        """Read to the end and close; ``whole``: one read gives all, as for sysfs, where procfs gives it in parts."""
        try:
            content = os.read(descriptor, 1 << 16)
            if whole and len(content) < 4096:
                return content
            parts = [content]
            size = len(content)
            while size < _MAX_BYTES and (content := os.read(descriptor, 1 << 16)):
                parts.append(content)
                size += len(content)
            return b"".join(parts)
        except OSError:
            return None  # sysfs attributes may open and then fail with EIO, EINVAL or ENXIO
        finally:
            os.close(descriptor)

    def _directory(self, name: str) -> str | None:
        """Path of a directory on the real file system, links resolved inside the prefix."""
        if name in self._directories:
            return self._directories[name]
        path = f"/{name}" if self.live else self._below_parent(name)
        self._directories[name] = path
        return path

    def _below_parent(self, name: str) -> str | None:
        """As :meth:`_resolve`, looking only at the last part where that is no link: parents are known already."""
        head, _, tail = name.rpartition("/")
        parent = self._directory(head)
        if parent is None or tail in ("", ".", ".."):
            return self._resolve(name, _MAX_LINKS)
        try:
            os.readlink(f"{parent}/{tail}")
        except OSError as error:
            return f"{parent}/{tail}" if error.errno == errno.EINVAL else None
        except ValueError:
            return None
        return self._resolve(name, _MAX_LINKS)

    def _resolve(self, name: str, links: int) -> str | None:
        """Real path of ``name`` below the prefix; ``None`` when a part is missing or the links do not end."""
        parts = [part for part in reversed(name.split("/")) if part not in ("", ".")]
        inside: list[str] = []  # resolved components below the prefix
        while parts:
            part = parts.pop()
            if part == "..":
                del inside[-1:]
                continue
            candidate = "/".join((self._base, *inside, part))
            try:
                target = os.readlink(candidate)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: it is there and is not a link
                    return None
                inside.append(part)
                continue
            except ValueError:
                return None
            if links == 0:
                return None
            links -= 1
            if target.startswith("/"):
                inside.clear()
            parts.extend(step for step in reversed(target.split("/")) if step not in ("", "."))
        return "/".join((self._base, *inside))
