"""How all pictures look, and how they are written: the same data give the same SVG bytes."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

# Okabe and Ito, "Color Universal Design", 2008: told apart with every common colour blindness. Yellow is left out: too pale for lines.
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
INK: Final = "#222222"
PALE: Final = "#c8c8c8"
_RC: Final = {
    "svg.hashsalt": "dse",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.4,
    "path.simplify": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """The house style inside a `with` block; global settings, the user's own style included, come back after it."""
    house: Any = _RC  # Any: matplotlib types every setting apart
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(house)
        yield


def new_figure(width: float = 7.0, height: float = 4.4) -> tuple[Figure, Axes]:
    """An empty figure with one plot, size in inches; call inside `styled()`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def colour(names: Sequence[str], name: str) -> str:
    """The colour of `name`: by its position among all `names`, the same in every picture of a run."""
    return PALETTE[names.index(name) % len(PALETTE)]


def marker(names: Sequence[str], name: str) -> str:
    """The marker of `name`, as `colour`."""
    return MARKERS[names.index(name) % len(MARKERS)]


def to_svg(figure: Figure, titles: Mapping[str, Sequence[str]] | None = None) -> str:
    """The figure as SVG without date; `titles` are hover texts of the dots of the collections with these gids, in order, empty for none."""
    out = io.StringIO()
    with styled():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "dse"})
    svg = out.getvalue()
    for gid, texts in (titles or {}).items():
        svg = _with_titles(svg, gid, texts)
    return svg


def _with_titles(svg: str, gid: str, texts: Sequence[str]) -> str:
    """The picture with a title in each dot of one collection: matplotlib draws each as a `use` of one shape."""
    found: list[str] = []
    done, at = 0, svg.index(f'<g id="{gid}">')
    for text in texts:
        at = svg.index("/>", svg.index("<use ", at)) + len("/>")
        if text:
            found += svg[done : at - len("/>")], f"><title>{escape(text)}</title></use>"
            done = at
    assert svg[at:].lstrip().startswith("</g>"), f"{gid} has {len(texts)} dots"
    return "".join((*found, svg[done:]))


def inline(svg: str, name: str) -> str:
    """An SVG for a page: without XML header, with ids that no other picture of the page has."""
    body = svg[svg.index("<svg") :]
    prefixed = re.sub(r'\bid="', f'id="{name}-', body)
    prefixed = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', prefixed)
    prefixed = re.sub(r"url\(#", f"url(#{name}-", prefixed)
    head, rest = prefixed.split(">", 1)
    return re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + rest
