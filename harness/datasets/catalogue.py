"""The published data sets: their files, where and on which terms these are available; the registry and its types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from harness.content import content_dir
from harness.decode import decode_toml_file


@dataclass(frozen=True)
class Download:
    """A direct address of one file.

    ``member`` names the file inside a tar archive; without it the address gives the file itself, plain or compressed.
    """

    url: str
    sha256: str  # of what the address gives
    size: int  # bytes of what the address gives
    member: str | None = None
    saved_as: str | None = None  # file name on disk; ``None``: that of the address


@dataclass(frozen=True)
class DataFile:
    """One canonical file. It may lie on disk plain or compressed; digests are of its content with LF as line ends."""

    name: str  # may be a pattern such as "*.csv", for publishers without fixed names
    sha256: str | None = None  # of the uncompressed file
    aliases: tuple[str, ...] = ()  # other names and patterns, of mirrors
    genuine: tuple[str, ...] = ()  # further sha256 under this name that are known to be published ones
    tests: bool = False  # the test rows are in this file, and not in those without this mark
    download: Download | None = None

    def judge(self, sha256: str) -> bool | None:
        """Whether content with this digest is the published one; ``None`` when nothing is known to compare with."""
        if sha256 in (self.sha256, *self.genuine):
            return True
        return None if self.sha256 is None else False


@dataclass(frozen=True)
class Variant:
    """Files that together make the data set; a data set may be published in several forms."""

    name: str
    files: tuple[DataFile, ...]
    require: Literal["all", "any"] = "all"
    note: str | None = None  # what a reader of figures must know of this form


@dataclass(frozen=True)
class StandInRows:
    """Rows of a stand-in with the default options, and of all that its process makes."""

    test: int
    all: int


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a published data set. ``terms`` is ``None`` where the publisher's terms are not confirmed."""

    name: str
    title: str
    recipe: str  # below harness.datasets: "module:NAME"
    variants: tuple[Variant, ...] = ()  # in order of preference
    publisher: str = ""
    terms: str | None = None
    parameter: str | None = None  # what follows the colon in "odds:NAME"; None: the name stands alone
    folders: tuple[str, ...] = ()  # names, besides its own, of folders in which every file is taken for its own
    stand_in: StandInRows | None = None
    drawn: bool = False  # its test rows are drawn at random, unless options name them
    member_sha256: Mapping[str, str] = field(default_factory=dict)  # of the files of a family's members, where known

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Every file of every variant."""
        return tuple(file for variant in self.variants for file in variant.files)


@dataclass(frozen=True)
class _Registry:
    datasets: tuple[DatasetSpec, ...]


@cache
def specs() -> tuple[DatasetSpec, ...]:
    """Every data set, in the order of listings."""
    return decode_toml_file(_Registry, content_dir("workloads") / "datasets" / "published.toml").datasets
