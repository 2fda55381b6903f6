"""A snapshot of a run that restores it."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp._compat.torch_internals import buffers_of
from torchmlp._runtime.random_state import random_state, set_random_state
from torchmlp.diagnosis.run.run import TrainingRun
from torchmlp.kernels.threads import multiplications_of_step, threads_for


class Snapshot:
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
        self.buffers = [dict(buffers_of(module)) for module in model.modules()]
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
            buffers_of(module).update(buffers)  # a module that replaced its buffer
        for module, training in self.modes:
            module.training = training
        del self.optimizer.param_groups[len(self.groups) :]
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
def restored_afterwards(model: nn.Module, optimizer: Optimizer) -> Iterator[Snapshot]:
    """Whatever is done to them inside, they are afterwards what they were."""
    start = Snapshot(model, optimizer)
    try:
        yield start
    finally:
        start.restore()


@contextmanager
def examined(run: TrainingRun) -> Iterator[Snapshot]:
    """The run at its start, on the threads that its steps are worth; afterwards as it was."""
    with restored_afterwards(run.model, run.optimizer) as start, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the model warns of, it has warned of before
        work = multiplications_of_step(lambda: run.forward(run.batch(0)))
        start.restore()
        with threads_for(work):
            yield start


@contextmanager
def random_state_restored() -> Iterator[None]:
    """Restore all random generators on exit."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
