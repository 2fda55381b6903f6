"""Why a training run fails: measure, judge, try remedies, and leave everything as it was."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp.health.curvature import largest_rate
from torchmlp.health.datastats import gathered, measure_inputs, measure_targets, sorted_share
from torchmlp.health.functions import by_hand
from torchmlp.health.head import loss_gradient_error, read_head
from torchmlp.health.judge import UNTOUCHED
from torchmlp.health.layers import measure_layer, spread, unit_rows
from torchmlp.health.record import Design, Record, Trial
from torchmlp.health.report import Report
from torchmlp.health.rules import suspects
from torchmlp.health.run import EVALUATED, outputs, train
from torchmlp.health.scoring import Scoring, scoring_of
from torchmlp.health.search import search
from torchmlp.health.subject import (
    Batch,
    CannotDiagnoseError,
    Start,
    Subject,
    left_alone,
    read_batches,
)
from torchmlp.health.trace import Trace, places
from torchmlp.health.trials import trial_steps
from torchmlp.verify import check_gradients

CHECKED_ROWS = 16  # samples that gradients are checked on
NEGLIGIBLE = 1e-6
GOOD = 0.97  # a score that no further change need improve
LEAST_GAIN = 0.02
ROUNDS = 2


def diagnose(
    model: nn.Module,
    loss: str | Callable[[Any, Any], Any],
    optimizer: Optimizer,
    data: Any,
    *,
    steps: int = 200,
    batch_size: int | None = None,
    remedies: bool = True,
) -> Report:
    """Train for a while, beside a record, and say what is wrong, if anything is."""
    if steps < 1:
        raise CannotDiagnoseError(f"steps: expected at least 1, got {steps}")
    with left_alone(model, optimizer) as start, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the model warns of, it has warned of before
        subject = Subject(model, loss, optimizer, read_batches(data, batch_size, steps))
        record = measure(subject, start, steps)
        if remedies:
            search(subject, start, record)
    return Report.of(record)


def measure(subject: Subject, start: Start, steps: int) -> Record:
    """The record of a run: at its start, and for so many steps."""
    model, optimizer = subject.model, subject.optimizer
    batch = subject.batch(0)
    group = optimizer.param_groups[0]
    design = Design(
        loss=_TORCHS.get(subject.loss_name, "own"),
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        rate=float(group["lr"]),
        optimizer=type(optimizer).__name__,
        momentum=float(group.get("momentum", (group.get("betas") or [0.0])[0])),
        batch_size=len(batch[0]),
        steps=steps,
    )
    record = Record(design)
    samples = gathered(subject.batches)
    model.train()
    _start(subject, record, batch, samples)
    start.restore()
    model.train()
    if design.error is not None:
        return record
    evaluated = samples[0][:EVALUATED], samples[1][:EVALUATED]
    scoring = scoring_of(record.targets, design) if record.targets else None
    record.score_start = _score(subject, evaluated, scoring)
    short = trial_steps(subject, steps)

    def half_way() -> None:
        score = _score(subject, evaluated, scoring)
        record.trials.append(
            Trial(
                UNTOUCHED, [], short, list(record.losses), score if score is not None else math.nan
            )
        )

    train(subject, record, steps, at=short, then=half_way)
    if not record.trials:
        record.trials.append(
            Trial(UNTOUCHED, [], len(record.losses), list(record.losses), math.nan)
        )
    record.score = None if record.not_finite else _score(subject, evaluated, scoring)
    return record


# This package's names for losses, and torch's.
_TORCHS = {
    "cross_entropy": "cross_entropy",
    "mse": "mse_loss",
    "bce": "binary_cross_entropy_with_logits",
}


def _start(subject: Subject, record: Record, batch: Batch, samples: Batch) -> None:
    """What is known before the first step."""
    model, design = subject.model, record.design
    trace = Trace(model)
    output: Tensor | None = None
    loss: Tensor | None = None
    try:
        with trace:
            output = model(batch[0])
            trace.phase = "loss"
            loss = subject.loss_of(output, batch[1])
    except CannotDiagnoseError:
        raise
    except (RuntimeError, IndexError, ValueError, TypeError, AssertionError) as error:
        design.error = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        if output is None:
            raise CannotDiagnoseError(
                f"the model raised {type(error).__name__} on inputs of shape "
                f"{tuple(batch[0].shape)}, {batch[0].dtype}: {design.error}"
            ) from error
    if not isinstance(output, Tensor):
        raise CannotDiagnoseError(
            f"the model returned {type(output).__name__}, expected a tensor; wrap it in a module "
            f"that returns the output the loss reads"
        )
    found = places(trace.calls)
    read_head(design, trace.calls, found, trace.failed)
    design.output_shape, design.target_shape = list(output.shape), list(batch[1].shape)
    design.output_units = output.shape[-1] if output.ndim > 1 else 1
    wide = output.detach().double()
    design.low, design.high = float(wide.min()), float(wide.max())
    design.is_affine = len(found) > 1 and not any(place.is_bent for place in found[:-1])
    record.layers = [measure_layer(k, place, model) for k, place in enumerate(found, 1)]
    record.network = "-".join(
        str(n)
        for n in ([found[0].call.args[0][0].numel()] if found else [])
        + [x.fan_out for x in record.layers]
    )
    first = found[0].call.args[0] if found else batch[0]
    if len(first) == len(batch[0]) and first.is_floating_point():
        record.inputs = measure_inputs(first, samples[0])
    record.targets = measure_targets(samples[0], samples[1], design.output_units, design.loss)
    if record.targets.kind == "classes":
        record.targets.sorted = sorted_share(subject.batches)
    if design.error is not None:
        if not any(finding.certain for finding in suspects(record)):
            raise CannotDiagnoseError(
                f"the loss raised on an output of shape {tuple(output.shape)}, a target of shape "
                f"{tuple(batch[1].shape)}, {batch[1].dtype}: {design.error}"
            )
        return
    assert loss is not None
    _gradients(subject, record, batch, loss, output)


def _gradients(
    subject: Subject, record: Record, batch: Batch, loss: Tensor, output: Tensor
) -> None:
    """Gradients against differences, the units' own, and the largest stable rate."""
    model, design = subject.model, record.design
    parameters = dict(model.named_parameters())
    if not loss.requires_grad or not bool(torch.isfinite(loss)):
        return
    trace = Trace(model)
    with trace:
        _, again = subject.forward(batch, trace)
    found = places(trace.calls)
    weights = [parameters[place.call.weight] for place in found]
    trained = [w for w in weights if w.requires_grad]
    gradients = torch.autograd.grad(again, trained, allow_unused=True) if trained else ()
    by_weight = {id(w): g for w, g in zip(trained, gradients, strict=True)}
    for layer, place, weight in zip(record.layers, found, weights, strict=False):
        gradient = by_weight.get(id(weight))
        if gradient is not None:
            layer.gradient_spread = spread(unit_rows(place, gradient))
    design.by_hand = by_hand(again, trace, model)
    if design.loss == "own":  # torch's own are right
        design.loss_gradient_error = loss_gradient_error(subject.loss_of, output, batch[1])
    if design.dtype not in ("float16", "bfloat16"):
        _check(subject, record, batch, loss)
        design.largest_rate = largest_rate(subject, batch)


def _check(subject: Subject, record: Record, batch: Batch, loss: Tensor) -> None:
    """Each layer's gradient against central differences, on a few samples."""
    few = batch[0][:CHECKED_ROWS], batch[1][:CHECKED_ROWS]
    try:
        report = check_gradients(lambda: subject.forward(few)[1], subject.model)
    except (ValueError, TypeError, RuntimeError):
        return  # a loss that is random, or of another dtype only
    sizes = {name: float(p.detach().norm()) for name, p in subject.model.named_parameters()}
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


def _score(subject: Subject, samples: Batch, scoring: Scoring | None) -> float | None:
    if scoring is None:
        return None
    output = outputs(subject.model, subject, samples)
    if scoring.kind == "numbers" and output.numel() == samples[1].numel():
        output = output.reshape(samples[1].shape)
    return scoring(output, samples[1])
