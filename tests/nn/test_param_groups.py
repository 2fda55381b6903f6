"""An optimizer's parameter groups under maximal update parametrization."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F  # noqa: N812  torch's own spelling

from tests.lightning.lightning_runs import ignore_lightnings_own, quiet_trainer
from torchmlp import MLP, Classifier, Engine
from torchmlp.data import Batches, read_embedded
from torchmlp.kernels.optimizers import OPTIMIZERS
from torchmlp.lightning.schedules import OneCycle
from torchmlp.nn.param_groups import scale_rates

pytestmark = ignore_lightnings_own

FACTORS = {  # widths 6-20-40-3, base width 10
    "sgd": {"0.weight": 2, "0.bias": 2, "1.weight": 2, "1.bias": 4, "2.weight": 1 / 4, "2.bias": 1},
    "adam": {"1.weight": 1 / 2, "2.weight": 1 / 4},
}


def network(**settings: Any) -> MLP:
    torch.manual_seed(2)
    return MLP(6, [20, 40], 3, parametrization="mup", base_width=10, **settings)


def rates(optimizer: optim.Optimizer, model: nn.Module) -> dict[str, float]:
    """The learning rate of each parameter, by the end of its name."""
    of = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name.rpartition("layers.")[2]: of[p] for name, p in model.named_parameters()}


def expected(kind: str, lr: float) -> dict[str, float]:
    return {name: lr * FACTORS[kind].get(name, 1) for name in FACTORS["sgd"]}


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_every_parameter_has_its_rate(make: Any) -> None:
    """Each optimizer's rates are the table's, in few groups, the unscaled one first."""
    mlp = network()
    optimizer = scale_rates(make(mlp.parameters(), lr=0.5), mlp)
    kind = "sgd" if make is optim.SGD else "adam"
    assert rates(optimizer, mlp) == expected(kind, 0.5)
    assert [group["rate_factor"] for group in optimizer.param_groups] == (
        [1, 2, 4, 1 / 4] if kind == "sgd" else [1, 1 / 2, 1 / 4]
    )


def test_groups_of_ones_own_keep_their_settings() -> None:
    """A group is split within itself: other settings and the names stay with their parameters."""
    mlp = network()
    names = dict(mlp.named_parameters())
    biases = {name: p for name, p in names.items() if name.endswith("bias")}
    weights = {name: p for name, p in names.items() if name not in biases}
    groups: list[dict[str, Any]] = [
        {"params": list(weights.items()), "weight_decay": 0.1},
        {"params": list(biases.items()), "lr": 3.0},
    ]
    optimizer = scale_rates(optim.SGD(groups, lr=1.0, momentum=0.9), mlp)
    for group in optimizer.param_groups:
        assert group["momentum"] == 0.9
        for name, p in zip(group["param_names"], group["params"], strict=True):
            assert names[name] is p
            factor = FACTORS["sgd"][name.removeprefix("layers.")]
            own = (1.0 * factor, 0.1) if name in weights else (3.0 * factor, 0)
            assert (group["lr"], group["weight_decay"]) == own
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


@pytest.mark.parametrize(
    "model",
    [
        MLP(6, [20], 3),
        MLP(6, [20], 3, parametrization="mup", base_width=20),
        nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)),
    ],
    ids=["standard", "base width", "plain"],
)
def test_nothing_to_scale(model: nn.Module) -> None:
    """One group at the rate that was asked for, as before."""
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    assert scale_rates(optimizer, model) is optimizer
    (group,) = optimizer.param_groups
    assert group["params"] == list(model.parameters())
    assert group["lr"] == 0.5


def test_an_mlp_within_a_module() -> None:
    """What is not an MLP's keeps its rate."""
    whole = nn.ModuleList([nn.Linear(6, 6), network()])
    optimizer = scale_rates(optim.Adam(whole.parameters(), lr=0.5), whole)
    found = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [found[p] for p in whole[0].parameters()] == [0.5, 0.5]
    assert sorted(set(found.values())) == [0.125, 0.25, 0.5]


def test_any_optimizer_for_a_standard_network() -> None:
    """An optimizer that mup is not known for is none of its business without mup."""
    mlp = MLP(6, [20], 3)
    scale_rates(optim.Rprop(mlp.parameters()), mlp)


def test_refusals() -> None:
    """An optimizer that is not known, one scaled already, one with a scheduler."""
    mlp = network()
    with pytest.raises(ValueError, match=r"mup is known for SGD, Adam, .*, got Rprop; choose one"):
        scale_rates(optim.Rprop(mlp.parameters()), mlp)
    optimizer = scale_rates(optim.SGD(mlp.parameters(), lr=0.5), mlp)
    with pytest.raises(ValueError, match="scaled already"):
        scale_rates(optimizer, mlp)
    optimizer = optim.SGD(mlp.parameters(), lr=0.5)
    OneCycle(optimizer)
    with pytest.raises(ValueError, match="expected an optimizer without a scheduler"):
        scale_rates(optimizer, mlp)


SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "adam": {},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_engine_takes_the_steps_of_the_groups(kind: str) -> None:
    """Twenty steps without autograd leave the weights of twenty with it, a rate for each group."""
    mlp = network(dtype=torch.float64)
    twin = copy.deepcopy(mlp)
    make: Any = optim.Adam if kind == "adam" else optim.SGD
    optimizers = [
        scale_rates(make(m.parameters(), lr=0.02, **SETTINGS[kind]), m) for m in (mlp, twin)
    ]
    engine = Engine(mlp, "cross_entropy", optimizers[0])
    start = [weight.clone() for weight in mlp.weights]
    for _ in range(20):
        x, target = torch.randn(8, 6, dtype=torch.float64), torch.randint(3, (8,))
        engine.step(x, target)
        optimizers[1].zero_grad()
        torch.autograd.backward(F.cross_entropy(twin(x), target))
        optimizers[1].step()
    for ours, theirs, old in zip(mlp.weights, twin.weights, start, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        assert not torch.allclose(ours, old, rtol=1e-2)


def classifier(**settings: Any) -> Classifier:
    torch.manual_seed(3)
    return Classifier(
        784, [64], 10, parametrization="mup", base_width=16, **{"engine": "fused", **settings}
    )


def digits() -> Batches:
    images = read_embedded()
    return Batches(images.train_images[:256], images.train_labels[:256], 32)


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_a_classifier_trains_by_them(tmp_path: Path, engine: str) -> None:
    """Its own optimizer has the layers' rates all along the cycle, by the engine and by autograd,
    and both leave the same weights."""
    model = classifier(engine=engine)
    trainer = quiet_trainer(tmp_path, max_epochs=2, logger=False)
    trainer.fit(model, digits(), digits())
    groups = trainer.optimizers[0].param_groups
    assert [group["initial_lr"] for group in groups] == pytest.approx([0.1, 0.4, 0.025])
    assert [group["lr"] / groups[0]["lr"] for group in groups] == pytest.approx([1, 4, 1 / 4])
    assert groups[0]["lr"] < 1e-4
    assert model.trained_by.startswith("the engine" if engine == "fused" else "autograd")
    by_hand = classifier().mlp
    optimizer = scale_rates(
        optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9, nesterov=True), by_hand
    )
    schedule = OneCycle(optimizer, total_steps=16)
    for images, labels in [batch for _ in range(2) for batch in digits()]:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(by_hand(images.flatten(1) / 255), labels))
        optimizer.step()
        schedule.step()
    for ours, theirs in zip(model.mlp.weights, by_hand.weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_groups_survive_a_checkpoint() -> None:
    """An optimizer's state goes into another's, whose rates and steps are then the same."""
    mlp, twin = network(), network()
    one, other = (
        scale_rates(optim.SGD(m.parameters(), lr=lr, momentum=0.9), m)
        for m, lr in ((mlp, 0.1), (twin, 0.7))
    )
    x, target = torch.randn(8, 6), torch.randint(3, (8,))
    Engine(mlp, "cross_entropy", one).step(x, target)
    twin.load_state_dict(mlp.state_dict())
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert rates(other, twin) == rates(one, mlp) == expected("sgd", 0.1)
    for m, optimizer in ((mlp, one), (twin, other)):
        Engine(m, "cross_entropy", optimizer).step(x, target)
    assert all(map(torch.equal, mlp.weights, twin.weights))
