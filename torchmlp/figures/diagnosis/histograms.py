"""Histograms of the pre-activation at the start, against where φ is steep."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from torchmlp.diagnosis.record.record import Layer, Record
from torchmlp.figures.diagnosis.layer_rows import LABEL, ROWS, TOP, layer_label, rows
from torchmlp.figures.style.axes import drawable
from torchmlp.figures.style.canvas import Canvas
from torchmlp.figures.style.text import NONE, percent, short
from torchmlp.figures.style.theme import LIGHT, WIDTH

BOX = (156.0, 324.0)  # a histogram's left and right edge


def z_figure(record: Record) -> Figure | None:
    """Histogram of the pre-activation at the start, a row for each layer, each on its own scale.

    Where φ is steep, its linear range, is shaded; the share of z inside it stands beside.
    """
    if not any(has_histogram(layer) for layer in record.layers):
        return None
    places, height = rows(len(record.layers))
    left, right = BOX
    canvas = Canvas(TOP + height * len(places) + 6)
    canvas.text(LABEL, 14.0, "layer", colour="muted")
    canvas.text((left + right) / 2, 14.0, "z", colour="muted", align="center")
    canvas.text(WIDTH, 14.0, "in range", colour="muted", align="right")
    for row, place in enumerate(places):
        middle = TOP + height * (row + 0.5) + 4.5
        if place is None:
            left_out = f"… {len(record.layers) - ROWS} layers left out …"
            canvas.text((left + right) / 2, middle, left_out, colour="muted", align="center")
            continue
        layer = record.layers[place]
        canvas.text(LABEL, middle, layer_label(record, place))
        if not has_histogram(layer):
            canvas.text((left + right) / 2, middle, NONE, colour="muted", align="center")
            continue
        axes = canvas.axes(left, TOP + height * row + 2, right, TOP + height * (row + 1) - 2)
        _histogram(axes, layer)
        canvas.text(left - 6, middle, short(layer.z_edges[0], 2), align="right")
        canvas.text(right + 6, middle, short(layer.z_edges[-1], 2))
        share = share_in_range(layer)
        canvas.text(WIDTH, middle, NONE if share is None else percent(share), align="right")
    return canvas.figure


def has_histogram(layer: Layer) -> bool:
    """Whether a layer's histogram can be drawn."""
    counts, edges = layer.z_counts, layer.z_edges
    if not counts or len(edges) != len(counts) + 1 or sum(counts) <= 0 or min(counts) < 0:
        return False
    known = drawable(edges)
    if np.isnan(known).any():
        return False
    width = edges[-1] - edges[0]
    # A narrower one has edges that float64 cannot tell apart.
    is_wide = width > max(1e-9 * float(np.abs(known).max()), 1e-30)
    return is_wide and bool((np.diff(known) >= 0).all())


def share_in_range(layer: Layer) -> float | None:
    """Share of z inside φ's linear range; None where φ has none to speak of.

    A bin that the range cuts counts by the part inside.
    """
    if layer.activation in ("identity", "own", "") or not has_histogram(layer):
        return None
    if not _has_range(layer):
        return 0.0
    assert layer.linear_range is not None
    low, high = layer.linear_range[0], layer.linear_range[1]
    edges, counts = np.array(layer.z_edges), np.array(layer.z_counts, dtype=np.float64)
    inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    width = np.diff(edges)
    parts = np.clip(inside, 0, width) / np.where(width > 0, width, 1)
    return float((parts * counts).sum() / counts.sum())


def _has_range(layer: Layer) -> bool:
    ends_of = layer.linear_range or []
    pair = 2
    return len(ends_of) == pair and not np.isnan(drawable(ends_of)).any()


def _histogram(axes: Axes, layer: Layer) -> None:
    axes.axis("off")
    low, high = layer.z_edges[0], layer.z_edges[-1]
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.02 * max(layer.z_counts))
    if _has_range(layer):
        assert layer.linear_range is not None
        start, end = (min(max(edge, low), high) for edge in layer.linear_range)
        axes.axvspan(start, end, color=LIGHT["shade"], linewidth=0, label="linear range", zorder=0)
        for edge in (start, end):
            axes.axvline(edge, color=LIGHT["edge"], linewidth=1, label="_edge", zorder=3)
    axes.axhline(0, color=LIGHT["muted"], linewidth=1, label="_base", clip_on=False)
    axes.stairs(
        layer.z_counts,
        layer.z_edges,
        fill=True,
        color=LIGHT["blue"],
        alpha=0.7,
        linewidth=0,
        label=f"layer {layer.index}",
        zorder=2,
    )
