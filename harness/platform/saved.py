"""A machine saved as a tree: every file that was read of it, so that a probe of the tree tells what it told here."""

from __future__ import annotations

import io
import platform
import re
import tarfile
from pathlib import PurePosixPath

from harness.platform.lpar import hashed_serial
from harness.platform.sysroot import SysRoot

_SERIAL = re.compile(rb"^(serial_number=)(.*)$", re.MULTILINE)


class RecordingRoot(SysRoot):
    """Reads as its base does, and keeps what it read: content by name, and what directories hold."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.files: dict[str, bytes] = {}
        self.directories: set[str] = set()
        self._there: set[str] = set()

    def read_bytes(self, name: str) -> bytes | None:
        """See ``SysRoot.read_bytes``."""
        content = super().read_bytes(name)
        if content is not None:
            self.files[name] = content
        return content

    def list_dir(self, name: str) -> tuple[str, ...]:
        """See ``SysRoot.list_dir``."""
        entries = super().list_dir(name)
        if entries:
            self.directories.add(name)
            if name != "proc":  # of whose entries most are processes
                self._there.update(f"{name}/{entry}" for entry in entries)
        return entries

    def exists(self, name: str) -> bool:
        """See ``SysRoot.exists``."""
        there = super().exists(name)
        if there:
            self._there.add(name)
        return there

    def _note_architecture(self) -> None:
        """What a live machine is asked for by ``uname``, and a tree tells by files."""
        self.read_bytes("proc/sys/kernel/osrelease")
        if self.read_bytes("proc/sys/kernel/arch") is None and self.live:  # since Linux 6.1
            self.files["proc/sys/kernel/arch"] = f"{platform.machine()}\n".encode()

    def archive(self, *, serial: bool = False) -> bytes:
        """A compressed tar archive of what was read; with a digest in place of the serial number unless ``serial``."""
        self._note_architecture()
        for name in sorted(self._there - self.files.keys() - self.directories):
            if not (self.path / name).is_file():
                self.directories.add(name)
            else:
                self.files[name] = b""  # it is there, and nobody asked what it says
        parents = {str(parent) for name in (*self.files, *self.directories) for parent in PurePosixPath(name).parents}
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w:gz") as archive:
            for name in sorted({*self.directories, *parents} - {"."} - self.files.keys()):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            for name, content in sorted(self.files.items()):
                kept = content if serial else _SERIAL.sub(_hashed, content)
                entry = tarfile.TarInfo(name)
                entry.size = len(kept)
                archive.addfile(entry, io.BytesIO(kept))
        return sink.getvalue()


def _hashed(match: re.Match[bytes]) -> bytes:
    return match[1] + hashed_serial(match[2].decode("utf-8", "replace").strip()).encode()
