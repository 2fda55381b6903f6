"""A trial is the run itself, from its own start, with something changed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import LBFGS

from tests.diagnosis.runs import (
    BENT,
    BINARY,
    FIT,
    GOOD,
    Bent,
    Run,
    Tanh,
    TanhAscending,
    adam,
    blobs,
    by_hand,
    curve,
    naive_cross_entropy,
    net,
    one_nan,
    sgd,
    turning,
    with_inputs,
    with_targets,
)
from tests.diagnosis.test_diagnose import Functional, batch_norm, differences, state_of
from torchmlp import MLP
from torchmlp.diagnosis.diagnose import measure_run
from torchmlp.diagnosis.measure.data_statistics import gathered
from torchmlp.diagnosis.measure.scoring import scoring_of
from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.remedies.catalogue import Change
from torchmlp.diagnosis.remedies.modified_run import stable_loss
from torchmlp.diagnosis.remedies.trial import attempt
from torchmlp.diagnosis.run.run import Batch, TrainingRun
from torchmlp.diagnosis.run.snapshot import Snapshot

STEPS = 25


@dataclass(frozen=True)
class Bench:
    """A run, measured, from whose start changes are tried."""

    subject: TrainingRun
    start: Snapshot
    record: Record

    def tried(self, **change: Any) -> Trial | None:
        samples = gathered(self.subject.batches)
        assert self.record.targets is not None
        scoring = scoring_of(self.record.targets, self.record.design)
        return attempt(
            Change("changed", ("a cause",), **change),
            self.subject,
            self.start,
            self.record,
            samples,
            scoring,
            STEPS,
        )

    def helped(self, **change: Any) -> Trial:
        trial = self.tried(**change)
        assert trial is not None
        return trial

    @property
    def untouched(self) -> Trial:
        return self.record.trials[0]


def bench(run: Run) -> Bench:
    """The run, measured for some steps and brought back."""
    subject = run.subject()
    start = Snapshot(subject.model, subject.optimizer)
    record = measure_run(subject, start, STEPS)
    start.restore()
    return Bench(subject, start, record)


RUNS: dict[str, Run] = {
    "Sequential": GOOD,
    "MLP with dropout": replace(GOOD, net=lambda: MLP(2, [8, 8], 3, dropout=0.3)),
    "functional, Adam": replace(GOOD, net=Functional, optim=adam(0.03)),
    "BatchNorm, momentum": replace(GOOD, net=batch_norm, optim=sgd(0.03, 0.9)),
    "LBFGS": replace(GOOD, optim=lambda p: LBFGS(p, 0.1, max_iter=3)),
    "regression": FIT,
    "an optimizer that counts": replace(FIT, optim=turning(0.5)),
}


@pytest.mark.parametrize("name", RUNS)
def test_no_change_is_the_untouched_run(name: str) -> None:
    """Loss by loss and in its score, to the last bit, however often."""
    run = bench(RUNS[name])
    for _ in range(2):
        trial = run.helped()
        assert len(trial.losses) == STEPS
        assert trial.losses == run.untouched.losses
        assert trial.score == run.untouched.score


CHANGES: dict[str, dict[str, Any]] = {
    "init": {"init": True},
    "activation": {"activation": "relu"},
    "head": {"stable_head": True},
    "rate": {"lr_factor": 0.1},
    "momentum": {"momentum": 0.5},
    "decay": {"decay": True},
    "inputs": {"inputs": True},
    "finite": {"only_finite": True},
    "float32": {"float32": True},
    "balanced": {"balanced": True},
    "longer": {"longer": 2},
    "Adam": {"adam": True},
    "autograd": {"autograd": True},
    "shuffled": {"shuffled": True},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["MLP with dropout", "BatchNorm, momentum", "functional, Adam"])
def test_a_trial_is_taken_back(name: str, change: str) -> None:
    """Every change, of every kind of network: the subject is as it was at the start."""
    run = bench(RUNS[name])
    before = state_of(run.subject.model, run.subject.optimizer)
    trial = run.tried(**CHANGES[change])
    assert trial is None or trial.causes == ["a cause"]
    changed = differences(before, state_of(run.subject.model, run.subject.optimizer))
    assert {*changed} <= {"python"}  # from which the checker of types draws what it looks at
    assert run.helped().losses == run.untouched.losses


@pytest.mark.parametrize(
    "change", ["rate", "init", "decay", "inputs", "balanced", "Adam", "shuffled"]
)
def test_a_change_changes_something(change: str) -> None:
    """Its losses are others than the run's."""
    run = bench(RUNS["MLP with dropout"])
    assert run.helped(**CHANGES[change]).losses != run.untouched.losses


def test_autograd_mends_a_wrong_backward_pass() -> None:
    """A Function's forward pass is kept, its derivative is autograd's: as with the right one."""
    wrong = replace(BENT, net=partial(net, 2, 16, 2, phi=by_hand(TanhAscending)))
    right = replace(BENT, net=partial(net, 2, 16, 2, phi=by_hand(Tanh)))
    run = bench(wrong)
    trial, expected = run.helped(autograd=True), bench(right).untouched
    torch.testing.assert_close(trial.losses, expected.losses)
    assert trial.losses[0] == run.untouched.losses[0]
    assert trial.losses[-1] < run.untouched.losses[-1]


def test_the_function_is_afterwards_itself() -> None:
    """Wrong as before: its owner has to mend it."""
    run = bench(replace(GOOD, net=partial(net, 2, 8, 3, phi=by_hand(TanhAscending))))
    run.helped(autograd=True)
    z = torch.zeros(1, requires_grad=True)
    TanhAscending.apply(z).backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert float(z.grad) == -1
    assert "apply" not in vars(TanhAscending)


def test_autograd_mends_a_cut() -> None:
    """A detached layer gets its gradient."""
    cut = replace(
        BENT, net=lambda: nn.Sequential(net(2, 16, 16), Bent(Tensor.detach), nn.ReLU(), net(16, 2))
    )
    whole = replace(BENT, net=lambda: nn.Sequential(net(2, 16, 16), nn.ReLU(), net(16, 2)))
    torch.testing.assert_close(
        bench(cut).helped(autograd=True).losses, bench(whole).untouched.losses
    )


def test_the_stable_loss_saves_a_softmax_that_overflows() -> None:
    """On the last layer's own values, whatever stands after them."""
    run = bench(
        replace(
            GOOD,
            net=partial(net, 2, 8, 3, end=lambda: Bent(lambda z: 300 * z)),
            loss=naive_cross_entropy,
        )
    )
    assert run.record.nonfinite
    trial = run.helped(stable_head=True)
    assert trial.losses == bench(GOOD).untouched.losses
    assert trial.score > 0.9


def test_normalised_inputs_are_those_of_the_twin() -> None:
    """Shift and scale of the data make no difference to it."""

    def scaled(scale: float) -> Batch:
        x, y = curve()
        return scale * x, y

    plain, shifted = (
        bench(replace(FIT, data=partial(scaled, scale))).helped(inputs=True)
        for scale in (1.0, 16.0)
    )
    torch.testing.assert_close(plain.losses, shifted.losses, rtol=1e-4, atol=1e-6)


def test_lost_samples_are_left_out() -> None:
    """The run goes on without them."""
    run = bench(replace(GOOD, data=lambda: with_inputs(blobs(), one_nan)))
    trial = run.helped(only_finite=True)
    assert all(map(math.isfinite, trial.losses))
    assert trial.score > 0.9


def test_labels_may_be_counted_from_0() -> None:
    """As in the twin."""
    run = bench(replace(GOOD, data=lambda: with_targets(blobs(), lambda y: y + 1)))
    assert run.helped(targets="from 0").losses == bench(GOOD).untouched.losses


def test_a_new_activation_is_the_twins() -> None:
    """ReLU in place of none, or of another, is a network with ReLU."""
    expected = bench(BENT).untouched.losses
    for phi in (nn.Identity, nn.Tanh, lambda: Bent(lambda z: z.exp() / (1 + z.exp()))):
        run = bench(replace(BENT, net=partial(net, 2, 16, 2, phi=phi)))
        torch.testing.assert_close(run.helped(activation="relu").losses, expected)


def test_16_bits_become_32() -> None:
    """Parameters and data; afterwards they are 16 again."""
    run = bench(
        replace(
            GOOD, net=lambda: net(2, 8, 3).half(), data=lambda: with_inputs(blobs(), Tensor.half)
        )
    )
    assert run.helped(float32=True).score > 0.9
    assert {p.dtype for p in run.subject.model.parameters()} == {torch.float16}


def test_a_factor_of_the_rate_is_the_rate() -> None:
    """A tenth of it is the run at a tenth."""
    tenth = bench(replace(GOOD, optim=sgd(0.25))).untouched
    assert bench(replace(GOOD, optim=sgd(2.5))).helped(lr_factor=0.1).losses == tenth.losses


def test_momentum_cannot_be_given_to_who_has_none() -> None:
    """The change cannot be made, and no trial is made of it."""
    assert bench(GOOD).tried(momentum=0.5) is None
    assert bench(replace(GOOD, optim=sgd(0.3, 0.99))).tried(momentum=0.5) is not None


LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3


@pytest.mark.parametrize(
    ("logits", "target", "expected"),
    [
        (LOGITS, LABELS, F.cross_entropy),
        (LOGITS, torch.eye(3)[LABELS], lambda z, _y: F.cross_entropy(z, LABELS)),
        (LOGITS[:, :1], (LABELS % 2).float()[:, None], F.binary_cross_entropy_with_logits),
        (
            LOGITS[:, :1],
            2.0 * (LABELS % 2) - 1,
            lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], (y + 1) / 2),
        ),
        (LOGITS, (LOGITS > 0).float(), F.binary_cross_entropy_with_logits),
        (LOGITS, 0.3 * LOGITS, F.mse_loss),
        (LOGITS[:, :1], LOGITS[:, 0] / 2, lambda z, y: F.mse_loss(z[:, 0], y)),
    ],
)
def test_the_stable_loss_is_torchs_for_the_targets(
    logits: Tensor, target: Tensor, expected: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Indices, rows, 0/1, -1/1, several labels, numbers; a lone column and its row do not mix."""
    torch.testing.assert_close(stable_loss(logits, target), expected(logits, target))


def test_classes_can_be_weighted() -> None:
    """As torch's own loss weights them."""
    weight = torch.tensor([1.0, 2.0, 5.0])
    torch.testing.assert_close(
        stable_loss(LOGITS, LABELS, weight), F.cross_entropy(LOGITS, LABELS, weight)
    )


def test_a_trial_tells_what_to_do() -> None:
    """In Python, and as a configuration where there is one."""
    trial = bench(BINARY).helped(lr_factor=0.1, init=True)
    assert 'group["lr"] *= 0.1  # 0.03' in trial.code
    assert trial.patch is not None
    assert trial.patch["optimizer"]["init_args"]["lr"] == pytest.approx(0.03)
    assert trial.patch["model"]["init_args"]["init"] == "auto"
