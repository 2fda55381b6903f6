"""The instrumented training loop."""

import math
from collections.abc import Callable, Container

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchmlp.diagnosis.measure.layer_statistics import sample_layers
from torchmlp.diagnosis.measure.nonfinite import locate
from torchmlp.diagnosis.record.record import Record, Sample
from torchmlp.diagnosis.run.run import USER_ERRORS, Batch, TrainingRun
from torchmlp.diagnosis.trace.layers import find_layers
from torchmlp.diagnosis.trace.trace import Trace

REEVALUATED_STEPS = 20  # first ones, whose batch is evaluated again after the update
RUNS_SHARE = 0.4  # of the time that a diagnosis has; the rest is for changes
EVALUATED = 1000  # samples a score is taken on


def when_to_look(steps: int) -> set[int]:
    """The steps at which the layers are measured: 0, 1, 2, 4, 8, ..., every tenth, the last."""
    doubling = {2**k for k in range(steps.bit_length()) if 2**k < steps}
    return {0, *doubling, *range(0, steps, max(steps // 10, 1)), max(steps - 1, 0)}


def train(
    run: TrainingRun, record: Record, steps: int, *, at: int, then: Callable[[], None]
) -> None:
    """Train the run as it is and write into `record` what happens; call `then` after `at`.

    It ends at the first value that is not finite, before an update is made of it, or where the
    time is out.
    """
    looks = when_to_look(steps)
    groups = run.optimizer.param_groups
    rates = [group["lr"] for group in groups]
    for step in range(steps):
        batch = run.batch(step)
        if run.has_schedule:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * run.rate(step, steps)
        generator = torch.get_rng_state()
        try:
            sample, loss, is_sick = _step(run, batch, step, looks)
        except USER_ERRORS as error:
            # A loss that checks its input, and has been handed nan or what is no probability.
            torch.set_rng_state(generator)
            record.design.error = str(error)
            record.nonfinite = locate(run, batch, step)
            return
        if sample:
            record.samples.append(sample)
        record.losses.append(loss)
        if is_sick:
            torch.set_rng_state(generator)
            record.nonfinite = locate(run, batch, step)
            return
        if step < REEVALUATED_STEPS:
            after = torch.get_rng_state()
            torch.set_rng_state(generator)
            again = _look(run, batch)
            torch.set_rng_state(after)
            record.same_batch_loss_ratio.append(again / loss if loss > 0 else 1.0)
        if step == at - 1:
            then()
        is_long = run.deadline.share_passed > RUNS_SHARE and step >= at - 1
        if is_long or run.deadline.has_passed:
            return


def _step(
    run: TrainingRun, batch: Batch, step: int, looks: Container[int]
) -> tuple[Sample | None, float, bool]:
    """One step: the layers where they are looked at, the loss, and whether it was not finite."""
    model, optimizer = run.model, run.optimizer
    optimizer.zero_grad()
    trace = Trace(model) if step in looks else None
    if trace:
        with trace:
            _, loss = run.forward(batch, trace)
    else:
        _, loss = run.forward(batch)
    value = float(loss.detach())
    sample = None
    if trace:
        found = find_layers(trace.calls)
        parameters = dict(model.named_parameters())
        weights = [parameters[traced.call.weight] for traced in found]
        layers, _ = sample_layers(found, loss, len(batch[0]), weights)
        sample = Sample(step, layers)
    if not math.isfinite(value):
        return sample, value, True
    if not loss.requires_grad:
        return sample, value, False
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if gradients and not all_finite(gradients):
        return sample, value, True
    update(optimizer, lambda: run.forward(batch)[1], with_closure=run.needs_closure)
    return sample, value, False


def update(optimizer: Optimizer, loss: Callable[[], Tensor], *, with_closure: bool) -> None:
    """The optimizer's step, with the closure over the batch's loss that some of them ask for."""
    if not with_closure:
        optimizer.step()
        return

    def closure() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(closure)


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether every element of every tensor is."""
    dense = [t.to_dense() if t.is_sparse else t for t in tensors]
    return bool(torch.isfinite(torch.nn.utils.get_total_norm(dense, math.inf)))


def _look(run: TrainingRun, batch: Batch) -> float:
    buffers = [(b, b.clone()) for b in run.model.buffers()]
    with torch.no_grad():
        try:
            _, loss = run.forward(batch)
        except USER_ERRORS:
            return math.inf
        finally:
            for buffer, value in buffers:
                buffer.copy_(value)
    return float(loss)


def outputs(
    forward: Callable[[Tensor], Tensor], run: TrainingRun, samples: Batch, chunk: int = 500
) -> Tensor:
    """The outputs for samples, as in evaluation."""
    model = run.model
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            x = samples[0]
            return torch.cat([forward(x[k : k + chunk]) for k in range(0, len(x), chunk)])
    finally:
        for module, training in modes:
            module.training = training
