"""Training as a stream of states, for a notebook or a script: plain iterators that compose.

Example:
    >>> import torch
    >>> from torchmlp import MLP
    >>> _ = torch.manual_seed(0)
    >>> model, x = MLP(2, 16, 2), torch.randn(64, 2)
    >>> batches = [(x, (x[:, 0] > 0).long())] * 1000
    >>> sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    >>> states = training_states(model, "cross_entropy", sgd, batches)
    >>> states = reported(states, 50, lambda state: print(f"{state.step}: {state.loss:.2f}"))
    >>> *_, last = until(states, long_enough(100), close_enough(1e-7))
    50: 0.02
    100: 0.01
    >>> last.step
    100
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp.autograd.dense import autocast_is_on
from torchmlp.autograd.loss import mean_loss
from torchmlp.engine import Engine, unsupported_reason
from torchmlp.engine.state.addresses import check_tensors
from torchmlp.nn.mlp import MLP


class TrainingState(NamedTuple):
    """One step of descent.

    Attributes:
        step: number of the step, from 1.
        loss: the batch's loss before the step, a 0-d tensor without graph.
        rate: the learning rate η of the step (of the optimizer's first parameter group).
        model: the model after the step; the same, live object in every state.
    """

    step: int
    loss: Tensor
    rate: float
    model: nn.Module


Condition = Callable[[TrainingState], bool]


def training_states(
    model: nn.Module,
    loss: str | Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    rate: Callable[[int], float] | None = None,
) -> Iterator[TrainingState]:
    """The run as a stream: one state per descent step, as long as the batches last.

    Args:
        model: any module. An MLP is trained by the `Engine` where it can be: on a CPU, SGD then
            leaves no gradient in `.grad`.
        loss: "cross_entropy", "mse", "bce" or a function (output, target) -> scalar.
        optimizer: over the model's parameters.
        batches: pairs (input, target); itertools.cycle makes them endless.
        rate: the learning rate as a function of the step, from 1; None leaves it to the optimizer.

    Raises:
        ValueError: the loss is no scalar or an unknown name; what the layers raise.
    """
    engine = None
    if (
        isinstance(model, MLP)
        and isinstance(loss, str)
        and not unsupported_reason(model, loss, optimizer)
    ):
        engine = Engine(model, loss, optimizer)
        optimizer.zero_grad()  # what is there from before is nobody's
    for step, (x, target) in enumerate(batches, 1):
        check_tensors(x, target, "training_states")
        if rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = rate(step) * group.get("rate_factor", 1.0)
        wants_graph = x.requires_grad or target.requires_grad or autocast_is_on(x.device.type)
        if engine is None or wants_graph:
            value = _step_by_autograd(model, loss, optimizer, x, target)
        else:
            value = engine.step(x, target)
        yield TrainingState(step, value, float(optimizer.param_groups[0]["lr"]), model)


def until(states: Iterable[TrainingState], *conditions: Condition) -> Iterator[TrainingState]:
    """The stream up to and including the first state that meets one of the conditions."""
    for state in states:
        yield state
        # A list: each condition has to see every state, for some of them remember.
        met = [condition(state) for condition in conditions]
        if any(met):
            return


def long_enough(steps: int) -> Condition:
    """Met at the given number of steps."""
    return lambda state: state.step >= steps


def close_enough(tolerance: float) -> Condition:
    """Met when the loss differs from the previous state's by less than `tolerance`.

    It remembers a loss: make a new one for each stream.
    """
    previous = float("inf")

    def met(state: TrainingState) -> bool:
        nonlocal previous
        change, previous = abs(float(state.loss) - previous), float(state.loss)
        return change < tolerance

    return met


def no_improvement(tolerance: float, patience: int) -> Condition:
    """Met when for `patience` states no loss was more than `tolerance` below the best before it.

    A loss that is nan improves nothing. It remembers losses: make a new one for each stream.
    """
    best, since = float("inf"), 0

    def met(state: TrainingState) -> bool:
        nonlocal best, since
        improved = float(state.loss) < best - tolerance
        best, since = (float(state.loss), 0) if improved else (best, since + 1)
        return since >= patience

    return met


def reported(
    states: Iterable[TrainingState], every: int, action: Callable[[TrainingState], object]
) -> Iterator[TrainingState]:
    """The same stream, with `action` called on every `every`-th state in passing."""
    if every < 1:
        raise ValueError(f"reported: expected every >= 1, got {every}")
    for state in states:
        if state.step % every == 0:
            action(state)
        yield state


def _step_by_autograd(
    model: nn.Module,
    loss: str | Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    x: Tensor,
    target: Tensor,
) -> Tensor:
    optimizer.zero_grad()
    output = model(x)
    value = mean_loss(output, target, loss) if isinstance(loss, str) else loss(output, target)
    if value.ndim:
        raise ValueError(
            f"training_states: expected a loss function that returns a scalar, got shape "
            f"{tuple(value.shape)}; take its mean over the batch"
        )
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value.detach()
