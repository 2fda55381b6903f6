from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchmlp.engine.state.sgd_update import SGDUpdate, SGDUpdates, gradient_only, sgd_update
from torchmlp.engine.state.structure import is_fusible


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
    """The four lines of `SGDUpdate`'s docstring, for a product δᵀ a that is known."""
    value += descent.ahead * into
    if descent.decay:
        into.mul_(descent.fade).add_(descent.decay * value)
    into.mul_(descent.beta).add_(descent.alpha * product)
    if descent.rate:
        value -= descent.rate * into


@given(settings_of_sgd(), st.integers(1, 9), st.integers(0, 2**16))
def test_the_coefficients_are_those_of_sgd(settings: dict[str, Any], rows: int, seed: int) -> None:
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
        theirs.grad = product / rows
        optimizer.step()
        apply(sgd_update(rows, **settings, first=step == 0), mine, into, product)
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-12, atol=1e-12)
        if settings["momentum"]:
            expected = optimizer.state[theirs]["momentum_buffer"]
            torch.testing.assert_close(velocity, expected, rtol=1e-12, atol=1e-12)


def test_decay_is_not_rounded_into_a_factor() -> None:
    """A small decay over many steps of float32 keeps its digits: 1 − ηλ as a factor would not."""
    theirs = torch.nn.Parameter(torch.ones(100))
    mine = theirs.detach().clone()
    optimizer = torch.optim.SGD([theirs], lr=0.003, weight_decay=1e-5)
    descent = sgd_update(1, 0.003, weight_decay=1e-5)
    assert descent.beta == 1
    for _ in range(100):
        theirs.grad = torch.zeros_like(theirs)
        optimizer.step()
        apply(descent, mine, mine, torch.zeros(100))
    torch.testing.assert_close(mine, theirs.detach(), rtol=2e-7, atol=0)


@pytest.mark.parametrize("rows", [0, 1, 8])
def test_a_gradient_is_the_average(rows: int) -> None:
    """Where the optimizer does the rest, δᵀ a is averaged into its buffer, whatever that held; over
    zero rows it is zero."""
    buffer, untouched = torch.full((3,), float("nan")), torch.ones(3)
    descent = gradient_only(rows)
    assert descent.beta == 0
    buffer.zero_()
    apply(descent, untouched, buffer, torch.full((3,), float(rows)))
    assert buffer.tolist() == [min(rows, 1)] * 3
    assert untouched.tolist() == [1, 1, 1]


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(3))]


def test_slots_change_only_with_their_causes() -> None:
    """Looking again finds the same slots, so that steps need not bind anew; a new rate changes the
    settings, a first step, a frozen parameter, a cleared state the slots."""
    weight, bias = parameters()
    optimizer = torch.optim.SGD([weight, bias], lr=0.1, momentum=0.9)
    descents = SGDUpdates(optimizer, [weight, bias], is_fused=True)
    descents.refresh()
    assert not optimizer.state  # nothing is the optimizer's before the step is taken
    descents.commit()
    descents.refresh()  # after the first step
    generation = descents.generation
    for lr in (0.1, 0.2, 0.3):
        optimizer.param_groups[0]["lr"] = lr
        descents.refresh()
        assert descents.settings[0][0] == lr
    assert descents.generation == generation
    causes: list[Any] = [
        lambda: optimizer.load_state_dict(deepcopy(optimizer.state_dict())),
        lambda: optimizer.state.pop(weight),
    ]
    for cause in causes:
        cause()
        descents.refresh()
        assert descents.generation > generation
        descents.commit()
        descents.refresh()
        generation = descents.generation
    assert [slot and slot.into for slot in descents.slots] == [
        optimizer.state[p]["momentum_buffer"] for p in (weight, bias)
    ]


def test_without_momentum_the_product_goes_into_the_parameter() -> None:
    """No buffer, no gradient: the parameter's own memory, and a bias that is not there has none."""
    weight, _ = parameters()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    descents = SGDUpdates(optimizer, [weight, None], is_fused=True)
    descents.refresh()
    slot, none = descents.slots
    assert slot is not None
    assert none is None
    assert slot.into.data_ptr() == weight.data_ptr()
    assert weight.grad is None
    assert not optimizer.state


def test_what_is_fusible() -> None:
    """SGD itself without hooks; a subclass may do anything, and hooks see gradients."""

    class OwnSGD(torch.optim.SGD):
        pass

    def fusible(kind: type[torch.optim.Optimizer]) -> bool:
        return is_fusible(kind(parameters(), lr=0.1))  # type: ignore[call-arg]

    assert fusible(torch.optim.SGD)
    assert not fusible(OwnSGD)
    assert not fusible(torch.optim.Adam)
    hooked = torch.optim.SGD(parameters(), lr=0.1)
    hooked.register_step_post_hook(lambda *_: None)
    assert not is_fusible(hooked)
