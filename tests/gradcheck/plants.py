"""Planting mistakes in the gradients of a network, one or two at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from tests.gradcheck.faults import (
    DECAY,
    SCALES,
    VARIANTS,
    Variant,
)
from tests.gradcheck.textbook import (
    Array,
    Case,
    Faults,
    Gradients,
    InapplicableError,
    Line,
    backward,
    right_gradients,
)


@dataclass(frozen=True)
class Plant:
    """Gradients with one known mistake.

    Attributes:
        layer: None for the whole network.
        kwargs: what else explain_gradients has to be told.
        claim: what the faulty code does.
        also: the other (name, layer) whose plants have the very same gradients: no method can tell
            them apart.
    """

    name: str
    variant: str
    layer: int | None
    gradients: Gradients
    kwargs: dict[str, float]
    claim: str
    also: frozenset[tuple[str, int | None]] = frozenset()


@dataclass(frozen=True)
class Pair:
    """Gradients with two known mistakes, each (name, variant, layer), neither without effect."""

    mistakes: tuple[tuple[str, str, int | None], ...]
    gradients: Gradients
    kwargs: dict[str, float]


def same(one: Gradients, other: Gradients, tolerance: float) -> bool:
    """Whether every tensor of both agrees, in shape and to `tolerance` of its own size."""

    def agree(mine: Array | None, theirs: Array | None) -> bool:
        if mine is not None and theirs is not None and mine.shape == (1, *theirs.shape):
            mine = mine[0]  # numpy's keepdims is no mistake
        if mine is None or theirs is None or mine.shape != theirs.shape:
            return mine is theirs
        return norm(mine - theirs) <= tolerance * norm(theirs) + roundings

    # Some tensors are sums that cancel, and hold nothing but what is left of larger numbers.
    roundings = 1e-14 * sum(norm(theirs) for theirs in other.values() if theirs is not None)
    return all(agree(one[name], theirs) for name, theirs in other.items())


def norm(gradient: Array) -> float:
    return float(np.linalg.norm(gradient))


def planted(case: Case, faults: Faults, weight_decay: float = 0.0) -> Gradients | None:
    """The faulty gradients; None where the mistake is impossible or changes nothing."""
    try:
        gradients = backward(case, faults, weight_decay)
    except InapplicableError:
        return None
    finite = all(np.isfinite(g).all() for g in gradients.values() if g is not None)
    return (
        gradients
        if finite and not same(gradients, backward(case, {}, weight_decay), 1e-6)
        else None
    )


def decay_for(variants: Iterable[Variant], weight_decay: float = 0.0) -> float:
    needed = any({"decay", "bias_decay"} & {*variant.lines} for variant in variants)
    return weight_decay or DECAY * needed


def plant_at(
    case: Case, v: Variant, layers: Sequence[int], weight_decay: float = 0.0
) -> Plant | None:
    """The mistake at these layers, `also` left out; None where there is no room for it."""
    decay = decay_for([v], weight_decay)
    if v.variant == "with-decay" and not decay:
        return None
    gradients = planted(case, v.faults(layers), decay)
    if gradients is None:
        return None
    shapes = {name: g.shape for name, g in right_gradients(case).items()}
    odd = any(g is not None and g.shape != shapes[name] for name, g in gradients.items())
    kwargs = {"weight_decay": decay} if decay else {}
    if "bias_decay" in v.lines:
        kwargs["bias_decay"] = 0.0
    layer = v.label(case.depth, layers)
    return Plant(v.name, v.variant + "-odd-shape" * odd, layer, gradients, kwargs, v.claim)


def plants(case: Case, weight_decay: float = 0.0) -> Iterator[Plant]:
    """Every mistake that this case has room for, at each of its layers and at all of them."""
    found: list[Plant] = []
    for v in VARIANTS.values():
        for layers in v.places(case.depth):
            plant = plant_at(case, v, layers, weight_decay)
            if plant is None:
                continue
            found.append(plant)
            absent = {
                k: g if g is not None and g.any() else None for k, g in plant.gradients.items()
            }
            if v.name == "detached-layer" and any(g is None for g in absent.values()):
                variant = plant.variant
                found.append(replace(plant, variant=f"{variant}-none", gradients=absent))
    sizes = np.array(
        [[-1.0 if g is None else norm(g) for g in p.gradients.values()] for p in found]
    )
    for plant, size in zip(found, sizes, strict=True):
        near = (found[k] for k in np.flatnonzero(np.isclose(sizes, size, 1e-8, 1e-12).all(1)))
        alike = (
            (other.name, other.layer)
            for other in near
            if other.kwargs == plant.kwargs and same(other.gradients, plant.gradients, 1e-9)
        )
        yield replace(plant, also=frozenset(alike) - {(plant.name, plant.layer)})


LIKELY_PAIRS = """
    sign/target-minus-output not-averaged/layer-only
    sign/target-minus-output missing-activation-derivative/slope
    sign/target-minus-output missing-output-derivative/slope
    sign/target-minus-output doubled-output-derivative/slope-squared
    sign/target-minus-output doubled-output-derivative/hidden-slope
    sign/target-minus-output transposed-weight-gradient/reshaped
    sign/target-minus-output transposed-weight-gradient/transposed
    sign/target-minus-output bias-not-averaged/sum
    sign/target-minus-output weight-not-transposed/transposed
    sign/target-minus-output weight-decay-missing/decay
    sign/target-minus-output weight-decay-halved/decay
    sign/weight-only bias-not-averaged/sum
    not-averaged/layer-only missing-activation-derivative/slope
    not-averaged/layer-only derivative-at-activation/at-a
    not-averaged/layer-only wrong-mask/inverted
    not-averaged/layer-only doubled-output-derivative/slope-squared
    not-averaged/layer-only doubled-output-derivative/slope-of-p
    not-averaged/layer-only softmax-wrong-axis/over-the-batch
    not-averaged/layer-only weight-already-updated/rate-0.1
    not-averaged/layer-only weight-decay-doubled/decay
    not-averaged/layer-only factor/square-without-half
    averaged-twice/layer-only missing-activation-derivative/slope
    factor/square-without-half bias-not-averaged/sum
    factor/mean-over-outputs derivative-at-activation/at-a
    missing-activation-derivative/slope transposed-weight-gradient/transposed
    missing-activation-derivative/slope transposed-weight-gradient/reshaped
    missing-activation-derivative/slope weight-not-transposed/transposed
    missing-activation-derivative/slope missing-output-derivative/slope
    missing-activation-derivative/slope missing-output-derivative/by-probability
    missing-activation-derivative/slope bias-wrong-axis/mean
    missing-activation-derivative/slope weight-already-updated/rate-0.1
    derivative-at-activation/at-a weight-not-transposed/transposed
    derivative-at-activation/at-a bias-wrong-axis/number-spread
    wrong-mask/inverted bias-not-averaged/sum
    bias-not-averaged/sum missing-output-derivative/slope
    bias-not-averaged/sum missing-activation-derivative/slope
    bias-not-averaged/sum other-loss/square-of-logits
    bias-not-averaged/sum weight-already-updated/rate-0.1
    bias-not-averaged/sum transposed-weight-gradient/transposed
    bias-not-averaged/sum cross-sample/product-of-means
    bias-not-averaged/sum accumulated/twice
    sign/target-minus-output accumulated/twice
    sign/target-minus-output detached-layer/below
    not-averaged/weight-only detached-layer/own-bias
"""


def composed(first: Faults, second: Faults) -> Faults:
    """Both, the second working on what the first has left where they meet in one line."""

    def both(key: tuple[str, int]) -> Line:
        return lambda value, step: second[key](first[key](value, step), step)

    return {**first, **second, **{key: both(key) for key in first.keys() & second.keys()}}


def pairs(case: Case) -> Iterator[Pair]:
    """Likely pairs: scales over the whole network, others at their first, their last and all."""
    for line in LIKELY_PAIRS.strip().splitlines():
        chosen = [VARIANTS[name, variant] for name, variant in map(split_name, line.split())]
        decay = decay_for(chosen)
        places = [v.places(case.depth) for v in chosen]
        likely = [
            some[-1:] if v.name in SCALES else some[:1] + some[1:][-2:]
            for v, some in zip(chosen, places, strict=True)
        ]
        for where in product(*likely):
            faults = [v.faults(layers) for v, layers in zip(chosen, where, strict=True)]
            alone = [planted(case, fault, decay) for fault in faults]
            gradients = planted(case, composed(*faults), decay)
            if gradients is None or any(g is None or same(gradients, g, 1e-6) for g in alone):
                continue
            names = (
                (v.name, v.variant, v.label(case.depth, layers))
                for v, layers in zip(chosen, where, strict=True)
            )
            yield Pair(tuple(names), gradients, {"weight_decay": decay} if decay else {})


def split_name(word: str) -> tuple[str, str]:
    name, variant = word.split("/")
    return name, variant
