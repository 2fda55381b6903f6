"""diagnose names what is wrong, says so of nothing else, and leaves everything as it was."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import LBFGS, SGD, Adagrad, Adam, Optimizer, RMSprop
from torch.utils.data import DataLoader, TensorDataset

from tests.diagnosis.runs import (
    BENT,
    BINARY,
    FIT,
    GOOD,
    Bent,
    Case,
    Run,
    adam,
    blobs,
    cases,
    column,
    curve,
    in_batches,
    net,
    normalized,
    one_hot,
    sgd,
    shuffled_labels,
    with_inputs,
)
from torchmlp import MLP
from torchmlp.diagnosis import Report, diagnose
from torchmlp.diagnosis.rules.causes import CAUSES
from torchmlp.diagnosis.rules.parameters import UNTRAINABLE
from torchmlp.diagnosis.run.run import Batch, CannotDiagnoseError

CASES = cases()


# Causes.


def test_every_cause_has_a_run() -> None:
    """No cause can be named that no run here suffers from."""
    assert {case.cause for case in CASES} == {*CAUSES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_sick_run_names_its_cause(case: Case) -> None:
    """The cause is found, at its layer, before whatever else is."""
    report = case.sick.report()
    found = [(finding.cause, finding.layer) for finding in report.findings]
    assert not report.healthy
    assert (case.cause, case.layer) in found
    assert found[0][0] == case.cause or not case.is_first


@pytest.mark.parametrize("case", CASES, ids=str)
def test_its_twin_is_healthy(case: Case) -> None:
    """The same run without the cause has no finding."""
    report = case.twin.report()
    assert report.findings == []
    assert report.healthy


def softmax_with_guard(p: Tensor, y: Tensor) -> Tensor:
    """The negative logarithm of the probabilities, a little above 0."""
    return -(p.gather(1, y[:, None]) + 1e-7).log().mean()


class Functional(nn.Module):
    """No modules, only parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(2, 8))
        self.shift = nn.Parameter(torch.zeros(8))
        self.second = nn.Parameter(0.5 * torch.randn(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.first + self.shift) @ self.second


def zero_last() -> nn.Module:
    model = net(2, 16, 3)
    nn.init.zeros_(model[-1].weight)  # type: ignore[arg-type]
    return model


def zero_only() -> nn.Module:
    return net(2, 1, init=nn.init.zeros_)


def normalized_pixels() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(2), net(2, 8, 3))


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 1, 2)), nn.Conv2d(1, 8, (1, 2)), nn.ReLU(), nn.Flatten(), net(8, 3)
    )


def end(phi: Callable[[], nn.Module], outputs: int = 3) -> Callable[[], nn.Module]:
    return partial(net, 2, 8, outputs, end=phi)


def within(phi: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return partial(net, 2, 8, 8, 3, phi=phi)


HEALTHY: dict[str, Run] = {
    "guarded log of softmax": replace(
        GOOD, net=end(partial(nn.Softmax, dim=1)), loss=softmax_with_guard
    ),
    "NLLLoss of LogSoftmax": replace(
        GOOD, net=end(partial(nn.LogSoftmax, dim=1)), loss=nn.NLLLoss()
    ),
    "squared error of sigmoids": replace(
        BINARY, net=end(nn.Sigmoid, 1), loss=nn.MSELoss(), optim=sgd(1.0)
    ),
    "BCELoss of sigmoids": replace(BINARY, net=end(nn.Sigmoid, 1), loss=nn.BCELoss()),
    "one-hot targets": replace(GOOD, data=lambda: one_hot(blobs())),
    "BatchNorm on raw pixels": replace(
        GOOD,
        net=normalized_pixels,
        data=lambda: with_inputs(blobs(), lambda x: 255 * x),
    ),
    "last layer from zeros": replace(GOOD, net=zero_last),
    "logistic regression from zeros": replace(BINARY, net=zero_only),
    "one layer": replace(GOOD, net=partial(net, 2, 3)),
    "SELU": replace(GOOD, net=within(nn.SELU)),
    "GELU": replace(GOOD, net=within(nn.GELU)),
    "SiLU": replace(GOOD, net=within(nn.SiLU)),
    "tanh": replace(GOOD, net=within(nn.Tanh)),
    "leaky ReLU": replace(GOOD, net=within(nn.LeakyReLU)),
    "ELU, Adam": replace(GOOD, net=within(nn.ELU), optim=adam(0.02)),
    "dropout": replace(GOOD, net=lambda: MLP(2, [32], 3, dropout=0.2)),
    "float64": replace(
        GOOD,
        net=lambda: net(2, 8, 3).double(),
        data=lambda: with_inputs(blobs(), Tensor.double),
    ),
    "this package's loss": replace(GOOD, net=lambda: MLP(2, 16, 3), loss="cross_entropy"),
    "functional": replace(GOOD, net=Functional),
    "convolution": replace(GOOD, net=convolution),
    "regression": FIT,
    "no line": BENT,
}


@pytest.mark.parametrize("run", HEALTHY.values(), ids=HEALTHY)
def test_a_good_network_has_no_finding(run: Run) -> None:
    """What is uncommon and right is not blamed, whatever could be tried."""
    report = run.report(remedies=True)
    assert report.findings == []
    assert report.healthy


# Everything as it was.


def state_of(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """All that a run may change."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "identities": [id(p) for p in model.parameters()],
        "memory": [p.data_ptr() for p in model.parameters()],
        "values": [p.detach().clone() for p in model.parameters()],
        "trained": [p.requires_grad for p in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "buffers": [b.clone() for b in model.buffers()],
        "modes": [module.training for module in model.modules()],
        "hooks": [len(getattr(module, name)) for module in model.modules() for name in hooks],
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002  the global one is meant
        "python": random.getstate(),
    }


def is_same(a: Any, b: Any) -> bool:
    """Whether two of them are, number for number."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    return bool(a == b)


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What is not the same."""
    return [name for name in a if not is_same(a[name], b[name])]


class Alarm(nn.Module):
    """Raises where a batch's first number is 77, in training, for the `nth` time."""

    def __init__(self, model: nn.Module, error: BaseException, nth: int = 1) -> None:
        super().__init__()
        self.model, self.error, self.left = model, error, nth

    def forward(self, x: Tensor) -> Tensor:
        if self.training and float(x[0, 0]) == 77:
            self.left -= 1
            if not self.left:
                raise self.error
        output: Tensor = self.model(x)
        return output


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def partly_frozen() -> nn.Module:
    """One layer is not trained, and the normalisation stays in evaluation."""
    model = nn.Sequential(*batch_norm(), nn.BatchNorm1d(3))  # type: ignore[misc]
    model[0].requires_grad_(False)
    model[1].eval()
    return model


def begun(make: Callable[[], nn.Module], optim: Callable[..., Optimizer]) -> Any:
    """A model and an optimizer that have taken some steps already."""
    torch.manual_seed(0)
    model = make()
    optimizer = optim(model.parameters())
    x, y = blobs()

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    for _ in range(3):
        optimizer.step(closure)
    return model, optimizer


BEGUN: dict[str, Callable[[], tuple[nn.Module, Optimizer]]] = {
    "Sequential, SGD": lambda: begun(
        partial(net, 2, 8, 3), lambda p: SGD(p, 0.01, momentum=0.9, nesterov=True)
    ),
    "MLP with dropout, Adam": lambda: begun(
        lambda: MLP(2, [8], 3, dropout=0.3), lambda p: Adam(p, 0.01, amsgrad=True)
    ),
    "functional, LBFGS": lambda: begun(Functional, lambda p: LBFGS(p, 0.01, max_iter=2)),
    "BatchNorm, Adagrad": lambda: begun(batch_norm, lambda p: Adagrad(p, 0.01)),
    "partly frozen, RMSprop": lambda: begun(partly_frozen, lambda p: RMSprop(p, 0.001)),
}


def hopeless() -> list[Batch]:
    """Batches that nothing can be learned from, so that all is tried; the eighth is marked."""
    batches = in_batches(shuffled_labels(blobs(n=80)), 8)
    batches[7][0][0, 0] = 77.0
    return batches


@pytest.mark.parametrize("remedies", [True, False], ids=["tried", "looked at"])
@pytest.mark.parametrize("name", BEGUN)
def test_everything_is_left_as_it_was(name: str, remedies: bool) -> None:
    """Values, memory, gradients, buffers, modes, hooks, optimizer and generators."""
    model, optimizer = BEGUN[name]()
    before = state_of(model, optimizer)
    report = diagnose(
        model, nn.CrossEntropyLoss(), optimizer, hopeless(), steps=10, remedies=remedies
    )
    assert len(report.record.losses) == 10
    assert len(report.record.trials) > 3 or not remedies
    assert differences(before, state_of(model, optimizer)) == []


def test_the_comparison_sees_a_change() -> None:
    """One step of training shows in it, and so does one random number."""
    model, optimizer = BEGUN["BatchNorm, Adagrad"]()
    before = state_of(model, optimizer)
    F.cross_entropy(model(blobs()[0]), blobs()[1]).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    model.eval()
    torch.rand(1)
    changed = {"values", "gradients", "buffers", "modes", "optimizer", "torch"}
    assert {*differences(before, state_of(model, optimizer))} == changed


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LookupError("lost")], ids=repr)
@pytest.mark.parametrize("nth", [1, 3], ids=["in the run", "in a trial"])
@pytest.mark.parametrize("name", BEGUN)
def test_everything_is_left_as_it_was_by_a_run_that_is_broken_off(
    name: str, nth: int, error: BaseException
) -> None:
    """An interrupt at the eighth step, or an error of the model, goes through; nothing stays."""
    inner, optimizer = BEGUN[name]()
    model = Alarm(inner, error, nth).train(inner.training)
    before = state_of(model, optimizer)
    with pytest.raises(type(error)):
        diagnose(model, nn.CrossEntropyLoss(), optimizer, hopeless(), steps=10)
    assert differences(before, state_of(model, optimizer)) == []


@pytest.mark.parametrize("name", BEGUN)
def test_everything_is_left_as_it_was_by_a_loss_that_raises(name: str) -> None:
    """Wherever it does: at the start, in the run, while gradients are checked."""
    for last in (1, 4, 40):
        model, optimizer = BEGUN[name]()
        before = state_of(model, optimizer)
        left = iter(range(last))

        def loss(output: Tensor, target: Tensor, left: Iterator[int] = left) -> Tensor:
            if next(left, None) is None:
                raise RuntimeError("the loss has had enough")
            return F.cross_entropy(output, target)

        with suppress(RuntimeError, ValueError):
            diagnose(model, loss, optimizer, hopeless(), steps=10, remedies=False)
        assert differences(before, state_of(model, optimizer)) == []


@pytest.mark.parametrize("case", [c for c in CASES if not c.variant], ids=str)
def test_no_cause_is_planted_for_good(case: Case) -> None:
    """What is tried of a sick run is taken back: another dtype, weights, another optimizer."""
    model, optimizer = case.sick.made()
    before = state_of(model, optimizer)
    run = case.sick
    diagnose(
        model, run.loss, optimizer, run.data(), steps=8, batch_size=run.batch_size, remedies=True
    )
    assert differences(before, state_of(model, optimizer)) == []


# The same answer.


@pytest.mark.parametrize("name", BEGUN)
def test_the_same_answer_twice(name: str) -> None:
    """A second diagnosis of the same run says the same, number for number."""
    model, optimizer = BEGUN[name]()
    told = [
        diagnose(model, nn.CrossEntropyLoss(), optimizer, hopeless(), steps=4).to_json()
        for _ in range(2)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("sick", [False, True], ids=["healthy", "sick"])
def test_the_global_seed_does_not_matter(sick: bool) -> None:
    """Without dropout the answer is the same whatever numbers were drawn before."""
    told = []
    for seed in (1, 2):
        model, optimizer = replace(GOOD, optim=sgd(100.0 if sick else 0.3)).made()
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        report = diagnose(model, GOOD.loss, optimizer, blobs(), steps=20, batch_size=16)
        told.append(report.to_json())
    assert told[0] == told[1]


# Data.


def report_of(
    data: Any, *, steps: int = 30, batch_size: int | None = None, **changes: Any
) -> Report:
    run = replace(GOOD, **changes)
    model, optimizer = run.made()
    return diagnose(
        model, run.loss, optimizer, data, steps=steps, batch_size=batch_size, remedies=False
    )


def test_inputs_and_targets_are_drawn_in_batches() -> None:
    """Of the size asked for, in an order of their own, which is always the same."""
    reports = [report_of(blobs(), batch_size=24) for _ in range(2)]
    assert reports[0].record.design.batch_size == 24
    assert reports[0].record.losses == reports[1].record.losses
    assert len(reports[0].record.losses) == 30


def test_a_dataset_is_drawn_in_batches() -> None:
    """A TensorDataset, of the size asked for."""
    report = report_of(TensorDataset(*blobs()), batch_size=24)
    assert report.record.design.batch_size == 24
    assert len(report.record.losses) == 30
    assert report.healthy


KINDS: dict[str, Callable[[], Any]] = {
    "DataLoader": lambda: DataLoader(TensorDataset(*blobs()), 16),
    "tuple of batches": lambda: tuple(in_batches(blobs())),
    "generator": lambda: (batch for batch in in_batches(blobs()) * 2),
    "list of lists": lambda: [list(batch) for batch in in_batches(blobs())],
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_taken_as_they_come(kind: str) -> None:
    """Whatever holds them, a run on the same batches is the same run."""
    report, expected = report_of(KINDS[kind]()), report_of(in_batches(blobs()))
    assert report.healthy
    assert report.record.losses == expected.record.losses


def test_a_generator_is_read_no_further_than_needed() -> None:
    """As many batches as there are steps."""
    batches = iter(in_batches(blobs()))
    report_of(batches, steps=10)
    assert len([*batches]) == 5


# What cannot be diagnosed.


class Refusing(nn.Linear):
    """Does not look at what it is given."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        raise RuntimeError(f"no use for {tuple(input.shape)}")


@dataclass(frozen=True)
class Bad:
    """A call that is none, and what is said of it: what came, and what was expected."""

    run: Run
    came: str
    expected: str
    optimizer: Optimizer | None = None
    steps: int = 10
    batch_size: int | None = None


def given(data: Callable[[], Any], came: str, expected: str, **more: Any) -> Bad:
    return Bad(replace(GOOD, data=data), came, expected, **more)


def lost(loss: Any, came: str, expected: str) -> Bad:
    return Bad(replace(GOOD, loss=loss), came, expected)


X, Y = blobs()
BAD: dict[str, Bad] = {
    "no parameters": Bad(
        replace(GOOD, net=nn.ReLU),
        "the model, ReLU, has no parameters",
        "nothing to train",
        SGD([nn.Parameter(torch.zeros(1))], 0.1),
    ),
    "a loss without a value": lost(lambda _z, _y: None, "loss returned NoneType", "scalar tensor"),
    "a loss that is a float": lost(
        lambda z, y: F.cross_entropy(z, y).item(), "loss returned float", "scalar tensor"
    ),
    "a loss for each sample": lost(
        nn.CrossEntropyLoss(reduction="none"), r"shape \(32,\)", "expected a scalar"
    ),
    "an unknown loss": lost("hinge", "hinge", "cross_entropy"),
    "a loss for other shapes": lost(
        nn.MSELoss(),
        r"output of shape \(32, 3\), a target of shape \(32,\)",
        "raised",
    ),
    "an output that is no tensor": Bad(
        replace(GOOD, net=partial(nn.LSTM, 2, 3)), "the model returned tuple", "expected a tensor"
    ),
    "inputs of another shape": given(
        lambda: (torch.ones(64, 5), Y[:64]), r"shape \(32, 5\)", "raised"
    ),
    "a model that raises": Bad(
        replace(GOOD, net=partial(Refusing, 2, 3)),
        r"no use for \(32, 2\)",
        "the model raised RuntimeError",
    ),
    "data that run out": given(
        lambda: (batch for batch in in_batches(blobs())[:3]),
        "ran out after 3 batches",
        "expected 10",
    ),
    "no samples": given(lambda: (X[:0], Y[:0]), "got none", "at least one batch"),
    "no batches": given(list, "got none", "at least one batch"),
    "an empty generator": given(lambda: iter(()), "got none", "at least one batch"),
    "an empty DataLoader": given(
        lambda: DataLoader(TensorDataset(X[:0], Y[:0])), "got none", "at least one batch"
    ),
    "nothing": given(lambda: None, "got NoneType", r"\(inputs, targets\)"),
    "a number": given(lambda: 3, "got int", r"\(inputs, targets\)"),
    "batches of one": given(lambda: [(X,)], "got tuple of Tensor", "input, target"),
    "batches of words": given(lambda: [(X, "a", Y)], "got tuple of Tensor, str", "input, target"),
    "a dataset of single tensors": given(
        lambda: TensorDataset(X), "got list of Tensor", "input, target"
    ),
    "batches without a target": given(
        lambda: [{"x": X, "z": Y}], "got dict of x, z", "labels, label, target"
    ),
    "batches of a target": given(lambda: [{"y": Y}], "got dict of y", "with inputs and a target"),
    "unequal lengths": given(lambda: (X, Y[:-1]), "240 inputs and 239 targets", "as many targets"),
    "a batch of unequal lengths": given(
        lambda: [(X, Y[:-1])], r"\(240, 2\) and \(239,\)", "as many targets"
    ),
    "no steps": Bad(GOOD, "steps: .*got 0", "expected at least 1", steps=0),
    "fewer than no steps": Bad(GOOD, "steps: .*got -3", "expected at least 1", steps=-3),
    "batches of none": Bad(GOOD, "batch_size: .*got 0", "expected at least 1", batch_size=0),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_diagnosed_is_said_in_one_error(name: str) -> None:
    """A ValueError with what came and what was expected; and nothing is changed."""
    bad = BAD[name]
    torch.manual_seed(0)
    model = bad.run.net()
    optimizer = bad.optimizer or SGD(model.parameters(), 0.1)
    before = state_of(model, optimizer)
    with pytest.raises(CannotDiagnoseError, match=bad.came) as raised:
        diagnose(
            model,
            bad.run.loss,
            optimizer,
            bad.run.data(),
            steps=bad.steps,
            batch_size=bad.batch_size,
        )
    assert isinstance(raised.value, ValueError)
    assert raised.match(bad.expected)
    assert "\n" not in str(raised.value)
    assert differences(before, state_of(model, optimizer)) == []


def test_an_error_of_the_loss_that_has_a_cause_is_a_finding() -> None:
    """A label that no output belongs to makes torch raise, and is named instead."""
    report = report_of((X, Y + 1))
    assert [finding.cause for finding in report.findings] == ["target-out-of-range"]
    assert report.record.losses == []


# What is measured.


def test_the_run_is_the_run_that_the_user_would_have_had() -> None:
    """The record's losses are those of the plain loop from the same start."""
    model, optimizer = FIT.made()
    batches = in_batches(curve())
    report = diagnose(model, FIT.loss, optimizer, batches, steps=20, remedies=False)
    losses = []
    for step in range(20):
        x, y = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        optimizer.step()
    assert report.record.losses == losses


@pytest.mark.parametrize(
    "name",
    [str(case) for case in CASES if case.cause in UNTRAINABLE and not case.sick.remedies],
)
def test_what_cannot_be_trained_is_known_before_the_first_step(name: str) -> None:
    """Nothing is trained or tried, and the remedy is told with its code where there is one."""
    (case,) = (case for case in CASES if str(case) == name)
    report = case.sick.report(remedies=True)
    assert report.record.losses == []
    assert report.record.trials == []
    assert report.findings[0].certain
    assert len(report.findings) == 1


@pytest.mark.parametrize("name", ["a head", "teacher", "statistics"])
def test_what_is_left_out_on_purpose_is_no_finding(name: str) -> None:
    """A trained head on a frozen body, a teacher in a list, statistics that stay."""
    torch.manual_seed(0)
    model = normalized()
    if name == "a head":
        model[0].requires_grad_(False)  # type: ignore[index]  # a Sequential
    elif name == "statistics":
        model[1].eval()  # type: ignore[index]  # a Sequential
    else:
        model = Taught()
    trained = [p for p in model.parameters() if p.requires_grad]
    report = diagnose(model, GOOD.loss, SGD(trained, 0.3), blobs(), steps=60, remedies=False)
    assert report.findings == []


class Taught(nn.Module):
    """Looks at a teacher that is nobody's part, and learns nothing from it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.teacher = net(2, 8, 3), [net(2, 8, 3)]

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            taught = self.teacher[0](x)
        output: Tensor = self.net(x) + 0 * taught
        return output


def test_remedies_are_tried_only_when_asked_for() -> None:
    """Without them the record holds no run but the untouched one."""
    sick = replace(GOOD, net=partial(net, 2, 8, 3, bias=-20.0), steps=20)
    assert [t.name for t in sick.report(remedies=False).record.trials] == ["untouched"]
    assert len(sick.report(remedies=True).record.trials) > 1


def test_a_bent_module_is_no_obstacle() -> None:
    """An activation that is written out counts as one."""
    report = replace(
        BINARY, net=partial(net, 2, 8, 1, phi=partial(Bent, lambda z: z.clamp_min(0.0)))
    ).report()
    assert report.record.layers[0].activation == "own"
    assert report.healthy


def test_a_column_of_labels_is_scored_as_labels() -> None:
    """Labels 0 and 1 as floats are classes, and the score an accuracy."""
    record = report_of(column(blobs(2)), net=partial(net, 2, 1), loss=BINARY.loss).record
    assert record.targets is not None
    assert record.targets.kind == "classes"
    assert record.score is not None
    assert 0.9 < record.score <= 1
