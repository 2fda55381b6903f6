"""Watching leaves nothing behind: no attribute, hook or mode, no graph, batch or model alive."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as loading

from torchmlp import watch
from torchmlp._compat.torch_internals import function_mode_stack, optimizer_hooks

X, Y = torch.randn(24, 6, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3
OWNERS = (
    *(nn.Module, torch.optim.Optimizer, DataLoader, torch, nn.utils, nn.utils.clip_grad, nn.init),
    *(torch.autograd, loading._BaseDataLoaderIter),
    *(c for c in vars(lr_scheduler).values() if isinstance(c, type)),
)


def state() -> list[Any]:
    hooks = optimizer_hooks(torch.optim.SGD([torch.ones(1)], lr=1))
    return [*(dict(vars(owner)) for owner in OWNERS), *map(list, hooks), function_mode_stack()]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    state()  # torch makes some attributes when it first steps
    one_step()
    before = state()
    yield
    after = state()
    for old, new in zip(before, after, strict=True):
        if isinstance(old, dict):
            assert old.keys() == new.keys()
            assert all(new[key] is value for key, value in old.items())
        else:
            assert old == new


def one_step(optimizer: Any = None, model: nn.Module | None = None) -> None:
    model = model or nn.Linear(6, 3)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    F.cross_entropy(model(X), Y).backward()
    optimizer.step()


class Counts(TorchFunctionMode):
    """A mode of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_after_a_block() -> None:
    """After one, and another after it."""
    for _ in range(2):
        with watch():
            one_step()


def test_after_an_exception() -> None:
    """Raised by the script, in a module, in a backward pass, in a step."""

    class Fails(nn.Module):
        def forward(self, _x: Tensor) -> Tensor:
            raise ZeroDivisionError

    def backward(_: Tensor) -> Tensor:
        raise ZeroDivisionError

    def closure() -> float:
        raise ZeroDivisionError

    def in_backward() -> None:
        x = X.clone().requires_grad_()
        x.register_hook(backward)
        nn.Linear(6, 3)(x).sum().backward()

    weight = nn.Parameter(torch.ones(2))
    ways: list[Callable[[], Any]] = [
        lambda: 1 / 0,
        lambda: nn.Sequential(nn.ReLU(), Fails())(X),
        lambda: nn.Sequential(nn.ReLU(), Fails()).eval()(X),
        in_backward,
        lambda: torch.optim.SGD([weight], lr=0.1).step(closure),
    ]
    for way in ways:
        with pytest.raises(ZeroDivisionError), watch():  # noqa: PT012  some steps, then the error
            one_step()
            way()


@pytest.mark.parametrize("hooked", [False, True])
def test_after_so_many_steps(hooked: bool) -> None:
    """In the midst of a step, also where a hook of the user's follows ours; the loop goes on."""
    steps: list[int] = []
    handle = None
    with watch(2) as watched:
        if hooked:
            handle = register_optimizer_step_post_hook(
                lambda stepped, *_: steps.append(1) if stepped is sgd else None
            )
        model = nn.Linear(6, 3)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            one_step(sgd, model)
        assert nn.Module.__call__.__code__.co_filename == nn.modules.module.__file__
        assert not function_mode_stack()
    if handle:
        handle.remove()
        assert len(steps) == 5
    assert watched.report.steps == 2


def test_steps_within_a_backward_pass() -> None:
    """An optimizer stepped by a hook of the gradient ends the watching inside loss.backward()."""
    model = nn.Linear(6, 3)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(_: Tensor) -> None:
        sgd.step()
        sgd.zero_grad()

    model.bias.register_post_accumulate_grad_hook(step)
    with watch(2) as watched:
        for _ in range(5):
            F.cross_entropy(model(X), Y).backward()
    assert watched.report.steps == 2


def test_nested_blocks() -> None:
    """Each hears the steps of its own time."""
    with watch() as outer:
        one_step()
        with watch(1) as inner:
            one_step()
            one_step()
        one_step()
    assert (outer.report.steps, inner.report.steps) == (4, 1)


def test_a_user_who_replaces_what_we_replaced() -> None:
    """What they put there stays, and still calls torch's own."""
    original = torch.manual_seed
    called: list[int] = []
    with watch():
        ours = torch.manual_seed

        def mine(seed: int) -> Any:
            called.append(seed)
            return ours(seed)

        torch.manual_seed = mine
    assert torch.manual_seed is mine
    torch.manual_seed(3)
    assert called == [3]
    torch.manual_seed = original


def test_modes_of_the_users() -> None:
    """Entered before, inside, left after: each counts what it counts unwatched."""
    counts = []
    for watched in (False, True):
        before, inside, later = Counts(), Counts(), Counts()
        block = watch(2)
        with before:
            if watched:
                block.__enter__()
            with inside:
                one_step()
            later.__enter__()
            one_step()
            one_step()
            if watched:
                block.__exit__(None, None, None)
            one_step()
            later.__exit__(None, None, None)
            one_step()
        counts.append([before.count, inside.count, later.count])
    assert counts[0] == counts[1]


def test_modes_that_are_left_in_another_order() -> None:
    """A mode of the user's that is left while we listen is the one that goes."""
    mode = Counts()
    mode.__enter__()
    block = watch()
    block.__enter__()
    mode.__exit__(None, None, None)
    assert mode not in function_mode_stack()
    one_step()
    block.__exit__(None, None, None)


def test_a_device_as_context() -> None:
    """... and as default, set while we listen and taken back later."""
    block = watch()
    with torch.device("cpu"), block:
        one_step()
    with watch(1):
        torch.set_default_device("cpu")
        one_step()
    torch.set_default_device(None)
    with watch():
        torch.set_default_device("cpu")
        one_step()
        torch.set_default_device(None)


def test_the_report_in_the_midst() -> None:
    """Asked for inside, it is of the steps so far; what it does itself is not heard."""
    model = nn.Linear(6, 3)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch() as watched:
        one_step(sgd, model)
        state = torch.get_rng_state()
        assert watched.report.steps == 1
        assert torch.get_rng_state().equal(state)
        one_step(sgd, model)
    assert watched.report.steps == 2


@pytest.mark.parametrize("steps", [5, 130])
def test_a_batch_and_its_graph_are_let_go(steps: int) -> None:
    """Memory is what it is unwatched: neither a step nor an evaluation leaves tensors behind."""
    counts = []
    for watched in (False, True):
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        adam = torch.optim.Adam(model.parameters())
        block = watch()
        if watched:
            block.__enter__()
        for _ in range(steps):
            one_step(adam, model)
        alive: list[weakref.ref[Tensor]] = []
        most = 0
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                for _ in range(20):
                    x = torch.randn(4, 6)
                    out = model(x)
                    alive += [weakref.ref(x), weakref.ref(out)]
                    del x, out
                    most = max(most, sum(ref() is not None for ref in alive))
        counts.append(most)
        if watched:
            block.__exit__(None, None, None)
            assert not any(ref() is not None for ref in alive)
    assert counts[1] <= counts[0] + 8  # those of the last four calls with a graph


def test_a_model_is_let_go() -> None:
    """With the report, the last reference to a model of the user's goes."""
    models: list[weakref.ref[nn.Module]] = []
    with watch() as watched:
        for seed in range(6):
            torch.manual_seed(seed)
            model = nn.Linear(6, 3)
            sgd = torch.optim.SGD(model.parameters(), lr=0.1)
            one_step(sgd, model)
            models.append(weakref.ref(model))
    del model, sgd, watched
    gc.collect()
    assert not any(ref() is not None for ref in models)
