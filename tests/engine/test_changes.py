"""An engine sees what has happened to its model, its optimizer and its memory."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.changes import FOLLOWED, REFUSED, compare, made
from tests.engine.fuzzer import fuzz
from tests.engine.twins import both_ways
from torchmlp import MLP, Engine, Population, training_states


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@both_ways
@pytest.mark.parametrize("adam", [False, True], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", FOLLOWED)
def test_what_torch_trains_on_after_the_engine_trains_on_after(
    name: str, adam: bool, native_step: bool
) -> None:
    """After each change the next two steps are those of autograd and the optimizer."""
    for seed in range(3):
        run = made(adam=adam, native=None if native_step else False, seed=seed)
        FOLLOWED[name](run)
        for _ in range(2):
            assert compare(run) == ""


@both_ways
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_step_is_refused(name: str, native_step: bool) -> None:
    """After each change steps are refused, by a message that says what is wrong, and as often as
    they are tried; nothing is changed."""
    change, message = REFUSED[name]
    run = made(adam=False, native=None if native_step else False, seed=1)
    change(run)
    for _ in range(2):
        assert re.search(message, compare(run))


def test_a_step_works_again_once_the_cause_is_gone() -> None:
    """A step that was refused leaves the engine as it was."""
    run = made(adam=False, native=None, seed=1)
    handle = run.layer.register_forward_hook(lambda *_: None)
    assert "hooks" in compare(run)
    handle.remove()
    assert compare(run) == ""


@pytest.mark.usefixtures("annotations_unchecked")  # they come first where types are checked
@pytest.mark.parametrize("which", ["Engine.step", "Population.step", "training_states"])
def test_arrays_are_told_to_become_tensors(which: str) -> None:
    """One clear sentence for numpy's arrays, whose dtype and device have the same names."""
    x, target = np.zeros((2, 6), np.float32), np.zeros(2, np.int64)
    model = MLP(6, [5], 4)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    steps: dict[str, Any] = {
        "Engine.step": Engine(model, "cross_entropy", sgd).step,
        "Population.step": Population(6, [5], 4, size=2, lr=0.1).step,
        "training_states": lambda *batch: list(
            training_states(model, "cross_entropy", sgd, [batch])
        ),
    }
    with pytest.raises(TypeError, match=rf"{which}: expected tensors, got numpy.ndarray; convert"):
        steps[which](x, target)


def test_random_sequences_of_changes() -> None:
    """Changes on top of changes, in orders nobody has thought of."""
    counts = fuzz(150, seed=0)
    assert counts["differs"] == 0
    assert counts["alike"] > 100
    assert counts["refused"] > 10
