"""Which element of a batch is an input, the target, or the samples' weights."""

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  as people write it
from torch.optim import SGD

from tests.diagnosis.runs import blobs, in_batches, net
from torchmlp.diagnosis import Report, diagnose
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.elements import elements_of

X, Y = blobs()
Named = namedtuple("Named", "image label")  # noqa: PYI024  as people write it


@dataclasses.dataclass
class Sample:
    """A batch as a dataclass."""

    y: Tensor
    points: Tensor


class Pair(nn.Module):
    """Adds up two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net(2, 8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        output: Tensor = self.net(left + right)
        return output


class Words(nn.Module):
    """Embeds indices, of which a mask leaves some out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(20, 8), nn.Linear(8, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        assert input_ids.dtype == torch.int64
        assert attention_mask.dtype == torch.bool
        output: Tensor = self.out((self.embedding(input_ids) * attention_mask[..., None]).mean(1))
        return output


def weighted(z: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return (F.cross_entropy(z, y, reduction="none") * weight).mean()


ONE, PAIR = net(2, 3), Pair()
PLAIN = nn.CrossEntropyLoss()
W = torch.ones(len(X))
TOLD: dict[str, tuple[Any, nn.Module, Any, tuple[Any, ...]]] = {
    "pair": ((X, Y), ONE, PLAIN, ("pairs", (0,), 1, None)),
    "two inputs": ((X, X, Y), PAIR, PLAIN, ("tuples", (0, 1), 2, None)),
    "weights by the model": ((X, Y, W), ONE, PLAIN, ("tuples", (0,), 1, 2)),
    "weights by the loss": ((X, Y, W), PAIR, weighted, ("tuples", (0,), 1, 2)),
    "names": ({"label": Y, "image": X}, ONE, PLAIN, ("dicts", ("image",), "label", None)),
    "names of two": (
        {"y": Y, "right": X, "left": X, "id": Y},
        PAIR,
        PLAIN,
        ("dicts", ("right", "left"), "y", None),
    ),
    "weights by name": (
        {"x": X, "y": Y, "sample_weight": W},
        ONE,
        PLAIN,
        ("dicts", ("x",), "y", "sample_weight"),
    ),
    "named tuple": (Named(X, Y), ONE, PLAIN, ("namedtuples", ("image",), "label", None)),
    "dataclass": (Sample(Y, X), ONE, PLAIN, ("dataclasses", ("points",), "y", None)),
    "what is no tensor": (
        {"path": ["a"], "x": X, "target": Y},
        ONE,
        PLAIN,
        ("dicts", ("x",), "target", None),
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_elements_are_told_apart(name: str) -> None:
    """By name; by position, where the last is the target but for weights that are asked for."""
    batch, model, loss, expected = TOLD[name]
    found = elements_of(batch, model, loss)
    assert (found.form, found.inputs, found.target, found.weight) == expected


def report_of(data: Any, model: Callable[[], nn.Module], loss: Any = PLAIN) -> Report:
    torch.manual_seed(0)
    made = model()
    return diagnose(made, loss, SGD(made.parameters(), 0.3), data, steps=30, remedies=False)


FORMS: dict[str, Callable[[], Any]] = {
    "dicts": lambda: [{"label": y, "image": x} for x, y in in_batches(blobs())],
    "named tuples": lambda: [Named(x, y) for x, y in in_batches(blobs())],
    "dataclasses": lambda: [Sample(y, x) for x, y in in_batches(blobs())],
    "arrays": lambda: [(x.double().numpy(), y.numpy()) for x, y in in_batches(blobs())],
    "weights of 1": lambda: [(x, y, torch.ones(len(x))) for x, y in in_batches(blobs())],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_run_is_the_same_whatever_holds_its_batches(form: str) -> None:
    """Loss for loss."""
    plain = report_of(in_batches(blobs()), lambda: net(2, 8, 3))
    other = report_of(FORMS[form](), lambda: net(2, 8, 3))
    assert other.record.losses == pytest.approx(plain.record.losses, rel=1e-6)
    assert other.record.score == plain.record.score


def test_whole_data_may_be_arrays_or_have_names() -> None:
    """Which are drawn in the same order."""
    plain = report_of(blobs(), lambda: net(2, 8, 3)).record.losses
    arrays = report_of((X.double().numpy(), Y.numpy()), lambda: net(2, 8, 3)).record.losses
    named = report_of({"x": X, "y": Y}, lambda: net(2, 8, 3)).record.losses
    assert plain == arrays == named


def test_several_inputs_reach_the_model_as_they_were() -> None:
    """By position and by name, each in its dtype and shape."""
    batches = in_batches(blobs())
    positions = report_of([(x, 0 * x, y) for x, y in batches], Pair)
    names = report_of([{"right": 0 * x, "y": y, "left": x} for x, y in batches], Pair)
    assert positions.healthy
    assert names.record.losses == positions.record.losses
    ids = torch.randint(20, (200, 5), generator=torch.Generator().manual_seed(0))
    labels = (ids.float().mean(1) > 9.5).long()
    told = report_of({"labels": labels, "input_ids": ids, "attention_mask": ids < 18}, Words)
    assert told.record.score is not None


def test_weights_count() -> None:
    """Given to a loss that takes them, or as the weights of its samples' mean."""
    double = [(x, y, 2 * torch.ones(len(x))) for x, y in in_batches(blobs())]
    once = report_of(in_batches(blobs()), lambda: net(2, 8, 3)).record.losses[0]
    for loss in (weighted, nn.CrossEntropyLoss(reduction="none")):
        first = report_of(double, lambda: net(2, 8, 3), loss).record.losses[0]
        assert first == pytest.approx(2 * once, rel=1e-6)


def test_arrays_get_the_models_dtype() -> None:
    """Whole numbers stay what they are."""
    model = net(2, 8, 3).double()
    x, y = read_batches((X.numpy(), Y.numpy()), 16, 3, model, PLAIN)[0]
    assert (x.dtype, y.dtype) == (torch.float64, torch.int64)
    ((x, y),) = read_batches([(np.ones((4, 2)), np.ones(4))], None, 3, net(2, 3), PLAIN)
    assert (x.dtype, y.dtype) == (torch.float32, torch.float32)


def test_trials_change_numbers_and_leave_indices() -> None:
    """Inputs of a thousand beside indices are normalised, and the indices are not."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.net = nn.Embedding(3, 2), net(4, 16, 3)

        def forward(self, kind: Tensor, x: Tensor) -> Tensor:
            output: Tensor = self.net(torch.cat([self.embedding(kind), x], 1))
            return output

    batches = [{"kind": y * 0, "x": 3000 * x, "y": y} for x, y in in_batches(blobs())]
    torch.manual_seed(0)
    model = Both()
    report = diagnose(model, PLAIN, SGD(model.parameters(), 0.3), batches, steps=40)
    (trial,) = (t for t in report.record.trials if t.name == "inputs normalised")
    assert trial.score > 0.9
