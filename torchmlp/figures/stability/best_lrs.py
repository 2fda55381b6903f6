"""The best learning rate against the width: flat where the parametrisation makes it so."""

from collections.abc import Iterable, Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from torchmlp.figures.style.text import short
from torchmlp.figures.style.theme import LIGHT
from torchmlp.stability.map.cell import CellResult
from torchmlp.stability.summary.boundary import best_rate

LOOKS = (("blue", "-", "o"), ("orange", "--", "s"), ("purple", "-.", "^"), ("green", "-", "D"))


def best_rates(results: Iterable[CellResult]) -> dict[int, float]:
    """The rate with the lowest final loss by width, the widths rising; without what has none."""
    by_width: dict[int, list[CellResult]] = {}
    for result in results:
        by_width.setdefault(result.cell.width, []).append(result)
    found = {width: best_rate(by_width[width]) for width in sorted(by_width)}
    return {width: rate for width, rate in found.items() if rate is not None}


def best_rate_figure(maps: Mapping[str, Iterable[CellResult]]) -> Figure:
    """Best rate by width, a line for each map, beside a dotted one that falls as 1 / width.

    Args:
        maps: at most four, by name; of one batch size, depth and init each.

    Raises:
        ValueError: no maps, more than four, or one without a finite loss.
    """
    if not 1 <= len(maps) <= len(LOOKS):
        raise ValueError(f"best_rate_figure: expected 1 to {len(LOOKS)} maps, got {len(maps)}")
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    lines = [best_rates(results) for results in maps.values()]
    for name, rates, (colour, dash, marker) in zip(maps, lines, LOOKS, strict=False):
        if not rates:
            raise ValueError(f"best_rate_figure: no cell of {name!r} ends with a finite loss")
        axes.plot(
            list(rates), list(rates.values()), label=name, color=LIGHT[colour], linestyle=dash,
            marker=marker, linewidth=2, markersize=7, zorder=3,
        )  # fmt: skip
    first, rate = next(iter(lines[0].items()))
    widths = sorted({width for rates in lines for width in rates})
    axes.plot(
        widths, [rate * first / width for width in widths],
        label="as 1 / width", color=LIGHT["muted"], linestyle=":", linewidth=2,
    )  # fmt: skip
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(widths, [short(width) for width in widths])
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    axes.set_xlabel("width (units of a hidden layer)", color=LIGHT["ink"])
    axes.set_ylabel("learning rate with the lowest loss", color=LIGHT["ink"])
    axes.grid(axis="y", color=LIGHT["rule"])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=LIGHT["ink"])
    return figure
