"""Trials side by side are the trials one by one, to rounding."""

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own spelling
from torch.optim import SGD

from tests.diagnosis.remedies.test_trial import STEPS, Bench, bench
from tests.diagnosis.runs import (
    BENT,
    BINARY,
    FIT,
    GOOD,
    Bent,
    Run,
    TanhAscending,
    adam,
    blobs,
    by_hand,
    curve,
    in_batches,
    naive_cross_entropy,
    naive_sigmoid,
    net,
    one_nan,
    rare,
    sgd,
    turning,
    with_inputs,
    with_targets,
)
from tests.diagnosis.test_diagnose import Functional, batch_norm, differences, state_of
from torchmlp import MLP
from torchmlp.diagnosis.measure.data_statistics import gathered
from torchmlp.diagnosis.measure.scoring import scoring_of
from torchmlp.diagnosis.record.record import Trial
from torchmlp.diagnosis.remedies import batched_trials as together
from torchmlp.diagnosis.remedies import search
from torchmlp.diagnosis.remedies.catalogue import Change
from torchmlp.diagnosis.remedies.trial import attempt
from torchmlp.diagnosis.run.run import Batch, TrainingRun, TrainingStepRun
from torchmlp.diagnosis.run.snapshot import Snapshot

CHANGES = [
    Change("none", ("a cause",)),
    Change("lower rate", (), lr_factor=0.1),
    Change("higher rate", (), lr_factor=1.5),
    Change("momentum", (), momentum=0.5),
    Change("anew", (), init=True),
    Change("anew at a lower rate", (), init=True, lr_factor=0.5),
    Change("decay", (), decay=True),
    Change("longer", (), longer=2),
    Change("inputs", (), inputs=True),
    Change("inputs and decay", (), inputs=True, decay=True, lr_factor=0.5),
    Change("ReLU", (), activation="relu", init=True),
    Change("shuffled", (), shuffled=True),
    Change("finite", (), only_finite=True),
    Change("head", (), stable_head=True),
    Change("standardised", (), targets="standardized"),
    Change("from 0", (), targets="from 0"),
    Change("balanced", (), balanced=True),
    Change("Adam", (), adam=True),
    Change("guarded", (), guarded=True),
]
ALL = {change.name for change in CHANGES}


def asked(run: Bench, changes: list[Change], steps: int = STEPS) -> tuple[Any, ...]:
    """What `attempt_all` is asked."""
    samples = gathered(run.subject.batches)
    assert run.record.targets is not None
    scoring = scoring_of(run.record.targets, run.record.design)
    return changes, run.subject, run.start, run.record, samples, scoring, steps


@pytest.fixture
def attempted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the changes that autograd has tried, as they come."""
    names: list[str] = []

    def noted(change: Change, *given: Any) -> Trial | None:
        names.append(change.name)
        return attempt(change, *given)

    monkeypatch.setattr(together, "attempt", noted)
    return names


def compare(run: Bench, changes: list[Change] = CHANGES, steps: int = STEPS) -> None:
    """Every trial with `attempt`'s."""
    given = asked(run, changes, steps)
    for change, trial in zip(changes, together.attempt_all(*given), strict=True):
        expected = attempt(change, *given[1:])
        assert (trial is None) == (expected is None), change.name
        if trial is None or expected is None:
            continue
        assert len(trial.losses) == len(expected.losses), change.name
        torch.testing.assert_close(
            torch.tensor([*trial.losses, trial.score]),
            torch.tensor([*expected.losses, expected.score]),
            rtol=1e-5,
            atol=1e-7,
            equal_nan=True,
            msg=partial("{}: {}".format, change.name),
        )
        assert replace(trial, losses=[], score=0.0) == replace(expected, losses=[], score=0.0)


def images(data: Batch, dtype: torch.dtype = torch.uint8) -> Batch:
    """The points as images of two pixels."""
    x = data[0]
    pixels = 255 * (x - x.min()) / (x.max() - x.min())
    return pixels.to(dtype)[:, None, None], data[1]


class Pixels(nn.Module):
    """A network behind what makes rows of images."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = MLP(2, [8], 3, "tanh")

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.mlp(x.flatten(1) / 255)
        return output


def in_float64(run: Run) -> Run:
    """The same with more digits, in which a rate may be high and nothing is chaotic yet."""

    def data() -> Batch:
        x, y = run.data()
        return x.double(), y.double() if y.is_floating_point() else y

    return replace(run, net=lambda: run.net().double(), data=data)


class Weighted(nn.Module):
    """A linear layer's weight, from numbers that are trained in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net(2, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        first, phi, last = self.body
        assert isinstance(first, nn.Linear)
        output: Tensor = last(phi(F.linear(x, 2 * first.weight, first.bias)))
        return output


def hooked() -> nn.Module:
    """A network whose first gradient is clipped by a hook where it is large, which it is not."""
    model = net(2, 8, 3)
    first = next(model.parameters())
    first.register_hook(lambda gradient: gradient.clamp(-1e3, 1e3))  # type: ignore[no-untyped-call]
    return model


def watched() -> nn.Module:
    """A network one of whose modules may have another word about its gradient."""
    model = net(2, 8, 3)
    model[1].register_full_backward_hook(lambda *_: None)
    return model


def frozen() -> nn.Module:
    """A network whose first layer is not trained."""
    model = net(2, 8, 3)
    model[0].requires_grad_(False)
    return model


def by_layer(parameters: Iterable[nn.Parameter]) -> SGD:
    """A rate for each layer."""
    weights = list(parameters)
    groups: list[dict[str, Any]] = [{"params": weights[:2], "lr": 0.1}, {"params": weights[2:]}]
    return SGD(groups, 0.3)


def rare_first() -> list[Batch]:
    """Batches of two classes; the first has only one, whose weight makes no difference to it."""
    x, y = rare()
    return in_batches((x, y), is_sorted=True)


# Runs whose first batch may look plain, and which are not.
STRANGE: dict[str, Run] = {
    "dropout": replace(GOOD, net=lambda: MLP(2, [8], 3, dropout=0.3)),
    "BatchNorm": replace(GOOD, net=batch_norm),
    "no biases": replace(GOOD, net=lambda: MLP(2, [8], 3, bias=False)),
    "weights of another layout": replace(GOOD, net=Functional),
    "weights that are doubled": replace(GOOD, net=Weighted),
    "a derivative by hand": replace(GOOD, net=partial(net, 2, 8, 3, phi=by_hand(TanhAscending))),
    "an activation written out": replace(
        GOOD, net=partial(net, 2, 8, 3, phi=partial(Bent, naive_sigmoid))
    ),
    "an edge that is far off": replace(
        GOOD, net=partial(net, 2, 8, 3, phi=partial(nn.Hardtanh, -50.0, 50.0))
    ),
    "outputs cut where they are not yet": replace(
        GOOD, net=partial(net, 2, 8, 3, end=partial(Bent, lambda z: z.clamp(-50, 50)))
    ),
    "inputs cut where they are not yet": replace(
        GOOD, net=lambda: nn.Sequential(Bent(lambda x: x.clamp(-50, 50)), net(2, 8, 3))
    ),
    "two activations": replace(
        GOOD, net=lambda: nn.Sequential(net(2, 8, 8), nn.ReLU(), net(8, 8, 3, phi=nn.Tanh))
    ),
    "a parameter's hook": replace(GOOD, net=hooked),
    "a module's hook": replace(GOOD, net=watched),
    "a frozen layer": replace(GOOD, net=frozen),
    "Adam": replace(GOOD, optim=adam(0.01)),
    "an optimizer that turns": replace(GOOD, optim=turning(0.5)),
    "rates by layer": replace(GOOD, optim=by_layer),
    "dampening": replace(GOOD, optim=lambda p: SGD(p, 0.1, 0.9, dampening=0.5)),
    "ascent": replace(GOOD, optim=lambda p: SGD(p, 1e-3, maximize=True)),
    "a loss that will overflow": replace(GOOD, loss=naive_cross_entropy),
    "smoothed labels": replace(GOOD, loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
    "weighted classes": replace(
        GOOD,
        net=partial(net, 2, 8, 2),
        loss=nn.CrossEntropyLoss(torch.tensor([1.0, 20.0])),
        data=rare_first,
        batch_size=None,
    ),
    "16 bits": replace(
        GOOD, net=lambda: net(2, 8, 3).half(), data=lambda: with_inputs(blobs(), Tensor.half)
    ),
}
MENDED = {  # after which nothing is strange
    "outputs cut where they are not yet": {"head"},
    "a loss that will overflow": {"head"},
    "smoothed labels": {"head"},
    "weighted classes": {"head"},
    "two activations": {"ReLU"},
}


# Runs, and which changes of them only autograd makes.
ODD = {"balanced", "Adam"}
FLAT = {*ODD, "momentum"}  # without momentum, which nobody can lower then
PLAIN: dict[str, tuple[Run, set[str]]] = {
    "healthy": (GOOD, FLAT | {"standardised"}),
    "an MLP, momentum": (
        replace(GOOD, net=lambda: MLP(2, [8, 8], 3), optim=sgd(0.05, 0.9)),
        ODD | {"standardised"},
    ),
    "Nesterov and decay": (
        replace(GOOD, optim=lambda p: SGD(p, 0.05, 0.9, nesterov=True, weight_decay=0.1)),
        ODD | {"standardised"},
    ),
    "squared errors' mean": (
        in_float64(
            replace(
                FIT,
                net=partial(net, 2, 8, 3, phi=nn.Tanh),
                data=lambda: with_targets(curve(), lambda y: y * torch.tensor([1.0, 2.0, -1.0])),
                optim=lambda p: SGD(p, 0.05, 0.5, weight_decay=0.1),
            )
        ),
        ODD | {"head"},
    ),
    "two classes in one unit": (BINARY, FLAT | {"head"}),
    "sigmoids that are saturated": (
        replace(GOOD, net=partial(net, 2, 8, 3, phi=nn.Sigmoid, bias=8.0)),
        FLAT | {"standardised"},
    ),
    "a rate too high": (in_float64(replace(GOOD, optim=sgd(20.0))), FLAT | {"standardised"}),
    "inputs of hundreds": (
        in_float64(replace(GOOD, data=lambda: with_inputs(blobs(), lambda x: 300 * x))),
        FLAT | {"standardised"},
    ),
    "no hidden layer": (replace(GOOD, net=partial(net, 2, 3)), FLAT | {"standardised"}),
    "an activation without C++": (
        replace(GOOD, net=partial(net, 2, 8, 3, phi=nn.SiLU)),
        FLAT | {"standardised"},
    ),
    "images": (
        replace(GOOD, net=Pixels, data=lambda: images(blobs())),
        FLAT | {"standardised", "inputs", "inputs and decay"},
    ),
    "Flatten": (
        replace(
            GOOD,
            net=lambda: nn.Sequential(nn.Flatten(), net(2, 8, 3)),
            data=lambda: images(blobs(), torch.float32),
            optim=sgd(1e-5),
        ),
        FLAT | {"standardised"},
    ),
    "batches of several sizes": (
        replace(GOOD, data=lambda: in_batches(blobs(), 19), batch_size=None),
        FLAT | {"standardised"},
    ),
    "its own loss by name": (replace(GOOD, loss="cross_entropy"), FLAT | {"standardised"}),
    "log-softmax by torch": (
        replace(GOOD, loss=lambda z, y: F.nll_loss(F.log_softmax(z, 1), y)),
        FLAT | {"standardised"},
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_run_is_tried_side_by_side(name: str, attempted: list[str]) -> None:
    """Loss by loss and in its score the trial is `attempt`'s; few changes need autograd."""
    run, odd = PLAIN[name]
    compare(bench(run))
    assert {*attempted} == odd


@pytest.mark.parametrize("name", STRANGE)
def test_others_are_tried_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a Population does not do, or would do otherwise later in the run."""
    names: set[str] = set()
    monkeypatch.setattr(together, "attempt", lambda change, *_: names.add(change.name))
    together.attempt_all(*asked(bench(STRANGE[name]), CHANGES))
    assert names == ALL - MENDED.get(name, set())


def test_a_large_network_is_tried_by_itself(
    monkeypatch: pytest.MonkeyPatch, attempted: list[str]
) -> None:
    """Many of them would take memory."""
    run = bench(GOOD)
    size = sum(p.numel() for p in run.subject.model.parameters())
    for most, names in ((size, []), (size - 1, ["none"])):
        monkeypatch.setattr(together, "MOST_PARAMETERS", most)
        compare(run, CHANGES[:1])
        assert attempted == names


def test_momentum_from_before_is_left_to_the_optimizer(attempted: list[str]) -> None:
    """A run that goes on starts with velocities."""
    subject = replace(GOOD, optim=sgd(0.05, 0.9)).subject()
    subject.forward(subject.batch(0))[1].backward()  # type: ignore[no-untyped-call]
    subject.optimizer.step()
    start = Snapshot(subject.model, subject.optimizer)
    run = replace(bench(GOOD), subject=subject, start=start)
    compare(run, CHANGES[:2])
    assert attempted == ["none", "lower rate"]


def test_a_training_step_is_left_whole(attempted: list[str]) -> None:
    """What it does at a later step nobody knows."""
    plain = bench(GOOD)
    model, optimizer = plain.subject.model, plain.subject.optimizer
    subject = TrainingStepRun(
        model, lambda b: F.cross_entropy(model(b[0]), b[1]), optimizer, plain.subject.batches
    )
    run = replace(plain, subject=subject, start=Snapshot(model, optimizer))
    compare(run, CHANGES[:2])
    assert attempted == ["none", "lower rate"]


def test_a_schedule_is_run_through() -> None:
    """The run's own rate at every step, and beside it the one that decays."""
    run = bench(GOOD)
    plain = run.subject
    subject = TrainingRun(
        plain.model, plain.loss, plain.optimizer, plain.batches, lambda k, n: (1 + k) / n
    )
    compare(replace(run, subject=subject))


def test_without_a_compiler_the_trials_are_the_same(
    monkeypatch: pytest.MonkeyPatch, attempted: list[str]
) -> None:
    """By torch's batched products."""
    monkeypatch.setenv("TORCHMLP_NATIVE", "0")
    compare(bench(GOOD))
    assert {*attempted} == FLAT | {"standardised"}


@pytest.mark.parametrize(
    "run",
    [
        replace(GOOD, optim=sgd(1e6), data=lambda: with_inputs(blobs(), lambda x: 1e4 * x)),
        replace(FIT, optim=sgd(50.0)),
        replace(GOOD, data=lambda: with_inputs(blobs(), one_nan)),
        replace(FIT, data=lambda: with_targets(curve(), one_nan)),
    ],
    ids=["classes", "numbers", "nan inputs", "nan targets"],
)
def test_a_run_that_breaks_is_attempts_to_the_last_bit(run: Run, attempted: list[str]) -> None:
    """Neighbours that do not are not disturbed."""
    case = bench(run)
    given = asked(case, [c for c in CHANGES if c.name != "Adam"])
    trials = together.attempt_all(*given)
    broken = [trial for trial in trials if trial and not math.isfinite(trial.losses[-1])]
    assert broken
    assert {trial.name for trial in broken} <= {*attempted}
    for trial in broken:
        expected = attempt(next(c for c in CHANGES if c.name == trial.name), *given[1:])
        assert expected is not None
        torch.testing.assert_close(
            torch.tensor([*trial.losses, trial.score]),
            torch.tensor([*expected.losses, expected.score]),
            rtol=0,
            atol=0,
            equal_nan=True,
        )


def test_a_gradient_that_breaks_in_the_last_step(attempted: list[str]) -> None:
    """No loss tells of it, but weights that are not finite do."""

    def data() -> list[Batch]:
        x, y = curve()
        x[:16], x[16:] = 0.0, 1e30 * x[16:]
        return in_batches((x, y))

    small = partial(net, 2, 1, init=partial(nn.init.normal_, std=1e-15))
    run = bench(replace(FIT, net=small, data=data, batch_size=None))
    compare(run, CHANGES[:1], steps=1)
    assert not attempted
    compare(run, CHANGES[:1], steps=2)
    assert attempted


def test_a_label_of_no_class_in_a_later_batch(attempted: list[str]) -> None:
    """torch's loss may leave it out: the trials are as `attempt` has them."""

    def data() -> list[Batch]:
        x, y = blobs()
        y[200:] = -100
        return in_batches((x, y))

    run = bench(replace(GOOD, data=data, batch_size=None))
    compare(run, CHANGES[:3])
    assert {*attempted} == {change.name for change in CHANGES[:3]}


@pytest.mark.parametrize("name", ["healthy", "an MLP, momentum", "images"])
def test_the_subject_is_left_as_it_was(name: str) -> None:
    """Whatever has been tried."""
    run = bench(PLAIN[name][0])
    before = state_of(run.subject.model, run.subject.optimizer)
    together.attempt_all(*asked(run, CHANGES))
    changed = differences(before, state_of(run.subject.model, run.subject.optimizer))
    assert {*changed} <= {"python"}  # from which the checker of types draws what it looks at


def outline(run: Run) -> list[Any]:
    """Causes found, and what was tried for how long."""
    report = run.report(remedies=True)
    trials = [(t.name, t.causes, t.steps, t.code) for t in report.record.trials]
    return [[f.cause for f in report.findings], trials]


@pytest.mark.parametrize("work", [7e10, 4e8])
@pytest.mark.parametrize(
    "run",
    [
        GOOD,
        replace(GOOD, optim=sgd(1e-4)),
        replace(GOOD, net=partial(net, 2, 8, 3, phi=nn.Sigmoid, bias=30.0)),
        replace(FIT, data=lambda: with_inputs(curve(), lambda x: 300 * x)),
        replace(BENT, optim=sgd(0.01, 0.9)),
    ],
    ids=["healthy", "low rate", "saturated", "large inputs", "momentum"],
)
def test_the_same_is_tried_in_the_same_order(
    run: Run, work: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many train at once, and wherever the work allowed ends."""
    monkeypatch.setattr(search, "WORK_OF_ALL", work)
    found = outline(run)
    monkeypatch.setattr(
        search, "attempt_all", lambda changes, *how: [attempt(c, *how) for c in changes]
    )
    assert found == outline(run)


def test_nothing_is_trained_ahead_that_the_work_does_not_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is trained is what is written down."""
    trained: list[Change] = []

    def noted(changes: list[Change], *how: Any) -> list[Trial | None]:
        trained.extend(changes)
        return together.attempt_all(changes, *how)

    monkeypatch.setattr(search, "attempt_all", noted)
    for work in (7e10, 1e9, 4e8):
        trained.clear()
        monkeypatch.setattr(search, "WORK_OF_ALL", work)
        report = replace(GOOD, optim=sgd(1e-4)).report(remedies=True)
        tried = {trial.name for trial in report.record.trials[1:]}
        assert {change.name for change in trained} == tried
