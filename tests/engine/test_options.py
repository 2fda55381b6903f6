"""Weights of samples and classes, label smoothing, clipping and accumulation, against torch."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own spelling

from tests.engine.twins import TOLERANCES, batches, both_ways, distance, network, sgd
from tests.problems import LOSS_CASES, dtype_id
from torchmlp import Engine

OPTIMIZERS: dict[str, Any] = {
    "sgd": sgd(),
    "momentum": sgd(momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.003),
}
every_optimizer = pytest.mark.parametrize("optimize", OPTIMIZERS.values(), ids=OPTIMIZERS)
CLASS_WEIGHT = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64)


def weighted_loss(
    output: Tensor,
    target: Tensor,
    loss: str,
    weight: Tensor | None,
    class_weight: Tensor | None,
    smoothing: float,
) -> Tensor:
    """The weighted mean, of torch's losses of each sample."""
    if loss == "cross_entropy":
        own = F.cross_entropy(
            output, target, class_weight, reduction="none", label_smoothing=smoothing
        )
        each = torch.ones(len(own), dtype=own.dtype)
        if class_weight is not None and not target.is_floating_point():
            each = class_weight[target]
    elif loss == "mse":
        own = 0.5 * (output - target).square().sum(-1)
        each = torch.ones_like(own)
    else:
        own = F.binary_cross_entropy_with_logits(output, target, reduction="none").sum(-1)
        each = torch.ones_like(own)
    weight = torch.ones_like(own) if weight is None else weight
    return (weight * own).sum() / (weight * each).sum()


def train_both(
    optimize: Any,
    loss_case: str,
    dtype: torch.dtype,
    *,
    native_step: bool,
    weighs: bool = False,
    steps: int = 40,
    **options: Any,
) -> tuple[float, Engine]:
    """The engine and a plain loop over the same batches: how far their weights are apart."""
    mlp = network(dtype=dtype)
    twin = deepcopy(mlp)
    mine, theirs = optimize(list(mlp.parameters())), optimize(list(twin.parameters()))
    loss = loss_case.partition("-")[0]
    engine = Engine(mlp, loss, mine, native=native_step, **options)
    accumulate = options.get("accumulate", 1)
    for step, (x, target) in enumerate(batches(steps, loss_case, dtype=dtype)):
        weight = torch.rand(7, dtype=dtype) if weighs else None
        found = engine.step(x, target, weight)
        if step % accumulate == 0:
            theirs.zero_grad()
        smoothing, class_weight = options.get("label_smoothing", 0.0), options.get("class_weight")
        value = weighted_loss(twin(x), target, loss, weight, class_weight, smoothing)
        torch.testing.assert_close(found, value.detach(), rtol=3e-6, atol=1e-6)
        torch.autograd.backward(value / accumulate)
        if (step + 1) % accumulate == 0:
            if limit := options.get("clip_norm"):
                nn.utils.clip_grad_norm_(twin.parameters(), limit)
            if limit := options.get("clip_value"):
                nn.utils.clip_grad_value_(twin.parameters(), limit)
            theirs.step()
    return distance(list(mlp.parameters()), list(twin.parameters())), engine


@both_ways
@every_optimizer
@pytest.mark.parametrize("dtype", TOLERANCES, ids=dtype_id)
@pytest.mark.parametrize("loss_case", LOSS_CASES)
def test_a_weight_for_each_sample(
    loss_case: str, dtype: torch.dtype, optimize: Any, native_step: bool
) -> None:
    """The mean is over the weights' sum."""
    apart, _ = train_both(optimize, loss_case, dtype, native_step=native_step, weighs=True)
    assert apart < TOLERANCES[dtype]


@both_ways
@pytest.mark.parametrize("weighs", [False, True], ids=["", "samples weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss_case", [case for case in LOSS_CASES if "cross" in case])
def test_class_weights_and_label_smoothing(
    loss_case: str, smoothing: float, weighs: bool, native_step: bool
) -> None:
    """torch.nn.CrossEntropyLoss's `weight` and `label_smoothing`, a weight of 0 included."""
    apart, _ = train_both(
        OPTIMIZERS["sgd"], loss_case, torch.float64, native_step=native_step,
        weighs=weighs, class_weight=CLASS_WEIGHT, label_smoothing=smoothing,
    )  # fmt: skip
    assert apart < 1e-12


@both_ways
@every_optimizer
@pytest.mark.parametrize("dtype", TOLERANCES, ids=dtype_id)
@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.1},
        {"clip_value": 0.01},
        {"accumulate": 3},
        {"accumulate": 4, "clip_norm": 0.05},
    ],
    ids=str,
)
def test_clipping_and_accumulation(
    options: dict[str, Any], dtype: torch.dtype, optimize: Any, native_step: bool
) -> None:
    """torch.nn.utils.clip_grad_norm_ and clip_grad_value_, of gradients averaged over batches."""
    apart, engine = train_both(
        optimize, "cross_entropy-indices", dtype, native_step=native_step, **options
    )
    assert apart < 3 * TOLERANCES[dtype]
    assert engine.how.startswith("C++") == native_step


@both_ways
def test_the_caller_says_when_the_optimizer_steps(native_step: bool) -> None:
    """`updates` ends a group of batches early, as at an epoch's end, and the next one begins."""
    mlp = network()
    twin = deepcopy(mlp)
    mine, theirs = (torch.optim.Adam(m.parameters(), lr=0.01) for m in (mlp, twin))
    engine = Engine(mlp, "cross_entropy", mine, native=native_step, accumulate=3)
    for updates, (x, target) in zip([False, True, False, False, True], batches(5), strict=True):
        engine.step(x, target, updates=updates)
        torch.autograd.backward(F.cross_entropy(twin(x), target) / 3)
        if updates:
            theirs.step()
            theirs.zero_grad()
    assert distance(list(mlp.parameters()), list(twin.parameters())) < 1e-12


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "smoothing": ({"label_smoothing": 1.5}, "expected label_smoothing in 0..1, got 1.5"),
    "classes": ({"class_weight": torch.ones(4)}, r"class_weight of shape \(3,\)"),
    "integers": ({"class_weight": torch.ones(3).long()}, "torch.int64"),
    "below 0": ({"class_weight": -torch.ones(3)}, "at least 0"),
    "norm": ({"clip_norm": 0.0}, "expected clip_norm above 0, got 0.0; leave it out"),
    "both": ({"clip_norm": 1.0, "clip_value": 1.0}, "choose one"),
    "accumulate": ({"accumulate": 0}, "accumulate of at least 1, got 0"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_options_out_of_range_are_named(case: tuple[dict[str, Any], str]) -> None:
    """Before anything is trained."""
    options, message = case
    mlp = network()
    with pytest.raises(ValueError, match=message):
        Engine(mlp, "cross_entropy", sgd()(mlp.parameters()), **options)


def test_options_of_another_loss_are_refused() -> None:
    """Smoothing and class weights are cross-entropy's."""
    mlp = network()
    every: list[dict[str, Any]] = [{"label_smoothing": 0.1}, {"class_weight": CLASS_WEIGHT}]
    for options in every:
        with pytest.raises(ValueError, match="is cross_entropy's, and the loss is mse"):
            Engine(mlp, "mse", sgd()(mlp.parameters()), **options)


@both_ways
def test_weights_that_do_not_fit_change_nothing(native_step: bool) -> None:
    """Another shape, or integers."""
    mlp = network()
    engine = Engine(mlp, "cross_entropy", sgd()(mlp.parameters()), native=native_step)
    before = deepcopy(mlp.state_dict())
    ((x, target),) = batches(1)
    for weight in (torch.ones(6), torch.ones(7, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"expected a weight of shape \(7,\)"):
            engine.step(x, target, weight)
    assert all(before[name].equal(value) for name, value in mlp.state_dict().items())


@pytest.mark.parametrize("mixed", [False, True], ids=["16 bits", "mixed"])
def test_weights_and_accumulation_in_16_bits(mixed: bool) -> None:
    """Weights stay in float32 beside bfloat16: the run is float32's to its roundings."""
    runs = []
    for precision in (torch.float32, torch.bfloat16):
        mlp = network(dtype=torch.float32)
        is_mixed = mixed and precision == torch.bfloat16
        mlp = mlp if mixed else mlp.to(precision)
        engine = Engine(
            mlp, "cross_entropy", sgd(lr=0.1)(mlp.parameters()), native=False, accumulate=2,
            class_weight=CLASS_WEIGHT.float(), label_smoothing=0.1, clip_norm=0.5,
            precision=torch.bfloat16 if is_mixed else None,
        )  # fmt: skip
        torch.manual_seed(3)
        for x, target in batches(20, dtype=torch.float32):
            engine.step(x.to(mlp.weights[0].dtype), target, torch.rand(7))
        runs.append([p.float() for p in mlp.parameters()])
    assert 1e-6 < distance(runs[1], runs[0]) < 2e-2
