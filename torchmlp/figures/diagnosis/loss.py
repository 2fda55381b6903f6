"""Loss over the steps, of a run and of the changed ones beside it."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.rules.attribution import UNTOUCHED, is_improvement, rank_trials
from torchmlp.figures.style.axes import Scale, Values, broken, drawable, set_grid, set_steps
from torchmlp.figures.style.canvas import KEY, LEFT, RIGHT, TICKS, Canvas
from torchmlp.figures.style.text import NONE, printable
from torchmlp.figures.style.theme import LIGHT, STYLES, Style

POINTS = 60  # of a line after its first; the dashes of a longer one drown in its noise
REMEDIES = len(STYLES) - 1  # lines beside the untouched run's, each with a dash of its own
ROW, LETTERS = 20.0, 48  # of the legend


@dataclass(frozen=True)
class Series:
    """The losses of a run.

    Attributes:
        name: "untouched", or what was changed.
        losses: of every step.
        helped: whether it did clearly better than the untouched one; None for that one itself.
    """

    name: str
    losses: list[float]
    helped: bool | None

    @property
    def broke_at(self) -> int | None:
        """The first step whose loss cannot be drawn; None if there is none."""
        steps = np.flatnonzero(broken(self.losses))
        return int(steps[0]) if len(steps) else None

    @property
    def ends(self) -> tuple[float, float]:
        """The first loss, and the mean of the last tenth."""
        return ends(self.losses)


def ends(losses: Sequence[float]) -> tuple[float, float]:
    """The first loss, and the mean of the last tenth; nan for none."""
    if not losses:
        return math.nan, math.nan
    tenth = losses[-max(len(losses) // 10, 1) :]
    return losses[0], sum(tenth) / len(tenth)


def unlike(trials: Iterable[Trial]) -> list[Trial]:
    """The trials without those that are the same run under another name; the first name stays."""
    found: dict[str, Trial] = {}
    for trial in trials:
        # As text, since nan is not equal to itself.
        found.setdefault(str((trial.score, trial.losses)), trial)
    return list(found.values())


def loss_series(record: Record, remedies: Sequence[Trial] | None = None) -> list[Series]:
    """The untouched run, then the trials that helped, the best first; the best if none did.

    Args:
        record: of the run.
        remedies: its trials in another order than by their scores.
    """
    lengths = [record.losses, *(t.losses for t in record.trials if t.name == UNTOUCHED)]
    trials = unlike(rank_trials(record) if remedies is None else remedies)
    chosen = [t for k, t in enumerate(trials) if k == 0 or is_improvement(t, record)][:REMEDIES]
    found = [Series(UNTOUCHED, max(lengths, key=len), None)]
    found += [Series(t.name, t.losses, is_improvement(t, record)) for t in chosen]
    return [series for series in found if np.isfinite(drawable(series.losses)).any()]


def loss_figure(record: Record, remedies: Sequence[Trial] | None = None) -> Figure | None:
    """Loss over the steps, of the untouched run and of those that helped.

    A line for each run, the mean of every bin of steps, on a band from the bin's least to its
    largest; up to `POINTS` steps are a bin each. A cross marks where a run became nan or infinite.

    Args:
        record: of the run.
        remedies: as for `loss_series`.
    """
    shown = loss_series(record, remedies)
    if not shown:
        return None
    words = [textwrap.wrap(_legend(series, last_step(shown)), LETTERS) for series in shown]
    top, bottom = 26.0, 250.0
    row = bottom + 46
    canvas = Canvas(row - ROW + 8 + ROW * sum(map(len, words)))
    axes = canvas.axes(LEFT, top, RIGHT, bottom)
    scale = Scale.of(np.concatenate([drawable(series.losses) for series in shown]).tolist())
    scale.set_y(axes)
    set_steps(axes, 0.0, last_step(shown))
    set_grid(axes)
    canvas.text(0.0, 13.0, "loss, log scale" if scale.is_log else "loss", colour="muted")
    canvas.text(0.0, bottom + TICKS, "step", colour="muted")
    changed = iter(STYLES[1:])
    for series, lines in zip(shown, words, strict=True):
        style = STYLES[0] if series.helped is None else next(changed)
        _draw(axes, series, style)
        canvas.key(0.0, row, style)
        for line in lines:
            canvas.text(KEY + 10, row, line)
            row += ROW
    return canvas.figure


def last_step(shown: Sequence[Series]) -> float:
    """Where the axis ends: with the longer of the first two runs, which others go beyond."""
    return max(len(series.losses) for series in shown[:2]) - 1.0


def _legend(series: Series, last: float) -> str:
    beyond = len(series.losses) - 1 if len(series.losses) - 1 > last else 0
    name = textwrap.shorten(printable(series.name), 2 * LETTERS - 24, placeholder="…") or NONE
    if series.broke_at is None:
        return f"{name} (on to step {beyond:,})" if beyond else name
    return f"{name} (× non-finite at step {series.broke_at:,})"


def _draw(axes: Axes, series: Series, style: Style) -> None:
    colour, dash, width = style
    losses = drawable(series.losses)
    steps, mean, low, high = binned(losses)
    if len(losses) > POINTS + 1:
        axes.fill_between(steps, low, high, color=LIGHT[colour], alpha=0.13, linewidth=0)
    axes.plot(
        steps,
        mean,
        label=printable(series.name),
        color=LIGHT[colour],
        linestyle=dash,
        linewidth=width,
        marker="o" if np.isfinite(mean).sum() == 1 else "",
        markersize=5,
        solid_capstyle="round",
        dash_capstyle="butt",
        zorder=4 if series.helped is None else 3,
    )
    at = series.broke_at
    if at is not None:
        before, after = losses[:at], losses[at:]
        known = before[np.isfinite(before)][-1:] if np.isfinite(before).any() else after
        axes.plot(
            [at],
            [known[np.isfinite(known)][0]],
            label=f"_broke {printable(series.name)}",
            color=LIGHT[colour],
            marker="x",
            markersize=10,
            markeredgewidth=2.4,
            clip_on=False,
            zorder=5,
        )


def binned(losses: Values) -> tuple[Values, Values, Values, Values]:
    """Middle step, mean, least and largest of every bin.

    The first loss is a bin by itself, the others are dealt into `POINTS` bins of equally many, or
    one each where they are no more than that. What is not finite is left out of a bin; one that
    has nothing else is nan.
    """
    size = max(math.ceil((len(losses) - 1) / POINTS), 1)
    padding = np.full(-(len(losses) - 1) % size, math.nan)
    front = np.full(size - 1, math.nan)
    values = np.concatenate([losses[:1], front, losses[1:], padding]).reshape(-1, size)
    numbers = np.arange(len(losses), dtype=np.float64)
    steps = np.concatenate([numbers[:1], front, numbers[1:], padding]).reshape(-1, size)
    known = np.isfinite(values)
    empty = ~known.any(1)
    low = np.where(empty, math.nan, np.where(known, values, math.inf).min(1))
    high = np.where(empty, math.nan, np.where(known, values, -math.inf).max(1))
    return _means(steps), _means(values), low, high


def _means(rows: Values) -> Values:
    """Of the finite values in each row; nan for none."""
    known = np.isfinite(rows)
    sums, counts = np.where(known, rows, 0).sum(1), known.sum(1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)
