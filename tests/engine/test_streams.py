import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.lightning.lightning_runs import blobs
from torchmlp import (
    MLP,
    TrainingState,
    close_enough,
    long_enough,
    mean_loss,
    network_loss,
    no_improvement,
    reported,
    training_states,
    until,
)
from torchmlp.kernels.network import Layer, descent_step

Optimize = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Optimize] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.3),
    "momentum": lambda parameters: torch.optim.SGD(
        parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3
    ),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
}
every_optimizer = pytest.mark.parametrize("optimize", OPTIMIZERS.values(), ids=OPTIMIZERS)


def mlp(seed: int = 1, **settings: Any) -> MLP:
    torch.manual_seed(seed)
    return MLP(6, [8, 5], 3, "tanh", **settings)


def minibatches(steps: int = 12) -> list[tuple[Tensor, Tensor]]:
    x, labels = blobs()
    pairs = [(x[i : i + 16], labels[i : i + 16]) for i in range(0, len(x), 16)]
    return list(itertools.islice(itertools.cycle(pairs), steps))


def loop(
    loss: Callable[[Tensor, Tensor], Tensor], optimizer: torch.optim.Optimizer
) -> list[Tensor]:
    """Training as everybody writes it; the losses."""
    losses = []
    for x, target in minibatches():
        optimizer.zero_grad()
        value = loss(x, target)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(value.detach())
    return losses


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    """To the last bit."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(a.equal(b) for a, b in pairs)


def assert_close(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Twelve float32 steps, whose sums were taken in another order."""
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=4e-6, atol=4e-7)


@every_optimizer
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_stream_is_the_loop_written_by_hand(optimize: Optimize, loss: str) -> None:
    """An MLP's stream takes, to rounding, the steps of a loop around `network_loss`."""
    by_hand, streamed = mlp(), mlp()

    def encode_targets(labels: Tensor) -> Tensor:
        return labels if loss == "cross_entropy" else nn.functional.one_hot(labels, 3).float()

    losses = loop(
        lambda x, labels: network_loss(
            x, encode_targets(labels), by_hand.weights, by_hand.biases, by_hand.activations, loss
        ),
        optimize(by_hand.parameters()),
    )
    batches = [(x, encode_targets(labels)) for x, labels in minibatches()]
    states = list(training_states(streamed, loss, optimize(streamed.parameters()), batches))
    assert [state.step for state in states] == list(range(1, 13))
    assert_close([state.loss for state in states], losses)
    assert_close(list(streamed.parameters()), list(by_hand.parameters()))
    assert all(state.model is streamed for state in states)
    assert not any(state.loss.requires_grad for state in states)


@every_optimizer
def test_any_module_and_any_loss(optimize: Optimize) -> None:
    """A module of somebody else's, with batch norm, and a loss function: the same loop again."""

    def network() -> nn.Module:
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    by_hand, streamed = network(), network()
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    losses = loop(lambda x, t: loss(by_hand(x), t), optimize(by_hand.parameters()))
    stream = training_states(streamed, loss, optimize(streamed.parameters()), minibatches())
    assert [state.loss.item() for state in stream] == [value.item() for value in losses]
    assert_same_weights(streamed, by_hand)


@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"input_dropout": 0.5}], ids=str)
def test_dropout_is_not_left_out(rates: dict[str, Any]) -> None:
    """An MLP with dropout drops, while it trains, what its forward in a loop would drop."""
    by_hand, streamed, without = mlp(**rates), mlp(**rates), mlp()
    torch.manual_seed(3)
    losses = loop(lambda x, t: mean_loss(by_hand(x), t), OPTIMIZERS["sgd"](by_hand.parameters()))
    torch.manual_seed(3)
    optimizer = OPTIMIZERS["sgd"](streamed.parameters())
    stream = training_states(streamed, "cross_entropy", optimizer, minibatches())
    assert_close([state.loss for state in stream], losses)
    assert_close(list(streamed.parameters()), list(by_hand.parameters()))
    plain = training_states(
        without, "cross_entropy", OPTIMIZERS["sgd"](without.parameters()), minibatches()
    )
    assert next(plain).loss != losses[0]


def test_in_evaluation_mode_nothing_is_dropped() -> None:
    """model.eval() trains the network without its dropout."""
    without, switched_off = mlp(), mlp(dropout=0.5).eval()
    for model in (without, switched_off):
        sgd = OPTIMIZERS["sgd"](model.parameters())
        *_, _ = training_states(model, "cross_entropy", sgd, minibatches())
    assert_same_weights(without, switched_off)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
def test_the_pure_descent_step_goes_the_same_way(loss: str) -> None:
    """The stream's weights are those of kernels.network.descent_step, the equations themselves."""
    model = mlp(dtype=torch.float64)
    layers = [
        Layer(w.detach().clone(), b if b is None else b.detach().clone(), phi)
        for w, b, phi in zip(model.weights, model.biases, model.activations, strict=True)
    ]
    batches = [
        (x.double(), t if loss == "cross_entropy" else nn.functional.one_hot(t, 3).double())
        for x, t in minibatches()
    ]
    sgd = torch.optim.SGD(model.parameters(), lr=0.3)
    for _, (x, target) in zip(training_states(model, loss, sgd, batches), batches, strict=True):
        layers = descent_step(layers, x, target, loss, rate=0.3)
        for weight, bias, layer in zip(model.weights, model.biases, layers, strict=True):
            torch.testing.assert_close(weight, layer.weight, rtol=0, atol=1e-12)
            assert bias is not None
            assert layer.bias is not None
            torch.testing.assert_close(bias, layer.bias, rtol=0, atol=1e-12)


def test_the_rate_is_a_function_of_the_step() -> None:
    """Every parameter group descends at rate(step), from step 1, and the state tells the rate."""
    model, by_hand = mlp(), mlp()
    groups = [{"params": [p]} for p in model.parameters()]
    sgd = torch.optim.SGD(groups, lr=123.0)
    states = training_states(
        model, "cross_entropy", sgd, minibatches(), rate=lambda step: 0.5 / step
    )
    for state in states:
        assert state.rate == 0.5 / state.step
        assert [group["lr"] for group in sgd.param_groups] == [state.rate] * len(groups)
    step = itertools.count(1)
    reference = torch.optim.SGD(by_hand.parameters(), lr=0.0)

    def loss(x: Tensor, target: Tensor) -> Tensor:
        reference.param_groups[0]["lr"] = 0.5 / next(step)
        return mean_loss(by_hand(x), target)

    loop(loss, reference)
    for mine, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_without_a_rate_the_optimizer_keeps_its_own() -> None:
    """What the caller, or a scheduler, sets between two states is the next step's rate."""
    model = mlp()
    sgd = torch.optim.SGD(model.parameters(), lr=0.4)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(sgd, 0.5)
    rates = []
    for state in training_states(model, "cross_entropy", sgd, minibatches(4)):
        rates.append(state.rate)
        scheduler.step()
    assert rates == [0.4, 0.2, 0.1, 0.05]


def test_a_stream_steps_when_it_is_asked() -> None:
    """Nothing happens before the first state is asked for; one state is one step."""
    model, untouched = mlp(), mlp()
    taken = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for number, batch in enumerate(minibatches()):
            taken.append(number)
            yield batch

    states = training_states(
        model, "cross_entropy", OPTIMIZERS["sgd"](model.parameters()), batches()
    )
    assert_same_weights(model, untouched)
    assert next(states).step == 1
    assert taken == [0]
    assert not next(iter(model.parameters())).equal(next(iter(untouched.parameters())))


def test_a_loss_has_to_be_a_scalar() -> None:
    """A loss per sample is refused, with the remedy, and no weight has moved."""
    model, untouched = mlp(), mlp()
    per_sample = nn.CrossEntropyLoss(reduction="none")
    sgd = OPTIMIZERS["sgd"](model.parameters())
    message = r"expected a loss function that returns a scalar, got shape \(16,\); take its mean"
    with pytest.raises(ValueError, match=message):
        next(training_states(model, per_sample, sgd, minibatches()))
    assert_same_weights(model, untouched)


@pytest.mark.parametrize(
    "model", [mlp(), mlp(dropout=0.1), nn.Linear(6, 3)], ids=["mlp", "dropout", "module"]
)
def test_an_unknown_loss_names_the_nearest(model: nn.Module) -> None:
    """A misspelt loss is a ValueError whichever way the model takes."""
    sgd = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(ValueError, match="unknown loss 'cross_entropi'; did you mean 'cross_ent"):
        next(training_states(model, "cross_entropi", sgd, minibatches()))


MODEL = nn.Linear(1, 1)


def states_of(*losses: float) -> Iterator[TrainingState]:
    """A stream with these losses."""
    for step, loss in enumerate(losses, 1):
        yield TrainingState(step, torch.tensor(loss, dtype=torch.float64), 0.1, MODEL)


def steps_until(conditions: list[Callable[[TrainingState], bool]], *losses: float) -> int:
    """How many states of a stream with these losses come before a condition ends it."""
    return len(list(until(states_of(*losses), *conditions)))


def test_until_ends_with_the_state_that_meets_a_condition() -> None:
    """That state is the last one, and the stream behind it is asked for no more."""
    source = states_of(*[1.0] * 9)
    assert [state.step for state in until(source, long_enough(3))] == [1, 2, 3]
    assert next(source).step == 4
    assert [state.step for state in until(states_of(1.0, 1.0), long_enough(3))] == [1, 2]
    assert [state.step for state in until(states_of(1.0, 1.0))] == [1, 2]


def test_any_one_condition_is_enough() -> None:
    """The first condition that is met ends the stream, whatever its place."""
    losses = [4.0, 3.0, 2.0, 2.0, 1.0, 0.0]
    assert steps_until([close_enough(0.1), long_enough(2)], *losses) == 2
    assert steps_until([long_enough(5), close_enough(0.1)], *losses) == 4
    assert steps_until([long_enough(9), close_enough(0.1)], *losses) == 4


def test_every_condition_sees_every_state() -> None:
    """A condition that is met does not hide the state from those behind it, for they remember."""
    seen = []

    def look(state: TrainingState) -> bool:
        seen.append(state.step)
        return False

    list(until(states_of(3.0, 2.0, 1.0), lambda state: state.step == 3, look))
    assert seen == [1, 2, 3]


def test_close_enough_compares_neighbours() -> None:
    """It is met when the loss changes by less than the tolerance, up or down; nan never is."""
    assert steps_until([close_enough(0.1)], 5.0, 4.0, 3.95, 3.0) == 3
    assert steps_until([close_enough(0.1)], 5.0, 5.0625, 3.0) == 2
    assert steps_until([close_enough(0.125)], 5.0, 4.875, 4.875) == 3
    assert steps_until([close_enough(0.1)], *[float("nan")] * 4) == 4
    assert steps_until([close_enough(0.1)], 0.0, 1.0, 0.0) == 3


def test_no_improvement_compares_with_the_best() -> None:
    """It counts the states since the best loss fell by more than the tolerance; nan counts too."""
    assert steps_until([no_improvement(0.0, 2)], 5.0, 4.0, 4.5, 4.25, 1.0) == 4
    assert steps_until([no_improvement(0.0, 2)], 5.0, 6.0, 4.0, 6.0, 3.0, 6.0) == 6
    assert steps_until([no_improvement(0.0, 1)], 5.0, 5.0, 1.0) == 2
    # Each loss is a little below the last one, none by more than the tolerance below the best.
    assert steps_until([no_improvement(0.5, 2)], 5.0, 4.75, 4.5, 4.0) == 3
    assert steps_until([no_improvement(0.5, 2)], 5.0, 4.75, 4.25, 4.0) == 4
    assert steps_until([no_improvement(0.0, 3)], 1.0, *[float("nan")] * 5) == 4


def test_reported_looks_in_passing() -> None:
    """The action sees every n-th state before the caller does; the stream stays as it was."""
    seen: list[int] = []
    stream = reported(states_of(*[1.0] * 7), 3, lambda state: seen.append(state.step))
    for state in stream:
        assert seen == list(range(3, state.step + 1, 3))
    assert seen == [3, 6]


def test_reported_needs_a_positive_interval() -> None:
    """Every zeroth state is an error, not a ZeroDivisionError."""
    with pytest.raises(ValueError, match="reported: expected every >= 1, got 0"):
        next(reported(states_of(1.0), 0, print))


def test_streams_compose_over_an_endless_one() -> None:
    """itertools.cycle, reported and until: a run ends although its batches never do."""
    model = mlp()
    sgd = torch.optim.SGD(model.parameters(), lr=0.5)
    states = training_states(model, "cross_entropy", sgd, itertools.cycle(minibatches()))
    *_, last = until(reported(states, 100, lambda _: None), close_enough(1e-5), long_enough(5000))
    assert last.step < 5000
    x, labels = blobs()
    assert (model(x).argmax(-1) == labels).float().mean() > 0.95


def test_a_gradient_from_before_is_cleared() -> None:
    """What an earlier backward pass left in `.grad` is not there after the first step."""
    model = mlp()
    x, labels = minibatches()[0]
    mean_loss(model(x), labels).backward()  # type: ignore[no-untyped-call]
    sgd = OPTIMIZERS["sgd"](model.parameters())
    next(training_states(model, "cross_entropy", sgd, minibatches()))
    assert all(p.grad is None for p in model.parameters())


def test_autocast_is_heeded() -> None:
    """Under autocast the products are taken in bfloat16, as in a loop by hand."""
    by_hand, streamed = mlp(), mlp()
    with torch.autocast("cpu", torch.bfloat16):
        losses = loop(
            lambda x, t: mean_loss(by_hand(x), t), OPTIMIZERS["sgd"](by_hand.parameters())
        )
        sgd = OPTIMIZERS["sgd"](streamed.parameters())
        stream = list(training_states(streamed, "cross_entropy", sgd, minibatches()))
    assert [state.loss.item() for state in stream] == [value.item() for value in losses]
    assert_same_weights(streamed, by_hand)
