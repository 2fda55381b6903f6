"""Hypotheses for how gradients were formed from a delta, fitted to the given ones.

A fit finds the factor c in given = c · formed (+ an unknown amount of something else), and accepts
what is left over only within the rounding of the computation.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from torchmlp.gradcheck.explain.delta_hypotheses import DeltaHypothesis
from torchmlp.gradcheck.explain.reference import LayerCase, Problem

LARGE = 2000  # elements from which on a matrix product is worth avoiding
Named = tuple[str, int, str]


@dataclass(frozen=True)
class Fit:
    """A gradient that was given, explained.

    Attributes:
        mistakes: those of its forming; () where it was formed rightly.
        factor: c; None where the gradient is zero and any factor fits.
        left: ‖given − explained‖ / ‖given‖.
        rate: the descent rate that a weight was updated with too early; None mostly.
        decay: the λ that was found in place of the one asked for; None mostly.
        is_decay_alone: the factor is that of the decay: nothing else is in the gradient.
    """

    mistakes: tuple[Named, ...]
    factor: float | None
    left: float
    rate: float | None = None
    decay: float | None = None
    is_decay_alone: bool = False

    @property
    def is_odd(self) -> bool:
        """Whether there is weight decay where none was asked for."""
        return self.decay is not None and not self.mistakes


def fit_weight(
    problem: Problem, case: LayerCase, hypothesis: DeltaHypothesis, *, mixed: bool = False
) -> list[Fit]:
    """Every form of weight gradient that the given one is explained by, the likeliest first.

    Products over samples that do not belong together are tried only where they are asked for.
    """
    given, number, x = case.given_weight, case.number, case.x
    shape = case.layer.weight.shape
    bound = case.noise.of(hypothesis.delta) * _norm(x) / x.shape[0]
    fits: list[Fit] = []
    right: Tensor | None = None
    if given.shape == shape and _may_fit(problem, case, given, hypothesis, x, bound):
        right = _product(hypothesis.delta, x)
        extra = None if hypothesis.extra is None else _product(hypothesis.extra, x)
        fits += _fits(problem, case, given, right, extra, bound, ())
        if fits and not fits[0].mistakes:
            return fits if fits[0].is_decay_alone or given.numel() == 1 else fits[:1]
    if hypothesis.extra is not None:
        return fits
    transposed = "transposed-weight-gradient"
    if given.t().shape == shape and _may_fit(problem, case, given.t(), hypothesis, x, bound):
        right = _product(hypothesis.delta, x) if right is None else right
        fits += _fits(problem, case, given.t(), right, None, bound, ((transposed, number, ""),))
    if given.shape == shape and shape[0] != shape[1] and not hypothesis.mistakes and not fits:
        product = _product(hypothesis.delta, x)
        mistake = (transposed, number, "reshaped instead of transposed")
        for reshaped in (product.t().reshape(shape), product.reshape(shape[::-1]).t()):
            fits += _fits(problem, case, given, reshaped, None, bound, (mistake,))
    if fits or given.shape != shape or not mixed:
        return fits
    for mistake, delta, at in _other_products(problem, case, hypothesis):
        other = replace(hypothesis, delta=delta)
        bound = case.noise.of(delta) * _norm(at) / x.shape[0]
        if not _may_fit(problem, case, given, other, at, bound):
            continue
        found = _fits(problem, case, given, _product(delta, at), None, bound, (mistake,))
        # Over how many samples it was averaged belongs to the mistake.
        rows = x.shape[0]
        powers = (1.0, float(rows), 1 / rows) if mistake[0] == "cross-sample" else ()
        fits += [_absorbed(fit, powers, case.noise.relative) for fit in found]
    return fits


def _may_fit(
    problem: Problem,
    case: LayerCase,
    given: Tensor,
    hypothesis: DeltaHypothesis,
    x: Tensor,
    bound: float,
) -> bool:
    """Whether a weight gradient may be a multiple of deltaᵀ x, by both of them times one vector.

    A matrix product less for each of the many that do not fit; false only where the fit would fail.
    """
    if given.numel() < LARGE:
        return True
    vector = _vector(x.shape[1])
    rows = x.shape[0]
    along = x @ vector
    columns = [hypothesis.delta.t() @ along / rows, case.layer.weight @ vector]
    if hypothesis.extra is not None:
        columns.append(hypothesis.extra.t() @ along / rows)
    basis, seen = torch.stack(columns, 1), given @ vector
    if basis.shape[0] <= basis.shape[1]:
        return True
    solution = torch.linalg.lstsq(basis, seen.unsqueeze(1), driver="gelsd").solution
    left = (basis @ solution).squeeze(1) - seen
    most = max(1.0, abs(float(solution[0]))) + problem.weight_decay
    return bool(left.norm() <= 10 * (bound * most + 1e-13) * vector.norm())


@lru_cache(maxsize=32)
def _vector(size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)


def _norm(matrix: Tensor) -> float:
    return float(
        torch.linalg.vector_norm(matrix).item()
    )  # Tensor.norm asks its arguments at length


def fit_bias(problem: Problem, case: LayerCase, hypothesis: DeltaHypothesis) -> list[Fit]:
    """Every form of bias gradient that the given one is explained by, the likeliest first."""
    given, bias, number = case.given_bias, case.layer.bias, case.number
    assert given is not None
    assert bias is not None
    rows = hypothesis.delta.shape[0]
    tolerance = case.noise.of(hypothesis.delta) / rows**0.5
    right = hypothesis.delta.sum(0) / rows
    fits: list[Fit] = []
    if given.shape == right.shape:
        extra = None if hypothesis.extra is None else hypothesis.extra.sum(0) / rows
        fits = _fits(problem, case, given, right, extra, tolerance, (), of_bias=True)
        if _is_right(fits[:1]) or (fits and given.numel() > 1 and not fits[0].is_decay_alone):
            return fits[:1]
    mistake = ("bias-wrong-axis", number, "")
    for note, formed, powers in _other_sums(hypothesis.delta):
        if formed.shape == given.shape:
            found = _scaled(given, formed, None, tolerance, ((mistake[0], number, note),))
            fits += [_absorbed(fit, powers, case.noise.relative) for fit in found]
    if fits or given.shape != right.shape:
        return fits
    for mistake, delta, _ in _too_early(problem, case, hypothesis):
        formed = delta.sum(0) / rows
        tolerance = case.noise.of(delta) / rows**0.5
        fits += _scaled(given, formed, None, tolerance, (mistake,))
    return fits


def _product(delta: Tensor, x: Tensor) -> Tensor:
    return torch.addmm(x.new_zeros(()), delta.t(), x, beta=0, alpha=1 / x.shape[0])


def _too_early(
    problem: Problem, case: LayerCase, hypothesis: DeltaHypothesis
) -> Iterator[tuple[Named, Tensor, Tensor]]:
    is_last = case.number == problem.depth
    name = "missing-output-derivative" if is_last else "missing-activation-derivative"
    if case.activation != "identity" and hypothesis.raw is not hypothesis.delta:
        note = "in one of the layer's gradients only"
        yield (name, case.number, note), hypothesis.raw, case.x


def _other_products(
    problem: Problem, case: LayerCase, hypothesis: DeltaHypothesis
) -> Iterator[tuple[Named, Tensor, Tensor]]:
    """(mistake, delta, input) of products over other samples than belong together."""
    yield from _too_early(problem, case, hypothesis)
    delta, x = hypothesis.delta, case.x
    rows = x.shape[0]
    if rows == 1:
        return
    name, number = "cross-sample", case.number
    means = delta.mean(0, keepdim=True), x.mean(0, keepdim=True)
    even = [mean.expand(rows, -1) for mean in means]
    yield (name, number, "the mean delta times the mean input"), even[0], even[1]
    for shift, which in ((1, "before"), (-1, "after")):
        note = f"each delta with the input of the sample {which} it"
        yield (name, number, note), delta, x.roll(shift, 0)
    yield (name, number, "the samples of one side in reverse order"), delta, x.flip(0)
    for k, which in ((-1, "last"), (0, "first")):
        note = f"every delta with the {which} sample's input"
        yield (name, number, note), delta, x[k].expand_as(x)
        alone = torch.zeros_like(delta)
        alone[k] = delta[k]
        yield (name, number, f"the {which} sample's gradient in place of the mean"), alone, x
    if rows != delta.shape[1]:
        reshaped = delta.reshape(delta.shape[1], rows).t()
        yield (name, number, "δ reshaped instead of transposed"), reshaped, x


def _other_sums(delta: Tensor) -> Iterator[tuple[str, Tensor, tuple[float, ...]]]:
    """(note, what was formed, factors that belong to it)."""
    rows, outputs = delta.shape
    by_sample = delta.sum(1) / rows
    powers = (1.0, float(rows), rows / outputs, 1 / rows)
    yield "over the outputs of each sample, not over the samples", by_sample, powers
    total = delta.sum() / rows
    powers = (1.0, float(rows), 1 / outputs, 1 / rows)
    for shape in ((), (1,), (outputs,)):
        yield "over samples and outputs together", total.expand(shape), powers
    yield "not at all", delta, (1.0, 1 / rows)
    first_axis = delta.reshape(outputs, rows).sum(1) / rows
    yield "over the wrong axis of a reshaped delta", first_axis, (1.0, float(rows))


def _fits(
    problem: Problem,
    case: LayerCase,
    given: Tensor,
    formed: Tensor,
    extra: Tensor | None,
    tolerance: float,
    mistakes: tuple[Named, ...],
    *,
    of_bias: bool = False,
) -> list[Fit]:
    """Fits with the weight decay there should be, and with another."""
    parameter = case.layer.bias if of_bias else case.layer.weight
    assert parameter is not None
    decays = [problem.weight_decay]
    if of_bias:
        decays = [0.0, *decays] if problem.bias_decay is None else [problem.bias_decay]
    size = _norm(parameter)
    fits: list[Fit] = []
    for decay in dict.fromkeys(decays):
        # Of a sum, even of a large decay and a small gradient, the rounding is that of the sum.
        bound = tolerance + 4 * problem.eps * decay * size
        fits = _scaled(given, formed + decay * parameter, extra, bound, mistakes) or fits
        if decay and not _is_right(fits):
            found = _scaled(given - decay * parameter, formed, extra, bound, mistakes)
            fits += [fit for fit in found if fit.factor is None or fit.factor != 0]
        if _is_right(fits):
            return fits
    expected = decays[-1]
    is_decay_alone = bool(expected) and _norm(formed) <= tolerance
    if is_decay_alone:
        fits = [replace(fit, is_decay_alone=True) for fit in fits]
    elif fits and given.numel() > 1:
        return fits
    return fits + _with_decay(
        problem, case, given, formed, extra, tolerance, mistakes, parameter, expected,
        of_bias=of_bias,
    )  # fmt: skip


def _is_right(fits: list[Fit]) -> bool:
    return any(fit.factor is None or abs(fit.factor - 1) < 1e-6 for fit in fits)  # noqa: PLR2004  a fit's noise


def _scaled(
    given: Tensor,
    formed: Tensor,
    extra: Tensor | None,
    tolerance: float,
    mistakes: tuple[Named, ...],
) -> list[Fit]:
    """The fit given = c · formed, or c · (formed − rate · extra) where there is an extra."""
    norm, size = _norm(given), _norm(formed)
    if size <= tolerance:  # nothing is expected: any factor fits
        return [Fit(mistakes, None, 0.0)] if norm <= tolerance and extra is None else []
    if norm == 0:
        return [Fit(mistakes, 0.0, 0.0)] if extra is None else []
    if extra is not None:
        return _with_extra(given, formed, extra, tolerance, mistakes)
    factor = ((given * formed).sum() / (formed * formed).sum()).item()
    left = _norm(given - factor * formed)
    # A single number is some multiple of any other: only a factor with a meaning counts there,
    # which the caller sees to.
    if left > tolerance * max(abs(factor), tolerance / size):
        return []
    if abs(factor - 1) * size <= 2 * tolerance:
        factor = 1.0
    return [Fit(mistakes, factor, left / norm)]


def _with_extra(
    given: Tensor,
    formed: Tensor,
    extra: Tensor,
    tolerance: float,
    mistakes: tuple[Named, ...],
) -> list[Fit]:
    basis = torch.stack([formed.flatten(), extra.flatten()], 1)
    if basis.shape[0] <= basis.shape[1] or _norm(extra) <= tolerance:
        return []
    both = torch.linalg.lstsq(basis, given.flatten().unsqueeze(1)).solution.squeeze(1)
    factor, amount = both.tolist()
    left = _norm(given - factor * formed - amount * extra)
    if left > tolerance * abs(factor) or factor == 0:
        return []
    rate = -amount / factor
    if abs(amount) * _norm(extra) <= 4 * tolerance * abs(factor) or rate <= 0:
        return []
    if abs(factor - 1) * _norm(formed) <= 4 * tolerance:
        factor = 1.0
    return [Fit(mistakes, factor, left / _norm(given), rate=rate)]


def _with_decay(
    problem: Problem,
    case: LayerCase,
    given: Tensor,
    formed: Tensor,
    extra: Tensor | None,
    tolerance: float,
    mistakes: tuple[Named, ...],
    parameter: Tensor,
    expected: float,
    *,
    of_bias: bool,
) -> list[Fit]:
    """Fits given = c · formed + λ' · parameter, for a λ' that nobody asked for."""
    usual = expected or problem.weight_decay
    size = _norm(parameter)
    if not size or (mistakes and not usual):
        return []
    multiples = [m for m in _multiples(problem.rows) if m != bool(expected)] if usual else []
    is_free = given.numel() > 1 and extra is None
    if is_free:
        factor, decay = _both(given, formed, parameter)
        left = _norm(given - factor * formed - decay * parameter)
        bound = tolerance * abs(factor) + 4 * problem.eps * abs(decay) * size
        if left > bound:
            return []
        multiples = [m for m in multiples if abs(decay - m * usual) * size <= 16 * bound]
    for multiple in multiples:
        decay = multiple * usual
        bound = tolerance + 4 * problem.eps * abs(decay) * size
        named = *mistakes, _decay_mistake(problem, case, multiple, expected, of_bias=of_bias)
        fits = [
            replace(fit, decay=decay)
            for fit in _scaled(given - decay * parameter, formed, extra, bound, named)
            if fit.factor in (None, 1.0) or (given.numel() > 1 and fit.factor != 0)
        ]
        if fits:
            return fits
    if not is_free or (factor == 0 and _norm(formed) > tolerance):
        return []
    if abs(factor - 1) * _norm(formed) <= 4 * tolerance:
        factor = 1.0
    if usual:
        name = _decay_mistake(problem, case, decay / usual, expected, of_bias=of_bias)
        mistakes = (*mistakes, name)
    return [Fit(mistakes, factor, left / _norm(given), decay=decay)]


def _both(given: Tensor, formed: Tensor, parameter: Tensor) -> tuple[float, float]:
    """The c and λ of the nearest c · formed + λ · parameter; c is 1 where the numbers are few."""
    if given.numel() <= 3:  # noqa: PLR2004  two numbers fit nearly everything
        decay = ((given - formed) * parameter).sum() / parameter.square().sum()
        return 1.0, float(decay)
    sizes = _norm(formed) or 1.0, _norm(parameter)
    alike = float((formed * parameter).sum()) / sizes[0] / sizes[1]
    if abs(alike) < 0.9:  # noqa: PLR2004  the normal equations are then as good
        f = (given * formed).sum().item() / sizes[0]
        p = (given * parameter).sum().item() / sizes[1]
        det = 1 - alike * alike
        return (f - alike * p) / det / sizes[0], (p - alike * f) / det / sizes[1]
    basis = torch.stack([formed.flatten() / sizes[0], parameter.flatten() / sizes[1]], 1)
    both = torch.linalg.lstsq(basis, given.flatten().unsqueeze(1)).solution.squeeze(1)
    factor, decay = (value / size for value, size in zip(both.tolist(), sizes, strict=True))
    return factor, decay


def _multiples(rows: int) -> list[float]:
    """λ' / λ of the usual mistakes."""
    of_batch = [float(rows), 1 / rows] if rows > 2 else []  # noqa: PLR2004  2 and ½ are there
    return [0.0, 1.0, 2.0, 0.5, -1.0, *of_batch]


def _decay_mistake(
    problem: Problem, case: LayerCase, multiple: float, expected: float, *, of_bias: bool
) -> Named:
    """The mistake of a decay that is `multiple` times the one there should be."""
    letter, rows = "b" if of_bias else "W", problem.rows
    words = f"{multiple:.6g} λ {letter}"
    if multiple == rows:
        words = f"B = {rows} times λ {letter}"
    elif multiple == 1 / rows:
        words = f"λ {letter} / B, B = {rows},"
    if not expected:
        return "bias-decayed", case.number, "" if multiple == 1 else f"by {words}"
    names = {0.0: "missing", 2.0: "doubled", 0.5: "halved"}
    if multiple in names:
        return f"weight-decay-{names[multiple]}", case.number, ""
    return "factor", case.number, f"the decay alone is, {words} in place of λ {letter}"


def _absorbed(fit: Fit, powers: tuple[float, ...], noise: float) -> Fit:
    """The fit with factor 1 where its factor is one that belongs to the mistake."""
    if fit.factor is None:
        return fit
    for power in powers:
        if abs(fit.factor / power - 1) < max(1e-6, 100 * noise):
            return Fit(fit.mistakes, 1.0, fit.left)
    return fit
