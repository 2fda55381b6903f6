"""The sentence of advice, in every case."""

import pytest

from tests.stability.made import cell, column, result
from torchmlp.stability.summary.advice import advice

COLUMN = column("slow learns learns diverged")


def test_the_margin_of_a_rate_that_is_safe() -> None:
    """The rate, the next and what comes of it, and how far away the user is."""
    assert advice(COLUMN, cell(lr=0.1)) == (
        "At width 512 and batch 64 the largest safe rate is 1 (the next, 10, diverges): 10 times "
        "your 0.1."
    )
    assert advice(COLUMN, cell(lr=0.05)).endswith(": 20 times your 0.05.")
    assert advice(COLUMN, cell(lr=0.0005)).endswith(": 2,000 times your 0.0005.")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("nan", "breaks with nan"),
        ("diverged", "diverges"),
        ("stuck", "is stuck"),
        ("slow", "learns slowly"),
    ],
)
def test_what_comes_of_the_next_rate_is_told(outcome: str, words: str) -> None:
    """Each outcome in a verb."""
    assert f"(the next, 1, {words})" in advice(column(f"learns learns {outcome}"), cell())


def test_a_safe_rate_that_itself_fails_is_told() -> None:
    """Too small a rate is below the safe one, and does not train."""
    assert advice(COLUMN, cell(lr=0.01)).endswith(": 100 times your 0.01, which learns slowly.")


def test_the_users_own_rate_has_no_margin() -> None:
    """Also where it differs in digits that are not written."""
    for lr in (1.0, 1.0001):
        assert advice(COLUMN, cell(lr=lr)).endswith(": your own rate, without a margin.")
    assert advice(column("learns learns"), cell(lr=0.1)).endswith(": your own rate.")


def test_a_rate_above_the_edge_is_told() -> None:
    """By how much, and what came of it if it was tried."""
    assert advice(COLUMN, cell(lr=5.0)).endswith(": your 5 is 5 times as much; lower it.")
    assert advice(COLUMN, cell(lr=10.0)).endswith(
        ": your 10, which diverges, is 10 times as much; lower it."
    )


def test_a_map_whose_largest_rate_trains_says_or_more() -> None:
    """The limit is not known then, below it or beyond."""
    of = column("slow learns learns learns")
    assert advice(of, cell(lr=0.1)) == (
        "At width 512 and batch 64 the largest safe rate is 10 or more (no larger one was tried): "
        "at least 100 times your 0.1."
    )
    assert advice(of, cell(lr=30.0)).endswith(": your 30 lies beyond the map.")


def test_nothing_that_trains_is_told_with_the_cause_of_the_smallest() -> None:
    """No margin is made up."""
    assert advice(column("stuck stuck nan"), cell()) == (
        "At width 512 and batch 64 no rate from 0.01 to 1 trains: even 0.01 is stuck "
        "(learning-rate-too-high)."
    )
    lone = [result(cell(), "nan", cause=None)]
    assert advice(lone, cell()) == (
        "At width 512 and batch 64 no rate trains: even 0.1 breaks with nan."
    )


def test_only_slow_rates_are_told() -> None:
    """They are called what they are."""
    assert advice(column("slow slow stuck"), cell(lr=0.01)) == (
        "At width 512 and batch 64 no rate learns well in so few steps, and the largest that "
        "learns slowly is 0.1 (the next, 1, is stuck): 10 times your 0.01, which learns slowly."
    )


def test_a_width_between_two_takes_the_smaller_of_their_rates() -> None:
    """On whichever side it is, and says so."""
    low, high = column("learns learns learns nan", 512), column("learns learns nan", 1000)
    wanted = (
        "Width 700 is not on the map; beside it, at width 1000 and batch 64, the largest safe rate "
        "is 0.1 (the next, 1, breaks with nan), the least of 2 neighbours: 10 times your 0.01."
    )
    assert advice([*low, *high, *column("nan", 32)], cell(700, 0.01)) == wanted
    turned = column("learns learns nan", 512) + column("learns learns learns nan", 1000)
    assert advice(turned, cell(700, 0.01)) == wanted.replace("width 1000", "width 512")


def test_a_neighbour_where_nothing_trains_is_the_smaller() -> None:
    """Nothing is safe beside it."""
    of = column("stuck stuck", 512) + column("learns learns", 1000)
    assert advice(of, cell(700)).startswith(
        "Width 700 is not on the map; beside it, at width 512 and batch 64, no rate from 0.01 to "
        "0.1 trains"
    )


def test_a_width_beyond_the_map_takes_the_last() -> None:
    """One neighbour, and no word of others."""
    said = advice(column("learns nan", 512), cell(4000, 0.01))
    assert said.startswith("Width 4000 is not on the map; beside it, at width 512 and batch 64,")
    assert "neighbours" not in said


def test_a_batch_size_beside_the_map_is_told_too() -> None:
    """With the width where both are missing."""
    of = [r for b in (8, 64) for w in (32, 512) for r in column("learns nan", w, batch_size=b)]
    assert advice(of, cell(512, 0.01, batch_size=16)).startswith("Batch 16 is not on the map;")
    said = advice(of, cell(100, 0.01, batch_size=16))
    assert said.startswith("Width 100 and batch 16 are not on the map; beside it, at width 32 and")
    assert "the least of 4 neighbours" in said


def test_depth_is_told_where_there_are_several() -> None:
    """And only the user's own counts."""
    of = column("learns nan") + column("learns learns nan", depth=2)
    said = advice(of, cell(depth=2, lr=0.01))
    assert said.startswith(
        "At width 512, batch 64 and depth 2 the largest safe rate is 0.1 (the next, 1,"
    )


def test_a_map_of_another_init_says_nothing() -> None:
    """Rates of one start are no advice for another."""
    wanted = (
        "The map holds no cell with width 512, batch 64 and init he, nor one beside it: no "
        "advice for your run."
    )
    assert advice(COLUMN, cell(init="he")) == wanted
    assert advice([], cell(init="he")) == wanted


def test_seeds_count_by_the_worst() -> None:
    """A rate at which one seed breaks is not safe."""
    of = column("learns learns learns") + column("learns learns nan", seed=1)
    assert "largest safe rate is 0.1 (the next, 1, breaks" in advice(of, cell(seed=7))


@pytest.mark.parametrize("outcomes", ["learns nan", "nan", "slow slow", "learns"])
@pytest.mark.parametrize("width", [512, 700])
def test_it_is_one_sentence(outcomes: str, width: int) -> None:
    """One full stop at the end, a capital at the start."""
    said = advice(column(outcomes), cell(width))
    assert said[0].isupper()
    assert said.endswith(".")
    assert ". " not in said
