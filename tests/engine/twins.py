"""Pairs of networks from the same weights: one for the engine, its twin for autograd."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import losses
from tests.problems import encode_targets
from torchmlp import MLP, Engine

Optimize = Callable[[Any], torch.optim.Optimizer]

# Relative to the norm of all weights, after a hundred steps. Both ways round every sum and formula,
# in another order: errors add up to some hundred roundings of 1e-16, or 6e-8. A unit of ReLU whose
# z is within a rounding of 0 may be on in one of them and off in the other, and from there on they
# are two runs: that is chaos and no error, so rates here are small and the seeds have no such unit.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6}

needs_compiler = pytest.mark.skipif(
    shutil.which("c++") is None, reason="the step in C++ needs a compiler, and there is no c++"
)
WAYS = [
    pytest.param(False, id="operators"),
    pytest.param(True, id="native", marks=needs_compiler),
]
both_ways = pytest.mark.parametrize("native_step", WAYS)


def sgd(**settings: Any) -> Optimize:
    return lambda parameters: torch.optim.SGD(parameters, **{"lr": 0.01, **settings})


def network(
    activation: str = "tanh",
    widths: Sequence[int] = (6, 8, 5, 3),
    output_activation: str = "identity",
    *,
    dtype: torch.dtype = torch.float64,
    seed: int = 1,
    **settings: Any,
) -> MLP:
    """An MLP with biases that are not zero."""
    torch.manual_seed(seed)
    first, *hidden, last = widths
    mlp = MLP(first, hidden, last, activation, output_activation, dtype=dtype, **settings)
    with torch.no_grad():
        for bias in mlp.biases:
            if bias is not None:
                bias.uniform_(-0.5, 0.5)
    return mlp


def batches(
    steps: int,
    loss_case: str = "cross_entropy-indices",
    *,
    rows: Sequence[int] = (7,),
    features: int = 6,
    classes: int = 3,
    dtype: torch.dtype = torch.float64,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Another batch at every step; `rows` may be several batch axes."""
    for _ in range(steps):
        target = encode_targets(loss_case, tuple(rows), classes)
        x = torch.randn(*rows, features, dtype=torch.float64).to(dtype)
        yield x, target.to(dtype) if target.is_floating_point() else target


class Twins:
    """The engine and a plain loop, from the same weights.

    The twin is a network of plain torch modules with torch's losses; with dropout it is a copy of
    the MLP, so that both draw the same masks from the same generator.

    Args:
        mlp: for the engine; its twin is made of it.
        loss: as for the engine.
        optimize: makes the optimizer of each from its list of parameters.
        native_step: whether the engine is to take its step in C++.
    """

    def __init__(
        self, mlp: MLP, loss: str, optimize: Optimize, *, native_step: bool | None = False
    ) -> None:
        self.loss, self.mlp = loss, mlp
        self.has_dropout = bool(mlp.dropout or mlp.input_dropout)
        self.twin: nn.Module = deepcopy(mlp) if self.has_dropout else mlp.to_sequential()
        self.start = [p.detach().clone() for p in mlp.parameters()]
        self.optimizer = optimize(list(mlp.parameters()))
        self.twins_optimizer = optimize(list(self.twin.parameters()))
        self.engine = Engine(mlp, loss, self.optimizer, native=native_step)

    @property
    def both(self) -> tuple[nn.Module, nn.Module]:
        return self.mlp, self.twin

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        return self.optimizer, self.twins_optimizer

    def step(self, x: Tensor, target: Tensor) -> Tensor:
        """One step of both; the engine's loss, having been compared."""
        seed = int(torch.randint(2**31, ()))
        torch.manual_seed(seed)
        loss = self.engine.step(x, target)
        torch.manual_seed(seed)
        self.check_loss(loss, self.step_of_twin(x, target))
        torch.manual_seed(seed + 1)
        return loss

    def step_of_twin(self, x: Tensor, target: Tensor) -> Tensor:
        """A step as everybody writes it."""
        if x.dtype == torch.uint8:
            x = x.flatten(1).to(self.start[0].dtype) / 255
        return plain_step(self.twin, self.loss, self.twins_optimizer, x, target)

    def check_loss(self, mine: Tensor, theirs: Tensor) -> None:
        assert mine.dtype == theirs.dtype
        assert mine.shape == ()
        tolerance = TOLERANCES.get(mine.dtype)
        if tolerance:
            torch.testing.assert_close(
                mine, theirs, rtol=2 * tolerance, atol=tolerance, equal_nan=True
            )

    def run(self, data: Iterator[tuple[Tensor, Tensor]]) -> None:
        for x, target in data:
            self.step(x, target)

    def distance(self) -> float:
        """‖difference‖ / ‖weights‖, over all parameters together."""
        return distance(list(self.mlp.parameters()), list(self.twin.parameters()))

    def assert_same(self, *, has_moved: bool = True) -> None:
        """Equal weights, in the dtype's tolerance, and far from where they started."""
        assert self.distance() < TOLERANCES[self.start[0].dtype]
        if has_moved:
            assert distance(self.start, list(self.twin.parameters())) > 1e-4


def plain_step(
    module: nn.Module, loss: str, optimizer: torch.optim.Optimizer, x: Tensor, target: Tensor
) -> Tensor:
    """zero_grad, forward, backward, step; the loss before it."""
    optimizer.zero_grad()
    value = losses(module(x), target, loss).mean()
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value.detach()


def distance(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """‖mine − theirs‖ / ‖theirs‖, all tensors as one vector."""
    a, b = (torch.cat([t.detach().double().flatten() for t in side]) for side in (mine, theirs))
    return float((a - b).norm() / b.norm())
