import inspect
import os
import re
import warnings
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.profiler import ProfilerActivity, profile

from tests.engine.twins import (
    TOLERANCES,
    Optimize,
    Twins,
    batches,
    both_ways,
    distance,
    needs_compiler,
    network,
    plain_step,
    sgd,
)
from tests.problems import ACTIVATION_NAMES, LOSS_CASES, dtype_id
from tests.strategies import laid_out
from torchmlp import MLP, Engine
from torchmlp.engine import unsupported_reason
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps import build as library
from torchmlp.engine.steps import native_step as native

STEPS = 100
FORMULA_STEPS = 10  # a formula that is wrong is so from the first step on
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCES, ids=dtype_id)

SGD_SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "decay": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9},
    "momentum-decay": {"momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "nesterov-decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "dampening": {"momentum": 0.9, "dampening": 0.3},
    "dampening-decay": {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    "dampening-without-momentum": {"dampening": 0.3},
    "all-dampened": {"momentum": 0.9, "dampening": 1.0, "weight_decay": 0.1},
    "maximize": {"maximize": True, "lr": 1e-3},
    "maximize-decay": {"maximize": True, "lr": 1e-3, "weight_decay": 0.1},
    "maximize-nesterov-decay": {
        "maximize": True,
        "lr": 1e-3,
        "momentum": 0.5,
        "nesterov": True,
        "weight_decay": 0.1,
    },
    "maximize-dampening": {"maximize": True, "lr": 1e-3, "momentum": 0.5, "dampening": 0.3},
    "fused": {"momentum": 0.9, "fused": True},
    "foreach": {"momentum": 0.9, "foreach": True, "weight_decay": 0.1},
}
OPTIMIZERS: dict[str, Optimize] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adam-amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001, momentum=0.9),
}


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads for torch and for the step in C++, and one again afterwards."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("native_step", "dtype"),
    [
        pytest.param(False, torch.float64, id="operators"),
        pytest.param(True, torch.float64, id="native-float64", marks=needs_compiler),
        pytest.param(True, torch.float32, id="native-float32", marks=needs_compiler),
    ],
)
@pytest.mark.parametrize("loss_case", LOSS_CASES)
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_every_activation_and_loss_trains_as_autograd_does(
    activation: str, loss_case: str, dtype: torch.dtype, native_step: bool
) -> None:
    """The activation in hidden and output layers: the losses and weights of plain torch modules
    with torch.optim.SGD, to 1e-12 in float64 and 1e-6 in float32."""
    mlp = network(activation, output_activation=activation, dtype=dtype)
    twins = Twins(mlp, loss_case.partition("-")[0], sgd(), native_step=native_step)
    twins.run(batches(FORMULA_STEPS, loss_case, dtype=dtype))
    how = "C++, 1 thread" if native_step else "torch's operators (native=False)"
    assert twins.engine.how == how
    twins.assert_same()


@both_ways
@both_dtypes
@pytest.mark.parametrize("settings", SGD_SETTINGS.values(), ids=SGD_SETTINGS)
def test_every_setting_of_sgd(
    settings: dict[str, Any], dtype: torch.dtype, native_step: bool
) -> None:
    """The descent is torch.optim.SGD's, setting by setting: weights, losses and velocities."""
    twins = Twins(network("relu", dtype=dtype), "cross_entropy", sgd(**settings),
                  native_step=native_step)  # fmt: skip
    at_length = settings == SGD_SETTINGS["nesterov-decay"]
    twins.run(batches(STEPS if at_length else FORMULA_STEPS, dtype=dtype))
    twins.assert_same()
    assert_same_state(twins)
    assert all(p.grad is None for p in twins.mlp.parameters())


@both_ways
@pytest.mark.parametrize("optimize", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_other_optimizers_take_their_own_step(optimize: Optimize, native_step: bool) -> None:
    """Other optimizers find autograd's gradients, and end at the same weights and state."""
    twins = Twins(network("relu"), "mse", optimize, native_step=native_step)
    twins.run(batches(FORMULA_STEPS, "mse"))
    twins.assert_same()
    assert_same_state(twins, rtol=1e-9)


@both_ways
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_settings_are_read_at_every_step(momentum: float, native_step: bool) -> None:
    """Rate, decay and momentum that change from one step to the next are those of that step."""
    twins = Twins(network(), "cross_entropy", sgd(momentum=momentum), native_step=native_step)
    for step, (x, target) in enumerate(batches(40)):
        for optimizer in twins.optimizers:
            (group,) = optimizer.param_groups
            group["lr"] = 0.02 / (1 + step % 7)
            group["weight_decay"] = 0.1 * (step % 3)
            if momentum:
                group["momentum"] = 0.5 + 0.01 * step
                group["nesterov"] = step % 2 == 0
            group["maximize"] = step % 5 == 0
        twins.step(x, target)
    twins.assert_same()


@both_ways
def test_momentum_that_comes_and_goes(native_step: bool) -> None:
    """A momentum switched on in mid-run starts a velocity, and finds it again when it was off."""
    twins = Twins(network(), "cross_entropy", sgd(dampening=0.2), native_step=native_step)
    for momentum in (0.0, 0.9, 0.0, 0.9):
        for optimizer in twins.optimizers:
            optimizer.param_groups[0]["momentum"] = momentum
        twins.run(batches(5))
    twins.assert_same()
    assert_same_state(twins)


@both_ways
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}], ids=str)
def test_a_rate_may_be_a_tensor(settings: dict[str, Any], native_step: bool) -> None:
    """A rate that is a tensor, which schedulers write into, is read at every step."""

    def optimize(parameters: Any) -> torch.optim.Optimizer:
        rate = torch.tensor(0.1, dtype=torch.float64)
        return torch.optim.SGD(parameters, lr=rate, **settings)

    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    for x, target in batches(8):
        twins.step(x, target)
        for optimizer in twins.optimizers:
            optimizer.param_groups[0]["lr"].mul_(0.5)
    twins.assert_same()


@both_ways
def test_groups_have_settings_of_their_own(native_step: bool) -> None:
    """Each parameter descends by the settings of its group, in whatever order the groups are."""

    def optimize(parameters: list[Tensor]) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": parameters[4:], "lr": 0.02, "momentum": 0.9, "nesterov": True},
            {"params": parameters[1:4:2], "momentum": 0.0, "weight_decay": 0.0},
            {"params": parameters[:4:2], "momentum": 0.5, "weight_decay": 0.1},
        ]
        return torch.optim.SGD(groups, lr=0.01)

    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    twins.run(batches(30))
    twins.assert_same()
    assert_same_state(twins)


@both_ways
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("depth", [1, 2, 3, 5, 9])
def test_any_depth(depth: int, bias: bool, native_step: bool) -> None:
    """One layer or nine, with biases or without."""
    widths = (6, *[5, 7, 4, 6, 5, 7, 4, 6][: depth - 1], 3)
    mlp = network("leaky_relu", widths, bias=bias)
    twins = Twins(mlp, "cross_entropy", sgd(momentum=0.9), native_step=native_step)
    twins.run(batches(30))
    twins.assert_same()


@both_ways
@pytest.mark.parametrize("features", [1, 6])
@pytest.mark.parametrize("classes", [1, 3])
def test_one_feature_one_class(features: int, classes: int, native_step: bool) -> None:
    """Axes of size one are no special case."""
    mlp = network("relu", (features, 1, 4, classes))
    twins = Twins(mlp, "mse", sgd(), native_step=native_step)
    twins.run(batches(30, "mse", features=features, classes=classes))
    twins.assert_same()


@both_ways
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "weight_decay": 0.1}], ids=str)
def test_batch_sizes_change(settings: dict[str, Any], native_step: bool) -> None:
    """Batches of every size, a single sample among them, more sizes than buffers are kept for, and
    back again."""
    twins = Twins(network(), "cross_entropy", sgd(**settings), native_step=native_step)
    for size in [16, 16, 5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 16, 5, 1]:
        twins.run(batches(2, rows=(size,)))
    assert len(twins.engine._steps) <= 8
    twins.assert_same()


@both_ways
@pytest.mark.parametrize("rows", [(), (3, 1), (2, 3, 2)], ids=str)
@pytest.mark.parametrize("loss_case", ["cross_entropy-indices", "mse"])
def test_any_number_of_batch_axes(rows: tuple[int, ...], loss_case: str, native_step: bool) -> None:
    """The mean is taken over all batch axes, none of them included."""
    loss = loss_case.partition("-")[0]
    twins = Twins(network(), loss, sgd(), native_step=native_step)
    twins.run(batches(10, loss_case, rows=rows))
    twins.assert_same()


@both_ways
@pytest.mark.parametrize("rows", [(0,), (2, 0)], ids=str)
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "weight_decay": 0.1}], ids=str)
def test_zero_rows(settings: dict[str, Any], rows: tuple[int, ...], native_step: bool) -> None:
    """The mean over nothing is nan and its gradients are zeros: decay and velocity go on."""
    twins = Twins(network(), "cross_entropy", sgd(**settings), native_step=native_step)
    twins.run(batches(3))
    for x, target in batches(3, rows=rows):
        assert twins.step(x, target).isnan()
    twins.run(batches(3))
    twins.assert_same()


@both_ways
@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "offset"])
def test_inputs_may_lie_anyhow_in_memory(layout: str, native_step: bool) -> None:
    """Inputs and targets that are views of other tensors."""
    twins = Twins(network(), "mse", sgd(), native_step=native_step)
    for _ in range(10):
        twins.step(laid_out((7, 6), layout), laid_out((7, 3), layout))
    labels = Twins(network(), "cross_entropy", sgd(), native_step=native_step)
    for _ in range(10):
        labels.step(laid_out((7, 6), layout), torch.randint(3, (14,))[::2])
    for each in (twins, labels):
        each.assert_same()


@both_ways
@both_dtypes
@pytest.mark.parametrize("count", [7, 0], ids=["images", "zero rows"])
def test_pixels_are_scaled(dtype: torch.dtype, native_step: bool, count: int) -> None:
    """uint8 images of any shape count as 0..1."""
    twins = Twins(network(dtype=dtype), "cross_entropy", sgd(), native_step=native_step)
    for _ in range(10):
        images = torch.randint(256, (count, 1, 2, 3), dtype=torch.uint8)
        twins.step(images, torch.randint(3, (count,)))
    twins.assert_same(has_moved=count > 0)


@both_ways
def test_images_that_do_not_lie_in_a_row(native_step: bool) -> None:
    """A view of uint8 images, every second column and transposed."""
    twins = Twins(network(), "cross_entropy", sgd(), native_step=native_step)
    for _ in range(10):
        images = torch.randint(256, (7, 3, 4), dtype=torch.uint8)[..., ::2].transpose(1, 2)
        twins.step(images, torch.randint(3, (7,)))
    twins.assert_same()


@both_ways
@pytest.mark.parametrize(
    "rates",
    [{"dropout": 0.5}, {"input_dropout": 0.2}, {"dropout": 0.3, "input_dropout": 0.1}],
    ids=str,
)
@pytest.mark.parametrize("pixels", [False, True], ids=["floats", "pixels"])
def test_dropout_draws_the_masks_of_the_forward_pass(
    rates: dict[str, Any], pixels: bool, native_step: bool
) -> None:
    """From the same seed the engine drops what MLP.forward drops; in evaluation mode nothing; and a
    rate that is changed counts from the next step on."""
    twins = Twins(network(**rates), "cross_entropy", sgd(), native_step=native_step)

    def run() -> None:
        for x, target in batches(8):
            twins.step((x.abs() * 99).to(torch.uint8) if pixels else x, target)

    run()
    for module in twins.both:
        module.eval()
    run()
    for module in twins.both:
        module.train()
        assert isinstance(module, MLP)
        module.dropout, module.input_dropout = 0.6, 0.0
    run()
    twins.assert_same()
    without = network()
    plain = Engine(without, "cross_entropy", sgd()(without.parameters()), native=native_step)
    for x, target in batches(8):
        plain.step(x, target)
    assert distance(list(without.parameters()), list(twins.mlp.parameters())) > 1e-4


@needs_compiler
@pytest.mark.usefixtures("two_threads")
@both_dtypes
@pytest.mark.parametrize("columns", [0, 2**40], ids=["by outputs", "by samples"])
@pytest.mark.parametrize("rows", [1, 2, 33])
def test_threads_share_the_step(
    dtype: torch.dtype, columns: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads, sharing the forward pass by samples or by outputs, also where there is but one
    of either: the step of one thread."""
    monkeypatch.setattr(native, "WORK_FOR_THREADS", 0)
    monkeypatch.setattr(native, "WEIGHTS_FOR_COLUMNS", columns)
    mlp = network("relu", (6, 9, 1, 5, 3), dtype=dtype, dropout=0.1, input_dropout=0.1)
    twins = Twins(mlp, "cross_entropy", sgd(momentum=0.9), native_step=True)
    twins.run(batches(10, rows=(rows,), dtype=dtype))
    assert twins.engine.how == "C++, 2 threads"
    twins.assert_same()


@needs_compiler
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("hidden", [410, 150], ids=["wide", "narrow"])
def test_threads_are_taken_where_there_is_work_for_them(hidden: int) -> None:
    """By itself the engine takes two threads from WORK_FOR_THREADS multiplications on, and a layer
    of WEIGHTS_FOR_COLUMNS bytes is shared by outputs."""
    mlp = network("tanh", (40, hidden, 3), dtype=torch.float32)
    twins = Twins(mlp, "mse", sgd(), native_step=True)
    enough = native.WORK_FOR_THREADS // (3 * (40 * hidden + hidden * 3)) + 1
    for rows, threads in ((enough, "2 threads"), (enough - 1, "1 thread")):
        twins.run(batches(3, "mse", rows=(rows,), features=40, dtype=torch.float32))
        assert twins.engine.how == f"C++, {threads}"
    steps = [bound.step for bound in twins.engine._steps.values()]
    by_columns = [
        [bool(layer.by_columns) for layer in step.layers]
        for step in steps
        if isinstance(step, native.NativeStep)
    ]
    is_wide = 40 * hidden * 4 >= native.WEIGHTS_FOR_COLUMNS
    assert is_wide == (hidden == 410)
    assert by_columns == [[is_wide, False], [False, False]]
    twins.assert_same(has_moved=False)


@pytest.mark.usefixtures("two_threads")
def test_torchs_operators_with_two_threads() -> None:
    """torch's own threads change nothing but roundings."""
    twins = Twins(network("relu", (40, 300, 3)), "cross_entropy", sgd(momentum=0.9))
    twins.run(batches(5, rows=(128,), features=40))
    twins.assert_same()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 2**-6), (torch.float16, 2**-9)], ids=str
)
@pytest.mark.parametrize("loss_case", LOSS_CASES)
@pytest.mark.parametrize(
    "settings", [{"lr": 0.1}, {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.01}], ids=str
)
def test_16_bits(
    settings: dict[str, Any], loss_case: str, dtype: torch.dtype, tolerance: float
) -> None:
    """16-bit weights stay within two or four roundings of those of plain torch modules, over steps
    that move them several times as far: both round every layer and update to 8 or 11 bits."""
    mlp = network("tanh", dtype=dtype)
    twins = Twins(mlp, loss_case.partition("-")[0], sgd(**settings))
    twins.run(batches(20, loss_case, dtype=dtype))
    assert twins.distance() < tolerance
    assert distance(twins.start, list(twins.mlp.parameters())) > 5 * tolerance


FROZEN = {
    "lower": [0, 1],
    "lower two": [0, 1, 2, 3],
    "upper": [4, 5],
    "middle": [2, 3],
    "biases": [1, 3, 5],
    "weights": [0, 2, 4],
    "one weight": [0],
    "all": [0, 1, 2, 3, 4, 5],
}


def freeze(twins: Twins, frozen: list[int]) -> None:
    for module in twins.both:
        for k, p in enumerate(module.parameters()):
            p.requires_grad_(k not in frozen)


@both_ways
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("frozen", [v for k, v in FROZEN.items() if k != "all"],
                         ids=[k for k in FROZEN if k != "all"])  # fmt: skip
def test_frozen_parameters_stay(frozen: list[int], optimizer: str, native_step: bool) -> None:
    """Frozen from the start, melted and frozen again: what is frozen stays to the bit, and the rest
    trains as with autograd."""
    optimize = {"sgd": sgd(), "momentum": sgd(momentum=0.9), "adam": OPTIMIZERS["adam"]}[optimizer]
    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    for now in (frozen, [], frozen, []):
        freeze(twins, now)
        before = [p.detach().clone() for p in twins.mlp.parameters()]
        twins.run(batches(5))
        for k, (was, p) in enumerate(zip(before, twins.mlp.parameters(), strict=True)):
            assert p.equal(was) == (k in now)
    twins.assert_same()


@both_ways
@pytest.mark.parametrize("optimize", [sgd(momentum=0.9), OPTIMIZERS["adam"]], ids=["sgd", "adam"])
def test_where_all_is_frozen_the_loss_is_left(optimize: Optimize, native_step: bool) -> None:
    """A network that is frozen altogether gives its loss and stays as it was."""
    mlp = network()
    engine = Engine(mlp, "cross_entropy", optimize(mlp.parameters()), native=native_step)
    start = [p.detach().clone() for p in mlp.parameters()]
    mlp.requires_grad_(False)
    ((x, target),) = batches(1)
    expected = nn.functional.cross_entropy(mlp.to_sequential()(x), target)
    torch.testing.assert_close(engine.step(x, target), expected, rtol=1e-12, atol=0)
    assert all(a.equal(b) for a, b in zip(start, mlp.parameters(), strict=True))


@both_ways
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_what_the_optimizer_has_not_got_stays(optimizer: str, native_step: bool) -> None:
    """An optimizer over the upper layers trains those; a group that is added trains with them."""
    optimize = {"sgd": sgd(), "momentum": sgd(momentum=0.9), "adam": OPTIMIZERS["adam"]}[optimizer]
    twins = Twins(network(), "cross_entropy", lambda p: optimize(p[2:]), native_step=native_step)
    for melted in (False, True):
        before = twins.mlp.weights[0].detach().clone()
        for x, target in batches(5):
            twins.step(x, target)
            twins.twin.zero_grad()  # what the twin's optimizer has not got it does not clear
        assert twins.mlp.weights[0].equal(before) != melted
        if not melted:
            for module, owner in zip(twins.both, twins.optimizers, strict=True):
                owner.add_param_group({"params": list(module.parameters())[:2], "lr": 0.02})
    twins.assert_same()


def assert_same_state(twins: Twins, rtol: float = 1e-4) -> None:
    """Entry for entry and tensor for tensor, as state_dict() has it."""
    mine, theirs = (optimizer.state_dict() for optimizer in twins.optimizers)
    assert mine["param_groups"] == theirs["param_groups"]
    assert mine["state"].keys() == theirs["state"].keys()
    for key, expected in theirs["state"].items():
        assert mine["state"][key].keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, Tensor):
                torch.testing.assert_close(mine["state"][key][name], value, rtol=rtol, atol=1e-7)


CONTINUED: dict[str, Optimize] = {
    "plain": sgd(),
    "nesterov": sgd(momentum=0.9, nesterov=True, weight_decay=0.01),
    "dampening": sgd(momentum=0.9, dampening=0.3),
    "adam": OPTIMIZERS["adam"],
}
every_continued = pytest.mark.parametrize("optimize", CONTINUED.values(), ids=CONTINUED)


@both_ways
@every_continued
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_a_plain_loop_goes_on_from_the_engines_state(
    optimize: Optimize, steps: int, native_step: bool
) -> None:
    """The state dicts of model and optimizer after some steps of the engine are those a plain loop
    continues from, and the other way round."""
    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    twins.run(batches(steps))
    states = [deepcopy(optimizer.state_dict()) for optimizer in twins.optimizers]
    for optimizer, state in zip(twins.optimizers, reversed(states), strict=True):
        optimizer.load_state_dict(state)  # each continues from the other's
    twins.run(batches(6))
    twins.assert_same()
    assert_same_state(twins)


@both_ways
@every_continued
def test_engine_and_loop_take_turns_on_one_optimizer(optimize: Optimize, native_step: bool) -> None:
    """Steps of the engine and of a plain loop over the same model and optimizer, in turns."""
    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    for step, (x, target) in enumerate(batches(12)):
        if step % 3 == 1:
            plain_step(twins.mlp, "cross_entropy", twins.optimizer, x, target)
            twins.step_of_twin(x, target)
        else:
            twins.step(x, target)
    twins.assert_same()
    assert_same_state(twins)


@both_ways
@every_continued
def test_the_optimizers_state_may_be_cleared(optimize: Optimize, native_step: bool) -> None:
    """Where the state is cleared, or one parameter's, the next step is a first one."""
    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    twins.run(batches(4))
    for optimizer in twins.optimizers:
        optimizer.state.clear()
    twins.run(batches(4))
    for optimizer in twins.optimizers:
        optimizer.state.pop(optimizer.param_groups[0]["params"][2], None)
    twins.run(batches(4))
    twins.assert_same()
    assert_same_state(twins)


@both_ways
def test_a_velocity_may_lie_anyhow_in_memory(native_step: bool) -> None:
    """A velocity from elsewhere, transposed in memory, is used by its elements."""
    twins = Twins(network(), "cross_entropy", sgd(momentum=0.9), native_step=native_step)
    velocities = [torch.randn_like(p) for p in twins.mlp.parameters()]
    for optimizer in twins.optimizers:
        for p, velocity in zip(optimizer.param_groups[0]["params"], velocities, strict=True):
            lies = velocity.t().contiguous().t() if velocity.ndim == 2 else velocity.clone()
            optimizer.state[p]["momentum_buffer"] = lies
    twins.run(batches(5))
    twins.assert_same()
    assert_same_state(twins)


@both_ways
def test_a_velocity_of_another_network_is_refused(native_step: bool) -> None:
    """A state whose shapes do not fit raises, and nothing is written."""
    mlp = network()
    optimizer = sgd(momentum=0.9)(mlp.parameters())
    for p in mlp.parameters():
        optimizer.state[p]["momentum_buffer"] = p.new_zeros(99)
    engine = Engine(mlp, "cross_entropy", optimizer, native=native_step)
    ((x, target),) = batches(1)
    before = deepcopy(mlp.state_dict())
    with pytest.raises(ValueError, match=r"momentum_buffer of .* \(8, 6\) has shape \(99,\); load"):
        engine.step(x, target)
    assert all(value.equal(before[name]) for name, value in mlp.state_dict().items())


@both_ways
@pytest.mark.parametrize(
    ("optimize", "tolerance"),
    [(sgd(lr=0.05), 1e-12), (sgd(lr=0.05, momentum=0.9), 1e-6)],
    ids=["plain", "momentum"],
)
def test_the_dtype_may_change_in_mid_run(
    optimize: Optimize, tolerance: float, native_step: bool
) -> None:
    """model.to(dtype) between two steps, as torch.optim.SGD bears it: to rounding without a
    velocity; a velocity takes on the dtype, where a plain loop leaves it in the old one."""
    twins = Twins(network(dtype=torch.float64), "cross_entropy", optimize, native_step=native_step)
    twins.run(batches(5))
    for dtype in (torch.float32, torch.float64):
        for module in twins.both:
            module.to(dtype)
        if dtype == torch.float64:  # rounded to float32 both, they may be neighbours there
            with torch.no_grad():
                for mine, theirs in zip(*(m.parameters() for m in twins.both), strict=True):
                    theirs.copy_(mine)
        for x, target in batches(5, dtype=dtype):
            mine, theirs = twins.engine.step(x, target), twins.step_of_twin(x, target)
            assert mine.dtype == dtype
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=0)
    assert twins.distance() < tolerance


@both_ways
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_parameters_may_move_in_memory(momentum: float, native_step: bool) -> None:
    """New memory under a parameter is where the next step is taken."""
    optimize = sgd(momentum=momentum)
    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    twins.run(batches(3))
    for p in twins.mlp.parameters():
        p.data = p.data.clone()
    twins.run(batches(3))
    twins.assert_same()


@both_ways
@pytest.mark.parametrize("optimize", [sgd(momentum=0.9), OPTIMIZERS["adam"]], ids=["sgd", "adam"])
def test_schedulers_do_not_complain(optimize: Optimize, native_step: bool) -> None:
    """A scheduler sees that steps are taken, warns of nothing, and its rates are used."""
    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    schedulers = [torch.optim.lr_scheduler.OneCycleLR(o, 0.05, 20) for o in twins.optimizers]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x, target in batches(20):
            twins.step(x, target)
            for scheduler in schedulers:
                scheduler.step()
    twins.assert_same()


@both_ways
def test_gradients_that_somebody_left_are_not_taken(native_step: bool) -> None:
    """What .grad held is overwritten, not added to, and zero_grad between steps is harmless."""
    twins = Twins(network(), "cross_entropy", OPTIMIZERS["adam"], native_step=native_step)
    for p in twins.mlp.parameters():
        p.grad = torch.full_like(p, float("nan"))
    for x, target in batches(6):
        twins.step(x, target)
        twins.optimizer.zero_grad()
    twins.assert_same()
    for p in twins.mlp.parameters():
        p.grad = laid_out(tuple(p.shape), "transposed") if p.ndim == 2 else None
    twins.run(batches(6))
    twins.assert_same()


@both_ways
@pytest.mark.parametrize("optimize", [sgd(), sgd(momentum=0.9), OPTIMIZERS["adam"]],
                         ids=["sgd", "momentum", "adam"])  # fmt: skip
def test_a_parameter_that_somebody_saved_has_changed(optimize: Optimize, native_step: bool) -> None:
    """A backward pass over parameters that the engine has changed raises torch's own error."""
    mlp = network()
    engine = Engine(mlp, "cross_entropy", optimize(mlp.parameters()), native=native_step)
    ((x, target),) = batches(1)
    for p in mlp.parameters():
        engine.step(x, target)
        square = (p * p).sum()
        engine.step(x, target)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            square.backward()  # type: ignore[no-untyped-call]


@both_ways
def test_there_is_no_graph(native_step: bool) -> None:
    """Losses and outputs have no graph, in and outside of torch.no_grad, and each step's loss is a
    tensor of its own."""
    mlp = network()
    engine = Engine(mlp, "cross_entropy", sgd()(mlp.parameters()), native=native_step)
    ((x, target),) = batches(1)
    first = engine.step(x, target)
    value = first.item()
    with torch.no_grad():
        second = engine.step(x, target)
    with torch.enable_grad():
        third = engine.step(x, target)
    assert first.item() == value
    assert value > second.item() > third.item()
    assert not any(t.requires_grad or t.grad_fn for t in (first, second, third))


@both_ways
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("loss_case", ["cross_entropy-indices", "mse"])
def test_what_is_not_finite_spreads_as_with_autograd(
    activation: str, value: str, loss_case: str, native_step: bool
) -> None:
    """nan and infinity in one input reach the losses and weights that they reach in plain torch.

    hardtanh and relu6 are left out: at nan torch's own derivative is 0 in a vector's lanes and 1
    in the elements behind them.
    """
    mlp = network(activation)
    twins = Twins(mlp, loss_case.partition("-")[0], sgd(), native_step=native_step)
    for x, target in batches(3, loss_case):
        x[2, 1] = float(value)
        twins.step(x, target)
    for mine, theirs in zip(mlp.parameters(), twins.twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12, equal_nan=True)


@both_ways
@pytest.mark.parametrize("label", [3, -1, -100, 2**40])
@pytest.mark.parametrize("optimize", CONTINUED.values(), ids=CONTINUED)
@pytest.mark.parametrize("steps", [0, 2], ids=["at first", "later"])
def test_a_label_that_is_no_class_changes_nothing(
    label: int, optimize: Optimize, steps: int, native_step: bool
) -> None:
    """It is named, in both ways alike; parameters and the optimizer's state are as they were, and
    the run goes on as if the batch had not come, its first step being a first step still."""
    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    twins.run(batches(steps))
    ((x, target),) = batches(1)
    target[4] = label
    before = deepcopy(twins.mlp.state_dict()), deepcopy(twins.optimizer.state_dict())
    for _ in range(2):
        with pytest.raises(
            ValueError, match=rf"label {label} is outside the 3 classes 0\.\.2.*fix"
        ):
            twins.engine.step(x, target)
    assert_equal(twins.mlp.state_dict(), before[0])
    assert_equal(twins.optimizer.state_dict(), before[1])
    twins.run(batches(4))
    twins.assert_same()
    assert_same_state(twins)


def assert_equal(one: Any, other: Any) -> None:
    """Nested dicts of tensors and numbers, to the bit."""
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        for key, value in other.items():
            assert_equal(one[key], value)
    elif isinstance(other, Tensor):
        assert one.equal(other)
    else:
        assert one == other


REFUSED: dict[str, tuple[type[Exception], str, Tensor, Tensor]] = {
    "features": (
        ValueError,
        r"Engine\.step: expected last dimension in_features=6.* \(7, 5\)",
        torch.zeros(7, 5, dtype=torch.float64),
        torch.zeros(7, dtype=torch.int64),
    ),
    "rows": (
        ValueError,
        r"expected a target of shape \(7,\) .* got \(6,\)",
        torch.zeros(7, 6, dtype=torch.float64),
        torch.zeros(6, dtype=torch.int64),
    ),
    "column of labels": (
        ValueError,
        r"expected a target of shape \(7,\) .* got \(7, 1\)",
        torch.zeros(7, 6, dtype=torch.float64),
        torch.zeros(7, 1, dtype=torch.int64),
    ),
    "dtype": (
        TypeError,
        "float32",
        torch.zeros(7, 6),
        torch.zeros(7, dtype=torch.int64),
    ),
    "labels": (
        TypeError,
        r"int32; convert with target\.long\(\)",
        torch.zeros(7, 6, dtype=torch.float64),
        torch.zeros(7, dtype=torch.int32),
    ),
    "pixels": (
        ValueError,
        r"in_features=6.* \(7, 9\)",
        torch.zeros(7, 3, 3, dtype=torch.uint8),
        torch.zeros(7, dtype=torch.int64),
    ),
    "device": (
        ValueError,
        r"got input on cpu and target on meta; move one of them",
        torch.zeros(7, 6, dtype=torch.float64),
        torch.zeros(7, dtype=torch.int64, device="meta"),
    ),
    "gradient": (
        ValueError,
        "without requires_grad, for no gradient reaches them; detach them",
        torch.zeros(7, 6, dtype=torch.float64, requires_grad=True),
        torch.zeros(7, dtype=torch.int64),
    ),
    "gradient of targets": (
        ValueError,
        "without requires_grad",
        torch.zeros(7, 6, dtype=torch.float64),
        torch.full((7, 3), 1 / 3, dtype=torch.float64, requires_grad=True),
    ),
}


@both_ways
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_batch_that_does_not_fit_changes_nothing(
    case: tuple[type[Exception], str, Tensor, Tensor], native_step: bool
) -> None:
    """It is refused with what came and what was expected; the run goes on as if without it."""
    error, message, x, target = case
    optimize = sgd(momentum=0.9, dampening=0.5)
    twins = Twins(network(), "cross_entropy", optimize, native_step=native_step)
    for _ in range(2):
        with pytest.raises(error, match=message):
            twins.engine.step(x, target)
        assert not twins.optimizer.state
        twins.run(batches(1))
        twins.optimizer.state.clear()
        twins.twins_optimizer.state.clear()
    twins.assert_same()


def hooked(model: MLP) -> MLP:
    model.layers[0].register_forward_hook(lambda *_: None)
    return model


def with_tensor_hook(model: MLP) -> MLP:
    model.weights[0].register_hook(lambda grad: grad)  # type: ignore[no-untyped-call]
    return model


def tied(model: MLP) -> MLP:
    model.layers[1].weight = model.layers[0].weight
    return model


def mixed(model: MLP) -> MLP:
    model.layers[0].double()
    return model


class OwnMLP(MLP):
    """Somebody's subclass, whose forward may be anything."""


UNFIT: dict[str, tuple[Any, str]] = {
    "sequential": (lambda: nn.Sequential(nn.Linear(2, 2)), "expected a torchmlp.MLP, got Seq"),
    "subclass": (lambda: OwnMLP(2, 2, 2), r"expected a torchmlp\.MLP, got OwnMLP; train with auto"),
    "hooks": (lambda: hooked(MLP(2, 2, 2)), "the model has hooks, .*; remove them or train with"),
    "gradient hooks": (lambda: with_tensor_hook(MLP(2, 2, 2)), "a parameter has gradient hooks"),
    "shared": (lambda: tied(MLP(2, [2], 2, dtype=torch.float64)), "layers share a parameter"),
    "dtypes": (lambda: mixed(MLP(2, 2, 2)), "parameters of one floating dtype on one device"),
    "complex": (lambda: MLP(2, [], 2, dtype=torch.complex64), "one floating dtype"),
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
def test_what_only_autograd_trains_is_refused(unfit: tuple[Any, str]) -> None:
    """A model whose step is another one is refused at once, and unsupported_reason says why."""
    make, message = unfit
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert re.search(message, unsupported_reason(model, "mse", optimizer))
    if not isinstance(model, MLP):
        return  # where types are checked, that comes first
    with pytest.raises(ValueError, match=f"Engine: .*{message}"):
        Engine(model, "mse", optimizer)


def test_optimizers_that_need_more_than_gradients_are_refused() -> None:
    """LBFGS evaluates the loss itself, a differentiable optimizer wants a graph."""
    model = MLP(2, 2, 2)
    with pytest.raises(ValueError, match="LBFGS evaluates the loss itself; train with autograd"):
        Engine(model, "mse", torch.optim.LBFGS(model.parameters()))
    differentiable = torch.optim.SGD(model.parameters(), lr=0.1, differentiable=True)
    with pytest.raises(ValueError, match="SGD is differentiable"):
        Engine(model, "mse", differentiable)


def test_losses_have_names() -> None:
    """A misspelt loss names the nearest; a function is told to train with autograd."""
    model = MLP(2, 2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="unknown loss 'mes'; did you mean 'mse'"):
        Engine(model, "mes", optimizer)
    assert "expected a loss by name, got a function" in unsupported_reason(
        model, nn.functional.mse_loss, optimizer
    )
    assert unsupported_reason(model, "mse", optimizer) == ""


@both_ways
def test_hooks_of_the_optimizer_are_called(native_step: bool) -> None:
    """An optimizer with hooks takes its own step, so that they are called, with gradients there."""
    mlp = network()
    optimizer = sgd(momentum=0.9)(mlp.parameters())
    seen: list[bool] = []

    def look(*_: Any) -> None:
        seen.append(all(p.grad is not None for p in mlp.parameters()))

    optimizer.register_step_pre_hook(look)
    optimizer.register_step_post_hook(look)
    engine = Engine(mlp, "cross_entropy", optimizer, native=native_step)
    for x, target in batches(2):
        engine.step(x, target)
    assert seen == [True] * 4


@both_ways
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_right_answers_are_those_of_the_last_step(loss: str, native_step: bool) -> None:
    """`right` counts the rows whose largest output, before the step, was the label's; asking before
    the first step is an error."""
    mlp = network()
    engine = Engine(mlp, loss, sgd(lr=0.1)(mlp.parameters()), native=native_step)
    with pytest.raises(RuntimeError, match=r"Engine\.right: expected a step first"):
        engine.right(torch.zeros(7, dtype=torch.int64))
    assert engine.how == "no step taken yet"
    counts = set()
    for rows in (7, 7, 0, 1, 40, 7):
        ((x, labels),) = batches(1, rows=(rows,))
        expected = int((mlp(x).argmax(-1) == labels).sum())
        engine.step(x, labels if loss == "cross_entropy" else one_hot(labels, 3).double())
        assert int(engine.right(labels)) == expected
        counts.add(expected)
    assert len(counts) > 2


@needs_compiler
def test_subnormal_numbers_are_the_callers_again() -> None:
    """The step in C++ may take subnormal numbers as 0; what is calculated afterwards does not."""
    Twins(network(), "mse", sgd(), native_step=True).run(batches(1, "mse"))
    assert torch.tensor(1e-310, dtype=torch.float64) * 0.5 > 0
    assert 1e-310 * float(torch.tensor(0.5)) > 0


def test_native_false_never_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """native=False does not so much as look for a library."""
    monkeypatch.setattr(library, "load", lambda: pytest.fail("looked for the library"))
    mlp = network()
    engine = Engine(mlp, "cross_entropy", sgd()(mlp.parameters()), native=False)
    for x, target in batches(2):
        engine.step(x, target)


def strided_bias(mlp: MLP) -> MLP:
    """The network with every bias in every other place of a tensor."""
    for bias in mlp.biases:
        assert bias is not None
        bias.data = torch.stack((bias.data, torch.full_like(bias.data, 7.0)), 1)[:, 0]
    return mlp


IMPOSSIBLE: dict[str, tuple[Any, str]] = {
    "dtype": (lambda: network("relu", dtype=torch.bfloat16), "parameters are torch.bfloat16"),
    "layout": (lambda: transposed(network("relu")), "a parameter is not contiguous"),
    "bias layout": (lambda: strided_bias(network("relu")), "a parameter is not contiguous"),
}


def transposed(mlp: MLP) -> MLP:
    for weight in mlp.weights:
        weight.data = weight.data.t().contiguous().t()
    return mlp


@pytest.mark.parametrize("case", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}], ids=str)
def test_native_is_refused_where_it_cannot_be(
    case: tuple[Any, str], settings: dict[str, Any]
) -> None:
    """native=True raises with the reason; None takes torch's operators, and `how` has it."""
    make, reason = case
    mlp = make()
    dtype = mlp.weights[0].dtype
    ((x, target),) = batches(1, dtype=dtype)
    insisting = Engine(mlp, "cross_entropy", sgd()(mlp.parameters()), native=True)
    with pytest.raises(ValueError, match=f"^Engine: native=True, but {re.escape(reason)}; leave"):
        insisting.step(x, target)
    twins = Twins(mlp, "cross_entropy", sgd(**settings), native_step=None)
    twins.run(batches(10, dtype=dtype))
    assert twins.engine.how == f"torch's operators ({reason})"
    assert twins.distance() < TOLERANCES.get(dtype, 2**-7)


@pytest.mark.parametrize("cause", ["forbidden", "no compiler", "damaged"])
def test_without_c_plus_plus_torchs_operators_do(
    cause: str, monkeypatch: pytest.MonkeyPatch, unbuilt: Any
) -> None:
    """TORCHMLP_NATIVE=0, a compiler that is not there, and a library that is damaged then: the step
    is taken all the same, and `how` says why not in C++; native=True raises."""
    if cause == "forbidden":
        monkeypatch.setenv("TORCHMLP_NATIVE", "0")
        reason = "TORCHMLP_NATIVE=0 forbids it"
    elif cause == "no compiler":
        monkeypatch.setenv("CXX", "/nonexistent/c++")
        reason = "FileNotFoundError: "
    else:
        monkeypatch.setenv("CXX", "/nonexistent/c++")
        library._place().parent.mkdir()
        damaged = library._place().with_name(f"{library._place().name}-0.so")
        damaged.write_bytes(b"\x7fELF, or what a full disk has left of it")
        reason = "FileNotFoundError: "
    twins = Twins(network(), "cross_entropy", sgd(momentum=0.9), native_step=None)
    twins.run(batches(10))
    assert twins.engine.how.startswith(f"torch's operators ({reason}")
    twins.assert_same()
    mlp = network()
    engine = Engine(mlp, "cross_entropy", sgd()(mlp.parameters()), native=True)
    ((x, target),) = batches(1)
    with pytest.raises(ValueError, match=f"native=True, but {reason}"):
        engine.step(x, target)
    assert not list(unbuilt.rglob("*.so"))


def allocations(engine: Engine, data: list[tuple[Tensor, Tensor]]) -> list[int]:
    """Bytes of every allocation of CPU memory that the steps over `data` make."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        for x, target in data:
            engine.step(x, target)
    records = profiler.profiler.kineto_results.events()
    return [event.nbytes() for event in records if event.nbytes() > 0]


@pytest.mark.parametrize("native_step", [False, pytest.param(True, marks=needs_compiler)])
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "nesterov": True}], ids=str)
def test_a_step_allocates_nothing_but_the_loss(settings: dict[str, Any], native_step: bool) -> None:
    """After the first steps memory does not grow, nor is any taken and given back: per step a few
    scalars, in a network whose activations have thousands of elements."""
    mlp = network("relu", (60, 50, 40, 10), dtype=torch.float32)
    engine = Engine(mlp, "cross_entropy", sgd(**settings)(mlp.parameters()), native=native_step)
    data = list(batches(6, rows=(64,), features=60, classes=10, dtype=torch.float32))
    for x, target in data:
        engine.step(x, target)
    sizes = allocations(engine, data)
    assert sizes, "the profiler has seen nothing"
    assert max(sizes) <= 8
    assert len(sizes) <= 3 * len(data)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("extra", ["", "pixels", "dropout", "input_dropout"])
@pytest.mark.parametrize("lowest", [0, 1])
def test_a_workspace_is_activations_and_deltas(activation: str, extra: str, lowest: int) -> None:
    """Its bytes: an activation per layer, z too where the derivative reads it, a delta from the
    lowest trained layer up, a column of ones; pixels or input dropout take the input, dropout a
    mask and a product per hidden layer."""
    rates: dict[str, Any] = {extra: 0.5} if "dropout" in extra else {}
    mlp = network(activation, (60, 50, 40, 10), dtype=torch.float32, **rates)
    workspace = Workspace(mlp, 64, lowest, is_pixels=extra == "pixels")
    parameters = {p.untyped_storage().data_ptr() for p in mlp.parameters()}
    fields = [vars(workspace), *(vars(layer) for layer in workspace.layers)]
    storages = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for field in fields
        for value in field.values()
        if isinstance(value, Tensor)
    }
    columns = (50 + 40 + 10) + sum([50, 40, 10][lowest:]) + 1
    columns += (50 + 40) * (activation == "gelu")
    columns += {"": 0, "pixels": 60, "dropout": 2 * (50 + 40), "input_dropout": 2 * 60}[extra]
    assert sum(n for at, n in storages.items() if at not in parameters) == 64 * columns * 4


def test_the_loss_survives_the_engine() -> None:
    """Losses are tensors of their own: a list of them is the run's, whatever follows."""
    mlp = network()
    engine = Engine(mlp, "cross_entropy", sgd(lr=0.1)(mlp.parameters()))
    ((x, target),) = batches(1)
    losses = [engine.step(x, target) for _ in range(5)]
    assert [float(v) for v in losses] == sorted((float(v) for v in losses), reverse=True)
    assert len({float(v) for v in losses}) == 5


def test_the_environment_is_as_the_tests_left_it() -> None:
    """One thread, as conftest sets it: a test that changes their number puts it back."""
    assert torch.get_num_threads() == 1
    assert os.environ.get("TORCHMLP_NATIVE") != "0"
    assert "native" in inspect.signature(Engine).parameters


@pytest.mark.parametrize("native_step", [False, pytest.param(True, marks=needs_compiler)])
def test_a_copy_trains_by_itself(native_step: bool) -> None:
    """copy.deepcopy of an engine that has taken steps: the copy and the original go the same way,
    each over parameters of its own."""
    mlp = network()
    engine = Engine(mlp, "cross_entropy", sgd(momentum=0.9)(mlp.parameters()), native=native_step)
    first, second = batches(2)
    engine.step(*first)
    copy = deepcopy(engine)
    assert copy.step(*second) == engine.step(*second)
    for mine, theirs in zip(copy.model.parameters(), mlp.parameters(), strict=True):
        assert mine.data_ptr() != theirs.data_ptr()
        assert mine.equal(theirs)


@needs_compiler
def test_the_number_of_threads_is_read_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.set_num_threads between two steps holds for the second, and `how` says so."""
    monkeypatch.setattr(native, "WORK_FOR_THREADS", 0)
    mlp = network()
    engine = Engine(mlp, "cross_entropy", sgd()(mlp.parameters()), native=True)
    (batch,) = batches(1)
    before = torch.get_num_threads()
    try:
        for threads, how in ((2, "C++, 2 threads"), (1, "C++, 1 thread")):
            torch.set_num_threads(threads)
            engine.step(*batch)
            assert engine.how == how
    finally:
        torch.set_num_threads(before)


def test_the_batch_size_in_use_keeps_its_buffers() -> None:
    """Of more batch sizes than buffers are kept for, the one used last stays."""
    mlp = network()
    engine = Engine(mlp, "cross_entropy", sgd()(mlp.parameters()), native=False)
    ((x, target),) = batches(1, rows=(20,))
    engine.step(x, target)
    bound = engine._last
    for rows in range(1, 19):
        engine.step(x[:rows], target[:rows])
        engine.step(x, target)
    assert engine._last is bound
