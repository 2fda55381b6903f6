"""Stability boundary: the largest learning rate that trains, per width, batch size and start."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from torchmlp.stability.map.cell import OUTCOMES, Cell, CellResult


@dataclass(frozen=True, order=True)
class GridColumn:
    """The cells that differ in rate and seed only; the fields are `Cell`'s."""

    depth: int
    init: str
    batch_size: int
    width: int

    @classmethod
    def of(cls, cell: Cell) -> "GridColumn":
        """The column that holds a cell."""
        return cls(cell.depth, cell.init, cell.batch_size, cell.width)


@dataclass(frozen=True)
class StabilityLimit:
    """Where a column stops training.

    Attributes:
        column: whose.
        safe: the largest rate that trains with all seeds; None where none does.
        above: the next rate's worst result; None where the column ends.
        is_slow: whether no rate learns, and `safe` is the largest that at least learns slowly.
        least: the smallest rate's worst result.
        sharpness_limit: the largest stable rate by the curvature at the start, if known.
    """

    column: GridColumn
    safe: float | None
    above: CellResult | None
    is_slow: bool
    least: CellResult
    sharpness_limit: float | None


def momentum_limit(largest_rate: float, momentum: float = 0.0, *, nesterov: bool = False) -> float:
    """The largest stable rate of torch.optim.SGD on a quadratic.

        2 / λ · (1 + β),   Nesterov's: 2 / λ · (1 + β) / (1 + 2β)

    Args:
        largest_rate: 2 / λ, of plain descent.
        momentum: β, without dampening.
        nesterov: whether the step looks ahead.

    Source: Cohen et al. (2021), Gradient descent on neural networks typically occurs at the edge
    of stability, appendix B.
    """
    return largest_rate * (1 + momentum) / (1 + 2 * momentum if nesterov else 1)


def columns(results: Iterable[CellResult]) -> dict[GridColumn, list[CellResult]]:
    """The worst result over the seeds of every rate, the rates rising, by column."""
    found: dict[GridColumn, dict[float, CellResult]] = {}
    for result in sorted(results, key=_goodness):
        found.setdefault(GridColumn.of(result.cell), {}).setdefault(result.cell.lr, result)
    return {column: [rates[lr] for lr in sorted(rates)] for column, rates in sorted(found.items())}


def _goodness(result: CellResult) -> tuple[int, int, float]:
    """Rises from the worst: by outcome, then the earlier nan, then the lower accuracy."""
    return OUTCOMES.index(result.outcome), result.step or 0, result.accuracy or 0.0


def stability_limits(
    results: Iterable[CellResult], momentum: float = 0.0, *, nesterov: bool = False
) -> list[StabilityLimit]:
    """The edge of every column.

    A rate trains where all its seeds learn; in a column where none does, where none is worse than
    slow. A larger rate that trains beyond one that is stuck, diverges or breaks is not safe.

    Args:
        results: in any order.
        momentum: of the runs, as is the next.
        nesterov: whether it looks ahead.
    """
    results = list(results)
    curvatures: dict[GridColumn, list[float]] = {}
    for result in results:
        if result.largest_rate is not None:
            curvatures.setdefault(GridColumn.of(result.cell), []).append(result.largest_rate)
    edges = []
    for column, rates in columns(results).items():
        is_slow = not any(rate.outcome == "learns" for rate in rates)
        good = [k for k, r in enumerate(rates) if r.outcome == ("slow" if is_slow else "learns")]
        ended = [k for k, r in enumerate(rates) if r.outcome not in ("slow", "learns")]
        stop = min((k for k in ended if good and k > good[0]), default=len(rates))
        safe = max((k for k in good if k < stop), default=None)
        known = curvatures.get(column)
        edges.append(
            StabilityLimit(
                column,
                None if safe is None else rates[safe].cell.lr,
                None if safe is None else next(iter(rates[safe + 1 :]), None),
                is_slow and safe is not None,
                rates[0],
                momentum_limit(median(known), momentum, nesterov=nesterov) if known else None,
            )
        )
    return edges


def best_rate(results: Iterable[CellResult]) -> float | None:
    """The rate of a column whose final loss, the median over the seeds, is lowest.

    Of rates with equal losses the middle one, the smaller of two; None where no loss is finite.
    """
    losses: dict[float, list[float]] = {}
    for result in results:
        loss = math.inf if result.loss is None else result.loss
        losses.setdefault(result.cell.lr, []).append(loss)
    medians = {rate: median(of) for rate, of in losses.items()}
    least = min(medians.values(), default=math.inf)
    tied = sorted(rate for rate, loss in medians.items() if loss == least)
    return tied[(len(tied) - 1) // 2] if math.isfinite(least) else None
