"""What is diagnosed: a model, its loss and optimizer, and batches; all left as they were found."""

import copy
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, IterableDataset

from torchmlp._runtime.random_state import random_state, set_random_state
from torchmlp.autograd.loss import mean_loss
from torchmlp.diagnosis.trace.trace import Trace
from torchmlp.kernels.threads import multiplications_of_step, threads_for

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Any, Any], Any]
DEFAULT_BATCH_SIZE = 32
# What a model or a loss may say of arguments that it does not take.
REFUSALS = (RuntimeError, IndexError, ValueError, TypeError, AssertionError)


class CannotDiagnoseError(ValueError):
    """The model, loss, optimizer or data are such that there is no run to look at."""


class Subject:
    """A training run, not yet begun.

    Args:
        model: any module.
        loss: (output, target) -> scalar, or a name of this package's losses.
        optimizer: over the model's parameters.
        batches: pairs of tensors; they are brought to the model's device.
        rate: (step, steps) -> what the optimizer's rate is multiplied by; None leaves it.

    Raises:
        CannotDiagnoseError: no parameters, or an optimizer over others.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | Loss,
        optimizer: Optimizer,
        batches: list[Batch],
        rate: Callable[[int, int], float] | None = None,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.has_schedule = rate is not None
        self.rate = rate or (lambda _step, _steps: 1.0)
        self.loss: Loss = (
            (lambda output, target: mean_loss(output, target, loss))
            if isinstance(loss, str)
            else loss
        )
        _check_parameters(model, optimizer)
        device = next(model.parameters()).device
        self.batches = [(x.to(device), target.to(device)) for x, target in batches]
        step = inspect.signature(type(optimizer).step).parameters.get("closure")
        self.needs_closure = step is not None and step.default is inspect.Parameter.empty

    def batch(self, step: int) -> Batch:
        """The batch of a step; they are gone through again and again."""
        return self.batches[step % len(self.batches)]

    def forward(self, batch: Batch, trace: Trace | None = None) -> tuple[Tensor, Tensor]:
        """Output and loss of a batch.

        Raises:
            CannotDiagnoseError: the output is no tensor, or the loss no scalar.
        """
        output = self.model(batch[0])
        if not isinstance(output, Tensor):
            raise CannotDiagnoseError(
                f"the model returned {type(output).__name__}, expected a tensor; wrap it in a "
                f"module that returns the output the loss reads"
            )
        if trace:
            trace.output, trace.phase = output, "loss"
        return output, self.loss_of(output, batch[1])

    def loss_of(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar.

        Raises:
            CannotDiagnoseError: it is none.
        """
        return self.scalar(self.loss(output, target))

    @staticmethod
    def scalar(value: Any) -> Tensor:
        """The value, if it is a tensor of one number.

        Raises:
            CannotDiagnoseError: it is none.
        """
        if not isinstance(value, Tensor):
            raise CannotDiagnoseError(
                f"the loss returned {type(value).__name__}, expected a scalar tensor; return the "
                f"tensor itself, without .item()"
            )
        if value.numel() != 1:
            raise CannotDiagnoseError(
                f"the loss returned shape {tuple(value.shape)}, expected a scalar; take its mean "
                f"over the batch"
            )
        return value.reshape(())


def _check_parameters(model: nn.Module, optimizer: Optimizer) -> None:
    own = {id(p) for p in model.parameters()}
    if not own:
        raise CannotDiagnoseError(
            f"the model, {type(model).__name__}, has no parameters: there is nothing to train"
        )
    if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
        raise CannotDiagnoseError(
            f"the model, {type(model).__name__}, has lazy layers without parameters yet; run one "
            f"batch through it first"
        )
    theirs = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(id(p) in own for p in theirs):
        shapes = ", ".join(str(tuple(p.shape)) for p in theirs[:4])
        raise CannotDiagnoseError(
            f"the optimizer, {type(optimizer).__name__}, is over other parameters ({shapes}"
            f"{', ...' if len(theirs) > 4 else ''}), none of them the model's; make it with "  # noqa: PLR2004
            f"model.parameters()"
        )


def read_batches(data: Any, batch_size: int | None, steps: int) -> list[Batch]:
    """Up to `steps` batches, as a run would see them.

    Args:
        data: (inputs, targets), a Dataset, a DataLoader or another iterable of batches.
        batch_size: of inputs and targets or of a Dataset; None takes 32, or all where there are
            fewer. Shuffled, by an order of their own.
        steps: how many are wanted; what can be gone through again may hold fewer.

    Raises:
        CannotDiagnoseError: there are none, an iterator runs out before `steps`, or a batch is no
            pair of tensors of one length.
    """
    if batch_size is not None and batch_size < 1:
        raise CannotDiagnoseError(f"batch_size: expected at least 1, got {batch_size}")
    is_pair = (
        isinstance(data, tuple | list)
        and len(data) == 2  # noqa: PLR2004  inputs, targets
        and all(isinstance(part, Tensor) for part in data)
    )
    if is_pair:
        inputs, targets = data
        if not inputs.ndim or not targets.ndim:
            raise CannotDiagnoseError(
                f"data: expected inputs and targets of many samples, got shapes "
                f"{tuple(inputs.shape)} and {tuple(targets.shape)}"
            )
        if len(inputs) != len(targets):
            raise CannotDiagnoseError(
                f"data: expected as many targets as inputs, got {len(inputs)} inputs and "
                f"{len(targets)} targets"
            )
        batches = list(islice(_drawn(inputs, targets, batch_size), steps))
    elif isinstance(data, Dataset) and not isinstance(data, DataLoader):
        batches = [_pair(batch) for batch in islice(_loader(data, batch_size), steps)]
    else:
        if not isinstance(data, Iterable):
            raise CannotDiagnoseError(
                f"data: expected (inputs, targets), a Dataset, a DataLoader or a list of batches, "
                f"got {type(data).__name__}"
            )
        with _order_kept(data):
            iterator = iter(data)
            batches = [_pair(batch) for batch in islice(iterator, steps)]
        if iterator is data and 0 < len(batches) < steps:
            raise CannotDiagnoseError(
                f"data: ran out after {len(batches)} batches, expected {steps}; give a list or a "
                f"DataLoader, which can be gone through again, or steps={len(batches)}"
            )
    if not batches or not any(len(x) for x, _ in batches):
        raise CannotDiagnoseError("data: expected at least one batch, got none")
    return [batch for batch in batches if len(batch[0])]


def _loader(data: Any, batch_size: int | None) -> Iterable[Any]:
    size = batch_size or DEFAULT_BATCH_SIZE
    if isinstance(data, IterableDataset):
        return DataLoader(data, size)
    if not len(data):
        return ()
    return DataLoader(data, size, shuffle=True, generator=torch.Generator().manual_seed(0))


@contextmanager
def _order_kept(data: Any) -> Iterator[None]:
    """A loader's own generator draws afterwards what it would have drawn."""
    generator = getattr(data, "generator", None)
    if not isinstance(generator, torch.Generator):
        yield
        return
    state = generator.get_state()
    try:
        yield
    finally:
        generator.set_state(state)


def _drawn(inputs: Tensor, targets: Tensor, batch_size: int | None) -> Iterator[Batch]:
    count = len(inputs)
    size = min(batch_size or DEFAULT_BATCH_SIZE, max(count, 1))
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(count, generator=generator).to(inputs.device)
    for start in range(0, count, size):
        rows = order[start : start + size]
        # A lone last sample is no batch to a BatchNorm; it takes its turn in a real run.
        if len(rows) == size or start == 0 or 2 * len(rows) >= size:
            yield inputs[rows], targets[rows.to(targets.device)]


def _pair(batch: Any) -> Batch:
    ok = isinstance(batch, tuple | list) and len(batch) == 2  # noqa: PLR2004
    if not ok or not all(isinstance(part, Tensor) for part in batch):
        kind = type(batch).__name__
        if isinstance(batch, tuple | list):
            kind += f" of {', '.join(type(part).__name__ for part in batch)}"
        hint = "; convert arrays with torch.from_numpy(array)" if "ndarray" in kind else ""
        raise CannotDiagnoseError(
            f"data: expected batches (input, target) of tensors, got {kind}{hint}"
        )
    x, target = batch
    if x.ndim == 0 or target.ndim == 0 or len(x) != len(target):
        raise CannotDiagnoseError(
            f"data: expected as many targets as inputs in a batch, got shapes {tuple(x.shape)} and "
            f"{tuple(target.shape)}"
        )
    return x, target


class StepSubject(Subject):
    """A run whose network and loss are known only together, as one training step.

    Args:
        model: its forward gives the output where `step` hands torch's losses none.
        step: batch -> loss.
        optimizer: over the model's parameters.
        batches: pairs of tensors.
        rate: as `Subject` takes it.
    """

    def __init__(
        self,
        model: nn.Module,
        step: Callable[[Batch], Any],
        optimizer: Optimizer,
        batches: list[Batch],
        rate: Callable[[int, int], float] | None = None,
    ) -> None:
        super().__init__(model, lambda _output, _target: None, optimizer, batches, rate)
        self.step = step

    def forward(self, batch: Batch, trace: Trace | None = None) -> tuple[Tensor, Tensor]:
        """What entered the loss, where that was traced, and the loss."""
        loss = self.scalar(self.step(batch))
        if trace is None or trace.entered is None:
            return loss.detach(), loss
        trace.output = trace.entered
        return trace.entered, loss


class Start:
    """The state of a run at its start: `restore` brings it back, however often.

    Parameters, buffers and optimizer state get their values back in their own memory; generators,
    gradients, modes and the optimizer's settings too.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        tensors = [*model.parameters(), *(b for b in model.buffers() if b is not None)]
        theirs = [p for group in optimizer.param_groups for p in group["params"]]
        tensors = list({id(t): t for t in [*tensors, *theirs]}.values())
        self.values = [(t, t.data, t.detach().clone(), t.requires_grad) for t in tensors]
        self.gradients = [
            None if t.grad is None else (t.grad, t.grad.data, t.grad.detach().clone())
            for t in tensors
        ]
        self.buffers = [dict(module._buffers) for module in model.modules()]  # noqa: SLF001
        self.modes = [(module, module.training) for module in model.modules()]
        self.groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        self.groups = copy.deepcopy(self.groups)
        self.state = {
            parameter: {key: (value, copy.deepcopy(value)) for key, value in values.items()}
            for parameter, values in optimizer.state.items()
        }
        self.extra = {
            key: value
            for key, value in vars(optimizer).items()
            if isinstance(value, int | float | bool | str)
        }
        self.random = random_state()

    def restore(self) -> None:
        """Bring it back."""
        with torch.no_grad():
            for (tensor, data, value, requires_grad), gradient in zip(
                self.values, self.gradients, strict=True
            ):
                tensor.grad = None
                tensor.data = data
                tensor.copy_(value)
                tensor.requires_grad_(requires_grad)
                if gradient is not None:
                    grad, grad_data, grad_value = gradient
                    grad.data = grad_data
                    tensor.grad = grad.copy_(grad_value)
        for module, buffers in zip(self.model.modules(), self.buffers, strict=True):
            module._buffers.update(buffers)  # noqa: SLF001  a module that replaced its buffer
        for module, training in self.modes:
            module.training = training
        for group, settings in zip(self.optimizer.param_groups, self.groups, strict=True):
            for key in [key for key in group if key != "params" and key not in settings]:
                del group[key]
            group.update(copy.deepcopy(settings))
        self.optimizer.state.clear()
        for parameter, values in self.state.items():
            self.optimizer.state[parameter] = {
                key: own.copy_(value) if isinstance(own, Tensor) else copy.deepcopy(value)
                for key, (own, value) in values.items()
            }
        vars(self.optimizer).update(self.extra)
        set_random_state(self.random)


@contextmanager
def left_alone(model: nn.Module, optimizer: Optimizer) -> Iterator[Start]:
    """Whatever is done to them inside, they are afterwards what they were."""
    start = Start(model, optimizer)
    try:
        yield start
    finally:
        start.restore()


@contextmanager
def looked_into(subject: Subject) -> Iterator[Start]:
    """The run at its start, on the threads that its steps are worth; afterwards as it was."""
    with left_alone(subject.model, subject.optimizer) as start, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the model warns of, it has warned of before
        subject.model.train()
        work = multiplications_of_step(lambda: subject.forward(subject.batch(0)))
        start.restore()
        with threads_for(work):
            yield start


@contextmanager
def random_state_kept() -> Iterator[None]:
    """What is drawn inside is drawn again afterwards."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
