"""Causes that lie in the data."""

import math
from collections.abc import Iterator

from torchmlp.diagnosis.measure.data_statistics import CLASS_LOSSES
from torchmlp.diagnosis.measure.output_layer import output_range
from torchmlp.diagnosis.record.record import Record
from torchmlp.diagnosis.record.thresholds import (
    INPUT_LARGE,
    INPUT_SCALES,
    INPUT_SMALL,
    LABEL_ENTROPY,
    PROBE_HELD_OUT,
    PROBE_R2,
    PROBE_SIGMAS,
    RANGE_SLACK,
    SORTED,
    TARGET_LARGE,
)
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.diagnosis.rules.parameters import optimizer_code, place


def input_non_finite(record: Record) -> Iterator[Finding]:
    """Nan or infinity in the inputs or targets."""
    inputs, targets = record.inputs, record.targets
    broken = record.nonfinite
    if broken and broken.quantity == "weight" and broken.step == 0:
        yield Finding(
            "input-non-finite",
            broken.layer,
            "weight",
            0,
            {},
            f"A weight of layer {broken.layer} is {broken.value} before the first step.",
            "Look at how the weights are drawn, or loaded.",
            certain=True,
        )
        return
    share = inputs.nonfinite if inputs else 0.0
    of_targets = targets.nonfinite if targets else 0.0
    if broken and broken.quantity in ("x", "target"):
        share = share or float(broken.quantity == "x")
    if not share and not of_targets:
        return
    what = "inputs" if share else "targets"
    yield Finding(
        "input-non-finite",
        None,
        "x" if share else "target",
        0,
        {"share": share or of_targets},
        f"{100 * (share or of_targets):.2g} % of the {what} are nan or infinite; every loss and "
        f"gradient computed from such a batch is too.",
        f"Drop or impute those samples before training: keep = torch.isfinite({what}).all(1).",
        certain=True,
    )


def target_out_of_range(record: Record) -> Iterator[Finding]:
    """Targets that the output, or the loss, cannot reach."""
    targets, design = record.targets, record.design
    if targets is None:
        return
    units = design.output_units
    are_indices = targets.kind == "classes" and len(design.target_shape) < len(design.output_shape)
    if are_indices and units > 1:
        if units > 0 and (targets.high >= units or -100 < targets.low < 0):  # noqa: PLR2004  torch's ignore_index
            last = record.layers[-1] if record.layers else None
            of = f" (layer {last.index}, {last.name})" if last else ""
            is_shifted = targets.high - targets.low < units
            wanted = targets.high + 1 - min(targets.low, 0)
            yield Finding(
                "target-out-of-range",
                last.index if last and not is_shifted else None,
                "target",
                0,
                {"lowest": targets.low, "highest": targets.high, "outputs": float(units)},
                f"The labels run from {targets.low:.0f} to {targets.high:.0f}; the output layer"
                f"{of} has {units} outputs, for the classes 0 to {units - 1}.",
                "Number the classes from 0."
                if is_shifted
                else f"Give the output layer {wanted:.0f} outputs, one for each class, or leave "
                f"out the labels that are none.",
                certain=True,
                code="" if is_shifted else _more_outputs(record, int(wanted)),
            )
        return
    low, high = output_range(design.output)
    if design.output == "softmax" and units == 1:
        return  # a cause of its own
    if design.loss in ("binary_cross_entropy", "binary_cross_entropy_with_logits"):
        low, high = 0.0, 1.0
    elif design.loss in CLASS_LOSSES or design.output in ("log_softmax", "logsigmoid"):
        return
    width = high - low if math.isfinite(high - low) else max(targets.high - targets.low, 1e-12)
    slack = RANGE_SLACK * width
    if targets.low < low - slack or targets.high > high + slack:
        reach = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
        whose = f"{design.output} output" if design.output != "identity" else design.loss
        yield Finding(
            "target-out-of-range",
            None,
            "target",
            0,
            {"lowest": targets.low, "highest": targets.high, "range low": low, "range high": high},
            f"The targets run from {targets.low:.3g} to {targets.high:.3g}; the {whose} only "
            f"knows {reach}, so that the loss cannot fall to its least.",
            "Scale the targets into that range, or leave the output linear.",
            certain=True,
        )
        return
    size = max(abs(targets.low), abs(targets.high))
    inputs = record.inputs
    if inputs and inputs.rms > INPUT_LARGE:
        return  # named first; the targets are looked at when the inputs are of order 1
    if targets.kind == "numbers" and size > TARGET_LARGE and design.output == "identity":
        yield Finding(
            "target-out-of-range",
            None,
            "target",
            0,
            {"lowest": targets.low, "highest": targets.high, "output high": design.output_max},
            f"The targets run from {targets.low:.3g} to {targets.high:.3g}, the output starts "
            f"between {design.output_min:.2g} and {design.output_max:.2g}: the first gradients are "
            f"as large as the targets.",
            "Train on (target − mean) / std and scale predictions back.",
        )


def _more_outputs(record: Record, outputs: int) -> str:
    """An output layer of so many outputs in the place of the one that there is."""
    last = record.layers[-1] if record.layers else None
    if last is None or not last.is_module or last.kind != "linear":
        return ""
    return (
        f"{place(last.name)} = torch.nn.Linear({last.fan_in}, {outputs})\n{optimizer_code(record)}"
    )


def labels_constant(record: Record) -> Iterator[Finding]:
    """All targets are the same."""
    targets = record.targets
    if targets is None or targets.nonfinite:
        return
    by_chance = (targets.majority_share or 0.0) ** record.design.batch_size
    if targets.sorted_share > max(SORTED, 3 * by_chance) and targets.majority_share != 1.0:
        yield Finding(
            "labels-constant",
            None,
            "target",
            0,
            {"batches of one class": targets.sorted_share},
            f"{100 * targets.sorted_share:.0f} % of the batches hold one class only: the data are "
            f"sorted, and each batch teaches to answer its class to everything.",
            "Shuffle: DataLoader(..., shuffle=True).",
        )
        return
    if targets.majority_share == 1.0 or (targets.kind == "numbers" and targets.std == 0):
        yield Finding(
            "labels-constant",
            None,
            "target",
            0,
            {"value": targets.mean, "std": targets.std},
            "All targets looked at are the same: there is nothing to tell apart, and a loss that "
            "falls means nothing.",
            "Look at how the targets are read; shuffle data that are sorted by class.",
            certain=True,
        )


def labels_unrelated(record: Record) -> Iterator[Finding]:
    """No probe finds a relation between inputs and targets."""
    targets = record.targets
    if targets is None or targets.held_out < PROBE_HELD_OUT:
        return
    if targets.kind == "classes":
        chance, held = targets.chance, targets.held_out
        margin = PROBE_SIGMAS * math.sqrt(chance * (1 - chance) / held)
        probes = [p for p in (targets.nearest_mean, targets.nearest_neighbour) if p is not None]
        # Below chance is a relation too: the nearest neighbour of a parity has the other one.
        if not probes or any(abs(p - chance) > margin for p in probes):
            return
        said = " and ".join(f"{p:.2f}" for p in probes)
        text = (
            f"Nearest class mean and nearest neighbour, learned on half of the samples, score "
            f"{said} on the other half; chance is {chance:.2f} ± {margin:.2f}."
        )
    elif targets.kind == "numbers":
        probes = [p for p in (targets.ridge, targets.nearest_neighbour) if p is not None]
        if not probes or max(probes) > PROBE_R2:
            return
        text = (
            f"Ridge regression and nearest neighbours, learned on half of the samples, explain "
            f"{max(0.0, *probes):.2f} of the targets' variance in the other half."
        )
    else:
        return
    yield Finding(
        "labels-unrelated",
        None,
        "target",
        0,
        {"best probe": max(probes), "chance": targets.chance},
        f"{text} The targets seem to have nothing to do with the inputs.",
        "See whether inputs and targets are in the same order: were they shuffled apart?",
        is_final=True,
    )


def input_not_normalized(record: Record) -> Iterator[Finding]:
    """Inputs far from order one, or features of very different scales."""
    inputs = record.inputs
    if inputs is None or not record.layers or record.layers[0].has_norm:
        return
    large, small = inputs.rms > INPUT_LARGE, 0 < inputs.rms < INPUT_SMALL
    uneven = inputs.scale_ratio > INPUT_SCALES and inputs.features < 100  # noqa: PLR2004  not pixels
    if not (large or small or uneven):
        return
    how = (
        f"from {inputs.low:.3g} to {inputs.high:.3g}, with mean {inputs.mean:.3g} and std "
        f"{inputs.std:.3g}"
    )
    why = (
        "the first layer's gradients are as many times too large"
        if large
        else "the first layer hardly sees them"
        if small
        else f"the features' own stds differ by a factor of {inputs.scale_ratio:.3g}"
    )
    yield Finding(
        "input-not-normalized",
        1,
        "x",
        0,
        {"rms": inputs.rms, "mean": inputs.mean, "std": inputs.std, "scales": inputs.scale_ratio},
        f"The inputs run {how}; initial weights and rates are made for about 1, and {why}.",
        "Subtract each feature's mean and divide by its std (pixels: divide by 255).",
    )


def class_imbalance(record: Record) -> Iterator[Finding]:
    """One class makes up nearly everything."""
    targets = record.targets
    if targets is None or targets.entropy is None or targets.classes < 2:  # noqa: PLR2004
        return
    most = math.log(targets.classes)
    if 0 < targets.entropy < LABEL_ENTROPY * most:
        yield Finding(
            "class-imbalance",
            None,
            "target",
            0,
            {"entropy": targets.entropy, "ln K": most, "commonest": targets.majority_share or 0.0},
            f"{100 * (targets.majority_share or 0):.1f} % of the samples are of one class (entropy "
            f"of the labels {targets.entropy:.2f} of {most:.2f} nats): always answering it is "
            f"right that often.",
            "Weight the loss by the classes' inverse shares, or draw them equally often; judge by "
            "balanced accuracy.",
        )


RULES = (
    input_non_finite,
    target_out_of_range,
    labels_constant,
    labels_unrelated,
    input_not_normalized,
    class_imbalance,
)
