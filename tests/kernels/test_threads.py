"""Small work takes one thread, and gives the others back."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from torchmlp import diagnose
from torchmlp.kernels.threads import WORK_WORTH_WAKING, multiplications_of_step, threads_for


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("work", "threads"), [(0.0, 1), (WORK_WORTH_WAKING - 1.0, 1), (float(WORK_WORTH_WAKING), 2)]
)
def test_work_decides(work: float, threads: int) -> None:
    """One thread below the bound, torch's number from there on, and afterwards, errors or none."""

    def fail() -> None:
        with threads_for(work):
            assert torch.get_num_threads() == threads
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == 2


def test_multiplications_are_counted() -> None:
    """A forward pass and twice as much backward; what cannot be run is taken for large."""
    layer, convolution = nn.Linear(30, 20), nn.Conv2d(3, 5, 3)
    assert multiplications_of_step(lambda: layer(torch.zeros(7, 30))) == 3 * 7 * 30 * 20
    found = multiplications_of_step(lambda: convolution(torch.zeros(2, 3, 8, 8)))
    assert found == 3 * (2 * 5 * 6 * 6) * (3 * 3 * 3)
    assert multiplications_of_step(lambda: layer(torch.zeros(7, 31))) == float("inf")
    assert torch.get_num_threads() == 2


class Seen(nn.Module):
    """Notes how many threads each of its passes had."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, width), nn.Linear(width, 2)
        self.threads: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.threads.append(torch.get_num_threads())
        output: torch.Tensor = self.last(torch.tanh(self.first(x)))
        return output


@pytest.mark.parametrize(("width", "threads"), [(8, 1), (1100, 2)])
def test_a_diagnosis_takes_what_it_is_worth(width: int, threads: int) -> None:
    """A small model is diagnosed on one thread, a large one on all; the caller has all again."""
    model = Seen(width)
    x = torch.randn(32, width)
    data = x, (x[:, 0] > 0).long()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    diagnose(model, nn.CrossEntropyLoss(), sgd, data, steps=2, batch_size=32, remedies=False)
    assert set(model.threads[1:]) == {threads}  # the first pass is the one that is counted
    assert torch.get_num_threads() == 2
