"""A score is the accuracy, every class counting alike, or the explained variance."""

import math

import pytest
import torch

from torchmlp.diagnosis.measure.scoring import Scoring, class_labels, scoring_of
from torchmlp.diagnosis.record.record import Design, Targets

CLASSES, NUMBERS = Scoring("classes"), Scoring("numbers")


def test_every_class_counts_alike() -> None:
    """Nine of ten are of one class: answering it always is half right."""
    logits = torch.tensor([[1.0, 0.0]] * 10)
    target = torch.tensor([0] * 9 + [1])
    assert CLASSES(logits, target) == 0.5
    assert CLASSES(torch.eye(2)[target], target) == 1
    assert CLASSES(1 - torch.eye(2)[target], target) == 0


def test_one_hot_rows_are_their_classes() -> None:
    """The same score as for indices."""
    logits, target = torch.randn(30, 3), torch.arange(30) % 3
    assert CLASSES(logits, torch.eye(3)[target]) == CLASSES(logits, target)


@pytest.mark.parametrize("shape", [(4,), (4, 1)], ids=str)
def test_a_single_unit_says_yes_from_its_threshold_on(shape: tuple[int, ...]) -> None:
    """0 for a logit, one half for a probability."""
    output, target = torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    output, target = output.reshape(shape), target.reshape(shape)
    assert Scoring("classes", 0.5)(output, target) == 1
    assert Scoring("classes", 0.0)(output, target) == 0.5
    assert Scoring("classes", 0.0)(output - 0.5, 2 * target - 1) == 1


def test_numbers_are_scored_by_what_is_explained() -> None:
    """1 for the targets, 0 for their mean, less for what is worse."""
    target = torch.tensor([[1.0], [2.0], [3.0], [6.0]])
    assert NUMBERS(target, target) == 1
    assert NUMBERS(torch.full((4, 1), 3.0), target) == pytest.approx(0)
    assert NUMBERS(-target, target) < 0
    assert NUMBERS(target[:, 0], target) == 1
    assert math.isnan(NUMBERS(torch.zeros(4, 3), target))


def test_labels_are_scored_one_by_one() -> None:
    """The share of them that is right."""
    target = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    output = torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.1, 0.8]])
    assert Scoring("labels", 0.5)(output, target) == pytest.approx(5 / 6)


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_what_is_not_finite_has_no_score(kind: str, lost: float) -> None:
    """Not a low one: none."""
    assert math.isnan(Scoring(kind)(torch.tensor([[0.0, lost]]), torch.tensor([[0.0, 1.0]])))


def test_labels_are_read_from_every_form() -> None:
    """Indices, rows, 0/1 and -1/1."""
    target = torch.tensor([0, 1, 1])
    for form in (target, torch.eye(2)[target], target.float()[:, None], 2.0 * target - 1):
        assert torch.equal(class_labels(form), target)


@pytest.mark.parametrize(
    ("design", "low", "threshold"),
    [
        (Design(loss="binary_cross_entropy_with_logits"), 0.0, 0.0),
        (Design(loss="binary_cross_entropy", output="sigmoid"), 0.0, 0.5),
        (Design(loss="mse_loss"), 0.0, 0.5),
        (Design(loss="mse_loss", output="tanh"), -1.0, 0.0),
        (Design(loss="own", output="sigmoid"), 0.0, 0.5),
    ],
)
def test_the_threshold_is_that_of_the_output(design: Design, low: float, threshold: float) -> None:
    """Logits and signed targets are split at 0, probabilities at one half."""
    targets = Targets("classes", 2, low, 1.0, 0.5, 0.5, 0.0)
    assert scoring_of(targets, design) == Scoring("classes", threshold)
