"""The figures of a diagnosis with what is to be seen in each, in words and numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.figures.diagnosis.gradient_flow import flow_figure, gradient_flow
from torchmlp.figures.diagnosis.histograms import has_histogram, share_in_range, z_figure
from torchmlp.figures.diagnosis.layer_rows import (
    layer_label,
    over_steps,
    saturated_figure,
    variation_figure,
    z_std_figure,
)
from torchmlp.figures.diagnosis.loss import POINTS, Series, loss_figure, loss_series
from torchmlp.figures.style.axes import broken
from torchmlp.figures.style.text import NONE, listed, numbered, percent, short

HALF, NEAR = 0.5, 0.1


@dataclass(frozen=True)
class Illustration:
    """A figure and its words.

    Attributes:
        name: a word, for identifiers.
        title: what is drawn.
        caption: what is to be seen, in a sentence or two.
        numbers: what the figure holds, read out in its place.
        figure: the drawing.
    """

    name: str
    title: str
    caption: str
    numbers: str
    figure: Figure


def illustrations(record: Record, remedies: Sequence[Trial] | None = None) -> list[Illustration]:
    """The figures whose numbers the record has, in the order of the page.

    Args:
        record: of the run.
        remedies: its trials, those to be drawn first; by default by their scores.
    """
    plans: tuple[
        tuple[str, str, Callable[[Record], Figure | None], Callable[[Record], tuple[str, str]]], ...
    ] = (
        (
            "loss",
            "Loss",
            partial(loss_figure, remedies=remedies),
            partial(_loss_words, remedies=remedies),
        ),
        ("flow", "Gradient by layer", flow_figure, _flow_words),
        ("z", "Pre-activation at the start", z_figure, _z_words),
        ("z-std", "Spread of the pre-activation", z_std_figure, _z_std_words),
        ("saturated", "Saturated units", saturated_figure, _saturated_words),
        (
            "between_sample_variance",
            "Variation between samples",
            variation_figure,
            _variation_words,
        ),
    )
    found = []
    for name, title, draw, tell in plans:
        figure = draw(record)
        if figure is not None:
            caption, numbers = tell(record)
            found.append(Illustration(name, title, caption, f"{title}. {numbers}", figure))
    return found


def _loss_words(record: Record, remedies: Sequence[Trial] | None) -> tuple[str, str]:
    shown = loss_series(record, remedies)
    caption = "; ".join(f"{_name(series)} {_path(series)}" for series in shown[:2]) + "."
    caption = caption[0].upper() + caption[1:]
    if len(shown) > 1:
        caption += " A changed loss is drawn in its own measure."
    if any(len(series.losses) > POINTS + 1 for series in shown):
        caption += " Each line is the mean of neighbouring steps, its band their least to largest."
    numbers = "; ".join(f"{series.name} {_path(series)}" for series in shown)
    return caption, f"Line chart over the steps: {numbers}."


def _name(series: Series) -> str:
    return "untouched, the loss" if series.helped is None else f"with “{series.name}” it"


def _path(series: Series) -> str:
    first, last = series.ends
    if series.broke_at is not None:
        value = series.losses[series.broke_at]
        says = short(value) if not math.isfinite(value) else "beyond all bounds"
        return f"starts at {short(first)} and is {says} at step {series.broke_at:,}"
    return f"goes from {short(first)} to {short(last)} in {len(series.losses):,} steps"


def _flow_words(record: Record) -> tuple[str, str]:
    flows = gradient_flow(record)
    step, values = flows[0]
    known = [(k + 1, v) for k, v in enumerate(values) if v and 0 < v < math.inf]
    caption = f"Rms of ∂E/∂z at {_steps([step for step, _ in flows])}."
    if len(known) > 1:
        (first, low), (last, high) = known[0], known[-1]
        caption += (
            f" At step {step:,} the deltas of layer {first} are {short(low / high)} times "
            f"those of layer {last}."
        )
    if len(flows) > 1 and all(_alike(values, row) for _, row in flows):
        caption += " The lines nearly coincide."
    zeros = [k + 1 for k, v in enumerate(values) if v == 0]
    if zeros:
        caption += f" Hollow marks on the axis: exactly 0, at step {step:,} in {_layers(zeros)}."
    if any(broken(row).any() for _, row in flows):
        caption += " A cross at the top: nan or infinite."
    numbers = "; ".join(
        f"step {step:,}: " + ", ".join(short(value) for value in row) for step, row in flows
    )
    return caption, f"Line chart, first to last layer. {numbers}."


def _alike(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Whether two lines can hardly be told apart on a logarithmic axis."""
    return all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=NEAR))
        for a, b in zip(one, other, strict=True)
    )


def _steps(steps: Sequence[int]) -> str:
    said = listed([f"{step:,}" for step in steps])
    return f"step {said}" if len(steps) == 1 else f"steps {said}"


def _layers(numbers: Sequence[int]) -> str:
    return f"layer{'s' * (len(numbers) > 1)} {numbered(numbers)}"


def _z_words(record: Record) -> tuple[str, str]:
    shares = {
        k + 1: share
        for k, layer in enumerate(record.layers)
        if (share := share_in_range(layer)) is not None
    }
    caption = (
        "Each layer's z = Wx + b before the first step, least to largest. Shaded between two "
        "lines: where φ's slope is at least a tenth of its largest."
    )
    if shares:
        least = min(shares, key=lambda layer: shares[layer])
        caption += f" In layer {least} it holds {percent(shares[least])} of z, the least."
    rows = [
        f"layer {layer_label(record, k)}: {short(layer.z_edges[0])} to {short(layer.z_edges[-1])}"
        + (f", {percent(share)} in range" if (share := share_in_range(layer)) is not None else "")
        for k, layer in enumerate(record.layers)
        if has_histogram(layer)
    ]
    return caption, f"Histograms. {'; '.join(rows)}."


def _saturated_words(record: Record) -> tuple[str, str]:
    caption = (
        "Share of the units whose slope is below a hundredth of φ's largest: they pass "
        "practically no gradient."
    )
    values = over_steps(record, "saturated")
    most = [k + 1 for k, row in enumerate(values) if (_first(row) or 0.0) > HALF]
    last = [k + 1 for k, row in enumerate(values) if (_last(row) or 0.0) > HALF]
    if most or last:
        caption += f" Over half at the start: {_some(most)}; at the end: {_some(last)}."
    else:
        caption += " Nowhere over half at the start or the end."
    return caption, _rows(record, "saturated")


def _variation_words(record: Record) -> tuple[str, str]:
    values = [
        v for row in over_steps(record, "between_sample_variance") if (v := _last(row)) is not None
    ]
    caption = (
        "Share of the activation's mean square that differs from sample to sample; 0: the layer "
        "answers the same to every input."
    )
    if values:
        caption += f" At the end it is between {short(min(values))} and {short(max(values))}."
    return caption, _rows(record, "between_sample_variance")


def _z_std_words(record: Record) -> tuple[str, str]:
    values = over_steps(record, "z_std")
    known = {k: v for k, row in enumerate(values) if (v := _first(row)) is not None}
    caption = "Standard deviation of z, all layers on one scale."
    if known:
        low, high = min(known, key=lambda k: known[k]), max(known, key=lambda k: known[k])
        caption += (
            f" At the start it is {short(known[low])} in layer {low + 1}"
            + (f" and {short(known[high])} in layer {high + 1}" if low != high else "")
            + "."
        )
    return caption, _rows(record, "z_std")


def _rows(record: Record, quantity: str) -> str:
    rows = [
        f"layer {layer_label(record, k)}: {short(row[0]) if row else NONE} to "
        f"{short(row[-1]) if row else NONE}"
        for k, row in enumerate(over_steps(record, quantity))
    ]
    return f"A row for each layer, first to last sample. {'; '.join(rows)}."


def _some(layers: Sequence[int]) -> str:
    return _layers(layers) if layers else "none"


def _first(values: Sequence[float | None]) -> float | None:
    return values[0] if values and values[0] is not None and math.isfinite(values[0]) else None


def _last(values: Sequence[float | None]) -> float | None:
    return _first(values[-1:])
