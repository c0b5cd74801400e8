"""What a data set's module provides: how to read its files, how to make its stand-in, which options it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from harness.datasets.encoded import Protocol
from harness.datasets.options import Option
from harness.datasets.store import Found
from harness.datasets.table import Split


@dataclass(frozen=True)
class Request:
    """One load, with every option resolved."""

    dataset: str  # as asked for, parameter included: "odds:arrhythmia"
    protocol: Protocol
    options: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """Seed of every random draw."""
        return int(self.options["seed"])

    @property
    def published(self) -> bool:
        """Whether the source document's handling is repeated, leaks included."""
        return self.protocol == "as-published"


@dataclass(frozen=True)
class Reading:
    """Rows read from published files; ``digests`` are those of the uncompressed files, by canonical name."""

    split: Split
    digests: Mapping[str, str]
    verified: bool | None


@dataclass(frozen=True)
class Recipe:
    """One data set.

    Attributes:
        read: rows of the published files, split as the protocol says.
        synthesise: a stand-in of the same schema from a documented generative process.
        options: options of its own, or common ones with another default.
        published: values of options that the source document used, where they differ.
        file_columns: columns of the published files, where these are text without a header.
    """

    read: Callable[[Found, Request], Reading]
    synthesise: Callable[[Request], Split]
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    published: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    file_columns: tuple[str, ...] = ()


def reading(local: Found, digests: Mapping[str, str], split: Split) -> Reading:
    """What was read of ``local``, whose ``digests``, by canonical name, are compared with the pinned ones.

    It is verified, or not; ``None`` where no digest is pinned for one of the files.
    """
    files = {entry.name: entry.file for entry in local.files}
    verdicts = [files[name].judge(sha256) for name, sha256 in digests.items()]
    verified = False if False in verdicts else None if None in verdicts else True
    return Reading(split, digests, verified)
