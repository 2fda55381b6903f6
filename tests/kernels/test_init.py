"""Initial weights: what each name draws, and what is refused."""

import math

import pytest
import torch

from tests.problems import ACTIVATION_NAMES
from torchmlp.kernels.init import auto_init, initialise_, parse_init

FAN_OUT, FAN_IN = 300, 500


def drawn(init: str, activation: str = "relu") -> torch.Tensor:
    weight = torch.full((FAN_OUT, FAN_IN), torch.nan, dtype=torch.float64)
    initialise_(weight, None, activation, init)
    return weight


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("he", math.sqrt(2 / FAN_IN)),
        ("xavier", math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("lecun", math.sqrt(1 / FAN_IN)),
        ("normal(0.3)", 0.3),
        (" normal ( 0.3 ) ", 0.3),
    ],
)
def test_normal_inits(init: str, std: float) -> None:
    """Mean 0, the standard deviation of the table and a normal's fourth moment."""
    weight = drawn(init)
    n = weight.numel()
    assert abs(weight.mean().item()) < 5 * std / math.sqrt(n)
    assert abs(weight.std().item() / std - 1) < 5 / math.sqrt(2 * n)
    assert abs((weight / std).pow(4).mean().item() - 3) < 5 * math.sqrt(96 / n)


@pytest.mark.parametrize("init", ["uniform(-0.5, 1.5)", "uniform (-0.5,1.5)"])
def test_uniform(init: str) -> None:
    """Between low and high, with a uniform's mean and standard deviation."""
    weight = drawn(init)
    n, std = weight.numel(), 2 / math.sqrt(12)
    assert -0.5 <= weight.min().item() < -0.49
    assert 1.49 < weight.max().item() <= 1.5
    assert abs(weight.mean().item() - 0.5) < 5 * std / math.sqrt(n)
    assert abs(weight.std().item() / std - 1) < 5 / math.sqrt(n)


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_constant(value: float) -> None:
    """One value everywhere."""
    assert (drawn(f"constant({value})") == value).all()


def test_degenerate_spreads() -> None:
    """A spread of zero is a constant."""
    assert (drawn("normal(0)") == 0).all()
    assert (drawn("uniform(2, 2)") == 2).all()


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_auto(activation: str) -> None:
    """`auto` draws what `auto_init` names for the layer's activation."""
    linear = {"identity", "sigmoid", "tanh", "hardtanh", "softsign"}
    expected = "lecun" if activation == "selu" else "xavier" if activation in linear else "he"
    assert auto_init(activation) == expected
    torch.manual_seed(1)
    by_auto = drawn("auto", activation)
    torch.manual_seed(1)
    assert torch.equal(by_auto, drawn(expected))


def test_bias_is_zero() -> None:
    """Whatever the weights are, the bias starts at zero."""
    for init in ("auto", "he", "normal(3)", "uniform(1, 2)", "constant(7)"):
        bias = torch.full((2,), torch.nan)
        initialise_(torch.empty(2, 3), bias, "relu", init)
        assert torch.equal(bias, torch.zeros(2))


@pytest.mark.parametrize("init", ["auto", "normal(1)"])
def test_nothing_to_draw(init: str) -> None:
    """A weight without elements draws nothing from the generator, and warns of nothing."""
    state = torch.get_rng_state()
    initialise_(torch.empty(0, 3), torch.empty(0), "relu", init)
    assert torch.equal(torch.get_rng_state(), state)


def test_parameters_keep_their_gradient_flag() -> None:
    """Drawing is no operation that autograd sees."""
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    initialise_(weight, None, "relu", "he")
    assert weight.requires_grad
    assert weight.grad_fn is None


@pytest.mark.parametrize(
    ("init", "parsed"),
    [
        ("he", ("he", [])),
        ("auto", ("auto", [])),
        ("he()", ("he", [])),
        ("normal(1e-3)", ("normal", [1e-3])),
        ("normal (0.1)", ("normal", [0.1])),
        (" uniform( -1 , 1 ) ", ("uniform", [-1.0, 1.0])),
        ("constant(-2)", ("constant", [-2.0])),
    ],
)
def test_parse(init: str, parsed: tuple[str, list[float]]) -> None:
    """Name and numbers, wherever the blanks are."""
    assert parse_init(init) == parsed


@pytest.mark.parametrize(
    ("init", "text"),
    [
        ("hee", r"unknown init 'hee'; did you mean 'he'\? expected one of: auto, he, xavier"),
        ("", r"unknown init ''; expected one of: auto"),
        ("he(1)", r"init 'he\(1\)': expected he$"),
        ("normal", r"init 'normal': expected normal\(std\)$"),
        ("normal()", r"init 'normal\(\)': expected normal\(std\)$"),
        ("normal(1, 2)", r"init 'normal\(1, 2\)': expected normal\(std\)$"),
        ("normal(a)", r"init 'normal\(a\)': expected normal\(std\) with numbers"),
        ("normal(0.1", r"init 'normal\(0\.1': expected normal\(std\)$"),
        ("normal(0.1)x", r"init 'normal\(0\.1\)x': expected normal\(std\)$"),
        ("normal(-1)", r"expected normal\(std\) with std >= 0"),
        ("normal (-1)", r"expected normal\(std\) with std >= 0"),
        ("uniform(1)", r"expected uniform\(low, high\)$"),
        ("uniform(1,)", r"expected uniform\(low, high\) with numbers"),
        ("uniform(2, 1)", r"expected uniform\(low, high\) with .*low <= high"),
        ("constant(nan)", r"init 'constant\(nan\)': expected finite numbers"),
        ("constant(inf)", r"init 'constant\(inf\)': expected finite numbers"),
    ],
)
def test_refused(init: str, text: str) -> None:
    """What cannot be meant is refused with the right spelling, before anything is drawn."""
    with pytest.raises(ValueError, match=text):
        parse_init(init)
    weight = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=text):
        initialise_(weight, None, "relu", init)
    assert torch.equal(weight, torch.zeros(2, 3))


def test_auto_of_an_unknown_activation() -> None:
    """`auto` asks for an activation that there is."""
    with pytest.raises(ValueError, match="unknown activation 'rel'; did you mean 'relu'"):
        auto_init("rel")
