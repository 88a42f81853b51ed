"""Charts as SVG text for the report: fit for a phone, without other files or a network."""

import dataclasses
import io
import itertools
import re
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

INK, MUTED, GRID = "#262624", "#75756f", "#e4e4df"
COLORS = ("#2f6fde", "#e0632b", "#2a9d63", "#8b5bd1", "#c9357f", "#8a7a1f", "#2aa3b8", "#75756f")

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # letters stay letters, in the page's own font
    "svg.hashsalt": "pix2seq",  # the same chart gives the same bytes
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
# What matplotlib writes for a file of its own, turned into what a page of many charts needs.
_FOR_A_PAGE = (
    (r"<metadata>.*?</metadata>", ""),
    (r"<style.*?</style>", ""),  # it would apply to the whole page
    (r'^<svg([^>]*?) width="[^"]*"', r"<svg\1"),  # the page sets the size ...
    (r'^<svg([^>]*?) height="[^"]*"', r"<svg\1"),
    (r"font-family: [^;\"]*; ?", ""),  # ... and the font
    (r' id="[A-Za-z.0-9]+_\d+"', ""),  # names of groups, the same in every chart
    (r"(\d\.\d\d)\d{4}(?!\d)", r"\1"),  # coordinates are written with six digits
    (r"\s*\n\s*", " "),
    (r"^<svg", '<svg role="img"'),
)
_INCHES = (4.6, 2.9)  # on a phone's 360 points the letters come out at about their size
_LONG_NAME = 24  # letters; two longer ones do not fit side by side


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart; an empty name keeps it out of the legend."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    color: str = COLORS[0]
    dashed: bool = False
    faint: bool = False


@dataclasses.dataclass(frozen=True)
class Spread:
    """A series of a chart: at each label the values of several runs."""

    name: str
    values: Sequence[Sequence[float]]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log_y: bool = False,
    markers: bool = False,
) -> str:
    """Lines over a common axis.

    Args:
      lines: drawn in this order.
      title: read aloud by screen readers; the page shows its own heading.
      x_label: what and in which unit.
      y_label: likewise.
      x_range: limits; by the data where None.
      y_range: limits; by the data where None.
      log_y: logarithmic values.
      markers: a dot at each point.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
        for line in lines:
            axes.plot(
                line.x,
                line.y,
                label=line.name or "_",
                color=line.color,
                linestyle="--" if line.dashed else "-",
                linewidth=1.0 if line.faint or line.dashed else 1.8,
                alpha=0.35 if line.faint else 1.0,
                marker="o" if markers and not line.dashed else None,
                markersize=3,
            )
        if log_y:
            axes.set_yscale("log")
        if x_range is not None:
            axes.set_xlim(*x_range)
        if y_range is not None:
            axes.set_ylim(*y_range)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if sum(bool(line.name) for line in lines) > 1:
            axes.legend(handlelength=1.4, labelspacing=0.3)
        return _svg(figure, title)


def spread_chart(
    labels: Sequence[str],
    series: Sequence[Spread],
    *,
    title: str,
    x_label: str,
    y_label: str,
    joined: bool = True,
) -> str:
    """Mean and standard deviation of several runs at each label, and each run as a dot.

    Args:
      labels: along the axis, evenly spaced.
      series: each with as many lists of values as there are labels.
      title, x_label, y_label: see `line_chart`.
      joined: draw a line through the means; not where the labels have no order.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
        for index, part in enumerate(series):
            # Side by side, so that none hides another.
            shift = 0.12 * (index - (len(series) - 1) / 2)
            places = [place + shift for place in range(len(labels))]
            color = COLORS[index % len(COLORS)]
            for place, values in zip(places, part.values):
                axes.plot([place] * len(values), values, "o", color=color, alpha=0.35, markersize=3)
            axes.errorbar(
                places,
                [statistics.fmean(values) for values in part.values],
                [statistics.stdev(v) if len(v) > 1 else 0.0 for v in part.values],
                label=part.name,
                color=color,
                linestyle="-" if joined else "none",
                linewidth=1.4,
                marker="o",
                markersize=4,
                capsize=3,
            )
        axes.set_xticks(range(len(labels)), labels, fontsize=8 if len(labels) > 4 else 9)
        axes.grid(False, axis="x")
        axes.set_ylim(bottom=0)
        axes.margins(y=0.1)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(series) > 1:
            # Above the axes: inside there is no place that is free for certain.
            is_long = max(len(part.name) for part in series) > _LONG_NAME
            figure.legend(
                loc="outside upper left", ncols=1 if is_long else 2, handlelength=1.4, borderpad=0
            )
        return _svg(figure, title)


def bar_chart(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    title: str,
    y_label: str,
    texts: Sequence[str] | None = None,
    x_label: str = "",
    y_range: tuple[float, float] | None = None,
    color: str = COLORS[0],
) -> str:
    """Upright bars with a text over each (its value, or what `texts` says)."""
    with rc_context(_STYLE):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
        bars = axes.bar(range(len(labels)), values, color=color, width=0.68)
        axes.bar_label(
            bars,
            labels=texts if texts is not None else [f"{value:.3f}" for value in values],
            padding=2,
            fontsize=8,
            color=INK,
        )
        axes.set_xticks(range(len(labels)), labels, fontsize=8 if len(labels) > 4 else 9)
        axes.grid(False, axis="x")
        axes.margins(y=0.12)
        if y_range is not None:
            axes.set_ylim(*y_range)
        axes.set_ylabel(y_label)
        axes.set_xlabel(x_label)
        return _svg(figure, title)


def histogram_chart(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    color: str = COLORS[0],
) -> str:
    """Bars between edges, one fewer than these; `marks` are upright lines with a text.

    With `log_x` the axis is logarithmic and its numbers are written out.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
        widths = [right - left for left, right in itertools.pairwise(edges)]
        axes.bar(edges[:-1], counts, width=widths, align="edge", color=color, linewidth=0)
        if log_x:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        for place, text in marks:
            axes.axvline(place, color=MUTED, linewidth=1.0, linestyle="--")
            axes.annotate(
                text,
                (place, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, -9),
                textcoords="offset points",
                fontsize=8,
                color=MUTED,
            )
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return _svg(figure, title)


def heat_map(values: Sequence[Sequence[float]], *, title: str, color: str = COLORS[0]) -> str:
    """A grid of cells, first row on top; the fullest cell has the full colour."""
    highest = max((value for row in values for value in row), default=0) or 1
    with rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                axes.add_patch(
                    Rectangle((x, y), 1, 1, facecolor=color, alpha=value / highest, linewidth=0)
                )
        axes.set_xlim(0, len(values[0]))
        axes.set_ylim(len(values), 0)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(True)
        return _svg(figure, title)


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]  # the XML declaration has no place inside a page
    for pattern, replacement in _FOR_A_PAGE:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text
