"""A LightningModule as what a diagnosis takes: network, loss and optimizer, or one whole step."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from torchmlp._compat.lightning import pl
from torchmlp.diagnosis.run.run import Batch, CannotDiagnoseError, TrainingRun, TrainingStepRun
from torchmlp.lightning.schedules import OneCycle


def run_of(
    module: pl.LightningModule, batches: list[Batch], configured: Any, *, is_live: bool = False
) -> TrainingRun:
    """The run of a module.

    A module that has `parts()` is taken apart by it: its network, its loss (output, target) ->
    scalar, and its optimizer, or None for the configured one. Of any other one the training step is
    taken as a whole.

    Args:
        module: on its device, in its precision.
        batches: as its training step gets them.
        configured: what its `configure_optimizers` returned.
        is_live: whether it is being trained, so that its optimizer is the trainer's.

    Raises:
        CannotDiagnoseError: it trains by a loop of its own and has no `parts()`, or has no
            optimizer.
    """
    own, rate = _optimizer_of(configured, is_live=is_live)
    parts = getattr(module, "parts", None)
    if parts is not None:
        network, loss, optimizer = parts()
        return TrainingRun(network, loss, optimizer or _given(own, module), batches, rate)
    if not module.automatic_optimization:
        raise CannotDiagnoseError(
            f"{type(module).__name__} trains by a loop of its own (automatic_optimization=False): "
            f"expected a method parts() that returns its network, its loss and its optimizer"
        )
    return TrainingStepRun(module, _step_of(module), _given(own, module), batches, rate)


def _given(optimizer: Optimizer | None, module: pl.LightningModule) -> Optimizer:
    if optimizer is None:
        raise CannotDiagnoseError(
            f"{type(module).__name__}.configure_optimizers returned no optimizer, expected one"
        )
    return optimizer


def _step_of(module: pl.LightningModule) -> Callable[[Batch], Any]:
    takes_index = len(inspect.signature(module.training_step).parameters) > 1

    def step(batch: Batch) -> Any:
        with _silent(module):
            value = module.training_step(batch, 0) if takes_index else module.training_step(batch)
        return value.get("loss") if isinstance(value, dict) else value

    return step


@contextmanager
def _silent(module: pl.LightningModule) -> Iterator[None]:
    """Nothing is logged inside."""
    logs = {name: (lambda *_args, **_kwargs: None) for name in ("log", "log_dict")}
    vars(module).update(logs)
    try:
        yield
    finally:
        for name in logs:
            vars(module).pop(name, None)


def _optimizer_of(
    configured: Any, *, is_live: bool
) -> tuple[Optimizer | None, Callable[[int, int], float] | None]:
    """The first optimizer of what `configure_optimizers` returns, and its rate over a short run.

    A schedule of one cycle is run through in the steps there are; others stay at their start, for
    they count epochs.
    """
    schedulers: Any = []
    while isinstance(configured, tuple | list) and configured:
        if len(configured) == 2 and isinstance(configured[1], list):  # noqa: PLR2004  optimizers, schedulers
            configured, schedulers = configured
        configured = configured[0]
    if isinstance(configured, dict):
        schedulers = configured.get("lr_scheduler", schedulers)
        configured = configured["optimizer"]
    scheduler = schedulers[0] if isinstance(schedulers, list) and schedulers else schedulers
    if isinstance(scheduler, dict):
        scheduler = scheduler["scheduler"]
    optimizer = getattr(configured, "optimizer", configured)  # a LightningOptimizer's own
    if not isinstance(optimizer, Optimizer):
        return None, None
    if is_live or not isinstance(scheduler, LRScheduler):
        return optimizer, None
    return optimizer, _rate_of(scheduler, optimizer)


def _rate_of(scheduler: LRScheduler, optimizer: Optimizer) -> Callable[[int, int], float] | None:
    if not isinstance(scheduler, OneCycle | OneCycleLR):
        return None
    peaks = [group.get("max_lr", base) for group, base in _bases(scheduler, optimizer)]
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak
    cycle = OneCycle(SGD([torch.zeros(1, requires_grad=True)], lr=1.0))

    def rate(step: int, steps: int) -> float:
        cycle.total_steps = steps
        return cycle.factor(step)

    return rate


def _bases(scheduler: Any, optimizer: Optimizer) -> Iterator[tuple[dict[str, Any], float]]:
    yield from zip(optimizer.param_groups, scheduler.base_lrs, strict=True)
