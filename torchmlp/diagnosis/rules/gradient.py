"""Gradients that are not those of the loss."""

from collections.abc import Iterator

from torchmlp.diagnosis.record.record import Record
from torchmlp.diagnosis.record.thresholds import GRADIENT_ERROR, UNDERFLOW
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.diagnosis.rules.output import LOSS_NAMES


def loss_ascended(record: Record) -> Iterator[Finding]:
    """The loss counts with the wrong sign, and training makes it worse."""
    design = record.design
    if not (design.ascends or design.seems_to_ascend):
        return
    climbs = "The optimizer climbs (maximize=True), and the loss is one to be made small"
    turned = "The loss counts with its sign turned"
    name = LOSS_NAMES.get(design.loss, design.loss)
    which = "" if design.loss == "own" else f" ({name})"
    yield Finding(
        "loss-ascended",
        None,
        "loss",
        0,
        {"first loss": record.losses[0]} if record.losses else {},
        f"{climbs if design.maximizes else turned}{which}: every step pushes the right answers "
        f"further down.",
        "Make the optimizer without maximize=True."
        if design.maximizes
        else "Leave the minus out (or put it in, before a mean of logarithms): what is minimised "
        "has to fall as the answers get better.",
        certain=design.ascends,
    )


def reported_loss_differs(record: Record) -> Iterator[Finding]:
    """The loss shown is not the loss whose gradient is descended."""
    if record.design.ascends:
        return
    error = record.design.loss_gradient_error
    if error is None or not error > GRADIENT_ERROR:
        return
    yield Finding(
        "reported-loss-differs",
        None,
        "loss",
        0,
        {"relative error": error},
        f"The gradient the loss hands to the network is not the derivative of the value it "
        f"returns: they differ by {100 * min(error, 9.99):.3g} % (central differences in float64). "
        f"The reported loss is not the one being minimised.",
        "Return the loss that is differentiated; leave its derivative to autograd.",
        certain=True,
    )


def wrong_gradient(record: Record) -> Iterator[Finding]:
    """A layer's gradient that is not the derivative of the loss."""
    error = record.design.loss_gradient_error
    if error is not None and error > GRADIENT_ERROR:
        return  # every layer's is wrong then
    cut = record.trainability.unreached if record.trainability else []
    # Torch's own derivatives are right, but for rounding where everything is saturated.
    wrong = [
        layer
        for layer in record.layers
        if layer.gradient_error is not None and layer.gradient_error > GRADIENT_ERROR
        if layer.index not in cut
        if record.design.custom_backward
        or (layer.is_trained and layer.unit_gradient_spread is None)
    ]
    if not wrong:
        return
    # Deltas come from above: the highest wrong layer is where they went wrong.
    layer = wrong[-1]
    below = f" So are those of layers 1 to {layer.index - 1}." if len(wrong) > 1 else ""
    yield Finding(
        "wrong-gradient",
        layer.index,
        "gradient",
        0,
        {f"relative error {item.index}": item.gradient_error or 0.0 for item in wrong},
        f"The gradient of layer {layer.index} ({layer.name}) is not the derivative of the loss: it "
        f"differs from central differences in float64 by a relative error of "
        f"{layer.gradient_error:.2g}.{below}",
        "Compare the backward pass with torchmlp.explain_gradients, or let autograd differentiate.",
        certain=True,
    )


def half_underflow(record: Record) -> Iterator[Finding]:
    """Deltas below what 16 bits can hold."""
    if record.design.dtype not in ("float16", "bfloat16") or not record.samples:
        return
    if any("half-underflow" in trial.causes for trial in record.trials):
        yield Finding(
            "half-underflow",
            None,
            "gradient",
            0,
            {},
            f"In float32 the same run trains; {record.design.dtype} loses what is below 6e-5 in "
            f"the gradients, the updates or the optimizer's own sums.",
            "Keep the weights and the optimizer in float32 (torch.autocast with GradScaler).",
        )
        return
    shares = [(s.underflow or 0.0, k) for k, s in enumerate(record.samples[0].layers, 1)]
    worst, layer = max(shares, default=(0.0, 0))
    if worst <= UNDERFLOW:
        return
    yield Finding(
        "half-underflow",
        layer,
        "delta",
        0,
        {"share": worst},
        f"{100 * worst:.0f} % of the deltas of layer {layer} are 0 or subnormal in "
        f"{record.design.dtype}, which holds nothing below 6e-5 in full: those samples do not "
        f"contribute to the gradient.",
        "Scale the loss (torch.amp.GradScaler), or train in bfloat16 or float32.",
        certain=True,
    )


RULES = (loss_ascended, wrong_gradient, reported_loss_differs, half_underflow)
