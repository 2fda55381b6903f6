"""Why a training run fails: measure, judge, try remedies, and leave everything as it was."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from torchmlp.diagnosis.measure.start import measure_start, score_of
from torchmlp.diagnosis.measure.training_loop import train
from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.remedies.search import search
from torchmlp.diagnosis.remedies.trial import seconds_of_step, steps_of_trial
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.rules.attribution import UNTOUCHED
from torchmlp.diagnosis.rules.evaluate import evaluate_rules
from torchmlp.diagnosis.rules.parameters import is_untrainable
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.deadline import Deadline
from torchmlp.diagnosis.run.run import CannotDiagnoseError, TrainingRun
from torchmlp.diagnosis.run.snapshot import Snapshot, examined, restored_afterwards

BUDGET = 10.0  # seconds


def diagnose(
    model: nn.Module,
    loss: str | Callable[[Any, Any], Any],
    optimizer: Optimizer,
    data: Any,
    *,
    steps: int = 200,
    batch_size: int | None = None,
    remedies: bool = True,
    budget: float | None = BUDGET,
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
        data: (inputs, targets), a Dataset, a DataLoader, or a list of batches, of tensors on any
            device or of numpy arrays, whose floating point numbers get the model's dtype. Fewer
            batches than steps are gone through again. A batch is a pair; or (x1, x2, y), the last
            being the target; or (x, y, weight), where the model takes one input or the loss three
            arguments; or a dict, named tuple or dataclass whose `labels`, `label`, `target`,
            `targets`, `y`, `output` or `class` is the target, whose `weight` or `sample_weight` are
            the samples' weights, and of whose other elements the model gets those its forward asks
            for by name, or the first ones.
        steps: how long the run means to train. Networks of more than 10^6 or so multiplications
            are tried with changes for fewer.
        batch_size: of inputs and targets, or of a Dataset; None takes 32.
        remedies: whether changes are tried; without them causes are named by their signs alone.
        budget: seconds that it may take, by the clock; where they do not suffice, the report says
            so and tells what is known by then. None takes the time it needs.

    Returns:
        A report: `.findings`, root causes first, none where the run is healthy; `.healthy`;
        `.remedies`; `.to_json()`; as text a screen.

    Raises:
        ValueError: a model without parameters, a loss that is no scalar, data that are empty or run
            out, or what the model or loss itself raises.

    Each rule's threshold stands with its source in `torchmlp.diagnosis.record.thresholds`; how
    often the first cause named is right, in `benchmarks/results/diagnosis.csv`.

    Example:
        >>> import torch
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
    with restored_afterwards(model, optimizer):  # reading the data may draw random numbers
        run = TrainingRun(
            model, loss, optimizer, read_batches(data, batch_size, steps, model, loss)
        )
        return diagnose_run(run, steps, remedies=remedies, budget=budget)


def diagnose_run(
    run: TrainingRun, steps: int, *, remedies: bool = True, budget: float | None = BUDGET
) -> Report:
    """The report of a run that stands ready; it is afterwards as it was."""
    if budget is not None and not budget > 0:
        raise CannotDiagnoseError(f"budget: expected seconds above 0, or None, got {budget}")
    run.deadline = Deadline(budget)
    with examined(run) as start:
        record = measure_run(run, start, steps)
        if remedies and not is_untrainable(evaluate_rules(record)):
            search(run, start, record)
    is_cut = len(record.losses) < steps and not record.nonfinite and record.losses
    record.budget = budget if run.deadline.has_passed or is_cut else None
    return Report.of(record)


def start_record(run: TrainingRun, start: Snapshot, steps: int, *, is_live: bool = False) -> Record:
    """The record of a run before its first step, as `measure_start` gives it.

    Raises:
        CannotDiagnoseError: the loss raised at the first batch, and no rule knows why.
    """
    record = measure_start(run, start, steps, is_live=is_live)
    design = record.design
    if design.error is not None and not any(f.certain for f in evaluate_rules(record)):
        raise CannotDiagnoseError(
            f"the loss raised on an output of shape {tuple(design.output_shape)}, a target of "
            f"shape {tuple(design.target_shape)}, {run.batch(0)[1].dtype}: {design.error}"
        )
    return record


def measure_run(run: TrainingRun, start: Snapshot, steps: int) -> Record:
    """The record of a run: at its start, and for so many steps."""
    record = start_record(run, start, steps)
    if record.design.error is not None or is_untrainable(evaluate_rules(record)):
        return record
    short = steps_of_trial(run, steps, seconds_of_step(run, start))

    def half_way() -> None:
        score = score_of(run, record)
        losses = list(record.losses)
        record.trials.append(
            Trial(UNTOUCHED, [], short, losses, math.nan if score is None else score)
        )

    # A schedule is run through in a trial too: half of the run is no trial of it.
    at = 0 if run.has_schedule and short < steps else short
    train(run, record, steps, at=at, then=half_way)
    record.score = None if record.nonfinite else score_of(run, record)
    return record
