"""How much training changes the pre-activations, over the width: parametrizations side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from torchmlp.figures.diagnosis.gradient_flow import LOOKS
from torchmlp.figures.style.axes import Scale, broken, drawable, set_grid
from torchmlp.figures.style.canvas import KEY, LEFT, RIGHT, TICKS, Canvas
from torchmlp.figures.style.text import short
from torchmlp.figures.style.theme import LIGHT, WIDTH
from torchmlp.stability.coordinate_check import Coordinates

GAP = 14.0  # between the panels of a row
ROW, TITLE = 112.0, 26.0  # height of a panel, and of what is written over it
MOST_WIDTHS = 4  # that are written under a panel


def coordinates_figure(checks: Sequence[Coordinates]) -> Figure:
    """A row of panels for each layer, a column for each check.

    In a panel the mean |z - z at the start| over the width, on logarithmic axes: flat where the
    width does not matter. A line for each of three steps, the first that has changed all layers, a
    middle and the last; over the panel the power of the width that the last one goes with. A cross
    at the top stands for what is not finite.

    Args:
        checks: of as many layers and steps each; two or three fit.

    Raises:
        ValueError: no checks, or of another number of layers or steps.
    """
    shapes = {(len(check.changes), len(check.changes[0])) for check in checks}
    if len(shapes) != 1:
        raise ValueError(
            "coordinates_figure: expected checks of as many steps and layers each, got "
            + (", ".join(f"{s - 1} steps of {n} layers" for s, n in sorted(shapes)) or "none")
        )
    ((times, layers),) = shapes
    whole = [s for s in range(1, times) if all(_is_whole(check.changes[s]) for check in checks)]
    first = whole[0] if whole else times - 1
    steps = sorted({first, (first + times - 1) // 2, times - 1})
    head = 36.0
    canvas = Canvas(head + layers * (ROW + TITLE) + 62)
    size = (RIGHT - LEFT - GAP * (len(checks) - 1)) / len(checks)
    canvas.text(0.0, 13.0, "mean |change of z| since the start, log scale", colour="muted")
    for layer in range(layers):
        top = head + layer * (ROW + TITLE) + TITLE
        shown = [v for check in checks for s in steps for v in check.changes[s][layer]]
        scale = Scale.of([v for v in drawable(shown).tolist() if v > 0])
        for column, check in enumerate(checks):
            left = LEFT + column * (size + GAP)
            axes = canvas.axes(left, top, left + size, top + ROW)
            scale.set_y(axes, labelled=column == 0)
            _set_widths(axes, check.widths, labelled=layer == layers - 1)
            set_grid(axes)
            for step, look in zip(steps, LOOKS, strict=False):
                _draw(axes, check, step, layer, scale, look)
            if layer == 0:
                title = f"{check.parametrization}, {check.optimizer} {short(check.lr)}"
                canvas.text(left, head, title)
            canvas.text(left, top - 6, f"layer {layer + 1}", colour="muted")
            power = f"width^{check.growth[-1][layer]:.2f}".replace("-", "\N{MINUS SIGN}")
            canvas.text(left + size, top - 6, power, colour="muted", align="right")
    foot = head + layers * (ROW + TITLE) + TICKS
    canvas.text(0.0, foot, "width", colour="muted")
    for k, (step, (style, marker)) in enumerate(zip(steps, LOOKS, strict=False)):
        left = k * (WIDTH / len(LOOKS))
        canvas.key(left, foot + 32, style, marker)
        canvas.text(left + KEY + 8, foot + 32, f"step {step:,}")
    return canvas.figure


def _is_whole(layers: Sequence[Sequence[float]]) -> bool:
    """Whether a step has changed every layer at every width."""
    return all(change != 0 for row in layers for change in row)


def _set_widths(axes: Axes, widths: Sequence[int], *, labelled: bool) -> None:
    """Make the widths the horizontal axis, a logarithmic one."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(widths[0] / 1.15, widths[-1] * 1.15)
    axes.xaxis.set_minor_locator(NullLocator())
    apart = -(-(len(widths) - 1) // (MOST_WIDTHS - 1))
    named = widths[::apart] if labelled else []
    axes.xaxis.set_major_locator(FixedLocator([float(width) for width in named]))
    axes.set_xticks(named, [f"{width}" for width in named])


def _draw(
    axes: Axes,
    check: Coordinates,
    step: int,
    layer: int,
    scale: Scale,
    look: tuple[tuple[str, object, float], str],
) -> None:
    (colour, dash, width), marker = look
    values = check.changes[step][layer]
    known = drawable(values)
    axes.plot(
        check.widths,
        np.where(known > 0, known, np.nan),
        label=f"step {step}",
        color=LIGHT[colour],
        linestyle=dash,
        linewidth=width,
        marker=marker,
        markersize=5,
        clip_on=False,
    )
    lost = np.array(check.widths)[broken(values)]
    axes.plot(
        lost,
        np.full(len(lost), scale.high),
        label=f"_broke {step}",
        color=LIGHT[colour],
        linestyle="",
        marker="x",
        markersize=8,
        markeredgewidth=2,
        clip_on=False,
    )
