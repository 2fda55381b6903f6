"""The figure holds what the search has found, whatever that is."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.figures.test_figures import data, words
from torchmlp.figures.stability.lr_curve import rate_figure
from torchmlp.figures.style.canvas import TICKS
from torchmlp.figures.style.theme import FONT, WIDTH
from torchmlp.stability.lr_finder.finder import RateRun, RateSearch

RATES = tuple(float(rate) for rate in 10.0 ** np.arange(-4, 1))
FOUND = RateSearch(
    low=1e-4,
    high=100.0,
    steps=100,
    start=2.4,
    rates=RATES,
    losses=(2.4, 2.3, 1.2, 0.8, 9e5),
    broke=1.0,
    runs=(
        RateRun(0.1, 0.5, stable=True, broke=""),
        RateRun(0.3, 0.3, stable=True, broke=""),
        RateRun(0.5, 0.9, stable=True, broke=""),
        RateRun(0.7, 2.3, stable=False, broke=""),
        RateRun(1.0, 4e9, stable=False, broke=""),
        RateRun(3.0, math.nan, stable=False, broke="the first nan is in z of layer 1 at step 7"),
    ),
    suggested=0.3,
    largest=0.5,
    reason="",
)
NONE = replace(
    FOUND,
    start=math.nan,
    rates=(1e-4,),
    losses=(math.nan,),
    broke=1e-4,
    runs=(),
    suggested=None,
    largest=None,
    reason="at every rate the first nan is in x at step 0",
)


def drawn(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """What each line holds, by its label."""
    return {str(line.get_label()): data(line) for line in figure.axes[0].lines}


def test_holds_the_sweep_and_the_runs() -> None:
    """Losses over rates as they are; what is larger than all that trains, or nan, at the top."""
    figure = rate_figure(FOUND)
    axes, found = figure.axes[0], drawn(figure)
    low, top = axes.get_ylim()
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert low < 0.3
    assert 2.4 < top < 5
    assert found["sweep"] == (list(RATES), [2.4, 2.3, 1.2, 0.8, top])
    assert found["_broke"] == ([1.0], [top])
    assert found["trains"] == ([0.1, 0.3, 0.5], [0.5, 0.3, 0.9])
    assert found["does not"] == ([0.7, 1.0, 3.0], [2.3, top, top])
    first, last = axes.get_xlim()
    assert first < FOUND.low < FOUND.high < last


def test_marks_the_rates() -> None:
    """The suggested and the largest stable rate are lines of their own kind, and named."""
    figure = rate_figure(FOUND)
    upright = [line for line in figure.axes[0].lines if len(set(data(line)[0])) == 1]
    upright = [line for line in upright if len(data(line)[0]) == 2]
    assert [data(line)[0][0] for line in upright] == [0.3, 0.5]
    assert len({line.get_linestyle() for line in upright}) == 2
    assert {
        "loss, the rate growing (× breaks at 1)",
        "end of runs of 100 steps that train",
        "end of runs of 100 steps that do not",
        "suggested rate 0.3",
        "largest stable rate 0.5",
    } <= set(words(figure))


def test_says_that_there_is_none() -> None:
    """Without a finite loss: the break alone, no numbers on the axis, and the reason."""
    figure = rate_figure(NONE)
    axes, found = figure.axes[0], drawn(figure)
    assert found["_broke"] == ([1e-4], [axes.get_ylim()[1]])
    assert found["trains"] == found["does not"] == ([], [])
    assert not axes.get_yticks().size
    assert " ".join(words(figure)).endswith(str(NONE))


@pytest.mark.parametrize(
    "found",
    [
        FOUND,
        NONE,
        replace(FOUND, losses=(-1.0, -2.0, 0.0, 3.0, 1e300)),
        replace(FOUND, losses=(0.0,) * 5, start=0.0),
        replace(
            FOUND, broke=None, low=0.9e-4, high=1.1e-4, runs=(), rates=RATES[:1], losses=(1.0,)
        ),
    ],
    ids=["found", "none", "negative", "zero", "narrow"],
)
def test_can_be_drawn(found: RateSearch) -> None:
    """Any numbers make a figure whose words and numbers stay inside and apart."""
    figure = rate_figure(found)
    figure.canvas.draw()
    height = figure.get_figheight() * 72
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= WIDTH
        assert box.y0 >= -1
    rows = sorted({round((1 - text.get_position()[1]) * height, 1) for text in figure.texts})
    assert all(below - above > FONT for above, below in pairwise(rows))
    axes = figure.axes[0]
    numbers = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(numbers))
    assert rows[1] == pytest.approx(250 + TICKS)
