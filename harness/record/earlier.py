"""Records as earlier versions wrote them, in today's words."""

from __future__ import annotations

from typing import Any

_UNDECIDED = "undecided"


def sweep_of_today(document: Any) -> Any:
    """The parsed record of a sweep in today's words; what has another shape stays as it is.

    ``undecided`` was said where more blocks would decide, and also of what may not be judged: where a cell is not
    valid, or there is no interval.
    """
    try:
        valid = {cell["id"] for cell in document["cells"] if cell["validity"]["verdict"] == "valid"}
        best = [
            {**each, "rivals": [_today(rival, {each["cell"], rival["cell"]} <= valid) for rival in each["rivals"]]}
            for each in document["best"]
        ]
        effects = [_today(each, {each["start"], each["to"]} <= valid) for each in document.get("effects", ())]
    except (AttributeError, KeyError, TypeError):  # which the schema puts in words
        return document
    return {**document, "best": best, **({"effects": effects} if "effects" in document else {})}


def _today(compared: dict[str, Any], valid: bool) -> dict[str, Any]:
    if compared["standing"] != _UNDECIDED:
        return compared
    judged = valid and compared["ci_low"] is not None
    return {**compared, "standing": "not_distinguishable" if judged else "not_judged"}
