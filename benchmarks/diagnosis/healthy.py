"""Runs in which nothing is wrong, though each has something that looks as if."""

from collections.abc import Callable
from functools import partial

import torch
from datasets import (
    above,
    accuracy,
    answers,
    balanced,
    blobs,
    changed,
    circles,
    digits,
    friedman,
    moons,
    noisy,
    parity,
    plane,
    r2,
    sine,
    spirals,
    standardised,
    words,
    xor,
)
from networks import (
    Convolutional,
    Functional,
    MapConfig,
    Residual,
    Scheduled,
    adam,
    altered,
    apply,
    by_hand,
    constant,
    he,
    lecun,
    margin,
    one_hot_mse,
    safe_bce,
    safe_nll,
    sgd,
    squared,
    stack,
)
from run import Batch, Run
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adagrad, AdamW, RMSprop

from torchmlp import MLP

RELU, TANH, SIGMOID = nn.ReLU, nn.Tanh, nn.Sigmoid
OWN_TANH = apply(by_hand(torch.tanh, lambda z: 1 - torch.tanh(z) ** 2))
cross_entropy, logits_bce = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
probability, logit = above(0.5), above(0.0)


def itself(data: Callable[[], Batch]) -> Callable[[], Batch]:
    """Inputs as their own targets."""

    def draw() -> Batch:
        x, _ = data()
        return x, x.clone()

    return draw


DIGITS = partial(MapConfig, data=digits(), loss=cross_entropy, score=accuracy)
SPIRALS = partial(MapConfig, data=spirals(600, 3), loss=cross_entropy, score=accuracy)
NUMBERS = partial(MapConfig, loss=nn.MSELoss(), score=r2)

RECIPES: dict[str, MapConfig] = {
    # Pixels from 0 to 1, neither centred nor scaled.
    "digits-relu-sgd": DIGITS(net=stack(784, 64, RELU, 10), optim=sgd(0.1)),
    "digits-tiny-batches": DIGITS(
        net=lambda: Functional([784, 32, 10], functional.relu),
        optim=sgd(0.01, 0.9),
        batch=4,
        steps=400,
    ),
    "digits-zero-last-layer": DIGITS(
        net=altered(stack(784, 100, RELU, 10), -1, weight=constant(0.0), bias=constant(0.0)),
        optim=adam(0.001),
        batch=64,
    ),
    "digits-logistic-from-zero": DIGITS(
        net=altered(stack(784, 10), weight=constant(0.0), bias=constant(0.0)),
        optim=sgd(0.1),
        batch=100,
    ),
    "digits-sigmoid-mse": DIGITS(
        net=stack(784, 64, SIGMOID, 10, SIGMOID), loss=one_hot_mse, optim=adam(0.005)
    ),
    "digits-softmax-nll-eps": DIGITS(
        net=stack(784, 128, RELU, 10, partial(nn.Softmax, 1)), loss=safe_nll, optim=sgd(0.1, 0.5)
    ),
    "digits-log-softmax-nll": DIGITS(
        net=lambda: Functional([784, 50, 50, 10], torch.tanh, partial(torch.log_softmax, dim=1)),
        loss=nn.NLLLoss(),
        optim=sgd(0.05, 0.9),
    ),
    "digits-deep-relu-batch-norm": DIGITS(
        net=stack(784, *(64, "batch-norm", RELU) * 8, 10), optim=sgd(0.1), batch=64
    ),
    "digits-deep-tanh-xavier": DIGITS(
        net=altered(
            stack(784, *(64, TANH) * 8, 10), weight=nn.init.xavier_normal_, bias=constant(0.0)
        ),
        optim=sgd(0.05, 0.5),
    ),
    "digits-deep-relu-he": DIGITS(
        net=altered(stack(784, *(64, RELU) * 10, 10), weight=he(), bias=constant(0.0)),
        optim=sgd(0.02, 0.5),
    ),
    "digits-selu": DIGITS(
        net=altered(stack(784, *(64, nn.SELU) * 5, 10), weight=lecun(), bias=constant(0.0)),
        optim=sgd(0.05),
    ),
    "digits-gelu-adamw": DIGITS(
        net=stack(784, 96, nn.GELU, 96, nn.GELU, 10),
        optim=lambda p: AdamW(p, 0.002, weight_decay=0.05),
        batch=128,
    ),
    "digits-dropout": DIGITS(
        net=stack(784, 256, RELU, nn.Dropout, 256, RELU, nn.Dropout, 10), optim=adam(0.001)
    ),
    "digits-high-rate": DIGITS(net=stack(784, 64, RELU, 10), optim=sgd(0.4), batch=100),
    "digits-low-rate": DIGITS(net=stack(784, 300, RELU, 10), optim=sgd(0.03), batch=10, steps=400),
    "digits-adam-low-rate": DIGITS(net=stack(784, 300, RELU, 10), optim=adam(1e-4), steps=400),
    "digits-bytes-with-batch-norm": DIGITS(
        net=lambda: nn.Sequential(nn.BatchNorm1d(784), *stack(784, 64, RELU, 10)().children()),
        data=changed(digits(), lambda x: 255 * x),
        optim=sgd(0.05),
        batch=64,
    ),
    "digits-autoencoder": NUMBERS(
        itself(digits(1000)),
        stack(784, 64, RELU, 784, SIGMOID),
        loss=nn.BCELoss(),
        optim=adam(0.005),
    ),
    "digits-affine-bottleneck": DIGITS(
        net=stack(784, 16, 96, RELU, 96, RELU, 10), optim=sgd(0.05, 0.9), batch=64
    ),
    "digits-noisy-labels": DIGITS(
        net=stack(784, 64, RELU, 10),
        data=changed(digits(2000), y=noisy(0.22, 10)),
        optim=adam(0.001),
        batch=50,
    ),
    "digits-convolutional": DIGITS(net=Convolutional, optim=sgd(0.05, 0.9)),
    "digits-residual": DIGITS(net=lambda: Residual((784, 64, 10), 6), optim=adam(0.001)),
    "digits-mlp": DIGITS(net=lambda: MLP(784, [128, 64], 10), optim=sgd(0.05, 0.9), batch=64),
    "digits-mlp-sigmoid": DIGITS(
        net=lambda: MLP(784, 100, 10, activation="sigmoid"),
        data=changed(digits(), standardised),
        optim=sgd(0.3, 0.9),
        dtype=torch.float64,
    ),
    "digits-nesterov-wide": DIGITS(
        net=lambda: Functional([784, 1000, 10], functional.relu),
        optim=lambda p: SGD(p, 0.02, 0.9, nesterov=True),
        batch=64,
        steps=120,
    ),
    "digits-half": DIGITS(net=stack(784, 64, RELU, 10), optim=sgd(0.1), dtype=torch.float16),
    "digits-tanh-scores": DIGITS(
        net=stack(784, 64, TANH, 32, TANH, 10), optim=lambda p: RMSprop(p, 0.001), batch=50
    ),
    "digits-layer-norm": DIGITS(
        net=stack(784, *(48, "layer-norm", RELU) * 4, 10),
        optim=lambda p: Adagrad(p, 0.02),
        batch=40,
    ),
    # Clouds, curves and corners in the plane.
    "moons-tanh": MapConfig(
        moons(500), stack(2, 16, TANH, 16, TANH, 1), logits_bce, adam(0.02), logit
    ),
    "moons-overlapping": MapConfig(
        moons(800, 0.35),
        stack(2, 32, partial(nn.LeakyReLU, 0.1), 32, partial(nn.LeakyReLU, 0.1), 1, SIGMOID),
        nn.BCELoss(),
        lambda p: SGD(p, 0.2, 0.9, weight_decay=1e-3),
        probability,
        batch=16,
        steps=300,
    ),
    "moons-hinge": MapConfig(
        moons(300), lambda: Functional([2, 40, 1], functional.relu), margin, adam(0.02), logit, 300
    ),
    "circles-relu-rmsprop": MapConfig(
        circles(400), stack(2, 24, RELU, 2), cross_entropy, lambda p: RMSprop(p, 0.01), accuracy, 20
    ),
    "circles-log-softmax-float64": MapConfig(
        circles(400),
        stack(2, 12, TANH, 12, TANH, 2, partial(nn.LogSoftmax, 1)),
        nn.NLLLoss(),
        sgd(0.3, 0.9),
        accuracy,
        400,
        dtype=torch.float64,
    ),
    "spirals-relu": SPIRALS(net=stack(2, *(64, RELU) * 3, 3), optim=adam(0.01), batch=64),
    "spirals-full-batch": SPIRALS(
        net=stack(2, 64, TANH, 64, TANH, 3), optim=adam(0.02), batch=600, dtype=torch.float64
    ),
    "spirals-batch-norm-wide": SPIRALS(
        net=stack(2, 200, "batch-norm", RELU, 200, "batch-norm", RELU, 3),
        optim=sgd(0.2, 0.9),
        batch=100,
    ),
    "xor-four-samples": MapConfig(
        xor(4, 0.0), stack(2, 8, TANH, 1), logits_bce, sgd(0.5, 0.9), logit, 4
    ),
    "xor-nesterov": MapConfig(
        xor(400),
        stack(2, 16, RELU, 1, SIGMOID),
        nn.BCELoss(),
        lambda p: SGD(p, 0.1, 0.9, nesterov=True),
        probability,
    ),
    "xor-safe-logarithm": MapConfig(
        xor(400), stack(2, 32, RELU, 32, RELU, 1, SIGMOID), safe_bce, sgd(0.1, 0.9), probability, 20
    ),
    "parity-of-four": MapConfig(
        parity(4), stack(4, 24, TANH, 1), logits_bce, adam(0.03), logit, 16, 300
    ),
    "blobs-five-adagrad": MapConfig(
        blobs(500, 5), stack(2, 32, RELU, 5), cross_entropy, lambda p: Adagrad(p, 0.1), accuracy
    ),
    "blobs-three-to-one": MapConfig(
        blobs(800, 3, 8, 3.5, weights="311"),
        stack(8, 24, RELU, 3),
        cross_entropy,
        sgd(0.05, 0.5),
        balanced,
    ),
    "blobs-logistic-batches-of-four": MapConfig(
        blobs(600, 8, 12, 5.0), stack(12, 8), cross_entropy, sgd(0.05), accuracy, 4
    ),
    "blobs-exponential-rate-decay": MapConfig(
        blobs(600, 6),
        stack(2, 40, RELU, 6),
        cross_entropy,
        lambda p: Scheduled(p, 0.3, 0.98, momentum=0.5),
        accuracy,
    ),
    "blobs-twenty-samples": MapConfig(
        blobs(20, 4, 6), stack(6, 64, RELU, 4), cross_entropy, adam(0.01), accuracy, 20
    ),
    "blobs-far-apart": MapConfig(
        blobs(600, 4, 10, 12.0),
        stack(10, 32, RELU, 4, partial(nn.Softmax, 1)),
        safe_nll,
        sgd(0.02),
        accuracy,
    ),
    # Tables of zeros and ones.
    "answers-relu": MapConfig(
        answers(800), stack(12, 32, RELU, 32, RELU, 1), logits_bce, adam(0.005), logit
    ),
    "words-sparse": MapConfig(
        words(500), stack(400, 32, RELU, 1, SIGMOID), nn.BCELoss(), adam(0.003), probability
    ),
    # Numbers.
    "friedman-relu": NUMBERS(
        friedman(600), stack(10, 64, RELU, 64, RELU, 1), optim=adam(0.005), batch=50
    ),
    "friedman-raw-target": NUMBERS(
        changed(friedman(600), y=lambda y: 14.4 + 4.9 * y),
        stack(10, 64, RELU, 1),
        optim=adam(0.02),
        steps=300,
    ),
    "friedman-smooth-l1": NUMBERS(
        friedman(600, 20, 1.5),
        stack(20, 100, RELU, 1),
        loss=nn.SmoothL1Loss(),
        optim=sgd(0.05, 0.9),
        batch=16,
        steps=300,
    ),
    "friedman-layer-norm": NUMBERS(
        friedman(500, 5),
        stack(5, *(32, "layer-norm", nn.SiLU) * 3, 1),
        optim=lambda p: AdamW(p, 0.005),
        loss=squared,
    ),
    "friedman-flat-target": NUMBERS(
        changed(friedman(600), y=lambda y: y.squeeze(1)),
        lambda: nn.Sequential(*stack(10, 48, RELU, 1)().children(), nn.Flatten(0)),
        optim=sgd(0.05, 0.9),
    ),
    "plane-one-layer": NUMBERS(plane(400, 20), stack(20, 1), optim=sgd(0.05)),
    "plane-full-batch": NUMBERS(plane(300, 8), stack(8, 1), optim=sgd(0.1), batch=300),
    "plane-noisy": NUMBERS(plane(800, 6, 0.7), stack(6, 16, RELU, 1), optim=sgd(0.03), batch=8),
    "sine-tanh": NUMBERS(sine(400), stack(1, 32, TANH, 1), optim=adam(0.02)),
    "sine-tanh-output": NUMBERS(
        sine(400, 1.5), stack(1, 32, TANH, 32, TANH, 1, TANH), optim=adam(0.01), batch=64
    ),
    "sine-absolute-error": NUMBERS(
        sine(300), lambda: MLP(1, [32, 32], 1), loss=nn.L1Loss(), optim=adam(0.01), batch=20
    ),
    "waiting-times-softplus": NUMBERS(
        changed(sine(400, 1.0), y=lambda y: (1.5 * y).exp()),
        stack(1, 32, RELU, 1, nn.Softplus),
        optim=adam(0.02),
    ),
    "rainfall-relu-output": NUMBERS(
        changed(friedman(500, 6), y=lambda y: (y + 0.5).clamp(min=0)),
        altered(stack(6, 48, RELU, 1, RELU), -1, bias=constant(0.5)),
        optim=sgd(0.03, 0.9),
    ),
    "sine-tanh-by-hand": NUMBERS(
        sine(300), stack(1, 24, OWN_TANH, 24, OWN_TANH, 1), optim=sgd(0.1, 0.9)
    ),
    "friedman-half": NUMBERS(
        friedman(600, 8), stack(8, 64, RELU, 1), optim=sgd(0.1), dtype=torch.float16
    ),
}
HEALTHY = [Run(name, recipe) for name, recipe in RECIPES.items()]
