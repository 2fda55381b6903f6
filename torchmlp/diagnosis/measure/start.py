"""The run before its first step: output, layers, data, gradients."""

from torch import Tensor

from torchmlp.diagnosis.measure.ascent import ascends, seems_to_ascend, sign_of
from torchmlp.diagnosis.measure.data_statistics import (
    gathered,
    measure_inputs,
    measure_targets,
    sorted_share,
)
from torchmlp.diagnosis.measure.gradients import measure_gradients
from torchmlp.diagnosis.measure.layer_statistics import measure_layer, measure_parts
from torchmlp.diagnosis.measure.output_layer import read_head
from torchmlp.diagnosis.measure.scoring import classes_last, scoring_of
from torchmlp.diagnosis.measure.trainability import evaluating, measure_trainability
from torchmlp.diagnosis.measure.training_loop import EVALUATED, outputs
from torchmlp.diagnosis.record.record import Design, Record
from torchmlp.diagnosis.run.run import (
    USER_ERRORS,
    Batch,
    CannotDiagnoseError,
    TrainingRun,
    TrainingStepRun,
)
from torchmlp.diagnosis.run.snapshot import Snapshot
from torchmlp.diagnosis.trace.layers import TracedLayer, find_layers
from torchmlp.diagnosis.trace.op_names import RESHAPING
from torchmlp.diagnosis.trace.trace import Trace


def measure_start(
    run: TrainingRun, start: Snapshot, steps: int, *, is_live: bool = False
) -> Record:
    """The record of a run before its first step; the run stands at its start afterwards.

    Args:
        run: the run.
        start: brings it back.
        steps: how long it means to train.
        is_live: whether it is being trained and waits: what takes longest is left out.
    """
    model, optimizer = run.model, run.optimizer
    batch = run.batch(0)
    group = optimizer.param_groups[0]
    design = Design(
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        lr=float(group["lr"]),
        optimizer=type(optimizer).__name__,
        momentum=float(group.get("momentum", (group.get("betas") or [0.0])[0])),
        batch_size=len(batch[0]),
        steps=steps,
    )
    record = Record(design)
    samples = gathered(run.batches)
    _start(run, record, batch, samples, is_live=is_live)
    start.restore()
    if design.error is None:
        record.score_start = score_of(run, record)
    return record


def _measure_sign(
    run: TrainingRun, record: Record, trace: Trace, loss: Tensor, output: Tensor
) -> None:
    """Whether the loss is climbed."""
    design, sign = record.design, sign_of(run.optimizer)
    design.maximizes = sign < 0
    design.ascends = ascends(trace, loss, sign)
    if not isinstance(run, TrainingStepRun) and record.targets is not None:
        target = run.batch(0)[1]
        design.seems_to_ascend = seems_to_ascend(loss, output, target, record.targets, sign)


def _ending(layers: list[TracedLayer]) -> list[str]:
    """The modules that change the last layer's values, "" for what no module of its own does."""
    if not layers:
        return []
    after = layers[-1].last_linear.index
    changing = [c for c in layers[-1].after if c.index > after and c.name not in RESHAPING]
    return [call.module if call.is_leaf else "" for call in changing]


def score_of(run: TrainingRun, record: Record) -> float | None:
    """Accuracy or R² on the run's own first samples; None where the network gives no output."""
    if record.targets is None:
        return None
    scoring = scoring_of(record.targets, record.design)
    samples = gathered(run.batches, EVALUATED)
    try:
        output = outputs(run.call, run, samples)
    except NotImplementedError:
        return None  # a LightningModule that is nothing but its training step
    return scoring(output, samples[1])


def _start(
    run: TrainingRun, record: Record, batch: Batch, samples: Batch, *, is_live: bool
) -> None:
    """What is known before the first step."""
    model, design = run.model, record.design
    trace = Trace(model)
    loss = None
    try:
        with trace:
            _, loss = run.forward(batch, trace)
    except CannotDiagnoseError:
        raise
    except USER_ERRORS as error:
        design.error = (str(error).strip() or repr(error)).splitlines()[0]
        if trace.output is None and trace.entered is None:
            raise CannotDiagnoseError(
                f"the model raised {type(error).__name__} on inputs of shape "
                f"{tuple(batch[0].shape)}, {batch[0].dtype}: {design.error}"
            ) from error
    output = trace.output if trace.output is not None else trace.entered
    if output is None:
        output = find_layers(trace.calls)[-1].a if find_layers(trace.calls) else batch[0]
    found = find_layers(trace.calls)
    read_head(design, trace.calls, found, trace.failed)
    design.output_shape, design.target_shape = list(output.shape), list(batch[1].shape)
    design.output_units = classes_last(output, batch[1]).shape[-1] if output.ndim > 1 else 1
    design.is_classes_second = classes_last(output, batch[1]) is not output
    design.data_form = run.data_form
    design.is_dataset = run.is_dataset
    design.input_names, design.target_name = run.data_names
    design.target_is_float = batch[1].is_floating_point()
    design.ending = _ending(found)
    wide = output.detach().double()
    design.output_min, design.output_max = float(wide.min()), float(wide.max())
    design.is_affine = len(found) > 1 and not any(traced.is_nonlinear for traced in found[:-1])
    record.layers = [
        measure_layer(k, traced, model, len(batch[0])) for k, traced in enumerate(found, 1)
    ]
    sizes = [layer.fan_in for layer in record.layers[:1]]
    record.network = "-".join(str(n) for n in sizes + [x.fan_out for x in record.layers])
    first = found[0].x if found else batch[0]
    if len(first) == len(batch[0]) and first.is_floating_point():
        record.inputs = measure_inputs(first, samples[0])
    record.targets = measure_targets(samples[0], samples[1], design.output_units, design.loss)
    if record.targets.kind == "classes":
        record.targets.sorted_share = sorted_share(run.batches)
    if design.error is not None:
        return
    assert loss is not None
    record.trainability = measure_trainability(model, run.optimizer, trace, found, loss)
    design.evaluating = evaluating(model, trace)
    if not loss.requires_grad:
        return
    record.parts = measure_parts(model, record.layers, loss)
    _measure_sign(run, record, trace, loss, output)
    measure_gradients(run, record, batch, trace, loss, output, is_live=is_live)
