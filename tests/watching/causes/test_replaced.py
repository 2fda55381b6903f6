"""Training that begins again and again, and searches that are meant to."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.watching.loops import accused, batches, causes, found, network


def epoch(model: nn.Module, opt: torch.optim.Optimizer, steps: int = 10) -> None:
    for x, y in batches(steps):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()


def test_weights_drawn_again_every_epoch() -> None:
    """The line that applies the function, not the function's own."""

    def init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)

    def train() -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            model.apply(init)
            epoch(model, opt)

    (finding,) = found(train)
    assert finding.cause == "weights-reset"
    assert accused(finding) == "model.apply(init)"
    assert finding.evidence["times"] == 4  # the first is no reset


def test_a_model_made_every_epoch() -> None:
    """Nothing is learnt twice, with the same settings each time."""

    def train() -> None:
        for _ in range(5):
            model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
            epoch(model, torch.optim.Adam(model.parameters(), lr=1e-2))

    (finding,) = found(train)
    assert finding.cause == "weights-reset"
    assert accused(finding).startswith("model = nn.Sequential(")


def test_searches_are_quiet() -> None:
    """Other rates, other seeds, or each trained for a while."""

    def rates() -> None:
        for lr in (0.3, 0.1, 0.03, 0.01):
            model = network()
            epoch(model, torch.optim.SGD(model.parameters(), lr=lr))

    def seeds() -> None:
        for seed in range(5):
            torch.manual_seed(seed)
            model = nn.Linear(8, 3)
            epoch(model, torch.optim.SGD(model.parameters(), lr=0.1))

    def folds() -> None:
        for _ in range(5):
            model = nn.Linear(8, 3)
            epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), 45)  # three times all rows

    assert causes(rates) == []
    assert causes(seeds) == []
    assert causes(folds) == []


def test_one_new_head_is_quiet() -> None:
    """A reset before a fine-tuning is meant."""

    def train() -> None:
        model = network()
        epoch(model, torch.optim.SGD(model.parameters(), lr=0.1))
        model[2].reset_parameters()
        epoch(model, torch.optim.SGD(model.parameters(), lr=0.1))

    assert causes(train) == []


def test_an_optimizer_made_every_epoch() -> None:
    """Named where it has a state to lose, and not where it has none."""

    def train(name: str) -> None:
        model = network()
        for _ in range(5):
            opt = getattr(torch.optim, name)(model.parameters(), lr=0.01)
            epoch(model, opt)

    (finding,) = found(lambda: train("Adam"))
    assert finding.cause == "optimizer-recreated"
    assert "opt = getattr" in accused(finding)
    assert causes(lambda: train("SGD")) == []


def test_an_optimizer_for_each_part_of_the_training_is_quiet() -> None:
    """Two or three, with rates of their own."""

    def train() -> None:
        model = network()
        for lr in (1e-2, 1e-3, 1e-4):
            epoch(model, torch.optim.Adam(model.parameters(), lr=lr))

    assert causes(train) == []
