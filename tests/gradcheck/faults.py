"""The mistakes: which line of `textbook.backward` is wrong, what stands there instead, and what the
faulty code does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import pi, sqrt
from typing import Any

import numpy as np

from tests.gradcheck.textbook import (
    ACTIVATIONS,
    SELU_SCALE,
    Array,
    Case,
    Function,
    Line,
    Step,
    gelu_tanh_inner,
    normal_cdf,
    random_case,
    right_gradients,
    sigmoid,
    softmax,
    softplus,
)

# What these do to the whole network belongs to no layer.
SCALES = {
    *("sign", "not-averaged", "averaged-twice", "factor", "accumulated"),
    *("weight-decay-missing", "weight-decay-doubled", "weight-decay-halved"),
}

DECAY = 0.1  # λ, where a mistake needs one


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
mistake("bias-decayed", "decay", "every", "bias_decay",
        lambda _, s: DECAY * s.case.biases[s.layer - 1], "λ b_l, where the loss holds λ W_l alone")
mistake("weight-decay-halved", "decay", "every", "decay", times(0.5),
        "λ/2 W_l: the derivative of λ/2 ‖W‖² without its 2")
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


def of_a(formula: Callable[[Array], Any]) -> Line:
    return lambda _, step: np.asarray(formula(step.a[step.layer]))


def of_z(formula: Callable[[Array], Any]) -> Line:
    return lambda _, step: np.asarray(formula(step.z[step.layer]))


# φ' with a factor or a term forgotten.
FORGOTTEN: dict[tuple[str, str], Line] = {
    ("sigmoid", "a"): of_a(lambda a: a),
    ("sigmoid", "1 − a"): of_a(lambda a: 1 - a),
    ("tanh", "1 − a"): of_a(lambda a: 1 - a),
    ("tanh", "1 + a"): of_a(lambda a: 1 + a),
    ("tanh", "1 / cosh(z)"): of_z(lambda z: 1 / np.cosh(z)),
    ("softplus", "exp(z)"): of_z(np.exp),
    ("softplus", "1 / (1 + exp(z))"): of_z(lambda z: sigmoid(-z)),
    ("softsign", "1 / (1 + |z|)"): of_z(lambda z: 1 / (1 + np.abs(z))),
    ("leaky_relu", "no leak"): of_z(lambda z: 1.0 * (z > 0)),
    ("elu", "exp(z) everywhere"): of_z(np.exp),
    ("elu", "a + 1 everywhere"): of_a(lambda a: a + 1),
    ("elu", "a below zero"): of_a(lambda a: np.where(a > 0, 1.0, a)),
    ("selu", "no α"): of_z(lambda z: SELU_SCALE * np.where(z > 0, 1.0, np.exp(z))),
    ("silu", "σ(z)"): of_z(sigmoid),
    ("silu", "z σ'(z)"): of_z(lambda z: z * sigmoid(z) * sigmoid(-z)),
    ("silu", "no z"): of_z(lambda z: sigmoid(z) + sigmoid(z) * sigmoid(-z)),
    ("silu", "a + σ(z)"): of_z(lambda z: z * sigmoid(z) + sigmoid(z)),
    ("gelu", "Φ(z)"): of_z(normal_cdf),
    ("gelu", "no z"): of_z(lambda z: normal_cdf(z) + np.exp(-0.5 * z**2) / sqrt(2 * pi)),
    ("gelu_tanh", "no u'"): of_z(
        lambda z: 0.5 * (1 + gelu_tanh_inner(z)) + 0.5 * z * (1 - gelu_tanh_inner(z) ** 2)
    ),
    ("mish", "tanh(s)"): of_z(lambda z: np.tanh(softplus(z))),
    ("hardtanh", "no lower bound"): of_z(lambda z: 1.0 * (z < 1)),
    ("relu6", "no upper bound"): of_z(lambda z: 1.0 * (z > 0)),
    ("hardswish", "(z + 3) / 6"): of_z(lambda z: np.clip((z + 3) / 6, 0, 1)),
}


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
    for (activation, variant), change in FORGOTTEN.items():
        mistake(name, f"{activation}: {variant}", layers, "slope", change,
                f"{variant} in place of {activation}'", only=activation)
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
    ("activation", " ".join(ACTIVATIONS.keys() - {"identity", "sigmoid"}),
     lambda _, s: s.a[s.layer], "δ multiplied by a_l itself"),
    ("minus-for-plus", "tanh", of_a(lambda a: 1 + a**2), "1 + a_l² in place of 1 − a_l²"),
    ("square", "tanh sigmoid", of_a(lambda a: a**2), "a_l² in place of 1 − a_l² or a_l (1 − a_l)"),
    ("formula-of-sigmoid", "tanh", of_a(lambda a: a * (1 - a)), "a_l (1 − a_l) of tanh's a_l"),
    ("formula-of-tanh", "sigmoid", of_a(lambda a: 1 - a**2), "1 − a_l² of the sigmoid's a_l"),
    ("leak-the-other-way", "leaky_relu", of_z(lambda z: np.where(z > 0, 0.01, 1.0)),
     "the leak above zero"),
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
    ("missing-output-derivative", "diagonal", "cross_entropy",
     formula(lambda _, t, p: -t * (1 - p)), "softmax' is p (1 − p), its diagonal alone"),
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
