"""The edge of what trains."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.stability.made import cell, column, result
from torchmlp.stability.summary.boundary import (
    GridColumn,
    best_rate,
    columns,
    momentum_limit,
    stability_limits,
)


@pytest.mark.parametrize(
    ("outcomes", "safe", "above", "is_slow"),
    [
        ("slow learns learns nan", 1.0, 10.0, False),
        ("learns learns learns learns", 10.0, None, False),
        ("slow learns slow nan", 0.1, 1.0, False),
        ("slow learns slow learns", 10.0, None, False),  # slow between two is no break
        ("learns stuck learns nan", 0.01, 0.1, False),  # beyond a break nothing is safe
        ("stuck learns diverged nan", 0.1, 1.0, False),
        ("slow slow stuck nan", 0.1, 1.0, True),
        ("stuck slow nan slow", 0.1, 1.0, True),
        ("stuck stuck diverged nan", None, None, False),
        ("nan", None, None, False),
    ],
)
def test_the_safe_rate_is_the_last_that_trains_before_one_that_breaks(
    outcomes: str, safe: float | None, above: float | None, is_slow: bool
) -> None:
    """And the next is the one above it, whatever came of that."""
    (edge,) = stability_limits(column(outcomes))
    assert (edge.safe, edge.is_slow) == (safe, is_slow)
    assert (edge.above.cell.lr if edge.above else None) == above
    assert edge.least.cell.lr == 0.01
    assert edge.column == GridColumn(1, "auto", 64, 512)


def test_a_rate_trains_only_with_every_seed() -> None:
    """The worst of the seeds counts, in any order of the results."""
    results = column("learns learns learns nan") + column("learns learns stuck nan", seed=1)
    random.Random(0).shuffle(results)
    (edge,) = stability_limits(results)
    assert edge.safe == 0.1
    assert edge.above is not None
    assert edge.above.outcome == "stuck"


def test_seeds_are_folded_to_the_worst() -> None:
    """By outcome, then by the earlier nan and the lower accuracy."""
    of = [
        result(cell(lr=0.1), "learns", accuracy=0.95),
        result(cell(lr=0.1, seed=1), "learns", accuracy=0.91),
        result(cell(lr=1.0), "nan", step=30),
        result(cell(lr=1.0, seed=1), "nan", step=7),
        result(cell(lr=1.0, seed=2), "diverged"),
    ]
    (folded,) = columns(of).values()
    assert [(r.accuracy, r.step) for r in folded] == [(0.91, None), (None, 7)]


def test_every_width_batch_depth_and_init_is_a_column() -> None:
    """They are told apart, and come in order."""
    kinds: list[dict[str, Any]] = [
        {"width": 32},
        {"batch_size": 8},
        {"depth": 2},
        {"init": "he"},
        {},
    ]
    edges = stability_limits(r for kind in kinds for r in column("learns nan", **kind))
    assert len(edges) == len(kinds)
    assert [e.column for e in edges] == sorted(e.column for e in edges)


def test_theory_is_the_median_of_the_seeds_with_the_momentum() -> None:
    """None of them known: None."""
    seeds = [
        replace(r, largest_rate=rate)
        for seed, rate in enumerate([0.1, 0.2, 0.9, None])
        for r in column("learns nan", seed=seed)
    ]
    assert stability_limits(seeds)[0].sharpness_limit == pytest.approx(0.2)
    assert stability_limits(seeds, 0.9)[0].sharpness_limit == pytest.approx(0.38)
    assert stability_limits(seeds, 0.9, nesterov=True)[0].sharpness_limit == pytest.approx(
        0.2 * 1.9 / 2.8
    )
    assert (
        stability_limits([replace(r, largest_rate=None) for r in seeds])[0].sharpness_limit is None
    )


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.5, False), (0.9, False), (0.5, True), (0.9, True)]
)
def test_the_limit_is_where_torchs_descent_begins_to_grow(momentum: float, nesterov: bool) -> None:
    """On a quadratic of curvature λ = 4: a hundredth below it falls, a hundredth above it grows."""

    def end(share: float) -> float:
        w = torch.ones(1, dtype=torch.float64, requires_grad=True)
        rate = share * momentum_limit(2 / 4.0, momentum, nesterov=nesterov)
        descent = torch.optim.SGD([w], lr=rate, momentum=momentum, nesterov=nesterov)
        for _ in range(3000):
            w.grad = 4.0 * w.detach()
            descent.step()
        return abs(float(w.detach()))

    assert end(0.99) < 1e-3
    assert end(1.01) > 1e3


def test_the_best_rate_has_the_lowest_final_loss() -> None:
    """The median over the seeds; a seed that broke counts as worst."""
    losses: dict[float, list[float | None]] = {
        0.01: [0.9, 0.8, 0.9],
        0.1: [0.3, 0.4, 0.5],
        1.0: [0.1, None, None],
    }
    of = [
        result(cell(lr=lr, seed=seed), "slow", loss=loss)
        for lr, some in losses.items()
        for seed, loss in enumerate(some)
    ]
    assert best_rate(of) == 0.1


def test_of_equal_losses_the_middle_rate_is_best() -> None:
    """The smaller of two in the middle; none where nothing is finite."""
    of = [result(cell(lr=lr), "slow", loss=0.5) for lr in (1.0, 0.01, 0.1)]
    assert best_rate(of) == 0.1
    assert best_rate(of[1:]) == 0.01
    assert best_rate([result(cell(), "nan")]) is None
    assert best_rate([]) is None
