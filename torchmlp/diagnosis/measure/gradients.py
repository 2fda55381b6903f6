"""Gradients before the first step, and the largest stable learning rate."""

import torch
from torch import Tensor

from torchmlp.diagnosis.measure.layer_statistics import spread, unit_rows
from torchmlp.diagnosis.measure.output_layer import loss_gradient_error
from torchmlp.diagnosis.measure.sharpness import largest_rate
from torchmlp.diagnosis.record.record import Record
from torchmlp.diagnosis.run.run import Batch, TrainingRun, TrainingStepRun
from torchmlp.diagnosis.trace.custom_backward import by_hand
from torchmlp.diagnosis.trace.layers import find_layers
from torchmlp.diagnosis.trace.op_names import LOSSES
from torchmlp.diagnosis.trace.trace import Trace
from torchmlp.gradcheck import check_gradients

# What changes nothing about a loss of torch's, whose own derivative is right.
PLAIN = {*LOSSES, "reshape", "view", "flatten", "squeeze", "unsqueeze", "float", "to", "double"}
CHECKED_ROWS = 16  # samples that gradients are checked on
NEGLIGIBLE = 1e-6


def measure_gradients(
    run: TrainingRun,
    record: Record,
    batch: Batch,
    trace: Trace,
    loss: Tensor,
    output: Tensor,
    *,
    is_live: bool,
) -> None:
    """Gradients against differences, the units' own, and the largest stable rate."""
    model, design = run.model, record.design
    parameters = dict(model.named_parameters())
    if not bool(torch.isfinite(loss)):
        return
    found = find_layers(trace.calls)
    weights = [parameters[traced.call.weight] for traced in found]
    trained = [w for w in weights if w.requires_grad]
    gradients = torch.autograd.grad(loss, trained, allow_unused=True) if trained else ()
    by_weight = {id(w): g for w, g in zip(trained, gradients, strict=True)}
    for layer, traced, weight in zip(record.layers, found, weights, strict=False):
        gradient = by_weight.get(id(weight))
        if gradient is not None:
            layer.unit_gradient_spread = spread(unit_rows(traced, gradient))
    design.custom_backward = by_hand(loss, trace, model)
    written_out = design.loss == "own" or not PLAIN.issuperset(
        design.output_ops[-design.loss_calls :]
    )
    written_out = written_out or bool(design.custom_backward)
    if written_out and not isinstance(run, TrainingStepRun):
        design.loss_gradient_error = loss_gradient_error(run.loss_of, output, batch[1])
    if design.dtype in ("float16", "bfloat16"):
        return
    # Torch's derivatives, and this package's, are right: only others are worth the time.
    if design.custom_backward or any(gradient is None for gradient in gradients):
        _check(run, record, batch, loss)
    if not is_live:
        design.max_stable_lr = largest_rate(run, batch)


def _check(run: TrainingRun, record: Record, batch: Batch, loss: Tensor) -> None:
    """Each layer's gradient against central differences, on a few samples."""
    few = batch[0][:CHECKED_ROWS], batch[1][:CHECKED_ROWS]
    try:
        report = check_gradients(lambda: run.forward(few)[1], run.model)
    except (ValueError, TypeError, RuntimeError):
        return  # a loss that is random, or of another dtype only
    sizes = {name: float(p.detach().norm()) for name, p in run.model.named_parameters()}
    first = max(abs(float(loss.detach())), 1e-12)
    for layer in record.layers:
        errors = [
            0.0 if measurement.is_right else measurement.error
            for name, measurement in report.measurements.items()
            if name.rpartition(".")[0] == layer.name or name == layer.name
            # What could not change the loss by a millionth is within the differences' noise.
            if measurement.size * (1 + sizes[name]) > NEGLIGIBLE * first
        ]
        layer.gradient_error = max(errors, default=0.0)
