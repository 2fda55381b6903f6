"""Analysis of the output layer: final activation, loss, and whether they fit."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torchmlp.diagnosis.record.record import Design
from torchmlp.diagnosis.record.thresholds import GRADIENT_ERROR
from torchmlp.diagnosis.trace.layers import TracedLayer
from torchmlp.diagnosis.trace.op_names import ACTIVATIONS, LOSSES
from torchmlp.diagnosis.trace.trace import Call

SHAPING = {*ACTIVATIONS, "softmax", "log_softmax", "softmin", "log", "logsumexp"}
DIVISIONS = {"div", "__truediv__", "true_divide", "__rtruediv__", "__rdiv__"}
STEPS = (1e-4, 1e-5, 1e-6)  # of central differences in float64; the best of them counts
KINK = 0.1  # of an error, that the slopes of both sides may differ


def read_head(
    design: Design, calls: Sequence[Call], layers: Sequence[TracedLayer], failed: str
) -> None:
    """Fill `design` from the calls after the last layer.

    Args:
        design: its `loss` may be known already.
        calls: of the pass.
        layers: its layers.
        failed: the call that raised, "" if none did.
    """
    after = list(layers[-1].after) if layers else []
    in_loss = [call for call in calls if call.phase == "loss"]
    if design.loss == "own":
        # One whose result has no graph was called inside a Function, which has its own gradient.
        named = [call.name for call in in_loss if call.name in LOSSES and call.output.requires_grad]
        named += [failed] if failed in LOSSES else []
        design.loss = named[0] if named else "own"
    shaping = after
    if in_loss and design.loss != "own":
        names = [call.name for call in in_loss]
        end = names.index(design.loss) if design.loss in names else len(names)
        shaping = after + in_loss[:end]
    design.output_ops = [call.name for call in after + in_loss]
    design.loss_calls = len(in_loss)
    bent = [call for call in shaping if call.name in SHAPING]
    if bent:
        design.output = bent[-1].name
    naive = _naive_softmax(after + in_loss)
    if design.output == "identity" and naive and naive in shaping:
        design.output = "softmax"
    elif design.output == "identity" and any(call.name == "exp" for call in shaping):
        design.output = "own"
    if design.output == "log":
        # log of a softmax or sigmoid is what NLLLoss reads.
        before = [call.name for call in bent[:-1]]
        inner = before[-1] if before else "softmax" if naive else "identity"
        design.output = {"softmax": "log_softmax", "sigmoid": "logsigmoid"}.get(inner, "log")
    softmaxes = [c for c in after + in_loss if c.name in ("softmax", "log_softmax")]
    axis = softmaxes[-1].axis if softmaxes else naive.axis if naive else None
    design.output_axis = axis or 0
    design.naive_softmax = naive is not None
    design.log_of, design.is_guarded = _log_of(after + in_loss, naive)
    design.sums_one = any(
        call.name == "sum"
        and call.axis == -1
        and call.args[0].ndim > 1
        and call.args[0].shape[-1] == 1
        for call in after + in_loss
    )
    design.broadcasts = any(
        call.output.ndim == 2  # noqa: PLR2004  (B, B)
        and len({tuple(t.shape) for t in call.args}) > 1
        and call.output.numel() > max(t.numel() for t in call.args)
        and call.name in ("sub", "__sub__", "__rsub__", "rsub", "mul", "__mul__")
        for call in in_loss
        if call.args
    )
    exponents = ("exp", "exp2", "__rpow__")
    design.exp_layer = next(
        (
            k
            for k, traced in enumerate(layers[:-1], 1)
            if any(call.name in exponents for call in traced.after)
        ),
        None,
    )


def _naive_softmax(calls: Sequence[Call]) -> Call | None:
    """The sum of a softmax written out as exp, sum, division, if no maximum is subtracted."""
    seen_maximum = False
    exponential = None
    for call in calls:
        if call.name in ("max", "amax", "logsumexp", "log_softmax", "softmax") and not exponential:
            seen_maximum = True
        if call.name == "exp" and not seen_maximum:
            exponential = call
        if exponential and call.name == "sum":
            source = call.args[0] if call.args else None
            if source is not None and source.shape == exponential.output.shape:
                return call
    return None


def _log_of(calls: Sequence[Call], naive: Call | None) -> tuple[str | None, bool]:
    """What a logarithm is taken of, None where there is none; and whether it is kept from 0."""
    last = "identity"
    guarded = has_exp = False
    for call in calls:
        if call.name in ("softmax", "sigmoid", "hardsigmoid", "softplus", "relu", "tanh"):
            last, guarded = call.name, False
        elif call.name in ("exp", "exp2"):
            has_exp = True
        elif call.name in DIVISIONS and has_exp:
            last = "softmax"  # or a sigmoid, written out
        elif call.name in ("clamp", "clip", "clamp_min", "maximum", "add", "__add__", "__radd__"):
            guarded = True
        elif call.name == "log" and call.args:
            is_sum = naive is not None and call.args[0].shape == naive.output.shape
            if not is_sum:
                low = float(call.args[0].detach().min()) if call.args[0].numel() else 1.0
                return last, guarded and low > 0
    return None, False


def output_range(output: str) -> tuple[float, float]:
    """The values that an output function can take."""
    infinity = float("inf")
    ranges = {
        **dict.fromkeys(("sigmoid", "softmax", "hardsigmoid"), (0.0, 1.0)),
        **dict.fromkeys(("tanh", "hardtanh", "softsign"), (-1.0, 1.0)),
        **dict.fromkeys(("relu", "softplus"), (0.0, infinity)),
        "relu6": (0.0, 6.0),
        "log_softmax": (-infinity, 0.0),
        "logsigmoid": (-infinity, 0.0),
    }
    return ranges.get(output, (-infinity, infinity))


def loss_gradient_error(
    loss: Callable[[Any, Any], Tensor], output: Tensor, target: Tensor
) -> float | None:
    """Relative error of ∂loss/∂output, by autograd, against central differences in float64.

    None where the loss cannot be computed in float64, is random, or is not finite.
    """
    wide = output.detach().double().requires_grad_()
    wanted = target.double() if target.is_floating_point() else target
    try:
        value = loss(wide, wanted)
        (gradient,) = torch.autograd.grad(value, wide, allow_unused=True)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    gradient = torch.zeros_like(wide) if gradient is None else gradient
    size = wide.detach().abs()
    is_probability = bool((wide >= 0).all() and (wide <= 1).all())
    if not is_probability:  # a probability moves by a share of itself, and stays one
        size = size + float(size.mean()) + 1e-3
    generator = torch.Generator().manual_seed(0)
    ways = [
        torch.randn(wide.shape, generator=generator, dtype=torch.float64).to(wide.device) * size
        for _ in range(6)
    ]
    given = torch.stack([(gradient * way).sum() for way in ways])
    errors, bends = [], []
    try:
        with torch.no_grad():
            at = float(loss(wide, wanted))
            if at != float(value.detach()):
                return None
            for step in STEPS:
                ends = [
                    [float(loss(wide + s * way, wanted)) for s in (step, -step)] for way in ways
                ]
                values = torch.tensor(ends, dtype=torch.float64, device=given.device)
                errors.append(_relative((values[:, 0] - values[:, 1]) / (2 * step), given, value))
                up, down = (values[:, 0] - at) / step, (at - values[:, 1]) / step
                bends.append(_relative(up, down, value))
    except (RuntimeError, ValueError):
        return None
    if not all(math.isfinite(error) for error in errors):
        return None
    error = min(errors)
    # At a kink (a clamp's edge) the slopes of both sides differ: either is right.
    return error if error < GRADIENT_ERROR or min(bends) < KINK * error else None


def _relative(measured: Tensor, given: Tensor, value: Tensor) -> float:
    largest = float(torch.maximum(measured.norm(), given.norm()))
    # What rounding leaves of a difference; a loss that does not move there has no gradient to err.
    if largest < 1e-9 * max(abs(float(value.detach())), 1e-3):
        return 0.0
    return float((measured - given).norm()) / largest
