"""Gradients found in what a call returned or left behind, each matched with its parameter."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.layouts import Array, as_array
from torchmlp.foreign.calling.slots import Slots
from torchmlp.foreign.calling.trees import Leaf, Path

# How many of the paths in a plan belong to a parameter that had no gradient.
Plan = list[Path | None]
_AFFIX = re.compile(
    r"^(_*)(d_?l_?d|dj_?d|dc_?d|grads?_?|gradients?_?|nabla_?|deltas?_?|partial_?|∂|d|g)(?=_?[a-zθ])|_?(grads?|gradients?|delta|prime)$"
)


def split_loss(
    result: Any, names: Sequence[str | None], slots: Slots | None = None
) -> tuple[float | None, dict[Any, Any]]:
    """The loss among what a call returned, and the rest by name or position.

    A single number that is called like a parameter's gradient is one, wrongly summed, and no loss.
    """
    gradients = {_key(leaf.path) for leaf in slots.all()} if slots else set()
    parts: dict[Any, Any]
    if isinstance(result, tuple):
        known = list(names) if len(names) == len(result) else [None] * len(result)
        parts = {name or k: part for k, (name, part) in enumerate(zip(known, result, strict=True))}
        if len(parts) < len(result):
            parts = dict(enumerate(result))
    else:
        name = names[0] if len(names) == 1 else None
        parts = {name or 0: result}
    loss = None
    for key, part in parts.items():
        if slots is not None and _is_list_of_sums(part, len(slots.weights)):
            parts[key] = [np.full(1, number) for number in part]
        elif isinstance(part, dict):
            sums = {
                k: np.full(1, v)
                for k, v in part.items()
                if _key((k,)) in gradients and _number(v, strict=True) is not None
            }
            parts[key] = {**part, **sums}
    for strict in (True, False):
        for key, part in list(parts.items()):
            value = _number(part, strict=strict)
            if value is not None and _key((key,)) in gradients:
                parts[key] = np.full(1, value)  # summed to a single number
            elif value is not None:
                del parts[key]
                return value, parts
    return loss, parts


def _is_list_of_sums(part: Any, depth: int) -> bool:
    """Whether a list has a single number for each layer: gradients summed to one each."""
    return (
        isinstance(part, list)
        and len(part) == depth
        and all(
            isinstance(v, np.generic) or (isinstance(v, np.ndarray) and v.ndim == 0) for v in part
        )
    )


def _number(part: Any, *, strict: bool) -> float | None:
    """A single number; where not `strict`, one in an array too."""
    if isinstance(part, (bool, dict, str)):
        return None
    if isinstance(part, (int, float)) or hasattr(part, "dtype"):
        array = as_array(part)
        if array is not None and array.size == 1 and (array.ndim == 0 or not strict):
            return float(array.reshape(()))
    return None


def find_gradients(found: list[Leaf], slots: Slots) -> Plan | None:
    """Where each parameter's gradient lies among leaves; None where not every weight has one.

    By name where names say it, else by order and shape.
    """
    parameters = slots.all()
    if not found:
        return None
    return (
        _by_name(found, parameters, slots)
        or _by_order(found, parameters, slots)
        or _by_shape(found, parameters, slots)
    )


def read(found: Sequence[Leaf], plan: Plan) -> list[Array | None] | None:
    """The gradients at the places of a plan; None where one is missing."""
    by_path = {leaf.path: leaf for leaf in found}
    values: list[Array | None] = []
    for path in plan:
        if path is None:
            values.append(None)
        elif path in by_path:
            values.append(by_path[path].get())
        else:
            return None
    return values


def _stem(name: str) -> str:
    word = _AFFIX.sub("", words.plain(name)) or words.plain(name)
    word = re.sub(r"^(weights?|thetas?|syn(apse)?)", "w", word)
    return re.sub(r"^(biases|bias|bs$)", "b", word).replace("ws", "w")


def _key(path: Path) -> tuple[str, tuple[int, ...]]:
    names = [step for step in path if isinstance(step, str)]
    return (
        _stem(names[-1]) if names else "",
        tuple(step for step in path if isinstance(step, int)),
    )


def _by_name(found: list[Leaf], parameters: list[Leaf], slots: Slots) -> Plan | None:
    by_key: dict[tuple[str, tuple[int, ...]], Leaf] = {}
    for leaf in found:
        by_key.setdefault(_key(leaf.path), leaf)
    chosen = [by_key.get(_key(parameter.path)) for parameter in parameters]
    if any(chosen):  # what is named otherwise may still be told by its shape
        left = [leaf for leaf in found if not any(leaf is one for one in chosen)]
        for k, parameter in enumerate(parameters):
            if chosen[k] is None:
                fitting = [leaf for leaf in left if leaf.get().shape == parameter.get().shape]
                if fitting:
                    chosen[k] = fitting[0]
                    left = [leaf for leaf in left if leaf is not fitting[0]]
    return _accepted(chosen, parameters, slots)


def _by_order(found: list[Leaf], parameters: list[Leaf], slots: Slots) -> Plan | None:
    weights, biases = slots.weights, [b for b in slots.biases if b is not None]
    layers = [
        [w, *([b] if b is not None else [])]
        for w, b in zip(slots.weights, slots.biases, strict=True)
    ]
    orders = [
        [p for layer in layers for p in layer],
        weights + biases,
        [p for layer in layers[::-1] for p in layer],
        weights[::-1] + biases[::-1],
        biases + weights,
        [p for layer in layers for p in layer[::-1]],
        [p for layer in layers[::-1] for p in layer[::-1]],
        biases[::-1] + weights[::-1],
    ]
    best: tuple[float, list[Leaf | None]] | None = None
    for order in [*orders, weights, weights[::-1]]:
        if len(order) != len(found):
            continue
        score = sum(
            _likeness(leaf, parameter) for leaf, parameter in zip(found, order, strict=True)
        )
        by_parameter = {id(p): leaf for leaf, p in zip(found, order, strict=True)}
        if best is None or score > best[0]:
            best = score, [by_parameter.get(id(p)) for p in parameters]
    if best is None or best[0] < 0.5 * len(found):
        return None
    return _accepted(best[1], parameters, slots)


def _by_shape(found: list[Leaf], parameters: list[Leaf], slots: Slots) -> Plan | None:
    left = list(found)
    chosen: list[Leaf | None] = []
    for parameter in parameters:
        likeness = [(_likeness(leaf, parameter), -k) for k, leaf in enumerate(left)]
        best = max(likeness, default=(0.0, 0))
        chosen.append(left.pop(-best[1]) if best[0] > 0.5 else None)  # noqa: PLR2004  more than transposed
    return _accepted(chosen, parameters, slots)


def _likeness(leaf: Leaf, parameter: Leaf) -> float:
    """1 for the same shape, less for the ones that a mistake leaves."""
    mine, its = leaf.get().shape, parameter.get().shape
    if mine == its:
        return 1.0
    if mine == its[::-1] or np.prod(mine) == np.prod(its):
        return 0.6 if len(mine) == len(its) or 1 in its or 1 in mine else 0.0
    return 0.0


def _accepted(
    chosen: Sequence[Leaf | None], parameters: Sequence[Leaf], slots: Slots
) -> Plan | None:
    """The plan, where every weight has a gradient of a shape that a mistake can have left."""
    weights = {id(leaf) for leaf in slots.weights}
    for leaf, parameter in zip(chosen, parameters, strict=True):
        if id(parameter) in weights:
            shape = parameter.get().shape
            if leaf is None or leaf.get().shape not in (shape, shape[::-1]):
                return None
    if sum(leaf is None for leaf in chosen) == len(chosen):
        return None
    return [None if leaf is None else leaf.path for leaf in chosen]
