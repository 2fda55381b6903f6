"""Gradients with a known mistake in them: textbook backpropagation in numpy, wrong in one line.

`backward` is the textbook algorithm, rows being samples, and lets a fault change the value of any
line below at any layer. A mistake is such a change, so two at once need no code of their own.
Nothing here is read from the package.

    error         e'(a_L, t), or δ_{l+1} W_{l+1}         what reaches layer l
    slope         φ_l'(z_l)
    delta         error ⊙ slope                          everything below uses it
    weight, bias  δ_lᵀ a_{l-1} / B,  Σ_i δ_l[i] / B
    decay         λ W_l
    total_weight, total_bias                             with the decay added
    passed, sent  W_l and δ_l, as they are multiplied to give the error of layer l − 1
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from math import erf, pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[np.float64]
Gradients = dict[str, Array | None]

# --- the functions, and the network -------------------------------------------------------------


def sigmoid(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def softmax(z: Array, axis: int | None = -1) -> Array:
    power = np.exp(z - z.max(axis=axis, keepdims=True))
    return np.asarray(power / power.sum(axis=axis, keepdims=True))


def softplus(z: Array) -> Array:
    return np.asarray(np.logaddexp(0.0, z))


def normal_cdf(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.vectorize(erf, otypes=[float])(z / sqrt(2))))


def gelu_tanh_inner(z: Array) -> Array:
    return np.asarray(np.tanh(sqrt(2 / pi) * (z + 0.044715 * z**3)))


def mish_slope(z: Array) -> Array:
    t = np.tanh(softplus(z))
    return np.asarray(t + z * (1 - t**2) * sigmoid(z))


def gelu_tanh_slope(z: Array) -> Array:
    t = gelu_tanh_inner(z)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * sqrt(2 / pi) * (1 + 3 * 0.044715 * z**2)


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848

Function = Callable[[Array], Array]
# fmt: off
# name: φ, φ', and torch's module.
ACTIVATIONS: dict[str, tuple[Function, Function, Callable[[], nn.Module]]] = {
    "identity": (lambda z: z, np.ones_like, nn.Identity),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0), nn.ReLU),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z),
                   lambda z: np.where(z > 0, 1.0, 0.01), nn.LeakyReLU),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)),
            lambda z: np.where(z > 0, 1.0, np.exp(z)), nn.ELU),
    "selu": (lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(z)),
             lambda z: SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(z)), nn.SELU),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z)), nn.Sigmoid),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2, nn.Tanh),
    "softplus": (softplus, sigmoid, nn.Softplus),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * sigmoid(-z)), nn.SiLU),
    "gelu": (lambda z: z * normal_cdf(z),
             lambda z: normal_cdf(z) + z * np.exp(-0.5 * z**2) / sqrt(2 * pi), nn.GELU),
    "gelu_tanh": (lambda z: 0.5 * z * (1 + gelu_tanh_inner(z)), gelu_tanh_slope,
                  lambda: nn.GELU("tanh")),
    "mish": (lambda z: z * np.tanh(softplus(z)), mish_slope, nn.Mish),
    "hardtanh": (lambda z: np.clip(z, -1, 1),
                 lambda z: np.where(np.abs(z) < 1, 1.0, 0.0), nn.Hardtanh),
    "relu6": (lambda z: np.clip(z, 0, 6),
              lambda z: np.where((z > 0) & (z < 6), 1.0, 0.0), nn.ReLU6),
    "hardswish": (lambda z: z * np.clip(z + 3, 0, 6) / 6,
                  lambda z: np.where(z >= 3, 1.0, np.where(z <= -3, 0.0, (2 * z + 3) / 6)),
                  nn.Hardswish),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: (1 + np.abs(z)) ** -2, nn.Softsign),
    "logsigmoid": (lambda z: -softplus(-z), lambda z: sigmoid(-z), nn.LogSigmoid),
}
# fmt: on


@dataclass(frozen=True)
class Case:
    """A network and a batch. The loss is taken of the output a_L and is a mean over the rows.

    Attributes:
        widths: N_0..N_L.
        loss: cross_entropy (class indices), mse (½ squared error) or bce (of logits).
        decays_biases: whether a weight decay is meant for the biases too.
    """

    widths: tuple[int, ...]
    activation: str
    output_activation: str
    loss: str
    x: Array
    target: npt.NDArray[Any]
    weights: list[Array]
    biases: list[Array]
    decays_biases: bool = False

    @property
    def depth(self) -> int:
        return len(self.weights)

    def activation_of(self, layer: int) -> str:
        return self.output_activation if layer == self.depth else self.activation

    def name(self, layer: int, kind: str) -> str:
        """The parameter's name in `network`, where an identity leaves no module."""
        return f"{(layer - 1) * (1 if self.activation == 'identity' else 2)}.{kind}"


def random_case(
    seed: int,
    depth: int,
    activation: str,
    loss: str,
    batch: int = 7,
    widths: tuple[int, ...] | None = None,
    output_activation: str = "identity",
) -> Case:
    """Widths of 3 to 6, hidden layers alike for every second seed, and ordinary random values."""
    rng = np.random.default_rng(seed)
    if widths is None:
        drawn = rng.integers(3, 7, size=depth + 1)
        drawn[1:-1] = drawn[1] if seed % 2 else drawn[1:-1]
        widths = tuple(int(width) for width in drawn)
    x = rng.normal(size=(batch, widths[0]))
    weights = [rng.normal(size=(o, i)) / sqrt(i) * 1.2 for i, o in pairwise(widths)]
    biases = [rng.normal(size=o) * 0.3 for o in widths[1:]]
    target: npt.NDArray[Any] = rng.normal(size=(batch, widths[-1]))
    if loss == "cross_entropy":
        target = rng.integers(0, widths[-1], size=batch)
    elif loss == "bce":
        target = np.where(target > 0, 1.0, 0.0)
    return Case(widths, activation, output_activation, loss, x, target, weights, biases)


def network(case: Case) -> nn.Sequential:
    """The case's network in torch's own modules, in float64."""
    modules: list[nn.Module] = []
    for layer, (weight, bias) in enumerate(zip(case.weights, case.biases, strict=True), 1):
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        modules.append(linear)
        if case.activation_of(layer) != "identity":
            modules.append(ACTIVATIONS[case.activation_of(layer)][2]())
    return nn.Sequential(*modules)


# --- backpropagation, with a place to go wrong in every line ------------------------------------


class InapplicableError(Exception):
    """The network leaves no room for the mistake."""


@dataclass
class Step:
    """What a backward pass knows at one layer; a fault may look at all of it."""

    case: Case
    faults: Mapping[tuple[str, int], "Line"]
    layer: int
    z: list[Array]  # z[l] of layer l; z[0] is empty
    a: list[Array]  # a[0] is the input
    line: str = ""
    values: dict[str, Array] = field(default_factory=dict)

    def run(self, line: str, value: Array) -> Array:
        """The line's right value, or what the fault at this line and layer makes of it."""
        self.line = line
        fault = self.faults.get((line, self.layer))
        self.values[line] = fault(value, self) if fault else value
        return self.values[line]

    @property
    def rows(self) -> int:
        return len(self.case.x)

    @property
    def below(self) -> Array:
        return self.a[self.layer - 1]

    @property
    def activation(self) -> str:
        return self.case.activation_of(self.layer)

    @property
    def output(self) -> Array:
        return self.a[-1]

    @property
    def p(self) -> Array:
        """The probabilities that a cross-entropy makes of the output."""
        return softmax(self.output) if self.case.loss == "cross_entropy" else sigmoid(self.output)

    @property
    def t(self) -> Array:
        """The target, one-hot where it is a class index."""
        indices = self.case.loss == "cross_entropy"
        return np.eye(self.case.widths[-1])[self.case.target] if indices else self.case.target

    def need(self, condition: bool) -> None:
        if not condition:
            raise InapplicableError


Line = Callable[[Array, Step], Array]
Faults = Mapping[tuple[str, int], Line]


def backward(case: Case, faults: Faults, weight_decay: float = 0.0) -> Gradients:
    """The gradients by backpropagation, each line changed where `faults` has it."""
    a, z = [case.x], [np.empty(0)]
    for layer, (weight, bias) in enumerate(zip(case.weights, case.biases, strict=True), 1):
        z.append(a[-1] @ weight.T + bias)
        a.append(ACTIVATIONS[case.activation_of(layer)][0](z[-1]))
    gradients: Gradients = {}
    top = Step(case, {}, case.depth, z, a)
    error = top.output - top.t if case.loss == "mse" else top.p - top.t
    for layer in range(case.depth, 0, -1):
        step = Step(case, faults, layer, z, a)
        weight, bias = case.weights[layer - 1], case.biases[layer - 1]
        error = step.run("error", error)
        slope = step.run("slope", ACTIVATIONS[step.activation][1](z[layer]))
        delta = step.run("delta", error * slope)
        grad_weight = step.run("weight", delta.T @ step.below / step.rows)
        grad_bias = step.run("bias", delta.sum(0) / step.rows)
        if weight_decay:
            decay = step.run("decay", weight_decay * weight)
            odd = grad_weight.shape != weight.shape
            grad_weight = grad_weight + (decay.T if odd else decay)
            if case.decays_biases:
                step.need(grad_bias.shape == bias.shape)
                grad_bias = grad_bias + step.run("decay", weight_decay * bias)
        gradients[case.name(layer, "weight")] = step.run("total_weight", grad_weight)
        gradients[case.name(layer, "bias")] = step.run("total_bias", grad_bias)
        error = step.run("sent", delta) @ step.run("passed", weight)
    return {name: gradients[name] for name in parameter_names(case)}


def parameter_names(case: Case) -> list[str]:
    return [case.name(i, kind) for i in range(1, case.depth + 1) for kind in ("weight", "bias")]


def right_gradients(case: Case, weight_decay: float = 0.0) -> dict[str, Array]:
    """∂E/∂W_l + λ W_l and ∂E/∂b_l, without a mistake."""
    return {k: v for k, v in backward(case, {}, weight_decay).items() if v is not None}


# --- the mistakes: which line is wrong, what stands there instead, and what the faulty code does --

# What these do to the whole network belongs to no layer.
SCALES = {
    *("sign", "not-averaged", "averaged-twice", "factor", "accumulated"),
    *("weight-decay-missing", "weight-decay-doubled"),
}


@dataclass(frozen=True)
class Variant:
    """One way of making a mistake: `change` stands in `lines`; `claim` says what the code does.

    Attributes:
        layers: which layers have the line: every, hidden, last, or above the first.
        only: the losses, or activations of the layer, that it can be made with; empty for all.
    """

    name: str
    variant: str
    layers: str
    lines: tuple[str, ...]
    change: Line
    claim: str
    only: tuple[str, ...]

    def places(self, depth: int) -> list[list[int]]:
        """Where it can be planted: at each layer that has the line, and at all of them together."""
        first, end = {
            "every": (1, depth),
            "hidden": (1, depth - 1),
            "last": (depth, depth),
            "above": (2, depth),
        }[self.layers]
        layers = list(range(first, end + 1))
        together = len(layers) > 1 and self.name != "detached-layer"
        return [[layer] for layer in layers] + [layers] * together

    def faults(self, layers: Iterable[int]) -> dict[tuple[str, int], Line]:
        return {(line, layer): self.guarded for line in self.lines for layer in layers}

    def guarded(self, value: Array, step: Step) -> Array:
        step.need(not self.only or step.case.loss in self.only or step.activation in self.only)
        return self.change(value, step)

    def label(self, depth: int, layers: Sequence[int]) -> int | None:
        """The layer that an explanation should name; None where it is the whole network."""
        from_the_top = layers[0] == depth and self.lines[0] in {"delta", "error"}
        all_there_is = depth == 1 and self.lines not in {("weight",), ("bias",)}
        whole = self.name in SCALES and (from_the_top or all_there_is)
        return None if whole or len(layers) > 1 else layers[0]


VARIANTS: dict[tuple[str, str], Variant] = {}


def mistake(
    name: str, variant: str, layers: str, lines: str, change: Line, claim: str, *, only: str = ""
) -> None:
    lines_, only_ = tuple(lines.split()), tuple(only.split())
    VARIANTS[name, variant] = Variant(name, variant, layers, lines_, change, claim, only_)


def times(factor: float) -> Line:
    return lambda value, _: factor * value


def scale(name: str, change: Line, words: str) -> None:
    """A wrong factor: in the δ that is passed on, or in the gradients that are not."""
    both, after = "weight bias", "total_weight total_bias"
    mistake(name, "in-delta", "every", "delta", change, f"δ_l {words}, and so all below it")
    mistake(name, "layer-only", "every", both, change, f"∂E/∂W_l and ∂E/∂b_l {words}, δ_l right")
    mistake(name, "weight-only", "every", "weight", change, f"∂E/∂W_l {words}")
    mistake(name, "with-decay", "every", after, change, f"gradients and their decay {words}")
    if name != "not-averaged":
        mistake(name, "bias-only", "every", "bias", change, f"∂E/∂b_l {words}")


def earlier(other: Callable[[Case], Case]) -> Line:
    def change(value: Array, step: Step) -> Array:
        return value + right_gradients(other(step.case))[step.case.name(step.layer, step.line)]

    return change


def other_batch(case: Case) -> Case:
    fresh = random_case(99, case.depth, case.activation, case.loss, len(case.x), case.widths)
    return replace(case, x=fresh.x, target=fresh.target)


def step_before(case: Case) -> Case:
    g = right_gradients(case)
    return replace(
        case,
        weights=[w + 0.1 * g[case.name(i, "weight")] for i, w in enumerate(case.weights, 1)],
        biases=[b + 0.1 * g[case.name(i, "bias")] for i, b in enumerate(case.biases, 1)],
    )


# fmt: off
scale("sign", times(-1), "negated")
scale("not-averaged", lambda v, s: v * s.rows, "not divided by B")
scale("averaged-twice", lambda v, s: v / s.rows, "divided by B once more")
scale("factor", times(2), "twice as large")
mistake("sign", "target-minus-output", "last", "error", times(-1), "e' is t − p")
mistake("factor", "half", "every", "weight bias", times(0.5), "½ is taken twice")
mistake("factor", "rate-included", "every", "total_weight total_bias", times(0.01), "η g, η = 0.01")
mistake("factor", "odd", "every", "delta", times(3.7), "δ_l times 3.7, and so all below it")
mistake("factor", "mean-over-outputs", "last", "error", lambda v, _: v / v.shape[1],
        "the loss divides by the number of outputs too", only="mse bce")
mistake("factor", "square-without-half", "last", "error", times(2), "e' is 2 (a − t)", only="mse")
for count, word in ((2, "twice"), (3, "thrice"), (10, "ten-times")):
    mistake("accumulated", word, "every", "total_weight total_bias", times(count),
            f"gradients are not set to zero: the same batch is in them {count} times")
mistake("accumulated", "weight-only", "every", "weight", times(2), "W_l's is not set to zero")
mistake("accumulated", "bias-only", "every", "bias", times(2), "b_l's is not set to zero")
mistake("accumulated", "other-batch", "every", "weight bias", earlier(other_batch),
        "the gradient of another batch, at these weights, is still there")
mistake("accumulated", "step-before", "every", "weight bias", earlier(step_before),
        "the gradient of this batch, one step of η = 0.1 ago, is still there")
mistake("weight-decay-missing", "decay", "every", "decay", times(0), "λ W_l is left out")
mistake("weight-decay-doubled", "decay", "every", "decay", times(2),
        "2 λ W_l: λ ‖W‖² without its ½, or once in the loss and once in the step")
# fmt: on


# Bias and weight gradients: the two lines below δ.


def of_delta(change: Callable[[Array], Array]) -> Line:
    return lambda _, step: change(step.values["delta"])


def spread(number: Callable[[Array], float]) -> Line:
    return lambda value, step: np.full_like(value, number(step.values["delta"]))


def transposed_to_shape(value: Array, step: Step) -> Array:
    step.need(value.shape[0] != value.shape[1])
    return value.T.reshape(value.shape)


# fmt: off
for variant, change, claim in (
    ("sum", of_delta(lambda d: d.sum(0)), "Σ_i δ_l"),
    ("sum-keepdims", of_delta(lambda d: d.sum(0, keepdims=True)), "Σ_i δ_l as a row, (1, O)"),
):
    mistake("bias-not-averaged", variant, "every", "bias", change, claim)
for variant, change, claim in (
    ("mean", of_delta(lambda d: d.mean(1)), "δ_l.mean(axis=1), (B,)"),
    ("sum", of_delta(lambda d: d.sum(1)), "δ_l.sum(axis=1), (B,)"),
    ("sum-averaged", of_delta(lambda d: d.sum(1) / len(d)), "δ_l.sum(axis=1) / B, (B,)"),
    ("number", of_delta(lambda d: np.asarray(d.sum() / len(d))), "δ_l.sum() / B: one number"),
    ("number-spread", spread(lambda d: float(d.sum() / len(d))), "δ_l.sum() / B in every element"),
    ("mean-spread", spread(lambda d: float(d.mean())), "δ_l.mean() in every element"),
    ("no-sum", of_delta(lambda d: d), "δ_l itself, (B, O)"),
    ("no-sum-averaged", of_delta(lambda d: d / len(d)), "δ_l / B, (B, O)"),
):
    mistake("bias-wrong-axis", variant, "every", "bias", change, claim)
mistake("transposed-weight-gradient", "transposed", "every", "weight", lambda v, _: v.T,
        "a_{l-1}ᵀ δ_l")
mistake("transposed-weight-gradient", "reshaped", "every", "weight", transposed_to_shape,
        "(a_{l-1}ᵀ δ_l).reshape(O, I)")
# fmt: on


# The slope: activation derivatives.

# φ' as a function of a = φ(z), for those who keep only a.
SLOPE_OF_A: dict[str, Function] = {
    "sigmoid": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a**2,
    "softplus": lambda a: 1 - np.exp(-a),
    "softsign": lambda a: (1 - np.abs(a)) ** 2,
    "elu": lambda a: np.where(a > 0, 1.0, a + 1),
}
CUT = "relu leaky_relu elu selu hardtanh relu6 hardswish"
CURVED = " ".join(ACTIVATIONS.keys() - {"identity"})


def slope_at(place: Callable[[Step], Array]) -> Line:
    return lambda _, step: ACTIVATIONS[step.activation][1](place(step))


def slope_of(activation: str) -> Line:
    return lambda _, step: ACTIVATIONS[activation][1](step.z[step.layer])


def before_slope(_: Array, step: Step) -> Array:
    error = step.values["error"]
    return error.T @ step.below / step.rows if step.line == "weight" else error.sum(0) / step.rows


def inverted(slope: Array, step: Step) -> Array:
    bounded = step.activation in {"hardtanh", "relu6", "hardswish"}
    return 1 - slope if bounded else ACTIVATIONS[step.activation][1](-step.z[step.layer])


def neighbour(offset: int) -> Callable[[Step], Array]:
    def place(step: Step) -> Array:
        other = step.layer + offset
        step.need(0 < other <= step.case.depth and step.z[other].shape == step.z[step.layer].shape)
        return step.z[other]

    return place


# fmt: off
for name, layers in (("missing-activation-derivative", "hidden"),
                     ("missing-output-derivative", "last")):
    mistake(name, "slope", layers, "slope", lambda v, _: np.ones_like(v), "δ_l without φ_l'")
    mistake(name, "gradients-first", layers, "weight bias", before_slope,
            "W_l and b_l use δ before φ_l' is multiplied to it; the layers below get it right")
    mistake(name, "weight-only", layers, "weight", before_slope, "W_l uses δ before φ_l'")
    mistake(name, "bias-only", layers, "bias", before_slope, "b_l uses δ before φ_l'")
    mistake(name, "not-passed-on", layers, "sent", lambda _, s: s.values["error"],
            "W_l and b_l use δ_l, but δ without φ_l' is passed down")
mistake("derivative-at-activation", "at-a", "every", "slope", slope_at(lambda s: s.a[s.layer]),
        "φ_l'(a_l): the derivative is given the activation", only=CURVED)
mistake("derivative-at-activation", "formula-in-a-at-z", "every", "slope",
        lambda _, s: SLOPE_OF_A[s.activation](s.z[s.layer]),
        "the formula in a, such as a (1 − a), is given z", only=" ".join(SLOPE_OF_A))
for variant, only, change, claim in (
    ("inverted", CUT, inverted, "the other half passes"),
    ("of-the-error", CUT, lambda _, s: 1.0 * (s.values["error"] > 0),
     "1 where δ_{l+1} W_{l+1} > 0, in place of where z_l > 0"),
    ("of-both", CUT, lambda v, s: v * (s.values["error"] > 0),
     "φ_l' where δ_{l+1} W_{l+1} > 0, else 0 (guided backpropagation)"),
    ("shifted", CUT, slope_at(lambda s: s.z[s.layer] - 0.5), "the threshold is at 0.5"),
    ("layer-below", CURVED, slope_at(neighbour(-1)), "φ_l'(z_{l-1}), of the same width"),
    ("layer-above", CURVED, slope_at(neighbour(1)), "φ_l'(z_{l+1}), of the same width"),
    ("step", CURVED, slope_of("relu"), "1 where z_l > 0, else 0, under another activation"),
    ("leaky", "relu", slope_of("leaky_relu"), "0.01 where ReLU has 0"),
    ("steeper-leak", "leaky_relu", lambda v, _: np.where(v < 1, 0.2, v), "0.2 in place of 0.01"),
    ("tanh-slope", "sigmoid softsign", slope_of("tanh"), "tanh' under another curve"),
    ("sigmoid-slope", "tanh silu", slope_of("sigmoid"), "σ' under another curve"),
    ("activation", CURVED, lambda _, s: s.a[s.layer], "δ multiplied by a_l itself"),
    ("sample-before", CURVED, lambda v, _: np.roll(v, 1, 0), "φ_l' of the sample before"),
    ("first-sample", CURVED, lambda v, _: v[:1] + 0 * v, "φ_l' of the first sample for all"),
):
    mistake("wrong-mask", variant, "every", "slope", change, claim, only=only)
# fmt: on


# The output: e' and φ_L', and what lies between them.


def jacobian(p: Array, v: Array) -> Array:
    """Softmax's derivative applied to v, row by row."""
    return np.asarray(p * (v - (p * v).sum(1, keepdims=True)))


def hidden_slope(_: Array, step: Step) -> Array:
    step.need(step.case.depth > 1)
    return ACTIVATIONS[step.case.activation][1](step.z[step.layer])


def formula(error: Callable[[Array, Array, Array], Array]) -> Line:
    """Another e', from the output a, the target t and the probabilities p of the right loss."""
    return lambda _, step: error(step.output, step.t, step.p)


# fmt: off
for name, variant, only, change, claim in (
    ("missing-output-derivative", "by-probability", "cross_entropy",
     formula(lambda _, t, p: -t / p), "∂e/∂p = −t / p, without softmax'"),
    ("missing-output-derivative", "by-probability-bce", "bce",
     formula(lambda _, t, p: (p - t) / (p * (1 - p))), "∂e/∂p, without σ'"),
    ("doubled-output-derivative", "slope-of-p", "cross_entropy bce",
     formula(lambda _, t, p: (p - t) * p * (1 - p)), "(p − t) ⊙ p (1 − p)"),
    ("doubled-output-derivative", "jacobian", "cross_entropy",
     formula(lambda _, t, p: jacobian(p, p - t)), "softmax's Jacobian applied to p − t"),
    ("softmax-wrong-axis", "over-the-batch", "cross_entropy",
     formula(lambda a, t, _: softmax(a, 0) - t), "softmax(axis=0) − t"),
    ("softmax-wrong-axis", "over-the-batch-derived", "cross_entropy",
     formula(lambda a, t, _: softmax(a, 0) * t.sum(0) - t),
     "the true derivative of a cross-entropy that takes softmax(axis=0)"),
    ("softmax-wrong-axis", "over-everything", "cross_entropy",
     formula(lambda a, t, _: softmax(a, None) - t), "exp(a) / exp(a).sum() − t, no axis"),
    ("other-loss", "square-of-logits", "cross_entropy bce", formula(lambda a, t, _: a - t),
     "½ squared error of the logits"),
    ("other-loss", "square-of-softmax", "cross_entropy",
     formula(lambda _, t, p: jacobian(p, p - t)), "½ squared error of the softmax"),
    ("other-loss", "square-of-sigmoid", "bce",
     formula(lambda _, t, p: (p - t) * p * (1 - p)), "½ squared error of the logistic output"),
    ("other-loss", "logistic", "cross_entropy mse", formula(lambda a, t, _: sigmoid(a) - t),
     "binary cross-entropy of every output"),
    ("other-loss", "softmax", "bce mse", formula(lambda a, t, _: softmax(a) - t),
     "softmax(a) − t, as for a cross-entropy"),
    ("other-loss", "softmax-twice", "cross_entropy",
     formula(lambda _, t, p: jacobian(p, softmax(p) - t)),
     "a cross-entropy that takes a softmax is given a softmax"),
    ("other-loss", "sigmoid-twice", "bce",
     formula(lambda _, t, p: (sigmoid(p) - t) * p * (1 - p)),
     "bce from logits is given a logistic output"),
    ("other-loss", "no-logarithm", "cross_entropy", formula(lambda _, t, __: -t),
     "−a_t: negative log-likelihood of logits that no log-softmax has seen"),
    ("other-loss", "absolute", "mse", formula(lambda a, t, _: np.sign(a - t)), "Σ |a − t|"),
    ("other-loss", "huber", "mse", formula(lambda a, t, _: np.clip(a - t, -1, 1)),
     "Σ |a − t|, smooth"),
):
    mistake(name, variant, "last", "error", change, claim, only=only)
mistake("doubled-output-derivative", "slope-squared", "last", "slope", lambda v, _: v**2,
        "φ_L' is multiplied twice")
mistake("doubled-output-derivative", "hidden-slope", "last", "slope", hidden_slope,
        "the hidden layers' φ' is multiplied at the linear output too", only="identity")
# fmt: on


# From layer to layer, and from sample to sample.


def square_transposed(weight: Array, step: Step) -> Array:
    step.need(weight.shape[0] == weight.shape[1])
    return weight.T


def updated(rate: float, *, summed: bool = False) -> Line:
    def change(weight: Array, step: Step) -> Array:
        gradient = step.values["total_weight"]
        step.need(gradient.shape == weight.shape)
        return weight - rate * gradient * (step.rows if summed else 1)

    return change


def from_delta_and_input(weight_gradient: Callable[[Array, Array], Array]) -> Line:
    return lambda _, step: weight_gradient(step.values["delta"], step.below)


def mean_row(value: Array, _: Step) -> Array:
    return np.asarray(value.mean(0) + 0 * value)


def broadcast_target(error: Array, step: Step) -> Array:
    step.need(error.shape[1] == 1 and step.case.loss != "cross_entropy")
    return np.asarray(error + step.t - step.t.mean())


# fmt: off
for variant, change, claim in (
    ("transposed", square_transposed, "δ_l W_lᵀ, W_l being square"),
    ("reshaped", lambda w, _: w.T.reshape(w.shape), "W_l kept as (I, O), then reshape(O, I)"),
    ("reshaped-columns", lambda w, _: w.reshape(w.shape[::-1]).T, "W_l.reshape(I, O) for W_lᵀ"),
):
    mistake("weight-not-transposed", variant, "above", "passed", change, claim)
for rate in (0.01, 0.1, 1.0):
    mistake("weight-already-updated", f"rate-{rate}", "above", "passed", updated(rate),
            f"W_l takes its step, η = {rate}, before δ_l passes through it")
mistake("weight-already-updated", "summed", "above", "passed", updated(0.01, summed=True),
        "so, with η = 0.01 and a gradient summed over the rows in that step alone")
for variant, line, claim in (
    ("below", "delta", "δ_l is cut off: layers 1..l get nothing"),
    ("own-layer", "total_weight total_bias", "W_l and b_l are left out; below, all is right"),
    ("own-weight", "total_weight", "W_l is left out"),
    ("own-bias", "total_bias", "b_l is left out"),
):
    mistake("detached-layer", variant, "every", line, times(0), claim)
for variant, layers, line, change, claim in (
    ("input-rolled", "every", "weight",
     from_delta_and_input(lambda d, a: d.T @ np.roll(a, 1, 0) / len(d)),
     "a_{l-1} of the sample before"),
    ("last-input", "every", "weight", from_delta_and_input(lambda d, a: np.outer(d.mean(0), a[-1])),
     "a_{l-1} of the last sample for all"),
    ("product-of-means", "every", "weight",
     from_delta_and_input(lambda d, a: np.outer(d.mean(0), a.mean(0))),
     "the mean δ_l times the mean a_{l-1}"),
    ("delta-reshaped", "every", "weight",
     from_delta_and_input(lambda d, a: d.reshape(-1, len(d)) @ a / len(d)),
     "δ_l.reshape(O, B) a_{l-1} / B, for δ_lᵀ"),
    ("delta-averaged", "every", "delta", mean_row, "the mean δ_l in every row"),
    ("delta-rolled", "hidden", "delta", lambda v, _: np.roll(v, 1, 0), "δ_l of the sample before"),
    ("error-averaged", "last", "error", mean_row, "e' averaged over B, then propagated"),
    ("target-rolled", "last", "error", lambda v, s: v + s.t - np.roll(s.t, 1, 0),
     "the target of the sample before"),
    ("target-broadcast", "last", "error", broadcast_target,
     "(B, 1) − (B,): each output is compared with every target"),
):
    mistake("cross-sample", variant, layers, line, change, claim)
# fmt: on


# --- planting them ------------------------------------------------------------------------------


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
    return weight_decay or 0.1 * any("decay" in variant.lines for variant in variants)


def plants(case: Case, weight_decay: float = 0.0) -> Iterator[Plant]:
    """Every mistake that this case has room for, at each of its layers and at all of them."""
    shapes = {name: g.shape for name, g in right_gradients(case).items()}
    found: list[Plant] = []
    for v in VARIANTS.values():
        decay = decay_for([v], weight_decay)
        for layers in v.places(case.depth) if decay or v.variant != "with-decay" else []:
            gradients = planted(case, v.faults(layers), decay)
            if gradients is None:
                continue
            odd = any(g is not None and g.shape != shapes[name] for name, g in gradients.items())
            variant = v.variant + "-odd-shape" * odd
            kwargs = {"weight_decay": decay} if decay else {}
            layer = v.label(case.depth, layers)
            plant = Plant(v.name, variant, layer, gradients, kwargs, v.claim)
            found.append(plant)
            absent = {k: g if g is not None and g.any() else None for k, g in gradients.items()}
            if v.name == "detached-layer" and any(g is None for g in absent.values()):
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
