"""Dense is an nn.Linear with an activation."""

import copy
import pickle

import pytest
import torch
from torch import nn

from tests.oracles import MODULES
from tests.problems import ACTIVATION_NAMES, assert_elementwise, assert_product
from torchmlp import Dense


def test_is_a_linear() -> None:
    """It is an nn.Linear, so what looks for one (hooks, optimizers' rules, pruning) finds it."""
    layer = Dense(3, 2, activation="relu")
    assert isinstance(layer, nn.Linear)
    assert (layer.in_features, layer.out_features, layer.activation) == (3, 2, "relu")


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_same_weights_from_same_seed(bias: bool) -> None:
    """From one seed it starts where nn.Linear starts, and leaves the generator there too."""
    torch.manual_seed(3)
    linear = nn.Linear(7, 5, bias)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    layer = Dense(7, 5, bias, "gelu")
    assert torch.equal(torch.get_rng_state(), state)
    assert layer.state_dict().keys() == linear.state_dict().keys()
    assert all(
        torch.equal(a, b) for a, b in zip(layer.parameters(), linear.parameters(), strict=True)
    )


def test_state_dict_both_ways() -> None:
    """state_dicts load from nn.Linear and into it."""
    linear, layer = nn.Linear(4, 3), Dense(4, 3)
    layer.load_state_dict(linear.state_dict())
    x = torch.randn(2, 4)
    assert_product(layer(x), linear(x))
    other = nn.Linear(4, 3)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, linear.weight)
    assert torch.equal(other.bias, linear.bias)


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_forward_and_backward(activation: str) -> None:
    """Output and gradients are those of nn.Linear and the activation's module."""
    layer = Dense(6, 4, activation=activation, dtype=torch.float64)
    linear = nn.Linear(6, 4, dtype=torch.float64)
    linear.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    actual, expected = layer(x), MODULES[activation]()(linear(x))
    assert_elementwise(actual, expected)
    torch.autograd.backward(actual.square().sum())
    torch.autograd.backward(expected.square().sum())
    for ours, theirs in zip(layer.parameters(), linear.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert_product(ours.grad, theirs.grad)


def test_device_and_dtype() -> None:
    """Parameters are made where, and in what, they are asked for."""
    layer = Dense(3, 2, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float64)}
    assert layer(torch.empty(5, 3, device="meta", dtype=torch.float64)).shape == (5, 2)


def test_copies_and_pickles() -> None:
    """deepcopy and pickle keep weights and activation."""
    layer, x = Dense(3, 2, activation="mish"), torch.randn(4, 3)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(other) is Dense
        assert torch.equal(other(x), layer(x))
        assert other.weight is not layer.weight


def test_prints_its_activation() -> None:
    """Print shows the activation."""
    assert str(Dense(3, 2, activation="relu")) == (
        "Dense(in_features=3, out_features=2, bias=True, activation='relu')"
    )


def test_mistakes_are_explained() -> None:
    """An unknown activation and an input that does not fit are refused."""
    with pytest.raises(ValueError, match=r"unknown activation 'swish'; .*expected one of: ident"):
        Dense(3, 2, activation="swish")
    with pytest.raises(
        ValueError, match=r"in_features=784 .* got input of shape \(8, 1, 28, 28\); "
    ):
        Dense(784, 10)(torch.zeros(8, 1, 28, 28))
