"""Figures with a row for each layer: a statistic over the sampled steps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from torchmlp.diagnosis.record.record import LayerSample, Record
from torchmlp.figures.style.axes import Scale, broken, drawable, set_steps
from torchmlp.figures.style.canvas import Canvas
from torchmlp.figures.style.text import clipped, short
from torchmlp.figures.style.theme import LIGHT

ROWS = 40  # layers shown; of more, the first and the last
LETTERS = 10  # of a layer's name
TOP = 30.0  # of the first row
LABEL, FIRST, STRIP, LAST = 0.0, 156.0, (166.0, 350.0), 360.0  # the columns


def saturated_figure(record: Record) -> Figure | None:
    """Share of blocked elements over the sampled steps, a row for each layer."""
    return _over_steps(record, "saturated", Scale(0.0, 1.0, is_log=False))


def variation_figure(record: Record) -> Figure | None:
    """Share of the activation's mean square that tells samples apart, a row for each layer."""
    return _over_steps(
        record,
        "between_sample_variance",
        Scale.from_zero(_all(record, "between_sample_variance"), 1.0),
    )


def z_std_figure(record: Record) -> Figure | None:
    """Standard deviation of the pre-activation, a row for each layer, all on one scale."""
    return _over_steps(record, "z_std", Scale.from_zero(_all(record, "z_std")))


def _all(record: Record, quantity: str) -> list[float]:
    return [v for row in over_steps(record, quantity) for v in drawable(row).tolist()]


def over_steps(record: Record, quantity: str) -> list[list[float | None]]:
    """A quantity of `LayerSample`, by layer and sample."""
    return [
        [_of(sample.layers, k, quantity) for sample in record.samples] for k in range(depth(record))
    ]


def depth(record: Record) -> int:
    """The number of layers that anything is known of."""
    return max([len(record.layers), *(len(sample.layers) for sample in record.samples)])


def layer_label(record: Record, place: int) -> str:
    """A layer's number and its name; a name that is a number gives way to the layer's function."""
    if place >= len(record.layers):
        return f"{place + 1}"
    layer = record.layers[place]
    is_telling = any(sign.isalpha() for sign in layer.name)
    function = layer.kind if layer.activation == "identity" else layer.activation
    return f"{place + 1} {clipped(layer.name if is_telling else function, LETTERS)}".rstrip()


def _of(layers: Sequence[LayerSample], place: int, quantity: str) -> float | None:
    value = getattr(layers[place], quantity) if place < len(layers) else None
    return None if value is None else float(value)


def rows(count: int) -> tuple[list[int | None], float]:
    """The layers shown, None for those left out of so many, and the height of a row."""
    if count > ROWS:
        half = ROWS // 2
        return [*range(half), None, *range(count - half, count)], 19.0
    few, some = 6, 12
    return list(range(count)), 40.0 if count <= few else 28.0 if count <= some else 19.0


def _over_steps(record: Record, quantity: str, scale: Scale) -> Figure | None:
    values = over_steps(record, quantity)
    if not any(np.isfinite(drawable(row)).any() for row in values):
        return None
    places, height = rows(len(values))
    canvas = Canvas(TOP + height * len(places) + 30)
    canvas.text(LABEL, 14.0, "layer", colour="muted")
    canvas.text(FIRST, 14.0, "first", colour="muted", align="right")
    ends_of = f"{short(scale.low, 2)} to {short(scale.high, 2)}{', log' if scale.is_log else ''}"
    canvas.text(sum(STRIP) / 2, 14.0, ends_of, colour="muted", align="center")
    canvas.text(LAST, 14.0, "last", colour="muted")
    steps = [float(sample.step) for sample in record.samples]
    for row, place in enumerate(places):
        middle = TOP + height * (row + 0.5) + 4.5
        if place is None:
            left_out = f"… {len(values) - ROWS} layers left out …"
            canvas.text(sum(STRIP) / 2, middle, left_out, colour="muted", align="center")
            continue
        canvas.text(LABEL, middle, layer_label(record, place))
        axes = canvas.axes(STRIP[0], TOP + height * row + 2, STRIP[1], TOP + height * (row + 1) - 2)
        _strip(axes, steps, values[place], scale, f"layer {place + 1}")
        canvas.text(FIRST, middle, short(values[place][0], 2), align="right")
        canvas.text(LAST, middle, short(values[place][-1], 2))
    foot = TOP + height * len(places) + 18
    if min(steps) == max(steps):
        canvas.text(sum(STRIP) / 2, foot, f"step {steps[0]:,.0f}", colour="muted", align="center")
    else:
        canvas.text(STRIP[0], foot, f"step {min(steps):,.0f}", colour="muted")
        canvas.text(STRIP[1], foot, f"{max(steps):,.0f}", colour="muted", align="right")
    return canvas.figure


def _strip(
    axes: Axes, steps: list[float], values: list[float | None], scale: Scale, label: str
) -> None:
    """A line without numbers, in a box of its own."""
    axes.axis("off")
    scale.set_y(axes, labelled=False)
    set_steps(axes, min(steps), max(steps), labelled=False)
    known = np.clip(drawable(values), scale.low, scale.high)
    across = blended_transform_factory(axes.transAxes, axes.transData)
    axes.plot(
        [0, 1],
        [scale.low, scale.low],
        transform=across,
        label="_base",
        color=LIGHT["rule"],
        linewidth=1,
        clip_on=False,
    )
    if not scale.is_log:
        axes.fill_between(steps, known, scale.low, color=LIGHT["blue"], alpha=0.18, linewidth=0)
    axes.plot(
        steps,
        known,
        label=label,
        color=LIGHT["blue"],
        linewidth=1.6,
        marker="o",
        markersize=2.6,
        clip_on=False,
    )
    lost = broken(values)
    if lost.any():
        at = np.array(steps)[lost]
        axes.plot(
            at,
            np.full(len(at), 0.5),
            transform=blended_transform_factory(axes.transData, axes.transAxes),
            label=f"_broke {label}",
            color=LIGHT["red"],
            linestyle="",
            marker="x",
            markersize=6,
            markeredgewidth=1.8,
            clip_on=False,
        )
