"""A figure drawn in absolute coordinates from the top left."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from torchmlp.figures.style.text import printable
from torchmlp.figures.style.theme import FONT, LIGHT, WIDTH, Style

LEFT, RIGHT = 56.0, WIDTH - 8  # of a plot with a vertical axis
TICKS = 18.0  # of the horizontal axis: from it to its numbers' baseline
KEY = 34.0  # length of a line in a legend
UNITS = 72.0  # in an inch: a unit is a point, and SVG's pixel


class Canvas:
    """A figure `WIDTH` wide and so high.

    Attributes:
        figure: matplotlib's.
        height: in units.
    """

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / UNITS, height / UNITS), dpi=UNITS)
        self.figure.patch.set_visible(False)

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """Axes between these edges, empty and without a frame."""
        size = WIDTH, self.height
        axes = self.figure.add_axes(
            (
                left / size[0],
                1 - bottom / size[1],
                (right - left) / size[0],
                (bottom - top) / size[1],
            )
        )
        axes.patch.set_visible(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(
            length=0, pad=5, labelsize=FONT, labelcolor=LIGHT["muted"], labelfontfamily="sans-serif"
        )
        axes.tick_params(axis="x", pad=7.5)
        return axes

    def text(
        self,
        left: float,
        top: float,
        words: str,
        *,
        colour: str = "ink",
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """A line whose baseline is `top` units from the top; no sign in it means mathematics."""
        self.figure.text(
            left / WIDTH,
            1 - top / self.height,
            " ".join(printable(words).split()),
            color=LIGHT[colour],
            fontsize=FONT,
            fontfamily="sans-serif",
            ha=align,
            va="baseline",
            parse_math=False,
        )

    def key(self, left: float, top: float, style: Style, marker: str = "") -> None:
        """A short line that stands for one of the plot, beside a text at the same `top`."""
        colour, dash, width = style
        x = np.linspace(left, left + KEY, 3) / WIDTH
        line = Line2D(
            x,
            np.full(3, 1 - (top - 4.5) / self.height),
            color=LIGHT[colour],
            linestyle=dash,
            linewidth=width,
            marker=marker,
            markersize=6,
            markevery=(1, 2),
            transform=self.figure.transFigure,
        )
        self.figure.add_artist(line)
