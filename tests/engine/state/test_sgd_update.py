from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchmlp.engine.state.sgd_update import SGDUpdate, gradient_only, sgd_update


def rates(low: float = 0.0, high: float = 1.0) -> st.SearchStrategy[float]:
    return st.one_of(st.just(0.0), st.floats(low + 1e-3, high))


@st.composite
def settings_of_sgd(draw: st.DrawFn) -> dict[str, Any]:
    """Whatever torch.optim.SGD takes."""
    momentum = draw(rates(high=0.99))
    nesterov = momentum > 0 and draw(st.booleans())
    return {
        "lr": draw(st.floats(1e-4, 0.5)),
        "momentum": momentum,
        "dampening": 0.0 if nesterov else draw(rates()),
        "weight_decay": draw(rates(high=0.5)),
        "nesterov": nesterov,
        "maximize": draw(st.booleans()),
    }


def apply(descent: SGDUpdate, value: Tensor, into: Tensor, product: Tensor) -> None:
    """The four lines of `SGDUpdate`'s docstring, for a gradient that is known."""
    value += descent.ahead * into
    if descent.decay:
        into.mul_(descent.fade).add_(descent.decay * value)
    into.mul_(descent.beta).add_(descent.alpha * product)
    if descent.rate:
        value -= descent.rate * into


@given(settings_of_sgd(), st.integers(0, 2**16))
def test_the_coefficients_are_those_of_sgd(settings: dict[str, Any], seed: int) -> None:
    """Applied to numbers, step by step with rates that change, they give torch.optim.SGD's
    parameter, and its velocity, to rounding."""
    torch.manual_seed(seed)
    theirs = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))
    mine = theirs.detach().clone()
    velocity = torch.zeros_like(mine)
    into = velocity if settings["momentum"] else mine
    optimizer = torch.optim.SGD([theirs], **settings)
    for step in range(6):
        settings["lr"] = optimizer.param_groups[0]["lr"] = settings["lr"] * 0.9
        product = torch.randn(5, dtype=torch.float64)
        theirs.grad = product.clone()
        optimizer.step()
        apply(sgd_update(**settings, first=step == 0), mine, into, product)
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-12, atol=1e-12)
        if settings["momentum"]:
            expected = optimizer.state[theirs]["momentum_buffer"]
            torch.testing.assert_close(velocity, expected, rtol=1e-12, atol=1e-12)


def test_decay_is_not_rounded_into_a_factor() -> None:
    """A small decay over many steps of float32 keeps its digits: 1 − ηλ as a factor would not."""
    theirs = torch.nn.Parameter(torch.ones(100))
    mine = theirs.detach().clone()
    optimizer = torch.optim.SGD([theirs], lr=0.003, weight_decay=1e-5)
    descent = sgd_update(0.003, weight_decay=1e-5)
    assert descent.beta == 1
    for _ in range(100):
        theirs.grad = torch.zeros_like(theirs)
        optimizer.step()
        apply(descent, mine, mine, torch.zeros(100))
    torch.testing.assert_close(mine, theirs.detach(), rtol=2e-7, atol=0)


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_a_gradient_is_left_or_added(kept: float) -> None:
    """Where the optimizer does the rest, the gradient is left in its buffer, or added to it."""
    buffer, untouched = torch.full((3,), 2.0), torch.ones(3)
    apply(gradient_only(kept), untouched, buffer, torch.full((3,), 5.0))
    assert buffer.tolist() == [5 + 2 * kept] * 3
    assert untouched.tolist() == [1, 1, 1]
