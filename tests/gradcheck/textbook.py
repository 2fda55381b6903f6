"""Gradients with a known mistake in them: textbook backpropagation in numpy, wrong in one line.

`backward` is the textbook algorithm, rows being samples, and lets a fault change the value of any
line below at any layer. A mistake is such a change, so two at once need no code of their own.
Nothing here is read from the package.

    error         e'(a_L, t), or δ_{l+1} W_{l+1}         what reaches layer l
    slope         φ_l'(z_l)
    delta         error ⊙ slope                          everything below uses it
    weight, bias  δ_lᵀ a_{l-1} / B,  Σ_i δ_l[i] / B
    decay         λ W_l
    bias_decay    0 b_l
    total_weight, total_bias                             with the decay added
    passed, sent  W_l and δ_l, as they are multiplied to give the error of layer l − 1
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import erf, pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[np.float64]
Gradients = dict[str, Array | None]


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
            elif grad_bias.shape == bias.shape:
                grad_bias = grad_bias + step.run("bias_decay", np.zeros_like(bias))
        gradients[case.name(layer, "weight")] = step.run("total_weight", grad_weight)
        gradients[case.name(layer, "bias")] = step.run("total_bias", grad_bias)
        error = step.run("sent", delta) @ step.run("passed", weight)
    return {name: gradients[name] for name in parameter_names(case)}


def parameter_names(case: Case) -> list[str]:
    return [case.name(i, kind) for i in range(1, case.depth + 1) for kind in ("weight", "bias")]


def right_gradients(case: Case, weight_decay: float = 0.0) -> dict[str, Array]:
    """∂E/∂W_l + λ W_l and ∂E/∂b_l, without a mistake."""
    return {k: v for k, v in backward(case, {}, weight_decay).items() if v is not None}
