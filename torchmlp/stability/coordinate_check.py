"""The coordinate check: do pre-activations and their changes keep their size as layers widen?

A step that changes a layer's pre-activations z by more the wider it is asks for a smaller learning
rate there; one that changes them by less leaves the layer untrained. So a few steps of training at
several widths tell whether one rate can serve them all.

Source: Yang et al. (2022), Tensor Programs V, appendix D.1. What is drawn there is |z|; what is
judged here is its change since the start, for |z| also holds what the initial weights make of it:
in the output layer under "mup" that falls with the width, and hides what the steps do.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn, optim

from torchmlp.data import scale_pixels
from torchmlp.data.images.embedded import read_embedded
from torchmlp.data.labels import encode_targets
from torchmlp.engine import Engine
from torchmlp.kernels.names import find
from torchmlp.kernels.network import Layer, run
from torchmlp.nn.mlp import MLP
from torchmlp.nn.param_groups import scale_rates

PROBE = 256  # images that z is measured on
# By name: what makes it, and a learning rate that changes z visibly and leaves it finite.
OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], float]] = {
    "sgd": (optim.SGD, 0.1),
    "adam": (optim.Adam, 0.001),
}
Table = list[list[list[float]]]


@dataclass(frozen=True)
class Coordinates:
    """What a coordinate check measured: plain data.

    Attributes:
        parametrization: "standard" or "mup".
        optimizer: "sgd" or "adam".
        lr: learning rate at the base width.
        widths: of the hidden layers, ascending.
        sizes: mean |z| over images, units and seeds, by step (0 is the start), layer and width; nan
            or infinite where a run was.
        changes: mean |z − z at the start|, likewise.
    """

    parametrization: str
    optimizer: str
    lr: float
    widths: list[int]
    sizes: Table
    changes: Table

    @property
    def growth(self) -> list[list[float]]:
        """By step, from 1, and by layer: the power of the width that the change goes with.

        0 is a change as large at all widths; 1 is twice the change for twice the width; nan where
        a change was 0 or not finite.
        """
        return [[slope(self.widths, row) for row in layers] for layers in self.changes[1:]]


def slope(widths: Sequence[int], values: Sequence[float]) -> float:
    """The power of the width that values go with: least squares on their logarithms.

    Returns:
        It, or nan where a value is not finite or not above 0.

    Example:
        >>> round(slope([64, 128, 256], [1.0, 2.0, 4.0]), 9)
        1.0
    """
    if not all(math.isfinite(value) and value > 0 for value in values):
        return math.nan
    return float(np.polyfit(np.log2(widths), np.log2(values), 1)[0])


def coordinate_check(
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    *,
    parametrization: str = "mup",
    base_width: int = 64,
    optimizer: str = "sgd",
    lr: float | None = None,
    depth: int = 2,
    activation: str = "relu",
    init: str = "auto",
    loss: str = "cross_entropy",
    batch_size: int = 64,
    steps: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    zero_output: bool = True,
) -> Coordinates:
    """Train networks of several widths for a few steps, on the digits that ship.

    All widths see the same minibatches. z is measured on images that none is trained on.

    Args:
        widths: of every hidden layer; two at least.
        parametrization: "standard" or "mup".
        base_width: as `MLP` takes it.
        optimizer: "sgd" or "adam", at torch's settings but for the rate.
        lr: learning rate at the base width; None takes that of `OPTIMIZERS`.
        depth: hidden layers.
        activation: of the hidden layers.
        init: initial weights by name.
        loss: "cross_entropy", or "mse" and "bce" against one-hot targets.
        batch_size: B.
        steps: minibatches.
        seeds: of initial weights and minibatches; what is measured is a mean over them.
        zero_output: whether the output layer's weights start at 0, so that the first step changes
            that layer alone. Random ones give narrow networks outputs by chance, larger than the
            wide ones' under "mup", which training takes back: changes then fall with the width, as
            width^-0.1 to width^-0.4 (Yang et al., appendix D.2).

    Raises:
        ValueError: fewer than two widths, no seeds, a number below 1, an unknown optimizer; what
            `MLP` and `Engine` raise.
    """
    widths = sorted(set(widths))
    if len(widths) < 2:  # noqa: PLR2004  a slope takes two
        raise ValueError(f"coordinate_check: expected at least two widths, got {widths}")
    if not seeds or min(depth, batch_size, steps) < 1:
        raise ValueError(
            f"coordinate_check: expected a seed, and depth, batch_size and steps of at least 1, "
            f"got seeds={list(seeds)}, depth={depth}, batch_size={batch_size}, steps={steps}"
        )
    make, usual = find("optimizer", optimizer, OPTIMIZERS)
    lr = usual if lr is None else lr
    digits = read_embedded()
    images = scale_pixels(digits.train_images, torch.float32)
    probe = scale_pixels(digits.test_images[:PROBE], torch.float32)
    inputs, classes = images.shape[1], len(digits.classes)
    targets = encode_targets(digits.train_labels, loss, classes, images.dtype)

    def measured(width: int, seed: int) -> Table:
        """Of a run: by step, what `_measure` gives."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            batches = torch.randint(len(images), (steps, batch_size))
            mlp = MLP(
                inputs,
                [width] * depth,
                classes,
                activation,
                init=init,
                parametrization=parametrization,
                base_width=base_width,
            )
            if zero_output:
                nn.init.zeros_(mlp.weights[-1])
        engine = Engine(mlp, loss, scale_rates(make(mlp.parameters(), lr=lr), mlp))
        start = _pre_activations(mlp, probe)
        found = [_measure(start, start)]
        for rows in batches:
            engine.step(images[rows], targets[rows])
            found.append(_measure(_pre_activations(mlp, probe), start))
        return found

    columns = [torch.tensor([measured(w, seed) for seed in seeds]).mean(0) for w in widths]
    sizes, changes = torch.stack(columns, -1).unbind(1)
    return Coordinates(parametrization, optimizer, lr, widths, sizes.tolist(), changes.tolist())


@torch.no_grad()
def _pre_activations(mlp: MLP, x: Tensor) -> list[Tensor]:
    """Of each layer, first to last."""
    return run(x, list(map(Layer, mlp.weights, mlp.biases, mlp.activations))).z


def _measure(z: list[Tensor], start: list[Tensor]) -> list[list[float]]:
    """By layer: mean |z|; and mean |z − z at the start|."""
    sizes = [float(own.abs().mean()) for own in z]
    return [sizes, [float((own - old).abs().mean()) for own, old in zip(z, start, strict=True)]]
