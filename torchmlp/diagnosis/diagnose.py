"""Why a training run fails: measure, judge, try remedies, and leave everything as it was."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp.diagnosis.measure.data_statistics import (
    gathered,
    measure_inputs,
    measure_targets,
    sorted_share,
)
from torchmlp.diagnosis.measure.layer_statistics import measure_layer, spread, unit_rows
from torchmlp.diagnosis.measure.output_layer import loss_gradient_error, read_head
from torchmlp.diagnosis.measure.scoring import classes_last, scoring_of
from torchmlp.diagnosis.measure.sharpness import largest_rate
from torchmlp.diagnosis.measure.training_loop import EVALUATED, outputs, train
from torchmlp.diagnosis.record import Design, Record, Trial
from torchmlp.diagnosis.remedies.search import search
from torchmlp.diagnosis.remedies.trial import trial_steps
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.rules import suspects
from torchmlp.diagnosis.rules.attribution import UNTOUCHED
from torchmlp.diagnosis.run.run import (
    REFUSALS,
    Batch,
    CannotDiagnoseError,
    Start,
    StepSubject,
    Subject,
    left_alone,
    looked_into,
    read_batches,
)
from torchmlp.diagnosis.trace.custom_backward import by_hand
from torchmlp.diagnosis.trace.trace import LOSSES, Trace, places
from torchmlp.gradcheck import check_gradients

# What changes nothing about a loss of torch's, whose own derivative is right.
PLAIN = {*LOSSES, "reshape", "view", "flatten", "squeeze", "unsqueeze", "float", "to", "double"}
CHECKED_ROWS = 16  # samples that gradients are checked on
NEGLIGIBLE = 1e-6


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
    """Why a training run fails: train for a while, name the cause, and try what would help.

    Before the first step: the data, with simple probes; the fit of output, loss and targets; the
    initial weights; one forward and backward pass; hand-written derivatives against central
    differences. During the run: the layers at some steps. After it: changes are tried, one by one
    and together, each from the same start on the same batches; a cause is named where its change
    makes the run a good one. Nothing of it is left in the model, the optimizer or the generators.

    Args:
        model: any module of torch's functions; layers with weights are found in the order in which
            they are computed, whether modules or written out.
        loss: (output, target) -> scalar, or the name of one of this package's.
        optimizer: any of torch's, over the model's parameters.
        data: (inputs, targets), a Dataset, a DataLoader, or a list of batches, pairs of tensors on
            any device. Fewer batches than steps are gone through again.
        steps: how long the run means to train. Networks of more than 10^6 or so multiplications
            are tried with changes for fewer.
        batch_size: of inputs and targets, or of a Dataset; None takes 32.
        remedies: whether changes are tried; without them causes are named by their signs alone.

    Returns:
        A report: `.findings`, root causes first, none where the run is healthy; `.healthy`;
        `.remedies`; `.to_json()`; as text a screen.

    Raises:
        ValueError: a model without parameters, a loss that is no scalar, an optimizer over other
            parameters, data that are empty or run out, or what the model or loss itself raises.

    Each rule's threshold stands with its source in `torchmlp.diagnosis.thresholds`; how often the
    first cause named is right, in `benchmarks/results/diagnosis.csv`.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(400, 2)
        >>> labels = (x.prod(1) > 0).long()
        >>> model = nn.Sequential(nn.Linear(2, 32), nn.Linear(32, 2))
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.3)
        >>> report = diagnose(model, nn.CrossEntropyLoss(), sgd, (x, labels))
        >>> [finding.cause for finding in report.findings]
        ['missing-nonlinearity']
        >>> report.remedy.name
        'ReLU between the layers'
    """
    if steps < 1:
        raise CannotDiagnoseError(f"steps: expected at least 1, got {steps}")
    with left_alone(model, optimizer):  # reading the data may draw random numbers
        subject = Subject(model, loss, optimizer, read_batches(data, batch_size, steps))
        return diagnose_subject(subject, steps, remedies=remedies)


def diagnose_subject(subject: Subject, steps: int, *, remedies: bool = True) -> Report:
    """The report of a run that stands ready; it is afterwards as it was."""
    with looked_into(subject) as start:
        record = measure(subject, start, steps)
        if remedies:
            search(subject, start, record)
    return Report.of(record)


def begin(subject: Subject, start: Start, steps: int, *, is_live: bool = False) -> Record:
    """The record of a run before its first step; the subject stands at its start afterwards.

    A run that is being trained waits for it, and is spared what takes longest.
    """
    model, optimizer = subject.model, subject.optimizer
    batch = subject.batch(0)
    group = optimizer.param_groups[0]
    design = Design(
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
    _start(subject, record, batch, samples, is_live=is_live)
    start.restore()
    model.train()
    if design.error is None:
        record.score_start = score_of(subject, record)
    return record


def measure(subject: Subject, start: Start, steps: int) -> Record:
    """The record of a run: at its start, and for so many steps."""
    record = begin(subject, start, steps)
    if record.design.error is not None:
        return record
    short = trial_steps(subject, steps)

    def half_way() -> None:
        score = score_of(subject, record)
        losses = list(record.losses)
        record.trials.append(
            Trial(UNTOUCHED, [], short, losses, math.nan if score is None else score)
        )

    # A schedule is run through in a trial too: half of the run is no trial of it.
    at = 0 if subject.has_schedule and short < steps else short
    train(subject, record, steps, at=at, then=half_way)
    record.score = None if record.not_finite else score_of(subject, record)
    return record


def score_of(subject: Subject, record: Record) -> float | None:
    """Accuracy or R² on the run's own first samples; None where the network gives no output."""
    if record.targets is None:
        return None
    scoring = scoring_of(record.targets, record.design)
    samples = gathered(subject.batches, EVALUATED)
    try:
        output = outputs(subject.model, subject, samples)
    except NotImplementedError:
        return None  # a LightningModule that is nothing but its training step
    return scoring(output, samples[1])


def _start(
    subject: Subject, record: Record, batch: Batch, samples: Batch, *, is_live: bool
) -> None:
    """What is known before the first step."""
    model, design = subject.model, record.design
    trace = Trace(model)
    loss: Tensor | None = None
    try:
        with trace:
            _, loss = subject.forward(batch, trace)
    except CannotDiagnoseError:
        raise
    except REFUSALS as error:
        design.error = (str(error).strip() or repr(error)).splitlines()[0]
        if trace.output is None and trace.entered is None:
            raise CannotDiagnoseError(
                f"the model raised {type(error).__name__} on inputs of shape "
                f"{tuple(batch[0].shape)}, {batch[0].dtype}: {design.error}"
            ) from error
    output = trace.output if trace.output is not None else trace.entered
    if output is None:
        output = places(trace.calls)[-1].a if places(trace.calls) else batch[0]
    found = places(trace.calls)
    read_head(design, trace.calls, found, trace.failed)
    design.output_shape, design.target_shape = list(output.shape), list(batch[1].shape)
    design.output_units = classes_last(output, batch[1]).shape[-1] if output.ndim > 1 else 1
    wide = output.detach().double()
    design.low, design.high = float(wide.min()), float(wide.max())
    design.is_affine = len(found) > 1 and not any(place.is_bent for place in found[:-1])
    record.layers = [measure_layer(k, place, model) for k, place in enumerate(found, 1)]
    sizes = [layer.fan_in for layer in record.layers[:1]]
    record.network = "-".join(str(n) for n in sizes + [x.fan_out for x in record.layers])
    first = found[0].x if found else batch[0]
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
    if not loss.requires_grad:
        raise CannotDiagnoseError(
            "the loss does not depend on a parameter that requires a gradient: nothing trains; "
            "expected no torch.no_grad() or .detach() on the way, and parameters not frozen"
        )
    _gradients(subject, record, batch, trace, loss, output, is_live=is_live)


def _gradients(
    subject: Subject,
    record: Record,
    batch: Batch,
    trace: Trace,
    loss: Tensor,
    output: Tensor,
    *,
    is_live: bool,
) -> None:
    """Gradients against differences, the units' own, and the largest stable rate."""
    model, design = subject.model, record.design
    parameters = dict(model.named_parameters())
    if not bool(torch.isfinite(loss)):
        return
    found = places(trace.calls)
    weights = [parameters[place.call.weight] for place in found]
    trained = [w for w in weights if w.requires_grad]
    gradients = torch.autograd.grad(loss, trained, allow_unused=True) if trained else ()
    by_weight = {id(w): g for w, g in zip(trained, gradients, strict=True)}
    for layer, place, weight in zip(record.layers, found, weights, strict=False):
        gradient = by_weight.get(id(weight))
        if gradient is not None:
            layer.gradient_spread = spread(unit_rows(place, gradient))
    design.by_hand = by_hand(loss, trace, model)
    written_out = design.loss == "own" or not PLAIN.issuperset(design.head[-design.loss_calls :])
    written_out = written_out or bool(design.by_hand)
    if written_out and not isinstance(subject, StepSubject):
        design.loss_gradient_error = loss_gradient_error(subject.loss_of, output, batch[1])
    if design.dtype in ("float16", "bfloat16"):
        return
    # Torch's derivatives, and this package's, are right: only others are worth the time.
    if design.by_hand or any(gradient is None for gradient in gradients):
        _check(subject, record, batch, loss)
    if not is_live:
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
