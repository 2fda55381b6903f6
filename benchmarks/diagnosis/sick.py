"""Runs that fail, each by one fault; without it, it is the healthy run that it names."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from datasets import (
    Change,
    above,
    accuracy,
    balanced,
    blobs,
    changed,
    digits,
    friedman,
    moons,
    noisy,
    plane,
    poisoned,
    rare,
    scaled,
    shuffled,
    sine,
    standardised,
    xor,
)
from healthy import RECIPES
from networks import (
    Functional,
    LinearByHand,
    MapConfig,
    Net,
    Residual,
    Scheduled,
    adam,
    altered,
    apply,
    ascending,
    by_hand,
    constant,
    divided_by_norm,
    either_sign,
    he,
    naive_bce,
    naive_nll,
    naive_softmax,
    naive_softplus,
    naive_swish,
    naive_tanh,
    negated,
    normal,
    not_transposed,
    of_unit_length,
    one_hot_mse,
    one_hot_nll,
    one_row,
    reported,
    safe_bce,
    safe_nll,
    sgd,
    squared,
    stack,
    transposed,
    uniform,
    weighted,
)
from run import Run
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adagrad, RMSprop

from torchmlp import MLP

RELU, TANH, SIGMOID = nn.ReLU, nn.Tanh, nn.Sigmoid
SOFTMAX = partial(nn.Softmax, 1)
LOG_SOFTMAX = partial(nn.LogSoftmax, 1)
Layers = tuple[int | None, ...]
SICK: list[Run] = []


def healthy(name: str, **fields: Any) -> MapConfig:
    """A healthy run, or a variant of it."""
    return replace(RECIPES[name], **fields)


def under(cause: str, at: Layers = (None,), *, has_twin: bool = True) -> Callable[..., None]:
    """What adds runs that one cause makes fail, told at one of these layers unless said."""

    def add(
        name: str,
        twin: str | MapConfig,
        x: Change | None = None,
        y: Change | None = None,
        *,
        also: str = "",
        at: Layers = at,
        **fault: Any,
    ) -> None:
        base = RECIPES[twin] if isinstance(twin, str) else twin
        run = replace(base, data=changed(base.data, x, y), **fault)
        SICK.append(Run(name, run, (cause, *also.split()), at, base if has_twin else None))

    return add


def started(name: str, *layers: int, **values: Callable[[Tensor], object]) -> Net:
    """A healthy run's network, the weights or biases of some layers (all, if none is named) set."""
    return altered(RECIPES[name].net, *layers, **values)


def ending(name: str, *output: Net) -> Net:
    """A healthy run's network with something put after it."""
    return lambda: nn.Sequential(RECIPES[name].net(), *(part() for part in output))


# Data: inputs.
add = under("input-not-normalized", (None, 1))
add("digits-bytes", "digits-relu-sgd", x=lambda x: 255 * x)
add("digits-bytes-sigmoid", "digits-mlp-sigmoid", also="saturation", x=lambda x: 255 * x)
add("plane-one-feature-in-thousands", "plane-one-layer", x=scaled(1000.0, 3))
add("moons-far-from-the-origin", "moons-tanh", x=lambda x: x + 100)
add(
    "friedman-features-of-many-units",
    "friedman-flat-target",
    x=lambda x: x * torch.logspace(-2, 2, 10) + 30,
)
add("spirals-in-micrometres", "spirals-relu", x=lambda x: 1e-3 * x)
add = under("input-non-finite", (None, 1))
add("friedman-one-missing-value", "friedman-relu", x=poisoned(float("nan"), 217, 4))
add("digits-standardised-by-pixel", "digits-low-rate", x=lambda x: (x - x.mean(0)) / x.std(0))
add(
    "blobs-logarithm-of-a-count", "blobs-logistic-batches-of-four", x=poisoned(-float("inf"), 30, 0)
)

# Data: targets.
add = under("labels-constant", has_twin=False)
add("digits-all-labelled-three", "digits-relu-sgd", y=lambda y: torch.full_like(y, 3))
add("moons-all-labelled-zero", "moons-tanh", y=torch.zeros_like)
add("friedman-one-value", "friedman-relu", y=lambda y: torch.full_like(y, 0.7))
add = under("labels-unrelated", has_twin=False)
add("digits-shuffled-labels", "digits-relu-sgd", y=shuffled)
add("moons-shuffled-labels", "moons-overlapping", y=shuffled)
add("friedman-shuffled-targets", "friedman-flat-target", y=shuffled)
add = under("target-out-of-range", (None, 2))
add("friedman-raw-target-sigmoid", "friedman-raw-target", net=stack(10, 64, RELU, 1, SIGMOID))
add(
    "sine-of-amplitude-four-tanh",
    healthy("sine-tanh", data=changed(sine(400), y=lambda y: 4 * y), steps=400),
    net=stack(1, 32, TANH, 1, TANH),
)
add(
    "sine-about-minus-one-relu",
    healthy("sine-absolute-error", data=changed(sine(300), y=lambda y: y - 1)),
    at=(None, 3),
    net=lambda: MLP(1, [32, 32], 1, output_activation="relu"),
)
add("digits-labels-from-one", "digits-log-softmax-nll", at=(None,), y=lambda y: y + 1)
add(
    "digits-nine-outputs",
    "digits-deep-relu-batch-norm",
    at=(None, 9),
    net=stack(784, *(64, "batch-norm", RELU) * 8, 9),
)
add(
    "digits-autoencoder-of-bytes",
    healthy("digits-autoencoder", loss=nn.MSELoss()),
    y=lambda y: 255 * y,
)
add = under("class-imbalance")
add(
    "blobs-few-of-two-classes",
    MapConfig(
        rare(0, 0.02)(blobs(3000, 3, 4, 2.0)),
        stack(4, 24, RELU, 3),
        weighted(0.02, 1.0, 1.0),
        sgd(0.02, 0.5),
        balanced,
    ),
    loss=nn.CrossEntropyLoss(),
)
add(
    "digits-mostly-ones",
    healthy(
        "digits-relu-sgd",
        data=rare(1, 0.015)(digits(6000)),
        loss=weighted(*(0.03 if k == 1 else 1.0 for k in range(10))),
        score=balanced,
        optim=sgd(0.05),
    ),
    loss=nn.CrossEntropyLoss(),
)
add(
    "moons-few-of-one",
    healthy(
        "moons-overlapping",
        data=rare(0, 0.05)(moons(2000, 0.35)),
        net=stack(2, 32, RELU, 32, RELU, 1),
        loss=nn.BCEWithLogitsLoss(pos_weight=torch.tensor(20.0)),
        score=above(0.0),
        optim=sgd(0.02, 0.9),
    ),
    loss=nn.BCEWithLogitsLoss(),
)

# Design: what the output and the loss make of each other.
add = under("output-loss-mismatch", (None, 2))
add("digits-softmax-before-cross-entropy", "digits-relu-sgd", net=stack(784, 64, RELU, 10, SOFTMAX))
add(
    "digits-wide-softmax-before-cross-entropy",
    "digits-low-rate",
    net=lambda: Functional([784, 300, 10], functional.relu, partial(functional.softmax, dim=1)),
)
add(
    "digits-deep-softmax-before-cross-entropy",
    "digits-deep-relu-he",
    at=(None, 11),
    net=ending("digits-deep-relu-he", SOFTMAX),
)
add(
    "moons-sigmoid-before-logits-loss",
    "moons-tanh",
    at=(None, 3),
    net=stack(2, 16, TANH, 16, TANH, 1, SIGMOID),
)
add(
    "digits-nll-on-probabilities",
    healthy("digits-log-softmax-nll", optim=sgd(0.1)),
    at=(None, 3),
    net=lambda: Functional([784, 50, 50, 10], torch.tanh, partial(torch.softmax, dim=1)),
)
add(
    "digits-deep-nll-on-probabilities",
    "digits-deep-relu-he",
    at=(None, 11),
    net=ending("digits-deep-relu-he", SOFTMAX),
    loss=nn.NLLLoss(),
)
add(
    "digits-relu-before-cross-entropy",
    "digits-zero-last-layer",
    also="dead-units",
    net=ending("digits-zero-last-layer", RELU),
)
add(
    "digits-relu-on-logistic-scores",
    "digits-logistic-from-zero",
    at=(None, 1),
    also="dead-units",
    net=ending("digits-logistic-from-zero", RELU),
)
add(
    "digits-sigmoid-before-cross-entropy",
    healthy("digits-deep-relu-he", optim=sgd(0.05), steps=120, batch=64),
    at=(None, 11),
    net=ending("digits-deep-relu-he", SIGMOID),
)
add(
    "friedman-column-against-row",
    "friedman-flat-target",
    also="shape-broadcast",
    net=stack(10, 48, RELU, 1),
    loss=squared,
)
add(
    "sine-column-against-row",
    healthy("sine-tanh", loss=nn.MSELoss()),
    also="shape-broadcast",
    y=lambda y: y.squeeze(1),
)
add(
    "blobs-softmax-over-the-batch",
    healthy(
        "blobs-logistic-batches-of-four",
        net=stack(12, 8, SOFTMAX),
        loss=safe_nll,
        batch=2,
        optim=sgd(0.02),
    ),
    at=(None, 1),
    net=stack(12, 8, partial(nn.Softmax, 0)),
)
add = under("softmax-over-one-unit", (None, 2))
add("xor-softmax-of-one", "xor-nesterov", net=stack(2, 16, RELU, 1, SOFTMAX))
add(
    "words-softmax-of-one-squared",
    healthy("words-sparse", loss=nn.MSELoss()),
    net=lambda: Functional([400, 32, 1], functional.relu, partial(functional.softmax, dim=1)),
)
add(
    "friedman-softmax-of-one",
    "friedman-relu",
    at=(None, 3),
    net=stack(10, 64, RELU, 64, RELU, 1, partial(nn.Softmax, -1)),
)
add = under("missing-output-activation", (None, 3))
add(
    "digits-nll-on-raw-outputs",
    "digits-log-softmax-nll",
    net=lambda: Functional([784, 50, 50, 10], torch.tanh),
)
add(
    "circles-nll-on-raw-outputs", "circles-log-softmax-float64", net=stack(2, 12, TANH, 12, TANH, 2)
)
add(
    "moons-bce-on-raw-outputs",
    "moons-overlapping",
    net=stack(2, 32, partial(nn.LeakyReLU, 0.1), 32, partial(nn.LeakyReLU, 0.1), 1),
)
add(
    "digits-logarithm-of-raw-outputs",
    "digits-softmax-nll-eps",
    at=(None, 2),
    net=stack(784, 128, RELU, 10),
)
add("xor-logarithm-of-raw-outputs", "xor-safe-logarithm", net=stack(2, 32, RELU, 32, RELU, 1))
add = under("missing-nonlinearity", (None, 1))
add("spirals-linear-layers", "spirals-relu", net=stack(2, 64, 64, 64, 3))
add(
    "xor-hinge-without-relu",
    healthy("moons-hinge", data=xor(300)),
    net=lambda: Functional([2, 40, 1], lambda z: z),
)
add("circles-linear-layers", "circles-relu-rmsprop", net=stack(2, 24, 2))
add(
    "sine-identity",
    healthy("sine-absolute-error", data=sine(300, 2.0), steps=400),
    net=lambda: MLP(1, [32, 32], 1, activation="identity"),
)

# Design: formulas that overflow.
BOLD = healthy("blobs-far-apart", optim=sgd(0.3, 0.9))
add = under("unstable-softmax", (None, 2))
add("blobs-naive-softmax", BOLD, net=stack(10, 32, RELU, 4, apply(naive_softmax)))
add(
    "blobs-naive-softmax-logistic",
    MapConfig(
        blobs(600, 5, 20, 12.0), stack(20, 5, SOFTMAX), safe_nll, sgd(0.5, 0.9), accuracy, 10
    ),
    at=(None, 1),
    net=stack(20, 5, apply(naive_softmax)),
)
add(
    "digits-naive-softmax-half",
    healthy(
        "digits-half",
        net=stack(784, 64, RELU, 10, LOG_SOFTMAX),
        loss=nn.NLLLoss(),
        optim=sgd(0.3),
        steps=400,
    ),
    net=stack(784, 64, RELU, 10, apply(lambda z: naive_softmax(z).log())),
)
add = under("unstable-activation", (1,))
add(
    "blobs-naive-softplus",
    MapConfig(
        blobs(600, 4, 10, 400.0),
        stack(10, 32, nn.Softplus, 4),
        nn.CrossEntropyLoss(),
        adam(0.01),
        accuracy,
    ),
    also="input-not-normalized",
    net=stack(10, 32, apply(naive_softplus), 4),
)
add(
    "digits-naive-swish-half",
    healthy(
        "digits-half",
        data=changed(digits(), standardised),
        net=stack(784, 64, nn.SiLU, 10),
        optim=sgd(0.3),
    ),
    net=stack(784, 64, apply(naive_swish), 10),
)
add(
    "friedman-naive-tanh-half",
    healthy(
        "friedman-half", net=stack(8, 64, TANH, 1), data=changed(friedman(600, 8), lambda x: 6 * x)
    ),
    net=stack(8, 64, apply(naive_tanh), 1),
)
add(
    "circles-divided-by-their-norm",
    healthy(
        "circles-relu-rmsprop", net=stack(2, 12, RELU, apply(of_unit_length), 2), optim=adam(0.03)
    ),
    net=stack(2, 12, RELU, apply(divided_by_norm), 2),
)
add = under("log-of-zero", (None, 2))
add(
    "blobs-logarithm-of-probabilities",
    replace(BOLD, data=changed(BOLD.data, y=noisy(0.1, 4))),
    loss=naive_nll,
)
add("blobs-one-hot-times-logarithm", BOLD, loss=one_hot_nll)
add("xor-bce-by-the-book", "xor-safe-logarithm", at=(None, 3), loss=naive_bce)
add(
    "words-bce-by-the-book",
    healthy("words-sparse", loss=safe_bce, optim=adam(0.01)),
    loss=naive_bce,
)
add(
    "digits-one-hot-times-logarithm-half",
    healthy("digits-half", net=stack(784, 64, RELU, 10, SOFTMAX), loss=safe_nll),
    loss=one_hot_nll,
)
add = under("reported-loss-differs")
add(
    "digits-follows-the-next-class",
    "digits-relu-sgd",
    loss=reported(functional.cross_entropy, lambda z, y: functional.cross_entropy(z, (y + 1) % 10)),
)
add(
    "friedman-follows-the-outputs-size",
    "friedman-relu",
    loss=reported(functional.mse_loss, lambda z, _: z.pow(2).mean()),
)
add(
    "moons-follows-the-opposite",
    "moons-tanh",
    loss=reported(
        functional.binary_cross_entropy_with_logits,
        lambda z, y: functional.binary_cross_entropy_with_logits(z, 1 - y),
    ),
)

# The start.
add = under("symmetric-init", (1, 2, 3))
add(
    "digits-all-a-hundredth",
    "digits-relu-sgd",
    at=(1, 2),
    net=started("digits-relu-sgd", weight=constant(0.01), bias=constant(0.0)),
)
add(
    "moons-all-zero",
    "moons-tanh",
    net=started("moons-tanh", weight=constant(0.0), bias=constant(0.0)),
)
add(
    "circles-hidden-units-of-one-row",
    "circles-relu-rmsprop",
    at=(1,),
    net=altered(
        started("circles-relu-rmsprop", 1, weight=one_row, bias=constant(0.0)),
        2,
        weight=constant(0.2),
    ),
)
add(
    "friedman-hidden-units-of-one-row",
    "friedman-flat-target",
    at=(1,),
    net=altered(
        started("friedman-flat-target", 1, weight=one_row, bias=constant(0.0)),
        2,
        weight=constant(0.2),
    ),
)
add(
    "friedman-all-a-tenth",
    "friedman-layer-norm",
    net=started("friedman-layer-norm", weight=constant(0.1), bias=constant(0.0)),
)
ANY = (None, *range(1, 12))
add = under("init-too-large", (1, None))
add(
    "digits-standard-normal-weights",
    "digits-deep-tanh-xavier",
    net=started("digits-deep-tanh-xavier", weight=normal(1.0)),
)
add("digits-standard-normal-mlp", "digits-mlp", net=started("digits-mlp", weight=normal(1.0)))
add(
    "friedman-weights-of-two",
    "friedman-relu",
    at=(1, 2, None),
    net=started("friedman-relu", weight=normal(2.0)),
)
add(
    "friedman-first-layer-of-five",
    "friedman-flat-target",
    net=started("friedman-flat-target", 1, weight=normal(5.0)),
)
add = under("init-too-small", (1, None))
add(
    "digits-weights-of-a-hundredth",
    "digits-deep-tanh-xavier",
    net=started("digits-deep-tanh-xavier", weight=normal(0.01), bias=constant(0.0)),
)
add(
    "digits-weights-of-a-thousandth",
    "digits-selu",
    net=started("digits-selu", weight=normal(0.001), bias=constant(0.0)),
)
add(
    "sine-weights-of-a-ten-thousandth",
    healthy("sine-tanh-output", optim=sgd(0.1, 0.9)),
    net=started("sine-tanh-output", weight=normal(1e-4), bias=constant(0.0)),
)
add = under("init-not-centred", (1, 2, None))
add(
    "digits-uniform-weights-to-one",
    "digits-relu-sgd",
    also="init-too-large",
    net=started("digits-relu-sgd", weight=uniform(0, 1)),
)
add(
    "digits-uniform-weights-to-a-tenth",
    "digits-log-softmax-nll",
    net=started("digits-log-softmax-nll", weight=uniform(0, 0.1)),
)
add(
    "friedman-positive-weights",
    "friedman-relu",
    also="init-too-large",
    net=started("friedman-relu", weight=uniform(0, 1)),
)


# How signals pass, forth and back.
add = under("saturation", (1,))
add(
    "digits-sigmoid-biases-of-twenty",
    "digits-mlp-sigmoid",
    net=started("digits-mlp-sigmoid", 1, bias=constant(20.0)),
)
add(
    "moons-tanh-biases-of-minus-twelve",
    "moons-tanh",
    net=started("moons-tanh", 1, bias=constant(-12.0)),
)
add(
    "spirals-tanh-biases-of-either-sign",
    "spirals-full-batch",
    at=(2,),
    net=started("spirals-full-batch", 2, bias=either_sign),
)
add = under("vanishing-gradient", (1, 2, None))
add("digits-six-sigmoids", "digits-deep-relu-he", net=stack(784, *(64, SIGMOID) * 6, 10))
add(
    "moons-ten-sigmoids",
    healthy("moons-overlapping", net=stack(2, *(16, RELU) * 3, 1, SIGMOID), optim=sgd(0.1, 0.9)),
    net=stack(2, *(16, SIGMOID) * 10, 1, SIGMOID),
)
add(
    "friedman-eight-sigmoids-adam",
    healthy("friedman-relu", optim=adam(0.001)),
    net=lambda: Functional([10, *[64] * 8, 1], torch.sigmoid),
)
add = under("exploding-gradient", ())
add(
    "digits-ten-relus-of-gain-two",
    "digits-deep-relu-he",
    also="init-too-large",
    net=altered(stack(784, *(64, RELU) * 10, 10), weight=he(2.0), bias=constant(0.0)),
)
add(
    "digits-residual-without-norm",
    healthy(
        "digits-residual",
        net=altered(lambda: Residual((784, 64, 10), 10), weight=he()),
        optim=sgd(0.02, 0.9),
    ),
    net=altered(lambda: Residual((784, 64, 10), 10, norm=False), weight=he()),
)
add(
    "friedman-eight-relus-of-gain-above-one",
    healthy(
        "friedman-relu",
        net=altered(stack(10, *(40, RELU) * 8, 1), weight=he(), bias=constant(0.0)),
        optim=sgd(0.005, 0.5),
    ),
    also="init-too-large",
    net=altered(stack(10, *(40, RELU) * 8, 1), weight=he(1.6), bias=constant(0.0)),
)
add = under("dead-units", (1,))
add(
    "digits-relu-biases-far-below",
    "digits-relu-sgd",
    net=started("digits-relu-sgd", 1, bias=constant(-5.0)),
)
add(
    "spirals-second-biases-below",
    "spirals-relu",
    at=(2,),
    net=started("spirals-relu", 2, bias=constant(-2.0)),
)
add(
    "friedman-most-biases-below",
    "friedman-flat-target",
    net=started("friedman-flat-target", 1, bias=normal(0.3, -6.0)),
)

# Rates and steps.
add = under("learning-rate-too-high")
add("digits-sgd-of-five", "digits-relu-sgd", optim=sgd(5.0))
add("digits-adam-of-three-tenths", "digits-convolutional", optim=adam(0.3))
add("digits-rmsprop-of-three-tenths", "digits-tanh-scores", optim=lambda p: RMSprop(p, 0.3))
add("friedman-momentum-and-a-rate-of-one", "friedman-flat-target", optim=sgd(1.0, 0.9))
add("plane-sgd-of-six-tenths", "plane-one-layer", optim=sgd(0.6))
add("spirals-adam-of-one", "spirals-relu", optim=adam(1.0))
add = under("learning-rate-too-low")
add("digits-sgd-of-a-thousandth", "digits-relu-sgd", optim=sgd(0.001))
add("digits-adam-of-a-millionth", "digits-zero-last-layer", optim=adam(1e-6))
add("friedman-sgd-of-a-ten-thousandth", "friedman-flat-target", optim=sgd(1e-4))
add("blobs-adagrad-of-a-five-thousandth", "blobs-five-adagrad", optim=lambda p: Adagrad(p, 2e-4))
add("spirals-adam-of-a-hundred-thousandth", "spirals-full-batch", optim=adam(1e-5))
add = under("late-divergence")
add(
    "digits-rate-grows-by-four-percent", "digits-relu-sgd", optim=lambda p: Scheduled(p, 0.05, 1.04)
)
add(
    "friedman-warm-up-without-end",
    "friedman-flat-target",
    optim=lambda p: Scheduled(p, 0.005, 1.03, momentum=0.9),
)
add("plane-rate-grows", "plane-full-batch", optim=lambda p: Scheduled(p, 0.02, 1.03))
add("sine-momentum-of-99", "sine-tanh-by-hand", also="learning-rate-too-high", optim=sgd(0.1, 0.99))
add = under("oscillation")
add("plane-momentum-of-999", "plane-one-layer", optim=sgd(0.01, 0.999))
add("friedman-momentum-of-995", "friedman-flat-target", optim=sgd(0.02, 0.995))
add(
    "blobs-full-batch-momentum-of-999",
    healthy("blobs-logistic-batches-of-four", batch=600, loss=one_hot_mse, optim=sgd(0.2, 0.9)),
    optim=sgd(0.2, 0.999),
)
add = under("too-few-steps")
add("digits-twenty-steps", "digits-low-rate", steps=20)
add("spirals-four-steps", "spirals-full-batch", steps=4)
add("friedman-thirty-steps", "friedman-raw-target", steps=30)
add("friedman-three-steps", "friedman-flat-target", steps=3)
add("xor-two-steps", "xor-four-samples", steps=2)


def narrow(square: Net) -> Net:
    """A network with two square layers."""
    return stack(784, 16, *(RELU, square) * 2, RELU, 10, LOG_SOFTMAX)


NARROW = healthy("digits-log-softmax-nll", net=narrow(partial(nn.Linear, 16, 16)))


def per_pixel(z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy divided by samples and pixels of the whole set."""
    return functional.cross_entropy(z, y) / (784 * 512)


# Gradients that are not the loss's.
add = under("wrong-gradient", (1,))
add(
    "digits-sigmoid-slope-of-z",
    healthy("digits-mlp-sigmoid", net=stack(784, 100, SIGMOID, 10)),
    net=stack(784, 100, apply(by_hand(torch.sigmoid, lambda z: z * (1 - z))), 10),
)
add(
    "sine-tanh-slope-of-z",
    "sine-tanh-by-hand",
    at=(1, 2),
    net=stack(1, *(24, apply(by_hand(torch.tanh, lambda z: 1 - z**2))) * 2, 1),
)
add(
    "spirals-relu-slope-of-the-wrong-sign",
    "spirals-relu",
    at=(1, 2, 3),
    net=stack(2, *(64, apply(by_hand(torch.relu, lambda z: -(z > 0).to(z)))) * 3, 3),
)
DEEP_TANH = RECIPES["digits-deep-tanh-xavier"]
add(
    "digits-weight-not-transposed",
    NARROW,
    at=(1, 2, 3),
    net=narrow(partial(LinearByHand, 16, 16, not_transposed)),
)
add(
    "digits-weight-gradient-transposed",
    NARROW,
    at=(2, 3),
    net=narrow(partial(LinearByHand, 16, 16, transposed)),
)
add(
    "spirals-weight-gradient-of-the-wrong-sign",
    "spirals-relu",
    at=(2, 3),
    net=stack(2, 64, RELU, *(partial(LinearByHand, 64, 64, ascending), RELU) * 2, 3),
)
add(
    "digits-passes-back-the-wrong-sign",
    DEEP_TANH,
    at=tuple(range(1, 9)),
    net=altered(
        stack(784, 64, TANH, *(partial(LinearByHand, 64, 64, negated), TANH) * 7, 10),
        weight=nn.init.xavier_normal_,
        bias=constant(0.0),
    ),
)
add = under("no-gradient", (1,))
add(
    "digits-detached-bottleneck",
    healthy("digits-relu-sgd", net=stack(784, 12, RELU, 10)),
    net=stack(784, 12, RELU, apply(Tensor.detach), 10),
)

# Half precision.
add = under("half-underflow", ANY)
add(
    "digits-half-loss-per-pixel",
    healthy("digits-relu-sgd", loss=per_pixel, optim=sgd(0.1 * 784 * 512)),
    dtype=torch.float16,
)
add(
    "digits-half-deep-loss-per-pixel",
    healthy("digits-deep-relu-he", loss=per_pixel, optim=sgd(0.02 * 784 * 512, 0.5)),
    dtype=torch.float16,
)
add(
    "plane-half-targets-of-a-millionth",
    healthy("plane-full-batch", data=changed(plane(300, 8), y=lambda y: 1e-6 * y)),
    dtype=torch.float16,
)
add("digits-half-adam", "digits-zero-last-layer", dtype=torch.float16)
add(
    "digits-half-autoencoder-adam",
    healthy("digits-autoencoder", loss=nn.MSELoss()),
    dtype=torch.float16,
)
