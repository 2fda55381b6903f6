"""What came of a short training, told from its losses and its accuracy."""

import math

import pytest
import torch

from torchmlp import Population
from torchmlp.data.images.embedded import read_embedded
from torchmlp.diagnosis.measure.data_statistics import measure_targets
from torchmlp.stability.map.cell import OUTCOMES
from torchmlp.stability.map.outcome import classify_outcome, last_tenth

CHANCE, REACHABLE = 0.1, 0.8


def told(losses: list[float], accuracy: float | None) -> tuple[str, int | None]:
    return classify_outcome(losses, accuracy, CHANCE, REACHABLE)


def falling(first: float, last: float) -> list[float]:
    """200 losses, the last tenth of which have the mean `last`."""
    return [first, *(first + (last - first) * min(k / 100, 1) for k in range(1, 200))]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_nan_at_its_step(bad: float) -> None:
    """Steps count from 1, and neither accuracy nor what follows matters."""
    assert told([2.3, 5.0, bad], None) == ("nan", 3)
    assert told([bad], 0.9) == ("nan", 1)


@pytest.mark.parametrize("accuracy", [None, math.nan])
def test_outputs_that_are_not_finite_at_the_end_are_nan_at_the_last_step(
    accuracy: float | None,
) -> None:
    """The losses were all finite; the last update was not."""
    assert told([2.3, 5.0], accuracy) == ("nan", 2)


def test_four_fifths_of_what_a_probe_reaches_is_learned() -> None:
    """0.1 + 0.8 · 0.7 = 0.66."""
    assert told(falling(2.3, 0.9), 0.661)[0] == "learns"
    assert told(falling(2.3, 0.9), 0.659)[0] == "slow"


def test_an_excellent_accuracy_needs_no_probe() -> None:
    """0.9 is learned although four fifths of a perfect probe would be more for two classes."""
    assert classify_outcome(falling(0.7, 0.2), 0.9, 0.7, 1.0)[0] == "learns"
    assert classify_outcome(falling(0.7, 0.2), 0.89, 0.7, 1.0)[0] == "slow"


def test_a_probe_that_finds_nothing_does_not_make_chance_good() -> None:
    """Where the probe is at chance, all that there is has to be learned."""
    assert classify_outcome(falling(2.3, 2.0), 0.12, 0.1, 0.11)[0] == "stuck"
    assert classify_outcome(falling(2.3, 2.0), 0.12, 0.1, 0.05)[0] == "stuck"


def test_a_loss_that_ends_clearly_above_its_start_diverged() -> None:
    """Half as much again; less is the noise of a small batch around a start that did not move."""
    assert told(falling(2.0, 3.05), 0.1)[0] == "diverged"
    assert told(falling(2.0, 2.95), 0.1)[0] == "stuck"
    assert told(falling(2.0, 3.05), 0.4)[0] == "diverged"


def test_a_rise_that_the_run_recovers_from_is_not_diverged() -> None:
    """Wide networks go to a hundred times the first loss and learn well after."""
    losses = falling(2.3, 0.4)
    losses[1:20] = [300.0] * 19
    assert told(losses, 0.85)[0] == "learns"
    assert told(losses, 0.5)[0] == "slow"


def test_dead_units_are_stuck() -> None:
    """A loss that shot up and then stays at ln 10, with the accuracy of a guess."""
    assert told([2.4, 5e4, 800.0, *[2.31] * 197], 0.1)[0] == "stuck"


def test_little_accuracy_is_stuck_though_the_loss_fell() -> None:
    """Less than a fifth of what the probe reaches: 0.1 + 0.2 · 0.7 = 0.24."""
    assert told(falling(9.0, 2.3), 0.23)[0] == "stuck"
    assert told(falling(9.0, 2.3), 0.25)[0] == "slow"


def test_a_loss_that_did_not_fall_is_stuck_whatever_the_accuracy() -> None:
    """A run that swings around its start is not slow: more of it brings nothing."""
    assert told(falling(2.0, 1.9), 0.4)[0] == "stuck"
    assert told(falling(2.0, 1.8), 0.4)[0] == "slow"


def test_the_end_is_the_mean_of_the_last_tenth() -> None:
    """One step at least."""
    assert last_tenth([9.0] * 18 + [1.0, 3.0]) == 2.0
    assert last_tenth([9.0, 1.0]) == 1.0


def test_no_losses_are_refused() -> None:
    """There is nothing to judge."""
    with pytest.raises(ValueError, match="no losses, expected those of one step"):
        told([], 0.9)


def test_real_runs_are_called_what_their_curves_show() -> None:
    """Of one network on digits, by its rate; the start that the origin had is stuck at any."""
    images = read_embedded()
    x, y = images.train_images.reshape(-1, 784) / 255, images.train_labels
    held_x, held_y = images.test_images.reshape(-1, 784) / 255, images.test_labels
    order = torch.randperm(len(x))
    batches = order[:4992].reshape(-1, 64).tolist() * 2
    found = measure_targets(x[order[:2000]], y[order[:2000]], 10, "cross_entropy")
    reached = max(found.nearest_mean or 0.0, found.nearest_neighbour or 0.0)

    def outcomes(activation: str, init: str, rates: list[float]) -> list[str]:
        many = Population(
            784, 32, 10, size=len(rates), lr=rates, seeds=[0] * len(rates), activation=activation,
            init=init,
        )  # fmt: skip
        losses = torch.stack([many.step(x[rows], y[rows]) for rows in batches]).T.tolist()
        right = (many.outputs(held_x).argmax(-1) == held_y).float().mean(-1).tolist()
        return [
            classify_outcome(of, share, found.chance, reached)[0]
            for of, share in zip(losses, right, strict=True)
        ]

    assert outcomes("relu", "auto", [1e-4, 0.01, 0.1, 10.0]) == ["stuck", "slow", "learns", "stuck"]
    assert outcomes("sigmoid", "uniform(0, 1)", [0.01, 0.1, 3.0]) == ["stuck", "stuck", "diverged"]
    assert set(OUTCOMES) == {"nan", "diverged", "stuck", "slow", "learns"}
