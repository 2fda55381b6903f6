"""The advice is run: its lines, executed in the user's place, bring what the trial brought."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  as people write it

from tests.diagnosis.runs import (
    BINARY,
    FIT,
    GOOD,
    Run,
    blobs,
    cases,
    curve,
    in_batches,
    net,
    with_inputs,
    with_targets,
)
from torchmlp import MLP
from torchmlp.diagnosis import Report
from torchmlp.diagnosis.diagnose import start_record
from torchmlp.diagnosis.measure.start import score_of
from torchmlp.diagnosis.remedies.catalogue import Change, together
from torchmlp.diagnosis.remedies.code import is_executable
from torchmlp.diagnosis.rules.parameters import place
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.run import TrainingRun
from torchmlp.diagnosis.run.snapshot import restored_afterwards

CASES = {str(case): case for case in cases()}
NEAR = 0.1  # other random weights


def follow(code: str, run: Run, steps: int) -> float:
    """The score after the lines and a plain loop."""
    model, optimizer = run.made()
    names: dict[str, Any] = {"model": model, "loss": run.loss, "optimizer": optimizer}
    names |= {"data": run.data(), "steps": run.steps, "torch": torch}
    exec(code, names)
    model, loss, optimizer = names["model"], names["loss"], names["optimizer"]
    batches = read_batches(names["data"], run.batch_size, steps, model, loss)
    subject = TrainingRun(model, loss, optimizer, batches)
    with restored_afterwards(model, optimizer) as start:
        record = start_record(subject, start, steps)
    for step in range(steps):
        optimizer.zero_grad()
        subject.forward(subject.batch(step))[1].backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
    score = score_of(subject, record)
    assert score is not None
    return score


def advice(report: Report) -> tuple[str, int, float]:
    """Code, steps and score of what is recommended."""
    if best := report.remedy:
        return best.code, best.steps, best.score
    return report.findings[0].code, 60, 0.95


class Ending(nn.Module):
    """A network that calls its softmax in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(self.last(F.relu(self.first(x))), 1)


class Straight(nn.Module):
    """Two layers without anything between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.first(x))
        return output


def far(form: str) -> Callable[[], Any]:
    """Inputs in the hundreds, in a form."""
    data = with_inputs(curve(), lambda x: 300 * x)
    if form == "dicts":
        return lambda: [{"y": y, "x": x} for x, y in in_batches(data)]
    return lambda: in_batches(data)


BENT = CASES["missing-nonlinearity"].sick
RUNS: dict[str, Run] = {
    **{
        name: CASES[name].sick
        for name in (
            "target-out-of-range-too few outputs",
            *("input-non-finite", "target-out-of-range", "target-out-of-range-beyond a sigmoid"),
            *("shape-broadcast", "output-loss-mismatch-several labels", "frozen-parameters"),
            *("output-loss-mismatch-several labels as integers", "frozen-parameters-one layer"),
            *("parameters-not-optimized", "parameters-not-optimized-in a dict", "symmetric-init"),
            *("parameters-not-optimized-another model's", "loss-ascended"),
            *("loss-ascended-climbing", "output-loss-mismatch", "missing-output-activation"),
            *("missing-nonlinearity", "input-not-normalized", "init-too-small", "dead-units"),
            *("learning-rate-too-high", "learning-rate-too-low"),
            *("unstable-softmax", "class-imbalance", "too-few-steps", "softmax-over-one-unit"),
        )
    },
    "a softmax in forward": replace(GOOD, net=Ending),
    "no nonlinearity in forward": replace(BENT, net=Straight),
    "inputs in dicts": replace(FIT, data=far("dicts"), batch_size=None),
    "inputs in batches": replace(FIT, data=far("batches"), batch_size=None),
    "labels -1 and 1 for squared error of a tanh": replace(
        BINARY,
        net=partial(net, 2, 8, 1, end=nn.Sigmoid),
        loss=nn.MSELoss(),
        data=lambda: with_targets(blobs(2), lambda y: 2.0 * y[:, None] - 1),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_advice_is_good(name: str) -> None:
    """Every line is executed as it is printed, and the run scores as the trial did."""
    run = RUNS[name]
    report = run.report(remedies=True)
    code, steps, score = advice(report)
    assert is_executable(code)
    assert all(line in str(report) for line in code.splitlines())
    assert follow(code, run, steps) >= score - NEAR


@pytest.mark.parametrize(
    ("run", "word"),
    [
        (CASES["unstable-activation"].sick, "clamp"),
        (replace(GOOD, net=lambda: MLP(2, [8], 3, output_activation="sigmoid")), "forward"),
        (CASES["wrong-gradient"].sick, "autograd"),
    ],
    ids=["guards", "this package's network", "a derivative"],
)
def test_what_stands_in_forward_is_said_in_a_comment(run: Run, word: str) -> None:
    """For nothing that is executed reaches it."""
    best = run.report(remedies=True).remedy
    assert best is not None
    assert not is_executable(best.code)
    assert any(line.startswith("#") and word in line for line in best.code.splitlines())


def test_a_module_is_reached_as_a_person_would() -> None:
    """By index in a container, by name elsewhere."""
    assert place("layers.0.act") == "model.layers[0].act"
    assert place("3") == "model[3]"
    assert place("") == "model"


def test_no_part_is_said_twice() -> None:
    """However often it is in what is put together; and a rate is the one that it becomes."""
    autograd = Change("the same forward pass, its derivative by autograd", (), autograd=True)
    rate = Change("lr 1", (), lr_factor=10.0, lr=1.0)
    both = together([together([autograd, rate]), Change("lr 0.01", (), lr_factor=0.1, lr=0.01)])
    assert together([both, autograd]).name == "autograd's derivative"
    names = together([both, rate, autograd, Change("", (), inputs=True)]).name.split(", ")
    assert names == ["inputs normalised", "autograd's derivative", "lr 1"]
    adam_too = together([rate, Change("Adam", (), adam=True)]).name
    assert adam_too == "Adam, lr 0.01"
