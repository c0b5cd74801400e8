"""What ``lparbench kernels --instructions`` prints: instructions per row, and their change against the counts kept."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.text import Text

from harness.decode import encode
from harness.reporting.console import add_columns, bare_table, print_table, standard_output
from harness.roofline.instructions import Instructions, known_counts
from harness.wording import percentage

_LEFT = ("Work", "Set", "Type")
_RIGHT = ("Rows", "Per row", "Outer", "Ideal", "Change")


def instructions_json(here: Sequence[Instructions], power10: Sequence[Instructions], notes: Sequence[str]) -> str:
    """Both lists, and what could not be counted."""
    counts = [{**encode(count), "share_of_ideal": count.share_of_ideal} for count in power10]
    return json.dumps({"here": encode(tuple(here)), "power10": counts, "notes": list(notes)}, indent=2)


def print_instructions(here: Sequence[Instructions], power10: Sequence[Instructions], notes: Sequence[str]) -> None:
    """Print to stdout."""
    console = standard_output()
    known = {count.title(): count.per_row for count in known_counts().counts}
    tables = (
        ("Instructions per row, by this processor's counter, calls from Python", here),
        ("Instructions per row of a POWER10, emulated", power10),
    )
    for heading, counts in tables:
        if not counts:
            continue
        console.print(Text(heading, style="bold"))
        table = bare_table()
        add_columns(table, (*_LEFT, *_RIGHT), right=set(_RIGHT))
        for count in counts:
            before = known.get(count.title()) if counts is power10 else None
            table.add_row(
                f"{count.what} {count.name}",
                count.isa,
                count.dtype,
                f"{count.rows:,}",
                f"{count.per_row:,.0f}",
                "–" if count.outer_products_per_row is None else f"{count.outer_products_per_row:,.0f}",
                "–" if count.share_of_ideal is None else percentage(count.share_of_ideal),
                "–" if before is None else f"{100 * (count.per_row / before - 1):+.1f} %",
            )
        print_table(console, table)
        console.print()
    for note in notes:
        console.print(Text(note))
