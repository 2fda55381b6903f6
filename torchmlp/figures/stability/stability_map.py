"""The map of widths and learning rates as a figure: what trains, up to where, and why there."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from torchmlp.figures.style.text import short
from torchmlp.figures.style.theme import LIGHT
from torchmlp.stability.map.cell import Cell, CellResult
from torchmlp.stability.summary.boundary import (
    GridColumn,
    StabilityLimit,
    columns,
    stability_limits,
)
from torchmlp.stability.summary.text_table import MARKS, mark

# Blue against orange, which every kind of colour blindness tells apart, and each lighter or darker
# than its neighbour, so that grey does too. The letters' tone stands beside.
TONES = {
    "learns": ("#2b6ca3", "#ffffff"),
    "slow": ("#98c3e0", "#1f2328"),
    "stuck": ("#e4e2dc", "#1f2328"),
    "diverged": ("#e8963a", "#1f2328"),
    "nan": ("#5a1d12", "#ffffff"),
}
WORDS = {
    "learns": "learns: its accuracy",
    "slow": "slow: its accuracy so far",
    "stuck": "stuck",
    "diverged": "diverged",
    "nan": "nan: at which step",
    "not run": "not run",
}
NOT_RUN = "//"
SIZE = (8.4, 5.4)  # inches
PLOT = (0.105, 0.12, 0.63, 0.77)  # left, bottom, width and height, shares of the figure
TEXT = 10.0  # points
SLIM = 0.62  # a letter's width over its height
SMALLEST = 6.5  # points; terser marks rather than smaller ones


class _Edges:
    """Where cells meet on a logarithmic axis: half way between their values."""

    def __init__(self, values: Sequence[float]) -> None:
        logs = np.log(np.array(values, dtype=np.float64))
        middles = (logs[1:] + logs[:-1]) / 2
        first, last = (
            (logs[1] - logs[0], logs[-1] - logs[-2]) if len(logs) > 1 else (math.log(10),) * 2
        )
        edges = np.concatenate([[logs[0] - first / 2], middles, [logs[-1] + last / 2]])
        self._edges = [float(edge) for edge in np.exp(edges)]
        self._values = list(values)

    def of(self, value: float) -> tuple[float, float]:
        k = self._values.index(value)
        return self._edges[k], self._edges[k + 1]

    @property
    def ends(self) -> tuple[float, float]:
        return self._edges[0], self._edges[-1]


def map_figure(
    results: Iterable[CellResult],
    batch_size: int,
    *,
    depth: int | None = None,
    init: str | None = None,
    own: Cell | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> Figure:
    """Outcome by width and learning rate, of one batch size, depth and init.

    Colour and letters tell the outcome: the accuracy of what learns, the step of a nan. A solid
    line is the largest stable rate, between the last rate that trains and the next; a dashed one
    what the curvature at the start allows. A star is the user's own width and rate, wherever it is.

    Args:
        results: of the map; others than these are left out, seeds are folded by the worst.
        batch_size: B.
        depth: number of hidden layers; needed where the results have several.
        init: the same of the initial weights.
        own: the user's run; drawn where it has this batch size, depth and init.
        momentum: of the runs, as is the next; the dashed line is theirs.
        nesterov: whether it looks ahead.

    Raises:
        ValueError: no such results, or several depths or inits and none chosen.
    """
    of = [r for r in results if r.cell.batch_size == batch_size]
    of = [r for r in of if depth in (None, r.cell.depth) and init in (None, r.cell.init)]
    kinds = sorted({(r.cell.depth, r.cell.init) for r in of})
    if len(kinds) != 1:
        raise ValueError(
            f"map_figure: expected cells of one depth and init with batch_size={batch_size}, got "
            + (f"{len(kinds)} kinds, {kinds}; choose by depth= and init=" if kinds else "none")
        )
    depth, init = kinds[0]
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes(PLOT)
    rows = {float(c.width): {r.cell.lr: r for r in found} for c, found in columns(of).items()}
    rates = sorted({r.cell.lr for r in of})
    x, y = _Edges(sorted(rows)), _Edges(rates)
    star = (
        own
        if own and GridColumn.of(own) == GridColumn(depth, init, batch_size, own.width)
        else None
    )
    _set_axes(axes, x, y, sorted(rows), rates, star)
    keys = _draw_cells(axes, rows, x, y, star)
    keys += _draw_limits(axes, stability_limits(of, momentum, nesterov=nesterov), x, y, momentum)
    if star:
        keys += axes.plot(
            star.width, star.lr, label=f"yours: width {star.width:,},\nrate {short(star.lr)}",
            marker="*", markersize=17, color="#ffd84d", markeredgecolor=LIGHT["ink"],
            linestyle="", zorder=6, clip_on=False,
        )  # fmt: skip
    layers = f"{depth} hidden layer{'s' * (depth > 1)}"
    figure.text(
        PLOT[0], 0.93, f"Which widths and rates train: batch {batch_size}, {layers}, init {init}",
        fontsize=12, color=LIGHT["ink"], parse_math=False,
    )  # fmt: skip
    figure.legend(
        handles=keys, loc="upper left",
        bbox_to_anchor=(PLOT[0] + PLOT[2] + 0.01, PLOT[1] + PLOT[3]),
        borderaxespad=0, frameon=False, fontsize=9, labelcolor=LIGHT["ink"], handlelength=2.2,
        labelspacing=0.9,
    )  # fmt: skip
    return figure


def _set_axes(
    axes: Axes,
    x: _Edges,
    y: _Edges,
    widths: Sequence[float],
    rates: Sequence[float],
    star: Cell | None,
) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    inside = ((x.ends, float(star.width) if star else None), (y.ends, star.lr if star else None))
    (left, right), (low, high) = (_with(ends, value) for ends, value in inside)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    for axis, values, ends, share in (
        (axes.xaxis, widths, (left, right), 0.085),
        (axes.yaxis, rates, (low, high), 0.04),
    ):
        axis.set_minor_locator(NullLocator())
        kept = _apart(values, share * math.log(ends[1] / ends[0]))
        axis.set_ticks(kept, [short(value) for value in kept])
    axes.set_xlabel("width (units of a hidden layer)", color=LIGHT["ink"])
    axes.set_ylabel("learning rate", color=LIGHT["ink"])
    axes.yaxis.set_label_coords(-0.125, 0.5)
    axes.tick_params(length=0, pad=5, labelcolor=LIGHT["ink"])
    axes.spines[:].set_visible(False)


def _with(ends: tuple[float, float], value: float | None) -> tuple[float, float]:
    """The ends, moved out so that the value lies clearly between them."""
    if value is None or ends[0] < value < ends[1]:
        return ends
    return min(ends[0], value / 1.5), max(ends[1], value * 1.5)


def _apart(values: Sequence[float], least: float) -> list[float]:
    """The values whose logarithms are so far apart, the first always."""
    kept: list[float] = []
    for value in values:
        if not kept or math.log(value / kept[-1]) >= least:
            kept.append(value)
    return kept


def _draw_cells(
    axes: Axes,
    rows: dict[float, dict[float, CellResult]],
    x: _Edges,
    y: _Edges,
    star: Cell | None,
) -> list[Artist]:
    """A rectangle and letters for each cell; the legend's keys of what there is."""
    rates = sorted({lr for row in rows.values() for lr in row})
    seen = set()
    for width, row in rows.items():
        left, right = x.of(width)
        half = min(width / left, right / width)
        wide = _points(axes.get_xlim(), (1 / half, half), PLOT[2] * SIZE[0])
        least = min(_points(axes.get_ylim(), y.of(lr), PLOT[3] * SIZE[1]) for lr in rates)
        terseness, points = _letters(list(row.values()), wide, least)
        for lr in rates:
            low, high = y.of(lr)
            result = row.get(lr)
            tone, ink = TONES[result.outcome] if result else ("#ffffff", LIGHT["muted"])
            seen.add(result.outcome if result else "not run")
            axes.add_patch(
                Rectangle(
                    (left, low), right - left, high - low, facecolor=tone,
                    edgecolor="#ffffff" if result else LIGHT["muted"], linewidth=1 if result else 0,
                    hatch=None if result else NOT_RUN, gid=result.outcome if result else "not run",
                )
            )  # fmt: skip
            if result:
                has_star = star and left < star.width < right and low < star.lr < high
                # A patch of the cell's colour lets the text be read across a line; in a crowded map
                # the lines matter more.
                is_over = terseness < len(MARKS) - 1
                axes.annotate(
                    mark(result, terseness),
                    (width, math.sqrt(low * high)),
                    (0, -min(16.0, 0.3 * least) if has_star else 0), textcoords="offset points",
                    color=ink, fontsize=points, ha="center", va="center",
                    zorder=5.5 if is_over else 3,
                    bbox={"facecolor": tone, "linewidth": 0, "pad": 0.8} if is_over else None,
                )  # fmt: skip
    return [
        Patch(
            facecolor=TONES[name][0] if name in TONES else "#ffffff",
            edgecolor=LIGHT["muted"], linewidth=0.8, hatch=None if name in TONES else NOT_RUN,
            label=words,
        )
        for name, words in WORDS.items() if name in seen
    ]  # fmt: skip


def _points(limits: tuple[float, float], ends: tuple[float, float], inches: float) -> float:
    """Length between two values on a logarithmic axis, in points."""
    return 72 * inches * math.log(ends[1] / ends[0]) / math.log(limits[1] / limits[0])


def _letters(results: Sequence[CellResult], wide: float, high: float) -> tuple[int, float]:
    """The marks and the size of letter that fit into cells of so many points."""
    for terseness in range(len(MARKS)):
        longest = max(len(mark(result, terseness)) for result in results)
        points = min(TEXT, 0.75 * high, 0.9 * wide / (SLIM * longest))
        if points >= SMALLEST:
            break
    return terseness, max(points, 1.0)


def _draw_limits(
    axes: Axes, edges: Sequence[StabilityLimit], x: _Edges, y: _Edges, momentum: float
) -> list[Line2D]:
    """The measured and the theoretical line."""
    spans = [x.of(float(edge.column.width)) for edge in edges]
    levels = [y.ends[0] if edge.safe is None else y.of(edge.safe)[1] for edge in edges]
    none = ": none" * all(edge.safe is None for edge in edges)
    halo = [withStroke(linewidth=5, foreground="#ffffff")]
    lines = axes.plot(
        [end for span in spans for end in span],
        [level for level in levels for _ in range(2)],
        label=f"largest stable rate{none}", color=LIGHT["ink"], linewidth=2.6,
        solid_joinstyle="miter", solid_capstyle="butt", path_effects=halo, zorder=4, clip_on=False,
    )  # fmt: skip
    sharpness_limit = [
        (edge.column.width, edge.sharpness_limit) for edge in edges if edge.sharpness_limit
    ]
    if sharpness_limit:
        widths, rates = (
            [float(v) for v in column] for column in zip(*sharpness_limit, strict=True)
        )
        low, high = axes.get_ylim()
        name = "2 / λmax at the start" + ",\nwith momentum" * bool(momentum)
        where = "below" if max(rates) < low else "above" if min(rates) > high else ""
        beyond = f"\n({where} the map)" if where else ""
        lines += axes.plot(
            [spans[0][0], *widths, spans[-1][1]],
            [rates[0], *rates, rates[-1]],
            label=name + beyond, color=LIGHT["ink"], linewidth=2,
            linestyle=(0, (4, 2)), path_effects=halo, zorder=5,
        )  # fmt: skip
    return lines
