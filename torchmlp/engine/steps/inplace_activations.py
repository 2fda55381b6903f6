"""Activations and their pullbacks written into buffers, one pass over memory each.

The equations are those of `torchmlp.kernels.activations`. Where torch has a kernel that writes the
same formula into a buffer it is called; where it has none the equation itself is, and copied.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchmlp._compat.torch_internals import into_buffer
from torchmlp.kernels.activations import ACTIVATIONS, pull_back

_aten: Any = torch.ops.aten
_into_elu, _into_gelu = into_buffer("elu"), into_buffer("gelu")


class InPlace(NamedTuple):
    """One activation in buffers.

    Attributes:
        value: (z, a) -> writes φ(z) into a, which may be z itself where `reads` is not "z".
        pull_back: (delta, z, a) -> delta becomes delta ⊙ φ'(z).
    """

    value: Callable[[Tensor, Tensor], object]
    pull_back: Callable[[Tensor, Tensor, Tensor], object]


def in_place(activation: str) -> InPlace:
    """The activation called `activation` in buffers."""
    return _KERNELS.get(activation) or InPlace(
        partial(_copy_value, activation), partial(_copy_pullback, activation)
    )


def _copy_value(activation: str, z: Tensor, a: Tensor) -> None:
    a.copy_(ACTIVATIONS[activation].value(z))


def _copy_pullback(activation: str, delta: Tensor, z: Tensor, a: Tensor) -> None:
    delta.copy_(pull_back(delta, z, a, activation))


def _nothing(*_: Tensor) -> None:
    pass


def _of_a(function: Callable[..., object], backward: Any, *after: Any) -> InPlace:
    """A function of torch and its pullback, which reads a; the latter takes settings after a."""

    def value(z: Tensor, a: Tensor) -> None:
        function(z, out=a)

    def pullback(delta: Tensor, _: Tensor, a: Tensor) -> None:
        backward(delta, a, *after, grad_input=delta)

    return InPlace(value, pullback)


def _of_z(
    name: str, values: tuple[Any, ...] = (), slopes: tuple[Any, ...] | None = None
) -> InPlace:
    """The kernel `name` of torch and its pullback, which reads z; both take settings after z."""
    function, backward = into_buffer(name), getattr(_aten, f"{name}_backward").grad_input
    after = values if slopes is None else slopes

    def value(z: Tensor, a: Tensor) -> None:
        function(z, *values, out=a)

    def pullback(delta: Tensor, z: Tensor, _: Tensor) -> None:
        backward(delta, z, *after, grad_input=delta)

    return InPlace(value, pullback)


def _elu(alpha: float, scale: float) -> InPlace:
    def value(z: Tensor, a: Tensor) -> None:
        _into_elu(z, alpha, scale, 1.0, out=a)

    def pullback(delta: Tensor, z: Tensor, _: Tensor) -> None:
        _aten.elu_backward.grad_input(delta, alpha, scale, 1.0, False, z, grad_input=delta)

    return InPlace(value, pullback)


def _gelu(approximate: str) -> InPlace:
    def value(z: Tensor, a: Tensor) -> None:
        _into_gelu(z, approximate=approximate, out=a)

    def pullback(delta: Tensor, z: Tensor, _: Tensor) -> None:
        _aten.gelu_backward.grad_input(delta, z, approximate=approximate, grad_input=delta)

    return InPlace(value, pullback)


_KERNELS = {
    "identity": InPlace(_nothing, _nothing),
    "relu": _of_a(partial(torch.clamp_min, min=0), _aten.threshold_backward.grad_input, 0),
    "sigmoid": _of_a(torch.sigmoid, _aten.sigmoid_backward.grad_input),
    "tanh": _of_a(torch.tanh, _aten.tanh_backward.grad_input),
    "leaky_relu": _of_z("leaky_relu", (0.01,), (0.01, False)),
    "elu": _elu(1.0, 1.0),
    "selu": _elu(1.6732632423543772, 1.0507009873554805),  # Klambauer et al. (2017), equation 14
    "softplus": _of_z("softplus", (1.0, 20.0)),
    "silu": _of_z("silu"),
    "gelu": _gelu("none"),
    "gelu_tanh": _gelu("tanh"),
    "hardtanh": _of_z("hardtanh", (-1.0, 1.0)),
    "relu6": _of_z("hardtanh", (0.0, 6.0)),
}
