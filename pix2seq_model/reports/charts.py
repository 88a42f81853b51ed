"""Charts as SVG text for the report: fit for a phone, without other files or a network."""

import dataclasses
import io
import re
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, MUTED, GRID = "#262624", "#75756f", "#e4e4df"
COLORS = ("#2f6fde", "#e0632b", "#2a9d63", "#8b5bd1", "#c9357f", "#8a7a1f", "#2aa3b8", "#75756f")

_STYLE: dict[Any, Any] = {
    # On a phone's 360 points the letters come out at about their size.
    "figure.figsize": (4.6, 2.9),
    "figure.constrained_layout.use": True,
    "savefig.transparent": True,
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
    **{f"{axis}tick.color": MUTED for axis in "xy"},
    **{f"{axis}tick.{kind}.size": 0 for axis in "xy" for kind in ("major", "minor")},
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
_LONG_NAME = 24  # letters; two longer ones do not fit side by side


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart; an empty name keeps it out of the legend."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    color: str = COLORS[0]
    dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Spread:
    """A series of a chart: at each label the values of several runs."""

    name: str
    values: Sequence[Sequence[float]]


def top_of(values: Sequence[float] | np.ndarray) -> float:
    """Where an axis of shares that begins at 0 ends: a little above the values; 0.1 at least."""
    return max([0.1, *(1.1 * value for value in values)])


@rc_context(_STYLE)
def line_chart(lines: Sequence[Line], *, title: str, markers: bool = False, **axes: Any) -> str:
    """Lines over a common axis.

    Args:
      lines: drawn in this order.
      title: read aloud by screen readers; the page shows its own heading.
      markers: a dot at each point.
      **axes: what matplotlib's `Axes.set` takes: xlabel and ylabel (what, and in which unit); xlim
        and ylim, where they are not those of the data.
    """
    plot = _new_axes(axes)
    for line in lines:
        plot.plot(
            line.x,
            line.y,
            label=line.name or "_",
            color=line.color,
            linestyle="--" if line.dashed else "-",
            linewidth=1.0 if line.dashed else 1.8,
            marker="o" if markers and not line.dashed else None,
            markersize=3,
        )
    if sum(bool(line.name) for line in lines) > 1:
        plot.legend(handlelength=1.4, labelspacing=0.3)
    return _svg(plot, title)


@rc_context(_STYLE)
def spread_chart(
    labels: Sequence[str], series: Sequence[Spread], *, title: str, joined: bool = True, **axes: Any
) -> str:
    """Mean and standard deviation of several runs at each label, and each run as a dot.

    Args:
      labels: along the axis, evenly spaced.
      series: each with as many lists of values as there are labels.
      title, **axes: see `line_chart`.
      joined: draw a line through the means; not where the labels have no order.
    """
    plot = _new_axes(axes, labels)
    for index, part in enumerate(series):
        # Side by side, so that none hides another.
        shift = 0.12 * (index - (len(series) - 1) / 2)
        places = [place + shift for place in range(len(labels))]
        color = COLORS[index % len(COLORS)]
        for place, values in zip(places, part.values):
            plot.plot([place] * len(values), values, "o", color=color, alpha=0.35, markersize=3)
        plot.errorbar(
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
    plot.set_ylim(bottom=0)
    plot.margins(y=0.1)
    if len(series) > 1:
        # Above the axes: inside there is no place that is free for certain.
        columns = 1 if max(len(part.name) for part in series) > _LONG_NAME else 2
        plot.figure.legend(loc="outside upper left", ncols=columns, handlelength=1.4, borderpad=0)
    return _svg(plot, title)


@rc_context(_STYLE)
def bar_chart(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    title: str,
    texts: Sequence[str] | None = None,
    color: str = COLORS[0],
    **axes: Any,
) -> str:
    """Upright bars of shares, 0 to 1, with a text over each (its value, or what `texts` says).

    The axis ends a little above the values, at 0.1 at least: an AP of 0.0001 is no tall bar.
    """
    plot = _new_axes(axes, labels)
    bars = plot.bar(range(len(labels)), values, color=color, width=0.68)
    plot.bar_label(bars, labels=texts, fmt="%.3f", padding=2, fontsize=8, color=INK)
    plot.set_ylim(0, top_of(values))
    return _svg(plot, title)


@rc_context(_STYLE)
def histogram_chart(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    title: str,
    log_x: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    color: str = COLORS[0],
    **axes: Any,
) -> str:
    """Bars of counts between edges, one fewer than these; `marks` are upright lines with a text.

    With `log_x` the axis is logarithmic and its numbers are written out; else it counts too.
    """
    plot = _new_axes(axes)
    # There is no half of an image: of few, matplotlib would write 0, 0, 1, 1, 2 at halves.
    plot.yaxis.set_major_locator(_whole_numbers())
    plot.xaxis.set_major_locator(_whole_numbers())
    plot.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=color, linewidth=0)
    if log_x:
        plot.set_xscale("log", base=2)
        plot.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for place, text in marks:
        plot.axvline(place, color=MUTED, linewidth=1.0, linestyle="--")
        plot.annotate(
            text,
            (place, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=8,
            color=MUTED,
        )
    plot.yaxis.set_major_formatter("{x:,.0f}")
    return _svg(plot, title)


@rc_context(_STYLE)
def heat_map(values: Sequence[Sequence[float]], *, title: str, color: str = COLORS[0]) -> str:
    """A grid of cells, first row on top; the fullest cell has the full colour."""
    plot = _new_axes({"aspect": "equal", "xticks": [], "yticks": []})
    shades = LinearSegmentedColormap.from_list("", [to_rgba(color, 0.0), to_rgba(color, 1.0)])
    plot.pcolormesh(values, cmap=shades, vmin=0, linewidth=0)
    plot.invert_yaxis()
    plot.spines[:].set_visible(True)
    return _svg(plot, title)


def _whole_numbers() -> MaxNLocator:
    return MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)


def _new_axes(settings: dict[str, Any], labels: Sequence[str] | None = None) -> Axes:
    """Axes, with names along the horizontal one where given."""
    plot = Figure().subplots()
    plot.set(**settings)
    if labels is not None:
        plot.set_xticks(range(len(labels)), labels, fontsize=8 if len(labels) > 4 else 9)
        plot.grid(False, axis="x")
    return plot


def _svg(plot: Axes, title: str) -> str:
    figure = plot.get_figure(root=True)
    assert figure is not None
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]  # the XML declaration has no place inside a page
    for pattern, replacement in _FOR_A_PAGE:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text
