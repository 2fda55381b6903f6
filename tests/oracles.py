"""Independent answers: torch.nn, sums written as Python loops, finite differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.problems import Problem

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "mish": F.mish,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "softsign": F.softsign,
    "logsigmoid": F.logsigmoid,
}

MODULES: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "mish": nn.Mish,
    "hardtanh": nn.Hardtanh,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "softsign": nn.Softsign,
    "logsigmoid": nn.LogSigmoid,
}


def derivative(activation: str, z: Tensor) -> Tensor:
    """φ'(z) as autograd has it."""
    z = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(FUNCTIONS[activation](z).sum(), z)
    return slope


def losses(output: Tensor, target: Tensor, loss: str) -> Tensor:
    """The loss of each sample, by torch.nn.functional."""
    rows = output.reshape(-1, output.shape[-1])
    if loss == "cross_entropy":
        target = target.reshape(rows.shape if target.is_floating_point() else rows.shape[:1])
        return F.cross_entropy(rows, target, reduction="none").reshape(output.shape[:-1])
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(output, target, reduction="none").sum(-1)
    return 0.5 * F.mse_loss(output, target, reduction="none").sum(-1)


def sequential(problem: Problem) -> nn.Sequential:
    """The network of plain torch modules, its parameters copies of the problem's."""
    modules: list[nn.Module] = []
    for weight, bias, name in zip(
        problem.weights, problem.biases, problem.activations, strict=True
    ):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, dtype=weight.dtype)
        linear.weight = nn.Parameter(weight.detach().clone())
        if bias is not None:
            linear.bias = nn.Parameter(bias.detach().clone())
        modules += [linear, MODULES[name]()]
    return nn.Sequential(*modules)


def loss_and_gradients(problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """The mean loss, and its gradients in the order of `problem.leaves`, by autograd."""
    network = sequential(problem)
    x = problem.x.detach().clone().requires_grad_()
    leaves = [x, *network.parameters()]
    target = problem.target
    if target.is_floating_point():
        target = target.detach().clone().requires_grad_()
        leaves.append(target)
    value = losses(network(x), target, problem.loss).mean()
    return value.detach(), list(torch.autograd.grad(value, leaves))


def loop_forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """z = x Wᵀ + b, as sums."""
    z = x.new_empty(*x.shape[:-1], weight.shape[0])
    for row in _rows(z):
        for o in range(weight.shape[0]):
            total = 0.0 if bias is None else float(bias[o])
            for i in range(weight.shape[1]):
                total += float(x[row][i]) * float(weight[o, i])
            z[row][o] = total
    return z


def loop_grad_x(delta: Tensor, weight: Tensor) -> Tensor:
    """∂E/∂x[n, i] = Σ_o delta[n, o] W[o, i]."""
    grad = delta.new_empty(*delta.shape[:-1], weight.shape[1])
    for row in _rows(grad):
        for i in range(weight.shape[1]):
            grad[row][i] = sum(
                float(delta[row][o]) * float(weight[o, i]) for o in range(weight.shape[0])
            )
    return grad


def loop_grad_weight(delta: Tensor, x: Tensor) -> Tensor:
    """∂E/∂W[o, i] = Σ_n delta[n, o] x[n, i]."""
    grad = delta.new_zeros(delta.shape[-1], x.shape[-1])
    for row in _rows(delta):
        for o in range(delta.shape[-1]):
            for i in range(x.shape[-1]):
                grad[o, i] += float(delta[row][o]) * float(x[row][i])
    return grad


def loop_grad_bias(delta: Tensor) -> Tensor:
    """∂E/∂b[o] = Σ_n delta[n, o]."""
    grad = delta.new_zeros(delta.shape[-1])
    for row in _rows(delta):
        for o in range(delta.shape[-1]):
            grad[o] += float(delta[row][o])
    return grad


def _rows(tensor: Tensor) -> list[tuple[int, ...]]:
    rows: list[tuple[int, ...]] = [()]
    for size in tensor.shape[:-1]:
        rows = [(*row, n) for row in rows for n in range(size)]
    return rows


def central_difference(
    function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6
) -> Tensor:
    """Gradient of a scalar function in float64, one element after the other.

    Truncation is of order step², rounding of 1e-16 / step: 1e-9 to 1e-10 for values of order one.
    """
    assert at.dtype == torch.float64
    at = at.detach()
    gradient = torch.empty_like(at, memory_format=torch.contiguous_format)
    for k in range(at.numel()):
        up = at.clone(memory_format=torch.contiguous_format)
        down = up.clone()
        up.view(-1)[k] += step
        down.view(-1)[k] -= step
        gradient.view(-1)[k] = (function(up) - function(down)).item() / (2 * step)
    return gradient


def worst_relative_error(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest ‖actual − expected‖ / ‖expected‖; where nothing is expected, ‖actual‖."""
    errors = [0.0]
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        norm = e.double().norm().item()
        errors.append((a.double() - e.double()).norm().item() / (norm or 1.0))
    return max(errors)
