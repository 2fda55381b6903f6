from itertools import islice
from typing import Any

import pytest
import torch

from tests.stability.small_maps import cell, digits
from torchmlp.data import Batches
from torchmlp.stability.map.data import MapData


def some(count: int = 50, **changes: Any) -> dict[str, Any]:
    x = torch.arange(count * 4, dtype=torch.float32).reshape(count, 4)
    labels = torch.arange(count) % 2
    return {
        "inputs": x, "labels": labels, "held_inputs": x[:10], "held_labels": labels[:10], **changes
    }  # fmt: skip


def test_batches_are_those_of_the_seeds_epochs() -> None:
    """Epoch after epoch as `Batches` shuffles them, whole batches only, for every rate the same."""
    samples = MapData.of(**some(50))
    own = Batches(samples.inputs, samples.labels, 16, shuffle=True, seed=3, drop_last=True)
    expected = [*own, *own, *own][:8]  # three to an epoch
    for lr in (0.1, 1.0):
        found = list(samples.batches(cell(batch_size=16, lr=lr, seed=3), 8))
        assert len(found) == 8
        for (x, labels), (own_x, own_labels) in zip(found, expected, strict=True):
            assert torch.equal(x, own_x)
            assert torch.equal(labels, own_labels)


def test_the_first_epoch_is_the_runs_beginning() -> None:
    """`epoch` gives its batches once, or fewer where the run is shorter."""
    samples = MapData.of(**some(50))
    own = cell(batch_size=16)
    for steps, count in ((100, 3), (2, 2)):
        found = samples.epoch(own, steps)
        assert len(found) == count
        for (x, _), (expected, _) in zip(found, samples.batches(own, 3), strict=False):
            assert torch.equal(x, expected)


def test_a_batch_larger_than_the_data_is_all_of_them() -> None:
    """Every sample once in each batch."""
    samples = MapData.of(**some(50))
    for x, _ in samples.batches(cell(batch_size=512), 2):
        assert torch.equal(x.sort(0).values, samples.inputs)


def test_what_a_guess_and_a_probe_reach() -> None:
    """Ten balanced classes: a tenth by chance, some eight by nearest mean or neighbour."""
    samples = digits()
    assert abs(samples.chance - 0.1) < 0.001
    assert 0.75 < samples.reachable < 0.9
    assert (samples.features, samples.classes) == (784, 10)


def test_samples_too_few_for_a_probe() -> None:
    """Then nothing more than chance is known to be reachable."""
    samples = MapData.of(**some(20))
    assert samples.reachable == samples.chance == 0.5


def test_pixels_stay_and_numbers_take_the_dtype() -> None:
    """`to` casts floating inputs; uint8 pixels are scaled by whoever reads them."""
    floats = MapData.of(**some()).to(torch.float64)
    assert floats.inputs.dtype == floats.held_inputs.dtype == torch.float64
    assert digits().to(torch.float64).inputs.dtype == torch.uint8


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"labels": torch.rand(50)}, TypeError, "class indices as labels.*float32"),
        ({"held_labels": torch.zeros(10, 2).long()}, TypeError, r"held out labels.*\(10, 2\)"),
        ({"inputs": torch.rand(49, 4)}, ValueError, "49 inputs but 50 targets"),
        ({"held_inputs": torch.full((10, 4), torch.nan)}, ValueError, "nan at position"),
    ],
)
def test_samples_that_are_none(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    """What cannot be trained on or scored is refused before anything starts."""
    with pytest.raises(error, match=words):
        MapData.of(**some(**changes))


def test_batches_do_not_end_before_the_run() -> None:
    """Fewer samples than a run takes are gone through again and again."""
    samples = MapData.of(**some(50))
    assert len(list(islice(samples.batches(cell(batch_size=50), 500), 600))) == 500
