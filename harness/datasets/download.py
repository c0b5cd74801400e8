"""Downloads a published file: resumable, checked against its pinned sha256, in place all at once or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from harness.datasets.catalogue import DataFile, Download
from harness.datasets.store import BLOCK_BYTES
from harness.datasets.watched import LEAST_BYTES, watched
from harness.errors import CheckFailedError, InputError, LparbenchError
from harness.scratch import aside, folder_made

Progress = Callable[[int, int], None]  # bytes so far, bytes in all

_TIMEOUT_S = 30.0
_SLOWEST_BYTES_PER_S = 1 << 13  # of a whole download
_PATIENCE_S = 600.0  # of a whole download, beyond its time at the slowest rate
_FRUITLESS_ATTEMPTS = 3  # connections in a row that bring too little before giving up
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PAUSE_S = 0.5  # before the second attempt; each further one waits that much longer
_READ_BYTES = 1 << 16


def fetch(file: DataFile, folder: Path, *, progress: Progress, mirror: str | None = None) -> Path:
    """Download ``file`` into ``folder``; a part left by an earlier attempt is continued.

    Args:
        file: a file with a pinned download.
        folder: made when missing.
        progress: called after each block.
        mirror: base address that takes the place of the publisher's: ``<mirror>/<data set>/<file name>``.

    Returns:
        Where the file is now.

    Raises:
        InputError: no pinned download; the address cannot be reached.
        LparbenchError: no room on the disk (the part is kept).
        CheckFailedError: the content has another sha256 than the pinned one (it is removed).
    """
    download = file.download
    if download is None:
        raise InputError(f"{file.name} has no pinned address.")
    url = _address(download, folder.name, mirror)
    target = folder / (download.saved_as or unquote(PurePosixPath(urlsplit(url).path).name))
    part = target.with_name(target.name + ".part")
    with _disk_errors(part, kept=True), folder_made(folder):
        with part.open("ab", buffering=0) as output:
            try:
                fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{part} is being written by another process.") from None
            try:
                _complete(url, part, output, download, progress)
            except BaseException:
                if not _size(output):  # nothing that could be continued
                    part.unlink()
                    _validator_path(part).unlink(missing_ok=True)
                raise
        _check(part, download, url)
        if download.member is None:
            part.replace(target)
        else:
            target = unpack(part, download.member, folder)
            part.unlink()
        _validator_path(part).unlink(missing_ok=True)
        _sync_directory(folder)
    return target


def put(source: Path, target: Path) -> None:
    """Copy a file into place: written aside, synced, renamed.

    Raises:
        InputError: ``source`` cannot be read, or there is no room (nothing is left behind).
    """
    try:
        reader = source.open("rb")
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}.") from None
    with reader:
        _write_whole(reader, target)


def unpack(archive: Path, member: str, folder: Path) -> Path:
    """Write one file of a checked tar archive into ``folder``.

    Raises:
        InputError: there is no room (nothing is left behind).
        CheckFailedError: the archive does not hold it.
    """
    target = folder / PurePosixPath(member).name
    with tarfile.open(archive) as opened:
        try:
            source = opened.extractfile(member)
        except KeyError:
            source = None
        if source is None:
            raise CheckFailedError(f"{archive} does not hold {member}.")
        with source:
            _write_whole(source, target)
    return target


def _write_whole(reader: IO[bytes], target: Path) -> None:
    with _disk_errors(target, kept=False), folder_made(target.parent):
        with aside(target) as hidden:
            with hidden.open("wb") as writer:
                shutil.copyfileobj(reader, writer, BLOCK_BYTES)
                writer.flush()
                os.fsync(writer.fileno())
            hidden.replace(target)
        _sync_directory(target.parent)


def _complete(url: str, part: Path, output: FileIO, download: Download, progress: Progress) -> None:
    """Ask for what is missing until it is there or nothing comes any more."""
    fruitless = 0
    limit_s = _PATIENCE_S + download.size / _SLOWEST_BYTES_PER_S
    ends = time.monotonic() + limit_s
    while (have := _size(output)) < download.size:
        reason, final = "the server closed the connection early", False
        try:
            _receive(url, part, output, download, progress, ends)
        except urllib.error.HTTPError as error:
            reason, final = f"the server answers {error.code} {error.reason}", error.code < 500
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        arrived = _size(output)
        fruitless = 0 if arrived - have >= LEAST_BYTES else fruitless + 1
        if time.monotonic() > ends:
            reason, final = f"not complete after {limit_s:,.0f} s", True
        if arrived < download.size and (final or fruitless >= _FRUITLESS_ATTEMPTS):
            raise InputError(
                f"{url} cannot be downloaded: {reason} ({arrived:,} of {download.size:,} bytes are here).",
                remedy="The same command continues where this one stopped; without a network: `lparbench data import`.",
            )
        if fruitless:
            time.sleep(_PAUSE_S * fruitless)


def _receive(url: str, part: Path, output: FileIO, download: Download, progress: Progress, ends: float) -> None:
    have = _size(output)
    headers = {"User-Agent": "lparbench", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - https or a mirror; see _address
    validator = _validator(part)
    if have and validator:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    with watched(request, _TIMEOUT_S, ends) as (response, watch):
        _refuse_other_size(response, url, download)
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            output.truncate(0)  # the server sends the whole file: it knows no ranges, or the file has changed
            have = 0
        _remember_validator(part, response.headers)
        try:
            # read1 hands over what has arrived, so that an interruption loses nothing.
            while (
                watch.goes_on(have)
                and have < download.size
                and (block := response.read1(min(_READ_BYTES, download.size - have)))
            ):
                have += len(block)
                while block:  # an unbuffered write may take only a part of it
                    block = block[output.write(block) :]
                progress(have, download.size)
        finally:
            os.fsync(output.fileno())


def _refuse_other_size(response: http.client.HTTPResponse, url: str, download: Download) -> None:
    ranged = response.headers.get("Content-Range", "").rpartition("/")[2]
    announced = ranged if response.status == 206 else response.headers.get("Content-Length", "")
    digits = announced.lstrip("0")[:20]  # more are as wrong, and Python does not read thousands of them
    if announced.isdecimal() and announced.isascii() and digits != str(download.size):
        raise CheckFailedError(
            f"{url} gives another file than the published one: {int(digits or 0):,} bytes, "
            f"{download.size:,} expected. It was not downloaded."
        )


def _size(output: FileIO) -> int:
    return os.fstat(output.fileno()).st_size


def _check(part: Path, download: Download, url: str) -> None:
    seen = hashlib.sha256()
    with part.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            seen.update(block)
    if seen.hexdigest() != download.sha256:
        part.unlink()
        _validator_path(part).unlink(missing_ok=True)
        raise CheckFailedError(
            f"{url} gives another file than the published one: sha256 {seen.hexdigest()}, "
            f"{download.sha256} expected. What came was removed.",
            remedy="The publisher changed the file or something in between did; try again or import a copy you trust.",
        )


@contextmanager
def _disk_errors(path: Path, *, kept: bool) -> Iterator[None]:
    """Turn a full disk, or one that may not be written, into one clear error."""
    try:
        yield
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        raise
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise LparbenchError(f"{path} cannot be written: {error.strerror or error}.") from None
        here = path.stat().st_size if kept and path.exists() else 0
        raise LparbenchError(
            f"No room for {path}: {error.strerror}.",
            remedy=f"The {here:,} bytes that fitted are kept; make room, and the same command continues from there."
            if here
            else "Nothing was left behind; make room and give the same command again.",
        ) from None


def _address(download: Download, dataset: str, mirror: str | None) -> str:
    if mirror is None:
        return download.url
    try:
        address = urlsplit(mirror)
        usable = address.scheme in ("https", "http") and bool(address.hostname) and address.port != 0
    except ValueError:  # also a port that is no number
        usable = False
    if not usable:
        raise InputError(f"Mirror {mirror!r}: an http or https address expected.")
    return f"{mirror.rstrip('/')}/{dataset}/{download.saved_as or PurePosixPath(urlsplit(download.url).path).name}"


def _validator_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _validator(part: Path) -> str | None:
    """What If-Range takes: the strong entity tag, else the date, of the answer that began the part."""
    try:
        remembered = json.loads(_validator_path(part).read_text())
        return str(remembered["validator"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember_validator(part: Path, headers: Any) -> None:
    tag = headers.get("ETag")
    validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    if validator:
        _validator_path(part).write_text(json.dumps({"validator": validator}))
    else:
        _validator_path(part).unlink(missing_ok=True)


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
