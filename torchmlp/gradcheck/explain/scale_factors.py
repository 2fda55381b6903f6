"""Naming the factors by which a network's gradients are off, one for each tensor."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

RELATIVE = 1e-6  # factors nearer than this are one factor


@dataclass(frozen=True)
class Factor:
    """The factor of one tensor: layer 1..L, "weight" or "bias", c; None where any c fits."""

    layer: int
    kind: str
    value: float | None


@dataclass(frozen=True)
class Scaling:
    """One mistake in factors.

    Attributes:
        name: the mistake's.
        layer: 1 to L, or None for the whole network.
        value: the factor.
        members: the tensors that carry it.
        note: what the factor is.
        instead: other names the same factor may have.
    """

    name: str
    layer: int | None
    value: float
    members: tuple[Factor, ...]
    note: str
    instead: tuple[str, ...] = ()


def name_factors(factors: list[Factor], rows: int, outputs: int) -> list[Scaling]:
    """The fewest mistakes that explain the factors.

    Args:
        factors: one for each tensor, first layer first.
        rows: the batch size B.
        outputs: the number of outputs K.
    """
    found: list[Scaling] = []
    left = list(factors)
    depth = max(factor.layer for factor in factors)
    while any(not _is_one(factor.value) for factor in left) and len(found) < 2 * len(factors):
        scope, value = _largest_step(left, depth)
        members = tuple(f for f in left if scope.exponent(f) and not _is_one(f.value))
        layer = depth if value == 0 and scope.layer is None and scope.kind is None else scope.layer
        for part, name, note, instead in _meaning(value, scope, rows, outputs):
            found.append(Scaling(name, layer, part, members, note, instead))
        left = [_divided(factor, value, scope.exponent(factor)) for factor in left]
    return found


@dataclass(frozen=True)
class _Scope:
    """Where one mistake can stand.

    Attributes:
        layer: 1 to L; None for the whole network.
        kind: "weight" or "bias" where it is in one of the two.
        exponent: how often a tensor feels it.
    """

    layer: int | None
    kind: str | None
    exponent: Callable[[Factor], int]


def _scopes(depth: int) -> Iterator[_Scope]:
    """Every scope, the simplest first."""

    def at(layer: int | None, kind: str | None, feels: Callable[[Factor], bool]) -> _Scope:
        return _Scope(layer, kind, lambda factor: int(feels(factor)))

    def below(layer: int) -> _Scope:  # in δ_l, and so in everything below
        return at(layer, None, lambda factor: factor.layer <= layer)

    def here(layer: int, kind: str | None) -> _Scope:
        kinds = ("weight", "bias") if kind is None else (kind,)
        return at(layer, kind, lambda factor: factor.layer == layer and factor.kind in kinds)

    def all_of(kind: str) -> _Scope:
        return at(1 if depth == 1 else None, kind, lambda factor: factor.kind == kind)

    layers = range(depth, 0, -1)
    yield at(None, None, lambda _: True)
    yield from (below(layer) for layer in layers[1:])
    yield from (all_of(kind) for kind in ("weight", "bias"))
    yield from (here(layer, None) for layer in layers)
    yield from (here(layer, kind) for layer in layers for kind in ("weight", "bias"))
    if depth > 1:  # in every delta on the way down: it compounds
        yield _Scope(None, None, lambda factor: depth - factor.layer)
        yield _Scope(None, None, lambda factor: depth - factor.layer + 1)


def _largest_step(factors: list[Factor], depth: int) -> tuple[_Scope, float]:
    """The scope and value after which the fewest tensors are off; the simplest scope of equals."""
    best: tuple[int, _Scope, float] | None = None
    for scope in _scopes(depth):
        for value in _values(factors, scope):
            after = [_divided(f, value, scope.exponent(f)) for f in factors]
            if any(f.value is not None and math.isinf(f.value) for f in after):
                continue
            off = sum(not _is_one(f.value) for f in after)
            if best is None or off < best[0]:
                best = off, scope, value
    assert best is not None
    return best[1], best[2]


def _values(factors: list[Factor], scope: _Scope) -> list[float]:
    values: list[float] = []
    for factor in factors:
        if scope.exponent(factor) == 1 and not _is_one(factor.value):
            assert factor.value is not None
            if not any(_is_one(_ratio(factor.value, value)) for value in values):
                values.append(factor.value)
    return values


def _divided(factor: Factor, value: float, exponent: int) -> Factor:
    if exponent == 0 or factor.value is None:
        return factor
    if value == 0:
        # What is cut is cut: a gradient that is there refutes the scope.
        return Factor(factor.layer, factor.kind, 1.0 if factor.value == 0 else float("inf"))
    return Factor(factor.layer, factor.kind, factor.value / value**exponent)


def _ratio(a: float, b: float) -> float:
    if b == 0:
        return 1.0 if a == 0 else float("inf")
    return a / b


def _is_one(value: float | None) -> bool:
    return value is None or abs(value - 1) < RELATIVE


def _meaning(
    value: float, scope: _Scope, rows: int, outputs: int
) -> Iterator[tuple[float, str, str, tuple[str, ...]]]:
    """(factor, name, note, other names): one or two mistakes whose factors multiply to `value`."""
    if value == 0:
        yield 0.0, "detached-layer", "the gradient is exactly zero", ()
        return
    if value < 0:
        yield -1.0, "sign", "", ()
        value = -value
        if _is_one(value):
            return
    summed = "bias-not-averaged" if scope.kind == "bias" else "not-averaged"
    averages = {
        float(rows): (summed, f"it is B = {rows} times too large"),
        1 / rows: ("averaged-twice", f"it is B = {rows} times too small"),
        1 / rows**2: ("averaged-twice", f"it is B² = {rows}² times too small"),
    }
    for average, (name, note) in averages.items() if rows > 1 else ():
        if _is_one(value / average):
            yield value, name, note, ()
            return
    count = round(min(value, 1e9))
    is_count = count > 1 and _is_one(value / count)
    known = _plain(value, outputs)
    if known and (count == 2 or not is_count):  # noqa: PLR2004  K = 3 is rarer than three calls
        instead = ("accumulated",) if is_count else ()
        yield value, "factor", f"it is {known} times the right one", instead
        return
    if is_count:
        yield value, "accumulated", f"it is {count} times the right one", ("factor",)
        return
    for average, (name, note) in averages.items() if rows > 1 else ():
        if known := _plain(value / average, outputs):
            yield average, name, note, ()
            yield value / average, "factor", f"and {known} times", ()
            return
    yield value, "factor", f"it is {value:.6g} times the right one", ()


def _plain(value: float, outputs: int) -> str:
    """What a factor is called, "" where it has no name."""
    table = {"2": 2.0, "½": 0.5}
    if outputs > 1:
        table |= {
            f"K = {outputs}": float(outputs),
            f"1/K = 1/{outputs}": 1 / outputs,
            f"2/K = 2/{outputs}, as in the mean of squares over all outputs,": 2 / outputs,
            f"½K = {outputs}/2": outputs / 2,
        }
    return next((name for name, known in table.items() if _is_one(value / known)), "")


def is_plain(value: float | None, rows: int, outputs: int) -> bool:
    """Whether a factor has a meaning of its own, such as −1, B or ½."""
    if value is None or value == 0 or _is_one(value):
        return True
    size = abs(value)
    powers = (1.0, float(rows), 1 / rows)
    return any(_is_one(size / p) or bool(_plain(size / p, outputs)) for p in powers)
