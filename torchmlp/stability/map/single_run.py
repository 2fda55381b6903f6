"""The run of a cell: step by step, up to the end or the first loss that is not finite."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torchmlp.data.batches.in_memory import Batches
from torchmlp.diagnosis.measure.training_loop import update
from torchmlp.diagnosis.run.run import USER_ERRORS, Batch, TrainingRun
from torchmlp.engine import unsupported_reason
from torchmlp.lightning.classifier import Classifier
from torchmlp.lightning.engine_adapter import EngineAdapter
from torchmlp.stability.map.cell import Cell
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.data import MapData

AT_ONCE = 500  # samples held out that are looked at together
CLASS_SCORES = 2  # axes of an output: samples, classes


class Run(NamedTuple):
    """A cell that has been trained.

    Attributes:
        losses: step by step, up to the end or the first that is not finite.
        accuracy: on the samples held out; None where a loss or an output is not finite.
    """

    losses: list[float]
    accuracy: float | None


def train(cell: Cell, config: MapConfig, samples: MapData) -> Run:
    """The run of a cell of any model and optimizer: by the engine where it can, else by autograd.

    Raises:
        ValueError: what `MapConfig.run` raises; an output that is no row of class scores.
    """
    module = config.module(cell)
    run = config.run(cell, samples.epoch(cell, 1), module)
    is_for_engine = type(module) is Classifier and not unsupported_reason(
        module.mlp, module.loss, run.optimizer
    )
    fused = EngineAdapter(module.mlp, module.loss, run.optimizer) if is_for_engine else None
    losses: list[float] = []
    for batch in samples.batches(cell, config.steps):
        losses.append(float(fused.step(batch)) if fused else _step(run, batch))
        if not math.isfinite(losses[-1]):
            return Run(losses, None)
    return Run(losses, accuracy_of(run.model, samples))


def _step(run: TrainingRun, batch: Batch) -> float:
    """One step by autograd; the loss before it."""
    run.optimizer.zero_grad()
    try:
        _, loss = run.forward(batch)
    except USER_ERRORS:
        if all(bool(p.isfinite().all()) for p in run.model.parameters()):
            raise
        return math.nan  # a loss that checks its input, and has been handed nan
    value = float(loss.detach())
    if math.isfinite(value):
        loss.backward()  # type: ignore[no-untyped-call]
        closed = run.needs_closure
        update(run.optimizer, lambda: run.forward(batch)[1], with_closure=closed)
    return value


@torch.no_grad()
def accuracy_of(model: nn.Module, samples: MapData) -> float | None:
    """The share of the samples held out that the model tells right; None where it is not finite.

    Raises:
        ValueError: its output is no row of class scores.
    """
    model.eval()
    right = 0
    for x, labels in Batches(samples.held_inputs, samples.held_labels, AT_ONCE):
        output: Tensor = model(x)
        if output.ndim != CLASS_SCORES or len(output) != len(labels):
            raise ValueError(
                f"a map needs a model whose output is (samples, classes), {type(model).__name__} "
                f"returned {tuple(output.shape)} for {len(labels)} samples"
            )
        if not bool(output.isfinite().all()):
            return None
        right += int((output.argmax(-1) == labels).sum())
    return right / len(samples.held_labels)
