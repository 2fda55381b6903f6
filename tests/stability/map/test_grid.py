"""The combinations of a map."""

import math
from itertools import pairwise

import pytest

from torchmlp.stability.map.cell import Cell
from torchmlp.stability.map.grid import Grid, parse_rates


def test_a_logarithmic_range_has_both_ends_and_equal_ratios() -> None:
    """0.01:10:7log is seven rates, ends exact, each √10 times the one before."""
    rates = parse_rates(["0.01:10:7log"])
    assert len(rates) == 7
    assert (rates[0], rates[2], rates[4], rates[6]) == (0.01, 0.1, 1.0, 10.0)
    for low, high in pairwise(rates):
        assert math.isclose(high / low, math.sqrt(10), rel_tol=1e-9)


@pytest.mark.parametrize("word", ["0.1:1:10", "0.1:1:10lin"])
def test_a_linear_range_has_equal_differences(word: str) -> None:
    """0.1:1:10 is 0.1, 0.2, ..., 1, without the rounding of binary fractions."""
    assert parse_rates([word]) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_numbers_and_ranges_mix_sorted_and_once() -> None:
    """What a range and a number both give is there once."""
    assert parse_rates(["3", "0.1", "0.01:1:3log", "1e-3", "2:2:1"]) == [
        0.001,
        0.01,
        0.1,
        1.0,
        2.0,
        3.0,
    ]


def test_the_ends_of_a_range_are_exact() -> None:
    """Ends with more digits than the inside is rounded to stay as they were typed."""
    low, _, high = parse_rates(["0.1234567890123456:7.000000000000001:3log"])
    assert (low, high) == (0.1234567890123456, 7.000000000000001)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no learning rate, expected at least one"),
        (["-0.1"], r"learning rate -0\.1: expected a finite number above 0"),
        (["0"], "learning rate 0: expected a finite number above 0"),
        (["nan"], "learning rate nan: expected a finite"),
        (["inf"], "learning rate inf: expected a finite"),
        (["fast"], "learning rate 'fast': expected a number, or a range as"),
        (["0.1", "0.01:10"], "'0.01:10': expected a number, or a range as 0.01:10:7log"),
        (["0.01:10:log"], "'0.01:10:log': expected a number, or a range"),
        (["0.01:10:7exp"], "'0.01:10:7exp': expected a number, or a range"),
        (["0.01:x:7log"], "'0.01:x:7log': expected a number"),
        (["0:10:7log"], "learning rate 0:10:7log: expected a finite number above 0"),
        (["0.1:inf:7"], "learning rate 0.1:inf:7: expected a finite"),
        (["10:0.01:7log"], "goes from 10 down to 0.01, expected the smaller first"),
        (["0.01:10:1log"], "at least two of them, for both ends are included"),
        (["1:1:0"], "at least two"),
    ],
)
def test_bad_rates_are_told(words: list[str], told: str) -> None:
    """The message names the word and what was expected."""
    with pytest.raises(ValueError, match=told):
        parse_rates(words)


def test_the_default_map_is_five_widths_three_batches_seven_rates() -> None:
    """105 cells."""
    grid = Grid()
    assert len(grid) == len(grid.cells()) == 105
    assert grid.lrs == tuple(parse_rates(["0.01:10:7log"]))


def test_cells_are_every_combination_once_those_of_a_shape_in_a_row() -> None:
    """Duplicates are dropped, numbers sorted, and the order is the same every time."""
    grid = Grid((64, 32, 64), (2, 1), (8,), (1.0, 0.1, 1.0), ("he", "xavier", "he"), (1, 0, 1))
    cells = grid.cells()
    assert len(grid) == len(cells) == len(set(cells)) == 2 * 2 * 1 * 2 * 2 * 2
    assert cells[:3] == [
        Cell(32, 1, 8, 0.1, "he", 0),
        Cell(32, 1, 8, 0.1, "he", 1),
        Cell(32, 1, 8, 1.0, "he", 0),
    ]
    shapes = [(cell.depth, cell.batch_size, cell.width) for cell in cells]
    changes = sum(one != other for one, other in pairwise(shapes))
    assert changes + 1 == len(set(shapes))
    assert grid.cells() == cells


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"widths": ()}, "the map has no widths"),
        ({"lrs": ()}, "the map has no lrs"),
        ({"inits": ()}, "the map has no inits"),
        ({"widths": (32, 0)}, "the map's widths hold 0, expected at least 1"),
        ({"depths": (0,)}, "the map's depths hold 0"),
        ({"batch_sizes": (-8,)}, "the map's batch_sizes hold -8"),
        ({"lrs": (0.1, -1.0)}, "learning rate -1.0: expected a finite number above 0"),
        ({"lrs": (0.1, math.nan)}, "learning rate nan"),
        ({"inits": ("hee",)}, "unknown init 'hee'; did you mean 'he'"),
        ({"seeds": (-1,)}, "the map's seeds hold -1, expected numbers from 0"),
        ({"seeds": (2**32,)}, "the map's seeds hold 4294967296"),
    ],
)
def test_a_bad_grid_is_told(values: dict[str, tuple[object, ...]], told: str) -> None:
    """The message names the list, the value and what was expected."""
    with pytest.raises(ValueError, match=told):
        Grid(**values)  # type: ignore[arg-type]  # the lists are of different kinds
