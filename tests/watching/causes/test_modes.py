"""Training and evaluation mode."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.watching.loops import accused, batches, causes, data, found, network


def run(
    model: nn.Module,
    before_epoch: Callable[[nn.Module], object] = nn.Module.train,
    before_test: Callable[[nn.Module], object] = nn.Module.eval,
    epochs: int = 4,
) -> None:
    """Epochs of training, each with a test behind it."""
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    x_test, _ = data()
    for _ in range(epochs):
        before_epoch(model)
        for x, y in batches(10):
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()
        before_test(model)
        with torch.no_grad():
            model(x_test)


NOISY = [lambda: nn.Dropout(0.5), lambda: nn.BatchNorm1d(16)]


@pytest.mark.parametrize("layer", NOISY)
def test_right_modes_are_quiet(layer: Callable[[], nn.Module]) -> None:
    """train() before, eval() behind."""
    assert causes(lambda: run(network(layer()))) == []


@pytest.mark.parametrize("layer", NOISY)
def test_evaluation_mode_that_is_never_left(layer: Callable[[], nn.Module]) -> None:
    """The line that sets it, also where that is after the first hundred steps."""
    ended: list[int] = []

    def evaluate(model: nn.Module, start: int) -> None:
        ended.append(len(ended))
        if len(ended) > start:
            model.eval()

    for epochs, start in ((4, 0), (14, 10)):
        ended.clear()
        test = partial(evaluate, start=start)
        findings = found(lambda test=test, n=epochs: run(network(layer()), lambda _: None, test, n))
        assert findings[0].cause == "wrong-mode"
        assert accused(findings[0]) == "model.eval()"


@pytest.mark.parametrize("layer", NOISY)
def test_tested_in_training_mode(layer: Callable[[], nn.Module]) -> None:
    """The line of the test; quiet where nothing differs between the modes."""
    (finding,) = found(lambda: run(network(layer()), before_test=lambda _: None))
    assert finding.cause == "wrong-mode"
    assert accused(finding) == "model(x_test)"
    assert causes(lambda: run(network(), before_test=lambda _: None)) == []
    assert causes(lambda: run(network(nn.Dropout(0.0)), before_test=lambda _: None)) == []


def test_dropout_that_never_switches_off() -> None:
    """A function is not told the mode by itself."""

    class Net(nn.Module):
        def __init__(self, *, told: bool) -> None:
            super().__init__()
            self.inner, self.told = network(), told

        def forward(self, x: Tensor) -> Tensor:
            training = self.training if self.told else True
            return self.inner(F.dropout(x, 0.3, training=training))

    (finding,) = found(lambda: run(Net(told=False)))
    assert finding.cause == "wrong-mode"
    assert accused(finding) == "return self.inner(F.dropout(x, 0.3, training=training))"
    assert causes(lambda: run(Net(told=True))) == []


def test_dropout_for_an_uncertainty_is_quiet() -> None:
    """One input again and again, with dropout on."""

    def train() -> None:
        model = network(nn.Dropout(0.5))
        run(model)
        model.train()
        x, _ = data()
        with torch.no_grad():
            torch.stack([model(x) for _ in range(10)]).std(0)

    assert causes(train) == []


def test_frozen_batch_statistics_are_quiet() -> None:
    """Layers that are put into evaluation mode by themselves."""

    def train_but_statistics(model: nn.Module) -> None:
        model.train()
        model[1].eval()  # type: ignore[index]  # a Sequential

    assert causes(lambda: run(network(nn.BatchNorm1d(16)), train_but_statistics)) == []
