"""Backpropagation, whole: run the layers, scan the deltas, average the gradients, descend.

    forward     a_0 = x        z_l = a_{l-1} W_lᵀ + b_l        a_l = φ_l(z_l)            l = 1..L
    loss        E = (1/B) Σ_i e(a_L[i], t[i])
    deltas      δ_L = e'(a_L, t) ⊙ φ_L'(z_L)        δ_l = (δ_{l+1} W_{l+1}) ⊙ φ_l'(z_l)
    gradients   ∂E/∂W_l = (1/B) δ_lᵀ a_{l-1}        ∂E/∂b_l = (1/B) Σ_i δ_l[i]
    descent     W_l ← W_l − η ∂E/∂W_l               b_l ← b_l − η ∂E/∂b_l

Each line is one pure function. Everything faster in this package is compared with them.

Example:
    >>> _ = torch.manual_seed(0)
    >>> layers = [Layer(torch.randn(5, 3), torch.zeros(5), "tanh"), Layer(torch.randn(2, 5), None)]
    >>> x, target = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    >>> before = loss_of(run(x, layers), target, "cross_entropy")
    >>> for _ in range(20):
    ...     layers = descent_step(layers, x, target, "cross_entropy", rate=0.5)
    >>> bool(loss_of(run(x, layers), target, "cross_entropy") < 0.2 * before)
    True
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch  # noqa: F401  the example above
from torch import Tensor

from torchmlp.kernels.activations import pull_back
from torchmlp.kernels.dense import (
    averaging_scale,
    dense_forward,
    dense_grad_bias,
    dense_grad_weight,
    dense_grad_x,
)
from torchmlp.kernels.losses import loss_delta, mean_of_losses


class Layer(NamedTuple):
    """One dense layer: weight (fan_out, fan_in), bias (fan_out,) or None, the activation's name."""

    weight: Tensor
    bias: Tensor | None
    activation: str = "identity"


class Pass(NamedTuple):
    """What a forward pass leaves behind.

    Attributes:
        a: L + 1 activations, a[0] being the input; a[l] is (*batch, fan_out of layer l).
        z: L pre-activations; z[l - 1] belongs to a[l].
    """

    a: list[Tensor]
    z: list[Tensor]


class Gradient(NamedTuple):
    """∂E/∂W and ∂E/∂b of one layer, shaped like the parameters."""

    weight: Tensor
    bias: Tensor | None


LayerFunction = Callable[[Tensor, Tensor, Tensor | None, str], tuple[Tensor, Tensor]]


def run(x: Tensor, layers: Sequence[Layer], forward: LayerFunction = dense_forward) -> Pass:
    """The forward pass. `forward` is the equation of one layer: x, W, b, φ -> a, z."""
    passed = Pass([x], [])
    for layer in layers:
        a, z = forward(passed.a[-1], *layer)
        passed.a.append(a)
        passed.z.append(z)
    return passed


def loss_of(passed: Pass, target: Tensor, loss: str) -> Tensor:
    """The loss E of a forward pass, a scalar: the mean over the batch."""
    return mean_of_losses(passed.a[-1], target, loss)


def scan_deltas(
    grad_output: Tensor, passed: Pass, layers: Sequence[Layer], first: int = 0
) -> list[Tensor]:
    """The deltas δ of every layer, from the last layer backwards; per sample, not divided by B.

    Args:
        grad_output: e'(a_L, t), from `loss_delta`.
        passed: the forward pass of the same layers.
        layers: the network.
        first: index of the lowest layer whose delta is wanted; the scan stops there.

    Returns:
        The deltas of layers[first:], in the layers' order.
    """
    a, z = passed
    deltas = [pull_back(grad_output, z[-1], a[-1], layers[-1].activation)]
    for k in reversed(range(first, len(layers) - 1)):
        grad_a = dense_grad_x(deltas[0], layers[k + 1].weight)
        deltas.insert(0, pull_back(grad_a, z[k], a[k + 1], layers[k].activation))
    return deltas


def average_gradients(
    deltas: Sequence[Tensor], passed: Pass, layers: Sequence[Layer]
) -> list[Gradient]:
    """The gradients of the mean loss: of each layer, delta times input averaged over the rows."""
    scale = averaging_scale(deltas[-1].shape[:-1].numel())
    return [
        Gradient(
            dense_grad_weight(delta, a, scale),
            None if layer.bias is None else dense_grad_bias(delta, scale),
        )
        for delta, a, layer in zip(deltas, passed.a[:-1], layers, strict=True)
    ]


def descend(layers: Sequence[Layer], gradients: Sequence[Gradient], rate: float) -> list[Layer]:
    """The layers after one step of gradient descent at the learning rate η = `rate`."""
    return [
        Layer(
            layer.weight - rate * gradient.weight,
            None
            if layer.bias is None or gradient.bias is None
            else layer.bias - rate * gradient.bias,
            layer.activation,
        )
        for layer, gradient in zip(layers, gradients, strict=True)
    ]


def descent_step(
    layers: Sequence[Layer], x: Tensor, target: Tensor, loss: str, rate: float
) -> list[Layer]:
    """One whole step of backpropagation: run, scan, average, descend."""
    passed = run(x, layers)
    deltas = scan_deltas(loss_delta(passed.a[-1], target, loss), passed, layers)
    return descend(layers, average_gradients(deltas, passed, layers), rate)
