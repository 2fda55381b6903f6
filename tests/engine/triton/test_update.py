"""SGD, Adam and AdamW as one launch beside torch.optim's own steps."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.twins import distance

SIZES = [(1025, 3), (7,), (1,), (40, 50)]
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    "Nesterov": ("SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    "ascent": ("SGD", {"maximize": True, "weight_decay": 0.1}),
    "Adam": ("Adam", {}),
    "Adam with decay": ("Adam", {"weight_decay": 0.1, "betas": (0.7, 0.95), "eps": 1e-3}),
    "Adam up": ("Adam", {"maximize": True}),
    "AdamW": ("AdamW", {"weight_decay": 0.1}),
}


def parameters(gpu: torch.device) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(size).to(gpu).requires_grad_() for size in SIZES]


def made(name: str, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Of two groups with rates of their own."""
    kind, settings = SETTINGS[name]
    groups = [{"params": parameters[:3], "lr": 0.02}, {"params": parameters[3:]}]
    optimizer: torch.optim.Optimizer = getattr(torch.optim, kind)(groups, lr=0.05, **settings)
    return optimizer


def gradients(steps: int) -> Iterator[list[Tensor]]:
    for _ in range(steps):
        yield [torch.randn(size) for size in SIZES]


def update_of(optimizer: torch.optim.Optimizer) -> Any:
    from torchmlp.engine.triton.update import TritonUpdate, is_plain  # noqa: PLC0415  needs triton

    assert is_plain(optimizer)
    return TritonUpdate(optimizer)


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_torchs_step(gpu: torch.device, name: str) -> None:
    """After twelve steps with rates that change: torch's parameters and state to float32's
    rounding; the state_dict has what torch's has, and torch goes on from it."""
    mine, theirs = parameters(gpu), parameters(gpu)
    one, other = made(name, mine), made(name, theirs)
    update = update_of(one)
    for number, found in enumerate(gradients(12)):
        for p, q, g in zip(mine, theirs, found, strict=True):
            p.grad, q.grad = g.to(gpu), g.to(gpu)
        for optimizer in (one, other):
            optimizer.param_groups[0]["lr"] = 0.03 / (1 + number)
        (update if number < 10 else one).step()
        other.step()
        assert update.is_ready()
    assert distance(mine, theirs) < 5e-7
    states = [optimizer.state_dict()["state"] for optimizer in (one, other)]
    assert states[0].keys() == states[1].keys()
    for key, state in states[1].items():
        assert states[0][key].keys() == state.keys()
        for what, value in state.items():
            torch.testing.assert_close(states[0][key][what], value, rtol=1e-5, atol=1e-6)


CHANGES = ["loaded", "cleared", "count", "parameter", "gradient", "moment", "momentum on"]


@pytest.mark.parametrize("change", CHANGES)
def test_what_happens_between_two_steps(gpu: torch.device, change: str) -> None:
    """State that is loaded, cleared or set, memory that moves, a momentum that was none: from the
    next step on the kernel works on what is there then, as torch does."""
    mine, theirs = parameters(gpu), parameters(gpu)
    name = "SGD" if change == "momentum on" else "Adam"
    one, other = made(name, mine), made(name, theirs)
    update = update_of(one)
    for number, found in enumerate(gradients(6)):
        for p, q, g in zip(mine, theirs, found, strict=True):
            if p.grad is None or q.grad is None:
                p.grad, q.grad = g.to(gpu), g.to(gpu)
            p.grad.copy_(g)
            q.grad.copy_(g)
        if number == 3:
            changed(change, one, mine)
            changed(change, other, theirs)
        update.step()
        other.step()
    assert update.is_ready()
    assert distance(mine, theirs) < 5e-7


def changed(change: str, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
    first = parameters[0]
    if change == "loaded":
        optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
    elif change == "cleared":
        optimizer.state.clear()
    elif change == "count":
        for p in parameters:
            optimizer.state[p]["step"] = torch.tensor(20.0)
    elif change == "parameter":
        first.data = first.data.clone()
    elif change == "gradient":
        assert first.grad is not None
        first.grad.data = first.grad.data.clone()
    elif change == "moment":
        moment = optimizer.state[first]["exp_avg"]
        moment.data = moment.data.clone().mul_(2)
    else:
        for group in optimizer.param_groups:
            group["momentum"] = 0.9


def test_counts_that_differ(gpu: torch.device) -> None:
    """Parameters of one group with other counts of steps are torch's to step."""
    mine, theirs = parameters(gpu), parameters(gpu)
    one, other = made("Adam", mine), made("Adam", theirs)
    update = update_of(one)
    for number, found in enumerate(gradients(4)):
        for k, (p, q, g) in enumerate(zip(mine, theirs, found, strict=True)):
            if number or k:  # the first comes a step later
                p.grad, q.grad = g.to(gpu), g.to(gpu)
        update.step()
        other.step()
    assert not update.is_ready()
    assert distance(mine, theirs) < 5e-7


def test_what_has_no_gradient_stays(gpu: torch.device) -> None:
    """Parameters without one, and a whole group of them."""
    mine = parameters(gpu)
    one = made("momentum", mine)
    update = update_of(one)
    start = [p.detach().clone() for p in mine]
    mine[1].grad = torch.ones_like(mine[1])
    for _ in range(3):
        update.step()
    assert [not p.equal(q) for p, q in zip(mine, start, strict=True)] == [False, True, False, False]


LEFT_TO_TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "amsgrad": ("Adam", {"amsgrad": True}),
    "fused": ("Adam", {"fused": True}),
    "foreach": ("SGD", {"foreach": True}),
    "another": ("RMSprop", {}),
}


@pytest.mark.parametrize("name", LEFT_TO_TORCH)
def test_what_is_left_to_torch(gpu: torch.device, name: str) -> None:
    """Other equations, and other ways that were asked for."""
    from torchmlp.engine.triton.update import is_plain  # noqa: PLC0415  needs triton

    kind, settings = LEFT_TO_TORCH[name]
    assert not is_plain(getattr(torch.optim, kind)(parameters(gpu), lr=0.1, **settings))


def test_hooks_are_torchs(gpu: torch.device) -> None:
    """Somebody who listens to the optimizer's steps hears them."""
    from torchmlp.engine.triton.update import is_plain  # noqa: PLC0415  needs triton

    optimizer = made("Adam", parameters(gpu))
    assert is_plain(optimizer)
    optimizer.register_step_post_hook(lambda *_: None)
    assert not is_plain(optimizer)


def test_a_rate_that_is_a_tensor(gpu: torch.device) -> None:
    """Is torch's step: to read it would wait for the device."""
    mine = parameters(gpu)
    optimizer = torch.optim.SGD(mine, lr=torch.tensor(0.1))
    update = update_of(optimizer)
    mine[0].grad = torch.ones_like(mine[0])
    before = mine[0].detach().clone()
    update.step()
    assert not update.is_ready()
    torch.testing.assert_close(mine[0].detach(), before - 0.1)
