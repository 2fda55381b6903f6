"""The scripts' common parts: turns, ratios, rows that replace older ones, checked steps."""

import sys
from pathlib import Path

import pytest

from tests import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import timing
from other_steps import numpy_step
from problem import Problem
from step import CHECKED_RATES, check, checked
from torch_steps import COMPILED, STEPS, UNCHECKED, reference

PROBLEM = Problem("20-16x2-10", 12)
ADAM = Problem("20-16x2-10", 12, "adam")


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


def test_a_table_of_fewer_columns_is_added_to(tmp_path: Path) -> None:
    """Rows from before there was an optimizer's column are SGD's: a new one replaces its own, and
    one of Adam stands beside it."""
    table = tmp_path / "table.csv"
    seconds = {"floor": [1e-3] * 3, "own": [2e-3] * 3}
    timing.write(table, timing.rows_of("step", "2-2", 1, 1, seconds, "floor"))
    lines = table.read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith(",date,optimizer,needs_compiler")
    table.write_text("".join(f"{line.rsplit(',', 2)[0]}\n" for line in lines), encoding="utf-8")
    again = timing.rows_of("step", "2-2", 1, 1, {"floor": [1e-3] * 3}, "floor", compiled={"own"})
    adam = timing.rows_of("step", "2-2", 1, 1, seconds, "floor", optimizer="adam", compiled={"own"})
    timing.write(table, again)
    timing.write(table, adam)
    names = ("provider", "optimizer", "needs_compiler")
    assert [tuple(row[name] for name in names) for row in timing.read(table)] == [
        ("own", "sgd", ""),
        ("floor", "sgd", "no"),
        ("floor", "adam", "no"),
        ("own", "adam", "yes"),
    ]


@pytest.mark.parametrize("problem", [PROBLEM, ADAM], ids=lambda problem: problem.optimizer)
def test_steps_are_checked(problem: Problem) -> None:
    """A right step passes, of each way without a compiler; against 1 % more of a rate none does."""
    rate = CHECKED_RATES[problem.optimizer]
    right, wrong = reference(problem, rate, 3), reference(problem, 1.01 * rate, 3)
    for name in STEPS[problem.optimizer]:
        if name in COMPILED:
            continue
        checked(name, problem, right)
        if name not in UNCHECKED:
            with pytest.raises(RuntimeError, match="off, expected less"):
                checked(name, problem, wrong)


@pytest.mark.parametrize("problem", [PROBLEM, ADAM], ids=lambda problem: problem.optimizer)
def test_numpy_takes_the_same_step(problem: Problem) -> None:
    """The step written in numpy is autograd's."""
    rate = CHECKED_RATES[problem.optimizer]
    step = numpy_step(problem, rate)
    for _ in range(3):
        step.take()
    check("numpy", step.parameters(), reference(problem, rate, 3), problem)


def test_adams_floor_has_its_sweep() -> None:
    """It updates as many parameters, beside the products; the products alone update none."""
    products, floor = (STEPS["adam"][name](ADAM) for name in ("matrix products", "floor"))
    seconds = timing.compare({"products": products.take, "floor": floor.take}, 5, 1e-3)
    assert timing.ratios(seconds, "products")["floor"].median > 1
