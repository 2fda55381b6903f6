"""The optimizers' steps as coefficients, against torch.optim."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from torchmlp.kernels.optimizers import OPTIMIZERS, Elementwise, Kept, rule_of

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01, "maximize": True}),
    "sgd-momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd-nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.99)}),
    "adam-amsgrad": (torch.optim.Adam, {"lr": 0.01, "amsgrad": True, "maximize": True}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "eps": 1e-3, "amsgrad": True}),
    "nadam": (torch.optim.NAdam, {"lr": 0.01, "weight_decay": 0.1, "momentum_decay": 0.01}),
    "nadam-decoupled": (
        torch.optim.NAdam,
        {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop-centred": (
        torch.optim.RMSprop,
        {"lr": 0.01, "centered": True, "momentum": 0.9, "maximize": True},
    ),
    "rmsprop-momentum": (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
}


def apply(rule: Elementwise, w: Tensor, g: Tensor, kept: dict[str, Tensor], has: Kept) -> None:
    """The lines of the module's docstring, as they stand there."""
    m, s, largest, v = (kept.get(name) for name in has)
    w *= rule.shrink
    g = rule.sign * g + rule.decay * w
    h = rule.from_gradient * g
    if m is not None:
        m += rule.mean_share * (g - m)
        h = h + rule.from_mean * m
    if s is not None:
        s.mul_(rule.square_keep).add_(rule.square_share * g * g)
        if largest is not None:
            torch.maximum(largest, s, out=largest)
        root = s if largest is None else largest
        if m is not None:
            root = root - rule.centred * m * m
        h = h / (rule.root_scale * root.sqrt() + rule.epsilon)
    change = rule.from_direction * h
    if v is not None:
        v.mul_(rule.velocity_keep).add_(rule.velocity_share * h)
        change = change + rule.from_velocity * v
    w -= change


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_coefficients_are_those_of_torch(case: tuple[Any, dict[str, Any]]) -> None:
    """Fifty steps on numbers, at a rate that changes: torch.optim's weights and state to 1e-12."""
    kind, settings = case
    torch.manual_seed(0)
    theirs = torch.nn.Parameter(torch.randn(7, dtype=torch.float64))
    optimizer = kind([theirs], **settings)
    group, rule = optimizer.param_groups[0], OPTIMIZERS[kind]
    assert rule.coefficients is not None
    has = rule.kept(group)
    mine = theirs.detach().clone()
    kept = {name: torch.zeros_like(mine) for name in has if name}
    product = np.float32(1.0)
    for t in range(1, 51):
        group["lr"] *= 0.97
        g = torch.randn(7, dtype=torch.float64)
        theirs.grad = g.clone()
        numbers = {name: group[name] for name in rule.settings} | {"mu_product": product}
        apply(rule.coefficients(numbers, float(t)), mine, g, kept, has)
        optimizer.step()
        if kind is torch.optim.NAdam:
            product = optimizer.state[theirs]["mu_product"].numpy()[()]
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-12, atol=1e-12)
    for name, value in kept.items():
        torch.testing.assert_close(value, optimizer.state[theirs][name], rtol=1e-12, atol=1e-14)


def test_a_rate_for_each_of_many_networks() -> None:
    """Rates and counts that are arrays give coefficients that are, each network's own."""
    rule = OPTIMIZERS[torch.optim.Adam]
    assert rule.coefficients is not None
    group = torch.optim.Adam([torch.zeros(1)]).defaults
    rates, counts = np.array([0.1, 0.2]), np.array([1.0, 5.0])
    both = rule.coefficients({**group, "lr": rates}, counts)
    for i in range(2):
        alone = rule.coefficients({**group, "lr": float(rates[i])}, float(counts[i]))
        assert [np.broadcast_to(x, 2)[i] for x in both] == pytest.approx(list(alone), rel=1e-15)


def test_of_a_subclass_the_kind_is_known() -> None:
    """What an optimizer is made of says whether its step grows with the gradient; a stranger is
    unknown."""

    class Own(torch.optim.Adam):
        pass

    parameters = [torch.nn.Parameter(torch.zeros(1))]
    assert rule_of(Own(parameters)) is OPTIMIZERS[torch.optim.Adam]
    assert rule_of(torch.optim.Adadelta(parameters)) is None
