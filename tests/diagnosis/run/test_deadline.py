"""A diagnosis has a budget, and tells what is known when it is spent."""

import math
import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from tests.diagnosis.runs import GOOD, blobs, net, sgd
from torchmlp.diagnosis import diagnose
from torchmlp.diagnosis.run.deadline import Deadline, OutOfTimeError
from torchmlp.diagnosis.run.run import CannotDiagnoseError


class Slow(nn.Module):
    """Takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net(2, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.01)
        output: Tensor = self.net(x)
        return output


def test_a_slow_run_is_told_of_as_far_as_it_is_known() -> None:
    """In a line of the report, with what was trained and tried; and in the record."""
    torch.manual_seed(0)
    model = Slow()
    optimizer = SGD(model.parameters(), 1e-4)
    report = diagnose(model, GOOD.loss, optimizer, blobs(), steps=2000, budget=2.0)
    losses = report.record.losses
    assert 0 < len(losses) < 2000
    assert report.record.budget == 2.0
    (line,) = (line for line in str(report).splitlines() if line.startswith("the time is out"))
    assert "(2 s)" in line
    assert f"{len(losses)} of 2000 steps trained" in line


def test_nothing_is_said_where_the_time_sufficed() -> None:
    """And the answer is that of a diagnosis without a limit."""
    run = replace(GOOD, optim=sgd(1e-4), steps=20)
    told = []
    for budget in (None, 1000.0):
        model, optimizer = run.made()
        report = diagnose(
            model, run.loss, optimizer, blobs(), steps=20, batch_size=16, budget=budget
        )
        assert report.record.budget is None
        assert "the time is out" not in str(report)
        told.append(report.to_json())
    assert told[0] == told[1]


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan])
def test_a_budget_is_above_nothing(budget: float) -> None:
    """Seconds, or None."""
    model, optimizer = GOOD.made()
    with pytest.raises(CannotDiagnoseError, match="budget: expected seconds above 0"):
        diagnose(model, GOOD.loss, optimizer, blobs(), budget=budget)


def test_a_deadline_passes() -> None:
    """None never does."""
    assert Deadline(1e-9).has_passed
    with pytest.raises(OutOfTimeError):
        Deadline(1e-9).check()
    assert not Deadline().has_passed
    assert Deadline().left == math.inf
    assert Deadline().share_passed == 0.0
    Deadline(1e6).check()
