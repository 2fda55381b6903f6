"""The run under diagnosis: model, loss, optimizer and batches."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from torchmlp.autograd.loss import mean_loss
from torchmlp.diagnosis.run.deadline import Deadline
from torchmlp.diagnosis.run.elements import Batch, Packing, takes_weights
from torchmlp.diagnosis.run.errors import CannotDiagnoseError
from torchmlp.diagnosis.trace.trace import Trace

__all__ = [
    "USER_ERRORS",
    "Batch",
    "CannotDiagnoseError",
    "Loss",
    "TrainingRun",
    "TrainingStepRun",
]
Loss = Callable[[Any, Any], Any]
# Exceptions of a model or loss on unsuitable arguments.
USER_ERRORS = (RuntimeError, IndexError, ValueError, TypeError, AssertionError)


class TrainingRun:
    """A training run, not yet begun.

    Args:
        model: any module.
        loss: (output, target) -> scalar, or a name of this package's losses.
        optimizer: over the model's parameters.
        batches: pairs of tensors; they are brought to the model's device.
        rate: (step, steps) -> what the optimizer's rate is multiplied by; None leaves it.

    Raises:
        CannotDiagnoseError: no parameters.
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
        self.deadline = Deadline()
        self.has_schedule = rate is not None
        self.rate = rate or (lambda _step, _steps: 1.0)
        self.loss: Loss = (
            (lambda output, target: mean_loss(output, target, loss))
            if isinstance(loss, str)
            else loss
        )
        _check_parameters(model)
        device = next(model.parameters()).device
        # What `read_batches` knows of them beside the pairs.
        self.packing: Packing | None = getattr(batches, "packing", None)
        self.data_form: str = getattr(batches, "form", "pairs")
        self.data_names: tuple[list[str], str] = getattr(batches, "names", ([], ""))
        self.is_dataset: bool = getattr(batches, "is_dataset", False)
        self.weight: Tensor | None = None
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
        output = self.call(batch[0])
        if not isinstance(output, Tensor):
            raise CannotDiagnoseError(
                f"the model returned {type(output).__name__}, expected a tensor; wrap it in a "
                f"module that returns the output the loss reads"
            )
        if trace:
            trace.output, trace.phase = output, "loss"
        return output, self.loss_of(output, batch[1])

    def call(self, x: Tensor) -> Any:
        """What the model makes of inputs, which are taken apart first where they are several."""
        if self.packing is None:
            return self.model(x)
        output, self.weight = self.packing.call(self.model, x)
        return output

    def loss_of(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar: of samples with weights, given to the loss or their weighted mean.

        Raises:
            CannotDiagnoseError: it is none.
        """
        weight = self.weight
        if weight is None or len(weight) != len(target):
            return self.scalar(self.loss(output, target))
        if takes_weights(self.loss):
            weighted: Any = self.loss
            return self.scalar(weighted(output, target, weight))
        value = self.loss(output, target)
        if isinstance(value, Tensor) and value.numel() == weight.numel() > 1:
            value = (value.reshape(-1) * weight.reshape(-1)).mean()
        return self.scalar(value)

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


def _check_parameters(model: nn.Module) -> None:
    if next(model.parameters(), None) is None:
        raise CannotDiagnoseError(
            f"the model, {type(model).__name__}, has no parameters: there is nothing to train "
            f"(layers in a plain list or dict are not a module's own; use nn.ModuleList)"
        )
    if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
        raise CannotDiagnoseError(
            f"the model, {type(model).__name__}, has lazy layers without parameters yet; run one "
            f"batch through it first"
        )


class TrainingStepRun(TrainingRun):
    """A run whose network and loss are known only together, as one training step.

    Args:
        model: its forward gives the output where `step` hands torch's losses none.
        step: batch -> loss.
        optimizer: over the model's parameters.
        batches: pairs of tensors.
        rate: as `TrainingRun` takes it.
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
