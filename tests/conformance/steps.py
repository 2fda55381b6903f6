"""Dense beside an nn.Linear with an activation behind it: one step of both."""

# mypy: allow-untyped-calls

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import FUNCTIONS
from tests.problems import ACTIVATION_NAMES
from torchmlp import Dense

KINDS = ("identity", "relu", "gelu", "logsigmoid")
kinds = pytest.mark.parametrize("activation", KINDS)
every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)


class Reference(nn.Linear):
    """nn.Linear with the activation behind it."""

    def __init__(self, *args: Any, activation: str = "identity", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return FUNCTIONS[self.activation](super().forward(x))


def pair(activation: str, *args: Any, **kwargs: Any) -> tuple[Dense, Reference]:
    """A Dense and its reference from the same seed."""
    torch.manual_seed(3)
    sizes, kwargs = args or (4, 3), {**kwargs, "activation": activation}
    ours: Any = Dense(*sizes, **kwargs)
    torch.manual_seed(3)
    return ours, Reference(*sizes, **kwargs)


def assert_same_step(ours: nn.Module, theirs: nn.Module, x: Tensor | None = None) -> None:
    """Outputs, and all gradients of a backward pass, are the same."""
    x = torch.randn(5, 4) if x is None else x
    outputs = []
    for network in (ours, theirs):
        network.zero_grad()
        outputs.append(network(x))
        if outputs[-1].requires_grad:
            torch.autograd.backward(outputs[-1].float().square().sum())
    close: dict[str, Any] = {}
    if outputs[1].dtype in (torch.float16, torch.bfloat16):
        close = {"rtol": 4e-2, "atol": 4e-2}
    torch.testing.assert_close(*outputs, **close)
    names = [dict(network.named_parameters()) for network in (ours, theirs)]
    assert list(names[0]) == list(names[1])
    for name, parameter in names[0].items():
        torch.testing.assert_close(parameter.grad, names[1][name].grad, **close)
