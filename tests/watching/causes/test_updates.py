"""Steps that are too small, and weights that decay."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.watching.loops import accused, batches, causes, found, network


def test_a_schedule_stepped_with_every_batch() -> None:
    """The line of the schedule's step; once an epoch is quiet, and so is a schedule for batches."""

    def train(kind: str) -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        if kind == "one cycle":
            schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=120)
        else:
            schedule = torch.optim.lr_scheduler.StepLR(opt, 10, gamma=0.1)  # type: ignore[assignment]  # another schedule
        for _ in range(12):
            for x, y in batches(10):
                opt.zero_grad()
                F.cross_entropy(model(x), y).backward()
                opt.step()
                if kind != "epoch":
                    schedule.step()
            if kind == "epoch":
                schedule.step()

    (finding,) = found(lambda: train("batch"))
    assert finding.cause == "rate-decayed"
    assert accused(finding) == "schedule.step()"
    assert causes(lambda: train("epoch")) == []
    assert causes(lambda: train("one cycle")) == []


def test_gradients_clipped_to_nothing() -> None:
    """The line that clips; at one it is quiet, and so is a limit under Adam."""

    def train(limit: float, name: str = "SGD") -> None:
        model = network()
        opt = getattr(torch.optim, name)(model.parameters(), lr=0.01)
        for x, y in batches(40):
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), limit)
            opt.step()

    (finding, *_) = found(lambda: train(1e-4))
    assert finding.cause == "clipped-away"
    assert accused(finding) == "nn.utils.clip_grad_norm_(model.parameters(), limit)"
    assert "clipped-away" not in causes(lambda: train(1.0))
    assert "clipped-away" not in causes(lambda: train(1e-4, "Adam"))


def test_weights_that_decay_away() -> None:
    """The line of the optimizer; a usual decay is quiet."""

    def train(decay: float, name: str = "SGD") -> None:
        model = network()
        opt = getattr(torch.optim, name)(model.parameters(), lr=0.05, weight_decay=decay)
        for x, y in batches(80):
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()

    (finding, *_) = found(lambda: train(1.0))
    assert finding.cause == "decay-dominates"
    assert accused(finding).startswith("opt = getattr(torch.optim, name)(")
    assert "decay-dominates" not in causes(lambda: train(1e-3))
    assert "decay-dominates" not in causes(lambda: train(0.1, "AdamW"))
