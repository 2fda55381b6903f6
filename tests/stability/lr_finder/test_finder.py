import copy
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own spelling
from torch.optim import SGD, Adam, Optimizer

from torchmlp import MLP, Population
from torchmlp.data.images.embedded import read_embedded
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.run import TrainingRun
from torchmlp.examples.origin import Origin
from torchmlp.stability.lr_finder.finder import RateSearch, _left, find_for, find_learning_rate
from torchmlp.stability.lr_finder.search import RateSteps
from torchmlp.stability.lr_finder.trial_runs import End, RateRuns
from torchmlp.stability.map.data import MapData
from torchmlp.stability.map.outcome import classify_outcome

Parts = tuple[nn.Module, Any, Optimizer, Any]


def quadrants(n: int = 400) -> tuple[Tensor, Tensor]:
    """Whether the two coordinates have the same sign."""
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    return x, (x.prod(1) > 0).long()


def plain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*(layers or (nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))))


def sgd(model: nn.Module, lr: float = 0.1, **settings: Any) -> SGD:
    return SGD(model.parameters(), lr=lr, **settings)


def digits(n: int = 5000) -> tuple[Tensor, Tensor]:
    found = read_embedded()
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(3))[:n]
    return found.train_images[order].flatten(1) / 255, found.train_labels[order]


def ends(model: nn.Module, rate: float, data: tuple[Tensor, Tensor], steps: int = 100) -> float:
    """Loss of all samples after plain descent at this rate."""
    model, optimizer = copy.deepcopy(model), None
    optimizer = sgd(model, rate)
    for x, target in (read_batches(data, 32, steps) * steps)[:steps]:
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(F.cross_entropy(model(data[0]), data[1]).detach())


def test_finds_the_rate_that_trains() -> None:
    """The suggested rate learns, half the largest still does, ten times the largest does not."""
    model, data = plain(), quadrants()
    found = find_learning_rate(model, nn.CrossEntropyLoss(), sgd(model), data)
    assert found.suggested is not None
    assert found.largest is not None
    assert ends(model, found.suggested, data) < 0.25 < 0.5 * found.start
    assert ends(model, found.largest / 2, data) < 0.5
    assert not ends(model, 10 * found.largest, data) < 0.6
    assert found.suggested <= found.largest
    least = min(run.loss for run in found.runs if run.stable)
    assert [run.loss for run in found.runs if run.rate == found.suggested] == [least]
    beyond = [run for run in found.runs if run.rate > found.largest]
    assert not beyond[0].stable
    assert beyond[0].rate <= 1.5 * found.largest
    assert all(run.stable for run in found.runs if run.rate <= found.largest)
    first, second = str(found).splitlines()
    assert first.startswith(f"suggested rate {found.suggested:.3g}: in 100 steps")
    assert second.startswith(f"largest stable rate {found.largest:.3g}; at {beyond[0].rate:.3g} ")
    values = json.loads(found.to_json())
    assert values["largest"] == found.largest
    assert len(values["rates"]) == len(values["losses"])


def test_a_range_without_an_end() -> None:
    """Where even the highest rate trains, that is the largest and is said to be the last."""
    model = plain()
    found = find_learning_rate(
        model, nn.CrossEntropyLoss(), sgd(model), quadrants(), low=0.01, high=0.2
    )
    assert found.broke is None
    assert found.largest == pytest.approx(0.2)
    assert str(found).endswith("largest stable rate 0.2, the highest tried")


def of_nan_data() -> Parts:
    model, (x, target) = plain(), quadrants()
    x[0, 0] = math.nan
    return model, nn.CrossEntropyLoss(), sgd(model), (x, target)


def of_a_late_nan() -> Parts:
    model, (x, target) = plain(), quadrants(800)
    x[8 * 80, 1] = math.nan
    return (
        model,
        nn.CrossEntropyLoss(),
        sgd(model),
        list(zip(torch.split(x, 8), torch.split(target, 8), strict=True)),
    )


def of_a_nan_loss() -> Parts:
    model = plain()
    return model, lambda output, _: (output - 1e3).log().mean(), sgd(model), quadrants()


def of_a_loss_that_refuses_nan() -> Parts:
    model, (x, target) = plain(nn.Linear(2, 1), nn.Sigmoid()), quadrants()
    x[:, 0] = math.nan
    return model, nn.BCELoss(), sgd(model), (x, target.float()[:, None])


def of_a_nan_gradient() -> Parts:
    model = plain()
    loss = lambda output, _: (output * 0).abs().sum().sqrt()  # noqa: E731  slope of √ at 0: ∞ · 0
    return model, loss, sgd(model), quadrants()


def of_the_origin() -> Parts:
    found = read_embedded()
    return (*Origin().parts(), (found.train_images[::10], found.train_labels[::10]))


def of_the_origin_in_float64() -> Parts:
    found = read_embedded()
    data = found.train_images[::10], found.train_labels[::10]
    return (*Origin(hidden=50).double().parts(), data)


def of_dead_units() -> Parts:
    model = plain()
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.fill_(0.0 if parameter.ndim > 1 else -1.0)
    return model, "cross_entropy", sgd(model), quadrants()


def of_a_mean_only() -> Parts:
    model, x = plain(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), quadrants()[0]
    noise = torch.randn(400, 1, generator=torch.Generator().manual_seed(2))
    return model, nn.MSELoss(), Adam(model.parameters()), (x, 100 + noise)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (of_nan_data, "the first nan is in x at step "),
        (of_a_late_nan, "even at 0.01 the first nan is in x at step 80"),
        (of_a_nan_loss, "at every rate the first nan is in loss at step 0, made by log"),
        (of_a_loss_that_refuses_nan, "at every rate the first nan is in x at step 0"),
        (
            of_a_nan_gradient,
            "even at 0.01 the first nan is in delta of layer 2 at step 0, made by sqrt",
        ),
        (of_the_origin, "at every rate the first inf is in loss at step 0, made by exp"),
        (of_the_origin_in_float64, "no run of 100 steps learned to tell one sample from another"),
        (of_dead_units, "no run of 100 steps learned to tell one sample from another"),
        (of_a_mean_only, "no run of 100 steps learned to tell one sample from another"),
    ],
)
def test_no_stable_rate_is_a_result(make: Callable[[], Parts], words: str) -> None:
    """Whatever breaks at every rate, or learns no more than a mean, is said so, and not raised."""
    found = find_learning_rate(*make(), low=0.01, batch_size=20)
    assert (found.suggested, found.largest) == (None, None)
    assert str(found).startswith("no stable rate below 10: ")
    assert words in str(found)
    assert not any(run.stable for run in found.runs)
    assert json.loads(found.to_json())["largest"] is None


def test_finite_and_dead_is_not_stable() -> None:
    """A rate that kills the ReLUs and leaves the loss at ln 10 is not stable."""
    model = MLP(784, 32, 10)
    found = find_learning_rate(model, "cross_entropy", sgd(model), digits(), batch_size=64)
    dead = [run for run in found.runs if abs(run.loss - math.log(10)) < 0.1]
    assert dead
    assert not any(run.stable for run in dead)
    assert found.largest is not None
    assert min(run.rate for run in dead) > found.largest


class Known(RateRuns):
    """Runs whose ends are known: a loss for every rate, and between them the nearest one's."""

    def __init__(self, losses: dict[float, float], at_start: float = 2.37) -> None:
        self.at_start, self.steps = at_start, 100
        self.known, self.asked = losses, list[float]()

    def end(self, rate: float) -> End:
        self.asked.append(rate)
        loss = self.known[min(self.known, key=lambda known: abs(math.log(known / rate)))]
        broke = "" if math.isfinite(loss) else "nan"
        return End(loss, 2.9, loss < 2.28 or loss > 2.4, broke)


# As Adam on digits has it: at 3.16 a little is learned, at 1 all units die, 0.316 diverges.
ADAM = {1e1: math.nan, 3.16: 2.1, 1.0: 2.3, 0.316: 3.02, 0.1: 0.58, 0.0316: 0.145, 0.01: 0.144}
ADAM |= {3.16e-3: 0.22, 1e-3: 0.36, 3.16e-4: 0.72, 1e-4: 1.49, 1e-5: 2.29, 1e-6: 2.36}
GRID = [10.0 ** (k / 2 - 6) for k in range(15)]


@pytest.mark.parametrize("broke", [10.0, 1.0, 0.1, 1e-3, 1e-6])
def test_the_best_rate_is_found_from_anywhere(broke: float) -> None:
    """Whatever rate the sweep broke at: not the first that learns a little, far above the best.

    Nor is every rate tried: none that is slower than a slow one.
    """
    runs = Known(ADAM)
    search = RateSteps(runs, GRID)
    search.confirm(broke)
    assert search.best() == pytest.approx(0.01)
    largest, above = search.edge()
    assert 0.1 <= largest < 0.178 < 1.5 * largest
    assert largest < above < 1.5 * largest
    assert len(runs.asked) == len(set(runs.asked))
    if broke >= 0.1:
        assert min(runs.asked) == pytest.approx(1e-4)


def test_learning_a_mean_is_not_enough() -> None:
    """From a start far from the targets' mean nearly all of the fall is that mean's.

    2.5, of 10,000 at the start, is no success beside 0.5 where other samples' targets cost 2.9.
    """
    search = RateSteps(Known({0.01: 1.0, 0.1: 0.5, 0.316: 2.5, 1.0: 2.6}, at_start=1e4), GRID)
    search.confirm(1.0)
    assert search.best() == pytest.approx(0.1)
    assert search.edge()[0] < 0.2


class Watched(nn.Module):
    """Keeps the modes it was called in."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(self.training)
        return x


def test_trains_in_training_mode() -> None:
    """Also a model that stands in evaluation mode, as after a validation; it stays in it."""
    model = plain(nn.Linear(2, 8), Watched(), nn.Linear(8, 2)).eval()
    find_learning_rate(model, nn.CrossEntropyLoss(), sgd(model), quadrants(), steps=10)
    watched = model[1]
    assert isinstance(watched, Watched)
    assert watched.seen == {True}
    assert not watched.training


def test_where_a_sweep_breaks() -> None:
    """Where its smoothed loss is four times its least, or not finite; one bad batch is not enough.

    A loss below 0 breaks as far above its least.
    """
    falling = [2.0 - 0.01 * k for k in range(100)]
    assert _left(falling) is None
    assert _left([*falling, 9.0, *falling[:10]]) is None
    assert _left([*falling, *[1e3] * 5]) == 100
    assert _left([*falling, math.nan, 1.0]) == 100
    assert _left([-loss for loss in falling]) is None
    assert _left([-1.0] * 50 + [30.0] * 5) in (50, 51)


def of_momentum() -> Parts:
    model = plain()
    return model, nn.CrossEntropyLoss(), sgd(model, momentum=0.9), quadrants()


def of_adam_and_noise() -> Parts:
    model = plain(
        nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2)
    )
    model[3].eval()
    return model, nn.CrossEntropyLoss(), Adam(model.parameters()), quadrants()


def of_an_engine() -> Parts:
    model = MLP(2, 32, 2)
    return model, "cross_entropy", sgd(model, momentum=0.9), quadrants()


@pytest.mark.parametrize("make", [of_momentum, of_adam_and_noise, of_an_engine])
def test_leaves_all_as_it_was(make: Callable[[], Parts]) -> None:
    """Model, modes, gradients, optimizer and generators are afterwards what they were."""
    model, loss, optimizer, data = make()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    modes = [module.training for module in model.modules()]
    state, drawn = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002  the global generator
    found = find_learning_rate(model, loss, optimizer, data)
    assert found.largest is not None
    after = model.state_dict(), optimizer.state_dict()
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert modes == [module.training for module in model.modules()]
    assert all(bool((p.grad == 1).all()) for p in model.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert drawn == np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002  the global generator
    assert find_learning_rate(model, loss, optimizer, data) == found


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_mlp_is_searched_without_autograd_alike(momentum: float) -> None:
    """By the engine or by autograd: the same runs, each from a velocity of 0."""
    model, data = MLP(2, 32, 2), quadrants()
    optimizer = sgd(model, momentum=momentum)
    fast = find_learning_rate(model, "cross_entropy", optimizer, data, low=0.01, steps=20)
    slow = find_learning_rate(model, nn.CrossEntropyLoss(), optimizer, data, low=0.01, steps=20)
    assert fast.suggested == slow.suggested
    assert fast.start == pytest.approx(slow.start, rel=1e-5)
    # Beyond the edge of stability rounding grows.
    pairs = [(a, b) for a, b in zip(fast.runs, slow.runs, strict=True) if a.rate <= 0.1]
    assert pairs
    for a, b in pairs:
        assert a.loss == pytest.approx(b.loss, rel=1e-4)


class Spied(SGD):
    """Keeps the rates of every step."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups)
        self.seen: list[list[float]] = []

    def step(self, closure: Any = None) -> Any:
        self.seen.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


def test_groups_keep_their_ratio() -> None:
    """The second group's rate is a tenth of the first's, in every step; rates are the first's."""
    model = plain()
    groups = [
        {"params": list(model[0].parameters()), "lr": 0.5},
        {"params": list(model[2].parameters()), "lr": 0.05},
    ]
    spied = Spied(groups)
    found = find_learning_rate(model, nn.CrossEntropyLoss(), spied, quadrants(), steps=40)
    assert [group["lr"] for group in spied.param_groups] == [0.5, 0.05]
    assert all(second == pytest.approx(first / 10) for first, second in spied.seen)
    assert {run.rate for run in found.runs} <= {first for first, _ in spied.seen}


def test_a_schedule_is_left_out() -> None:
    """The runs are at constant rates, whatever the subject's schedule would make of them."""
    model, data = plain(), quadrants()
    optimizer, batches = sgd(model), read_batches(data, None, 40)
    loss = nn.CrossEntropyLoss()
    found = find_for(TrainingRun(model, loss, optimizer, batches, lambda *_: 1e-9), steps=40)
    assert found == find_learning_rate(model, loss, optimizer, data, steps=40)


def test_the_sweep_grows_geometrically_and_ends_where_it_breaks() -> None:
    """Every rate is the same multiple of the last; nothing is kept after the step that broke."""
    model = plain()
    found = find_learning_rate(
        model, nn.CrossEntropyLoss(), sgd(model), quadrants(), low=1e-4, high=1e6, steps=101
    )
    assert np.allclose(np.diff(np.log10(found.rates)), 0.1)
    assert found.rates[0] == pytest.approx(1e-4)
    assert found.broke == found.rates[-1] < 1e6
    assert len(found.rates) == len(found.losses) < 101


def test_a_loss_below_zero() -> None:
    """A likelihood of a density, which may be negative, is searched like any other loss."""
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    y = 0.03 * x[:, :1]

    def likelihood(output: Tensor, target: Tensor) -> Tensor:
        mean, log_std = output[:, :1], output[:, 1:].clamp_min(-3.0)
        return (log_std + 0.5 * ((target - mean) * (-log_std).exp()).square()).mean()

    model = plain(nn.Linear(2, 2))
    found = find_learning_rate(model, likelihood, Adam(model.parameters()), (x, y))
    assert found.largest is not None
    assert min(run.loss for run in found.runs if run.stable) < -1 < 0 < found.start


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"low": 0.0}, "expected rates 0 < low < high, got low=0.0, high=10.0"),
        ({"low": 1.0, "high": 1.0}, "expected rates 0 < low < high, got low=1.0, high=1.0"),
        ({"high": math.inf}, "got low=1e-06, high=inf"),
        ({"low": math.nan}, "got low=nan"),
        ({"steps": 9}, "steps: expected at least 10, got 9"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
    ],
)
def test_refuses_what_is_no_range(settings: dict[str, Any], words: str) -> None:
    """Rates and steps out of range."""
    model = plain()
    with pytest.raises(ValueError, match=words):
        find_learning_rate(model, nn.CrossEntropyLoss(), sgd(model), quadrants(), **settings)


class Rateless(Optimizer):
    """Has no lr."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})


def test_refuses_what_cannot_be_searched() -> None:
    """A loss that does not fit its targets, a frozen model, and an optimizer without a rate."""
    model, (x, target) = plain(), quadrants()
    with pytest.raises(ValueError, match="raised IndexError on inputs of shape"):
        find_learning_rate(model, nn.CrossEntropyLoss(), sgd(model), (x, target + 2))
    with pytest.raises(ValueError, match="no learning rate lr"):
        find_learning_rate(model, nn.CrossEntropyLoss(), Rateless(model.parameters()), (x, target))
    optimizer = sgd(model)
    model.requires_grad_(requires_grad=False)
    with pytest.raises(ValueError, match="expected parameters that are not frozen"):
        find_learning_rate(model, nn.CrossEntropyLoss(), optimizer, (x, target))


def largest_that_learns(
    width: int, batch_size: int, activation: str, data: tuple[Tensor, Tensor]
) -> float:
    """The largest rate, of four in a decade, whose 200 steps learn."""
    found = read_embedded()
    held, labels = found.test_images.flatten(1) / 255, found.test_labels
    scale = MapData.of(found.train_images, found.train_labels, found.test_images, labels)
    rates = [float(rate) for rate in 10 ** np.arange(-1, 1.6, 0.25)]
    population = Population(
        784, width, 10, size=len(rates), activation=activation, lr=rates, seeds=[0] * len(rates)
    )
    batches = read_batches(data, batch_size, 200)
    losses = torch.stack([population.step(*batches[k % len(batches)]).clone() for k in range(200)])
    right = population.outputs(held).argmax(-1) == labels
    learned = [
        rate
        for rate, own, accuracy in zip(rates, losses.T, right.double().mean(-1), strict=True)
        if classify_outcome(own.tolist(), float(accuracy), scale.chance, scale.reachable)[0]
        == "learns"
    ]
    return max(learned)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "batch_size", "width"),
    [
        *(("relu", 8, 128), ("relu", 64, 128), ("relu", 512, 32)),
        *(("sigmoid", 8, 32), ("sigmoid", 64, 128), ("sigmoid", 512, 32)),
    ],
)
def test_agrees_with_runs_of_200_steps(activation: str, batch_size: int, width: int) -> None:
    """The largest stable rate is within a factor of 3 of the largest one that learns."""
    found = read_embedded()
    data = found.train_images.flatten(1) / 255, found.train_labels
    torch.manual_seed(0)
    model = MLP(784, width, 10, activation)
    search: RateSearch = find_learning_rate(
        model, "cross_entropy", sgd(model), data, high=100.0, batch_size=batch_size
    )
    assert search.largest is not None
    ratio = search.largest / largest_that_learns(width, batch_size, activation, data)
    assert 1 / 3 < ratio < 3
