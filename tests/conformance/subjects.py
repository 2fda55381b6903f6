"""What the compilers and tracers are given, and the plain torch to compare with."""

# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.oracles import FUNCTIONS, MODULES, losses
from torchmlp import MLP, Dense, dense, network_loss

LOSSES = ("cross_entropy", "mse", "bce")
KINDS = ("identity", "relu", "tanh", "gelu", "hardtanh")


def layer(activation: str) -> Callable[..., Any]:
    return lambda x, weight, bias: dense(x, weight, bias, activation)


def plain(activation: str) -> Callable[..., Any]:
    return lambda x, weight, bias: FUNCTIONS[activation](F.linear(x, weight, bias))


def tensors(rows: int = 3) -> tuple[Tensor, ...]:
    torch.manual_seed(rows)
    shapes = [(rows, 4), (2, 4), (2,)]
    return tuple(torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)


def same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def transforms(f: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    func = torch.func

    def energy(weight: Tensor, x: Tensor, bias: Tensor) -> Tensor:
        value: Tensor = f(x, weight, bias).square().sum()
        return value

    return {
        "per-sample gradients": func.vmap(func.grad(energy), (None, 0, None)),
        "vmap": func.vmap(lambda w, x, b: f(x, w, b), (None, 0, None)),
        "ensemble": lambda w, x, b: func.vmap(f, (None, 0, 0))(
            x, torch.stack([w, 2 * w]), torch.stack([b, 2 * b])
        ),
        "grad": func.grad(energy, (0, 1, 2)),
        "jacrev": func.jacrev(energy),
        "jacfwd": func.jacfwd(energy),
        "hessian": func.hessian(energy),
        "jvp": lambda w, x, b: func.jvp(energy, (w, x, b), (w, x, b)),
        "vjp": lambda w, x, b: func.vjp(energy, w, x, b)[1](w.new_ones(())),
    }


class Pair:
    """A module and the same network of plain torch modules."""

    def __init__(self, activation: str, kind: str) -> None:
        torch.manual_seed(0)
        if kind == "Dense":
            self.ours: nn.Module = Dense(4, 3, activation=activation, dtype=torch.float64)
            self.theirs: nn.Module = nn.Sequential(
                nn.Linear(4, 3, dtype=torch.float64), MODULES[activation]()
            )
            self.theirs[0].load_state_dict(self.ours.state_dict())
        else:
            self.ours = MLP(4, [6, 5], 3, activation, dtype=torch.float64)
            self.theirs = self.ours.to_sequential()

    def check(self, changed: Any, rows: int = 3) -> None:
        x = torch.randn(rows, 4, dtype=torch.float64, requires_grad=True)
        actual, expected = changed(x), self.theirs(x)
        same(actual, expected)
        if actual.requires_grad:
            same(
                torch.autograd.grad(actual.square().sum(), x),
                torch.autograd.grad(expected.square().sum(), x),
            )


class WithLoss(nn.Module):
    """A network and its loss: by network_loss, or by plain torch modules and functions."""

    def __init__(self, loss: str, *, plainly: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        mlp = MLP(4, [6, 5], 3, "gelu", dtype=torch.float64)
        self.network = mlp.to_sequential() if plainly else mlp
        self.loss = loss

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        network = self.network
        if not isinstance(network, MLP):
            return losses(network(x), target, self.loss).mean()
        return network_loss(
            x, target, network.weights, network.biases, network.activations, self.loss
        )


def rows_of(loss: str, rows: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(rows)
    x = torch.randn(rows, 4, dtype=torch.float64)
    if loss == "cross_entropy":
        return x, torch.randint(3, (rows,))
    return x, torch.rand(rows, 3, dtype=torch.float64)
