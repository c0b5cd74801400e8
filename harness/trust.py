"""Files that name code: a workload's ``module:Class``, in the file itself, in a baseline or in the design of a run.

Whoever uses such a file runs that code with his own rights. What this user's own commands wrote is known by its digest;
anything else is asked for, with digest and origin, and used when ``--trust`` says so.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from harness.content import user_cache
from harness.errors import InputError

_KNOWN = "trusted"  # digests of files, one per line, in the user's cache
_WRITABLE_BY_ALL = 0o002
_allowed = False


def allow(given: bool) -> None:
    """What this command's ``--trust`` says; it holds until it is said again."""
    global _allowed
    _allowed = given


def names_code(detector: str) -> bool:
    """Whether a detector is ``module:Class`` rather than a built-in one."""
    return ":" in detector


def remember(*files: Path) -> None:
    """Note that this user's own commands wrote these files; where that cannot be noted they are asked for."""
    store = _store()
    if store is None:
        return
    with contextlib.suppress(OSError):
        store.parent.mkdir(parents=True, exist_ok=True)
        if not is_known(*files):
            handle = os.open(store, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(handle, f"{_digest(files)}\n".encode("ascii"))
            finally:
                os.close(handle)


def is_known(*files: Path) -> bool:
    """Whether this user's own commands wrote files with this content."""
    store = _store()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return store is not None and _digest(files) in store.read_text(encoding="ascii").splitlines()
    return False


def require(code: Iterable[str], *files: Path) -> None:
    """See that code that files name may be run.

    Args:
        code: what they name, each as ``module:Class``; nothing is asked where they name none.
        files: the first names the code, or names the others.

    Raises:
        InputError: they come from elsewhere and ``--trust`` was not given.
    """
    named = sorted(set(code))
    if not named or _allowed or is_known(*files):
        return
    raise InputError(
        f"{files[0]} runs code with your rights: {', '.join(named)}. It was not written here by you"
        f" ({_origin(files[0])}; sha256 {_digest(files)}).",
        remedy="Look at what it names; when you trust it, give --trust.",
    )


def require_own(code: Iterable[str], file: Path) -> None:
    """See that code in a file that the user named may be run: nobody else may have written it.

    Raises:
        InputError: somebody else may, and ``--trust`` was not given.
    """
    try:
        status = file.stat()
    except OSError:
        return  # whoever reads it says so
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & _WRITABLE_BY_ALL:
        require(code, file)


def _store() -> Path | None:
    cache = user_cache()
    return None if cache is None else cache / _KNOWN


def _digest(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _origin(file: Path) -> str:
    status = file.stat()
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = f"user {status.st_uid}"
    changed = datetime.datetime.fromtimestamp(status.st_mtime, datetime.timezone.utc)
    return f"owner {owner}, mode {status.st_mode & 0o777:o}, changed {changed:%Y-%m-%d %H:%M} UTC"
