"""Whether the gradient that is followed makes the loss worse: a sign that was turned."""

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchmlp.diagnosis.measure.scoring import class_labels, classes_last
from torchmlp.diagnosis.record.record import Targets
from torchmlp.diagnosis.trace.op_names import LOSSES
from torchmlp.diagnosis.trace.trace import Trace

AGAINST = 0.3  # cosine with the way that is worse; that of any right loss is below 0


def sign_of(optimizer: Optimizer) -> float:
    """-1 for an optimizer that climbs, else 1."""
    return -1.0 if optimizer.param_groups[0].get("maximize") else 1.0


def ascends(trace: Trace, loss: Tensor, sign: float) -> bool:
    """Whether every loss of torch's in it counts with the wrong sign."""
    parts = [
        call.output
        for call in trace.calls
        if call.name in LOSSES and call.phase == "loss" and call.output.requires_grad
    ]
    if not parts:
        return False
    slopes = torch.autograd.grad(loss, parts, retain_graph=True, allow_unused=True)
    signs = [sign * float(slope.sum()) for slope in slopes if slope is not None]
    return bool(signs) and all(one < 0 for one in signs)


def seems_to_ascend(
    loss: Tensor, output: Tensor, target: Tensor, targets: Targets, sign: float
) -> bool:
    """Whether a loss, whatever it is made of, pushes right answers down, or numbers apart."""
    if not output.requires_grad or not loss.requires_grad:
        return False
    (slope,) = torch.autograd.grad(loss, output, retain_graph=True, allow_unused=True)
    if slope is None:
        return False
    better = _better(output.detach().double(), target, targets)
    if better is None or better.shape != slope.shape:
        return False
    slope = sign * slope.detach().double()
    size = float(slope.norm() * better.norm())
    if not (size > 0 and math.isfinite(size)):
        return False
    return float((slope * better).sum()) / size > AGAINST


def _better(output: Tensor, target: Tensor, targets: Targets) -> Tensor | None:
    """The way in which an output becomes better; None where that is not known."""
    same = output.numel() == target.numel()
    if targets.kind == "numbers":
        return target.detach().double().reshape(output.shape) - output if same else None
    if targets.kind == "labels":
        return 2 * target.double().reshape(output.shape) - 1 if same else None
    last, labels = classes_last(output, target), class_labels(target)
    units = last.shape[-1] if last.ndim > 1 else 1
    if units == 1 and labels.numel() == output.numel():
        return (2 * labels.double() - 1).reshape(output.shape)
    fits = last.shape == output.shape and labels.numel() * units == output.numel()
    if units == 1 or not fits or int(labels.max()) >= units:
        return None
    one_hot = torch.nn.functional.one_hot(labels, units).double()
    return (one_hot - one_hot.mean(-1, keepdim=True)).reshape(output.shape)
