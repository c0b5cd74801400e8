"""A server of card transactions: its routes opened, its cards taken over at the start and kept at the end."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import InputError, LparbenchError
from harness.serving.admission import Admission
from harness.serving.card_log import CardLog, remove_parts
from harness.serving.card_snapshot import model_digest, put_away, read_cards, restore, save
from harness.serving.card_states import CardStates, card_bytes
from harness.serving.fraud import Fraud
from harness.serving.fraud_parts import Elsewhere, Parts
from harness.serving.loop import say
from harness.serving.model import ServedModel
from harness.serving.spec import ServeSpec, log_name
from harness.wording import plural

_MOST = 100_000  # cards, unless more are asked for
_LONGEST_NAME = 225  # bytes of the file's name; the log's is longer, and all have to have at most 255


def open_fraud(
    spec: ServeSpec,
    model: ServedModel,
    admission: Admission,
    elsewhere: Elsewhere | None = None,
) -> Fraud | None:
    """The fraud document's routes, where the model takes transactions of cards.

    Raises:
        InputError: so many cards do not fit into memory, or their kept states cannot be taken over.
    """
    encoder = model.cards
    if encoder is None:
        if spec.state is not None:
            raise InputError(f"--state is for cards; {model.name} has none.", remedy="Leave it out.")
        return None
    steps, parts = model.steps or 1, Parts(model, elsewhere)
    each = card_bytes(steps, encoder.features, history=encoder.history, open_bytes=parts.open_bytes)
    available = spec.room_bytes
    fitting = _MOST if available is None else max(1, available // each // 2)
    keys = min(fitting, _MOST) if spec.keys is None else spec.keys
    needed = keys * each
    if available is not None and needed > available:
        raise InputError(
            f"{keys:,} cards take about {needed / 2**30:.1f} GiB; {available / 2**30:.1f} GiB are available.",
            remedy=f"--keys {fitting}",
        )
    states = CardStates(keys, spec.key_ttl_s, steps, encoder.features, time.time)
    fraud = Fraud(parts, encoder, states, admission, lenient_dates=spec.as_published)
    if spec.state is not None:
        path, digest = Path(spec.state), model_digest(model.bundle.directory)
        if spec.check:
            look_at(path, digest)
        else:
            _take_over(spec, path, fraud, digest)
    return fraud


def look_at(path: Path, model: str) -> None:
    """Find out whether cards can be taken over and kept, and change nothing.

    Raises:
        InputError: they cannot.
    """
    writable(path)
    if path.exists():
        read_cards(path, model)


def _take_over(spec: ServeSpec, path: Path, fraud: Fraud, model: str) -> None:
    """Cards that were kept by a drain, or else that a process took which was killed; from here on in a log."""
    writable(path)
    drained = restore(fraud.states, path, model) if path.exists() else None
    name = Path(spec.log or log_name(str(path), 0))
    if spec.part == 0:
        remove_parts(name, spec.scorers)
    log = CardLog(name, fraud.keeper, model, f"{spec.part}/{spec.scorers}", durable=spec.fsync)
    killed = log.recover() if drained is None else None
    if killed is not None:
        rest = "taken over" if killed else "none can be taken over: all cards start empty"
        say(f"the log of a process that was killed: {plural(killed, 'card')} {rest}.")
    elif not spec.divided:
        say_taken(drained, path)
    log.begin()
    fraud.log = log
    if drained is not None:
        put_away(path)


def keep_cards(spec: ServeSpec, fraud: Fraud) -> None:
    """Write the cards' states where the spec says so.

    Raises:
        LparbenchError: the disk or its permissions refuse; names where the states are.
    """
    if spec.state is None or spec.check:
        return
    model = model_digest(Path(spec.bundle))
    if spec.divided:  # the supervisor puts the parts together, and until then the logs stay
        save(fraud.states, Path(spec.state), model)
        return
    say_kept(written(lambda path: save(fraud.states, path, model), Path(spec.state)), spec.state)
    if fraud.log is not None:
        fraud.log.remove()


def written(write: Callable[[Path], int], path: Path) -> int:
    """What `write` gives, which writes cards to a file.

    Raises:
        LparbenchError: the disk or its permissions refuse; the cards are where temporary files are, if there is room.
    """
    try:
        return write(path)
    except LparbenchError as error:
        try:
            kept = Path(tempfile.mkdtemp(prefix="lparbench-cards-")) / path.name
            write(kept)
        except (LparbenchError, OSError):
            raise error from None
        words = shlex.join(["mv", str(kept), str(path)])
        raise type(error)(error.message, remedy=f"The cards are kept. Make room, then: {words}") from None


def writable(path: Path) -> None:
    """Find out before the start, and not only when the cards are to be written.

    Raises:
        InputError: the file cannot be written.
    """
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise InputError(f"--state {path}: too long a name for a log next to it.", remedy="Choose a shorter one.")
    sound = path.is_file() if os.path.lexists(path) else path.parent.is_dir()
    if not sound or not os.access(path.parent, os.W_OK):
        raise InputError(f"--state {path} cannot be written.", remedy="Name a file in a directory that is there.")


def say_taken(count: int | None, path: Path) -> None:
    """How many cards were taken over; None where there is no file."""
    text = (
        f"there is no {path}: all cards start empty"
        if count is None
        else f"{plural(count, 'card')} taken over from {path}"
    )
    say(f"{text}.")


def say_kept(count: int, path: str) -> None:
    """How many cards were kept."""
    say(f"{plural(count, 'card')} kept in {path}.")
