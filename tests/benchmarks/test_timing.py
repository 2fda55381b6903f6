"""The scripts' common parts: turns, ratios, rows that replace older ones, checked steps."""

import sys
from pathlib import Path

import pytest

from tests import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import timing
from other_steps import numpy_step
from problem import Problem
from step import check, checked
from torch_steps import reference

PROBLEM = Problem("20-16x2-10", 12)


def test_providers_take_turns() -> None:
    """Each round has a turn of every provider, in order."""
    taken: list[str] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def turn(self, calls: int) -> float:
            taken.append(self.name)
            return float(calls)

    seconds = timing.compare({name: Recorder(name) for name in "ABC"}, rounds=3)
    assert "".join(taken[3:]) == "ABC" * 3
    assert seconds == {name: [1.0] * 3 for name in "ABC"}


def test_a_ratio_is_within_a_round() -> None:
    """A machine that is ten times slower in one round changes no ratio."""
    found = timing.ratios({"base": [1, 10, 1], "own": [2, 20, 2]}, "base")
    assert found["own"] == (2, 2, 2)


def test_a_later_row_replaces_an_earlier(tmp_path: Path) -> None:
    """Of one benchmark, network, batch, provider and threads the table has one row."""
    table = tmp_path / "table.csv"
    for seconds in (1e-3, 2e-3):
        both = {"floor": [1e-3] * 3, "own": [seconds] * 3}
        timing.write(table, timing.rows_of("step", "2-2", 1, 1, both, "floor"))
    timing.write(table, timing.rows_of("step", "2-2", 8, 1, both, "floor"))
    rows = timing.read(table)
    assert [row["batch"] for row in rows] == ["1", "1", "8", "8"]
    assert [row["ratio_median"] for row in rows] == ["1.0", "2.0"] * 2


@pytest.mark.parametrize("name", ["engine (torch)", "nn.Sequential + SGD"])
def test_a_step_is_checked(name: str) -> None:
    """A right step passes; against one hundredth more of a rate it does not."""
    checked(name, PROBLEM, reference(PROBLEM, 0.1, 3))
    with pytest.raises(RuntimeError, match="off, expected less"):
        checked(name, PROBLEM, reference(PROBLEM, 0.101, 3))


def test_numpy_takes_the_same_step() -> None:
    """The step written in numpy is autograd's."""
    step = numpy_step(PROBLEM, 0.1)
    for _ in range(3):
        step.take()
    check("numpy", step.parameters(), reference(PROBLEM, 0.1, 3), PROBLEM)
