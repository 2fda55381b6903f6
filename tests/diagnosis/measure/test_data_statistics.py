"""The data's statistics are those of their definitions, and the probes find what is there."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.diagnosis.runs import blobs, curve, in_batches, one_hot, shuffled_labels
from torchmlp.diagnosis.measure.data_statistics import (
    gathered,
    measure_inputs,
    measure_targets,
    sorted_share,
)
from torchmlp.diagnosis.record.record import Targets
from torchmlp.diagnosis.run.run import Batch


def test_inputs_have_the_statistics_of_their_numbers() -> None:
    """Mean, std, rms, range; scales and offset over the features that vary."""
    x = torch.tensor([[0.0, 100.0, 5.0], [2.0, 300.0, 5.0], [4.0, 500.0, 5.0]])
    found = measure_inputs(x, x)
    values = x.double().numpy()
    assert (found.samples, found.features) == (3, 3)
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(values.std())
    assert found.rms == pytest.approx(np.sqrt((values**2).mean()))
    assert (found.low, found.high, found.nonfinite) == (0, 500, 0)
    assert found.scale_ratio == pytest.approx(100)
    ratios = values[:, :2].mean(0) / values[:, :2].std(0)
    assert found.offset == pytest.approx(np.sqrt((ratios**2).mean()))


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    """Of the data as they were given."""
    given = torch.tensor([[math.nan, 1.0], [math.inf, 1.0], [1.0, 1.0], [1.0, 1.0]])
    found = measure_inputs(given, given)
    assert found.nonfinite == 0.25
    assert math.isfinite(found.std)
    assert math.isfinite(found.rms)


def test_images_have_as_many_features_as_pixels() -> None:
    """Whatever their axes."""
    assert measure_inputs(torch.rand(5, 3, 4), torch.rand(5, 3, 4)).features == 12


def infer_network(target: Tensor, units: int = 1, loss: str = "own") -> Targets:
    return measure_targets(torch.rand(len(target), 2), target, units, loss)


ROWS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] * 4)


@pytest.mark.parametrize(
    ("target", "units", "loss", "kind", "classes"),
    [
        (torch.arange(12) % 3, 3, "cross_entropy", "classes", 3),
        (torch.arange(12) % 3, 5, "cross_entropy", "classes", 5),
        (torch.arange(12) % 3 + 1, 3, "cross_entropy", "classes", 4),
        (ROWS, 3, "cross_entropy", "classes", 3),
        (ROWS.flip(1).cumsum(1), 3, "own", "labels", 3),
        ((torch.arange(12) % 2).float(), 1, "mse_loss", "classes", 2),
        ((torch.arange(12) % 2).float().unsqueeze(1), 1, "own", "classes", 2),
        (2.0 * (torch.arange(12) % 2) - 1, 1, "own", "classes", 2),
        (torch.linspace(0, 1, 12), 1, "mse_loss", "numbers", 0),
        (torch.linspace(0, 1, 12).reshape(6, 2), 2, "mse_loss", "numbers", 0),
        ((torch.arange(12) % 3).float(), 1, "mse_loss", "numbers", 0),
    ],
)
def test_targets_are_told_apart(
    target: Tensor, units: int, loss: str, kind: str, classes: int
) -> None:
    """Indices, one-hot rows, 0/1 and -1/1 are classes; several 0/1 labels; the rest numbers."""
    found = infer_network(target, units, loss)
    assert (found.kind, found.classes) == (kind, classes)


def test_the_entropy_is_that_of_the_shares() -> None:
    """In nats; the commonest class's share beside it."""
    found = infer_network(torch.tensor([0] * 6 + [1] * 3 + [2] * 3), 3, "cross_entropy")
    assert found.entropy == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4))
    assert found.majority_share == 0.5


def test_lost_targets_are_counted() -> None:
    """And nothing is probed with them."""
    found = infer_network(torch.tensor([math.nan, 1.5, math.inf, 0.2] * 20))
    assert found.nonfinite == 0.5
    assert found.ridge is None


def probed(data: Batch, **options: Any) -> Targets:
    return measure_targets(*data, **{"units": 3, "loss": "cross_entropy", **options})


@pytest.mark.parametrize("rows", [False, True], ids=["indices", "one-hot"])
def test_the_probes_of_classes_find_a_relation(rows: bool) -> None:
    """Blobs are told apart by nearest mean and nearest neighbour; mixed-up labels by neither."""
    shape = one_hot if rows else lambda data: data
    related, mixed = probed(shape(blobs())), probed(shape(shuffled_labels(blobs())))
    assert related.chance == pytest.approx(1 / 3)
    for good, bad in (
        (related.nearest_mean, mixed.nearest_mean),
        (related.nearest_neighbour, mixed.nearest_neighbour),
    ):
        assert good is not None
        assert bad is not None
        assert good > 0.95
        assert abs(bad - 1 / 3) < 0.15


def test_the_probes_of_numbers_find_a_relation() -> None:
    """A smooth function is found by ridge regression and by neighbours."""
    related = probed(curve(), units=1, loss="mse_loss")
    mixed = probed(shuffled_labels(curve()), units=1, loss="mse_loss")
    assert related.ridge is not None
    assert related.nearest_neighbour is not None
    assert mixed.ridge is not None
    assert related.ridge > 0.8
    assert related.nearest_neighbour > 0.8
    assert mixed.ridge < 0.1


def test_the_probes_say_nothing_of_a_handful() -> None:
    """Of a few samples nothing can be said."""
    found = probed(blobs(n=20))
    assert (found.nearest_mean, found.nearest_neighbour, found.held_out) == (None, None, 0)


def test_the_probes_do_not_care_for_scale() -> None:
    """Features are looked at in their own units, and constant ones not at all."""
    x, y = blobs()
    scaled = torch.cat([x * torch.tensor([1e4, 1e-4]) + 7, torch.ones(len(x), 1)], 1)
    assert probed((scaled, y)).nearest_neighbour == probed((x, y)).nearest_neighbour


def test_sorted_batches_are_counted() -> None:
    """Those of one class only, of four samples and more."""
    assert sorted_share(in_batches(blobs(2))) == 0
    assert sorted_share(in_batches(blobs(2), is_sorted=True)) > 0.8
    assert sorted_share(in_batches(blobs(2), 1)) == 0


def test_samples_are_gathered_in_order() -> None:
    """The first ones of the batches, each once."""
    x, y = blobs()
    a, b = gathered(in_batches((x, y)), 40)
    assert torch.equal(a, x[:40])
    assert torch.equal(b, y[:40])


def test_sequences_of_different_lengths_are_not_gathered() -> None:
    """The first batch stands for them."""
    batches = [(torch.rand(4, n, 2), torch.zeros(4)) for n in (3, 5)]
    assert gathered(batches)[0].shape == (4, 3, 2)
