"""Transactions of the fraud document's sample client."""

from __future__ import annotations

from typing import Any


def samples(card: str = "C9", count: int = 9) -> list[dict[str, Any]]:
    """The transactions of the document's sample client."""
    return [
        {
            "User": "U2", "Card": card, "Merchant Name": f"Shop {2000 + i}", "Merchant City": f"City {i % 4}",
            "Use Chip": "Yes" if i % 2 == 0 else "No", "Errors?": "None", "Year": 2024, "Month": 8, "Day": 1 + i,
            "Time": f"{(9 + i) % 24:02d}:{(7 * i) % 60:02d}", "Amount": str(15 + i * 2.0),
        }
        for i in range(count)
    ]  # fmt: skip


def stream(row: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"record": row, "group_keys": ["User", "Card"], "threshold": 0.472982, "return_components": True, **more}
