"""The first nan is found where it was made: step, layer, quantity and function."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.diagnosis.runs import (
    FIT,
    GOOD,
    PROBABILITY,
    Bent,
    Run,
    blobs,
    log_of_sigmoid,
    naive_cross_entropy,
    naive_sigmoid,
    net,
    one_nan,
    with_inputs,
    with_targets,
)
from torchmlp.diagnosis.measure.nonfinite import is_finite, locate
from torchmlp.diagnosis.record.record import NonFinite
from torchmlp.diagnosis.run.run import TrainingRun


def located(
    run: Run, step: int = 3, prepare: Callable[[TrainingRun], None] | None = None
) -> NonFinite:
    """What is found in the first batch of a run that breaks there."""
    subject = replace(run, batch_size=240).subject()
    if prepare:
        prepare(subject)
    found = locate(subject, subject.batch(0), step)
    assert found is not None
    assert found.step == step
    return found


def steep(factor: float) -> Callable[[], nn.Module]:
    return lambda: net(2, 8, 3, end=lambda: Bent(lambda z: factor * z))


def test_a_healthy_pass_has_nothing() -> None:
    """Forwards and backwards, all is finite."""
    subject = GOOD.subject()
    assert locate(subject, subject.batch(0), 0) is None


def test_a_softmax_that_overflows() -> None:
    """Its exponential, in the loss, with the logit and what float32 holds."""
    found = located(replace(GOOD, net=steep(1000), loss=naive_cross_entropy))
    assert (found.quantity, found.function, found.value) == ("loss", "exp", "inf")
    assert found.layer is None
    assert found.at is not None
    assert found.limit is not None
    assert abs(found.limit - 88.72) < 0.01
    assert found.at > found.limit


def test_an_activation_that_overflows() -> None:
    """Its exponential, in its layer."""
    found = located(
        replace(
            GOOD,
            net=lambda: net(2, 8, 8, 3, phi=nn.ReLU, end=None).insert(
                3, Bent(lambda z: naive_sigmoid(2000 * z))
            ),
        )
    )
    assert (found.layer, found.quantity, found.function) == (2, "a", "exp")


def test_the_logarithm_of_0() -> None:
    """In the loss, with its argument."""
    run = replace(PROBABILITY, loss=log_of_sigmoid)

    def shut(subject: TrainingRun) -> None:
        with torch.no_grad():
            [*subject.model.parameters()][-1].fill_(-200.0)

    found = located(run, prepare=shut)
    assert (found.layer, found.quantity, found.function) == (None, "loss", "log")
    assert (found.value, found.at, found.limit) == ("-inf", 0.0, 0.0)


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_a_lost_input(lost: float) -> None:
    """Before anything is computed of it."""

    def lose(x: Tensor) -> Tensor:
        x[5, 1] = lost
        return x

    found = located(replace(GOOD, data=lambda: with_inputs(blobs(), lose)))
    assert (found.layer, found.quantity, found.function, found.value) == (None, "x", "", str(lost))


def test_a_lost_target() -> None:
    """It is the target, and not the loss."""
    found = located(replace(FIT, data=lambda: with_targets(FIT.data(), one_nan)))
    assert (found.layer, found.quantity) == (None, "target")


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_lost_weight(layer: int, name: str) -> None:
    """In its layer, although all that follows is nan too."""

    def lose(subject: TrainingRun) -> None:
        parameters = dict(subject.model.named_parameters())
        parameters[f"{2 * layer - 2}.{name}"].data.view(-1)[0] = math.nan

    found = located(GOOD, prepare=lose)
    assert (found.layer, found.quantity, found.value) == (layer, "weight", "nan")


def test_a_product_that_overflows() -> None:
    """z of the layer, made by its multiplication."""

    def enlarge(subject: TrainingRun) -> None:
        with torch.no_grad():
            for parameter in subject.model.parameters():
                parameter.mul_(1e30)

    found = located(GOOD, prepare=enlarge)
    assert (found.layer, found.quantity, found.function) == (2, "z", "linear")


def test_a_root_at_0_has_no_slope() -> None:
    """Its value is finite; the delta of its layer is not."""
    found = located(
        replace(
            GOOD,
            net=lambda: net(
                2,
                8,
                8,
                3,
                phi=lambda: Bent(lambda z: (z * (z > 0)).sqrt()),
            ),
        )
    )
    assert (found.quantity, found.function) == ("delta", "sqrt")
    assert found.layer == 2
    assert (found.at, found.limit) == (0.0, 0.0)


def test_a_loss_that_refuses_its_input_is_no_obstacle() -> None:
    """What came before it is found."""

    def refusing(z: Tensor, y: Tensor) -> Tensor:
        if not is_finite(z):
            raise ValueError("expected finite logits")
        return z.square().mean() + 0 * y.sum()

    found = located(replace(GOOD, net=steep(math.inf), loss=refusing))
    assert (found.layer, found.quantity) == (2, "a")


def test_the_pass_leaves_no_gradient() -> None:
    """Looking is no backward pass of the model's."""
    subject = GOOD.subject()
    locate(subject, subject.batch(0), 0)
    assert all(p.grad is None for p in subject.model.parameters())


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, True), (math.nan, False), (-math.inf, False)]
)
def test_finite_is_neither_nan_nor_infinite(value: float, expected: bool) -> None:
    """One element suffices."""
    assert is_finite(torch.tensor([0.0, value])) == expected
