"""The frame that every HTML page shares: its template environment and its style sheet."""

from __future__ import annotations

import re
from collections.abc import Callable

from harness.content import content_dir
from harness.reporting.text import capital

MAX_BYTES = 1_000_000  # a page is mailed
_LONGEST = 2000  # characters of a text from a record
# No HTML, and commands to the terminal on which somebody looks at a page; with what reverses the order of a text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _shortened(value: object) -> object:
    """A page stays readable, and below its bound, whatever a name holds; what is markup already is left alone."""
    if isinstance(value, str) and not hasattr(value, "__html__") and len(value) > _LONGEST:
        return f"{value[: _LONGEST - 1]}…"
    return value


def page_of(name: str) -> Callable[..., bytes]:
    """A function from what the template ``name`` shows to the page as UTF-8."""
    import jinja2

    folder = content_dir("reports")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shortened,
    )
    environment.filters["capital"] = capital
    style = (folder / "report.css").read_text(encoding="utf-8")
    template = environment.get_template(name)

    def page(**shown: object) -> bytes:
        text = template.render(**shown, style=style)
        return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text).encode("utf-8", "replace")

    return page


def within_bound(draw: Callable[[int], bytes], entries: int) -> bytes:
    """A page with as many of ``entries`` of each list as keep it within its bound; ``draw`` takes their number."""
    page = draw(entries)
    while len(page) > MAX_BYTES and entries:
        entries //= 2
        page = draw(entries)
    return page
