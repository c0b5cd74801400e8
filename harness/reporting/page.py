"""The frame that every HTML page shares: its template environment and its style sheet."""

from __future__ import annotations

from collections.abc import Callable

from harness.content import content_dir

_LONGEST = 2000  # characters of a text from a record


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
    style = (folder / "report.css").read_text(encoding="utf-8")
    template = environment.get_template(name)
    return lambda **shown: template.render(**shown, style=style).encode("utf-8", "replace")
