"""The map as text."""

import math

import pytest

from tests.stability.made import cell, column, result
from torchmlp.stability.map.cell import CellResult
from torchmlp.stability.map.grid import parse_rates
from torchmlp.stability.summary.text_table import table

SEVEN = parse_rates(["0.01:10:7log"])
MIXED = ("slow", "learns", "learns", "stuck", "diverged", "nan", "nan")


def full(rates: list[float] = SEVEN, widths: tuple[int, ...] = (32, 2048)) -> list[CellResult]:
    return [
        result(cell(width, lr), MIXED[k * len(MIXED) // len(rates)], step=None)
        if MIXED[k * len(MIXED) // len(rates)] != "nan"
        else result(cell(width, lr), "nan", step=k + 100)
        for width in widths
        for k, lr in enumerate(rates)
    ]


def row(text: str, width: int) -> list[str]:
    """The words of the row of a width."""
    return next(line for line in text.splitlines() if line.split()[:1] == [str(width)]).split()


def test_widths_go_down_rates_across_and_each_outcome_has_its_mark() -> None:
    """What learns shows its accuracy, a nan its step."""
    lines = table(full()).splitlines()
    assert lines[:4] == [
        "batch 64, 1 hidden layer, init auto",
        "width      0.01    0.0316       0.1     0.316         1      3.16        10",
        "   32 slow 0.41      0.93      0.93     stuck  diverged   nan@105   nan@106",
        " 2048 slow 0.41      0.93      0.93     stuck  diverged   nan@105   nan@106",
    ]


@pytest.mark.parametrize("width", [80, 72, 60, 50, 40, 30, 20])
@pytest.mark.parametrize("count", [1, 7, 30])
def test_it_fits_the_terminal_and_loses_no_cell(width: int, count: int) -> None:
    """Shorter marks first, then rates that go on below; with the marks explained."""
    rates = [0.001 * 1.5**k for k in range(count)]
    text = table(full(rates), width)
    assert max(map(len, text.splitlines())) <= width
    rows = [line.split() for line in text.splitlines() if line.split()[:1] == ["2048"]]
    marks = [mark for line in rows for mark in line[1:] if mark not in ("slow", "s")]
    assert len(marks) == count


def test_marks_shorten_only_as_far_as_needed() -> None:
    """Seven rates in words need 75 letters; in fewer they stay in one row."""
    assert "slow 0.41" in table(full(), 75)
    assert row(table(full(), 74), 32)[-1] == "nan@106"
    middle = table(full(), 62)
    assert "s 0.41" in middle
    assert "nan@106" in middle
    assert row(table(full(), 45), 32) == ["32", "s41", "93", "93", "stk", "div"]


def test_there_is_a_block_for_each_batch_depth_and_init() -> None:
    """With its name."""
    of = [
        *column("learns"), *column("nan", batch_size=8), *column("stuck", depth=2),
        *column("slow", init="uniform(0, 1)"),
    ]  # fmt: skip
    titles = [line for line in table(of).splitlines() if line.startswith("batch")]
    assert titles == [
        "batch 8, 1 hidden layer, init auto",
        "batch 64, 1 hidden layer, init auto",
        "batch 64, 1 hidden layer, init uniform(0, 1)",
        "batch 64, 2 hidden layers, init auto",
    ]


def test_cells_that_were_not_run_are_marked() -> None:
    """An interrupted map keeps its columns."""
    of = [*column("learns learns nan", 32), result(cell(64, 1.0), "learns")]
    assert row(table(of), 64) == ["64", "-", "-", "0.93"]
    assert "- not run" in " ".join(table(of).split())


def test_seeds_are_folded_by_the_worst() -> None:
    """The mark is the worst seed's."""
    of = column("learns learns") + column("learns nan", seed=1)
    assert row(table(of), 512) == ["512", "0.93", "nan@12"]


def test_causes_are_counted_over_all_bad_cells() -> None:
    """The commonest first; every seed counts, what learns does not."""
    of = [
        *column("learns nan nan"),
        *column("nan", width=32, seed=1),
        result(cell(64), "stuck", cause="dead-units"),
        result(cell(65), "slow", cause=None),
        result(cell(66), "learns", cause="dead-units"),
    ]
    assert table(of).splitlines()[-4:] == [
        "causes",
        "learning-rate-too-high: 3 cells",
        "dead-units: 1 cell",
        "no cause found: 1 cell",
    ]
    assert "causes" not in table(column("learns learns"))


def test_no_cells_are_told() -> None:
    """An empty map is no error."""
    assert table([]) == "no cells yet"


def test_nothing_depends_on_the_order() -> None:
    """Results come as they finish."""
    of = full()
    assert table(of) == table(of[::-1])
    assert math.isclose(SEVEN[-1], 10)
