"""The formats for CI systems, apart from what writes them: the command line names them without loading it."""

from __future__ import annotations

from enum import Enum


class CiFormat(str, Enum):
    """What ``--format`` takes."""

    JUNIT = "junit"
    MARKDOWN = "markdown"
    GITHUB = "github"
