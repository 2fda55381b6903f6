"""The mistakes of an explanation, with the numbers that speak for them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from torchmlp.gradcheck.explain.explanation import Explanation, Step, step_mistakes
from torchmlp.gradcheck.explain.gradient_hypotheses import Fit
from torchmlp.gradcheck.explain.mistakes import Mistake, mistake
from torchmlp.gradcheck.explain.reference import LayerCase, Problem
from torchmlp.gradcheck.explain.scale_factors import Factor, Scaling, name_factors


def named(problem: Problem, explanation: Explanation) -> Iterator[Mistake]:
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
        for name, layer, note in step_mistakes(step):
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
