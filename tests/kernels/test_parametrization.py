"""What a layer's growth makes of its initial weights and its rates."""

import itertools
import math

import pytest

from torchmlp.kernels.init import spread
from torchmlp.kernels.parametrization import Growth, growths, init_factor, rate_factors

INPUT, HIDDEN, OUTPUT = growths([784, 512, 512, 10], "mup", 64)


def test_growths_of_the_layers() -> None:
    """Inputs and classes do not grow, hidden layers each by their own width."""
    assert growths([784, 512, 32, 10], "mup", 64) == [(1, 8), (8, 0.5), (0.5, 1)]
    assert growths([784, 512, 32, 10], "standard", 64) == [(1, 1)] * 3
    assert growths([784, 10], "mup", 64) == [(1, 1)]


@pytest.mark.parametrize(
    ("growth", "sgd", "adam"),
    [
        (INPUT, (8, 8), (1, 1)),
        (HIDDEN, (1, 8), (1 / 8, 1)),
        (OUTPUT, (1 / 8, 1), (1 / 8, 1)),
    ],
    ids=["input", "hidden", "output"],
)
def test_rates_of_table_3(
    growth: Growth, sgd: tuple[float, float], adam: tuple[float, float]
) -> None:
    """Weight and bias have the rates of Yang et al. (2022), table 3."""
    assert rate_factors(growth, follows_gradient=True) == sgd
    assert rate_factors(growth, follows_gradient=False) == adam


@pytest.mark.parametrize("init", ["he", "xavier", "lecun", "auto"])
@pytest.mark.parametrize("width", [16, 64, 1024])
def test_spread_of_table_3(init: str, width: int) -> None:
    """The standard deviation is that of the reference width, its square 1 / fan_in in input and
    hidden layers, 1 / fan_in² in the output layer."""
    layers = list(itertools.pairwise([784, width, width, 10]))
    for k, ((fan_in, fan_out), growth, (old_in, old_out)) in enumerate(
        zip(
            layers,
            growths([784, width, width, 10], "mup", 64),
            [(784, 64), (64, 64), (64, 10)],
            strict=True,
        )
    ):
        factor = init_factor("tanh", init, fan_in, fan_out, growth, is_last=k == 2)
        std = spread("tanh", init, float(fan_in), float(fan_out)) * factor
        at_reference = spread("tanh", init, float(old_in), float(old_out))
        expected = at_reference * (old_in / fan_in) ** (1.0 if k == 2 else 0.5)
        assert math.isclose(std, expected, rel_tol=1e-12)


@pytest.mark.parametrize("init", ["normal(3)", "uniform(0, 1)", "constant(2)"])
def test_given_numbers_are_of_the_reference(init: str) -> None:
    """Weights that the sizes do not enter are scaled by the growth alone."""
    factors = [
        init_factor("relu", init, 512, 512, growth, is_last=is_last)
        for growth, is_last in ((INPUT, False), (HIDDEN, False), (OUTPUT, True))
    ]
    assert factors == [1, 8**-0.5, 1 / 8]


@pytest.mark.parametrize("init", ["he", "xavier", "lecun", "auto", "normal(3)"])
def test_nothing_at_the_reference(init: str) -> None:
    """A layer that has not grown keeps its weights and its rates exactly."""
    for fan_in, fan_out in itertools.product([1, 3, 64, 784], repeat=2):
        for is_last in (False, True):
            factor = init_factor("relu", init, fan_in, fan_out, Growth(1.0, 1.0), is_last=is_last)
            assert factor == 1
    for follows_gradient in (False, True):
        assert rate_factors(Growth(1.0, 1.0), follows_gradient=follows_gradient) == (1, 1)


def test_refusals() -> None:
    """An unknown parametrization and a base width below 1."""
    with pytest.raises(ValueError, match=r"unknown parametrization 'mupp'; did you mean 'mup'\?"):
        growths([4, 5, 3], "mupp", 64)
    with pytest.raises(ValueError, match=r"expected a base_width of at least 1, .*got 0"):
        growths([4, 5, 3], "mup", 0)
