"""Many steps in one call, against as many calls."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.twins import TOLERANCES, both_ways, distance, needs_compiler, network, sgd
from tests.problems import LOSS_CASES, dtype_id, encode_targets
from torchmlp import MLP, Engine

SAMPLES, BATCH = 50, 7  # the last batch is of one
OPTIMIZERS: dict[str, Any] = {
    "sgd": sgd(),
    "nesterov": sgd(momentum=0.9, nesterov=True),
    "dampening": sgd(momentum=0.9, dampening=0.5),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.1),
}


def data(loss_case: str = "cross_entropy-indices", dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(2)
    target = encode_targets(loss_case, (SAMPLES,), 3)
    target = target.to(dtype) if target.is_floating_point() else target
    return torch.randn(SAMPLES, 6, dtype=dtype), target


def stepwise(
    engine: Engine, x: Tensor, target: Tensor, order: Tensor | None, weight: Tensor | None
) -> tuple[Tensor, int]:
    losses, right = [], 0
    every = torch.arange(len(x)) if order is None else order
    for start in range(0, len(every), BATCH):
        rows = every[start : start + BATCH]
        losses.append(engine.step(x[rows], target[rows], None if weight is None else weight[rows]))
        if not target.is_floating_point():
            right += int(engine.right(target[rows]))
    return torch.stack(losses), right


def engines(loss: str, optimize: Any, *, dtype: torch.dtype, native: bool, **options: Any) -> Any:
    mlps = [network("gelu", dtype=dtype) for _ in range(2)]
    return [
        Engine(mlp, loss, optimize(list(mlp.parameters())), native=native, **options)
        for mlp in mlps
    ]


def apart(one: Engine, two: Engine) -> float:
    return distance(list(one.model.parameters()), list(two.model.parameters()))


@both_ways
@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"clip_norm": 0.1}], ids=str)
@pytest.mark.parametrize("optimize", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_epoch_is_its_steps(optimize: Any, options: dict[str, Any], native_step: bool) -> None:
    """Three epochs, as the samples lie and in an order with repetitions: the weights, the losses
    and the right answers of single steps, to the bit."""
    x, target = data()
    whole, single = engines(
        "cross_entropy", optimize, dtype=torch.float64, native=native_step, **options
    )
    for order in (None, torch.randperm(SAMPLES), torch.randint(SAMPLES, (33,))):
        losses = whole.epoch(x, target, BATCH, order)
        right = int(whole.right(target))
        expected, expected_right = stepwise(single, x, target, order, None)
        assert losses.equal(expected)
        assert right == expected_right
    assert apart(whole, single) == 0


@both_ways
@pytest.mark.parametrize("dtype", TOLERANCES, ids=dtype_id)
@pytest.mark.parametrize("loss_case", LOSS_CASES)
def test_every_loss_with_weights(loss_case: str, dtype: torch.dtype, native_step: bool) -> None:
    """A weight goes with its sample."""
    x, target = data(loss_case, dtype)
    weight, order = torch.rand(SAMPLES, dtype=dtype), torch.randperm(SAMPLES)
    whole, single = engines(
        loss_case.partition("-")[0], OPTIMIZERS["adam"], dtype=dtype, native=native_step
    )
    losses = whole.epoch(x, target, BATCH, order, weight=weight)
    assert losses.equal(stepwise(single, x, target, order, weight)[0])
    assert apart(whole, single) == 0


@both_ways
@pytest.mark.parametrize("shuffled", [False, True])
def test_pixels_are_scaled(native_step: bool, shuffled: bool) -> None:
    """uint8 images, taken as they lie or from here and there."""
    images = torch.randint(256, (SAMPLES, 2, 3), dtype=torch.uint8)
    _, target = data()
    order = torch.randperm(SAMPLES) if shuffled else None
    whole, single = engines("cross_entropy", sgd(), dtype=torch.float32, native=native_step)
    whole.epoch(images, target, BATCH, order)
    stepwise(single, images, target, order, None)
    assert apart(whole, single) == 0


@needs_compiler
def test_steps_and_epochs_take_turns() -> None:
    """On one engine, its optimizer and its state."""
    x, target = data()
    mixed, single = engines("cross_entropy", OPTIMIZERS["adam"], dtype=torch.float64, native=True)
    for _ in range(3):
        mixed.epoch(x, target, BATCH)
        stepwise(mixed, x, target, None, None)
        stepwise(single, x, target, None, None)
        stepwise(single, x, target, None, None)
    assert apart(mixed, single) == 0


def test_dropout_draws_the_masks_of_single_steps() -> None:
    """From torch's generator, one batch after the other."""
    x, target = data()
    mlps = [network("relu", dropout=0.5, input_dropout=0.1) for _ in range(2)]
    whole, single = (Engine(m, "cross_entropy", sgd()(m.parameters())) for m in mlps)
    torch.manual_seed(5)
    whole.epoch(x, target, BATCH)
    torch.manual_seed(5)
    stepwise(single, x, target, None, None)
    assert apart(whole, single) == 0


@both_ways
def test_a_loss_that_is_not_finite_ends_it(native_step: bool) -> None:
    """With only_finite: the losses end with it, and the weights are those before it."""
    x, target = data()
    x[3 * BATCH] = float("nan")
    whole, single = engines(
        "cross_entropy", OPTIMIZERS["adam"], dtype=torch.float64, native=native_step,
        only_finite=True,
    )  # fmt: skip
    losses = whole.epoch(x, target, BATCH)
    assert losses.isfinite().tolist() == [True, True, True, False]
    for k in range(3):
        rows = slice(k * BATCH, (k + 1) * BATCH)
        single.step(x[rows], target[rows])
    assert apart(whole, single) == 0


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "batch": ({"batch_size": 0}, "batch_size of at least 1, got 0"),
    "order": ({"order": torch.tensor([0, 50])}, r"samples 0\.\.49, got 0\.\.50"),
    "dtype": ({"order": torch.tensor([0.0])}, "int64 numbers in one row"),
    "targets": ({"target": torch.zeros(49).long()}, "equally many, got 50 inputs, 49 targets"),
    "label": ({"target": torch.full((50,), 3)}, "label 3 is outside the 3 classes"),
    "features": ({"x": torch.zeros(50, 5).double()}, "in_features=6"),
}


@both_ways
@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_changes_nothing(
    case: tuple[dict[str, Any], str], native_step: bool
) -> None:
    """Each is named."""
    given, message = case
    x, target = data()
    one, two = engines("cross_entropy", sgd(), dtype=torch.float64, native=native_step)
    with pytest.raises(ValueError, match=message):
        one.epoch(**{"x": x, "target": target, "batch_size": BATCH, **given})
    assert apart(one, two) == 0


@both_ways
def test_no_samples_no_steps(native_step: bool) -> None:
    """An empty order takes no step."""
    x, target = data()
    one, two = engines("cross_entropy", sgd(), dtype=torch.float64, native=native_step)
    empty = torch.zeros(0, dtype=torch.int64)
    assert one.epoch(x, target, BATCH, empty).shape == (0,)
    assert one.epoch(x[:0], target[:0], BATCH).shape == (0,)
    assert apart(one, two) == 0


@needs_compiler
@pytest.mark.parametrize("options", [{}, {"accumulate": 3}], ids=str)
def test_in_many_calls_it_is_the_same(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut into calls of a step each, for Ctrl-C: weights, losses and right answers to the bit; a
    wrong label at the end is seen before the first."""
    monkeypatch.setattr("torchmlp.engine.engine.WORK_AT_ONCE", 1)
    x, target = data()
    weight = torch.rand(SAMPLES, dtype=torch.float64)
    whole, single = engines(
        "cross_entropy", OPTIMIZERS["adam"], dtype=torch.float64, native=True, **options
    )
    for order in (None, torch.randperm(SAMPLES)):
        losses = whole.epoch(x, target, BATCH, order, weight=weight)
        expected, right = stepwise(single, x, target, order, weight)
        assert losses.equal(expected)
        assert whole.right(target) == right
    target[-1] = 3
    with pytest.raises(ValueError, match="label 3 is outside"):
        whole.epoch(x, target, BATCH)
    assert apart(whole, single) == 0


@needs_compiler
def test_two_threads_share_its_steps() -> None:
    """Wide layers, whose weights the threads share: the same weights but for rounding."""
    torch.set_num_threads(2)
    try:
        torch.manual_seed(0)
        mlps = [MLP(6, 600, 3) for _ in range(2)]
        mlps[1].load_state_dict(mlps[0].state_dict())
        whole, single = (Engine(m, "cross_entropy", sgd()(m.parameters())) for m in mlps)
        x, target = torch.randn(2000, 6), torch.randint(3, (2000,))
        whole.epoch(x, target, 1000, torch.randperm(2000))
        assert whole.how == "C++, 2 threads"
        order = torch.randperm(2000)
        whole.epoch(x, target, 1000, order)
        del single
    finally:
        torch.set_num_threads(1)
