"""What a map says about a run of one width, batch size and learning rate, in one sentence."""

from collections.abc import Iterable, Sequence
from itertools import product

from torchmlp.stability.map.cell import Cell, CellResult
from torchmlp.stability.summary.boundary import (
    GridColumn,
    StabilityLimit,
    columns,
    stability_limits,
)

ENDS = {
    "nan": "breaks with nan",
    "diverged": "diverges",
    "stuck": "is stuck",
    "slow": "learns slowly",
    "learns": "learns",
}


def advice(results: Iterable[CellResult], own: Cell) -> str:
    """The largest safe rate for a width and batch size, with the margin of the rate in use.

    Where the map lacks the width, depth or batch size, its neighbours on both sides are asked, and
    the smallest of their rates is given.

    Args:
        results: of the map, in any order; seeds are folded by the worst.
        own: what the user trains; its seed does not matter.

    Example:
        >>> rates = {0.1: "learns", 1.0: "learns", 3.16: "diverged"}
        >>> results = [
        ...     CellResult(Cell(512, 1, 64, lr, "auto", 0), o, None, 2.3, 1.0, 0.5, None, None, 0.0)
        ...     for lr, o in rates.items()
        ... ]
        >>> advice(results, Cell(512, 1, 64, 0.1, "auto", 0)).partition(" the ")[2]
        'largest safe rate is 1 (the next, 3.16, diverges): 10 times your 0.1.'
    """
    results = list(results)
    same = [result for result in results if result.cell.init == own.init]
    wanted = GridColumn.of(own)
    near = {
        name: _near([getattr(result.cell, name) for result in same], getattr(own, name))
        for name in ("width", "batch_size", "depth")
    }
    asked = {
        GridColumn(depth, own.init, batch_size, width)
        for width, batch_size, depth in product(near["width"], near["batch_size"], near["depth"])
    }
    edges = [edge for edge in stability_limits(same) if edge.column in asked]
    if not edges:
        return (
            f"The map holds no cell with width {own.width}, batch {own.batch_size} and init "
            f"{own.init}, nor one beside it: no advice for your run."
        )
    edge = min(edges, key=lambda e: (e.safe or 0.0, e.column))
    shown = {name for name in near if len({getattr(r.cell, name) for r in results}) > 1}
    place = f"at {_place(edge.column, {'width', 'batch_size', *shown})}"
    tried = columns(same)[edge.column]
    missing = {name for name in near if getattr(own, name) not in near[name]}
    if not missing:
        return f"{_first_up(place)} {_verdict(edge, tried, own.lr)}."
    least = f", the least of {len(edges)} neighbours" if len(edges) > 1 else ""
    there = _first_up(_place(wanted, missing))
    verb = "is" if len(missing) == 1 else "are"
    verdict = _verdict(edge, tried, own.lr, least)
    return f"{there} {verb} not on the map; beside it, {place}, {verdict}."


def _near(values: Sequence[int], own: int) -> list[int]:
    """The value itself if it is there, else those next to it on both sides."""
    if own in values:
        return [own]
    below, above = [v for v in values if v < own], [v for v in values if v > own]
    return [*({max(below)} if below else ()), *({min(above)} if above else ())]


def _place(column: GridColumn, names: set[str]) -> str:
    words = {
        "width": f"width {column.width}",
        "batch_size": f"batch {column.batch_size}",
        "depth": f"depth {column.depth}",
    }
    said = [word for name, word in words.items() if name in names]
    return " and ".join(filter(None, [", ".join(said[:-1]), said[-1]]))


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]


def _verdict(edge: StabilityLimit, tried: Sequence[CellResult], own: float, least: str = "") -> str:
    if edge.safe is None:
        cause = f" ({edge.least.cause})" if edge.least.cause else ""
        low, high = tried[0].cell.lr, tried[-1].cell.lr
        rates = f"no rate from {low:.3g} to {high:.3g} trains" if low < high else "no rate trains"
        return f"{rates}: even {low:.3g} {ENDS[edge.least.outcome]}{cause}"
    if edge.above is None:
        limit = f"{edge.safe:.3g} or more (no larger one was tried)"
    else:
        limit = f"{edge.safe:.3g} (the next, {edge.above.cell.lr:.3g}, {ENDS[edge.above.outcome]})"
    slow = "no rate learns well in so few steps, and the largest that learns slowly"
    name = slow if edge.is_slow else "the largest safe rate"
    return f"{name} is {limit}{least}: {_margin(edge, tried, own)}"


def _margin(edge: StabilityLimit, tried: Sequence[CellResult], own: float) -> str:
    assert edge.safe is not None
    if _same(own, edge.safe):
        return "your own rate, without a margin" if edge.above else "your own rate"
    # A rate below the safe one can fail too: too small, or at a bad start.
    ends = next((ENDS[r.outcome] for r in tried if _same(r.cell.lr, own)), ENDS["learns"])
    fails = "" if ends == ENDS["learns"] else f", which {ends}"
    if own < edge.safe:
        least = "" if edge.above else "at least "
        return f"{least}{_times(edge.safe / own)} your {own:.3g}{fails}"
    if edge.above is None:
        return f"your {own:.3g} lies beyond the map"
    return (
        f"your {own:.3g}{fails}{',' * bool(fails)} is {_times(own / edge.safe)} as much; lower it"
    )


def _same(one: float, other: float) -> bool:
    """Whether two rates are the same as they are written here."""
    return f"{one:.3g}" == f"{other:.3g}"


def _times(ratio: float) -> str:
    """In two digits: 1,000 times."""
    return f"{float(f'{ratio:.2g}'):,.10g} times"
