"""How large the gradient is on its way through the layers."""

import math

import numpy as np
from matplotlib.figure import Figure

from torchmlp.diagnosis.record.record import Record
from torchmlp.figures.diagnosis.layer_rows import depth, over_steps
from torchmlp.figures.style.axes import Scale, broken, drawable, set_grid, set_steps
from torchmlp.figures.style.canvas import KEY, LEFT, RIGHT, TICKS, Canvas
from torchmlp.figures.style.theme import LIGHT, WIDTH, Style

LOOKS: tuple[tuple[Style, str], ...] = (
    (("blue", "-", 1.8), "o"),
    (("orange", "--", 1.8), "s"),
    (("purple", "-.", 1.8), "^"),
)


def flow_figure(record: Record) -> Figure | None:
    """Rms of delta by layer at the first, the middle and the last sample.

    On a logarithmic axis, where a 0 has no place: it is drawn hollow, on the axis; a nan or
    infinity is a cross at the top.
    """
    flows = gradient_flow(record)
    if not flows:
        return None
    shown = [v for _, values in flows for v in drawable(values).tolist() if v > 0]
    scale = Scale.of(shown) if shown else Scale(0.0, 1.0, is_log=False)
    top, bottom = 26.0, 236.0
    canvas = Canvas(bottom + 54)
    axes = canvas.axes(LEFT, top, RIGHT, bottom)
    scale.set_y(axes)
    layers = np.arange(1, depth(record) + 1, dtype=np.float64)
    set_steps(axes, 1.0, float(layers[-1]))
    set_grid(axes)
    canvas.text(0.0, 13.0, f"rms of delta{', log scale' * scale.is_log}", colour="muted")
    canvas.text(0.0, bottom + TICKS, "layer", colour="muted")
    for k, ((step, values), (style, marker)) in enumerate(zip(flows, LOOKS, strict=False)):
        colour, dash, width = style
        known = drawable(values)
        axes.plot(
            layers,
            np.where(known > 0, known, math.nan) if scale.is_log else known,
            label=f"step {step}",
            color=LIGHT[colour],
            linestyle=dash,
            linewidth=width,
            marker=marker,
            markersize=6,
            clip_on=False,
        )
        zeros, lost = layers[(known == 0) & scale.is_log], layers[broken(values)]
        for at, height, sign, name in (
            (zeros, scale.low, marker, "_zero"),
            (lost, scale.high, "x", "_broke"),
        ):
            axes.plot(
                at,
                np.full(len(at), height),
                label=f"{name} {step}",
                color=LIGHT[colour],
                linestyle="",
                marker=sign,
                markersize=8,
                markeredgewidth=2,
                markerfacecolor="none",
                clip_on=False,
            )
        left = k * (WIDTH / len(LOOKS))
        canvas.key(left, bottom + 46, style, marker)
        canvas.text(left + KEY + 8, bottom + 46, f"step {step:,}")
    return canvas.figure


def gradient_flow(record: Record) -> list[tuple[int, list[float | None]]]:
    """Step, and rms of delta by layer, at the first, middle and last sample that has any."""
    values = over_steps(record, "delta_rms")
    by_sample = [
        (sample.step, [row[k] for row in values]) for k, sample in enumerate(record.samples)
    ]
    known = [(step, row) for step, row in by_sample if np.isfinite(drawable(row)).any()]
    if not known:
        return []
    chosen = sorted({0, len(known) // 2, len(known) - 1})
    return [known[k] for k in chosen]
