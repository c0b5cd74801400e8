"""When a record was made, and by what name it is known."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone


def now() -> str:
    """The present time, ISO 8601 in UTC to the second, as records have it."""
    return _text(datetime.now(timezone.utc))


def begun(kind: str = "") -> tuple[str, str]:
    """Identity and time of a record of a kind (``fleet-``) that begins now."""
    created = datetime.now(timezone.utc)
    return f"{created:%Y%m%dT%H%M%SZ}-{kind}{uuid.uuid4().hex[:6]}", _text(created)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
