"""Measured roofs kept for later runs in the same state of the machine: measuring them takes longer than a short run."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from harness.decode import decode_json_file, encode
from harness.errors import LparbenchError
from harness.record.files import write_file
from harness.roofline.measured import MeasuredRoof

QUIET = 0.25  # load per CPU up to which other work does not lower a roof noticeably
_LONGEST = timedelta(days=7)


@dataclass(frozen=True)
class _Kept:
    """A roof, when it was measured (ISO 8601, UTC), and the load per CPU at that time; None where it is not known."""

    at: str
    load: float | None
    roof: MeasuredRoof


def read(path: Path, load: float | None, now: datetime | None = None) -> MeasuredRoof | None:
    """The roof of a file; None where there is none, or it is old, or was measured under more ``load`` than there is."""
    try:
        kept = decode_json_file(_Kept, path)
        age = (now or datetime.now(timezone.utc)) - datetime.fromisoformat(kept.at)
    except (LparbenchError, OSError, ValueError, TypeError):
        return None
    if not timedelta() <= age <= _LONGEST or kept.load is None:
        return None
    return replace(kept.roof, measured_at=kept.at) if kept.load <= max(QUIET, load or 0.0) else None


def keep(path: Path, roof: MeasuredRoof, load: float | None, now: datetime | None = None) -> None:
    """Write a roof that was just measured; where that is not possible the next run measures again."""
    at = (now or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    with contextlib.suppress(LparbenchError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(encode(_Kept(at, load, roof))).encode(), durable=False)
