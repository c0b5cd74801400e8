"""What every chart shares: one look, no state, and SVG text that is the same for the same data.

Colours are written as CSS variables of the page, so that a chart follows the light or dark scheme it is read in; text
stays text, in the page's own font.
"""

from __future__ import annotations

import html
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from harness.datasets.locate import cache_directory
from harness.errors import InputError
from harness.reporting.text import clip, number, prefix_exponent, prefixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 360  # CSS pixels: legible unscaled on a phone, two or three in a row on a desk
WIDE = 860  # of a chart that has a row of a page to itself
HEIGHT = 232
_SAID = 2000  # characters of a text alternative

# matplotlib knows no CSS variables: each stands in as a colour nobody else uses until the text is rewritten.
_VARIABLES = {
    "ink": "#000101",
    "muted": "#000102",
    "grid": "#000103",
    "paper": "#000104",
    "c1": "#000105",
    "c2": "#000106",
    "c3": "#000107",
    "c4": "#000108",
    "band": "#000109",
}
INK, MUTED, GRID, PAPER, BAND = (_VARIABLES[name] for name in ("ink", "muted", "grid", "paper", "band"))


@dataclass(frozen=True)
class Mark:
    """How one of several series is distinguished: by colour, by the shape of its points and by its dashes."""

    colour: str
    shape: str
    dashes: str


MARKS = (
    Mark(_VARIABLES["c1"], "o", "-"),
    Mark(_VARIABLES["c2"], "s", "--"),
    Mark(_VARIABLES["c3"], "^", "-."),
    Mark(_VARIABLES["c4"], "D", ":"),
)
MANY_MARKS = (
    *MARKS,
    *(
        Mark(mark.colour, shape, dashes)
        for mark, shape, dashes in zip(MARKS, "vP<X", (":", "-", "--", "-."), strict=True)
    ),
)

_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names come from users: a dollar sign is a dollar sign
    "axes.unicode_minus": True,
    "font.size": 11,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the layout does not depend on the machine's fonts
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 2 / 72,
    "figure.constrained_layout.w_pad": 2 / 72,
}


@contextmanager
def drawing(height: int = HEIGHT, width: int = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """A figure and its axes in the report's style, free of matplotlib's global state."""
    _keep_fonts_in_cache()
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A script that DejaVu lacks is drawn by the reader's own fonts; only its measured width is a guess.
        warnings.filterwarnings("ignore", message=".*missing from", category=UserWarning)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        yield figure, axes


def _keep_fonts_in_cache() -> None:
    """Matplotlib writes a list of the machine's fonts when it is first loaded: into this product's cache."""
    with suppress(InputError):  # no home directory: matplotlib takes one of TMPDIR
        os.environ.setdefault("MPLCONFIGDIR", str(cache_directory().with_name("matplotlib")))


def to_svg(figure: Figure, *, key: str, title: str, description: str) -> str:
    """The figure as one ``<svg>`` element for a page.

    Args:
        figure: what was drawn; called inside ``drawing``.
        key: unique in the page; ids in the SVG begin with it.
        title: what the chart shows, for its ``<title>``.
        description: the text alternative, for its ``<desc>``.
    """
    import matplotlib

    for axes in figure.axes:
        _say_logarithmic(axes)
    buffer = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": key}):
        # Past savefig, which would lay the figure out twice.
        canvas: Any = figure.canvas
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib wrote it a moment ago
    _strip(root, key)
    view = root.get("viewBox", "")
    body = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    for name, colour in _VARIABLES.items():
        body = body.replace(colour, f"var(--{name})")
    kind = "chart" if figure.get_figwidth() * 72 <= WIDTH else "chart wide"
    return (
        f'<svg class="{kind}" viewBox="{view}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{html.escape(clip(title, _SAID))}</title>'
        f'<desc id="{key}-d">{html.escape(clip(description, _SAID))}</desc>{body}</svg>'
    )


def _say_logarithmic(axes: Axes) -> None:
    """Words at an axis that its ticks alone do not show to be logarithmic."""
    for scale, label, write in (
        (axes.get_xscale(), axes.get_xlabel(), axes.set_xlabel),
        (axes.get_yscale(), axes.get_ylabel(), axes.set_ylabel),
    ):
        if scale == "log":
            write(f"{label}, log scale" if label else "log scale")


def fitted(draw: Callable[[str, int], str], key: str, *, alone: bool) -> str:
    """A chart as wide as a phone; one that stands ``alone`` in its row also as wide as a page, of which CSS shows one.

    Args:
        draw: from key and width to SVG.
        key: unique in the page.
        alone: whether no other chart stands next to it.
    """
    return draw(key, WIDTH) + (draw(f"{key}-wide", WIDE) if alone else "")


def name_of(text: str, limit: int = 30) -> str:
    """A name from a record, short enough for a chart and free of what XML cannot hold."""
    return clip(text, limit)


def si_ticks(axis: Any, unit: str) -> None:
    """Tick labels with SI prefix; a unit of one letter stays with them (``2 µs``), others are the axis label's."""
    from matplotlib.ticker import FuncFormatter

    def label(value: float, _position: int | None) -> str:
        exponent, ticks = prefix_exponent(value, unit), [float(tick) for tick in axis.get_majorticklocs()]
        digits = next((n for n in range(3, 6) if len({f"{tick:.{n}g}" for tick in ticks}) == len(ticks)), 6)
        shown = _plain(value / 10.0**exponent, digits)  # two ticks close together need more digits to differ
        return f"{shown} {prefixed(unit if len(unit) == 1 else '', exponent)}".rstrip()

    axis.set_major_formatter(FuncFormatter(label))


def few_ticks(axis: Any, *, whole: bool = False, halves: bool = True) -> None:
    """At most five round ticks, at whole numbers where fractions mean nothing; without ``halves`` no steps of 2.5."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5, integer=whole, steps=[1, 2, *([2.5] * halves), 5, 10]))


def plain_ticks(axis: Any) -> None:
    """Tick labels without exponents or trailing zeros."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _position: _plain(value)))


def _plain(value: float, digits: int = 3) -> str:
    shown = number(value, digits)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def log_ticks(axis: Any, low: float, high: float) -> None:
    """Ticks of a logarithmic axis that suit its span: 1-2-5 below two decades, decades above."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    decades = high / low if low > 0 else float("inf")
    subs = (1.0, 2.0, 5.0) if decades < 60 else (1.0, 3.0) if decades < 1000 else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    plain_ticks(axis)


def row_labels(axes: Axes, names: Sequence[str], width: int = WIDTH) -> None:
    """Rows 0, 1, ... from the top; each name left of its row, or above it where a narrow chart has no room there."""
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    if width > WIDTH:
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        return
    axes.set_ylim(len(names) - 0.4, -0.75)
    axes.set_yticks([])
    ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}  # grid lines end at a name
    for at, name in enumerate(names):
        axes.text(0, at - 0.3, name, transform=axes.get_yaxis_transform(), va="bottom", fontsize=10.5, bbox=ground)


def row_band(axes: Axes, rows: int, low: float, high: float) -> None:
    """A band from ``low`` to ``high`` in every row, and a rule at 0; neither runs through the names above the rows."""
    for at in range(rows):
        axes.fill_between([low, high], at - 0.2, at + 0.28, color=BAND, linewidth=0)
    row_rule(axes, rows)


def row_rule(axes: Axes, rows: int) -> None:
    """A rule at 0 in every row."""
    axes.vlines(
        [0.0] * rows, [at - 0.2 for at in range(rows)], [at + 0.28 for at in range(rows)], color=MUTED, linewidth=1
    )


def legend(axes: Axes, columns: int = 2) -> None:
    """Names of the series above the axes, where they hide no data; in one column where they are long."""
    names = axes.get_legend_handles_labels()[1]
    narrow = axes.get_figure(root=True).get_figwidth() * 72 <= WIDTH  # type: ignore[union-attr]
    if narrow and max(map(len, names), default=0) > 44 // columns:
        columns = 1 if max(map(len, names)) > 20 else 2
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderaxespad=0.1, columnspacing=1.2)


def _strip(root: ElementTree.Element, key: str) -> None:
    """Drop what a page does not need: namespaces, metadata, page-wide styles, unused ids, fonts, needless digits."""
    used = set(re.findall(r"#([\w.-]+)", ElementTree.tostring(root, encoding="unicode")))
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            if name == "id":
                if value in used:
                    element.set("id", f"{key}-{value}")
                continue
            if not value.startswith("rotate(-0"):  # matplotlib turns level text by nothing
                element.set(_local(name), _short(_local(name), value, key))
        if element.tag != "text" and element.text is not None and not element.text.strip():
            element.text = None
        element.tail = None
    _unwrap(root)


def _unwrap(parent: ElementTree.Element) -> None:
    """Replace groups that carry nothing by their children."""
    children: list[ElementTree.Element] = []
    for child in list(parent):
        _unwrap(child)
        plain = child.tag in ("g", "defs") and not child.attrib
        if child.tag == "defs" and len(child):
            plain = False
        children += list(child) if plain else [child]
    parent[:] = children


def _short(name: str, value: str, key: str) -> str:
    if name in ("href", "clip-path"):
        return value.replace("#", f"#{key}-")
    if name == "style":
        parts = [re.sub(r":\s+", ":", part.strip()) for part in value.split(";")]
        return ";".join(part for part in parts if part and not part.startswith("font-family"))
    if name in ("d", "x", "y", "width", "height", "transform", "points"):
        value = re.sub(r"-?\d+\.\d+", lambda match: _tenth(match.group()), value)
        return _short_path(value) if name == "d" else value
    return value


def _short_path(path: str) -> str:
    """A path with steps along an axis written as such: half the length for staircases and grids."""
    parts: list[str] = []
    at = ("", "")
    for command, first, second, rest in re.findall(r"([A-Za-z])\s*(-?[\d.]+)?\s*(-?[\d.]+)?([^A-Za-z]*)", path):
        if command == "L" and not rest.strip():
            if (first, second) == at:
                continue
            if first == at[0]:
                parts.append(f"V{second}")
            elif second == at[1]:
                parts.append(f"H{first}")
            else:
                parts.append(f"L{first} {second}")
        else:
            parts.append(f"{command}{' '.join(f'{first} {second} {rest}'.split())}")
        numbers = f"{first} {second} {rest}".split()
        at = (numbers[-2], numbers[-1]) if len(numbers) >= 2 else at
    return "".join(parts)


def _tenth(text: str) -> str:
    shortened = f"{float(text):.1f}".rstrip("0").rstrip(".")
    return "0" if shortened == "-0" else shortened


def _local(name: str) -> str:
    return name.rpartition("}")[2]
