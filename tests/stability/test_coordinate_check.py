"""The coordinate check: flat under mup, and not under the standard parametrization."""

import math
from typing import Any

import pytest
import torch

from torchmlp import MLP
from torchmlp.data import read_embedded
from torchmlp.stability.coordinate_check import Coordinates, coordinate_check, slope

FLAT = 0.2  # of the power of the width; found: 0.16 at most, and 0.66 at least where it is not
WIDTHS = (32, 64, 128, 256)


def check(**settings: Any) -> Coordinates:
    kept: dict[str, Any] = {"base_width": 32, "steps": 3, "seeds": (0, 1), **settings}
    return coordinate_check(WIDTHS, **kept)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
def test_mup_is_flat_and_standard_is_not(activation: str, optimizer: str) -> None:
    """No layer's change goes with the width under mup; under standard the output's does, nearly in
    proportion."""
    flat = check(activation=activation, optimizer=optimizer).growth[-1]
    assert max(map(abs, flat)) < FLAT
    growing = check(activation=activation, optimizer=optimizer, parametrization="standard")
    assert growing.growth[-1][-1] > 3 * FLAT
    assert growing.growth[0][-1] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_random_outputs(optimizer: str) -> None:
    """With output weights as drawn no layer's change grows under mup, and the output's start falls
    with the square root of the width; under standard both are otherwise."""
    mup = check(optimizer=optimizer, activation="sigmoid", zero_output=False)
    assert all(power < FLAT / 2 for step in mup.growth for power in step)
    assert slope(mup.widths, mup.sizes[0][-1]) == pytest.approx(-0.5, abs=0.15)
    standard = check(
        optimizer=optimizer, activation="sigmoid", zero_output=False, parametrization="standard"
    )
    assert standard.growth[0][-1] > 3 * FLAT
    assert slope(standard.widths, standard.sizes[0][-1]) == pytest.approx(0, abs=0.2)


def test_a_wrong_factor_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates that are mup's for Adam leave SGD's input layer behind."""
    monkeypatch.setattr("torchmlp.nn.param_groups._follows_gradient", lambda _: False)
    assert check(activation="relu", optimizer="sgd").growth[-1][0] < -3 * FLAT


def test_it_measures_what_it_says() -> None:
    """Mean |z| of the test images before any step, and no change then."""
    found = check(zero_output=False, seeds=(7,), steps=1)
    torch.manual_seed(7)
    torch.randint(5000, (1, 64))
    mlp = MLP(784, [64, 64], 10, parametrization="mup", base_width=32)
    z = read_embedded().test_images[:256].flatten(1) / 255
    layers = list(mlp.to_sequential())
    expected = []
    for linear, activation in ((0, 1), (2, 3), (4, None)):
        z = layers[linear](z)
        expected.append(z.abs().mean().item())
        z = z if activation is None else layers[activation](z)
    assert [row[1] for row in found.sizes[0]] == pytest.approx(expected, rel=1e-5)
    assert found.changes[0] == [[0.0] * 4] * 3
    assert all(value > 0 for row in found.changes[1] for value in row)


def test_leaves_the_generator_alone() -> None:
    """Its seeds are its own."""
    state = torch.get_rng_state()
    check(steps=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_that_breaks_has_no_slope() -> None:
    """A rate without bounds gives nan, and nothing fails."""
    found = check(lr=1e30, steps=3)
    assert math.isnan(found.growth[-1][-1])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"widths": [64, 64]}, r"expected at least two widths, got \[64\]"),
        ({"seeds": ()}, r"expected a seed, .* got seeds=\[\]"),
        ({"steps": 0}, r"steps of at least 1, .*steps=0"),
        ({"optimizer": "lion"}, r"unknown optimizer 'lion'; expected one of: sgd, adam"),
        ({"parametrization": "ntk"}, "unknown parametrization 'ntk'"),
    ],
)
def test_refusals(settings: dict[str, Any], text: str) -> None:
    """What gives no slope, and what is not known."""
    with pytest.raises(ValueError, match=text):
        coordinate_check(**{"widths": [32, 64], **settings})
