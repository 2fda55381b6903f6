"""Causes that lie in the initial weights, and what they do at step 0."""

import math
from collections.abc import Iterator

from torchmlp.diagnosis.measure.layer_statistics import SQUASHING
from torchmlp.diagnosis.record.record import Layer, LayerSample, Record
from torchmlp.diagnosis.record.thresholds import (
    DEAD,
    EXPLODING,
    GAIN_LARGE,
    GAIN_SMALL,
    LOSS_LARGE,
    NO_SPREAD,
    NOT_CENTRED,
    SAME_UNITS,
    SATURATED,
    VANISHING,
)
from torchmlp.diagnosis.rules.causes import Finding

RECTIFYING = {"relu", "relu6", "hardtanh", "hardswish", "threshold", "hardsigmoid"}


def first_samples(record: Record) -> list[LayerSample]:
    """The layers before the first update."""
    return record.samples[0].layers if record.samples else []


def symmetric_init(record: Record) -> Iterator[Finding]:
    """All units of a hidden layer are equal, and stay so."""
    for layer in record.layers[:-1]:
        units_equal = layer.fan_out > 1 and layer.unit_spread < SAME_UNITS
        stay = layer.unit_gradient_spread is None or layer.unit_gradient_spread < SAME_UNITS
        if not units_equal or not stay:
            continue
        what = "0" if layer.weight_std == 0 == layer.weight_mean else f"{layer.weight_mean:.3g}"
        yield Finding(
            "symmetric-init",
            layer.index,
            "weight",
            0,
            {"spread": layer.unit_spread, "units": float(layer.fan_out)},
            f"All {layer.fan_out} units of layer {layer.index} ({layer.name}) start with the same "
            f"weights ({what}) and get the same gradient: they stay one unit.",
            "Draw the weights at random (He for ReLU, Xavier for sigmoid and tanh); zeros are for "
            "biases.",
            certain=True,
        )
        return


def init_not_centred(record: Record) -> Iterator[Finding]:
    """Weights whose mean is far from 0."""
    for layer, sample in _layers(record):
        if not layer.weight_std > 0 or layer.fan_in * layer.fan_out < 8:  # noqa: PLR2004  too few
            continue
        ratio = abs(layer.weight_mean) / layer.weight_std
        noise = 4 / math.sqrt(layer.fan_in * layer.fan_out)  # four sigmas of a centred draw
        if ratio <= max(NOT_CENTRED, noise):
            continue
        yield Finding(
            "init-not-centred",
            layer.index,
            "weight",
            0,
            {
                "mean / std": ratio,
                "gain": layer.gain,
                **_seen(sample),
            },
            f"The weights of layer {layer.index} ({layer.name}) are not centred: mean "
            f"{layer.weight_mean:.3g}, std {layer.weight_std:.3g}"
            f"{_scaled(layer)}. Every unit adds its inputs up: {_consequence(layer, sample)}.",
            "Draw them around 0 with a std scaled by fan-in (He, Xavier).",
        )
        return


def init_too_large(record: Record) -> Iterator[Finding]:
    """Weights that are not scaled down by fan-in."""
    for layer, sample in _layers(record):
        centred = layer.weight_std > 0 and abs(layer.weight_mean) / layer.weight_std < NOT_CENTRED
        if not centred or layer.gain <= GAIN_LARGE or layer.has_norm:
            continue
        yield Finding(
            "init-too-large",
            layer.index,
            "weight",
            0,
            {"gain": layer.gain, "std": layer.weight_std, **_seen(sample)},
            f"The weights of layer {layer.index} ({layer.name}) are too large for {layer.fan_in} "
            f"inputs: std {layer.weight_std:.3g} is a gain of {layer.gain:.3g}, and 1 to 1.4 keep "
            f"the scale: {_consequence(layer, sample)}.",
            f"Scale them by fan-in: std {math.sqrt(2 / layer.fan_in):.2g} for ReLU (He), "
            f"{math.sqrt(2 / (layer.fan_in + layer.fan_out)):.2g} for sigmoid and tanh (Xavier).",
        )
        return
    yield from _parts_too_large(record)


def _parts_too_large(record: Record) -> Iterator[Finding]:
    for part in record.parts:
        if part.gain <= GAIN_LARGE:
            continue
        what = (
            "its rows are inputs of the layers above, which are made for about 1"
            if "Embedding" in part.kind
            else "1 keeps the scale of what is multiplied by it"
        )
        yield Finding(
            "init-too-large",
            None,
            "weight",
            0,
            {"gain": part.gain, "rms": part.rms},
            f"The weights {part.name} ({part.kind}) are too large: rms {part.rms:.3g}, a gain of "
            f"{part.gain:.3g}; {what}.",
            "Leave them as torch draws them (reset_parameters), or scale them by fan-in.",
        )
        return


def init_too_small(record: Record) -> Iterator[Finding]:
    """Weights so small that the signal is lost on the way."""
    small = [
        (layer, sample)
        for layer, sample in _layers(record)
        if layer.gain < GAIN_SMALL and not layer.has_norm and layer.unit_spread > SAME_UNITS
    ]
    # A small last layer is good practice.
    hidden = [pair for pair in small if pair[0].index < len(record.layers)]
    if not hidden:
        return
    layer, _ = hidden[0]
    samples = first_samples(record)
    last = samples[-2].between_sample_variance if len(samples) > 1 else None
    yield Finding(
        "init-too-small",
        layer.index,
        "weight",
        0,
        {"gain": layer.gain, "std": layer.weight_std, "between samples": last or 0.0},
        f"The weights of layer {layer.index} ({layer.name}) are too small for {layer.fan_in} "
        f"inputs: std {layer.weight_std:.3g} is a gain of {layer.gain:.2g}, and each such layer "
        f"shrinks signal and gradient by as much.",
        f"Scale them by fan-in: std {math.sqrt(2 / layer.fan_in):.2g} for ReLU (He), "
        f"{math.sqrt(2 / (layer.fan_in + layer.fan_out)):.2g} for sigmoid and tanh (Xavier).",
    )


def saturation(record: Record) -> Iterator[Finding]:
    """Hidden units on the flat part of a squashing function."""
    for sample in record.samples:
        for layer, at in zip(record.layers[:-1], sample.layers, strict=False):
            squashes = layer.activation in SQUASHING or layer.activation == "own"
            if squashes and at.saturated is not None and at.saturated > SATURATED:
                yield Finding(
                    "saturation",
                    layer.index,
                    "z",
                    sample.step,
                    {"saturated": at.saturated, **_seen(at)},
                    f"{100 * at.saturated:.0f} % of the {layer.activation} units of layer "
                    f"{layer.index} ({layer.name}) are saturated at step {sample.step}: z is "
                    f"{at.z_mean or 0:.3g} ± {at.z_std or 0:.3g}, and their slope is below a "
                    f"hundredth of its largest.",
                    "Bring z back around 0: centred weights scaled by fan-in, zero biases, inputs "
                    "of order 1; or ReLU.",
                )
                return


def dead_units(record: Record) -> Iterator[Finding]:
    """Rectified units that are off for every sample."""
    for sample in record.samples:
        for layer, at in zip(record.layers[:-1], sample.layers, strict=False):
            if layer.activation in RECTIFYING and at.dead is not None and at.dead > DEAD:
                yield Finding(
                    "dead-units",
                    layer.index,
                    "a",
                    sample.step,
                    {"dead": at.dead, **_seen(at)},
                    f"{100 * at.dead:.0f} % of the {layer.activation} units of layer {layer.index} "
                    f"({layer.name}) are off for every sample at step {sample.step}: no gradient "
                    f"passes them, and they do not come back.",
                    "Zero biases and He weights; a smaller rate if they die in training; "
                    "leaky_relu keeps a slope.",
                )
                return


def exploding_gradient(record: Record) -> Iterator[Finding]:
    """Deltas that grow from the last layer to the first, or a first loss far above chance."""
    ratio = _growth_of_delta(record)
    large = _first_loss_ratio(record)
    grows = ratio is not None and ratio > EXPLODING
    forward = _growth(record)
    if not grows and not large > LOSS_LARGE and not forward > EXPLODING:
        return
    layer = _largest_delta(record) if grows else 1
    yield Finding(
        "exploding-gradient",
        layer,
        "delta",
        0,
        {"growth of delta": ratio or 0.0, "loss / ln K": large, "growth of z": forward},
        (
            f"The deltas grow on their way down: those of the first layer are {ratio:.3g} times "
            f"the smallest ones above it."
            if grows
            else f"The signal grows with every layer: z reaches {forward:.3g} times the first "
            f"one's, and the gradient grows with it."
            if forward > EXPLODING
            else f"The first loss is {large:.3g} times that of knowing nothing: the outputs start "
            f"far from order 1."
        ),
        "Scale the weights by fan-in (He, Xavier), normalise between layers, or clip the gradient.",
    )


def vanishing_gradient(record: Record) -> Iterator[Finding]:
    """Deltas that fade from the last layer to the first, or samples that all look the same."""
    if len(record.layers) < 3:  # noqa: PLR2004  no way to fade on
        return
    ratio = delta_ratio(record)
    samples = first_samples(record)
    last = samples[-2].between_sample_variance if len(samples) > 1 else None
    fades = ratio is not None and ratio < VANISHING
    same = last is not None and last < NO_SPREAD
    if not fades and not same:
        return
    deltas = f"its deltas are {ratio:.2g} of the last layer's" if fades else ""
    alike = f"the last hidden layer varies by {last:.1g} between samples" if same else ""
    yield Finding(
        "vanishing-gradient",
        1,
        "delta",
        0,
        {"first / last": ratio if ratio is not None else 1.0, "between samples": last or 0.0},
        f"The gradient fades on its way to layer 1: {' and '.join(x for x in (deltas, alike) if x)}"
        f" ({len(record.layers)} layers of {record.layers[0].activation}).",
        "ReLU with He weights, a normalisation between the layers, or residual connections.",
    )


def delta_ratio(record: Record) -> float | None:
    """Rms of the first layer's deltas over the last one's, before the first update."""
    deltas = [s.delta_rms for s in first_samples(record)]
    if len(deltas) < 2 or deltas[0] is None or not deltas[-1]:  # noqa: PLR2004
        return None
    # A pixel's delta is small where many are averaged: what a unit gets is all of them.
    spread = record.layers[0].positions / record.layers[-1].positions
    return deltas[0] / deltas[-1] * max(math.sqrt(spread), 1.0)


def _growth(record: Record) -> float:
    """Largest std of a layer's z over the first one's; 0 for fewer than three layers."""
    stds = [sample.z_std or 0.0 for sample in first_samples(record)]
    return max(stds) / stds[0] if len(stds) > 2 and stds[0] > 0 else 0.0  # noqa: PLR2004


def _growth_of_delta(record: Record) -> float | None:
    """Rms of the first layer's deltas over the smallest layer's above it."""
    deltas = [s.delta_rms for s in first_samples(record)]
    above = [delta for delta in deltas[1:] if delta]
    return deltas[0] / min(above) if above and deltas[0] is not None else None


def _largest_delta(record: Record) -> int:
    deltas = [s.delta_rms or 0.0 for s in first_samples(record)]
    return 1 + max(range(len(deltas)), key=deltas.__getitem__)


def _first_loss_ratio(record: Record) -> float:
    """The first loss over that of knowing nothing, for losses of classes."""
    targets, losses = record.targets, record.losses
    if targets is None or targets.kind != "classes" or targets.classes < 2 or not losses:  # noqa: PLR2004
        return 0.0
    if record.design.loss not in ("cross_entropy", "binary_cross_entropy_with_logits", "nll_loss"):
        return 0.0
    return losses[0] / math.log(targets.classes)


def _layers(record: Record) -> Iterator[tuple[Layer, LayerSample]]:
    samples = first_samples(record)
    samples = samples or [LayerSample()] * len(record.layers)
    yield from zip(record.layers, samples, strict=False)


def _seen(sample: LayerSample) -> dict[str, float]:
    named = {
        "z mean": sample.z_mean,
        "z std": sample.z_std,
        "saturated": sample.saturated,
        "delta rms": sample.delta_rms,
    }
    return {name: value for name, value in named.items() if value is not None}


def _scaled(layer: Layer) -> str:
    return f" (and a gain of {layer.gain:.3g})" if layer.gain > GAIN_LARGE else ""


def _consequence(layer: Layer, sample: LayerSample) -> str:
    if sample.z_mean is None:
        return "z is far from 0"
    text = f"z is {sample.z_mean:.3g} ± {sample.z_std or 0:.3g} on average"
    if sample.saturated and layer.activation in SQUASHING:
        text += f", {100 * sample.saturated:.0f} % of the units are saturated"
    return text


RULES = (
    symmetric_init,
    init_not_centred,
    init_too_large,
    init_too_small,
    saturation,
    dead_units,
    exploding_gradient,
    vanishing_gradient,
)
