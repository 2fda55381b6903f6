"""Explain wrong gradients: a beam search over hypotheses, from the last layer down.

A mistake in δ_l shows in the gradients of layer l and in no layer above it. So the layers are
explained one after the other, from the last to the first: each way to come by the delta, each way
to form a weight and a bias gradient of it, all that fit the given numbers to rounding. Any number
of mistakes in any number of layers comes apart like this, at a cost linear in the depth.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, takewhile
from typing import Any

from torch import nn

from torchmlp.gradcheck.explain.delta_hypotheses import DeltaHypothesis, hidden_deltas, last_deltas
from torchmlp.gradcheck.explain.explanation import UNKNOWN, Explanation, Step, step_mistakes
from torchmlp.gradcheck.explain.gradient_hypotheses import Fit, fit_bias, fit_weight
from torchmlp.gradcheck.explain.mistakes import Mistake
from torchmlp.gradcheck.explain.naming import named
from torchmlp.gradcheck.explain.reference import LayerCase, Problem, read_problem
from torchmlp.gradcheck.explain.scale_factors import is_plain
from torchmlp.gradcheck.inputs import Gradients

BEAM_WIDTH = 24  # explanations followed at once; more only cost time: two or three ever fit
BEAM_MARGIN = 2.5  # how many mistakes more than the likeliest explanation one may take
CHEAPEST = 0.3  # a mistake that stands in a layer above too
BOUNDS = (0.0, 1.0, 1.25, 2.0, math.inf)  # on the mistakes an explanation takes, tried in turn


def explain_gradients(
    network: nn.Module,
    loss: str,
    x: Any,
    target: Any,
    gradients: Gradients,
    *,
    weight_decay: float = 0.0,
    bias_decay: float | None = None,
) -> list[Mistake]:
    """Name the mistake in a network's gradients, wherever they were computed.

    The network is run again in float64 with the right algorithm and with a catalogue of wrong ones;
    the fewest mistakes that give the numbers are named.

    Args:
        network: an MLP, or an nn.Sequential of nn.Linear and activations (a final nn.Softmax may
            follow); its parameters are those that the gradients were taken at.
        loss: "cross_entropy" (from logits), "mse" (½ squared error) or "bce" (from logits); the
            last two summed over the outputs, all of them means over the batch.
        x: the batch, (B, in_features); a tensor or an array.
        target: class indices (B,), or (B, K).
        gradients: ∂E/∂parameter, the ones under test: a dict by parameter name or a list in
            parameter order, of tensors or arrays; None where no gradient arrived. A weight's may be
            transposed, a bias's summed over the wrong axis.
        weight_decay: λ, where ½ λ ‖W‖² belongs to the loss.
        bias_decay: λ_b, where ½ λ_b ‖b‖² belongs to it, 0.0 where biases are not decayed; None
            where they may have the weights' decay or none.

    Returns:
        The mistakes, nearest first, [] if the gradients are right; "right" is to within the
        rounding of the coarsest dtype among parameters, batch and gradients. Mistakes that the same
        numbers may come of instead stand at the end, marked `alternative`.

    Raises:
        ValueError: a gradient missing, of a shape that no mistake has, or not finite; a network
            that is no multilayer perceptron, or that drops units at random.
        TypeError: integers where floating-point numbers belong.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        >>> x, t = torch.randn(5, 3).double(), torch.tensor([0, 1, 1, 0, 1])
        >>> torch.nn.functional.cross_entropy(network(x), t, reduction="sum").backward()
        >>> gradients = {name: p.grad for name, p in network.named_parameters()}
        >>> (found,) = explain_gradients(network, "cross_entropy", x, t, gradients)
        >>> found.name, round(found.evidence["factor"], 6)
        ('not-averaged', 5.0)
    """
    problem = read_problem(network, loss, x, target, gradients, weight_decay, bias_decay)
    best, *others = _explanations(problem)
    mistakes = list(named(problem, best))
    for other in others:
        if other.is_whole and other.cost <= best.cost:
            names = {m.name for m in mistakes}
            new = [m for m in named(problem, other) if m.name not in names]
            mistakes += [replace(m, alternative=True) for m in new]
    return mistakes


class _Ways:
    """The ways to each delta and the steps that fit, worked out once, whatever the bound."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._deltas: dict[tuple[int, int], _Kept] = {}
        self._steps: dict[tuple[int, int, bool], tuple[DeltaHypothesis, list[Step]]] = {}

    def deltas(self, case: LayerCase, explanation: Explanation) -> "_Kept":
        """The ways to the layer's delta, given how the layers above are explained."""
        above = explanation.steps[-1] if explanation.steps else None
        key = case.number, id(above.hypothesis) if above else 0
        if key not in self._deltas:
            self._deltas[key] = _Kept(
                hidden_deltas(self.problem, case, above.hypothesis, above.case.given_weight)
                if above
                else last_deltas(self.problem)
            )
        return self._deltas[key]

    def steps(self, case: LayerCase, hypothesis: DeltaHypothesis, *, mixed: bool) -> list[Step]:
        """The steps that fit, given how the delta was come by."""
        key = case.number, id(hypothesis), mixed
        if key not in self._steps:  # the hypothesis is kept, so that no other gets its id
            found = list(_fitting_steps(self.problem, case, hypothesis, mixed=mixed))
            self._steps[key] = hypothesis, found
        return self._steps[key][1]


class _Kept:
    """What an iterator gives, for whoever asks again."""

    def __init__(self, iterator: Iterator[DeltaHypothesis]) -> None:
        self._iterator, self._seen = iterator, list[DeltaHypothesis]()

    def __iter__(self) -> Iterator[DeltaHypothesis]:
        for k in count():
            while k >= len(self._seen):
                try:
                    self._seen.append(next(self._iterator))
                except StopIteration:
                    return
            yield self._seen[k]


def _explanations(problem: Problem) -> list[Explanation]:
    """Explanations of the whole network, the likeliest first."""
    # A layer more never takes mistakes away. So an explanation within a bound comes of explanations
    # within it, and where one is found, those above it need no following: they cost more.
    ways = _Ways(problem)
    return next(found for most in BOUNDS if (found := _explanations_within(ways, most)))


def _explanations_within(ways: _Ways, most: float) -> list[Explanation]:
    """Explanations of the whole network by at most so many mistakes."""
    kept = [Explanation((), 0.0, 0.0)]
    for case in reversed(ways.problem.layers):
        longer = [
            longer
            for explanation in kept
            for longer in _continued(ways, case, explanation, most)
            if longer.cost <= most
        ]
        if not longer:
            return []
        longer.sort(
            key=lambda explanation: (
                round(explanation.cost, 6),
                sum(len(step_mistakes(step)) for step in explanation.steps),
            )
        )
        kept = [e for e in longer if e.cost <= longer[0].cost + BEAM_MARGIN][:BEAM_WIDTH]
    return kept


def _continued(
    ways: _Ways, case: LayerCase, explanation: Explanation, most: float
) -> Iterator[Explanation]:
    """The explanation continued by one layer in every way that fits.

    Where that would be more than `most` mistakes, ways that make another are passed over.
    """
    has_room = explanation.cost + CHEAPEST <= most
    problem = ways.problem
    # The right ways come first.
    hypotheses = list(
        takewhile(
            lambda hypothesis: has_room or not hypothesis.mistakes,
            ways.deltas(case, explanation),
        )
    )
    # Samples taken for each other come last, and all at once: a delta of the sample before fits the
    # same numbers as an input of the sample after, and only the layers below tell.
    for mixed in (False, True) if has_room else (False,):
        whole = False
        for hypothesis in hypotheses:
            if not mixed and any(name == "cross-sample" for name, _, _ in hypothesis.mistakes):
                continue
            for step in ways.steps(case, hypothesis, mixed=mixed):
                whole = True
                longer = _longer(problem, explanation, step)
                yield longer
                if longer.cost == explanation.cost:
                    # Delta and gradients are right here; the delta passed on may still be wrong.
                    yield from _passed_on(problem, explanation, step, hypotheses)
                    return
        if whole:
            return
    weight = next(iter(fit_weight(problem, case, hypotheses[0])), None)
    biases = fit_bias(problem, case, hypotheses[0]) if case.given_bias is not None else []
    step = Step(case, hypotheses[0], weight, next(iter(biases), None))
    yield _longer(problem, explanation, step)


def _fitting_steps(
    problem: Problem, case: LayerCase, hypothesis: DeltaHypothesis, *, mixed: bool
) -> Iterator[Step]:
    size = hypothesis.delta.norm().item()
    if not math.isfinite(size) or (hypothesis.mistakes and size <= case.noise.floor):
        return  # a delta of zeros explains any gradient of zeros
    weights = fit_weight(problem, case, hypothesis, mixed=mixed)
    is_settled = hypothesis.extra is None
    biases: Sequence[Fit | None] = [None]
    if is_settled and case.given_bias is not None and weights:
        biases = fit_bias(problem, case, hypothesis)
    for weight in weights:
        if not is_settled and weight.rate is None:
            continue
        settled = hypothesis if is_settled else _settled(hypothesis, weight)
        if not is_settled and case.given_bias is not None:
            biases = fit_bias(problem, case, settled)
        for bias in biases:
            step = Step(case, settled, weight, bias)
            if _has_meaning(problem, step):
                yield step


def _settled(hypothesis: DeltaHypothesis, weight: Fit) -> DeltaHypothesis:
    """The way to the delta, with the amount that it left open as the weight's fit has found it."""
    assert hypothesis.extra is not None
    assert weight.rate is not None
    delta = hypothesis.delta - weight.rate * hypothesis.extra
    return replace(hypothesis, delta=delta, passed=delta, extra=None)


def _passed_on(
    problem: Problem, explanation: Explanation, step: Step, hypotheses: Sequence[DeltaHypothesis]
) -> Iterator[Explanation]:
    for hypothesis in hypotheses:
        if (
            hypothesis.mistakes
            and hypothesis.passed is not hypothesis.delta
            and hypothesis.delta.equal(step.hypothesis.delta)
        ):
            yield _longer(problem, explanation, replace(step, hypothesis=hypothesis))


def _longer(problem: Problem, explanation: Explanation, step: Step) -> Explanation:
    left = max([explanation.left, *(fit.left for fit in (step.weight, step.bias) if fit)])
    cost = explanation.cost + _cost(problem, explanation, step)
    return Explanation((*explanation.steps, step), cost, left)


def _has_meaning(problem: Problem, step: Step) -> bool:
    """Whether a factor found on a single number means something: any number fits any other."""
    pairs = [(step.weight, step.case.given_weight), (step.bias, step.case.given_bias)]
    known = [fit.factor for fit, given in pairs if fit and given is not None and given.numel() > 1]
    for fit, given in pairs:
        if fit is None or given is None or fit.factor is None or given.numel() > 1:
            continue
        same = any(k is not None and abs(k - fit.factor) <= 1e-6 * abs(k) for k in known)
        if not same and not is_plain(fit.factor, problem.rows, problem.outputs):
            return False
    return True


def _cost(problem: Problem, explanation: Explanation, step: Step) -> float:
    """How many mistakes a step adds; a factor that stands above it too counts little."""
    named = {(name, layer) for name, layer, _ in step_mistakes(step)}
    before = {name for s in explanation.steps for name, _, _ in step_mistakes(s)}
    cost = sum(CHEAPEST if name in before else 1.0 for name, _ in named)
    above = explanation.steps[-1] if explanation.steps else None
    last_weight = _factor(above.weight) if above else None
    weight, bias = _factor(step.weight), _factor(step.bias)
    # Of a gradient that is all decay the decay is what is off.
    cost += 0.2 * any(fit is not None and fit.is_decay_alone for fit in (step.weight, step.bias))
    cost += _factor_cost(problem, weight, [1.0, last_weight])
    last_bias = _factor(above.bias) if above else None
    cost += _factor_cost(problem, bias, [1.0, weight, last_bias])
    cost += 1.5 * any(fit is not None and fit.is_odd for fit in (step.weight, step.bias))
    cost += UNKNOWN * (step.weight is None)
    cost += UNKNOWN * (step.bias is None and step.case.given_bias is not None)
    return cost


def _factor(fit: Fit | None) -> float | None:
    return fit.factor if fit else None


def _factor_cost(problem: Problem, value: float | None, free: Sequence[float | None]) -> float:
    if value is None or value == 1.0:
        return 0.0
    if any(f is not None and abs(value - f) <= 1e-6 * abs(f) for f in free):
        return 0.05
    return 1.0 if is_plain(value, problem.rows, problem.outputs) else 1.5
