"""Layers as objects with forward and backward: put one after the other, and asked as a network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.binding import bind, shown, signature
from torchmlp.foreign.calling.layouts import Form, Sample, as_array
from torchmlp.foreign.calling.matching import split_loss
from torchmlp.foreign.calling.sessions import RATE, Script, Session, quiet
from torchmlp.foreign.calling.slots import Finder
from torchmlp.foreign.calling.trees import leaves
from torchmlp.foreign.styles.classes import methods_of
from torchmlp.foreign.styles.defined import classes_of, functions_of
from torchmlp.foreign.styles.functions import forms, known_values
from torchmlp.foreign.styles.way import Candidate, Way

_OUT = ("output", "out", "a", "activation", "result", "y", "outputs", "A")
_IN = (
    "dinputs",
    "dinput",
    "dx",
    "dX",
    "grad_input",
    "input_gradient",
    "grad_inputs",
    "dA_prev",
    "din",
    "delta_prev",
)


def candidates(
    namespace: Mapping[str, Any], wanted: str | None, boxes: Sequence[str]
) -> Iterator[Candidate]:
    """The layers of a module, a candidate for each activation that may stand between them."""
    classes = {name: kind for name, kind in classes_of(namespace).items() if _has_both(kind)}
    linear = {name: kind for name, kind in classes.items() if _is_linear(kind)}
    if wanted is not None and wanted in linear:
        linear = {wanted: linear[wanted]}
    elif wanted is not None and wanted not in classes:
        return
    activations: dict[str, Callable[[], Any]] = {
        name: kind for name, kind in classes.items()
        if not _is_linear(kind) and _is_activation(kind)
    }  # fmt: skip
    for name, kind in classes.items():
        activations |= _paired(name, kind, namespace)
    if wanted in activations:
        activations = {wanted: activations[wanted]}
    for name, kind in linear.items():
        for part, activation in activations.items() or [("", None)]:
            ways = list(_ways(kind, activation, namespace, boxes))
            yield Candidate(name, 3, ways, shown(kind, name), part)


def _has_both(kind: type) -> bool:
    methods = methods_of(kind)
    return _method(methods, "forward") is not None and _method(methods, "backward") is not None


def _method(methods: Mapping[str, Any], which: str) -> str | None:
    """The name of the method that is forward or backward of one layer."""
    for name in methods:
        word = name.lower()
        if which == "forward" and (words.is_forward(word) or word == "__call__"):
            return name
        if which == "backward" and words.BACKWARD.search(word) and _takes_gradient(methods[name]):
            return name
    return None


def _takes_gradient(function: Callable[..., Any]) -> bool:
    """Whether a backward method is handed what arrives from above, and not the targets."""
    found = signature(function)
    names = [n for n in found.required if n != "self"] if found else []
    return (bool(names) and words.role(names[0]) not in ("x", "y", "output", "params")) or (
        bool(names) and len(names) == 1 and words.role(names[0]) not in ("x", "y")
    )


def _is_linear(kind: type) -> bool:
    """A class made of two sizes, that keeps a weight of them."""
    try:
        layer = _made(kind, 4, 6)
    except Exception:  # noqa: BLE001  whatever somebody's code raises
        return False
    return any(sorted(leaf.get().shape) in ([4, 6], [5, 6], [4, 7]) for leaf in leaves(layer))


def _made(kind: type, fan_in: int, fan_out: int) -> Any:
    """A layer of two sizes: by what its parameters are called, else the first two in this order."""
    found = signature(kind)
    names = list(found.required) if found else []
    if len(names) < 2:  # noqa: PLR2004  both sizes
        raise TypeError("no layer of two sizes")
    swapped = words.size_role(names[0]) == "outputs" and words.size_role(names[1]) == "inputs"
    sizes = (fan_out, fan_in) if swapped else (fan_in, fan_out)
    known = {
        **dict(zip(names, sizes, strict=False)),
        "activation": "sigmoid",
        "lr": RATE,
        "seed": 0,
    }
    with quiet():
        return bind(kind, known, roles=lambda n: words.role(n) if n not in names[:2] else None)()


def _is_activation(kind: type) -> bool:
    """A class made of nothing whose forward gives as many numbers as it takes."""
    try:
        with quiet():
            layer = kind()
            if hasattr(layer, "add") or [] in vars(layer).values():
                return False  # an empty network
            out = _called(layer, "forward", np.full((2, 3), 0.5), {})
    except Exception:  # noqa: BLE001  whatever somebody's code raises
        return False
    array = as_array(out)
    return array is not None and array.shape == (2, 3)


def _paired(name: str, kind: type, namespace: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """Layers made of a function and its derivative: Activation(tanh, tanh_prime)."""
    found = signature(kind)
    if found is None or len(found.required) != 2 or _is_linear(kind):  # noqa: PLR2004  the two
        return {}
    functions = functions_of(namespace)
    pairs: dict[str, Callable[[], Any]] = {}
    for f_name, d_name in _with_derivatives(functions, 1):
        function, derivative = functions[f_name], functions[d_name]
        pairs[f"{name}({f_name}, {d_name})"] = partial(kind, function, derivative)
    return pairs


def _with_derivatives(
    functions: Mapping[str, Callable[..., Any]], count: int
) -> Iterator[tuple[str, str]]:
    """Names of functions of so many parameters, each with its derivative's: tanh, tanh_prime."""
    for name, function in functions.items():
        for d_name, derivative in functions.items():
            stem = d_name.lower().replace("_", "")
            is_prime = any(p in stem for p in ("prime", "deriv", "grad")) or stem.startswith("d")
            if name == d_name or not is_prime or name.lower().replace("_", "") not in stem:
                continue
            if _parameters(function) == _parameters(derivative) == count:
                yield name, d_name


def _parameters(function: Callable[..., Any]) -> int:
    found = signature(function)
    return len(found.required) if found else 0


@dataclass
class _Loss:
    """How the loss and its gradient are computed.

    Attributes:
        value: (output, y) -> the loss; None where it is ½ squared error, that nobody reported.
        gradient: (output, y) -> ∂E/∂output.
    """

    value: Callable[[Any, Any], Any] | None
    gradient: Callable[[Any, Any], Any]
    text: str


def _losses(namespace: Mapping[str, Any], form: Form) -> Iterator[_Loss]:
    functions = functions_of(namespace)
    for name, d_name in _with_derivatives(functions, 2):
        if words.COST.search(name.lower() + d_name.lower()):
            both = _of_two(functions[name]), _of_two(functions[d_name])
            yield _Loss(*both, f"{name}, {d_name}")
    for name, kind in classes_of(namespace).items():
        if words.COST.search(name.lower()):
            yield from _class_losses(name, kind)

    def half_square(output: Any, y: Any) -> Any:
        difference = as_array(output) - as_array(y)  # type: ignore[operator]  # both are arrays
        rows = 1 if form.one else difference.shape[1 if form.columns else 0]
        return form.boxed(difference / rows)

    yield _Loss(None, half_square, "½ squared error")


def _of_two(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    found = signature(function)
    assert found is not None
    first, second = found.required
    roles = words.role(first), words.role(second)

    def call(output: Any, y: Any) -> Any:
        swapped = roles[0] == "y" or roles[1] == "output"
        return function(y, output) if swapped else function(output, y)

    return call


def _class_losses(name: str, kind: type) -> Iterator[_Loss]:
    methods = methods_of(kind)
    values = [
        n
        for n in methods
        if words.is_forward(n) or words.COST.search(n.lower()) or n in ("__call__", "calculate")
    ]
    gradients = [n for n in methods if words.BACKWARD.search(n.lower()) or "prime" in n.lower()]
    for value in values[:2]:
        for gradient in gradients[:1]:
            kept: list[Any] = []

            def forward(output: Any, y: Any, value: str = value, kept: list[Any] = kept) -> Any:
                kept[:] = [kind()]
                known = {"x": output, "output": output, "y": y}
                return _bound(getattr(kept[0], value), known, (output, y))

            def backward(output: Any, y: Any, gradient: str = gradient, kept: list[Any] = kept,
                         forward: Callable[..., Any] = forward) -> Any:  # fmt: skip
                forward(output, y)
                own = _left(kept[0], _OUT)  # what a loss with a softmax in it hands to its backward
                own = output if own is None else own
                known = {"x": output, "output": output, "y": y, "grad": own}
                result = _bound(getattr(kept[0], gradient), known, (own, y))
                return result if result is not None else _left(kept[0], _IN)

            yield _Loss(forward, backward, name)


def _bound(function: Callable[..., Any], known: dict[str, Any], both: tuple[Any, Any]) -> Any:
    found = signature(function)
    names = found.required if found else ()
    if len(names) == 2 and {words.role(n) for n in names} != {"y", "output"}:  # noqa: PLR2004  both of them
        first = words.role(names[0])
        return function(*(both[::-1] if first == "y" else both))
    return bind(function, known)()


def _left(layer: Any, names: Sequence[str]) -> Any:
    return next((getattr(layer, n) for n in names if getattr(layer, n, None) is not None), None)


def _called(layer: Any, which: str, value: Any, known: Mapping[str, Any]) -> Any:
    """What forward gives for an input, or backward for what arrives: returned, or left behind."""
    name = _method(methods_of(type(layer)), which)
    assert name is not None
    method = getattr(layer, name)
    found = signature(method)
    assert found is not None
    result = bind(method, {**known, found.names[0]: value})()
    if isinstance(result, tuple):
        result = result[0]
    return result if result is not None else _left(layer, _OUT if which == "forward" else _IN)


@dataclass
class Chain:
    """Layers one after the other, with a loss at the end.

    Attributes:
        layers: first to last.
        loss: how the loss and its gradient are computed.
        known: further values for the layers' methods: rate, and the like.
    """

    layers: list[Any]
    loss: _Loss
    known: dict[str, Any]
    made: list[Any] = field(default_factory=list)

    def forward(self, x: Any) -> Any:
        """The last layer's output."""
        self.made = [x]
        for layer in self.layers:
            self.made.append(_called(layer, "forward", self.made[-1], self.known))
        return self.made[-1]

    def cost(self, y: Any) -> float | None:
        """The loss; None where there is none to report."""
        if self.loss.value is None:
            return None
        value, _ = split_loss(self.loss.value(self.made[-1], y), [])
        return value

    def zero_grad(self) -> None:
        """The layers' own, where they have it."""
        for layer in self.layers:
            for name in ("zero_grad", "zero_grads", "reset", "clear"):
                if hasattr(layer, name):
                    getattr(layer, name)()

    def backward(self, y: Any) -> None:
        """What arrives from above, passed through the layers from the last to the first."""
        gradient = self.loss.gradient(self.made[-1], y)
        for layer in reversed(self.layers):
            gradient = _called(layer, "backward", gradient, self.known)


def _ways(
    kind: type,
    activation: Callable[[], Any] | None,
    namespace: Mapping[str, Any],
    boxes: Sequence[str],
) -> Iterator[Way]:
    # A loss of the file's own, however it takes its targets, before the one that it lacks.
    for has_own in (True, False):
        for form in forms(boxes):
            for loss in _losses(namespace, form):
                if (loss.value is not None) != has_own or (
                    not has_own and form.target != "one-hot"
                ):
                    continue
                for is_last in (False, True) if activation else (False,):
                    start = _starter(kind, activation, loss, form, is_last=is_last)
                    yield Way(start, Script(("forward", "backward"), "cost"), form, text=loss.text)


def _starter(
    kind: type, activation: Callable[[], Any] | None, loss: _Loss, form: Form, *, is_last: bool
) -> Callable[[Sample], Session]:
    find = Finder()

    def start(sample: Sample) -> Session:
        known = known_values(sample, form)
        layers: list[Any] = []
        pairs = list(zip(sample.widths, sample.widths[1:], strict=False))
        with quiet():
            for k, (fan_in, fan_out) in enumerate(pairs):
                layers.append(_made(kind, fan_in, fan_out))
                if activation is not None and (is_last or k < len(pairs) - 1):
                    layers.append(activation())
        chain = Chain(layers, loss, {k: v for k, v in known.items() if k not in ("x", "y")})
        takes_rate = any("lr" in {words.role(n) for n in signature(f).names}  # type: ignore[union-attr]  # asked of those that have one
                         for f in methods_of(kind).values() if signature(f))  # fmt: skip
        slots = find(chain.layers, sample.widths)
        slots.set(sample.weights, sample.biases)
        functions: dict[str, Callable[..., Any]] = {
            "forward": chain.forward,
            "backward": chain.backward,
            "cost": chain.cost,
            "zero_grad": chain.zero_grad,
        }
        return Session(
            functions,
            known,
            slots,
            form,
            sample,
            _Holder(chain.layers),
            RATE if takes_rate else None,
        )

    return start


class _Holder:
    """What is looked through for gradients: the layers."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = list(layers)
