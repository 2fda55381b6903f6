"""Explain wrong gradients: a beam search over hypotheses, from the last layer down.

A mistake in δ_l shows in the gradients of layer l and in no layer above it. So the layers are
explained one after the other, from the last to the first: each way to come by the delta, each way
to form a weight and a bias gradient of it, all that fit the given numbers to rounding. Any number
of mistakes in any number of layers comes apart like this, at a cost linear in the depth.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from torch import Tensor, nn

from torchmlp.gradcheck.explain.delta_hypotheses import DeltaHypothesis, hidden_deltas, last_deltas
from torchmlp.gradcheck.explain.gradient_hypotheses import Fit, Named, fit_bias, fit_weight
from torchmlp.gradcheck.explain.mistakes import Mistake, mistake
from torchmlp.gradcheck.explain.reference import LayerCase, Problem, read_problem
from torchmlp.gradcheck.explain.scale_factors import Factor, Scaling, is_plain, name_factors
from torchmlp.gradcheck.inputs import Gradients

BEAM_WIDTH = 24  # explanations followed at once; more only cost time: two or three ever fit
BEAM_MARGIN = 2.5  # how many mistakes more than the likeliest explanation one may take
UNKNOWN = 10.0  # the price of a gradient that nothing explains, in mistakes
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
    mistakes = list(_named(problem, best))
    for other in others:
        if other.is_whole and other.cost <= best.cost:
            names = {m.name for m in mistakes}
            new = [m for m in _named(problem, other) if m.name not in names]
            mistakes += [replace(m, alternative=True) for m in new]
    return mistakes


@dataclass(frozen=True)
class Step:
    """How one layer is explained: the way to its delta, the fits of its gradients.

    A fit is None where nothing explains the gradient.
    """

    case: LayerCase
    hypothesis: DeltaHypothesis
    weight: Fit | None
    bias: Fit | None


@dataclass(frozen=True)
class Explanation:
    """How the layers from the last one down are explained, and how many mistakes that takes."""

    steps: tuple[Step, ...]
    cost: float
    left: float

    @property
    def is_whole(self) -> bool:
        """Whether every gradient is explained."""
        return self.cost < UNKNOWN


def _explanations(problem: Problem) -> list[Explanation]:
    """Explanations of the whole network, the likeliest first."""
    # A layer more never takes mistakes away. So an explanation within a bound comes of explanations
    # within it, and where one is found, those above it need no following: they cost more.
    return next(found for most in BOUNDS if (found := _explanations_within(problem, most)))


def _explanations_within(problem: Problem, most: float) -> list[Explanation]:
    """Explanations of the whole network by at most so many mistakes."""
    kept = [Explanation((), 0.0, 0.0)]
    for case in reversed(problem.layers):
        longer = [
            longer
            for explanation in kept
            for longer in _continued(problem, case, explanation, most)
            if longer.cost <= most
        ]
        if not longer:
            return []
        longer.sort(key=lambda explanation: (round(explanation.cost, 6), len(_notes(explanation))))
        kept = [e for e in longer if e.cost <= longer[0].cost + BEAM_MARGIN][:BEAM_WIDTH]
    return kept


def _hypotheses(
    problem: Problem, case: LayerCase, explanation: Explanation
) -> Iterator[DeltaHypothesis]:
    if not explanation.steps:
        return last_deltas(problem)
    above = explanation.steps[-1]
    return hidden_deltas(problem, case, above.hypothesis, above.case.given_weight)


def _continued(
    problem: Problem, case: LayerCase, explanation: Explanation, most: float
) -> Iterator[Explanation]:
    """The explanation continued by one layer in every way that fits.

    Where that would be more than `most` mistakes, ways that make another are passed over.
    """
    has_room = explanation.cost + CHEAPEST <= most
    # The right ways come first.
    hypotheses = list(
        takewhile(
            lambda hypothesis: has_room or not hypothesis.mistakes,
            _hypotheses(problem, case, explanation),
        )
    )
    # Samples taken for each other come last, and all at once: a delta of the sample before fits the
    # same numbers as an input of the sample after, and only the layers below tell.
    for mixed in (False, True) if has_room else (False,):
        whole = False
        for hypothesis in hypotheses:
            if not mixed and any(name == "cross-sample" for name, _, _ in hypothesis.mistakes):
                continue
            for step in _fitting_steps(problem, case, hypothesis, mixed=mixed):
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
    if hypothesis.mistakes and not bool(hypothesis.delta.any()):
        return  # a delta of zeros explains any gradient of zeros
    weights = fit_weight(problem, case, hypothesis, mixed=mixed)
    biases: Sequence[Fit | None] = [None]
    if case.given_bias is not None and weights:
        biases = fit_bias(problem, case, hypothesis)
    for weight in weights:
        for bias in biases:
            step = Step(case, hypothesis, weight, bias)
            if _has_meaning(problem, step) and _is_one_update(step):
                yield _settled(step)


def _settled(step: Step) -> Step:
    """The step with the delta that the fit has found, where the way left an amount open."""
    hypothesis = step.hypothesis
    if hypothesis.extra is None or step.weight is None or step.weight.rate is None:
        return step
    delta = hypothesis.delta - step.weight.rate * hypothesis.extra
    return replace(step, hypothesis=replace(hypothesis, delta=delta, passed=delta, extra=None))


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


def _is_one_update(step: Step) -> bool:
    """Whether weight and bias gradient agree on the rate of a weight updated too early."""
    if step.hypothesis.extra is None or step.weight is None or step.weight.rate is None:
        return step.hypothesis.extra is None
    if step.bias is None:
        return step.case.given_bias is None
    if step.bias.rate is None:
        return step.bias.factor is None
    return abs(step.bias.rate / step.weight.rate - 1) < 1e-3  # noqa: PLR2004  both are fitted


def _cost(problem: Problem, explanation: Explanation, step: Step) -> float:
    """How many mistakes a step adds; a factor that stands above it too counts little."""
    named = {(name, layer) for name, layer, _ in _step_mistakes(step)}
    before = {name for s in explanation.steps for name, _, _ in _step_mistakes(s)}
    cost = sum(CHEAPEST if name in before else 1.0 for name, _ in named)
    above = explanation.steps[-1] if explanation.steps else None
    last_weight = _factor(above.weight) if above else None
    weight, bias = _factor(step.weight), _factor(step.bias)
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


def _step_mistakes(step: Step) -> list[Named]:
    found = [*step.hypothesis.mistakes]
    for fit in (step.weight, step.bias):
        if fit is not None:
            found += [m for m in fit.mistakes if m not in found]
    return found


def _notes(explanation: Explanation) -> list[Named]:
    return [m for step in explanation.steps for m in _step_mistakes(step)]


def _named(problem: Problem, explanation: Explanation) -> Iterator[Mistake]:
    """The mistakes of an explanation, with the numbers that speak for them."""
    steps, depth = explanation.steps, problem.depth
    yield from _structural(problem, steps)
    factors = [
        Factor(step.case.number, kind, fit.factor)
        for step in reversed(steps)
        for kind, fit in (("weight", step.weight), ("bias", step.bias))
        if fit is not None
    ]
    cases = {step.case.number: step.case for step in steps}
    for scaling in name_factors(factors, problem.rows, problem.outputs) if factors else []:
        names = tuple(
            name
            for f in scaling.members
            if (name := _parameter(cases[f.layer], f.kind)) is not None
        )
        evidence = _evidence(steps, names) | {"factor": scaling.value}
        yield _scaled_mistake(scaling, scaling.name, depth, names, evidence)
        for name in scaling.instead:
            other = _scaled_mistake(scaling, name, depth, names, evidence)
            yield replace(other, alternative=True)
    yield from _unknown(steps, depth)


def _scaled_mistake(
    scaling: Scaling, name: str, depth: int, names: tuple[str, ...], evidence: dict[str, float]
) -> Mistake:
    return mistake(
        name, scaling.layer, depth, parameters=names, evidence=evidence, note=scaling.note
    )


def _structural(problem: Problem, steps: Sequence[Step]) -> Iterator[Mistake]:
    """Mistakes that are no factor; one that every layer has that can have it is the network's."""
    places: dict[str, dict[int, tuple[str, Step]]] = {}
    for step in steps:
        for name, layer, note in _step_mistakes(step):
            places.setdefault(name, {}).setdefault(layer, (note, step))
    depth = problem.depth
    everywhere = [set(range(1, depth + 1)), set(range(1, depth)), set(range(2, depth + 1))]
    for name, layers in places.items():
        if len(layers) > 1 and set(layers) in everywhere:
            note, step = next(iter(layers.values()))
            shown = [s for _, s in layers.values()]
            yield _placed(name, None, note, step, steps, depth, shown)
            continue
        for layer, (note, step) in layers.items():
            at = None if depth == 1 and name.startswith("weight-decay") else layer
            yield _placed(name, at, note, step, steps, depth, [step])


def _placed(
    name: str,
    layer: int | None,
    note: str,
    step: Step,
    steps: Sequence[Step],
    depth: int,
    shown: Sequence[Step],
) -> Mistake:
    formed = {m for s in shown for fit in (s.weight, s.bias) if fit for m, _, _ in fit.mistakes}
    if name in formed:
        names = tuple(
            parameter
            for s in shown
            for kind, fit in (("weight", s.weight), ("bias", s.bias))
            if fit
            and any(m == name for m, _, _ in fit.mistakes)
            and (parameter := _parameter(s.case, kind)) is not None
        )
    else:  # in the delta, and so in everything below
        top = max(s.case.number for s in shown)
        names = tuple(
            parameter
            for s in steps
            if s.case.number <= top
            for kind in ("weight", "bias")
            if (parameter := _parameter(s.case, kind)) is not None
        )
    evidence = _evidence(steps, names)
    if name == "weight-already-updated" and step.weight and step.weight.rate is not None:
        evidence["rate"] = step.weight.rate
    if name in formed:
        fits = (fit for fit in (step.bias, step.weight) if fit)
        evidence |= _decay_evidence(
            fit.decay for fit in fits if any(m == name for m, _, _ in fit.mistakes)
        )
    return mistake(name, layer, depth, parameters=names, evidence=evidence, note=note)


def _unknown(steps: Sequence[Step], depth: int) -> Iterator[Mistake]:
    """The gradients that nothing explains; what lies below a wrong delta follows from it."""
    broken: list[str] = []
    top: LayerCase | None = None
    for step in steps:
        broken_here = [
            name
            for kind, fit in (("weight", step.weight), ("bias", step.bias))
            if fit is None and (name := _parameter(step.case, kind)) is not None
        ]
        if broken_here and top is None:
            top = step.case
        broken += broken_here
    if top is not None:
        names = tuple(broken)
        evidence = _evidence(steps, names) | {"cosine": _cosine(steps, names)}
        yield mistake("unknown", top.number, depth, parameters=names, evidence=evidence)
    for step in steps:
        odd = {
            name: fit.decay
            for kind, fit in (("weight", step.weight), ("bias", step.bias))
            if fit and fit.is_odd and (name := _parameter(step.case, kind)) is not None
        }
        if odd:
            evidence = _evidence(steps, tuple(odd)) | _decay_evidence(odd.values())
            what = "weight" if step.weight and step.weight.is_odd else "bias"
            option = "weight_decay" if what == "weight" else "bias_decay"
            note = f"it holds a multiple of the {what}; hand over {option} if that is meant"
            yield mistake(
                "unknown", step.case.number, depth,
                parameters=tuple(odd), evidence=evidence, note=note,
            )  # fmt: skip


def _decay_evidence(decays: Iterable[float | None]) -> dict[str, float]:
    found = [decay for decay in decays if decay is not None]
    return {"weight decay": found[-1]} if found else {}


def _parameter(case: LayerCase, kind: str) -> str | None:
    return case.weight_name if kind == "weight" else case.bias_name


def _pairs(
    steps: Sequence[Step], names: Sequence[str]
) -> Iterator[tuple[Tensor, Tensor, Fit | None]]:
    """(given, right, fit) of the gradients named."""
    for step in steps:
        case = step.case
        if case.weight_name in names:
            yield case.given_weight, case.right_weight, step.weight
        if case.bias_name in names and case.given_bias is not None and case.right_bias is not None:
            yield case.given_bias, case.right_bias, step.bias


def _evidence(steps: Sequence[Step], names: Sequence[str]) -> dict[str, float]:
    wrong = size = left = 0.0
    for given, right, fit in _pairs(steps, names):
        shaped = given if given.shape == right.shape else right.new_zeros(right.shape)
        wrong += (shaped - right).square().sum().item()
        size += right.square().sum().item()
        left = max(left, fit.left if fit else 1.0)
    return {
        "relative error": (wrong / size) ** 0.5 if size else wrong**0.5,
        "left unexplained": left,
    }


def _cosine(steps: Sequence[Step], names: Sequence[str]) -> float:
    product = given_size = right_size = 0.0
    for given, right, _ in _pairs(steps, names):
        if given.shape == right.shape:
            product += (given * right).sum().item()
            given_size += given.square().sum().item()
            right_size += right.square().sum().item()
    size = (given_size * right_size) ** 0.5
    return product / size if size else 0.0
