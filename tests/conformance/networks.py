"""network_loss beside the plain network: one check asked of both."""

# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tests.conformance.layers import assert_same
from tests.oracles import FUNCTIONS, losses
from tests.problems import ACTIVATION_NAMES, LOSS_CASES, Problem
from torchmlp import network_loss

every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)
every_loss = pytest.mark.parametrize("loss_case", LOSS_CASES)
KINDS = ("relu", "tanh", "gelu")

# x, target, and the weights and biases in turn -> the loss.
Energy = Callable[..., Tensor]


def plain(problem: Problem) -> Energy:
    def energy(x: Tensor, target: Tensor, *parameters: Tensor) -> Tensor:
        for weight, bias, name in zip(
            parameters[::2], parameters[1::2], problem.activations, strict=True
        ):
            x = FUNCTIONS[name](F.linear(x, weight, bias))
        return losses(x, target, problem.loss).mean()

    return energy


def ours(problem: Problem) -> Energy:
    def energy(x: Tensor, target: Tensor, *parameters: Tensor) -> Tensor:
        return network_loss(
            x, target, parameters[::2], parameters[1::2], problem.activations, problem.loss
        )

    return energy


def given(problem: Problem) -> tuple[Tensor, ...]:
    return (problem.x, problem.target, *problem.parameters)


def both(
    check: Callable[[Energy, tuple[Tensor, ...]], Any],
    problem: Problem,
    **tolerance: float,
) -> None:
    """The check's answers with network_loss are those with the plain network."""
    found = []
    for make in (ours, plain):
        torch.manual_seed(1)
        found.append(check(make(problem), given(problem.wanting_gradients())))
    assert_same(found[0], found[1], **tolerance)


def differentiable(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    return [t for t in tensors if t.requires_grad]
