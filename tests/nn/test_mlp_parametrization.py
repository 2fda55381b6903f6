"""An MLP under maximal update parametrization."""

import copy
import math
from typing import Any

import pytest
import torch

from torchmlp import MLP


def drawn(hidden: list[int], **settings: Any) -> MLP:
    torch.manual_seed(5)
    return MLP(20, hidden, 10, **settings)


@pytest.mark.parametrize("init", ["auto", "he", "xavier", "lecun", "normal(2)", "uniform(0, 1)"])
@pytest.mark.parametrize("hidden", [[], [48], [48, 48]])
def test_is_standard_at_the_base_width(init: str, hidden: list[int]) -> None:
    """At the reference width the weights are the standard ones bit for bit."""
    mup = drawn(hidden, init=init, parametrization="mup", base_width=48)
    for ours, theirs in zip(mup.weights, drawn(hidden, init=init).weights, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("init", "first", "later", "last"),
    [
        ("he", 2 / 20, 2 / 800, 2 / 50 / 16**2),
        ("xavier", 2 / 70, 2 / 100 / 16, 2 / 60 / 16**2),
        ("normal(0.3)", 0.09, 0.09 / 16, 0.09 / 16**2),
    ],
)
def test_spread_at_sixteen_times_the_width(
    init: str, first: float, later: float, last: float
) -> None:
    """The weights' variance: of the reference network, / 16 in hidden, / 16² in output layers."""
    mlp = drawn([800, 800], init=init, parametrization="mup", base_width=50)
    for weight, variance in zip(mlp.weights, (first, later, last), strict=True):
        error = weight.var().item() / variance - 1
        assert abs(error) < 5 * math.sqrt(2 / weight.numel())


def test_reset_draws_by_it() -> None:
    """`reset_parameters` draws what it draws under standard, scaled."""
    mlp = drawn([30], init="normal(1)", parametrization="mup", base_width=15)
    standard = drawn([30], init="normal(1)")
    for network in (mlp, standard):
        torch.manual_seed(6)
        network.reset_parameters()
    assert torch.equal(mlp.weights[0], standard.weights[0])
    assert torch.equal(mlp.weights[1], standard.weights[1] / 2)


def test_a_sequential_has_none() -> None:
    """To plain modules and back: the weights are the same, and nothing grows."""
    mlp = drawn([30], parametrization="mup", base_width=10)
    assert mlp.growths == [(1, 3), (3, 1)]
    assert copy.deepcopy(mlp).growths == mlp.growths
    back = MLP.from_sequential(mlp.to_sequential())
    assert all(map(torch.equal, back.weights, mlp.weights))
    assert back.growths == [(1, 1), (1, 1)]
    standard = drawn([30])
    for network in (back, standard):
        torch.manual_seed(6)
        network.reset_parameters()
    assert all(map(torch.equal, back.weights, standard.weights))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"parametrization": "ntk"}, "unknown parametrization 'ntk'; expected one of: standard, m"),
        ({"base_width": 0}, "expected a base_width of at least 1"),
    ],
)
def test_refusals(settings: dict[str, Any], text: str) -> None:
    """What cannot be meant is refused before anything is drawn."""
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=text):
        MLP(4, [5], 3, **settings)
    assert torch.equal(torch.get_rng_state(), state)
