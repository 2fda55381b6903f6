"""Gradients that are not those of the loss."""

from collections.abc import Iterator

from torchmlp.diagnosis.record.record import Record
from torchmlp.diagnosis.record.thresholds import GRADIENT_ERROR, UNDERFLOW
from torchmlp.diagnosis.rules.causes import Finding


def reported_loss_differs(record: Record) -> Iterator[Finding]:
    """The loss shown is not the loss whose gradient is descended."""
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
    # Torch's own derivatives are right, but for rounding where everything is saturated.
    wrong = [
        layer
        for layer in record.layers
        if layer.gradient_error is not None and layer.gradient_error > GRADIENT_ERROR
        if record.design.custom_backward
        or (layer.is_trained and layer.unit_gradient_spread is None)
    ]
    if not wrong:
        return
    # Deltas come from above: the highest wrong layer is where they went wrong.
    layer = wrong[-1]
    missing = layer.gradient_error == 1.0
    how = "no gradient reaches it" if missing else f"relative error {layer.gradient_error:.2g}"
    below = f", and with it layers 1 to {layer.index - 1}" if len(wrong) > 1 else ""
    yield Finding(
        "wrong-gradient",
        layer.index,
        "gradient",
        0,
        {f"relative error {item.index}": item.gradient_error or 0.0 for item in wrong},
        f"The gradient of layer {layer.index} ({layer.name}) is not the derivative of the loss: "
        f"{how} against central differences in float64{below}.",
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


RULES = (wrong_gradient, reported_loss_differs, half_underflow)
