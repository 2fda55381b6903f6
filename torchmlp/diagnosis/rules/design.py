"""Causes that lie in how the network and its loss are put together."""

import math
from collections.abc import Iterator

from torchmlp.diagnosis.record.record import NonFinite, Record
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.diagnosis.rules.output import CASES, FITTING, LOSS_NAMES


def softmax_over_one_unit(record: Record) -> Iterator[Finding]:
    """A softmax, or cross-entropy, over a single output."""
    design = record.design
    softmax = design.output in ("softmax", "log_softmax") or design.loss == "cross_entropy"
    # Divided by its own sum, a lone output is 1 as well, and its delta exactly 0.
    first = record.samples[0].layers if record.samples else []
    cancels = design.sums_one and bool(first) and first[-1].delta_rms == 0
    softmax = softmax or cancels
    if not softmax or design.output_units != 1 or len(design.output_shape) < 2:  # noqa: PLR2004
        return
    yield Finding(
        "softmax-over-one-unit",
        len(record.layers) or None,
        "output",
        0,
        {"units": 1.0, "low": design.output_min, "high": design.output_max},
        "The softmax is over a single unit, and is 1 whatever its input: no gradient passes it.",
        "For two classes: one unit and BCEWithLogitsLoss, or two units and CrossEntropyLoss.",
        certain=True,
    )


def output_loss_mismatch(record: Record) -> Iterator[Finding]:
    """An output function that the loss has already, or cannot read; shapes that broadcast."""
    design = record.design
    said = next((said for case in CASES if (said := case(record))), None)
    if not said:
        return
    why, remedy, certain = said
    yield Finding(
        "output-loss-mismatch",
        len(record.layers) or None,
        "output",
        0,
        {"low": design.output_min, "high": design.output_max, "units": float(design.output_units)},
        why,
        remedy,
        certain=certain,
    )


def shape_broadcast(record: Record) -> Iterator[Finding]:
    """Output (B, 1) and target (B,), of which a difference makes (B, B)."""
    design = record.design
    output, target = tuple(design.output_shape), tuple(design.target_shape)
    if design.loss not in (*FITTING, "own") or not output or not target:
        return
    if not output[0] == target[0] == math.prod(output) == math.prod(target):
        return
    if not (design.broadcasts if design.loss == "own" else len(output) != len(target)):
        return
    yield Finding(
        "shape-broadcast",
        len(record.layers) or None,
        "output",
        0,
        {"samples": float(output[0]), "differences": float(output[0] ** 2)},
        f"Output {output} and target {target} broadcast to {output[0]} × {output[0]} "
        f"differences: every output is compared with every target, and learns their mean.",
        "Give both one shape: output.squeeze(1), or target.unsqueeze(1).",
        certain=True,
    )


def missing_output_activation(record: Record) -> Iterator[Finding]:
    """A loss of probabilities, or of their logarithms, on raw outputs."""
    design = record.design
    classes = record.targets is not None and record.targets.kind != "numbers"
    own = classes and design.loss == "own" and design.log_of in ("identity", "relu", "tanh")
    reads = {
        "nll_loss": "log-probabilities",
        "binary_cross_entropy": "probabilities between 0 and 1",
        "kl_div": "log-probabilities",
    }.get(design.loss, "probabilities" if own else "")
    raw = design.output == "identity" or (own and design.output in ("identity", "log"))
    if design.loss == "nll_loss" and design.output == "log":
        raw = True
    if not reads or not raw or design.naive_softmax:
        return
    wanted = {
        "nll_loss": "End in log_softmax, or use CrossEntropyLoss, which has it inside.",
        "binary_cross_entropy": "End in sigmoid, or use BCEWithLogitsLoss, which has it inside.",
    }.get(design.loss, "Use CrossEntropyLoss or BCEWithLogitsLoss on the raw outputs.")
    name = LOSS_NAMES.get(design.loss, design.loss)
    yield Finding(
        "missing-output-activation",
        len(record.layers) or None,
        "output",
        0,
        {"low": design.output_min, "high": design.output_max},
        f"The loss ({name}) reads {reads}, and gets the last layer's raw outputs, from "
        f"{design.output_min:.2g} to {design.output_max:.2g}.",
        wanted,
        certain=True,
    )


def missing_nonlinearity(record: Record) -> Iterator[Finding]:
    """Several layers that together are one linear map."""
    if not record.design.is_affine:
        return
    count = len(record.layers)
    yield Finding(
        "missing-nonlinearity",
        1,
        "a",
        0,
        {"layers": float(count)},
        f"There is no nonlinearity between the {count} layers: together they are one linear map of "
        f"the input and can learn no more than a single layer.",
        "Put an activation, such as ReLU, after every layer but the last.",
    )


def _broken(record: Record) -> NonFinite | None:
    return record.nonfinite


def unstable_softmax(record: Record) -> Iterator[Finding]:
    """An exp of logits without their maximum subtracted, near or past what the dtype holds."""
    design, broken = record.design, _broken(record)
    if not design.naive_softmax:
        return
    limit = 709.78 if design.dtype == "float64" else 88.72 if design.dtype != "float16" else 11.09
    overflowed = broken is not None and (
        broken.function in ("exp", "sum", "div", "__truediv__", "log", "mul", "neg", "mean", "pow")
        or broken.quantity in ("loss", "delta")
    )
    last = [s.layers[-1].z_max or 0.0 for s in record.samples if s.layers]
    largest = max([x for x in last if math.isfinite(x)], default=0.0)
    if not overflowed and largest < 0.5 * limit:
        return
    step = broken.step if broken else 0
    at = broken.at if broken and broken.at is not None else largest
    became = f"; the first {broken.value} is at step {step}" if broken else ""
    yield Finding(
        "unstable-softmax",
        len(record.layers) or None,
        "output",
        step,
        {"largest logit": at, "limit": limit},
        f"The softmax takes exp of the logits as they come; they reach {at:.0f}, and exp overflows "
        f"{design.dtype} above {limit:.2f}{became}.",
        "Use CrossEntropyLoss on the logits, which subtracts their maximum.",
        certain=overflowed,
    )


def unstable_activation(record: Record) -> Iterator[Finding]:
    """A written-out activation that overflows, or whose slope does."""
    broken = _broken(record)
    if broken is None or broken.layer is None or broken.layer > len(record.layers):
        return
    layer = record.layers[broken.layer - 1]
    is_last = broken.layer == len(record.layers)
    culprit = broken.quantity in ("a", "delta") and broken.function not in ("", "linear", "dropout")
    if not culprit or (is_last and record.design.naive_softmax):
        return
    if is_last and broken.function in ("log", "log_softmax", "softmax"):
        return
    at = f" at {broken.at:.3g}" if broken.at is not None else ""
    how = "slope" if broken.quantity == "delta" else "value"
    yield Finding(
        "unstable-activation",
        broken.layer,
        broken.quantity,
        broken.step,
        {} if broken.at is None else {"at": broken.at, "limit": broken.limit or 0.0},
        f"The activation written out in layer {broken.layer} ({layer.name}) is the first to "
        f"overflow: the {how} of {broken.function}{at} is {broken.value} at step {broken.step}.",
        "Use torch's own function (softplus, sigmoid, silu, ...), which is stable; add a small "
        "epsilon under square roots, logarithms and divisions.",
        certain=True,
    )


def log_of_zero(record: Record) -> Iterator[Finding]:
    """A bare logarithm of a probability that reaches 0."""
    design, broken = record.design, _broken(record)
    if broken is None or design.log_of is None or design.is_guarded:
        return
    if design.naive_softmax and broken.function != "log":
        return
    late = broken.quantity in ("loss", "delta", "gradient", "a") or broken.function == "log"
    if not late:
        return
    yield Finding(
        "log-of-zero",
        len(record.layers) or None,
        "loss",
        broken.step,
        {"smallest argument": broken.at if broken.at is not None else 0.0},
        f"The loss takes the logarithm of {_named(design.log_of)} that has reached 0, or less, at "
        f"step {broken.step}: it is infinite, and its gradient nan.",
        "Compute it from the logits: CrossEntropyLoss, BCEWithLogitsLoss or log_softmax.",
        certain=True,
    )


def _named(output: str) -> str:
    return "an output" if output == "identity" else f"a {output}"


RULES = (
    softmax_over_one_unit,
    shape_broadcast,
    output_loss_mismatch,
    missing_output_activation,
    missing_nonlinearity,
    unstable_softmax,
    unstable_activation,
    log_of_zero,
)
