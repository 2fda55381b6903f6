"""Loss over the learning rate: a sweep, and the runs that confirm it."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from torchmlp.figures.style.axes import Scale, drawable, set_grid
from torchmlp.figures.style.canvas import KEY, LEFT, RIGHT, TICKS, Canvas
from torchmlp.figures.style.text import distinct, short
from torchmlp.figures.style.theme import LIGHT, Style
from torchmlp.stability.lr_finder.finder import RateSearch

SWEEP: Style = ("blue", "-", 1.8)
STABLE: Style = ("green", "-", 0.0)
UNSTABLE: Style = ("red", "-", 0.0)
SUGGESTED: Style = ("green", "--", 2.0)
LARGEST: Style = ("orange", ":", 2.4)
MOST_TICKS = 4  # of the rates; of a narrow range they are long
ROW, LETTERS = 20.0, 52  # of the legend


def rate_figure(found: RateSearch) -> Figure:
    """The sweep as a line up to where it broke, and the end of every run at a constant rate.

    Runs that train are filled circles, others crosses; what is not finite, or larger than all that
    trains, is at the top. Vertical lines mark the suggested and the largest stable rate.
    """
    keys = _keys(found)
    top, bottom = 26.0, 250.0
    row = bottom + 46
    canvas = Canvas(row - ROW + 8 + ROW * len(keys))
    axes = canvas.axes(LEFT, top, RIGHT, bottom)
    scale = _losses(found)
    scale.set_y(axes, labelled=_has_losses(found))
    _set_rates(axes, found)
    set_grid(axes)
    canvas.text(0.0, 13.0, "loss, log scale" if scale.is_log else "loss", colour="muted")
    canvas.text(0.0, bottom + TICKS, "rate", colour="muted")
    _draw_sweep(axes, found, scale)
    _draw_runs(axes, found, scale)
    for rate, style in ((found.suggested, SUGGESTED), (found.largest, LARGEST)):
        if rate is not None:
            colour, dash, width = style
            axes.axvline(rate, color=LIGHT[colour], linestyle=dash, linewidth=width, zorder=2)
    for key, marker, words in keys:
        if key is not None:
            canvas.key(0.0, row, key, marker)
        canvas.text(KEY + 10 if key else 0.0, row, words)
        row += ROW
    return canvas.figure


def _keys(found: RateSearch) -> list[tuple[Style | None, str, str]]:
    """Style, mark and words of each line of the legend."""
    at = "" if found.broke is None else f" (× breaks at {short(found.broke)})"
    keys: list[tuple[Style | None, str, str]] = [(SWEEP, "", f"loss, the rate growing{at}")]
    runs = f"runs of {found.steps} steps"
    if any(run.stable for run in found.runs):
        keys.append((STABLE, "o", f"end of {runs} that train"))
    if any(not run.stable for run in found.runs):
        keys.append((UNSTABLE, "x", f"end of {runs} that do not"))
    if found.largest is None or found.suggested is None:
        words = textwrap.wrap(str(found), LETTERS)
        return [*keys, *((None, "", line) for line in words)]
    keys.append((SUGGESTED, "", f"suggested rate {short(found.suggested)}"))
    return [*keys, (LARGEST, "", f"largest stable rate {short(found.largest)}")]


def _has_losses(found: RateSearch) -> bool:
    return bool(np.isfinite(drawable([found.start, *found.losses])).any())


def _losses(found: RateSearch) -> Scale:
    """The axis of what trains: a run that diverges would leave nothing else to be seen."""
    before = found.losses if found.broke is None else found.losses[:-1]
    ends = [run.loss for run in found.runs if run.stable]
    return Scale.of(drawable([found.start, *before, *ends]).tolist())


def _set_rates(axes: Axes, found: RateSearch) -> None:
    scale = Scale.of([found.low, found.high])
    axes.set_xscale("log")
    axes.set_xlim(scale.low, scale.high)
    axes.xaxis.set_minor_locator(NullLocator())
    ticks = scale.ticks()
    ticks = ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticks(ticks, distinct(ticks))


def _inside(loss: float, scale: Scale) -> float:
    """Where a loss is drawn: at the top where it is larger or not finite."""
    return min(max(loss, scale.low), scale.high) if math.isfinite(loss) else scale.high


def _draw_sweep(axes: Axes, found: RateSearch, scale: Scale) -> None:
    colour, dash, width = SWEEP
    losses = [_inside(loss, scale) for loss in found.losses]
    axes.plot(
        found.rates,
        losses,
        label="sweep",
        color=LIGHT[colour],
        linestyle=dash,
        linewidth=width,
        zorder=3,
    )
    if found.broke is not None:
        axes.plot(
            found.rates[-1:],
            losses[-1:],
            label="_broke",
            color=LIGHT[colour],
            marker="x",
            markersize=10,
            markeredgewidth=2.4,
            clip_on=False,
            zorder=5,
        )


def _draw_runs(axes: Axes, found: RateSearch, scale: Scale) -> None:
    for is_stable, (colour, _, _), marker in ((True, STABLE, "o"), (False, UNSTABLE, "x")):
        runs = [run for run in found.runs if run.stable is is_stable]
        axes.plot(
            [run.rate for run in runs],
            [_inside(run.loss, scale) for run in runs],
            label="trains" if is_stable else "does not",
            color=LIGHT[colour],
            linestyle="",
            marker=marker,
            markersize=7,
            markeredgewidth=2,
            clip_on=False,
            zorder=4,
        )
