"""What cards took, on disk before it is answered, so that a process that is killed loses none of it.

A log is a few files, ``NAME-1`` and on. Each transaction appends a line. When a file has grown to a multiple of what
the cards themselves take, the next begins: each transaction also writes the whole state of two cards into it, and when
all have been written the files before are removed. So neither the size of the log nor the work of a transaction grows
with time, and no request waits for all cards. Unless it is asked for, nothing is forced to the disk, and a log is of
no use to another boot.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from zlib import crc32

import numpy as np

from harness import decode
from harness.datasets.card_rows import Transaction
from harness.errors import InputError
from harness.record.files import sync_directory
from harness.serving.card_keeper import CardKeeper, CardStep
from harness.serving.card_snapshot import StoredCard, card_of, is_sound, stored_card
from harness.serving.card_states import Answer
from harness.serving.exchange import Rows
from harness.serving.loop import say

_LEAST_BYTES = 4 << 20  # of a file before the next begins
_GROWTH = 2  # times what the cards take
_PER_TURN = 2  # cards whose state is written with a transaction
_LONGEST_LINE = 1 << 26  # bytes; a card's is the longest
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Begun:
    """The first line of a file."""

    model: str
    steps: int
    width: int
    boot: str  # empty where the disk had every line before its answer was given
    part: str  # of the cards: number of the scorer, and how many there are
    kind: Literal["begun"] = "begun"


@dataclass(frozen=True)
class Taken:
    """A transaction of a card."""

    key: str
    used: float
    given: tuple[int, float, str, str, str, str, str, str]
    identity: str | None
    kind: Literal["taken"] = "taken"


@dataclass(frozen=True)
class Used:
    """A card that was asked for what it took before."""

    key: str
    used: float
    kind: Literal["used"] = "used"


@dataclass(frozen=True)
class Gone:
    """A card that was forgotten."""

    key: str
    kind: Literal["gone"] = "gone"


@dataclass(frozen=True)
class Held:
    """The whole state of a card; arrays are float32 in base64.

    Attributes:
        waiting: answers that have no score yet: transaction, rows it has, late, window.
    """

    card: StoredCard
    rows: str
    waiting: tuple[tuple[str, int, bool, str], ...]
    kind: Literal["held"] = "held"


Record = Begun | Taken | Used | Gone | Held


class CardLog:
    """The log of one process's cards.

    Args:
        path: with which the names of its files begin.
        keeper: of the cards; what it takes from now on is written.
        model: digest of the bundle.
        part: that these cards are of all.
        durable: `sync` waits for the disk, so that the log outlives the machine's next start too.
    """

    def __init__(self, path: Path, keeper: CardKeeper, model: str, part: str = "0/1", *, durable: bool = False) -> None:
        self._path, self._keeper, self._states = path, keeper, keeper.states
        self._boot = _BOOT.read_text("ascii").strip()
        boot = "" if durable else self._boot
        self._begun = Begun(model, self._states.steps, self._states.width, boot, part)
        self.durable = durable
        self._unsynced = False
        self._file: BinaryIO | None = None
        self._number = 0
        self._size = self._limit = 0
        self._pending: Iterator[str] | None = None  # cards whose state is still to be written into this file

    def recover(self) -> int | None:
        """Take over what an earlier process left; how many cards; None without a log; none of another boot or part.

        Raises:
            InputError: it is of another model, or damaged.
        """
        files = self._files()
        if not files:
            return None
        for file in files:
            for number, record in enumerate(_records(file, last=file == files[-1]), 1):
                if isinstance(record, Begun):
                    if record.boot not in ("", self._boot) or record.part != self._begun.part:
                        return 0  # what was not on the disk then is missing; cards of another part are not mine
                    if (record.model, record.steps, record.width) != (
                        self._begun.model, self._begun.steps, self._begun.width
                    ):  # fmt: skip
                        raise InputError(
                            f"{file}: the cards are of another model.", remedy="Name another --state, or remove it."
                        )
                    continue
                try:
                    self._repeat(record)
                except (ValueError, TypeError, IndexError, KeyError, OverflowError):  # of a card that no server has
                    raise _damaged(file, number) from None
        self._states.settle()
        return len(self._states.cards)

    def begin(self) -> None:
        """Write every card, remove the files before, and write what happens from now on."""
        self._next()
        while self._pending is not None:
            self._sweep()
        self._states.evicted = lambda key: self._write(Gone(key))
        self._keeper.log = self

    def sync(self) -> None:
        """Wait until the disk has what was written."""
        if self._file is None or not self._unsynced:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            self._stop(error)
        self._unsynced = False

    def used(self, key: str, used: float) -> None:
        """A card was asked for what it took before."""
        self._write(Used(key, used))

    def took(self, step: CardStep, used: float) -> None:
        """A transaction was taken, and is not answered yet."""
        given = step.given
        texts = given.merchant, given.city, given.chip, given.errors, given.state, given.mcc
        self._write(Taken(step.key, used, (given.minute, given.amount, *texts), step.identity))
        if self._pending is None and self._size > self._limit:
            self._next()
        for _ in range(_PER_TURN):
            if self._pending is not None:
                self._sweep()

    def _write(self, record: Record) -> None:
        """Append a record; where the disk refuses, say so once, and write no more."""
        if self._file is None:
            return
        try:
            self._size += self._file.write(line_of(record))
            self._unsynced = self.durable
        except OSError as error:
            self._stop(error)

    def remove(self) -> None:
        """At the end of a server that has kept its cards elsewhere."""
        if self._file is not None:
            self._file.close()
        for file in self._files():
            file.unlink()

    def _repeat(self, record: Taken | Used | Gone | Held) -> None:
        states = self._states
        match record:
            case Taken(key, used, given, identity):
                self._keeper.repeat(states.touch(key, used), Transaction(*given), identity)
            case Used(key, used):
                states.touch(key, used)
            case Gone(key):
                states.drop(key)
            case Held(stored, rows, waiting):
                if not is_sound(stored, states.steps):
                    raise ValueError(stored.key)
                states.drop(stored.key)
                card = card_of(stored)
                window = (states.steps, states.width)
                card.answers |= {
                    name: Answer(have, late, window=_array(text, window)) for name, have, late, text in waiting
                }
                states.restore(stored.key, _array(rows, (stored.rows, states.width)), card)

    def _next(self) -> None:
        self._number = max([self._number, *(_number_of(file) for file in self._files())]) + 1
        self.sync()
        try:
            if self._file is not None:
                self._file.close()
            self._file = self._named(self._number).open("wb", buffering=0)
            if self.durable:
                sync_directory(self._path.parent)
        except OSError as error:
            self._stop(error)
            return
        self._size, self._pending = 0, iter(list(self._states.cards))
        self._write(self._begun)

    def _sweep(self) -> None:
        """Write the state of the next card; after the last, the files before are of no use."""
        assert self._pending is not None
        for key in self._pending:
            card = self._states.cards.get(key)
            if card is None:
                continue
            waiting = tuple(
                (name, answer.have, answer.late, _text(answer.window))
                for name, answer in card.answers.items()
                if answer.window is not None
            )
            self._write(Held(stored_card(key, card, self._states.steps), _text(self._states.rows(card)), waiting))
            return
        self._pending = None
        self._limit = max(_LEAST_BYTES, _GROWTH * self._size)
        self.sync()  # before what it replaces goes
        for file in self._files():
            if _number_of(file) < self._number:
                file.unlink()

    def _stop(self, error: OSError) -> None:
        """Keep no log that lacks what is to come."""
        self._file = self._pending = None
        with contextlib.suppress(OSError):
            self.remove()
        text = f"{self._path}: {error.strerror}: the cards are lost if this process is killed"
        say(f"{text}.")

    def _named(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}-{number}")

    def _files(self) -> list[Path]:
        """Oldest first."""
        name = re.compile(re.escape(self._path.name) + "-([0-9]{1,18})")
        matches = (name.fullmatch(each.name) for each in self._path.parent.iterdir())
        return [self._named(number) for number in sorted(int(match[1]) for match in matches if match is not None)]


def remove_parts(first: Path, parts: int) -> None:
    """Remove the logs of a server of more parts than these; ``first`` is the name of the first part's."""
    name = re.compile(re.escape(first.name.removesuffix("0")) + r"([0-9]{1,4})-[0-9]{1,18}")
    for file in list(first.parent.iterdir()):
        if (match := name.fullmatch(file.name)) is not None and int(match[1]) >= parts:
            file.unlink()


def line_of(record: Record) -> bytes:
    """A record with its checksum."""
    text = json.dumps(decode.encode(record), separators=(",", ":")).encode()
    return b"%08x %b\n" % (crc32(text), text)


def _records(path: Path, *, last: bool) -> Iterator[Record]:
    """Those of a file, without a last one within which the process died, before it answered.

    Of a log that waits for the disk, what follows the damage in its last file was not answered either.

    Raises:
        InputError: a line is damaged that was whole once.
    """
    begun: Record | None = None
    if not path.is_file():  # a pipe would be waited for
        raise _damaged(path, 1)
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
            checksum, _, text = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or checksum != b"%08x" % crc32(text):
                if file.peek(1) and not (last and isinstance(begun, Begun) and not begun.boot):
                    raise _damaged(path, number)
                return
            try:
                record: Record = decode.decode(Record, json.loads(text), f"{path}: line {number}")  # type: ignore[arg-type]
            except (ValueError, RecursionError):
                raise _damaged(path, number) from None
            begun = begun or record
            yield record


def _damaged(path: Path, number: int) -> InputError:
    return InputError(f"{path}: line {number} is damaged.", remedy="Restore it, or name another --state.")


def _number_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _text(values: Rows) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _array(text: str, shape: tuple[int, int]) -> Rows:
    return np.frombuffer(base64.b64decode(text), dtype=np.float32).reshape(shape).copy()
