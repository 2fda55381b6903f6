"""A population's memory is its own, whatever is done to what it hands out."""

from collections.abc import Callable
from copy import deepcopy
from threading import Thread
from typing import Any

import pytest
import torch

from torchmlp import Population

Sabotage = Callable[[Population], Any]


def population(size: int = 3, **settings: Any) -> Population:
    given: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "seeds": range(size), **settings}
    return Population(6, [5], 4, size=size, **given)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 6, generator=generator), torch.randint(4, (8,), generator=generator)


SABOTAGE: dict[str, Sabotage] = {
    "weights' data": lambda p: setattr(p.weights[0], "data", torch.zeros(1)),
    "biases' data": lambda p: setattr(p.biases[1], "data", torch.zeros(1)),
    "mask's data": lambda p: setattr(p.frozen, "data", torch.zeros(1, dtype=torch.bool)),
    "losses": lambda p: p.step(*data()).zero_(),
    "network": lambda p: p.network(0).weights[0].data.zero_(),
}


@pytest.mark.parametrize("sabotage", SABOTAGE.values(), ids=SABOTAGE)
def test_what_is_handed_out_can_be_replaced_without_harm(sabotage: Sabotage) -> None:
    """The next steps are those of a population that nobody touched."""
    mine, other = population(), population()
    x, target = data()
    for one in (mine, other):
        one.step(x, target)
    sabotage(mine)
    if sabotage is SABOTAGE["losses"]:
        other.step(x, target)
    for _ in range(2):
        assert mine.step(x, target).equal(other.step(x, target))


@pytest.mark.parametrize("of", ["weights", "frozen"])
def test_its_memory_cannot_be_taken_away(of: str) -> None:
    """A storage that is resized raises torch's own error and leaves the population as it was."""
    mine, other = population(), population()
    tensor = mine.weights[0] if of == "weights" else mine.frozen
    with pytest.raises(RuntimeError, match="not resizable"):
        tensor.untyped_storage().resize_(0)
    if of == "frozen":
        mine.frozen = torch.tensor([False, True, False])
        other.frozen = torch.tensor([False, True, False])
        assert mine.frozen.tolist() == [False, True, False]
        with pytest.raises(
            ValueError, match=r"expected frozen of shape \(3,\) and dtype torch.bool"
        ):
            mine.frozen = torch.zeros(2)
    assert mine.step(*data()).equal(other.step(*data()))


def test_weights_that_are_handed_out_are_live() -> None:
    """What is written into them, the next step starts from."""
    mine, other = population(), population()
    x, target = data()
    for one in (mine, other):
        one.step(x, target)
        one.weights[0].mul_(0.5)
    assert mine.step(x, target).equal(other.step(x, target))
    assert not mine.step(x, target).equal(population().step(x, target))


def test_a_copy_trains_by_itself() -> None:
    """copy.deepcopy after some steps: the copy and the original go the same way."""
    mine = population()
    x, target = data()
    mine.step(x, target)
    copy = deepcopy(mine)
    for _ in range(2):
        assert copy.step(x, target).equal(mine.step(x, target))
    assert copy.weights[0].data_ptr() != mine.weights[0].data_ptr()
    copy.weights[0].zero_()
    assert mine.weights[0].any()


def test_a_batch_may_be_its_own_weights() -> None:
    """An input in the memory that the step writes is read as it was."""
    mine, other = population(), population()
    x = mine.weights[0][0]
    target = data()[1][: len(x)]
    expected = other.step(x.clone(), target)
    assert mine.step(x, target).equal(expected)
    assert mine.weights[0].equal(other.weights[0])


def test_a_batch_without_memory_is_refused() -> None:
    """A storage that was freed, after a batch of that shape was taken."""
    mine = population()
    x, target = data()
    mine.step(x, target)
    before = mine.weights[0].clone()
    x.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match=r"Population.step: expected an input with its elements"):
        mine.step(x, target)
    assert mine.weights[0].equal(before)


def test_threads_take_turns() -> None:
    """Steps from several threads are as many steps, one after the other."""
    mine, other = population(momentum=0.0), population(momentum=0.0)
    x, target = data()
    threads = [Thread(target=mine.step, args=(x, target)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(8):
        other.step(x, target)
    assert mine.weights[0].equal(other.weights[0])
