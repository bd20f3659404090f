"""Charts by matplotlib: as SVG that takes the page's colours and fonts, and as PNG for the card."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.report.texts import Histogram
from pipelines.telling.funnel import Funnel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, LINE, ON = "#1b2330", "#5b6472", "#d5d9e0", "#ffffff"
SERIES = ("#2f6fb5", "#b8600b", "#2c7d53", "#8c4fa8", "#b5495b", "#6b7024")  # white text on each has a contrast of 4.5
# What stands for a colour in the page's style sheet, where it may be dark.
_CLASSES = {INK: "ink", FAINT: "faint", LINE: "line", ON: "on", **{colour: f"s{n}" for n, colour in enumerate(SERIES)}}

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # which matplotlib ships: the same picture on every machine
    "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "speechmill",
    "text.color": INK, "axes.labelcolor": FAINT, "xtick.color": FAINT, "ytick.color": FAINT,
    "axes.edgecolor": LINE, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "axes.axisbelow": True, "grid.color": LINE, "grid.linewidth": 0.8,
    "legend.frameon": False, "legend.fontsize": 8, "axes.titlelocation": "left", "axes.titlesize": 10,
}  # fmt: skip
Draw = Callable[["Axes"], None]


def svg(draw: Draw, described: str, inches: tuple[float, float] = (3.7, 2.1)) -> str:
    """Return a chart as SVG to stand in a page: its colours are the page's, and `described` is what is read aloud."""
    content = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    _figure(draw, inches, lambda figure: figure.savefig(content, format="svg", metadata=nothing, transparent=True))
    return _for_page(content.getvalue().decode(), described)


def png(draw: Draw, title: str, inches: tuple[float, float] = (8.0, 3.0)) -> bytes:
    """Return a chart as PNG, on white."""
    content = io.BytesIO()

    def save(figure: Figure) -> None:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
        figure.savefig(content, format="png", dpi=160, metadata={"Software": None})

    _figure(draw, inches, save)
    return content.getvalue()


def _figure(draw: Draw, inches: tuple[float, float], save: Callable[[Figure], None]) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # no pyplot: no state, no window

    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.add_subplot())
        save(figure)


def _for_page(drawn: str, described: str) -> str:
    """Return matplotlib's SVG with classes for its styles, without ids, prolog and what only an SVG file needs."""
    body = drawn[drawn.index("<svg") :]
    body = re.sub(r"<defs>\s*<style.*?</defs>|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<clipPath.*?</defs>| clip-path=\"[^\"]*\"", "", body, flags=re.DOTALL)
    body = re.sub(r" id=\"[^\"]*\"", "", body)
    body = re.sub(r" style=\"([^\"]*)\"", lambda found: _attributes(found[1]), body)
    body = re.sub(r"<g>\s*</g>|<g/>", "", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    label = described.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(
        r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg class="chart" role="img" \1 aria-label="{label}">', body
    )


def _attributes(style: str) -> str:
    """Return a style as attributes and a class: the page's policy takes no style attributes.

    >>> _attributes("fill: #1b2330; font-size: 9px; font-family: 'DejaVu Sans'; text-anchor: middle")
    ' font-size="9px" text-anchor="middle" class="fill-ink"'
    """
    attributes, classes = "", []
    for declared in style.split("; "):
        name, _, value = declared.partition(": ")
        if name in ("fill", "stroke") and value in _CLASSES:
            classes.append(f"{name}-{_CLASSES[value]}")
        elif name != "font-family":
            attributes += f' {name}="{value}"'
    return attributes + (f' class="{" ".join(classes)}"' if classes else "")


def histogram(values: Histogram, label: str, ticks: Sequence[float] | None = None) -> Draw:
    """Return the drawing of counts between edges, kinds of things on top of each other."""

    def draw(axes: Axes) -> None:
        below = np.zeros(len(values.edges) - 1)
        for number, (name, counts) in enumerate(values.counts.items()):
            widths = np.diff(values.edges)
            axes.bar(
                values.edges[:-1],
                counts,
                widths * 0.92,
                below,
                align="edge",
                color=SERIES[number % len(SERIES)],
                label=name,
            )
            below = below + counts
        _dressed(axes, label)
        if ticks is not None:
            axes.set_xticks(list(ticks))
        if len(values.counts) > 1:
            axes.legend(loc="best")

    return draw


def bars(values: Mapping[str, float], label: str) -> Draw:
    """Return the drawing of upright bars, one for each name."""

    def draw(axes: Axes) -> None:
        axes.bar(list(values), list(values.values()), 0.8, color=SERIES[0])
        _dressed(axes, label)

    return draw


def ranked(counts: Sequence[int], label: str) -> Draw:
    """Return the drawing of counts from the largest to the smallest, as one outline."""

    def draw(axes: Axes) -> None:
        axes.stairs(sorted(counts, reverse=True), np.arange(len(counts) + 1), fill=True, color=SERIES[0], linewidth=0)
        _dressed(axes, label)

    return draw


def _dressed(axes: Axes, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel(label)
    axes.grid(axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.margins(x=0.01)


def short(number: float) -> str:
    """Return a number for an axis.

    >>> short(1_200_000), short(35_000), short(40)
    ('1.2M', '35k', '40')
    """
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def funnel_bars(funnel: Funnel) -> Draw:
    """Return the drawing of the funnel: rows kept after each step, and those that ended in it."""
    steps = {name: counts for name, counts in funnel.steps.items() if name.partition(".")[0] != "noise"}

    def draw(axes: Axes) -> None:
        kept, ended = ([c["rows_kept"] for c in steps.values()], [sum(c["rejected"].values()) for c in steps.values()])
        _across(axes, list(steps), {"kept": kept, "rejected": ended})

    return draw


def mixture_bars(lock: Mapping[str, Any]) -> Draw:
    """Return the drawing of the mixtures: each a bar of its parts."""
    mixtures = lock["mixtures"]
    parts = list(dict.fromkeys(part for mixture in mixtures.values() for part in mixture["parts"]))
    chosen = {part: [m["parts"].get(part, {"chosen": 0})["chosen"] for m in mixtures.values()] for part in parts}

    def draw(axes: Axes) -> None:
        names = [f"{name}\n{mixture['total']:,} rows" for name, mixture in mixtures.items()]
        _across(axes, names, chosen, [mixture["total"] for mixture in mixtures.values()])

    return draw


def _across(axes: Axes, names: list[str], rows: Mapping[str, Sequence[int]], of: Sequence[int] | None = None) -> None:
    """Draw bars from left to right, of pieces, with what each piece counts where it has room for it.

    Args:
        of: what each whole bar counts, where all are as long; none: they are as long as they count.
    """
    scale = np.array([1.0] * len(names) if of is None else [1 / max(total, 1) for total in of])
    left = np.zeros(len(names))
    most = np.max(np.sum([np.array(values) * scale for values in rows.values()], axis=0)) or 1
    for number, (label, values) in enumerate(rows.items()):
        widths = np.array(values) * scale
        axes.barh(names, widths, 0.7, left, color=SERIES[number % len(SERIES)], label=label)
        for at, (start, width, value) in enumerate(zip(left, widths, values, strict=True)):
            if width > most * 0.08:
                axes.text(start + width / 2, at, f"{value:,}", ha="center", va="center", color=ON, fontsize=8)
        left = left + widths
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.margins(x=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
