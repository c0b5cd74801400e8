"""Where the content folders (kernels, workloads, sysconfig, results, reports) are: the one place that knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

ContentFolder = Literal["kernels", "workloads", "sysconfig", "results", "reports"]

_PACKAGE = Path(__file__).resolve().parent


def content_dir(folder: ContentFolder) -> Path:
    """Directory of a content folder: inside the package when installed from a wheel, else in the checkout.

    Raises:
        FileNotFoundError: the installation is incomplete (a packaging defect, not a user error).
    """
    for candidate in (_PACKAGE / "_content" / folder, _PACKAGE.parent / folder):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"content folder {folder!r} is missing next to {_PACKAGE}")


def user_cache() -> Path | None:
    """``$XDG_CACHE_HOME/lparbench``, by default below ``~/.cache``; None for a user without a home directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "lparbench"
    except RuntimeError:  # neither $HOME nor an entry in the user database
        return None


def toml_files(folder: ContentFolder, subfolder: str = ".") -> tuple[Path, ...]:
    """The TOML files of a content folder or of a folder in it, by name."""
    return tuple(sorted((content_dir(folder) / subfolder).glob("*.toml"), key=lambda path: path.stem))
