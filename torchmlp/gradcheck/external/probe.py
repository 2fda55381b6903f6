"""Call a user's backward function on random inputs; check that it is pure."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from torchmlp.gradcheck.external.gradients import ExternalGradients, draw

Function = Callable[..., Any]
EXPECTED = "expected it to return loss, grad_weights, grad_biases"


class FunctionError(Exception):
    """The user's function returned, or changed, something that cannot be checked."""


def ask(
    function: Function, rows: int, widths: Sequence[int], *, is_in_out: bool, labels: bool
) -> ExternalGradients:
    """Call a backward function on random numbers, twice.

    Args:
        function: (x, target, weights, biases) -> (loss, grad_weights, grad_biases), of numpy
            arrays; loss a number or None.
        rows: the batch size B.
        widths: sizes of input, hidden layers and output.
        is_in_out: hand over weights as (fan_in, fan_out), for x @ W.
        labels: targets are class indices (B,), otherwise one-hot rows (B, K).

    Raises:
        FunctionError: it changed its arguments, answers otherwise the second time, or returned
            something else.
    """
    x, target, weights, biases = draw(rows, widths, is_in_out=is_in_out, seed=rows, labels=labels)

    def call() -> tuple[Any, list[Any], list[Any]]:
        return _read(function(x, target, weights, biases), len(weights))

    before = [array.copy() for array in (x, target, *weights, *biases)]
    loss, grad_weights, grad_biases = call()
    first = [None if g is None else np.array(g) for g in (*grad_weights, *grad_biases)]
    names = ["x", "target", *(f"weights[{k}]" for k in range(len(weights)))]
    names += [f"biases[{k}]" for k in range(len(biases))]
    for name, array, kept in zip(names, (x, target, *weights, *biases), before, strict=True):
        if not np.array_equal(array, kept):
            raise FunctionError(
                f"it changed {name} in place; expected gradients only: a parameter updated before "
                f"the deltas have passed through it makes them wrong (weight-already-updated)"
            )
    _, again_weights, again_biases = call()
    second = [None if g is None else np.array(g) for g in (*again_weights, *again_biases)]
    for k, (was, now) in enumerate(zip(first, second, strict=True)):
        if was is not None and now is not None and not np.array_equal(was, now):
            part, index = divmod(k, len(weights))
            name = f"{'grad_weights' if part == 0 else 'grad_biases'}[{index}]"
            ratio = float(np.abs(now).sum() / max(float(np.abs(was).sum()), 1e-300))
            raise FunctionError(
                f"{name} was another at the second call with the same arguments ({ratio:.3g} times "
                f"the first): set the gradients to zero before every call (accumulated)"
            )
    half = len(weights)
    value = None if loss is None else float(loss)
    return ExternalGradients(
        x, target, weights, biases, first[:half], first[half:], value, is_in_out
    )


def _read(answer: Any, depth: int) -> tuple[Any, list[Any], list[Any]]:
    if not isinstance(answer, tuple) or len(answer) != 3:  # noqa: PLR2004  its three parts
        raise FunctionError(f"{EXPECTED}, got {type(answer).__name__}")
    loss, grad_weights, grad_biases = answer
    for name, gradients in (("grad_weights", grad_weights), ("grad_biases", grad_biases)):
        if not isinstance(gradients, (list, tuple)) or len(gradients) != depth:
            count = len(gradients) if hasattr(gradients, "__len__") else "no"
            raise FunctionError(
                f"{EXPECTED}, {name} a list of {depth} arrays, first layer first; got "
                f"{type(gradients).__name__} with {count} entries"
            )
    return loss, list(grad_weights), list(grad_biases)
