from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from torchmlp.engine.state.structure import is_fusible
from torchmlp.engine.state.updates import Updates, Way
from torchmlp.kernels.optimizers import Elementwise


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(3))]


def test_slots_change_only_with_their_causes() -> None:
    """Looking again finds the same slots, so that steps need not bind anew; a new rate changes the
    settings, a first step, a frozen parameter, a cleared state the slots."""
    weight, bias = parameters()
    optimizer = torch.optim.SGD([weight, bias], lr=0.1, momentum=0.9)
    updates = Updates(optimizer, [weight, bias], Way.MERGED)
    updates.refresh()
    assert not optimizer.state  # nothing is the optimizer's before the step is taken
    updates.commit()
    updates.refresh()  # after the first step
    generation = updates.generation
    for lr in (0.1, 0.2, 0.3):
        optimizer.param_groups[0]["lr"] = lr
        updates.refresh()
        assert updates.settings[0]["lr"] == lr
    assert updates.generation == generation
    causes: list[Any] = [
        lambda: optimizer.load_state_dict(deepcopy(optimizer.state_dict())),
        lambda: optimizer.state.pop(weight),
    ]
    for cause in causes:
        cause()
        updates.refresh()
        assert updates.generation > generation
        updates.commit()
        updates.refresh()
        generation = updates.generation
    assert [slot and slot.into for slot in updates.slots] == [
        optimizer.state[p]["momentum_buffer"] for p in (weight, bias)
    ]


def test_without_momentum_the_product_goes_into_the_parameter() -> None:
    """No buffer, no gradient: the parameter's own memory, and a bias that is not there has none."""
    weight, _ = parameters()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    updates = Updates(optimizer, [weight, None], Way.MERGED)
    updates.refresh()
    slot, none = updates.slots
    assert slot is not None
    assert none is None
    assert slot.into is not None
    assert slot.into.data_ptr() == weight.data_ptr()
    assert weight.grad is None
    assert not optimizer.state


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
def test_a_table_is_the_rules_one_by_one(kind: Any) -> None:
    """The coefficients of many steps at once are those that each step would have got."""
    weight, bias = parameters()
    optimizer = kind([weight, bias], lr=0.1)
    updates = Updates(optimizer, [weight, bias], Way.ELEMENTWISE)
    updates.refresh()
    updates.commit()
    updates.refresh()
    table = updates.table(5)
    for row in table:
        assert np.array_equal(row, np.array(updates.rules(), dtype=np.float64))
        for counter in updates.counters:
            counter += 1  # noqa: PLW2901  the optimizer's own, in place
        assert not updates.refresh()


def test_parameters_of_different_counts_have_rules_of_their_own() -> None:
    """A parameter that was frozen for some steps is behind, and its next one is Adam's for that."""
    weight, bias = parameters()
    optimizer = torch.optim.Adam([weight, bias], lr=0.1)
    updates = Updates(optimizer, [weight, bias], Way.ELEMENTWISE)
    updates.refresh()
    updates.commit()
    optimizer.state[weight]["step"].fill_(7)
    assert updates.refresh()
    first, second = updates.slots
    assert first is not None
    assert second is not None
    assert first.rule != second.rule
    rules = [rule for rule in updates.rules() if isinstance(rule, Elementwise)]
    assert [rule.from_mean for rule in rules] == [pytest.approx(0.1 / (1 - 0.9**t)) for t in (8, 1)]


def test_what_is_fusible() -> None:
    """The known optimizers themselves without hooks; a subclass may do anything, hooks see
    gradients, and of others the equations are not known."""

    class OwnSGD(torch.optim.SGD):
        pass

    def fusible(kind: type[torch.optim.Optimizer]) -> bool:
        return is_fusible(kind(parameters(), lr=0.1))  # type: ignore[call-arg]  # lr is of all of them

    assert fusible(torch.optim.SGD)
    assert fusible(torch.optim.Adam)
    assert not fusible(OwnSGD)
    assert not fusible(torch.optim.RAdam)
    hooked = torch.optim.SGD(parameters(), lr=0.1)
    hooked.register_step_post_hook(lambda *_: None)
    assert not is_fusible(hooked)
