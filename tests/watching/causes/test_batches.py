"""What a loop is fed."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from tests.watching.loops import accused, causes, data, found, network


def epochs(loader: DataLoader[tuple[torch.Tensor, ...]], count: int = 3) -> None:
    model = network()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(count):
        for x, y in loader:
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()


def test_samples_sorted_by_class() -> None:
    """The line of the loader; shuffled ones are quiet."""
    x, y = data()
    order = y.argsort()
    rows = TensorDataset(x[order], y[order])

    def train(*, shuffle: bool) -> None:
        loader = DataLoader(rows, batch_size=16, shuffle=shuffle)
        epochs(loader)

    (finding,) = found(lambda: train(shuffle=False))
    assert finding.cause == "not-shuffled"
    assert accused(finding) == "loader = DataLoader(rows, batch_size=16, shuffle=shuffle)"
    assert finding.evidence["classes"] == 3
    assert causes(lambda: train(shuffle=True)) == []
    assert causes(lambda: epochs(DataLoader(TensorDataset(*data()), batch_size=16))) == []


def test_sorted_samples_of_slices() -> None:
    """The line that cuts the batch out, where there is no loader."""
    x, y = data()
    x, y = x[y.argsort()], y.sort().values

    def train() -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            for k in range(0, len(x), 16):
                a, b = x[k : k + 16], y[k : k + 16]
                opt.zero_grad()
                F.cross_entropy(model(a), b).backward()
                opt.step()

    (finding,) = found(train)
    assert finding.cause == "not-shuffled"
    assert accused(finding) == "a, b = x[k : k + 16], y[k : k + 16]"


def test_one_batch_again_and_again() -> None:
    """next(iter(loader)) in every step, and rows that an index outside of the loop chose."""
    x, y = data()
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    rows = torch.randperm(len(x))[:16]

    def train(kind: str) -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(40):
            if kind == "loader":
                a, b = next(iter(loader))
            elif kind == "index":
                a, b = x[rows], y[rows]
            else:
                a, b = x, y
            opt.zero_grad()
            F.cross_entropy(model(a), b).backward()
            opt.step()

    (finding,) = found(lambda: train("loader"))
    assert finding.cause == "same-batch"
    assert accused(finding) == "a, b = next(iter(loader))"
    (finding,) = found(lambda: train("index"))
    assert finding.cause == "same-batch"
    assert accused(finding) == "a, b = x[rows], y[rows]"
    assert causes(lambda: train("all of them")) == []


def test_labels_of_real_and_made_up_are_quiet() -> None:
    """Whole batches of one label in turns are no order of a table."""

    def train() -> None:
        torch.manual_seed(0)
        model = nn.Linear(8, 1)
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for k in range(60):
            opt.zero_grad()
            label = torch.full((16, 1), float(k % 2))
            F.binary_cross_entropy_with_logits(model(torch.randn(16, 8) + k % 2), label).backward()
            opt.step()

    assert causes(train) == []


def test_a_generator_that_is_seeded_again() -> None:
    """The line of the seed; one seed before the loop is quiet."""

    def train(*, again: bool) -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        generator = np.random
        for _ in range(10):
            if again:
                generator.seed(3)
            for _ in range(4):
                x = torch.tensor(generator.randn(16, 8), dtype=torch.float32)
                opt.zero_grad()
                F.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
                opt.step()

    (finding,) = found(lambda: train(again=True))
    assert finding.cause == "same-batch"
    assert accused(finding) == "generator.seed(3)"
    assert causes(lambda: train(again=False)) == []
