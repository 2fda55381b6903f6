"""What a run of the diagnosis' benchmark is: something to train, and what is wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.optim import Optimizer

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Problem:
    """What `diagnose` is given.

    Attributes:
        model: with its initial weights.
        loss: (output, target) -> scalar.
        optimizer: over the model's parameters.
        batches: gone through as often as it takes.
        steps: how long the run means to train.
        score: (model, batches) -> accuracy, or R² where targets are numbers; balanced accuracy
            where classes are unequal.
    """

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Optimizer
    batches: list[Batch]
    score: Callable[[nn.Module, list[Batch]], float]
    steps: int = 200


@dataclass(frozen=True)
class Run:
    """One run, sick or healthy.

    Attributes:
        name: unique, in words joined by hyphens.
        make: seed -> the run.
        causes: the identifiers that are right to be named first; none for a healthy run.
        layers: the layers, counted from 1 among those with weights, that are right to be named with
            it; None stands for "no layer in particular". Empty: not judged.
        twin: the healthy version of a sick run; None where none can be (labels without meaning).
    """

    name: str
    make: Callable[[int], Problem]
    causes: tuple[str, ...] = ()
    layers: tuple[int | None, ...] = ()
    twin: Callable[[int], Problem] | None = field(default=None)
