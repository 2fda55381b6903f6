"""Where the first nan or infinity came from: step, layer, quantity, function."""

import math
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from torchmlp.diagnosis.record.record import NonFinite
from torchmlp.diagnosis.run.run import USER_ERRORS, Batch, TrainingRun
from torchmlp.diagnosis.trace.layers import TracedLayer, find_layers
from torchmlp.diagnosis.trace.trace import Call, Trace

NEEDS_POSITIVE = {"log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "pow", "__pow__"}
GROWING = {"exp", "exp2", "expm1", "sinh", "cosh"}


def is_finite(tensor: Tensor) -> bool:
    """Whether every element is."""
    return bool(torch.isfinite(tensor).all())


def locate(run: TrainingRun, batch: Batch, step: int) -> NonFinite | None:
    """The first value that is not finite, in the order of computation; None if all are finite.

    The pass is taken anew, in the state that the model and torch's generator are in.
    """
    for quantity, given in zip(("x", "target"), batch, strict=True):
        if given.is_floating_point() and not is_finite(given):
            return NonFinite(step, None, quantity, "", _worst(given))
    trace = Trace(run.model)
    loss: Tensor | None = None
    # A loss that checks its input may refuse it: what came before is known.
    with suppress(*USER_ERRORS), torch.enable_grad(), trace:
        _, loss = run.forward(batch, trace)
    layers = find_layers(trace.calls)
    parameters = dict(run.model.named_parameters())
    sick = [name for name, parameter in parameters.items() if not is_finite(parameter)]
    if sick:
        return _in_weight(sick[0], parameters[sick[0]], layers, step)
    for call in trace.calls:
        if not is_finite(call.output):
            return _at_call(call, layers, step)
    if loss is not None and not is_finite(loss):
        return NonFinite(step, None, "loss", "", _worst(loss))
    if loss is None or not loss.requires_grad:
        return None
    return _in_backward(loss, layers, list(parameters.values()), trace.calls, step)


def _in_weight(name: str, weight: Tensor, layers: Sequence[TracedLayer], step: int) -> NonFinite:
    owner = name.rpartition(".")[0]
    owners = [traced.call.weight.rpartition(".")[0] for traced in layers]
    layer = owners.index(owner) + 1 if owner in owners else None
    return NonFinite(step, layer, "weight", "", _worst(weight))


def _at_call(call: Call, layers: Sequence[TracedLayer], step: int) -> NonFinite:
    layer = sum(traced.call.index <= call.index for traced in layers) or None
    quantity = "loss" if call.phase == "loss" else "a"
    if any(call in (traced.call, traced.last_linear) for traced in layers):
        quantity = "z"
    at, limit = _condition(call)
    return NonFinite(
        step,
        None if quantity == "loss" else layer,
        quantity,
        call.name,
        _worst(call.output),
        at,
        limit,
    )


def _condition(call: Call) -> tuple[float | None, float | None]:
    """The argument that did it, and what it should have kept on the right side of."""
    if not call.args or not call.args[0].numel():
        return None, None
    argument = call.args[0].detach().double()
    if call.name in GROWING:
        return float(argument.max()), math.log(torch.finfo(call.output.dtype).max)
    if call.name in NEEDS_POSITIVE:
        return float(argument.min()), 0.0
    return None, None


def _in_backward(
    loss: Tensor,
    layers: Sequence[TracedLayer],
    parameters: list[Tensor],
    calls: list[Call],
    step: int,
) -> NonFinite | None:
    """The last layer whose delta is not finite: deltas go backwards."""
    zs = [traced.z for traced in layers]
    wanted = [z for z in zs if z.requires_grad]
    trained = [p for p in parameters if p.requires_grad]
    found = torch.autograd.grad(loss, [*wanted, *trained], allow_unused=True)
    deltas = iter(found[: len(wanted)])
    of_layers = [next(deltas) if z.requires_grad else None for z in zs]
    sick = [k for k, d in enumerate(of_layers, 1) if d is not None and not is_finite(d)]
    if sick:
        delta = of_layers[sick[-1] - 1]
        assert delta is not None
        # The function between this layer and the next whose slope is infinite where it was asked.
        start = layers[sick[-1] - 1].call.index
        end = layers[sick[-1]].call.index if sick[-1] < len(layers) else math.inf
        between = [c for c in calls if start < c.index < end]
        steep = [c for c in between if c.name in NEEDS_POSITIVE and _touches_zero(c)]
        # Else 0 · ∞: an exponential that grows so large that its reciprocal is 0.
        steep = steep or [c for c in between if c.name in GROWING]
        function = steep[0] if steep else None
        at, limit = _condition(function) if function else (None, None)
        name = function.name if function else ""
        return NonFinite(step, sick[-1], "delta", name, _worst(delta), at, limit)
    for gradient in found[len(wanted) :]:
        if gradient is not None and not is_finite(gradient):
            return NonFinite(step, None, "gradient", "", _worst(gradient))
    return None


def _touches_zero(call: Call) -> bool:
    return bool(call.args) and float(call.args[0].detach().double().min()) <= 0


def _worst(tensor: Tensor) -> str:
    values = tensor.detach()
    if bool(torch.isnan(values).any()):
        return "nan"
    return "inf" if bool((values == math.inf).any()) else "-inf"
