"""What an axis shows: its ends and its ticks, for any numbers at all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from torchmlp.figures.style.text import distinct
from torchmlp.figures.style.theme import LIGHT

LARGEST = 1e30  # beyond it float32 nearly ends, and the axes' own arithmetic overflows
WIDE = 100.0  # largest over smallest of what needs a logarithmic axis to be seen
DECADES = 2.0  # so many powers of ten are labelled by powers of ten
MOST_TICKS = 6


Values = npt.NDArray[np.float64]


def drawable(values: Sequence[float | None]) -> Values:
    """The values that a figure can hold; nan for what is missing, not finite or beyond 1e30.

    What is nearer to 0 than 1e-30 is moved there, but 0 itself is not.
    """
    array = np.array([math.nan if v is None else float(v) for v in values], dtype=np.float64)
    size = np.abs(array)
    array = np.where((size > 0) & (size < 1 / LARGEST), np.copysign(1 / LARGEST, array), array)
    return np.where(size <= LARGEST, array, math.nan)


def broken(values: Sequence[float | None]) -> npt.NDArray[np.bool_]:
    """Where a value was measured and cannot be drawn."""
    return np.isnan(drawable(values)) & np.array([v is not None for v in values], dtype=np.bool_)


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        low, high: its ends, a little beyond the values'.
        is_log: whether it is logarithmic: of positive values only.
    """

    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> "Scale":
        """The axis of these values; a logarithmic one where all are positive."""
        finite = [v for v in values if math.isfinite(v)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if low > 0:
            margin = max((high / low) ** 0.05, 1.01)
            return cls(low / margin, high * margin, is_log=True)
        margin = max(0.05 * (high - low), 1e-6 * max(abs(low), abs(high)), 1e-9)
        return cls(low - margin, high + margin, is_log=False)

    @classmethod
    def from_zero(cls, values: Sequence[float], least: float = 0.0) -> "Scale":
        """From 0 to the largest, or `least` if that is more; logarithmic if that shows too little.

        Nothing below 0 is expected. A 0 is drawn at the foot of a logarithmic axis.
        """
        above = [v for v in values if math.isfinite(v) and v > 0]
        if above and max(above) > WIDE * min(above):
            return cls.of(above)
        high = max([least, *above])
        return cls(0.0, high if high > 1 / LARGEST else 1.0, is_log=False)

    def ticks(self) -> list[float]:
        """Between two and six round numbers on the axis."""
        if not self.is_log:
            return self._even()
        first, last = math.log10(self.low), math.log10(self.high)
        powers = list(range(math.ceil(first), math.floor(last) + 1))
        if last - first >= DECADES and len(powers) > 1:
            return [10.0**k for k in powers[:: math.ceil(len(powers) / MOST_TICKS)]]
        some = [m * 10.0**k for k in range(math.floor(first), math.ceil(last)) for m in (1, 2, 5)]
        some = [tick for tick in some if self.low <= tick <= self.high]
        return some if len(some) > 2 else self._even()  # noqa: PLR2004  two are no scale

    def _even(self) -> list[float]:
        ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [float(t) for t in ticks if self.low <= t <= self.high]

    def set_y(self, axes: Axes, *, labelled: bool = True) -> None:
        """Make it the vertical axis."""
        if self.is_log:
            axes.set_yscale("log")
        axes.set_ylim(self.low, self.high)
        axes.yaxis.set_minor_locator(NullLocator())
        ticks = self.ticks() if labelled else []
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.set_yticks(ticks, distinct(ticks))


def set_steps(axes: Axes, low: float, high: float, *, labelled: bool = True) -> None:
    """Make whole numbers the horizontal axis."""
    if high - low < max(1.0, 1e-9 * abs(high)):
        half = max(0.5, 1e-6 * abs(high))
        low, high = low - half, high + half
    margin = 0.015 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_minor_locator(NullLocator())
    ticks = (
        MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]).tick_values(low, high) if labelled else []
    )
    inside = [float(t) for t in ticks if low <= t <= high]
    axes.set_xticks(inside, [f"{t:,.0f}" for t in inside])


def set_grid(axes: Axes) -> None:
    """A line at every tick of the vertical axis, and the horizontal axis' own."""
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=1)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(LIGHT["muted"])
