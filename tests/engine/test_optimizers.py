"""The engine with the optimizers that people use, against torch's own steps of them."""

from copy import deepcopy
from typing import Any

import pytest
import torch

from tests.engine.twins import TOLERANCES, Twins, batches, both_ways, needs_compiler, network
from tests.kernels.test_optimizers import CASES
from tests.problems import dtype_id
from torchmlp import Engine
from torchmlp.nn.param_groups import scale_rates

ADAM = CASES["adam"]


def twins_of(
    case: tuple[Any, dict[str, Any]], *, native_step: bool, dtype: torch.dtype = torch.float64
) -> Twins:
    kind, settings = case
    settings = {**settings, "lr": settings["lr"] / 10, "maximize": False}
    return Twins(
        network("tanh", dtype=dtype),
        "cross_entropy",
        lambda parameters: kind(parameters, **settings),
        native_step=native_step,
    )


def assert_same_state(twins: Twins) -> None:
    """The same names, shapes, dtypes and numbers in both optimizers' state."""
    mine, theirs = (optimizer.state_dict()["state"] for optimizer in twins.optimizers)
    assert mine.keys() == theirs.keys()
    for number, state in theirs.items():
        assert mine[number].keys() == state.keys()
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                assert mine[number][name].dtype == value.dtype
                tolerance = 1e-10 if value.dtype == torch.float64 else 1e-4
                torch.testing.assert_close(
                    mine[number][name], value, rtol=tolerance, atol=tolerance**1.5
                )


@both_ways
@pytest.mark.parametrize("dtype", TOLERANCES, ids=dtype_id)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_hundred_steps_are_torchs(
    case: tuple[Any, dict[str, Any]], dtype: torch.dtype, native_step: bool
) -> None:
    """Weights, losses and the optimizer's state after a hundred steps: to 1e-12 in float64, 1e-6 in
    float32."""
    twins = twins_of(case, native_step=native_step, dtype=dtype)
    twins.run(batches(100, dtype=dtype))
    twins.assert_same()
    assert_same_state(twins)
    assert twins.engine.how.startswith("C++") == native_step


@both_ways
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_state_loads_both_ways(case: tuple[Any, dict[str, Any]], native_step: bool) -> None:
    """After ten steps each goes on from the other's state_dict, and they end alike."""
    twins = twins_of(case, native_step=native_step)
    twins.run(batches(10))
    mine, theirs = (deepcopy(optimizer.state_dict()) for optimizer in twins.optimizers)
    twins.optimizer.load_state_dict(theirs)
    twins.twins_optimizer.load_state_dict(mine)
    twins.run(batches(10))
    twins.assert_same()
    assert_same_state(twins)


@both_ways
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_settings_are_read_at_every_step(
    case: tuple[Any, dict[str, Any]], native_step: bool
) -> None:
    """A rate and a decay that somebody sets between two steps hold from the next one on, and so
    does a count of steps that somebody writes."""
    twins = twins_of(case, native_step=native_step)
    for step, batch in enumerate(batches(30)):
        for optimizer in twins.optimizers:
            if step % 5 == 0:
                optimizer.param_groups[0]["lr"] *= 0.8
            if step == 12:
                optimizer.param_groups[0]["weight_decay"] = 0.05
            if step == 20:
                for state in optimizer.state.values():
                    if "step" in state:
                        state["step"].fill_(3)
        twins.step(*batch)
    twins.assert_same()
    assert_same_state(twins)


@both_ways
def test_groups_have_rates_of_their_own(native_step: bool) -> None:
    """Adam under parametrization="mup", a rate for each group."""
    mlp = network("relu", (6, 128, 128, 3), parametrization="mup", base_width=32)
    twins = Twins(
        mlp,
        "cross_entropy",
        lambda p: torch.optim.Adam(p, lr=0.001),
        native_step=native_step,
    )
    for optimizer in twins.optimizers:
        scale_rates(optimizer, mlp)
    groups = twins.optimizer.param_groups
    assert len(groups) > 1
    names = {p: k for k, p in enumerate(mlp.parameters())}
    own = list(twins.twin.parameters())
    twins.twins_optimizer.param_groups[:] = [
        {**group, "params": [own[names[p]] for p in group["params"]]} for group in groups
    ]
    twins.run(batches(20))
    twins.assert_same()


@both_ways
def test_a_count_may_be_put_elsewhere(native_step: bool) -> None:
    """A count of steps whose memory is another's is that count."""
    twins = twins_of(ADAM, native_step=native_step)
    twins.run(batches(5))
    for optimizer in twins.optimizers:
        for state in optimizer.state.values():
            state["step"].data = torch.tensor(40.0)
    twins.run(batches(5))
    twins.assert_same()
    assert_same_state(twins)


@needs_compiler
def test_no_gradient_is_left_behind() -> None:
    """Each element's gradient is used where it is made."""
    twins = twins_of(ADAM, native_step=True)
    twins.run(batches(3))
    assert all(p.grad is None for p in twins.mlp.parameters())


def test_others_find_gradients() -> None:
    """An optimizer whose equations are not known takes its own step, from .grad."""
    twins = Twins(network(), "mse", lambda p: torch.optim.Adadelta(p, lr=0.1), native_step=None)
    twins.run(batches(10, "mse"))
    twins.assert_same()
    assert all(p.grad is not None for p in twins.mlp.parameters())


@needs_compiler
def test_a_refused_batch_leaves_the_optimizer_as_it_was() -> None:
    """At the first step no state comes to be, later no count moves."""
    mlp = network()
    optimizer = torch.optim.Adam(mlp.parameters(), lr=0.01)
    engine = Engine(mlp, "cross_entropy", optimizer)
    ((x, target),) = batches(1)
    wrong = target.clone()
    wrong[-1] = 3
    with pytest.raises(ValueError, match="label 3 is outside"):
        engine.step(x, wrong)
    assert not optimizer.state
    for _ in range(4):
        engine.step(x, target)
    before = deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match="label 3 is outside"):
        engine.step(x, wrong)
    after = optimizer.state_dict()
    for number, state in before["state"].items():
        assert all(after["state"][number][name].equal(value) for name, value in state.items())


@needs_compiler
def test_a_loss_that_is_not_finite_counts_no_step() -> None:
    """With only_finite the weights, the moments and the counts stay."""
    mlp = network()
    optimizer = torch.optim.Adam(mlp.parameters(), lr=0.01)
    engine = Engine(mlp, "cross_entropy", optimizer, only_finite=True)
    ((x, target),) = batches(1)
    for _ in range(4):
        engine.step(x, target)
    before = deepcopy((mlp.state_dict(), optimizer.state_dict()["state"]))
    assert not torch.isfinite(engine.step(torch.full_like(x, float("nan")), target))
    assert all(before[0][name].equal(value) for name, value in mlp.state_dict().items())
    for number, state in optimizer.state_dict()["state"].items():
        assert all(before[1][number][name].equal(value) for name, value in state.items())
